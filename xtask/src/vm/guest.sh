#!/bin/busybox sh
# The first program of the root file system: what systemd would have mounted, the
# modules, the tests, and the end. It stays the first process, to reap orphans.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/busybox HOME=/root
b=/bin/busybox
# As systemd does it; the kernel's own is 4096.
ulimit -Hn 524288
$b mount -t proc -o nosuid,nodev,noexec proc /proc
$b mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
$b mount -t devtmpfs -o nosuid,mode=755 udev /dev
$b mkdir -p /dev/pts /dev/shm /dev/mqueue /dev/hugepages
exec </dev/console >/dev/console 2>&1
while read -r module; do
    $b insmod "$module" || echo "insmod $module failed"
done </lib/modules/order
$b mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$b mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
$b mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
$b mount -t hugetlbfs hugetlbfs /dev/hugepages
$b mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
$b mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
$b mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security
$b mount -t debugfs -o nosuid,nodev,noexec debugfs /sys/kernel/debug
# systemd's hybrid layout: both versions.
groups=/sys/fs/cgroup
$b mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs $groups
for name in cpu cpuacct cpuset memory devices freezer blkio pids; do
    $b mkdir $groups/$name
    # Newer kernels are without some of version 1.
    $b mount -t cgroup -o nosuid,nodev,noexec,$name cgroup $groups/$name || $b rmdir $groups/$name
done
$b mkdir $groups/systemd $groups/unified
$b mount -t cgroup -o nosuid,nodev,noexec,none,name=systemd cgroup $groups/systemd
$b mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 $groups/unified
$b mount --make-rshared /
$b ln -s /proc/self/fd /dev/fd
$b mkdir /run/busybox
$b --install -s /run/busybox
$b ip link set lo up
$b hostname guest
$b stty -F /dev/ttyS1 raw -echo
/sbin/guest vm-guest >/dev/ttyS1 2>/dev/console
echo "the tests ended: $?"
$b poweroff -f
