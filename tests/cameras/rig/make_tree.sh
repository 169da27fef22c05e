#!/bin/sh
# Make the Debian tree that the camera tests run in, unless it is there, and install what the project needs into it.
# As root, on an x86-64 Debian or Ubuntu:
#
#     make_tree.sh TREE
#
# $MIRROR is Debian's; by default the one that apt uses here. The tree is made beside TREE and renamed when it is whole.
set -eu
unset CDPATH
tree=$1
rig=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$rig/../../.." && pwd)
. "$repository/scripts/environment.sh"

# Debian 13 as on a Raspberry Pi. Its libcamera is too old for picamera2 from PyPI: a newer one comes from backports, and
# Debian builds it with the pipelines of virtual and of USB cameras.
packages=ca-certificates,python3-venv,python3-prctl,python3-libcamera/trixie-backports,libcamera-ipa/trixie-backports
packages=$packages,gcc,libc6-dev,python3-dev # picamera2 needs packages that have no wheels
packages=$packages,kmod,udev,systemd,v4l-utils # for the machine that run_in_vm.sh boots

main() {
    [ "$(id -u)" = 0 ] || fail "run this as root: it makes and mounts a Debian system"
    command -v qemu-system-x86_64 >/dev/null || install_packages qemu-system-x86
    # Debian 12's qemu has brought it, later ones have it in a package of its own.
    [ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] || install_packages virtiofsd
    if [ ! -d "$tree" ]; then
        command -v mmdebstrap >/dev/null || install_packages mmdebstrap
        echo "$NAME: making $tree; this takes some minutes, once"
        rm -rf --one-file-system "$tree.part"
        make_tree "$tree.part"
        mv "$tree.part" "$tree"
    fi
    # shellcheck disable=SC2016 # $1 is the inner shell's
    in_tree "$tree" sh -euc 'python -c "$1" <pyproject.toml | xargs -d "\n" pip install --quiet httpx pytest' sh '
import sys, tomllib
project = tomllib.load(sys.stdin.buffer)["project"]
print(*project["dependencies"], *project["optional-dependencies"]["studio"], sep="\n")' ||
        fail "pip can't install what the project needs into $tree (above)"
}

make_tree() {
    mirror=${MIRROR:-$(apt-get indextargets 'Created-By: Packages' 'Label: Debian' 'Component: main' |
        sed -n 's/^Repo-URI: //p' | sed 1q)}
    mirror=${mirror:-http://deb.debian.org/debian}
    quietly mmdebstrap --mode=root --variant=minbase --include="$packages" \
        --aptopt='Apt::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="chroot \"\$1\" sh -euc '$(unpack_kernel)'" \
        trixie "$1" "deb $mirror trixie main" "deb $mirror trixie-backports main" ||
        fail "mmdebstrap can't make $1: $(reason)"
    mkdir "$1/repo"
    touch "$1/etc/resolv.conf" # run_in_tree.sh puts this machine's over it
    # System packages are seen: libcamera comes from apt only.
    in_tree "$1" python3 -m venv --system-site-packages /opt/venv
    quietly in_tree "$1" pip install picamera2 || fail "pip can't install picamera2: $(reason)"
    in_tree "$1" cc -O2 -Wall -Wextra -shared -fPIC -o /opt/dmabuf_shim.so tests/cameras/rig/dmabuf_shim.c
}

# Unpacked and not installed: an installed one makes an initial RAM disk, which this machine boots without.
unpack_kernel() {
    cat <<'KERNEL'
cd /tmp
apt-get download -qq $(apt-cache depends linux-image-amd64 | grep -om1 "linux-image-[0-9].*")
dpkg-deb -x linux-image-*.deb /
rm linux-image-*.deb
depmod $(ls /usr/lib/modules)
KERNEL
}

in_tree() {
    in=$1
    shift
    sh "$rig/run_in_tree.sh" "$in" "$repository" "$@"
}

main
