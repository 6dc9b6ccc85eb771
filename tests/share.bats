#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# One scan at a time, shared: what many scrapers cost, and how old what they get may be.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

@test "a scrape never misses a socket that is older than figures can be" {
    start_server
    local i age
    for i in $(seq 20); do
        age=$(figures_age)
        start "hold$i" ns "$PEER" hold "listen 127.0.0.1 $((40000 + i))"
        wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/hold$i.out"
        # How long a scan takes depends on the size of the kernel's tables: 0.3 ms on one machine, 2 ms on another.
        sleep "$age"
        expect_value "$(scrape)" "$i" port_blocked
    done
}

# How many children have the table open.
scanning() {
    local pid
    for pid in $(children); do
        readlink "/proc/$pid"/fd/*
    done | grep -c '/net/tcp$'
}

@test "requests that come while a scan runs wait for it, and are answered by what it brings" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK"
    local i
    for i in 1 2 3 4; do
        start_client "client$i"
    done
    wait_until 5 has_children 4
    # With a writer that says nothing it opens, and nothing can be read; no other process has a copy, or it would not end.
    exec 7<>"$STUCK/self/net/tcp"
    wait_until 5 test "$(scanning)" -eq 1
    # Never two at a time.
    local end=$((SECONDS + 2))
    until [ "$SECONDS" -ge "$end" ]; do
        [ "$(scanning)" -eq 1 ]
    done
    unstick_procfs
    cat "$STUCK/self/net/tcp" >&7
    exec 7>&-
    for i in 1 2 3 4; do
        wait_until 10 client_has "client$i" 200
    done
}

@test "who dies while scanning lets the next one scan, and leaves no figures" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK"
    start_client one
    wait_until 5 has_children 1
    local first
    first=$(children)
    start_client two
    wait_until 5 has_children 2
    unstick_procfs
    kill -KILL "$first"
    wait_until 5 client_has two 200
    grep -q '^port_total{pod_name="test-pod"} 28232' "$BATS_TEST_TMPDIR/two.content"
    client_has one 000
}

@test "a request that waits for a scan beyond its deadline is told so" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --timeout=2
    start_client one
    wait_until 5 has_children 1
    kill -STOP "$(children)"
    start_client two
    wait_until 6 client_has two 500
    grep -q 'read shared figures: deadline passed' "$BATS_TEST_TMPDIR/two.content"
    unstick_procfs
    wait_until 5 serves
}

@test "where nothing can be shared, each request scans, and that is said" {
    start server ns strace -D -f -o /dev/null -e trace=memfd_create -e signal=none -e inject=memfd_create:error=ENOSYS "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    grep -q 'share figures: Function not implemented: each request measures' "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 has_children 0
}

@test "a lock that fails: each request scans for itself, and that is said" {
    start server ns strace -D -f -o /dev/null -e trace=fcntl -e signal=none -e inject=fcntl:error=ENOLCK:when=1+ "$STATIC_PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    grep -q 'share figures: No locks available: measured again' "$BATS_TEST_TMPDIR/server.err"
}
