#!/bin/sh
# The fault tests, and a table of what was tried and what it cost. With --all, those that take minutes as well.
# Other arguments go to pytest.
#
#     sh scripts/fault_suite.sh [--all] [PYTEST ARGUMENTS]
#
# PYTHON is the interpreter with the test dependencies (default: the environment of scripts/test.sh). Root, for the
# disks that are mounted; strace, faketime, e2fsprogs.
set -eu
cd "$(dirname "$0")/.."

which='not slow'
if [ "${1:-}" = --all ]; then
    which='slow or not slow'
    shift
fi
PYTHON=${PYTHON:-$PWD/.venv/bin/python}
FAULT_TABLE=$(mktemp)
export FAULT_TABLE
trap 'rm -f "$FAULT_TABLE"' EXIT

status=0
"$PYTHON" -m pytest -q -m "$which" tests/faults tests/faults/test_moves_power_cut.py "$@" || status=$?
echo
"$PYTHON" -m tests.faults.table "$FAULT_TABLE"
exit "$status"
