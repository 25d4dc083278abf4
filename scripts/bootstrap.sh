#!/bin/bash
# Installs what this Debian or Ubuntu machine lacks, and says for each package why it is needed.
# Usage: scripts/bootstrap.sh [--tools check|test|fleet]   check: lint, types, unit tests
#                                                          fleet: check + the lab (Docker, SSH)
#                                                          test:  fleet + a Redis server, a C compiler
#        scripts/bootstrap.sh --stop-engine                stop the Docker engine started from here
# Needs root or sudo only if something is missing. What is there already is used as it is.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # a plain user's PATH lacks these
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$root/.nova
log=$state/bootstrap.log
engine_pid=$state/dockerd.pid
engine_log=$state/dockerd.log
packages=()

say() { echo "bootstrap: $*"; }
die() {
    echo "bootstrap: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_be_root() { [ "$(id -u)" -eq 0 ] || has sudo; }

has() { command -v "$1" >/dev/null; }

# need PACKAGE WHY CHECK...: remember the package if the check fails.
need() {
    local package=$1 why=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        say "missing: $package - $why"
        packages+=("$package")
    fi
}

has_python() {
    "${PYTHON:-python3}" -c \
        'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
}

has_redis() {
    redis-server --version | grep -qE 'v=([7-9]|[1-9][0-9])\.'
}

engine_answers() { docker version || as_root docker version; }
has_engine() { has docker && { has dockerd || engine_answers; }; }

has_c_headers() { echo '#include <time.h>' | cc -E -; }

list_missing() {
    need python3-venv "runs Nova's tools in an environment of their own (.venv)" has_python
    [ "$1" = fleet ] || need systemd "systemd-analyze checks the units" has systemd-analyze
    [ "$1" = check ] && return
    need docker.io "lab hosts are Docker containers with systemd" has_engine
    need debootstrap "makes the hosts' image where no Docker registry answers" has debootstrap
    need openssh-client "Ansible reaches lab hosts over SSH" has ssh-keygen
    [ "$1" = fleet ] && return
    need gcc "the fault tests build a clock that they can set" has cc
    need libc6-dev "the same" has_c_headers
    need redis-server "the integration tests run on a real Redis 7 or newer" has_redis
    need redis-tools "the guide's test types redis-cli" has redis-cli
    need curl "the guide's test types it" has curl
    need procps "the guide's test types ps" has ps
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get "$@" >>"$log" 2>&1 ||
        die "apt-get $1 failed: see $log"
}

install_missing() {
    [ ${#packages[@]} -eq 0 ] && return
    has apt-get || die "this is not a Debian or Ubuntu machine: install by hand: ${packages[*]}"
    can_be_root ||
        die "installing ${packages[*]} needs root: run as root, or install sudo"
    say "installing: ${packages[*]}"
    apt update
    # From Debian 13 on, the docker command is a package of its own.
    if [[ " ${packages[*]} " == *" docker.io "* ]] && apt-cache show docker-cli >/dev/null 2>&1; then
        packages+=(docker-cli)
    fi
    apt install --yes --no-install-recommends "${packages[@]}"
    has_python || die "${PYTHON:-python3} is older than 3.11 or lacks venv:" \
        "set PYTHON to a newer one, as in: PYTHON=/usr/bin/python3 make ..."
    keep_redis_quiet
}

# Debian starts what it installs; the tests start Redis servers of their own.
keep_redis_quiet() {
    if [[ " ${packages[*]} " == *" redis-server "* ]] && [ -d /run/systemd/system ]; then
        as_root systemctl disable --quiet --now redis-server
        say "redis-server: installed, its service left off"
    fi
}

start_engine() {
    engine_answers >/dev/null 2>&1 && return
    can_be_root || die "starting Docker needs root: run as root, or install sudo"
    if [ -d /run/systemd/system ]; then
        say "starting Docker: systemctl start docker"
        as_root systemctl start docker || die "Docker does not start: see journalctl -u docker"
    else
        say "starting Docker by hand, as no systemd runs here (log: $engine_log)"
        as_root setsid --fork dockerd --pidfile "$engine_pid" </dev/null >"$engine_log" 2>&1
    fi
    for ((second = 0; second < 60; second++)); do
        engine_answers >/dev/null 2>&1 && return
        sleep 1
    done
    die "the Docker engine did not answer within 60 s: see $engine_log or journalctl -u docker"
}

# Stops the engine only if start_engine started it by hand, and only if nothing uses it any more.
stop_engine() {
    [ -f "$engine_pid" ] || return 0
    local pid
    pid=$(cat "$engine_pid")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != dockerd ]; then
        rm -f "$engine_pid"
        return
    fi
    if [ -n "$(as_root docker ps --quiet)" ]; then
        say "Docker left running: containers still use it"
        return
    fi
    say "stopping Docker (process $pid), which was started from here"
    as_root kill "$pid"
    for ((second = 0; second < 60; second++)); do
        [ -d "/proc/$pid" ] || return 0
        sleep 1
    done
    die "the Docker engine (process $pid) did not stop within 60 s: see $engine_log"
}

main() {
    mkdir -p "$state"
    case "$*" in
        --stop-engine)
            stop_engine
            return
            ;;
        "" | "--tools fleet") tools=fleet ;;
        "--tools check") tools=check ;;
        "--tools test") tools="test" ;;
        *)
            echo "usage: scripts/bootstrap.sh [--tools check|fleet|test] | --stop-engine" >&2
            exit 2
            ;;
    esac
    list_missing "$tools"
    install_missing
    if [ "$tools" != check ]; then
        start_engine
    fi
}

main "$@"
