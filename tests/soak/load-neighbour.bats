#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The business that a sidecar stands beside must not notice.

load helpers

HELD=${SOAK_HELD:-10000}
LASTS=10

# Those who attack are on other machines: they have a processor of their own here. The server and the business share the
# other one.
ATTACKER=(taskset -c 1)
POD=(taskset -c 0)

setup() {
    soak_setup
    cgroup_limit_cpu 250
}

teardown() {
    soak_teardown
}

# What a request of the business needs a processor for, in microseconds.
WORK=1000

# business: its p99, in microseconds.
business() {
    local line
    line=$(ns "${POD[@]}" "$LOAD" business 2000 "$LASTS" "$WORK")
    say "$1: $line"
    figure p99 "$line"
}

besieged_business() {
    local slow_pid pulse_pid
    start_in_cgroup server "${POD[@]}" "$STATIC_PROGRAM" --max-connections="$HELD"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    start_slow "$HELD" $((LASTS + 20))
    slow_pid=$STARTED_PID
    start pulse ns "${ATTACKER[@]}" "$LOAD" pulse 127.0.0.1 9999 200 $(((LASTS + 1) * 5))
    pulse_pid=$STARTED_PID
    business besieged
    wait_for pulse 10 "$pulse_pid"
    say "scrapes: $(said pulse)"
    kill -TERM "$slow_pid" "$SERVER_PID"
    wait_for slow 5 "$slow_pid"
    wait_for server 5 "$SERVER_PID"
}

@test "10,000 slow connections and scrapes: the neighbour's p99 grows by less than a fifth" {
    local round alone besieged ratio
    [ "$(nproc)" -ge 2 ] || skip "needs two processors"
    for round in 1 2 3 4 5; do
        alone=$(business alone)
        besieged=$(besieged_business)
        awk "BEGIN { print $besieged / $alone }" >>"$BATS_TEST_TMPDIR/ratios"
    done
    ratio=$(median <"$BATS_TEST_TMPDIR/ratios")
    say "ratios of p99: $(tr '\n' ' ' <"$BATS_TEST_TMPDIR/ratios")"
    holds "$ratio < 1.2"
}
