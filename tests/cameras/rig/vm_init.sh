#!/bin/sh
# The first process of the machine that run_in_vm.sh boots: runs the command that it was given, and turns the machine off.
export PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null # the kernel may have done it
mkdir -p /dev/shm /dev/pts /job
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t virtiofs job /job
mount -t virtiofs repo /repo

cd /repo || exit
bash /job/command
echo $? >/job/status
sync
echo o >/proc/sysrq-trigger
sleep 60 # the kernel panics when the first process ends
