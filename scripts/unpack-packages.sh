#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Unpacks Debian packages into a root file system without installing them: no scripts run, no dependencies come along.
# Their documentation is left out except for licences; their control files go where image scanners look for them.
#
#   scripts/unpack-packages.sh ROOT PACKAGE...
set -eu
root=$1
shift
mkdir -p "$root/var/lib/dpkg/status.d"
# Debian's merged /usr: packages still ship /lib, the dynamic loader among it.
for directory in bin lib lib64 sbin; do
  mkdir -p "$root/usr/$directory"
  [ -e "$root/$directory" ] || ln -s "usr/$directory" "$root/$directory"
done
downloads=$(mktemp -d)
cd "$downloads"
apt-get -o APT::Sandbox::User=root download -qq "$@"
for file in *.deb; do
  dpkg-deb --fsys-tarfile "$file" |
    tar -x -C "$root" --keep-directory-symlink --exclude './usr/share/man/*' --exclude './usr/share/lintian/*' \
      --exclude './usr/share/doc/*/changelog*' --exclude './usr/share/doc/*/NEWS*' --exclude './usr/lib/*/gconv/*' \
      --exclude './usr/share/gdb/*' --exclude './usr/share/gcc*/*'
  dpkg-deb --field "$file" >"$root/var/lib/dpkg/status.d/$(dpkg-deb --field "$file" Package)"
done
rm -r "$downloads"
