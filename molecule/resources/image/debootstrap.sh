#!/bin/bash
# Writes a minimal Debian root as a tar archive to standard output.
# Usage (as root): unshare --mount bash debootstrap.sh RELEASE MIRROR > root.tar
# It needs a mount namespace of its own: every mount it makes ends with it, even when interrupted.
set -euo pipefail

release=${1:?which Debian release?} mirror=${2:?which Debian mirror?}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

root=$(mktemp --directory)
trap 'umount --lazy "$root"; rmdir "$root"' EXIT
mount -t tmpfs -o mode=0755,size=1g lab-image "$root"

debootstrap --variant=minbase "$release" "$root" "$mirror" >&2
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/resolv.conf
tar --create --one-file-system --numeric-owner --directory "$root" .
