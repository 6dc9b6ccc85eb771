#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# --netns-file: what is measured is the network namespace that has the name, or nothing.

bats_require_minimum_version 1.5.0
load helpers

# A mounted file, as ip-netns(8) and container engines make them.
NAME=$BATS_TEST_TMPDIR/name

setup() {
    require_root "it mounts files of network namespaces"
    ns_create
    name_namespace "$NS_PID"
}

teardown() {
    stop_all
    umount "$NAME" 2>/dev/null || true
}

# name_namespace PID
name_namespace() {
    touch "$NAME"
    mount --bind "/proc/$1/ns/net" "$NAME"
}

# OTHER: a process in another namespace.
make_other() {
    start other ns unshare -n sleep infinity
    OTHER=$STARTED_PID
    wait_until 5 grep -qx sleep "/proc/$OTHER/comm"
}

replace_namespace() {
    umount "$NAME"
    name_namespace "$OTHER"
}

delete_namespace() {
    umount "$NAME"
    rm "$NAME"
}

assert_ends_well() {
    wait_until 5 is_gone "$SERVER_PID"
    run wait "$SERVER_PID"
    assert_success
}

# assert_no_figures WHAT REASON: what comes when the namespace was given up just after a scrape.
assert_no_figures() {
    make_other
    start_server --netns-file="$NAME"
    # It looks every two seconds, so it is there when the next one comes; and these figures are new enough to be shared.
    serves
    "$1"
    run scrape -w '\n%{http_code}\n'
    assert_line 500
    assert_line "measure network namespace $NAME: $2"
    refute_output --partial port_used
    assert_ends_well
    grep -qx "metrics-sidecar: measure network namespace $NAME: $2: ending" "$BATS_TEST_TMPDIR/server.err"
}

@test "a namespace that was deleted: 500, and the supervisor ends" {
    assert_no_figures delete_namespace deleted
}

@test "another namespace that has the name now: 500, and the supervisor ends" {
    assert_no_figures replace_namespace "replaced by another one of that name"
}

@test "the supervisor ends within seconds though nobody comes, so that nothing keeps the namespace" {
    start_server --netns-file="$NAME"
    delete_namespace
    assert_ends_well
}

@test "as PID 1 of a container both processes end" {
    as_pid1 --netns-file="$NAME"
    serves
    delete_namespace
    wait_until 5 is_gone "$UNSHARE_PID"
    run wait "$UNSHARE_PID"
    assert_success
}

@test "a name that stays does not end it" {
    start_server --netns-file="$NAME"
    run ns "$PEER" scrape 127.0.0.1 9999 3000 3
    assert_output --partial 'answered 3 of 3,'
    [ "$(server_log)" = 'metrics-sidecar: listen on :9999' ]
}

@test "one-shots measure the namespace that has the name, or nothing" {
    local how
    make_other
    run -0 ns "$PROGRAM" --print --netns-file="$NAME"
    expect_value "$output" 28232 port_total
    replace_namespace
    for how in --print --report; do
        run -1 ns "$PROGRAM" "$how" --netns-file="$NAME"
        assert_output "metrics-sidecar: measure network namespace $NAME: replaced by another one of that name"
    done
    METRICS_SIDECAR_NETNS_FILE=$NAME run -1 ns "$PROGRAM" --print
    # shellcheck disable=SC2016 # of the inner shell
    run -0 ns sh -c 'printf "GET /metrics HTTP/1.0\r\n\r\n" | "$0" --inetd --netns-file="$1" 2>/dev/null | cat' "$PROGRAM" "$NAME"
    assert_line --index 0 $'HTTP/1.1 500 Internal Server Error\r'
    assert_line "measure network namespace $NAME: replaced by another one of that name"
    # It cannot be looked at, so it is not known to be this one.
    ln -s loop "$BATS_TEST_TMPDIR/loop"
    run -1 ns "$PROGRAM" --print --netns-file="$BATS_TEST_TMPDIR/loop"
    assert_output "metrics-sidecar: measure network namespace $BATS_TEST_TMPDIR/loop: Too many levels of symbolic links"
}

@test "a process that cannot look at its own namespace is a 500, and the server stays" {
    SERVER=strace start_server -D -f -qq -o "$BATS_TEST_TMPDIR/trace" -e trace=stat,newfstatat,statx -e signal=none \
        -P /proc/self/ns/net -e inject=stat,newfstatat,statx:error=EACCES "$PROGRAM" --netns-file="$NAME"
    run scrape -w '\n%{http_code}\n'
    assert_line 500
    assert_line "measure network namespace $NAME: /proc/self/ns/net cannot be read"
    has_asked() {
        [ "$(grep -c "^$SERVER_PID .*INJECTED" "$BATS_TEST_TMPDIR/trace")" -ge 2 ]
    }
    wait_until 5 has_asked
    run scrape -o /dev/null -w '%{http_code}'
    assert_output 500
}

@test "that the client is in another namespace is what is meant: netns is other, and no line says so" {
    require_root "it enters two network namespaces"
    make_other
    replace_namespace
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod \
        nsenter -n -t "$OTHER" -- "$PROGRAM" --netns-file="$NAME"
    wait_until 5 ns_listens 9999
    run scrape
    assert_line --regexp '^metrics_sidecar_info\{.*netns="other"\} 1$'
    run ! grep 'measure network namespace' "$BATS_TEST_TMPDIR/launcher.err"
}

@test "a name that cannot be looked up for another reason is a 500, and the server stays" {
    ln -sfn loop "$BATS_TEST_TMPDIR/loop"
    start_server --netns-file="$BATS_TEST_TMPDIR/loop"
    run scrape -w '\n%{http_code}\n'
    assert_line 500
    assert_line "measure network namespace $BATS_TEST_TMPDIR/loop: Too many levels of symbolic links"
    # It looks every two seconds: it has looked when the name is another one's, which ends it.
    ln -sfn "$NAME" "$BATS_TEST_TMPDIR/loop"
    wait_until 5 serves
    rm "$BATS_TEST_TMPDIR/loop"
    assert_ends_well
}

@test "a server cannot look at the namespace of a process in /proc: a 500 that says so, and --print can" {
    start_server --netns-file="/proc/$NS_PID/ns/net"
    run scrape -w '\n%{http_code}\n'
    assert_line 500
    assert_line "measure network namespace /proc/$NS_PID/ns/net: Permission denied"
    run -0 ns "$PROGRAM" --print --netns-file="/proc/$NS_PID/ns/net"
    expect_value "$output" 28232 port_total
}

@test "--report without figures leaves standard input open" {
    start report ns sh -c 'exec "$0" --report --watch --netns-file="$1" 0</dev/zero' "$PROGRAM" "$BATS_TEST_TMPDIR/none"
    wait_until 5 grep -q 'deleted' "$BATS_TEST_TMPDIR/report.err"
    local pid
    pid=$(pgrep -P "$STARTED_PID" || echo "$STARTED_PID")
    [ "$(readlink "/proc/$pid/fd/0")" = /dev/zero ]
}
