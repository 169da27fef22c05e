#!/bin/bash
# The project on a Raspberry Pi's kind of processor, 64-bit Arm, which QEMU emulates here. For maintainers; as root, on
# Linux 6.7 or newer:
#
#     apt-get install qemu-user-static mmdebstrap debian-archive-keyring
#     scripts/arm_tests.sh [RELEASE [PYTEST ARGUMENTS]]        (default: bookworm, and the tests of the formats)
#
# Makes a Debian tree for arm64, and in it: quickstart.sh, a recording in each format of pictures, and tests. Then each side opens
# what the other wrote, and the pixels must be equal. Trees are kept in $TREES (default: /var/tmp/pi-capture-arm), with
# what pip installed; remove one to start anew. QEMU names another emulator: LiteRT needs 10.0 or newer (Debian trixie's
# qemu-user). Real cameras, windows, strace and mounts don't work in an emulated tree, nor do the tests that need them.
set -euo pipefail
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh
release=${1:-bookworm}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- tests/storage/formats/png tests/storage/formats/hdf5 tests/storage/formats/test_deflate.py
trees=${TREES:-/var/tmp/pi-capture-arm}
tree=$trees/$release
export QEMU=${QEMU:-$(command -v qemu-aarch64-static || :)} tree
certificates=/etc/ssl/certs/ca-certificates.crt
# libgl1, libglib2.0-0: for OpenCV; the last two are for tests
packages="ca-certificates python3 python3-venv procps libgl1 libglib2.0-0 pngcheck hdf5-tools"

main() {
    [ -n "$QEMU" ] || fail "run: apt-get install qemu-user-static mmdebstrap debian-archive-keyring"
    [ -x .venv/bin/python ] || fail "run scripts/quickstart.sh first: this system opens what the emulated one wrote"
    [ -e "$tree/made" ] || make_tree
    bring_project
    [ "$(cat "$tree/made")" = "$packages" ] || add_packages
    step "quickstart.sh" inside 'sh project/scripts/quickstart.sh day1 2'
    step "PNG, HDF5, video" inside "$(recordings there)"
    PATH=$PWD/.venv/bin:$PATH PYTHONPATH=$PWD step "the same on this processor" bash -euc "cd '$tree/root'; $(recordings here)"
    step "pixels are equal" equal_pixels
    step "tests" inside "cd project && .venv/bin/pip -q install pytest hypothesis tables && .venv/bin/python -m pytest -q -p no:cacheprovider $*"
}

# step NAME COMMAND…: run it, and print its last line.
step() {
    local name=$1 said
    shift
    said=$(mktemp)
    SECONDS=0
    "$@" >"$said" 2>&1 || { cat "$said" && fail "$release, $name: failed (above)"; }
    printf '%-9s %-28s %4d s  %.110s\n' "$release" "$name" $SECONDS "$(grep . "$said" | tail -n 1)"
    rm "$said"
}

# Commands that record WHERE, WHERE.h5 and WHERE.mkv, and check them.
recordings() {
    echo "rm -rf $1 $1.*; [ ! -e project/.venv/bin/activate ] || [ $1 = here ] || . project/.venv/bin/activate
        for path in $1 $1.h5 $1.mkv; do
            python -m pi_capture \$path 1 --camera demo --countdown 0
            python -m storage verify \$path
        done"
}

equal_pixels() {
    local script="
import sys, zlib
from storage import open_recording
for path in sys.argv[1:]:
    crc = 0
    recording = open_recording(path)
    for frame in recording:
        crc = zlib.crc32(frame.pixels.tobytes(), crc)
    print(path, len(recording), 'frames', recording[-1].timestamp_ns, crc)"
    echo "$script" >"$tree/root/pixels.py"
    inside 'project/.venv/bin/python pixels.py day1 there there.h5 there.mkv here here.h5 here.mkv' >"$tree/root/emulated"
    (cd "$tree/root" && PYTHONPATH=$OLDPWD "$OLDPWD/.venv/bin/python" pixels.py day1 there there.h5 there.mkv here here.h5 here.mkv >native)
    cat "$tree/root/native"
    diff "$tree/root/emulated" "$tree/root/native"
}

# -------------------------------------------------------------------------------------------------------------- the tree

make_tree() {
    echo "$NAME: making $tree; this takes some minutes, once"
    mkdir -p "$trees"
    rm -rf --one-file-system "$tree"
    quietly emulated mmdebstrap --mode=root --architectures=arm64 --variant=minbase --aptopt='Apt::Install-Recommends "false"' \
        --include="$packages" "$release" "$tree" "${MIRROR:-http://deb.debian.org/debian}" ||
        fail "can't make the tree: $(reason)"
    echo "$packages" >"$tree/made"
}

# To a tree that was made when the list was shorter.
add_packages() {
    echo "$NAME: installing into $tree"
    quietly inside "apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages" ||
        fail "can't install into the tree: $(reason)"
    echo "$packages" >"$tree/made"
}

bring_project() {
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    cp -L $certificates "$tree$certificates" # with that of a proxy this machine may be behind
    mkdir -p "$tree/root/project"
    git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - | tar -xf - -C "$tree/root/project"
}

# inside COMMAND: run it in the tree, from root's home. Its mounts vanish with it.
inside() {
    # shellcheck disable=SC2016 # for the shell within
    emulated sh -euc '
        for directory in proc sys dev; do mount --rbind /$directory "$tree/$directory"; done
        mount -t tmpfs tmpfs "$tree/tmp"
        exec chroot "$tree" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            PIP_CERT="$1" SSL_CERT_FILE="$1" ${QEMU_CPU+"QEMU_CPU=$QEMU_CPU"} sh -euc "cd; $2"' sh $certificates "$1"
}

# emulated COMMAND…: run it as root of a user namespace of its own. There the kernel starts Arm's programs by QEMU, and no
# other program on this system sees that (a binfmt_misc for each user namespace: Linux 6.7).
emulated() {
    local signal namespace
    signal=$(mktemp -u)
    mkfifo "$signal"
    # Ids are mapped from outside; only what is started after that is root.
    # shellcheck disable=SC2016
    unshare --user --mount --propagation private bash -c 'signal=$1; shift
        echo "$$" >"$signal"; read -r _ <"$signal"; exec bash -c "$0" bash "$@"' "$start" "$signal" "$@" &
    read -r namespace <"$signal"
    echo 0 0 65536 >"/proc/$namespace/uid_map"
    echo 0 0 65536 >"/proc/$namespace/gid_map"
    echo mapped >"$signal"
    rm "$signal"
    wait "$namespace"
}

# The first 20 bytes of an ELF program for aarch64, and which bits of them count. F: QEMU is opened now, so that it is
# found from within a tree; P, O, C: as Debian has it.
# shellcheck disable=SC2016
start='set -e
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    printf "%s" ":arm64:M::$magic:$mask:$QEMU:FPOC" >/proc/sys/fs/binfmt_misc/register
    exec "$@"'

main "$@"
