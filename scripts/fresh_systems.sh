#!/bin/bash
# Do the two set-up commands work on a fresh system? For maintainers; as root on Debian or Ubuntu, with mmdebstrap:
#
#     scripts/fresh_systems.sh [--tests | --wheel] [RELEASE …]        (default: bookworm trixie)
#
# Makes Debian trees with nothing but python3, puts the project's files in (as git sees them, changes included), and runs
# quickstart.sh there as people will: as root and not, with and without the internet and Python's venv; then a browser of
# this system goes through the pages of the tree's studio (run test.sh here first); with --tests also test.sh; with --wheel
# only what scripts/release.sh has put into dist/: installed, upgraded, used and removed again. Prints a row for each case, and all that was said where it did not end as expected. Fresh trees are kept in
# $TREES (default: /var/tmp/fresh-systems) and taken again. $MIRROR is Debian's; by default the one that apt uses here.
set -euo pipefail
unset CDPATH
cd "$(dirname "$0")/.."
trees=${TREES:-/var/tmp/fresh-systems}
mirror=${MIRROR:-}
certificates=/etc/ssl/certs/ca-certificates.crt
system_packages=/usr/lib/python3/dist-packages
failed=0

main() {
    local only=
    case "${1-}" in --tests | --wheel) only=$1 && shift ;; esac
    [ $# != 0 ] || set -- bookworm trixie
    command -v mmdebstrap >/dev/null || fail "run: apt install mmdebstrap"
    [ -n "$mirror" ] || mirror=$(mirror_of_apt)
    [ -n "$mirror" ] || fail "apt here knows no Debian mirror; name one: MIRROR=…"
    mkdir -p "$trees"
    printf '%-9s %-34s %-7s %5s  %s\n' system case outcome time 'last line'
    for release; do
        make_tree
        if [ "$only" = --wheel ]; then
            check_wheel
        else
            check_quickstart
            check_studio
            [ "$release" != bookworm ] || check_picamera2
            [ -z "$only" ] || check_tests
        fi
        rm -rf --one-file-system "$tree" "$said"
    done
    exit $failed
}

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# ------------------------------------------------------------------------------------------------------------ the cases

check_quickstart() {
    local quickstart='sh project/scripts/quickstart.sh'
    expect "plain user, no venv" 1 plain online "$quickstart" one_line 'sudo apt install -y python3-venv$'
    expect "no internet" 1 root offline "$quickstart" one_line 'no connection to the internet'
    expect "first run" 0 root online "$quickstart" frames 150
    expect "second run" 0 root online "$quickstart" frames 300
    expect "second run, no internet" 0 root offline "$quickstart" frames 450
    expect "plain user, no internet" 1 plain offline "$quickstart" one_line 'no connection to the internet'
    expect "plain user" 0 plain online "$quickstart" frames 150
}

# The tree shares the network with this system, and its files can be read from here.
check_studio() {
    expect "studio: record, label, split" 0 root online 'mkdir recordings
        PYTHONUNBUFFERED=1 nohup project/.venv/bin/python -m pi_capture studio recordings --listen 127.0.0.1:0 >address 2>&1 &' \
        journey
    end_processes
}

