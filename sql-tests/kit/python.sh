#!/bin/sh
# A Python with the PostgreSQL clients that tests use, in a virtual environment of its own.
#
#   python.sh      make it (once) and print the path of its python
#
# Exit code 77: this machine cannot have it (message on stderr).
set -eu

CLIENTS="psycopg[binary]==3.2.10"
CACHE=${HEADWATER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headwater}
FETCH_WAIT_S=${PYTHON_FETCH_WAIT_S:-300}
ENV=$CACHE/python-$(printf '%s' "$CLIENTS" | cksum | cut -d ' ' -f 1)

cannot() {
    printf '\n*** python.sh: no Python clients: %s\n\n' "$*" >&2
    exit 77
}

if [ ! -f "$ENV/complete" ]; then
    command -v python3 >/dev/null 2>&1 || cannot "python3 is not installed"
    mkdir -p "$CACHE"
    rm -rf "$ENV"
    python3 -m venv "$ENV" >&2 || cannot "python3 cannot make a virtual environment; install python3-venv"
    printf 'python.sh: fetching %s\n' "$CLIENTS" >&2
    # shellcheck disable=SC2086
    timeout "$FETCH_WAIT_S" "$ENV/bin/python" -m pip install -q --disable-pip-version-check $CLIENTS >&2 ||
        cannot "pip could not fetch $CLIENTS"
    touch "$ENV/complete"
fi
printf '%s\n' "$ENV/bin/python"
