#!/bin/sh
# A batch over 2,000 recordings: here, by shards, on Ray and on an object store, killed in between. Needs 4 GB and the
# internet:
#
#     sh scripts/fleet_tests.sh [PYTEST ARGUMENTS]
#
# Ray and moto are installed into $FLEET (default: /var/tmp/pi-capture-fleet), which the next run takes again.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

make_tools "${FLEET:-/var/tmp/pi-capture-fleet}" '.[features,ray,s3,train]' pytest 'moto[server]'

export PYTHONPATH="$PWD"
exec "$tools/bin/python" -m pytest -q -rA -m fleet tests/fleet "$@"
