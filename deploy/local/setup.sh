#!/bin/sh
# Finds a Python that can do the set-up and hands over to environments.py. PYTHON=… chooses another.
set -eu
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
for need in "import ensurepip, venv" ""; do
    for python in "${PYTHON:-python3}" python3.12 python3.11; do
        if "$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
$need" 2>/dev/null; then
            exec "$python" "$checkout/deploy/local/environments.py"
        fi
    done
done
echo "Penstock needs Python 3.11 or 3.12; none is on PATH as python3, python3.12 or python3.11." >&2
echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv libpython3.11), or set PYTHON to it." >&2
exit 1
