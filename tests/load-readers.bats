#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Clients that ask for long answers and read nothing: they hold no process, and nothing of them stays in the kernel. Runs
# alone, because latencies are measured. The long form, with the limits of a pod, is in tests/soak.

load helpers

LOAD=$ROOT/build/tests/load

setup() {
    ns_create
    # bbr has a large send buffer from the start.
    ns_sysctl tcp_congestion_control reno
}

teardown() {
    stop_all
}

# start_unread HELD RATE SECONDS MSS MANNER
start_unread() {
    start unread ns "$LOAD" unread 127.0.0.1 9999 / "$@"
    UNREAD_PID=$STARTED_PID
    wait_until 10 grep -q ready "$BATS_TEST_TMPDIR/unread.out"
}

# Answers that nobody has read, the server's own count of bytes.
unread_answers() {
    ns ss -Htn '( sport = :9999 )' | awk '$3 > 0' | wc -l
}

are_unread() {
    [ "$(unread_answers)" -ge "$1" ]
}

@test "eight clients that do not read, with small segments: all scrapes are answered" {
    local sockets=("listen 0.0.0.0 5000") i
    for i in $(seq 100); do
        sockets+=("connect 127.0.1.$i 5000 127.0.0.1 ~$((40000 + i))")
    done
    hold "${sockets[@]}"
    start_server --top-destinations=100
    start_unread 8 1000 20 300 hold
    wait_until 5 are_unread 8
    run ns "$LOAD" pulse 127.0.0.1 9999 200 20
    echo "# scrapes: $output" >&3
    assert_output --partial "answered 20 of 20,"
}

# What is closed and has bytes that were not acknowledged.
orphans() {
    ns ss -Htane '( sport = :9999 )' | grep -cE '^(FIN-WAIT-1|CLOSING|LAST-ACK) .* ino:0 ' || true
}

nothing_is_left() {
    ! ns ss -Htan '( sport = :9999 )' | grep -qv '^TIME-WAIT'
}

@test "300 a second that end their side and do not read, in a table of 64: none of them outlives its slot, or the server" {
    local end=$((SECONDS + 4)) now most=0
    start_server --max-connections=64
    start_unread 60 300 10 1460 half-close
    kill "$UNREAD_PID"
    start unread ns "$LOAD" unread 127.0.0.1 9999 / 5000 300 10 1460 half-close
    until [ "$SECONDS" -ge "$end" ]; do
        now=$(orphans)
        [ "$now" -le "$most" ] || most=$now
        sleep 0.1
    done
    echo "# $most orphans at most, $(unread_answers) answers in the table" >&3
    [ "$most" -eq 0 ]
    [ "$(unread_answers)" -ge 32 ]
    kill -TERM "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    wait_until 2 nothing_is_left
}
