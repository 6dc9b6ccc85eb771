#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Many honest clients at once, with the limits of a pod: what they get, and what they make the pod spend.

load helpers

CLIENTS=200
LASTS=20

setup() {
    soak_setup
    cgroup_limit_cpu 250
}

teardown() {
    soak_teardown
}

# crowd: its line to $output.
crowd() {
    local before
    before=$(cgroup_cpu_us)
    run ns "$LOAD" crowd 127.0.0.1 9999 "$CLIENTS" "${LASTS}s"
    say "$output"
    say "$((($(cgroup_cpu_us) - before) / $(figure answered "$output"))) us on a processor for each, peak $(($(cgroup_memory_peak) / 1024)) KiB"
}

all_are_served() {
    [ "$(figure failed "$output")" -eq 0 ]
    [ "$(figure other "$output")" -eq 0 ]
}

@test "200 honest clients: at least 400 requests a second, p99 below 1 s" {
    start_limited_server
    crowd
    all_are_served
    [ "$(rate "$output")" -ge 400 ]
    holds "$(figure p99 "$output") < 1000"
}

# Milliseconds on a processor of one scan, by a process that does nothing else, outside of the group.
scan_ms() {
    local TIMEFORMAT='%U %S'
    { time ns "$STATIC_PROGRAM" --print >/dev/null; } 2>&1 | awk '{ print ($1 + $2) * 1000 }'
}

@test "200 honest clients and 100,000 sockets: scans take at most a tenth of a core" {
    local scan i
    start crowd ns "$CROWD" established 100000 10000 59999
    wait_until 60 grep -q ready "$BATS_TEST_TMPDIR/crowd.out"
    start_limited_server
    [ "$(metric "$(scrape)" port_scan_sockets)" -ge 100000 ]
    crowd
    scan=$(for i in 1 2 3 4 5; do scan_ms; done | median)
    say "$(figure scans "$output") scans of $scan ms in $LASTS s: $(awk "BEGIN { print $(figure scans "$output") * $scan / 1000 / $LASTS }") of a core"
    all_are_served
    holds "$scan > 0 && $(figure scans "$output") > 0"
    holds "$(figure scans "$output") * $scan / 1000 / $LASTS <= 0.1"
}
