# $1 is the root.
set -eu
rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*
# BusyBox's wget, which the published image has, tries once.
echo "tries = 1" >> "$1"/etc/wgetrc
