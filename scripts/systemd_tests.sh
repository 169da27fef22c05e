#!/bin/bash
# The tests of the recorder as a service, in a virtual machine that systemd boots. As root:
#
#     scripts/systemd_tests.sh RIG [ROOT] [pytest options …]
#
# RIG (or $CAMERA_RIG) is the directory of camera_tests.sh, whose setup_vm.sh makes a Debian tree with a kernel and whose
# vmrun.sh boots it. ROOT (or $SYSTEMD_ROOT) is a tree of its own; it is made if it isn't there. The machine writes into
# memory over it: every run begins with the same tree, and the service is installed into it before it boots.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
rig=${1:-${CAMERA_RIG:-}}
root=${2:-${SYSTEMD_ROOT:-/var/tmp/systemd-root}}
shift $(($# < 2 ? $# : 2))

for tool in setup_vm.sh vmrun.sh; do
    [ -f "$rig/$tool" ] || { echo "usage: $0 RIG [ROOT] [pytest options]: '$rig' has no $tool" >&2; exit 2; }
done
[ -d "$root/usr/lib/modules" ] || bash "$rig/setup_vm.sh" "$root"

echo "== the project's dependencies"
python3 - "$here/pyproject.toml" <<'PYTHON' |
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
    xargs -d '\n' env -u PIP_FIND_LINKS -u PIP_CERT chroot "$root" /opt/venv/bin/pip install -q \
        --disable-pip-version-check pytest

# vmrun.sh runs the vm-init that is beside it as the first process.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$rig/vmrun.sh" "$work"
cat >"$work/vm-init" <<'INIT'
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
while read -r module; do [ -z "$module" ] || modprobe $module; done <$new/job/modules

echo /repo >"$(echo $new/opt/venv/lib/python3*/site-packages)/this.pth"
chroot $new useradd -m pi 2>&1
mkdir -p $new/srv/recordings $new/etc/pi-capture
chroot $new chown pi /srv/recordings
cat >$new/etc/pi-capture/corner.toml <<'TOML'
directory = "/srv/recordings/day1"
seconds = -1
camera = "demo"
fps = 3
TOML
cd /mnt
PYTHONPATH=/mnt/root/repo /opt/venv/bin/python -m pi_capture install-service corner --user pi \
    --config $new/etc/pi-capture/corner.toml --root $new
# As it is installed, but quicker, so that the tests are.
printf '[Service]\nWatchdogSec=15\nTimeoutStartSec=300\nTimeoutAbortSec=4\nRestartSec=1\n' \
    >$new/etc/systemd/system/pi-capture@corner.service.d/zz-tests.conf

cat >$new/etc/systemd/system/job.service <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
WorkingDirectory=/repo
Environment=PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1 COLUMNS=120
ExecStart=sh -c 'sh /job/cmd >/dev/console 2>&1; echo $? >/job/rc; sync; systemctl poweroff -ff'
UNIT
mkdir -p $new/etc/systemd/system/graphical.target.wants
ln -s ../job.service $new/etc/systemd/system/graphical.target.wants/
ln -sf /usr/lib/systemd/system/graphical.target $new/etc/systemd/system/default.target
touch $new/etc/.updated $new/var/.updated # nothing is to be made ready for a first boot
for unit in serial-getty@ttyS0 getty@tty1 getty-static systemd-networkd-wait-online; do
    ln -sf /dev/null $new/etc/systemd/system/$unit.service
done
cd $new
pivot_root . old
exec chroot . /lib/systemd/systemd --show-status=no </dev/console >/dev/console 2>&1
INIT

bash "$work/vmrun.sh" -r "$root" -s "$here" -t 1800 -- \
    "$(printf '%q ' python -m pytest -q -rA -s -p no:cacheprovider --basetemp=/srv/pytest -m systemd "$@" tests/systemd)"
