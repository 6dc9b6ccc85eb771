#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the server lacks for a while: it waits without working, and serves as soon as it can.

load helpers

setup() {
    soak_setup
}

teardown() {
    soak_teardown
    [ -z "${KEEPER:-}" ] || exec 9<&-
}

# endure [SECONDS]: a scrape attempt every second for as long as a shortage lasts; below 1 % of a processor meanwhile.
endure() {
    local seconds=${1:-$SOAK_SECONDS} before start=${EPOCHREALTIME/./} used us i
    before=$(cgroup_cpu_us)
    for ((i = 1; i <= seconds; i++)); do
        ns curl -s -o /dev/null --max-time 0.9 http://127.0.0.1:9999/metrics || true
        sleep_until $((start + i * 1000000))
    done
    used=$(($(cgroup_cpu_us) - before))
    us=$((${EPOCHREALTIME/./} - start))
    say "$((used / 1000)) ms on a processor in $((us / 1000)) ms"
    holds "$used < 0.01 * $us"
    kill -0 "$SERVER_PID"
}

# sleep_until MICROSECONDS of the clock.
sleep_until() {
    local left=$(($1 - ${EPOCHREALTIME/./}))
    [ "$left" -le 0 ] || sleep "$((left / 1000000)).$(printf %06d $((left % 1000000)))"
}

# recovers_within MILLISECONDS
recovers_within() {
    local start=${EPOCHREALTIME/./} ms
    # What still fails may fail late, so each attempt is short.
    until ns curl -sf -o /dev/null --max-time 0.2 http://127.0.0.1:9999/metrics; do
        [ $(((${EPOCHREALTIME/./} - start) / 1000)) -le $(($1 + 2000)) ] || break
        sleep 0.02
    done
    ms=$(((${EPOCHREALTIME/./} - start) / 1000))
    say "served after $ms ms"
    [ "$ms" -le "$1" ]
}

no_process_can_start() {
    [ "$(scrape_status)" != 200 ]
}

@test "no process can be started" {
    start_limited_server
    cgroup_limit_processes 1
    wait_until 5 no_process_can_start
    endure
    cgroup_limit_processes max
    recovers_within 1000
}

@test "no descriptor can be opened" {
    local limit seconds
    start_limited_server
    limit=$(prlimit --pid "$(server_pid)" --nofile --output=SOFT --noheadings | tr -d ' ')
    # Whoever waits longer and longer would be caught at another point of its wait each time.
    for seconds in "$SOAK_SECONDS" 8 9 11; do
        wait_until 5 server_is_idle
        prlimit --pid "$(server_pid)" --nofile="$(lowest_free_descriptor):"
        [ "$(scrape_status --max-time 1)" = 000 ]
        endure "$seconds"
        prlimit --pid "$(server_pid)" --nofile="$limit:"
        recovers_within 1000
    done
    # As glibc or musl words it.
    grep -qE 'accept connection: (Too many open files|No file descriptors available)' "$BATS_TEST_TMPDIR/server.err"
}

server_is_idle() {
    [ -z "$(ps -o pid= --ppid "$(server_pid)")" ]
}

# What open() and accept() would return.
lowest_free_descriptor() {
    local fd=0
    while [ -e "/proc/$(server_pid)/fd/$fd" ]; do
        fd=$((fd + 1))
    done
    echo "$fd"
}

@test "nobody reads the log, which is full, and no process can be started" {
    mkfifo "$BATS_TEST_TMPDIR/log"
    # Somebody has it open, and reads nothing.
    exec 9<>"$BATS_TEST_TMPDIR/log"
    KEEPER=9
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/log" oflag=nonblock bs=4096 2>/dev/null || true
    # shellcheck disable=SC2016 # expanded by that shell
    start_in_cgroup server sh -c 'exec "$@" 2>"$0"' "$BATS_TEST_TMPDIR/log" "$STATIC_PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    endure
    cgroup_limit_processes 1
    endure
    cgroup_limit_processes max
    recovers_within 1000
    # It still could not say a word.
    dd if=/dev/zero of="$BATS_TEST_TMPDIR/log" oflag=nonblock bs=1 count=1 2>/dev/null && fail "the log was not full"
    start reader cat "$BATS_TEST_TMPDIR/log"
    recovers_within 1000
}

@test "the log is closed, and no process can be started" {
    # shellcheck disable=SC2016 # expanded by that shell
    start_in_cgroup server sh -c 'exec "$@" 2>&-' sh "$STATIC_PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    endure
    cgroup_limit_processes 1
    endure
    cgroup_limit_processes max
    recovers_within 1000
}

@test "the port is taken" {
    hold 'listen 0.0.0.0 9999'
    start_in_cgroup server "$STATIC_PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on :9999: Address' "$BATS_TEST_TMPDIR/server.err"
    endure
    kill -TERM "$HOLD_PID"
    wait_for hold 5 "$HOLD_PID"
    recovers_within 5000
}
