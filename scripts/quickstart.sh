#!/bin/sh
# Install, and record the first frames: from the camera if there is one, from a drawn demo scene if not.
#
#     sh scripts/quickstart.sh [DIRECTORY SECONDS]        (default: day1 5)
#
# Asks nothing; may be run again.
set -eu
NAME=quickstart
directory=${1:-day1}
seconds=${2:-5}
here=$PWD
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. scripts/environment.sh

if grep -qs "Raspberry Pi" /proc/device-tree/model && ! has_picamera2 /usr/bin/python3; then
    (install_packages python3-picamera2) || echo "$NAME: going on without the Raspberry Pi camera" >&2
fi
make_environment classify

cd "$here"
python=$root/.venv/bin/python
if "$python" -m pi_capture --list-cameras >/dev/null 2>&1; then
    camera=auto
    echo "recording $seconds s from $("$python" -m pi_capture --list-cameras | head -n 1 | tr '\t' ' ')"
else
    camera=demo
    echo "no camera found: recording $seconds s of the demo scene"
fi
"$python" -m pi_capture "$directory" "$seconds" --camera "$camera" --countdown 0

cat <<END

Next:
  . "$root/.venv/bin/activate"
  python -m pi_capture "$directory" -1$([ $camera = demo ] && echo " --camera demo")      record until Ctrl-C
  python -m classify "$directory"           label the frames with the keyboard
END
