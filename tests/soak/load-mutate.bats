#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Requests that are broken in every way, in the memory of a pod.

load helpers

setup() {
    soak_setup
}

teardown() {
    soak_teardown
}

@test "100,000 mutated requests: each has one well-formed answer, or none" {
    start_limited_server
    run ns "$LOAD" mutate 127.0.0.1 9999 "${SOAK_MUTATIONS:-100000}" "${SEED:-1}" 64 "$ROOT/tests/corpus/head"
    say "$(tail -n 1 <<<"$output")"
    assert_success
    say "cgroup peak $(($(cgroup_memory_peak) / 1024)) KiB"
    serves
}
