# shellcheck shell=sh
# Sourced by quickstart.sh and test.sh: a virtual environment, .venv, with this project and what it needs in it. Others
# take make_tools, install_packages, quietly and fail from here.
# The caller has changed to the project's root. PYTHON names another interpreter than the usual one. What apt and pip say
# is not shown; when they fail, it is in a file that the message names.

NAME=${0##*/}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
export PIP_RETRIES=2 PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-20}"

fail() {
    echo "$NAME: $*" >&2
    exit 1
}

# .venv with the project and one of its extras, classify or test. Quick where nothing changed since the last time.
make_environment() {
    extras=$1
    site=
    find_python
    if has_picamera2 "$python"; then
        extras=$extras,pi
        site=--system-site-packages # picamera2 and libcamera come from apt only
    fi

    environment="$python $version $site $PWD"
    if [ "$(cat .venv/made 2>/dev/null)" != "$environment" ]; then
        has_venv || install_packages python3-venv
        has_venv || fail "$python can't make virtual environments: it has no ensurepip; install its venv package"
        clear=
        [ ! -e .venv/made ] || clear=--clear # ours, and of another Python; one that a person made is built upon
        # shellcheck disable=SC2086 # no option is no word
        quietly "$python" -m venv $clear $site .venv || fail "can't make $PWD/.venv: $(reason)"
        echo "$environment" >.venv/made
    fi

    contents="$extras $(cksum <pyproject.toml)"
    if [ "$(cat ".venv/installed-$1" 2>/dev/null)" != "$contents" ]; then
        echo "$NAME: installing into $PWD/.venv; this takes some minutes, once"
        quietly .venv/bin/python -m pip install -e ".[$extras]" || fail "pip can't install the project: $(reason)"
        if [ -n "$site" ] && ! picamera2_works; then
            echo "$NAME: going on without the Raspberry Pi camera, 'import picamera2' fails: $(reason)" >&2
            return
        fi
        echo "$contents" >".venv/installed-$1"
    fi
}

# A virtual environment beside the project: make_tools DIRECTORY WHAT-PIP-INSTALLS…. The next run takes it again. Sets tools.
make_tools() {
    tools=$1
    shift
    find_python
    [ -x "$tools/bin/python" ] || "$python" -m venv "$tools"
    echo "$NAME: installing into $tools"
    quietly "$tools/bin/python" -m pip install "$@" || fail "pip can't install $*: $(reason)"
}

# The first Python that is new enough; on a Raspberry Pi the one that apt's picamera2 belongs to. Sets python, version.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    elif has_picamera2 /usr/bin/python3; then
        set -- /usr/bin/python3 python3
    else
        set -- python3 /usr/bin/python3
    fi
    found=
    for candidate; do
        about=$(about_python "$candidate") || continue
        read -r bits version suits python <<END
$about
END
        [ "$bits" = 64 ] || fail "this system is a 32-bit one, for which the packages needed aren't made; install a 64-bit one"
        [ "$suits" = no ] || return 0
        found="$found, $candidate is $version"
    done
    fail "Python 3.11 or newer is needed${found:-, and there is none}; Debian 12 and Ubuntu 24.04 have it as python3," \
        "another place is named by PYTHON=/path/to/python3"
}

# The last word is the interpreter behind a virtual environment's: ours may be active, and can't make itself anew.
about_python() {
    "$1" -c '
import os, sys
behind = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
suits = "yes" if sys.version_info >= (3, 11) else "no"
print(64 if sys.maxsize > 2**32 else 32, "%d.%d" % sys.version_info[:2], suits, behind)' 2>/dev/null
}

has_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null
}

has_picamera2() {
    "$1" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("picamera2") is None)' 2>/dev/null
}

# apt's simplejpeg, which picamera2 imports, can be built for an older numpy than the one in .venv, whatever its version.
picamera2_works() {
    quietly .venv/bin/python -c 'import picamera2' && return
    rm "$log"
    quietly .venv/bin/python -m pip install --force-reinstall --no-deps simplejpeg || return
    quietly .venv/bin/python -c 'import picamera2'
}

# Install Debian packages, as root or where sudo asks for no password; else say how.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        fail "install these first, here by their names in Debian: $*"
    elif [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        fail "packages are missing; run: sudo apt update && sudo apt install -y $*"
    fi
    echo "$NAME: installing $* (apt)"
    # An update may fail in part: what is needed can still be there.
    # shellcheck disable=SC2086,SC2016 # as_root is words; $@ is that of the inner shell
    quietly $as_root env DEBIAN_FRONTEND=noninteractive sh -c '
        apt-get -q -o Acquire::Retries=1 update
        exec apt-get -q -o Acquire::Retries=1 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"' sh "$@" ||
        fail "apt can't install $*: $(reason)"
}

# Run a command without its chatter. When it fails, that is in the file $log. A terminal sees a dot every other second.
quietly() {
    log=$(mktemp "${TMPDIR:-/tmp}/pi-capture-$NAME.XXXXXX")
    dots=
    if [ -t 1 ]; then
        # Ctrl-C does not reach what runs in the background: it looks whether this script is still there.
        (while sleep 2 && kill -0 $$ 2>/dev/null; do printf .; done) &
        dots=$!
    fi
    failed=
    "$@" </dev/null >"$log" 2>&1 || failed=$?
    if [ -n "$dots" ]; then
        kill "$dots"
        wait "$dots" 2>/dev/null || :
        printf '\r\033[K'
    fi
    [ -z "$failed" ] || return "$failed"
    rm "$log"
}

# Why the last command failed, what to do, and where to read more: for one line.
reason() {
    if grep -qE 'Temporary failure|[Nn]ame ?[Rr]esolution|[Nn]ame or service|Could not (resolve|connect)|NewConnection|Timeout|unreachable' "$log"; then
        why="no connection to the internet; connect, and run this again"
    elif grep -q 'not yet valid' "$log"; then
        why="this machine's clock is wrong; set it, and run this again"
    elif grep -q 'No space left on device' "$log"; then
        why="the disk is full; make room, and run this again"
    else
        why=$(sed -nE '/ERROR: Exception/d; s/^ *((E|ERROR|[A-Za-z._]*Error): )/\1/p' "$log" | tail -n 1)
        why=${why:-$(tail -n 1 "$log")}
        why=${why:-it took too long; run this again}
    fi
    echo "$why (details in $log)"
}
