#!/bin/sh
# Unpack the packages of a bundle on a host: unpack_packages.sh FOLDER MARK
# FOLDER/debs.tar becomes FOLDER/debs. The mark is written last: without it, what is there may be
# half of it, and this is done anew.
set -eu

folder=$1
mark=$2
umask 022

rm -rf "$folder/complete" "$folder/debs" "$folder/debs.new"
mkdir "$folder/debs.new"
tar --extract --no-same-owner --file="$folder/debs.tar" --directory="$folder/debs.new"
mv "$folder/debs.new" "$folder/debs"
sync --file-system "$folder" # the mark must not outlive a power cut that the packages do not
printf %s "$mark" > "$folder/complete"
rm "$folder/debs.tar"
