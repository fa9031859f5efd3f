#!/bin/sh
# A PostgreSQL 15 server (Debian's) on 127.0.0.1, the oracle of the tests.
#
#   postgres.sh start DIR PORT   initialise DIR if it is new and start; prints the connection string
#   postgres.sh stop DIR         stop it (DIR is kept)
#
# Superuser "postgres", no password, connections from 127.0.0.1 only. Starting a running server prints
# its connection string again. Run as root, the server runs as the unprivileged user
# "postgres" and DIR is given to it. Exit code 77: this machine cannot have the server
# (message on stderr); 1: anything else that went wrong.
set -eu

VERSION=15
START_WAIT_S=${POSTGRES_START_WAIT_S:-60}
SERVER_USER=postgres

cannot() {
    printf '\n*** postgres.sh: no PostgreSQL server: %s\n\n' "$*" >&2
    exit 77
}

fail() {
    printf 'postgres.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

find_server() {
    for bin in "/usr/lib/postgresql/$VERSION/bin" "$(dirname "$(command -v postgres || echo /)")"; do
        if [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] &&
            "$bin/postgres" --version | grep -q " $VERSION\."; then
            BIN=$bin
            return 0
        fi
    done
    return 1
}

obtain() {
    find_server && return 0
    [ "$(id -u)" -eq 0 ] || cannot "install the package postgresql-$VERSION (needs root)"
    command -v apt-get >/dev/null 2>&1 || cannot "no apt-get here; install PostgreSQL $VERSION"
    printf 'postgres.sh: installing postgresql-%s\n' "$VERSION" >&2
    # Debian's package would also start a cluster of its own on port 5432.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    log=$(mktemp)
    if ! { timeout 300 apt-get update && DEBIAN_FRONTEND=noninteractive timeout 600 \
        apt-get install -y --no-install-recommends "postgresql-$VERSION"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        cannot "apt-get could not install postgresql-$VERSION"
    fi
    rm -f "$log"
    find_server || cannot "postgresql-$VERSION was installed, but its programs were not found"
}

# Runs a command as the server's user: as ourselves unless we are root, which PostgreSQL refuses.
as_server() {
    if [ "$(id -u)" -eq 0 ]; then
        runuser -u "$SERVER_USER" -- "$@"
    else
        "$@"
    fi
}

running() {
    [ -s "$1/data/postmaster.pid" ] || return 1
    pid=$(head -n 1 "$1/data/postmaster.pid")
    kill -0 "$pid" 2>/dev/null
}

give_away() {
    [ "$(id -u)" -eq 0 ] || return 0
    id "$SERVER_USER" >/dev/null 2>&1 || useradd --system --no-create-home "$SERVER_USER"
    chown -R "$SERVER_USER" "$1"
    as_server test -x "$1" || cannot "user $SERVER_USER cannot enter $1; choose a directory below one it can"
}

start() {
    [ $# -eq 2 ] || usage
    case $2 in '' | *[!0-9]*) usage ;; esac
    mkdir -p "$1"
    dir=$(CDPATH='' cd -- "$1" && pwd)
    if running "$dir"; then
        cat "$dir/postgres.address"
        return 0
    fi
    obtain
    give_away "$dir"
    cd "$dir"
    if [ ! -f "$dir/data/PG_VERSION" ]; then
        as_server "$BIN/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C \
            --no-sync >"$dir/initdb.log" 2>&1 || {
            cat "$dir/initdb.log" >&2
            fail "initdb failed in $dir/data"
        }
    fi
    # A test server may lose its data with the machine: no fsync. Compiling takes longer than the
    # queries of tests run: no jit.
    as_server "$BIN/pg_ctl" -D "$dir/data" -w -t "$START_WAIT_S" -l "$dir/data/server.log" -o \
        "-p $2 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c jit=off -c timezone=UTC" \
        start >/dev/null 2>&1 || {
        tail -n 20 "$dir/data/server.log" >&2
        fail "the server did not start within $START_WAIT_S s (log: $dir/data/server.log)"
    }
    head -n 1 "$dir/data/postmaster.pid" >"$dir/postgres.pid"
    echo "host=127.0.0.1 port=$2 user=postgres dbname=postgres" | tee "$dir/postgres.address"
}

stop() {
    [ $# -eq 1 ] || usage
    [ -d "$1" ] || return 0
    dir=$(CDPATH='' cd -- "$1" && pwd)
    if running "$dir"; then
        find_server || fail "the programs of PostgreSQL $VERSION are gone"
        cd "$dir"
        as_server "$BIN/pg_ctl" -D "$dir/data" -m fast -w -t 30 stop >/dev/null 2>&1 ||
            as_server "$BIN/pg_ctl" -D "$dir/data" -m immediate -w -t 30 stop >/dev/null
    fi
    rm -f "$dir/postgres.pid" "$dir/postgres.address"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
start) start "$@" ;;
stop) stop "$@" ;;
*) usage ;;
esac
