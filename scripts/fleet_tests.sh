#!/bin/sh
# A batch over 2,000 recordings: here, by shards, on Ray and on an object store, killed in between. Needs 2 GB and the
# internet:
#
#     sh scripts/fleet_tests.sh [PYTEST ARGUMENTS]
#
# Ray and moto are installed into $FLEET (default: /var/tmp/pi-capture-fleet), which the next run takes again.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

find_python
fleet=${FLEET:-/var/tmp/pi-capture-fleet}
[ -x "$fleet/bin/python" ] || "$python" -m venv "$fleet"
echo "$NAME: installing into $fleet"
quietly "$fleet/bin/python" -m pip install '.[features,ray,s3]' pytest 'moto[server]' ||
    fail "pip can't install Ray and moto: $(reason)"

export PYTHONPATH="$PWD"
exec "$fleet/bin/python" -m pytest -q -rA -m fleet tests/fleet "$@"
