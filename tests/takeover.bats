#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What an attacker finds, and can do, in a process of the supervisor that was taken over while it read a request. Planted
# code does that (takeover.c), or the memory of the process is read from outside.

load helpers
bats_require_minimum_version 1.5.0

PLANTED_CODE=$ROOT/build/tests/takeover.so

setup() {
    ns_create
}

teardown() {
    stop_all
}

# ask LINE...: one request on a connection of its own, whose answer is thrown away; $TRAILER comes after the answer.
ask() {
    # shellcheck disable=SC2016 # for the other shell
    ns bash -c 'exec 5<>/dev/tcp/127.0.0.1/9999 && printf "%s\r\n" "$@" "" >&5 && read -r -u 5 && printf %s "$TRAILER" >&5 &&
        exec 5>&-' bash "$@"
}

@test "what other clients have sent is not in the memory of a process" {
    require_root "the memory of a process that cannot be traced"
    make_stuck_procfs
    mv "$STUCK/self/net/tcp" "$BATS_TEST_TMPDIR/fifo"
    cp "$FIXTURES/idle/self/net/tcp" "$STUCK/self/net/tcp"
    start_server --path.procfs="$STUCK"
    # Each is longer than those that come after it. A head that is not complete stays where it is until its deadline.
    local filler
    filler=$(printf '%04000d' 0)
    # shellcheck disable=SC2016 # for the other shell
    start torn ns bash -c 'exec 5<>/dev/tcp/127.0.0.1/9999; printf "GET /metrics HTTP/1.1\r\nX: $1\r\nAuthorization: torn-secret" >&5
        echo sent; exec sleep infinity' bash "$filler$filler$filler"
    wait_until 5 grep -q sent "$BATS_TEST_TMPDIR/torn.out"
    TRAILER="$filler${filler}trailing-secret" ask 'GET /metrics HTTP/1.0'
    ask 'GET /metrics HTTP/1.0' "X: $filler" 'Authorization: Bearer whole-secret'
    local age
    age=$(figures_age)
    # The figures are too old for the next one, which is held in its scan.
    rm "$STUCK/self/net/tcp"
    mv "$BATS_TEST_TMPDIR/fifo" "$STUCK/self/net/tcp"
    sleep "$age"
    start_client one
    wait_until 5 has_children 1
    local child secret
    child=$(children)
    memory_has "$child" "$STUCK"
    for secret in torn whole trailing; do
        run -1 memory_has "$child" "$secret-secret"
    done
    # It was there all the time.
    memory_has "$child" "$STUCK"
}

@test "peers of the sockets are not in the memory of a process that reads a request, but for those it is to name" {
    require_root "the memory of a process that cannot be traced"
    # 127.77.66.55 is "\177MB7" in memory, and so on: one destination has three connections, five have one.
    hold "listen 0.0.0.0 5000" "3 x connect 127.77.66.55 5000" "connect 127.77.66.56 5000" "connect 127.77.66.57 5000" \
        "connect 127.77.66.58 5000" "connect 127.77.66.59 5000" "connect 127.77.66.60 5000"
    local source last child
    for source in sock_diag procfs; do
        # Held back at its very end.
        start server ns strace -D -f -o /dev/null -e trace=exit_group -e signal=none \
            -e inject=exit_group:delay_enter=8000000 "$PROGRAM" --source=$source --top-destinations=1
        SERVER_PID=$STARTED_PID
        wait_until 5 serves
        child=$(children | head -n 1)
        memory_has "$child" $'\177MB7'
        for last in 8 9 : ';' '<'; do
            run -1 memory_has "$child" $'\177MB'"$last"
        done
        # As procfs writes addresses.
        run -1 memory_has "$child" 424D7F:
        memory_has "$child" $'\177MB7'
        # Its own end would be held back, too.
        kill -KILL "$STARTED_PID"
        wait_until 5 is_gone "$STARTED_PID"
    done
}

# start_planted WHAT [ARGUMENT...]: the server with planted code in its processes.
start_planted() {
    start server ns env LD_PRELOAD="$PLANTED_CODE" PLANTED="$1" "$PROGRAM" "${@:2}"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
}

@test "it can have the supervisor log four fixed sentences, each once a second, and nothing else" {
    start_planted forge --bearer-token-file="$BATS_TEST_TMPDIR/none"
    local start=$SECONDS
    # Each ends with a status of its own.
    run ns "$PEER" scrape 127.0.0.1 9999 4 300
    local sentences='(read request|write response|render figures|confine process: seccomp): [A-Za-z -]+'
    local seconds=$((SECONDS - start + 1))
    # Before it reads a request a process has a log: what is wrong with the token comes first.
    [ "$(sed -n 2p "$BATS_TEST_TMPDIR/server.err")" = \
        "metrics-sidecar: read bearer token: No such file or directory: every request gets 503" ]
    run ! grep -av -E "^metrics-sidecar: ($sentences|listen on :9999|read bearer token: .*)( \([0-9]+ m[a-z ]+\))*$" \
        "$BATS_TEST_TMPDIR/server.err"
    local said
    said=$(grep -cE "^metrics-sidecar: $sentences" "$BATS_TEST_TMPDIR/server.err")
    echo "# $said lines in $seconds s" >&3
    [ "$said" -ge 1 ]
    [ "$said" -le $((4 * (seconds + 1))) ]
    # It keeps none of the others from logging.
    echo two words >"$BATS_TEST_TMPDIR/none"
    run ns "$PEER" scrape 127.0.0.1 9999 4 300
    grep -q 'read bearer token: not a token' "$BATS_TEST_TMPDIR/server.err"
}

@test "it can spend a second of processor time, whatever the timeout" {
    start_planted spin --timeout=60
    start_client one
    # A process that may spend all of its timeout would go on for a minute.
    wait_until 20 grep -q 'answer connection: process killed by signal' "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 has_children 0
}
