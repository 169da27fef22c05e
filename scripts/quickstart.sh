#!/bin/sh
# Install, and record the first frames: from the camera if there is one, from a drawn demo scene if not.
#
#     sh scripts/quickstart.sh [DIRECTORY [SECONDS]]        (default: day1 5)
#
# DIRECTORY is where you are. Asks nothing; may be run again, and then adds to DIRECTORY. One that was recorded by this script
# and deleted since is recorded anew only if it is named.
set -eu
unset CDPATH

usage() {
    echo "usage: sh $0 [DIRECTORY [SECONDS]]        (default: day1 5)"
    exit "$1"
}
directory=${1-day1}
seconds=${2-5}
[ $# -le 2 ] || usage 2 >&2
case $directory in -h | --help) usage 0 ;; '' | -*) usage 2 >&2 ;; esac
case $seconds in
    -1) length="until Ctrl-C" ;;
    '' | *[!0-9.]*) usage 2 >&2 ;;
    *) length="$seconds s" ;;
esac

here=$PWD
cd "$(dirname "$0")/.."
root=$PWD
. scripts/environment.sh

# Raspberry Pi OS Lite comes without picamera2. A USB camera does without it, too.
find_python
if [ ! -e .venv/made ] && grep -qs 'Raspberry Pi' /proc/device-tree/model && ! has_picamera2 "$python"; then
    (install_packages python3-picamera2) || echo "$NAME: going on without the Raspberry Pi camera" >&2
fi
make_environment classify,studio,features
# Models learn best with it, and everything works without: a school's network may not let it through.
# One that swallows what is asked costs 20 s, a slow one 5 minutes; what came is kept for the next time.
quietly timeout --foreground 300 .venv/bin/python -m pi_capture export-model || {
    why=$(tail -n 1 "$log")
    echo "$NAME: going on without the trained network that models build on: ${why:-it took too long; run this again}" >&2
}

cd "$here"
venv=$root/.venv
recorded=$root/.venv/recorded # by this script: which directories, so that none comes back that was deleted
option=
cameras=$("$venv/bin/python" -m pi_capture --list-cameras 2>/dev/null) || option=' --camera demo'
if [ $# = 0 ] && [ ! -e "$directory" ] && grep -qsxF "$here/$directory" "$recorded"; then
    echo "$NAME: $directory was recorded before and is deleted: nothing is recorded; to do so: sh $0 $directory"
    seconds=
elif [ -z "$option" ]; then
    echo "$NAME: recording $length from $(echo "$cameras" | head -n 1 | tr '\t' ' ') into $directory"
else
    echo "$NAME: no camera found; recording $length of the demo scene, a drawn room, into $directory"
fi
if [ -n "$seconds" ]; then
    (echo "$here/$directory" >>"$recorded") 2>/dev/null || : # another user's environment
    trap : INT # Ctrl-C ends the recording, not this script
    # shellcheck disable=SC2086 # an option and its value, or nothing
    "$venv/bin/python" -m pi_capture "$directory" "$seconds" --countdown 0 $option
fi

# A name as it must be typed.
typed() {
    case $1 in
        *[!A-Za-z0-9_./+:-]*) printf "'%s'\n" "$(printf %s "$1" | sed "s/'/'\\\\''/g")" ;;
        *) printf '%s\n' "$1" ;;
    esac
}

[ "$here" != "$root" ] || venv=.venv
name=$(typed "$directory")
printf '\nNext:\n\n    . %s\n' "$(typed "$venv/bin/activate")"
"$venv/bin/python" -c 'from classify.window.window import load_opencv; load_opencv()' 2>/dev/null ||
    printf '    %-48s # %s\n' "sudo apt install libgl1 libglib2.0-0 libsm6" "for the window of classify"
printf '    %-48s # %s\n' "python -m pi_capture $name -1$option" "record until Ctrl-C" \
    "python -m classify $name" "label with the keyboard" \
    "mkdir -p recordings" "or all of it in a browser:"
printf '    %s\n' "python -m pi_capture studio recordings --listen 0.0.0.0:8765"
echo
