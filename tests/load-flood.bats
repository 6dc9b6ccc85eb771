#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Scrapes while others misbehave. Runs alone, because latencies are measured.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

# Whether 99 % of 50 scrapes in a flood, which is 50, are answered, and soon enough.
flood_is_endured() {
    local answered p99 opened
    start_server --max-connections=512
    start flood ns "$PEER" flood 127.0.0.1 9999 5000 11
    wait_until 5 flood_is_on
    run ns "$PEER" scrape 127.0.0.1 9999 200 50
    echo "# scrapes: $output" >&3
    wait_until 12 test -s "$BATS_TEST_TMPDIR/flood.out"
    echo "# flood: $(cat "$BATS_TEST_TMPDIR/flood.out")" >&3
    answered=$(sed -E 's/answered ([0-9]+) of 50.*/\1/' <<<"$output")
    p99=$(sed -E 's/.*p99 ([0-9]+)\..*/\1/' <<<"$output")
    opened=$(sed -E 's/opened ([0-9]+),.*/\1/' "$BATS_TEST_TMPDIR/flood.out")
    serves && kill -TERM "$SERVER_PID" && wait_until 5 is_gone "$SERVER_PID" &&
        # The flood was one: at least nine tenths of what it was to be.
        [ "$opened" -ge 49500 ] && [ "$answered" -eq 50 ] && [ "$p99" -lt 250 ]
}

@test "5,000 connections a second that never finish their head: 99 % of scrapes answered, p99 below 0.25 s" {
    # More connections than the default range has ports would fail at the client.
    ns_sysctl ip_local_port_range "1024 9998"
    # A machine that is busy with others only makes it slower, so the best of three counts.
    flood_is_endured || flood_is_endured || flood_is_endured
}

flood_is_on() {
    [ "$(metric "$(scrape)" metrics_sidecar_connections_total 'outcome="evicted"')" -gt 1000 ]
}

@test "3,000 connections a second that end before their head does: scrapes are answered all the same" {
    ns_sysctl ip_local_port_range "1024 9998"
    start_server
    start flood ns "$PEER" flood 127.0.0.1 9999 3000 7 half-close
    wait_until 5 failed_at_least 1000
    run ns "$PEER" scrape 127.0.0.1 9999 200 25
    echo "# scrapes: $output" >&3
    assert_output --partial "answered 25 of 25"
}

failed_at_least() {
    [ "$(metric "$(scrape)" metrics_sidecar_connections_total 'outcome="failed"')" -gt "$1" ]
}

@test "400 clients of another address, each with a complete request at any time: scrapes are answered" {
    # A connection to an address of this namespace comes from that address.
    ns ip address add 192.0.2.7/32 dev lo
    start_server
    start crowd ns nice -n 5 "$ROOT/build/tests/load" crowd 192.0.2.7 9999 400 15s
    wait_until 5 refused_at_least 200
    run ns "$PEER" scrape 127.0.0.1 9999 200 31
    echo "# scrapes: $output" >&3
    assert_output --partial "answered 31 of 31"
    [ ! -s "$BATS_TEST_TMPDIR/crowd.out" ]
}

refused_at_least() {
    [ "$(metric "$(scrape)" metrics_sidecar_connections_total 'outcome="refused"')" -ge "$1" ]
}

@test "SIGTERM in a flood that leaves the supervisor no time to wait" {
    ns_sysctl ip_local_port_range "1024 9998"
    # Both on one processor, the server behind: there is always something to accept.
    start server ns taskset -c 0 nice -n 15 "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    start flood ns taskset -c 0 "$PEER" flood 127.0.0.1 9999 20000 15
    # A scrape would have to wait its turn behind the flood, so the kernel is asked instead.
    wait_until 8 accepted_at_least 5000
    local start=${EPOCHREALTIME/./} ms
    kill -TERM "$SERVER_PID"
    wait_until 6 is_gone "$SERVER_PID"
    ms=$(((${EPOCHREALTIME/./} - start) / 1000))
    echo "# ended after $ms ms" >&3
    # Behind the flood it waits for its turn on the processor, not for the flood to end.
    [ "$ms" -le 4000 ]
    [ ! -s "$BATS_TEST_TMPDIR/flood.out" ]
}

# accepted_at_least N: connections that this namespace's listeners were given (PassiveOpens).
accepted_at_least() {
    [ "$(ns awk '$1 == "Tcp:" && $7 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp)" -ge "$1" ]
}
