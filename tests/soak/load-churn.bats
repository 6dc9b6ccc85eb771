#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Short connections at a steady rate from a pool of 600 ports, with the settings that Linux comes with: what the figure
# says, what connect() gets, and which alerts fire.

load helpers

CHURN=$ROOT/tests/soak/churn.py
RULES=$ROOT/deploy/prometheus/rules.yaml
RATE=300
LASTS=${CHURN_SECONDS:-70}

setup() {
    ns_create
    ns_sysctl ip_local_port_range "40000 40599"
}

teardown() {
    stop_all
}

# churn ADDRESS NETNS-OF-SERVER ALERTS: its lines to $output.
churn() {
    run ns python3 "$CHURN" "$PROGRAM" "$1" "$RATE" "$LASTS" "$2" "$3" "$RULES"
    assert_success
    say "${output//$'\n'/$'\n# '}"
}

# follows: every figure was within a hundredth of the pool of what connect() could not get.
follows() {
    local offs
    offs=$(sed -nE 's/^sample .*, off by ([0-9]+)$/\1/p' <<<"$output")
    [ "$(wc -l <<<"$offs")" -ge $((LASTS * 4 / 10)) ]
    holds "$(sort -n <<<"$offs" | tail -n 1) <= 6"
}

@test "300 connections a second on loopback: each gets a port, the figure says how many are left, no alert" {
    churn 127.0.0.1 "/proc/$NS_PID/ns/net" "$BATS_TEST_TMPDIR/quiet.yaml"
    follows
    assert_line --partial ", failed 0, "
    [ "$(sed -nE 's/^made ([0-9]+),.*/\1/p' <<<"$output")" -ge $((RATE * LASTS * 8 / 10)) ]
    # The kernel's own count at the end: what is left, as the log has it, is what connect() got.
    assert_line --regexp '^then connect\(\) got .* of 600, as the log has it: '
    run "$PROMTOOL" test rules "$BATS_TEST_TMPDIR/quiet.yaml"
    assert_success
}

@test "300 connections a second to another address: the pool is exhausted, the figure says so, and the alert fires" {
    local far_pid
    unshare -n -- sleep infinity 3>&- &
    far_pid=$!
    STARTED+=("$far_pid")
    wait_until 5 far_is_ready "$far_pid"
    ns ip link add near type veth peer name far netns "$far_pid"
    ns ip addr add 10.1.0.1/24 dev near
    ns ip link set near up
    nsenter -n -t "$far_pid" ip addr add 10.1.0.2/24 dev far
    nsenter -n -t "$far_pid" ip link set far up
    churn 10.1.0.2 "/proc/$far_pid/ns/net" "$BATS_TEST_TMPDIR/right.exhausted.yaml"
    follows
    assert_line --regexp "^made .*, failed [1-9][0-9]*, first failure at [1-4]\.[0-9] s"
    assert_line --regexp '^sample .*: said 600 of 600,'
    run "$PROMTOOL" test rules "$BATS_TEST_TMPDIR/right.exhausted.yaml"
    assert_success
}

far_is_ready() {
    [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
