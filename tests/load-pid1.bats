#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The process that accepts is killed again and again. Runs alone, because the next scrape has a second.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

@test "PID 1: the process that accepts is killed 100 times, by SEGV, KILL and ABRT: the next scrape is answered within 1 s" {
    as_pid1
    local i first=$PID1 signals=(SEGV KILL ABRT) slow=0 before
    serves
    for i in $(seq 100); do
        wait_until 5 find_pid1
        before=$SERVER_PID
        kill -s "${signals[i % 3]}" "$SERVER_PID"
        wait_until 5 is_gone "$before"
        [ "$(scrape_status --max-time 1)" = 200 ] || slow=$((slow + 1))
    done
    [ "$slow" -eq 0 ] || fail "$slow of 100 scrapes were not answered within a second"
    find_pid1
    [ "$PID1" = "$first" ]
    [ "$(metric "$(scrape)" metrics_sidecar_connections_total 'outcome="served"')" -ge 101 ]
}

@test "PID 1: a client crashes each process that it gets, for 30 s: every scrape is answered within 5 s, by one after the other supervisor" {
    SERVER="env" as_pid1 LD_PRELOAD="$ROOT/build/tests/crash.so" "$PROGRAM"
    local first end=$((SECONDS + 30)) slow=0 scrapes=0 start ms longest=0 crashed
    first=$(pgrep -P "$PID1")
    start attack ns bash -c 'while :; do curl -s -m 10 http://127.0.0.1:9999/crash; done'
    until [ "$SECONDS" -ge "$end" ]; do
        start=${EPOCHREALTIME/./}
        [ "$(scrape_status --max-time 5)" = 200 ] || slow=$((slow + 1))
        ms=$(((${EPOCHREALTIME/./} - start) / 1000))
        longest=$((ms > longest ? ms : longest))
        scrapes=$((scrapes + 1))
        sleep 0.3
    done
    kill "$STARTED_PID"
    wait_until 5 serves
    crashed=$(metric "$(scrape)" metrics_sidecar_connections_total 'outcome="crashed"')
    echo "# $crashed crashes in 30 s; $slow of $scrapes scrapes not answered within 5 s, the longest took $longest ms" >&3
    [ "$slow" -eq 0 ]
    [ "$crashed" -ge 6 ]
    [ "$crashed" -le 30 ]
    [ "$(pgrep -P "$PID1")" != "$first" ]
    # One line of a kind in ten seconds.
    [ "$(wc -l <"$BATS_TEST_TMPDIR/server.err")" -le 20 ] || fail "$(server_log)"
}
