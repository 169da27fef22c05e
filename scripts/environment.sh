# shellcheck shell=sh
# Sourced by quickstart.sh and test.sh: a virtual environment, .venv, with this project and what it needs in it.
# The caller sets NAME, for messages, and has changed to the project's root.

export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
LOG="${TMPDIR:-/tmp}/pi-capture-$NAME-$(id -u).log"

fail() {
    echo "$NAME: $*" >&2
    exit 1
}

# A Python that is new enough; on a Raspberry Pi the one that apt's picamera2 belongs to.
find_python() {
    [ "$(getconf LONG_BIT)" = 64 ] || fail "this system is 32-bit, for which there are no packages; install a 64-bit one"
    for candidate in "${PYTHON:-}" "$(has_picamera2 /usr/bin/python3 && echo /usr/bin/python3)" python3 /usr/bin/python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            PYTHON=$candidate
            return
        fi
    done
    fail "Python 3.11 or newer is needed; install python3, or name one: PYTHON=/path/to/python3"
}

has_picamera2() {
    "$1" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("picamera2") is None)' 2>/dev/null
}

# Install Debian packages, as root or where sudo asks no password; else say how.
install_packages() {
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo="sudo -n"
    else
        fail "needed from apt; run: sudo apt install -y $*"
    fi
    command -v apt-get >/dev/null || fail "needed, by its name in Debian: $*"
    echo "installing $* (apt)"
    # shellcheck disable=SC2086 # no sudo is no word
    { $sudo apt-get update -q && $sudo apt-get install -qy --no-install-recommends "$@"; } >"$LOG" 2>&1 ||
        fail "apt could not install $*; is this machine online? (details in $LOG)"
}

# .venv with the project and the extras given, such as classify,test; nothing to do if it stands already.
make_environment() {
    find_python
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    site=
    if has_picamera2 "$PYTHON"; then
        site=--system-site-packages # libcamera and picamera2 come from apt only
        # apt's simplejpeg does not work beside a newer numpy; picamera2 needs one that does
        set -- "$1,pi"
    fi
    stamp="$1 $site $PWD $("$PYTHON" -V) $(cksum pyproject.toml)"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/installed 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    echo "installing into .venv (a few minutes, once)"
    # shellcheck disable=SC2086 # no option is no word
    "$PYTHON" -m venv $site .venv >"$LOG" 2>&1 || fail "can't make .venv (details in $LOG)"
    .venv/bin/python -m pip install --retries 2 --timeout 20 -e ".[$1]" >"$LOG" 2>&1 ||
        fail "pip could not install the project; is this machine online? (details in $LOG)"
    if [ -n "$site" ] && ! .venv/bin/python -c 'import picamera2' >"$LOG" 2>&1; then
        echo "$NAME: picamera2 does not work: $(tail -n 1 "$LOG")" >&2
    fi
    echo "$stamp" >.venv/installed
}
