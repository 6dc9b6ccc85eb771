#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Requests that are broken in every way, sent to the running server. Runs alone, because thousands of processes answer.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

@test "3,000 mutated requests: each has one well-formed answer, or none" {
    start_server
    # The same requests each time; another SEED makes others, and a violation names the seed and the request.
    run ns "$ROOT/build/tests/load" mutate 127.0.0.1 9999 3000 "${SEED:-1}" 32 "$ROOT/tests/corpus/head"
    echo "# $(tail -n 1 <<<"$output")" >&3
    assert_success
    assert_output --partial 'connections 3000,'
    assert_output --partial 'violations 0'
    serves
    run server_log
    refute_output --partial 'killed by signal'
}
