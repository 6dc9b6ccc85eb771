#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The program under valgrind: no byte is read that was not written, none outside of what is ours. It knows neither seccomp(2)
# nor Landlock and says so to the program, which goes on without them. It would let a filter be set by prctl(2), which would
# kill it for calls of its own: that is refused in front of it.

load helpers

setup() {
    needs valgrind
    ns_create
    REPORTS=$BATS_TEST_TMPDIR/reports
    mkdir "$REPORTS"
    VALGRIND=("$ROOT/build/tests/probe" refuse seccomp valgrind --quiet --error-exitcode=99 --leak-check=full --track-fds=no --log-file="$REPORTS/%p")
}

teardown() {
    stop_all
}

# What valgrind says of itself is not about the program.
assert_clean() {
    [ "$(find "$REPORTS" -type f | wc -l)" -ge "$1" ]
    run grep -rhvE 'unhandled amd64-linux syscall|unhandled arm64-linux syscall|You may be able to write|README_MISSING|Nevertheless we consider|it at http' "$REPORTS"
    assert_output ""
}

@test "--print, by both sources, with sockets of every kind" {
    make_every_kind
    local source
    for source in sock_diag procfs; do
        run ns "${VALGRIND[@]}" "$PROGRAM" --print --source=$source --top-destinations=100
        assert_success
        assert_line 'port_total{pod_name="test-pod"} 990'
    done
    assert_clean 2
}

@test "one request on standard input: served, refused, torn, too long" {
    local request
    for request in 'GET /metrics HTTP/1.0\r\n\r\n' 'HEAD / HTTP/1.0\r\n\r\n' 'GET /metrics HTTP/1.1\r\n' 'POST / HTTP/1.0\r\n\r\n' \
        '\x16\x03\x01' 'GET /metrics HTTP/1.0\r\nAuthorization: Bearer x\r\n\r\n' "GET /$(printf '%017000d' 0)"; do
        # shellcheck disable=SC2059 # with its escapes
        printf "$request" | ns "${VALGRIND[@]}" "$PROGRAM" --inetd --source=procfs >"$BATS_TEST_TMPDIR/answer"
        grep -q '^HTTP/1.1 ' "$BATS_TEST_TMPDIR/answer"
    done
    printf 'a\n' >"$BATS_TEST_TMPDIR/token"
    printf 'GET /metrics HTTP/1.0\r\nAuthorization: Bearer a\r\n\r\n' |
        ns "${VALGRIND[@]}" "$PROGRAM" --inetd --bearer-token-file="$BATS_TEST_TMPDIR/token" >"$BATS_TEST_TMPDIR/answer"
    grep -q ' 200 OK' "$BATS_TEST_TMPDIR/answer"
    assert_clean 8
}

# ask_all: what each kind of request is answered with.
ask_all() {
    wait_until 20 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    [ "$(scrape_status)" = 200 ]
    [ "$(scrape_status -X DELETE)" = 405 ]
    ns "$PEER" talk 127.0.0.1 9999 half-close <<<'GET /metrics HTTP/1.1' >/dev/null 2>&1
    [ "$(scrape_status)" = 200 ]
}

@test "the supervisor and its children" {
    start server ns "${VALGRIND[@]}" "$PROGRAM"
    ask_all
    kill "$STARTED_PID"
    wait_until 10 is_gone "$STARTED_PID"
    assert_clean 4
}

@test "PID 1, the process that accepts, and its children" {
    start server ns unshare -p --fork --kill-child "${VALGRIND[@]}" "$PROGRAM"
    ask_all
    find_pid1
    kill "$PID1"
    wait_until 10 is_gone "$STARTED_PID"
    assert_clean 5
}
