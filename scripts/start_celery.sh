#!/bin/bash
# Starts and stops Nova's processes on this machine: workers, beat, API and Flower.
# Usage: scripts/start_celery.sh start|stop|restart|status|test|logs [--help]
# What it does is in scripts/local/; here is only which Python does it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
    echo "start_celery.sh: $*" >&2
    exit 1
}

# The environment that is active, else the checkout's own, else the Python on PATH.
find_python() {
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        echo "$VIRTUAL_ENV/bin/python"
    elif [ -x "$root/.venv/bin/python" ]; then
        echo "$root/.venv/bin/python"
    else
        command -v python3 || die "there is no python3 on PATH; Nova needs Python 3.11 or newer"
    fi
}

python=$(find_python)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "$python is no Python 3.11 or newer; activate an environment that has one"
"$python" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("celery"))' ||
    die "$python lacks what Nova needs: $python -m pip install -r requirements.txt"
cd "$root"
exec "$python" -m scripts.local.control "$@"
