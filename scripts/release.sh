#!/bin/sh
# Make the wheel and the sdist of the last commit, and check them. For maintainers; needs git and the internet:
#
#     sh scripts/release.sh            into dist/
#     sh scripts/release.sh --tag      also tag the commit as a release: the changelog must name its date
#
# Builds twice, from a clone and from a tree without git: both must give the same bytes. Uploads nothing; at the end it
# says how to. The tools are installed into $TOOLS (default: /var/tmp/pi-capture-release), which the next run takes again.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
. scripts/environment.sh

case "${1-}" in '' | --tag) ;; *) fail "usage: sh $0 [--tag]" ;; esac
[ -z "$(git status --porcelain --untracked-files=no)" ] || fail "commit your changes first: a release is made of a commit"
release=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' pi_capture/__init__.py)
tagged=$(git rev-parse --quiet --verify "v$release^{commit}" || :)
[ "${tagged:-$(git rev-parse HEAD)}" = "$(git rev-parse HEAD)" ] ||
    fail "v$release is the tag of another commit; raise __version__ in pi_capture/__init__.py, and commit"
[ -z "${1-}" ] || grep -qE "^## $release \([0-9]{4}-[0-9]{2}-[0-9]{2}\)" docs/changelog.md ||
    fail "docs/changelog.md says no date of $release; write: ## $release ($(date +%F))"

make_tools "${TOOLS:-/var/tmp/pi-capture-release}" build twine

around=$(mktemp -d)
trap 'rm -rf "$around"' EXIT
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
git clone --quiet . "$around/clone"
mkdir "$around/plain"
git archive HEAD | tar -xf - -C "$around/plain"

for tree in clone plain; do
    echo "$NAME: building $release from a $tree tree"
    [ $tree = clone ] || umask 077
    quietly "$tools/bin/python" -m build --outdir "$around/$tree/dist" "$around/$tree" || fail "can't build: $(reason)"
done
diff -r "$around/clone/dist" "$around/plain/dist" >/dev/null || fail "two builds differ: see $(trap - EXIT && echo "$around")"
"$tools/bin/python" -m twine check --strict "$around/clone/dist"/*
umask 022
mkdir -p dist
cp "$around/clone/dist"/* dist/
(cd dist && sha256sum "pi_capture-$release"*)

[ -z "${1-}" ] || [ -n "$tagged" ] || git tag -a "v$release" -m "pi-capture $release"
cat <<END

In fresh Debian systems:  scripts/fresh_systems.sh --wheel
Then, to publish:         git push --tags
                          $tools/bin/python -m twine upload dist/pi_capture-$release*
END
