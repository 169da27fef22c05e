#!/bin/bash
# Boot a tree that make_tree.sh made in a virtual machine, with a kernel and devices of its own, and run a command there.
# As root:
#
#     run_in_vm.sh [--init FILE] TREE REPOSITORY COMMAND …
#
# REPOSITORY is /repo in there, and the working directory. The command's output and exit status become this script's;
# 124 says that the machine ended without it, or was ended after 30 minutes. FILE is the machine's first process
# (default: vm_init.sh); it finds the command in /job/command and puts the status into /job/status.
set -euo pipefail

init=$(dirname "$0")/vm_init.sh
if [ "$1" = --init ]; then
    init=$2
    shift 2
fi
tree=$(realpath "$1")
repository=$(realpath "$2")
shift 2

work=$(mktemp -d /tmp/camera-vm.XXXXXX)
servers=()
devices=()
first=/sbin/${work##*/} # two machines may run at once, each with a first process of its own
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$work" "$tree$first"' EXIT

# share TAG DIRECTORY: the machine mounts DIRECTORY as TAG.
share() {
    local options=(--shared-dir "$2" --cache auto --sandbox chroot) server=/usr/libexec/virtiofsd
    if [ ! -x $server ]; then # Debian 12's, with options of its own
        server=/usr/lib/qemu/virtiofsd
        options=(-o "source=$2" -o cache=auto -o sandbox=chroot)
    fi
    $server --socket-path="$work/$1.socket" "${options[@]}" >"$work/$1.log" 2>&1 &
    servers+=($!)
    for _ in $(seq 100); do
        [ ! -S "$work/$1.socket" ] || break
        sleep 0.1
    done
    [ -S "$work/$1.socket" ] || { cat "$work/$1.log" >&2; exit 124; }
    devices+=(-chardev "socket,id=$1,path=$work/$1.socket" -device "vhost-user-fs-pci,chardev=$1,tag=$1")
}

mkdir "$work/job"
printf '%q ' "$@" >"$work/job/command"
install -m 755 "$init" "$tree$first"
share root "$tree"
share job "$work/job"
share repo "$repository"

# The processor is emulated, as there is no KVM, or none that works, where this machine is a virtual one itself. The
# memory is shared, as virtiofsd wants it.
kernel=$(find "$tree/boot" -name 'vmlinuz-*')
timeout 1800 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
    -object memory-backend-memfd,id=memory,size=2048M,share=on -numa node,memdev=memory "${devices[@]}" \
    -nographic -nodefaults -vga none -serial stdio -no-reboot -kernel "$kernel" \
    -append "console=ttyS0 quiet panic=-1 rootfstype=virtiofs root=root rw init=$first" </dev/null |
    # What the firmware says to a terminal, and the ends of its lines.
    sed -u 's/\r$//; s/\x1b\[[0-9;?]*[a-zA-Z]//g; s/\x1bc//g; s/^Booting from ROM\.*//; /^SeaBIOS/d; /^$/d' || true
exit "$(cat "$work/job/status" 2>/dev/null || echo 124)"
