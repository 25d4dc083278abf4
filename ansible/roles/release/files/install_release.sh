#!/bin/sh
# Install a release on a host: install_release.sh FOLDER SHA256 KEEP
# Unpacks FOLDER.tar.gz, which build_release.py made, into a new virtual environment at FOLDER.
# FOLDER/nova-release is there last: without it the installation was interrupted, and this script
# starts anew.
set -eu

folder=$1
sha256=$2
keep=$3
archive=$folder.tar.gz
releases=$(dirname "$folder")
umask 022

# One at a time: another one, of the same release, may have outlived its controller.
exec 9<"$releases"
flock 9
if [ -e "$folder/nova-release" ]; then
    rm -f "$archive"
    exit 0
fi
if ! echo "$sha256  $archive" | sha256sum --check --status; then
    rm -f "$archive"
    echo "install_release: $archive is damaged and was removed; run the playbook again" >&2
    exit 1
fi
rm -rf "$folder"
trap 'exit 1' HUP INT TERM
trap '[ -e "$folder/nova-release" ] || rm -rf "$folder"' EXIT
/usr/bin/python3 -m venv --without-pip "$folder"
# A full disk would make it say so of each of thousands of files.
if ! said=$(tar --extract --gzip --no-same-owner --file="$archive" --directory="$folder" 2>&1); then
    echo "install_release: $archive could not be unpacked: $(echo "$said" | head -n 1)" >&2
    exit 1
fi
find "$folder/bin" -type f -exec sed -i "1s|^#!python\$|#!$folder/bin/python|" {} +
# Bytecode, where it did not come along: the controller has no Python of this version, then. What
# cannot be compiled is left to who imports it; some packages have templates.
"$folder/bin/python" -m compileall -qq -j 0 --invalidation-mode timestamp "$folder/lib" || true
touch -c "$folder/RELEASE" # its time tells newer releases from older ones
sync --file-system "$folder" # the marker must not outlive a power cut that its files do not
mv "$folder/RELEASE" "$folder/nova-release"
rm -f "$archive"

# Keep the newest ones, and rather those that have run well: `nova-host save` marks them. Releases
# that failed push none of them out. What runs stays whatever its age, and so does what the host can
# go back to: what its last roll has saved, and the release that ran well before the present one.
current=$(readlink -f "$releases/../current" || true)
saved=$(sed -n 's/.*"release": "\([^"]*\)".*/\1/p' "$releases/../before/state.json" 2>/dev/null || true)
present=$current
if [ -e "$releases/../before/pending" ]; then
    present=$releases/$saved # the roll that made `current` what it is has not ended
fi
by_time() { # the releases that have a file of this name, those with the newest one first
    # shellcheck disable=SC2012 # Nova names these folders: no white space
    ls -1td "$releases"/*/"$1" 2>/dev/null | while read -r path; do dirname "$path"; done
}
previous=$(by_time ran-well | grep -vxF "$present" | head -n 1)
{ echo "$folder"; echo "$current"; by_time ran-well; by_time nova-release; by_time .; } |
    awk 'NF && !seen[$0]++' | tail -n +"$((keep + 1))" | while read -r old; do
    case $old in
        "$folder" | "$current" | "$releases/$saved" | "$previous") ;;
        *) rm -rf "$old" ;;
    esac
done
