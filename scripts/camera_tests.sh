#!/bin/sh
# The tests of the camera sources on real camera stacks, on a machine without a camera. As root, on an x86-64 Debian or
# Ubuntu; needs the internet:
#
#     sh scripts/camera_tests.sh [PYTEST ARGUMENTS]
#
# A Debian tree with picamera2, libcamera and a kernel is made in $CAMERA_ROOT (default: /var/tmp/camera-root), and taken
# again by the next run. picamera2 is tested in the tree on libcamera's virtual cameras, Video4Linux2 in a virtual machine
# booted from it on the kernel's own drivers. tests/cameras/rig/README.md says how.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
rig=tests/cameras/rig
tree=${CAMERA_ROOT:-/var/tmp/camera-root}
failed=0

# tests_in tree|vm FILES [PYTEST ARGUMENTS]
tests_in() {
    where=$1 files=$2
    shift 2
    # shellcheck disable=SC2086 # several files
    bash "$rig/run_in_$where.sh" "$tree" . env CAMERA_RIG=1 PYTHONDONTWRITEBYTECODE=1 \
        python -m pytest -q -rA -p no:cacheprovider --basetemp=/tmp/camera-tests -m cameras $files "$@" || failed=1
}

sh "$rig/make_tree.sh" "$tree"
echo "== picamera2, on libcamera's virtual cameras"
tests_in tree 'tests/cameras/test_libcamera.py tests/cameras/test_libcamera_h264.py' "$@"
echo "== Video4Linux2, on the kernel's drivers"
tests_in vm 'tests/cameras/test_usb.py tests/cameras/test_vivid.py' "$@"
echo "== picamera2, on a USB camera"
tests_in vm tests/cameras/test_libcamera_usb.py "$@"
exit $failed
