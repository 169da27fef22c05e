#!/bin/bash
# The tests of the recorder and the studio as services, in a Debian system that systemd boots. As root, on Debian with
# systemd-container and mmdebstrap:
#
#     scripts/systemd_tests.sh [--vm] [PYTEST ARGUMENTS]
#
# The system is booted in a container, which takes seconds. With --vm it is booted in an emulated machine, by a kernel and
# with devices of its own, which takes many minutes. The tree is kept in $SYSTEMD_ROOT (default: /var/tmp/systemd-root), that
# with a kernel in $CAMERA_ROOT, as camera_tests.sh makes it (default: /var/tmp/camera-root), and taken again: every run
# writes over it, not into it. $MIRROR is Debian's; by default apt's here.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
certificates=/etc/ssl/certs/ca-certificates.crt
place=in_container
if [ "${1-}" = --vm ]; then
    place=in_machine
    shift
fi
command=(python -m pytest -q -rA -s --color=no -p no:cacheprovider --basetemp=/srv/pytest -m systemd "$@" tests/systemd)
work=$(mktemp -d /var/tmp/systemd-tests.XXXXXX)
group=

main() {
    trap leave EXIT
    $place
}

leave() {
    if [ -d "$group" ]; then
        echo 1 >"$group/cgroup.kill" # what an end by force has left
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.1
        done
        [ ! -d "$group" ] || echo "$group is still in use" >&2
    fi
    ! mountpoint -q "$work/root" || umount "$work/root"
    rm -rf --one-file-system "$work"
}

# prepare ROOT: a recorder's settings, its service installed as on a card that is in another machine, and the tests as
# what is started last. Runs as root of the tree that /opt/venv is in.
prepare() {
    new=$1
    chroot $new useradd -m pi
    mkdir -p $new/srv/recordings $new/etc/pi-capture
    chroot $new chown pi /srv/recordings
    cat >$new/etc/pi-capture/corner.toml <<'TOML'
directory = "/srv/recordings/day1"
seconds = -1
camera = "demo"
fps = 3
TOML
    (cd /mnt && /opt/venv/bin/python -m pi_capture install-service corner --user pi \
        --config $new/etc/pi-capture/corner.toml --root $new)
    # As it is installed, but quicker, so that the tests are.
    printf '[Service]\nWatchdogSec=%s\nTimeoutStartSec=300\nTimeoutAbortSec=3\nRestartSec=1\n' $2 \
        >$new/etc/systemd/system/pi-capture@corner.service.d/zz-tests.conf
    cat >$new/etc/systemd/system/job.service <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=exec
WorkingDirectory=/repo
Environment=PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1 COLUMNS=120
ExecStart=sh -c 'bash /job/command >/dev/console 2>&1; echo $? >/job/status; sync; systemctl poweroff -ff'
UNIT
    mkdir -p $new/etc/systemd/system/graphical.target.wants
    ln -s ../job.service $new/etc/systemd/system/graphical.target.wants/
    ln -sf /usr/lib/systemd/system/graphical.target $new/etc/systemd/system/default.target
    touch $new/etc/.updated $new/var/.updated # nothing is to be made ready for a first boot
    for unit in console-getty serial-getty@ttyS0 getty@tty1 getty-static systemd-networkd-wait-online; do
        ln -sf /dev/null $new/etc/systemd/system/$unit.service
    done
}

# --------------------------------------------------------------------------------------------------------- in a container

in_container() {
    local root=${SYSTEMD_ROOT:-/var/tmp/systemd-root} boot=(systemd-nspawn --quiet --boot --machine=systemd-tests)
    [ -d "$root/opt/venv" ] || make_tree "$root"
    mkdir "$work"/{upper,work,root,srv,job}
    chmod 755 "$work" "$work"/{upper,srv}
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$work/root"

    # The project itself is installed as anybody installs it.
    git -C "$here" ls-files -z --cached --others --exclude-standard | (cd "$here" && tar --null --ignore-failed-read -cf - -T -) |
        tar -xf - --one-top-level="$work/root/repo"
    inside "/opt/venv/bin/pip install -q /repo[studio] httpx pytest"
    inside "mount --bind / /mnt && $(declare -f prepare) && prepare /mnt 6"

    printf '%q ' "${command[@]}" >"$work/job/command"
    boot+=(--directory="$work/root" --bind="$work/job:/job" --bind="$work/srv:/srv/recordings")
    boot+=(--private-network --console=read-only)
    chown "$(chroot "$work/root" id -u pi)" "$work/srv"
    if [ ! -d /run/systemd/system ]; then # nobody here who gives it a cgroup
        local unified
        unified=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
        group=$unified/systemd-tests.$$
        mkdir "$group"
        boot+=(--register=no --keep-unit)
    fi
    (
        [ -z "$group" ] || echo "$BASHPID" >"$group/cgroup.procs"
        SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec timeout --kill-after=10 900 "${boot[@]}" -- --show-status=no </dev/null
    ) || true
    exit "$(cat "$work/job/status" 2>/dev/null || echo 124)"
}

make_tree() {
    local mirror=${MIRROR:-$(apt-get indextargets 'Created-By: Packages' 'Label: Debian' 'Component: main' |
        sed -n 's/^Repo-URI: //p' | sed 1q)}
    echo "== making $1"
    mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates,systemd-sysv,dbus bookworm "$1.part" "$mirror"
    cp -L /etc/resolv.conf "$1.part/etc/resolv.conf"
    cp -L $certificates "$1.part$certificates" # with that of a proxy this machine may be behind
    chroot "$1.part" python3 -m venv /opt/venv
    mv "$1.part" "$1"
}

# inside COMMAND: run it in the tree, which is not booted. Its mounts vanish with it.
inside() {
    unshare --mount sh -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        exec chroot "$1" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_CERT="$3" \
            PIP_DISABLE_PIP_VERSION_CHECK=1 ${http_proxy+"http_proxy=$http_proxy"} \
            ${https_proxy+"https_proxy=$https_proxy"} sh -euc "$2"' sh "$work/root" "$1" "$certificates" </dev/null
}

# ----------------------------------------------------------------------------------------------------------- in a machine

in_machine() {
    local root=${CAMERA_ROOT:-/var/tmp/camera-root} rig=$here/tests/cameras/rig
    sh "$rig/make_tree.sh" "$root"
    {
        cat <<'INIT'
#!/bin/sh
# Prepares a root of memory over the shared tree, installs the service into it, and becomes systemd.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
modprobe overlay
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
new=/mnt/root
mkdir -p $new/job $new/repo $new/old
mount -t virtiofs job $new/job
mount -t virtiofs repo $new/repo
echo /repo >"$(echo $new/opt/venv/lib/python3*/site-packages)/this.pth"
export PYTHONPATH=/mnt/root/repo
INIT
        declare -f prepare
        cat <<'INIT'
prepare $new 15
unset PYTHONPATH
cd $new
pivot_root . old
exec chroot . /lib/systemd/systemd --show-status=no </dev/console >/dev/console 2>&1
INIT
    } >"$work/init"
    bash "$rig/run_in_vm.sh" --init "$work/init" "$root" "$here" "${command[@]}"
}

main "$@"
