#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Scrapes through a flood, with the limits of a pod.

load helpers

setup() {
    soak_setup
    cgroup_limit_cpu 250
}

teardown() {
    soak_teardown
}

@test "5,000 hostile connections a second: 99.9 % of scrapes answered, p99 below 0.25 s" {
    local scrapes=$((SOAK_SECONDS * 5)) before
    start_limited_server
    before=$(cgroup_cpu_us)
    start flood ns "${ATTACKER[@]}" "$PEER" flood 127.0.0.1 9999 5000 $((SOAK_SECONDS + 2))
    local flood_pid=$STARTED_PID
    run pulse "$SOAK_SECONDS"
    say "scrapes: $output; $((($(cgroup_cpu_us) - before) / SOAK_SECONDS / 1000)) ms on a processor each second"
    wait_for flood 10 "$flood_pid"
    say "flood: $(said flood); cgroup peak $(($(cgroup_memory_peak) / 1024)) KiB"
    holds "$(figure answered "$output") >= 0.999 * $scrapes"
    holds "$(figure p99 "$output") < 250"
    # The flood was one.
    holds "$(figure opened "$(said flood)") >= 0.9 * 5000 * $SOAK_SECONDS"
}
