# What kind's own Dockerfile does with Debian: of systemd only what a container
# can use, no messages of the host's kernel in the journal. $1 is the root.
set -eu
cd "$1"
find lib/systemd/system/sysinit.target.wants -name systemd-tmpfiles-setup.service -delete
rm -f lib/systemd/system/multi-user.target.wants/* etc/systemd/system/*.wants/* \
  lib/systemd/system/local-fs.target.wants/* lib/systemd/system/sockets.target.wants/*udev* \
  lib/systemd/system/sockets.target.wants/*initctl* lib/systemd/system/basic.target.wants/*
echo "ReadKMsg=no" >> etc/systemd/journald.conf
# It would register programs with the host's kernel.
ln -s /dev/null etc/systemd/system/systemd-binfmt.service
rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/doc/* usr/share/man/* usr/share/locale/*
