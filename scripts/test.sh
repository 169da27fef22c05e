#!/bin/sh
# Install what the tests need, then check style and types and run the tests. Arguments go to pytest.
#
#     sh scripts/test.sh [PYTEST ARGUMENTS]
#
# Asks nothing; may be run again.
set -eu
NAME='test'
cd "$(dirname "$0")/.."
. scripts/environment.sh

missing=
for package in pngcheck xvfb xdotool x11-utils x11-xserver-utils strace ffmpeg libgl1 libegl1; do
    dpkg -s $package >/dev/null 2>&1 || missing="$missing $package"
done
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || install_packages $missing
make_environment test

PATH=$PWD/.venv/bin:$PATH
ruff check .
ruff format --check --quiet .
mypy
exec python -m pytest "$@"
