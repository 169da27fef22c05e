#!/bin/sh
# Install what the tests need, then check style and types, and run the tests. Arguments go to pytest.
#
#     sh scripts/test.sh [PYTEST ARGUMENTS]
#
# Asks nothing; may be run again.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

find_python # before anything is installed
# libgl1 and, through ffmpeg, GLib: for OpenCV's windows; x11-xserver-utils: xsetroot; e2fsprogs: a disk to fill or cut;
# openbox: a window manager; iproute2: two machines; faketime: a clock that jumps; pulseaudio: a microphone;
# chromium, node-typescript: the studio's pages and their types; mosquitto: a broker
packages="python3-venv pngcheck rsync hdf5-tools strace ffmpeg mkvtoolnix mpv libgl1 xvfb xauth xdotool"
packages="$packages x11-utils x11-xserver-utils mount e2fsprogs openbox iproute2 faketime"
packages="$packages pulseaudio pulseaudio-utils libasound2-plugins alsa-utils chromium node-typescript mosquitto"
missing=
for package in $packages; do
    case $(dpkg-query -Wf '${Status}' "$package" 2>/dev/null) in *' installed') ;; *) missing="$missing $package" ;; esac
done
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || install_packages $missing
make_environment test

PATH=$PWD/.venv/bin:$PATH
failed=
for check in 'ruff check' 'ruff format --check' mypy; do
    # shellcheck disable=SC2086 # a module and its arguments
    python -m $check || failed="$failed, $check"
done
# One more than there are processors: tests wait for programs most of the time.
python -m pytest -n "$(($(nproc) + 1))" --dist worksteal "$@"
[ -z "$failed" ] || fail "the tests passed, but not ${failed#, } (above)"
