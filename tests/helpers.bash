# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What every test file loads: where things are, a network namespace of the test's own, a server in it.

bats_load_library bats-support
bats_load_library bats-assert

ROOT=$(cd "$BATS_TEST_DIRNAME/.." && pwd)
PROGRAM=$ROOT/metrics-sidecar
STATIC_PROGRAM=$ROOT/build/static-systemd0/metrics-sidecar
PEER=$ROOT/build/tests/peer
FIXTURES=$ROOT/tests/fixtures
UNPACKED=$ROOT/build/unpacked # packages that are used without being installed
export ROOT PROGRAM STATIC_PROGRAM PEER FIXTURES UNPACKED

# The environment of whoever runs the tests is not part of them.
unset POD_NAME LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_USEC
for variable in $(compgen -e | grep '^METRICS_SIDECAR_' || true); do
    unset "$variable"
done
export POD_NAME=test-pod
export LC_ALL=C

# require_root REASON: for what no user namespace can do.
require_root() {
    [ "$(id -u)" = 0 ] || skip "needs root: $1"
}

# wait_until SECONDS COMMAND...: poll, never sleep for a guess.
wait_until() {
    local end=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

# Processes that this test started, ended by their pid.
STARTED=()

# start NAME COMMAND...: run it in the background; its output goes to $BATS_TEST_TMPDIR/NAME.{out,err}, its pid
# to $STARTED_PID.
start() {
    local name=$1
    shift
    # A function would run in a shell of its own, and that shell's pid is not the command's.
    [ "$1" != ns ] || set -- "${NS_ENTER[@]}" -- "${@:2}"
    "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>"$BATS_TEST_TMPDIR/$name.err" </dev/null 3>&- &
    STARTED_PID=$!
    STARTED+=("$STARTED_PID")
}

stop_all() {
    local pid
    for pid in "${STARTED[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait_until 2 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
    STARTED=()
}

is_gone() {
    ! kill -0 "$1" 2>/dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]
}

# ns_create: a network namespace of the test's own, with loopback up. As an ordinary user it comes with a user
# namespace.
ns_create() {
    if [ "$(id -u)" = 0 ]; then
        unshare -n -- sleep infinity 3>&- &
        NS_ENTER=(nsenter -n -t $!)
    else
        unshare -Urn -- sleep infinity 3>&- &
        NS_ENTER=(nsenter -U --preserve-credentials -n -t $!)
    fi
    NS_PID=$!
    STARTED+=("$NS_PID")
    wait_until 5 ns_is_ready
    ns ip link set lo up
}

ns_is_ready() {
    [ "$(readlink "/proc/$NS_PID/ns/net")" != "$(readlink /proc/self/ns/net)" ] &&
        [ "$(cat "/proc/$NS_PID/comm")" = sleep ]
}

# ns COMMAND...: run it in that namespace.
ns() {
    "${NS_ENTER[@]}" -- "$@"
}

# ns_sysctl NAME VALUE, NAME below net.ipv4.
ns_sysctl() {
    ns sh -c 'printf "%s\n" "$2" > "/proc/sys/net/ipv4/$1"' sh "$1" "$2"
}

# start_server [ARGUMENT...]: the program in the namespace, on port 9999 unless an argument says otherwise.
start_server() {
    start server ns "${SERVER:-$PROGRAM}" "$@"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
}

server_log() {
    cat "$BATS_TEST_TMPDIR/server.err"
}

# scrape [CURL-ARGUMENT...]: /metrics of the server in the namespace, to standard output.
scrape() {
    ns curl -sS --max-time 10 --noproxy '*' "$@" http://127.0.0.1:9999/metrics
}

# The status of one scrape, 000 when there was no answer.
scrape_status() {
    scrape -o /dev/null -w '%{http_code}' "$@" 2>/dev/null || true
}

serves() {
    [ "$(scrape_status)" = 200 ]
}

# metric EXPOSITION NAME [LABELS]: the value of a sample; LABELS as they stand behind pod_name.
metric() {
    local prefix="$2{pod_name=\"test-pod\"${3:+,$3}} "
    awk -v prefix="$prefix" 'index($0, prefix) == 1 { print substr($0, length(prefix) + 1); found = 1 }
        END { exit !found }' <<<"$1"
}

# hold SOCKET...: make sockets in the namespace (see peer.c) and keep them until the end of the test.
hold() {
    start hold ns "$PEER" hold "$@"
    HOLD_PID=$STARTED_PID
    wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/hold.out" || {
        cat "$BATS_TEST_TMPDIR/hold.err" >&2
        return 1
    }
}

# What two answers may differ in: times and counters.
steady() {
    sed -E -e '/^(port_scan_duration_seconds|metrics_sidecar_start_time_seconds)\{/s/ [0-9.]+$/ TIME/' \
        -e '/^metrics_sidecar_connections_total\{/s/ [0-9]+$/ COUNT/'
}
