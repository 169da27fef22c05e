#!/bin/sh
# Build the site of docs/ into dist/site, strictly, and test it; needs the internet:
#
#     sh scripts/site.sh [PYTEST ARGUMENTS]
#
# A link that leads nowhere, a page in no menu, a docstring that names another parameter, a notebook that fails: each ends it.
# MkDocs is installed into $SITE_TOOLS (default: /var/tmp/pi-capture-site), which the next run takes again. Open
# dist/site/index.html in a browser; any web server can serve the directory as it is.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

make_tools "${SITE_TOOLS:-/var/tmp/pi-capture-site}" \
    . pytest 'mkdocs-material>=9.8,<10' 'mkdocstrings[python]' mkdocs-jupyter ipykernel ruff

export PYTHONPATH="$PWD" NO_MKDOCS_2_WARNING=1 PATH="$tools/bin:$PATH"
"$tools/bin/python" -m mkdocs build --quiet --strict -f scripts/site.yml
exec "$tools/bin/python" -m pytest -q -m site tests/commands/test_site.py "$@"
