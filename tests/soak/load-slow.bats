#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Scrapes through thousands of connections whose requests never end, with the limits of a pod.

load helpers

HELD=${SOAK_HELD:-10000}

setup() {
    soak_setup
    cgroup_limit_cpu 250
}

teardown() {
    soak_teardown
}

@test "10,000 slow connections held: every scrape is answered, p99 below 1 s, below 48 MiB" {
    local before
    start_limited_server --max-connections="$HELD"
    start_slow "$HELD" $((SOAK_SECONDS + 20))
    local slow_pid=$STARTED_PID
    before=$(cgroup_cpu_us)
    run pulse "$SOAK_SECONDS"
    say "scrapes: $output; $((($(cgroup_cpu_us) - before) / SOAK_SECONDS / 1000)) ms on a processor each second"
    say "cgroup peak $(($(cgroup_memory_peak) / 1024)) KiB, $(server_descriptors) descriptors, RssAnon $(server_memory) KiB"
    assert_output --partial "answered $((SOAK_SECONDS * 5)) of $((SOAK_SECONDS * 5)),"
    holds "$(figure p99 "$output") < 1000"
    holds "$(cgroup_memory_peak) < 48 * 1024 * 1024"
    # They were held meanwhile.
    [ "$(server_descriptors)" -gt $((HELD * 9 / 10)) ]
    wait_for slow 30 "$slow_pid"
    say "slow: $(said slow | tail -n 1)"
    holds "$(figure open "$(said slow)") >= 0.9 * $HELD"
}