# On Raspberry Pi OS bookworm, picamera2 imports a simplejpeg 1.8.1 that was built for numpy 1: beside a newer numpy in
# .venv it fails, and pip takes it for new enough. Here that is an older simplejpeg, built for numpy 1 too, under that
# number, and a picamera2 that only imports it: Debian has none.
check_picamera2() {
    local import="-c 'import numpy, picamera2; print(\"with numpy\", numpy.__version__)'"
    expect "picamera2: simplejpeg for numpy 1" 0 root online "
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends python3-numpy
        project/.venv/bin/python -m pip -q install --no-deps --target $system_packages simplejpeg==1.7.2
        cd $system_packages
        sed -i 's/^Version: .*/Version: 1.8.1/' simplejpeg-1.7.2.dist-info/METADATA
        mv simplejpeg-1.7.2.dist-info simplejpeg-1.8.1.dist-info" true
    mkdir "$tree$system_packages/picamera2"
    cat >"$tree$system_packages/picamera2/__init__.py" <<'PYTHON'
import numpy, simplejpeg

class Picamera2:
    @staticmethod
    def global_camera_info():
        return []
PYTHON
    expect "picamera2 with apt's numpy" 0 root online "python3 $import" says 'with numpy 1[.]'
    expect "picamera2 with a newer numpy" 1 root online "
        python3 -m venv --system-site-packages plain && plain/bin/pip -q install 'numpy>=2' && plain/bin/python $import" \
        says 'numpy.dtype size changed'
    expect "picamera2: quickstart.sh" 0 root online 'sh project/scripts/quickstart.sh' frames 600
    expect "picamera2 in .venv" 0 root online "project/.venv/bin/python $import" says 'with numpy 2[.]'
}

# The console scripts, the manual pages as man finds them, and the completion as bash loads it.
check_wheel() {
    mkdir "$tree/root/dist" && cp dist/*.whl dist/*.tar.gz "$tree/root/dist/"
    expect "wheel: pip install" 0 root online '
        apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3-venv man-db bash-completion
        python3 -m venv env && env/bin/pip install dist/*.whl' says 'Successfully installed'
    expect "wheel: pi-capture" 0 root offline '. env/bin/activate
        pi-capture day1 2 --camera demo --countdown 0 && pi-capture --version' says '^pi-capture [0-9]'
    expect "wheel: pi-storage" 0 root offline '. env/bin/activate; pi-storage info day1; pi-storage verify day1' says 'none broken'
    expect "wheel: pi-classify, no OpenCV" 1 root offline '. env/bin/activate; pi-classify day1' says 'cv2 is not installed'
    expect "wheel: doctor beside a classify.py" 0 root offline '. env/bin/activate
        mkdir -p own && cd own && echo >classify.py && pi-capture doctor --camera demo' says 'or run pi-classify'
    expect "wheel: man" 0 root offline '. env/bin/activate
        for page in pi-capture pi-classify pi-storage; do man "$page" | grep -q "^NAME" && man -w "$page"; done' says pi-storage.1
    expect "wheel: completion, by its path" 0 root offline "bash -c '. env/bin/activate
        . env/share/bash-completion/completions/pi-storage && COMP_WORDS=(pi-storage me) COMP_CWORD=1
        _shtab_pi_storage 2>/dev/null; echo \"\${COMPREPLY[@]}\"'" says 'merge merge-streams'
    [ "$release" = bookworm ] || expect "wheel: completion, by itself" 0 root offline "bash -c '. env/bin/activate
        . /usr/share/bash-completion/bash_completion && _comp_load pi-capture; complete -p pi-capture'" says _shtab_pi_capture
    expect "sdist: pip install" 0 root online 'env/bin/pip install --force-reinstall --no-deps dist/*.tar.gz && env/bin/pi-storage --version' \
        says '^pi-capture [0-9]'
    expect "wheel: pip uninstall" 0 root offline 'env/bin/pip uninstall -y pi-capture && ! ls env/bin/pi-* env/share/man/man1' \
        says 'Successfully uninstalled'
}

check_tests() {
    expect "test.sh: plain user" 1 plain online 'sh project/scripts/test.sh' one_line 'sudo apt install'
    expect "test.sh" 0 root online 'sh project/scripts/test.sh' says ' passed'
    expect "test.sh FILE, no internet" 0 root offline 'sh project/scripts/test.sh tests/storage/formats/png/test_codec.py' says ' passed'
}

# expect CASE STATUS USER NETWORK COMMAND CHECK…: run COMMAND, and print a row.
expect() {
    local case=$1 wanted=$2 user=$3 network=$4 command=$5 status=0 outcome=ok
    shift 5
    SECONDS=0
    inside "$user" "$network" "$command" >"$said" 2>&1 || status=$?
    [ $status = "$wanted" ] && "$@" || outcome=FAILED failed=1
    printf '%-9s %-34s %-7s %3d s  %.100s\n' "$release" "$case" $outcome $SECONDS "$(grep . "$said" | tail -n 1)"
    [ $outcome = ok ] || sed "s/^/    (exit $status) /" "$said"
}

# shellcheck disable=SC2329 # expect calls it
says() {
    grep -q -- "$1" "$said"
}

# shellcheck disable=SC2329
one_line() {
    [ "$(grep -vc ': installing ' "$said")" = 1 ] && says "$1"
}

# shellcheck disable=SC2329
frames() {
    [ "$(find "$(home_of "$user")/day1" -name '*.png' | wc -l)" -ge $(($1 * 9 / 10)) ]
}

# shellcheck disable=SC2329
journey() {
    local address="" home
    home=$(home_of root)
    while [ -z "$address" ] && [ $SECONDS -lt 60 ]; do
        sleep 0.2
        address=$(grep -o 'http://[^ ]*token=[^ ]*' "$home/address" | head -n 1)
    done
    [ -n "$address" ] || { cat "$home/address" >>"$said" && return 1; }
    STUDIO_ADDRESS=$address STUDIO_FOLDER=$home/recordings PYTHONPATH=$PWD .venv/bin/python -m pytest -q \
        'tests/pi_capture/studio/test_pages.py::test_journey[desktop]' >>"$said" 2>&1
}

# The studio, and a recording that a failed journey left.
end_processes() {
    local process
    for process in /proc/[0-9]*; do
        [ ! "$process/root" -ef "$tree" ] || kill "${process##*/}" || true
    done
}

