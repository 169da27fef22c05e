#!/bin/bash
# The tests of the camera sources on real camera stacks, on a machine without a camera. As root:
#
#     scripts/camera_tests.sh RIG [ROOT] [pytest options …]
#
# RIG (or $CAMERA_RIG) is a directory with make_root.sh, setup_vm.sh, chroot_run.sh and vmrun.sh: they build a Debian
# tree with picamera2, libcamera and a kernel in ROOT (or $CAMERA_ROOT), and run a command in it, or in a virtual
# machine booted from it. picamera2 is tested in the tree on libcamera's virtual cameras, Video4Linux2 in the machine on
# the kernel's own drivers. A tree that is there is used again.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
rig=${1:-${CAMERA_RIG:-}}
root=${2:-${CAMERA_ROOT:-/var/tmp/camera-root}}
shift $(($# < 2 ? $# : 2))

for tool in setup_vm.sh chroot_run.sh vmrun.sh; do
    [ -f "$rig/$tool" ] || { echo "usage: $0 RIG [ROOT] [pytest options]: '$rig' has no $tool" >&2; exit 2; }
done
if [ ! -d "$root/usr/lib/modules" ]; then
    echo "== building $root"
    bash "$rig/setup_vm.sh" "$root"
fi

echo "== the project's dependencies"
python3 - "$here/pyproject.toml" <<'PYTHON' |
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
    xargs -d '\n' env -u PIP_FIND_LINKS -u PIP_CERT chroot "$root" /opt/venv/bin/pip install -q \
        --disable-pip-version-check pytest

pytest=(python -m pytest -q -rA -p no:cacheprovider --basetemp=/tmp/camera-tests -m cameras "$@")
failed=0

echo "== picamera2, on libcamera's virtual cameras"
bash "$rig/chroot_run.sh" "$root" "$here" env PYTHONDONTWRITEBYTECODE=1 \
    "${pytest[@]}" tests/cameras/test_libcamera.py tests/cameras/test_libcamera_h264.py || failed=1

echo "== Video4Linux2, on the kernel's drivers"
bash "$rig/vmrun.sh" -r "$root" -s "$here" -t 900 -- \
    "export PATH=/opt/venv/bin:\$PATH PYTHONPATH=/opt/camlab PYTHONDONTWRITEBYTECODE=1
     $(printf '%q ' "${pytest[@]}") tests/cameras/test_usb.py tests/cameras/test_vivid.py; first=\$?
     $(printf '%q ' "${pytest[@]}") tests/cameras/test_libcamera_usb.py && exit \$first" || failed=1

exit $failed
