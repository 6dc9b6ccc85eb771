#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# System calls of the real program fail, one at a time, and it keeps its promises. `make torture` fails all of them.

load helpers

TORTURE=$ROOT/build/tests/torture

@test "600 failing system calls: it stays, answers in time, says why, serves again, and no figure is wrong" {
    run "$TORTURE" "$STATIC_PROGRAM" --sample 600
    echo "# ${lines[-1]}" >&3
    assert_success
    [[ ${lines[-1]} =~ ^600\ injections,\ [0-9]+\ without\ effect,.*\ 0\ failed$ ]]
}

@test "there is something to fail in every way to start, and it is failed" {
    local scenario call
    "$TORTURE" "$STATIC_PROGRAM" --list >"$BATS_TEST_TMPDIR/list"
    for scenario in supervisor supervisor-procfs pid1 inetd inetd-procfs; do
        for call in openat read close mmap sendto; do
            grep -qx "$scenario:$call:ENOMEM:1:once" "$BATS_TEST_TMPDIR/list"
        done
    done
    # With its only sendto() failing, one request stays without an answer, and the log says so.
    run "$TORTURE" "$STATIC_PROGRAM" --only inetd-procfs:sendto:EPIPE:1:once
    assert_success
    assert_output --partial "write response: Broken pipe"
    assert_output --partial "1 injections, 0 without effect, 1 answered otherwise than 200, 0 needed more than 1 s, 0 failed"
}

@test "a program that breaks its promises undisturbed is noticed" {
    run "$TORTURE" "$(command -v false)" --sample 1
    assert_failure
    assert_output --partial "supervisor: "
}

@test "a wait that always says EINTR is waited out: no call spins, every scrape is answered" {
    local call
    for call in supervisor:epoll_pwait pid1:epoll_pwait pid1:ppoll; do
        run "$ROOT/build/tests/torture" "$STATIC_PROGRAM" --only "$call:EINTR"
        assert_success
        assert_line --regexp "^$call:EINTR:1:on: ok "
    done
}