# ------------------------------------------------------------------------------------------------------------ the trees

# A working copy, $tree, of a release with python3; in it the project, in the homes of root and of a user named plain.
make_tree() {
    local base=$trees/$release.tar
    if [ ! -e "$base" ]; then
        mmdebstrap --quiet --variant=minbase --include=python3,ca-certificates "$release" "$base.part.tar" "$mirror"
        mv "$base.part.tar" "$base"
    fi
    said=$(mktemp)
    tree=$(mktemp -d "$trees/$release.XXXXXX")
    chmod 755 "$tree"
    tar -xf "$base" -C "$tree"
    cp -L /etc/resolv.conf "$tree/etc/resolv.conf"
    cp -L $certificates "$tree$certificates" # with that of a proxy this machine may be behind
    chroot "$tree" useradd --create-home plain
    local user
    for user in root plain; do
        mkdir "$(home_of $user)/project"
        git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - |
            tar -xf - -C "$(home_of $user)/project"
        chroot "$tree" chown -R $user: "/$(realpath --relative-to="$tree" "$(home_of $user)")"
    done
}

home_of() {
    if [ "$1" = root ]; then echo "$tree/root"; else echo "$tree/home/$1"; fi
}

mirror_of_apt() {
    apt-get indextargets 'Created-By: Packages' 'Label: Debian' 'Component: main' | sed -n 's/^Repo-URI: //p' | sed 1q
}

# inside USER NETWORK COMMAND: run it in the tree, from the user's home. Its mounts vanish with it.
inside() {
    local user=$1 network=$2 command=$3 namespaces=(--mount)
    [ "$network" = online ] || namespaces+=(--net)
    export tree user command certificates
    # shellcheck disable=SC2016 # for the shell within
    unshare "${namespaces[@]}" sh -euc '
        mount --bind "$tree" "$tree" # for tests that mount: the root must be a mount point
        mount -t proc proc "$tree/proc"
        mount --rbind /sys "$tree/sys"
        mount --rbind /dev "$tree/dev"
        home=$(chroot "$tree" sh -c "echo ~$user")
        exec chroot --userspec="$user" "$tree" env -i HOME="$home" LANG=C.UTF-8 PIP_CERT="$certificates" \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            ${http_proxy+"http_proxy=$http_proxy"} ${https_proxy+"https_proxy=$https_proxy"} \
            sh -c "cd && $command"' </dev/null
}

main "$@"
