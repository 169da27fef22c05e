#!/bin/sh
# The tests that take minutes: a hundred kills, an hour's worth of frames. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
exec sh scripts/test.sh -m slow -rP "$@"
