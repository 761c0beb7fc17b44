#!/usr/bin/env bash
# Makes the virtual environment of the Python peers in the folder $1, unless it stands there already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
place=$1

mkdir -p "$(dirname "$place")"
exec 9> "$place.lock"
flock 9 # several test runs may want it at once
if cmp -s "$here/requirements.txt" "$place/requirements.txt" && "$place/bin/python" -c 'import grpc, websockets'; then
    exit 0
fi
rm -rf "$place"
python3 -m venv "$place" >&2
"$place/bin/pip" install --quiet --disable-pip-version-check --retries 2 --timeout 30 --only-binary :all: -r "$here/requirements.txt"
cp "$here/requirements.txt" "$place/"
