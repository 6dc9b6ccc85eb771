#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Scrapes while clients ask for the longest answers and read nothing, with the limits of a pod.

load helpers

LASTS=8
DESTINATIONS=100

setup() {
    soak_setup
    cgroup_limit_cpu 250
    # bbr has a large send buffer from the start.
    ns_sysctl tcp_congestion_control reno
}

teardown() {
    soak_teardown
}

# make_destinations: one connection to each of a hundred.
make_destinations() {
    local i sockets=("listen 0.0.0.0 5000")
    for i in $(seq "$DESTINATIONS"); do
        sockets+=("connect 127.0.1.$i 5000 127.0.0.1 ~$((40000 + i))")
    done
    hold "${sockets[@]}"
}

# They have been answered, and read nothing.
are_unread() {
    [ "$(ns ss -Htn '( sport = :9999 )' | awk '$3 > 0' | wc -l)" -ge "$1" ]
}

# endure PATH CLIENTS MSS
endure() {
    local pid
    # No more than 50 a second: a crowd of requests is another attack.
    start unread ns "${ATTACKER[@]}" "$LOAD" unread 127.0.0.1 9999 "$1" "$2" 50 $((LASTS + 12)) "$3" hold
    pid=$STARTED_PID
    # Of 200 long ones the oldest are given up: all that are not read have 12 MiB together.
    wait_until 15 are_unread $((($2 < 90 ? $2 : 90) * 9 / 10)) || fail "$*: $(ns ss -Htn '( sport = :9999 )' | wc -l) connections"
    run pulse "$LASTS"
    say "$*: $output"
    kill -TERM "$pid"
    wait_for unread 5 "$pid"
    assert_output --partial "answered $((LASTS * 5)) of $((LASTS * 5)),"
    holds "$(figure p99 "$output") < 1000"
}

# endure_all PATH
endure_all() {
    local clients mss
    make_destinations
    start_limited_server --top-destinations="$DESTINATIONS"
    for clients in 8 24 200; do
        for mss in 88 300 1460; do
            endure "$1" "$clients" "$mss"
        done
    done
}

@test "8, 24 and 200 clients that do not read /: every scrape answered, p99 below 1 s" {
    endure_all /
}

@test "8, 24 and 200 clients that do not read /metrics: every scrape answered, p99 below 1 s" {
    endure_all /metrics
}
