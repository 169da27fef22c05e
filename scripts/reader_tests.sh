#!/bin/sh
# Training frameworks and players themselves on what this project writes; needs 10 GB and the internet:
#
#     sh scripts/reader_tests.sh [PYTEST ARGUMENTS]
#
# The frameworks are installed into $READERS (default: /var/tmp/pi-capture-readers), which the next run takes again.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

find_python
install_packages python3-venv ffmpeg vlc-bin vlc-plugin-base octave mkvtoolnix mpv
# PyTorch's own index has wheels without CUDA, which are small.
cpu=https://download.pytorch.org/whl/cpu
index=
! "$python" -c "import urllib.request; urllib.request.urlopen('$cpu/', timeout=10)" 2>/dev/null || index="--extra-index-url $cpu"
# shellcheck disable=SC2086 # no option is no word
make_tools "${READERS:-/var/tmp/pi-capture-readers}" \
    $index '.[parquet]' pytest torch torchvision torchcodec datasets ultralytics webdataset

export HF_HOME="$tools/cache" YOLO_CONFIG_DIR="$tools/cache" YOLO_OFFLINE=true PYTHONPATH="$PWD"
exec "$tools/bin/python" -m pytest -q -rA -m readers tests/readers "$@"
