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
