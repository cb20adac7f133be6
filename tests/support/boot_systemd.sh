#!/bin/bash
# Become PID 1 of a machine of its own: systemd on a writable layer over this machine's files.
# Run inside new pid, mount, uts, ipc, net and cgroup namespaces (systemd_machine.py does so).
# $1: a folder for the layer, on a real file system. Nothing outside it is written.
set -euo pipefail
layer=$1
root=$layer/root
mount --make-rprivate /
[ -d "$layer/upper" ] || is_first=yes
mkdir -p "$layer/upper" "$layer/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$root"

mount -t proc proc "$root/proc"
# systemd-sysctl would write the host's kernel.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run dev; do mount -t tmpfs tmpfs "$root/$folder"; done
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
if [ -n "${is_first:-}" ]; then
    # At boot Debian empties /tmp, where tests keep what they bring.
    touch "$root/etc/tmpfiles.d/tmp.conf"
    # What the host starts is not ours to start.
    rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/default.target
fi

mkdir -p "$root/mnt/old"
cd "$root"
pivot_root . mnt/old
umount -l /mnt/old
exec env -i container=unshare PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=multi-user.target
