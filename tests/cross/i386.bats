#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The program of a 32-bit architecture on a real kernel: amd64 runs i386. `make cross` has built it.

load ../helpers

setup() {
    PROGRAM=${PROGRAM_UNDER_TEST:-$ROOT/build/cross/i386/metrics-sidecar}
    ns_create
}

teardown() {
    stop_all
}

setup_file() {
    i686-linux-gnu-gcc -static -D_GNU_SOURCE -std=c11 -O2 -I"$ROOT" -o "$BATS_FILE_TMPDIR/probe" "$ROOT/tests/probe.c" \
        "$ROOT/sandbox.c" "$ROOT/util.c"
}

@test "every layer is in place" {
    run "$BATS_FILE_TMPDIR/probe" layers
    assert_output $'no_new_privs 0\nrlimits 0\ncapabilities 0\nlandlock 0\nseccomp 0'
}

@test "every other call by its number kills a responder, through socketcall too" {
    run "$BATS_FILE_TMPDIR/probe" responder
    assert_success
    # SEND, RECV, SENDTO, RECVFROM and SHUTDOWN of linux/net.h.
    [ "$(sort <<<"$output")" = "$(printf '%s\n' _llseek clock_gettime clock_gettime64 close exit exit_group lseek poll ppoll \
        ppoll_time64 read recvfrom restart_syscall rt_sigreturn sendto setitimer shutdown sigreturn write \
        'socketcall 9' 'socketcall 10' 'socketcall 11' 'socketcall 12' 'socketcall 13' | sort)" ]
}

@test "the server's filter refuses programs, debugging, writing, namespaces and other sockets" {
    run "$BATS_FILE_TMPDIR/probe" server
    assert_success
    assert_output --regexp '^3[0-9] tried$'
}

@test "the supervisor and its children serve behind their filters, by both sources" {
    local source
    for source in sock_diag procfs; do
        start_server --source=$source
        expect_value "$(scrape)" 28232 port_total
        grep -qE '^Seccomp:\s+2$' "/proc/$SERVER_PID/status"
        # What the filters refuse, the program says.
        [ "$(server_log | grep -vc 'listen on')" -eq 0 ] || fail "$(server_log)"
        kill "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
    done
}

@test "sockets of every kind: the figures of the machine's own build, by both sources" {
    local source
    make_every_kind
    for source in sock_diag procfs; do
        diff <(ns "$ROOT/metrics-sidecar" --print --source=$source --top-destinations=20 | steady) \
            <(ns "$PROGRAM" --print --source=$source --top-destinations=20 | steady)
    done
}

@test "a response to a file beyond 2 GiB is written" {
    truncate -s 3G "$BATS_TEST_TMPDIR/file"
    # A log that goes to a file would lift the limit as well.
    # shellcheck disable=SC2016 # of the inner shell
    run bash -c 'printf "GET /metrics HTTP/1.0\r\n\r\n" | "$1" --inetd 2>&1 >>"$2" | cat' bash "$PROGRAM" "$BATS_TEST_TMPDIR/file"
    assert_output ""
    [ "$(tail -c +3221225473 "$BATS_TEST_TMPDIR/file" | head -n 1)" = $'HTTP/1.1 200 OK\r' ]
}
