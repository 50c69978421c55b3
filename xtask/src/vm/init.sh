#!/bin/busybox sh
# The first program of the machine. What the kernel unpacked is its rootfs, which
# pivot_root(2) cannot leave: everything goes into a tmpfs, as on a real machine
# it would be on a disk.
set -e
b=/bin/busybox
$b mkdir /new-root
$b mount -t tmpfs -o mode=755,size=90% root /new-root
for name in /*; do
    case $name in
    /new-root | /dev | /bin | /init) ;;
    *) $b cp -a "$name" /new-root/ ; [ "$name" = /usr ] || $b rm -rf "$name" ;;
    esac
done
$b cp -a /bin /new-root/
$b mkdir /new-root/dev
exec $b switch_root /new-root /sbin/guest-init
