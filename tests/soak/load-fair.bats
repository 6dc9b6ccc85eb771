#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Scrapes from one address while another one floods the program with complete requests, with the limits of a pod.

load helpers

# A connection to an address of this namespace comes from that address.
FLOODERS=(192.0.2.7 192.0.2.8 192.0.2.9 192.0.2.10)

setup() {
    soak_setup
    cgroup_limit_cpu 250
    # The quota is what is tested here, not how much of a processor is left by neighbours.
    cgroup_limit cpu cpu.shares cpu.weight 1024 100
    local flooder
    for flooder in "${FLOODERS[@]}"; do
        ns ip address add "$flooder" dev lo
    done
}

teardown() {
    soak_teardown
}

# flood_and_scrape CLIENTS ADDRESSES: that many clients of each of so many addresses, and each asks again as soon as it
# has its answer, whatever that is.
flood_and_scrape() {
    local flooder pids=() requests=0 served=0
    start_limited_server
    for flooder in "${FLOODERS[@]:0:$2}"; do
        start "$flooder" ns "${ATTACKER[@]}" "$LOAD" crowd "$flooder" 9999 "$1" 22s
        pids+=("$STARTED_PID")
    done
    wait_until 5 has_accepted $(($1 * $2 / 2))
    # 200 scrapes.
    run ns "$LOAD" pulse 127.0.0.1 9999 100 200
    say "scrapes: $output"
    for flooder in "${FLOODERS[@]:0:$2}"; do
        wait_for "$flooder" 20 "${pids[0]}"
        pids=("${pids[@]:1}")
        say "$flooder: $(said "$flooder")"
        requests=$((requests + $(figure answered "$(said "$flooder")") + $(figure failed "$(said "$flooder")")))
        served=$((served + $(figure 200 "$(said "$flooder")")))
    done
    say "peak $(($(cgroup_memory_peak) / 1024)) KiB"
    holds "$(figure answered "$output") >= 0.99 * 200"
    holds "$(figure p99 "$output") < 1000"
    # The flood was one, and got answers too.
    holds "$requests > 10000 && $served > 300"
}

# has_accepted N: connections that this namespace's listeners were given (PassiveOpens).
has_accepted() {
    [ "$(ns awk '$1 == "Tcp:" && $7 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp)" -ge "$1" ]
}

@test "400 clients of another address, complete requests: 99 % of scrapes answered, p99 below 1 s" {
    flood_and_scrape 400 1
}

@test "2,000 clients of another address, complete requests: 99 % of scrapes answered, p99 below 1 s" {
    flood_and_scrape 2000 1
}

@test "2,000 clients of four other addresses, complete requests: 99 % of scrapes answered, p99 below 1 s" {
    flood_and_scrape 500 4
}
