#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The corpus of each fuzz target once more, under AddressSanitizer and UBSan. `make fuzz` looks for new inputs.

load helpers

# replay TARGET: every input of its corpus, and none forgotten.
replay() {
    run "$ROOT/build/tests/replay-$1" "$ROOT/tests/corpus/$1"
    assert_success
    assert_output "$(find "$ROOT/tests/corpus/$1" -type f | wc -l) inputs replayed"
}

@test "request head" {
    replay head
}

@test "socket tables" {
    replay table
}

@test "range, reserved ports" {
    replay sysctl
}

@test "dumps of sockets, releases of kernels" {
    replay netlink
}

@test "collections by netlink, of a kernel that is played" {
    replay collect
}

@test "destinations" {
    replay destinations
}

@test "label values" {
    replay label
}

@test "whole expositions" {
    replay exposition
}

@test "the page, the report, the map" {
    replay view
}

@test "the time that is left" {
    replay trend
}

@test "the supervisor's table of connections" {
    replay hold
}

@test "bearer tokens" {
    replay token
}

@test "numbers and addresses of options" {
    replay number
}

@test "every fuzz target has a corpus and a test here" {
    local source target
    for source in "$ROOT"/tests/fuzz-*.c; do
        target=$(basename "$source" .c)
        target=${target#fuzz-}
        [ "$(find "$ROOT/tests/corpus/$target" -type f | wc -l)" -gt 5 ]
        grep -q "^    replay $target\$" "$BATS_TEST_FILENAME"
    done
}
