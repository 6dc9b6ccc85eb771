#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a server has become after a million requests: what it was after some.

load helpers

setup() {
    soak_setup
}

teardown() {
    soak_teardown
}

zombies() {
    ps -o pid=,stat= --ppid "$(server_pid)" | awk '$2 ~ /^Z/ { print $1 }' | sort
}

# One that has just ended may be seen; one that is still there a while later has not been reaped.
assert_no_zombies() {
    local seen
    seen=$(zombies)
    [ -n "$seen" ] || return 0
    sleep 0.5
    seen=$(comm -12 <(echo "$seen") <(zombies))
    [ -z "$seen" ] || fail "zombies: $seen"
}

# crowd COUNT: all of these requests are to be answered with 200.
crowd() {
    local looks=0
    start crowd ns "$LOAD" crowd 127.0.0.1 9999 16 "$1"
    until is_gone "$STARTED_PID"; do
        assert_no_zombies
        looks=$((looks + 1))
        sleep 0.2
    done
    forget "$STARTED_PID"
    say "$(said crowd); $looks looks for zombies, $(server_memory) KiB"
    [ "$(figure 200 "$(said crowd)")" -eq "$1" ]
}

has_descriptors() {
    [ "$(server_descriptors)" -eq "$1" ]
}

@test "a million requests: all answered, no zombie, no descriptor and no page more than after 10,000" {
    local requests=${SOAK_REQUESTS:-1000000} descriptors memory
    start_limited_server
    descriptors=$(server_descriptors)
    crowd 10000
    memory=$(server_memory)
    crowd $((requests - 10000))
    wait_until 5 has_descriptors "$descriptors"
    [ "$(server_memory)" -le "$memory" ]
    say "cgroup peak $(cgroup_memory_peak) bytes, $(($(cgroup_cpu_us) / requests)) us on a processor for each request"
    serves
}
