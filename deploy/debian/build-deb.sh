#!/bin/sh
# Build secateur-agent_VERSION_ARCH.deb from a wheel, with Debian's own dpkg-deb.
#
#     deploy/debian/build-deb.sh dist/secateur-0.1.0-py3-none-any.whl [OUT] [pip options]
#
# The package holds a whole virtual environment for this machine's python3, so that installing it
# needs no network: build it on the Debian release and processor that it is for. Further options go
# to pip, such as: --no-index --find-links FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "build-deb.sh: error: name the wheel to package" >&2; exit 2; }
wheel=$1
out=${2:-dist}
shift
[ $# -eq 0 ] || shift

python=/usr/bin/python3
version=$(basename "$wheel" | cut -d- -f2)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"

"$python" -m venv --without-pip "$stage/opt/secateur"
"$python" -m pip --python "$stage/opt/secateur/bin/python3" install --quiet --no-compile \
    --disable-pip-version-check "$@" "${wheel}[agent]"
# It is not where it will be.
grep -rlI "$stage" "$stage/opt/secateur/bin" "$stage/opt/secateur/pyvenv.cfg" |
    xargs -r sed -i "s#$stage##g"
"$python" -m compileall -q -s "$stage" -p / "$stage/opt/secateur/lib" || true

mkdir "$stage/DEBIAN"
cp "$here/postinst" "$here/prerm" "$here/postrm" "$stage/DEBIAN/"
chmod 755 "$stage"/DEBIAN/*
size=$(du -sk "$stage/opt" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$architecture/" -e "s/@SIZE@/$size/" \
    -e "s/@MINOR@/$minor/" -e "s/@NEXT@/$((minor + 1))/" "$here/control.in" \
    >"$stage/DEBIAN/control"
mkdir -p "$out"
dpkg-deb --build --root-owner-group -Zxz -z1 "$stage" \
    "$out/secateur-agent_${version}_$architecture.deb"
