#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The bearer token: who does not show it is told nothing, and what is wrong with its file lets nobody in.

load helpers
bats_require_minimum_version 1.5.0

setup() {
    ns_create
    TOKEN=$BATS_TEST_TMPDIR/token
    printf 'c2VjcmV0LTE=\n' >"$TOKEN"
}

teardown() {
    stop_all
}

with() {
    scrape_status -H "Authorization: $1"
}

# ask HEAD-LINE...: one request on standard input, with the token file.
ask() {
    printf '%s\r\n' "$@" "" | "$PROGRAM" --inetd --bearer-token-file="$TOKEN" --path.procfs="$FIXTURES/idle" 2>"$BATS_TEST_TMPDIR/err"
}

@test "200 with the token, 401 with WWW-Authenticate without it, with another one, with another scheme" {
    start_server --bearer-token-file="$TOKEN"
    [ "$(with 'Bearer c2VjcmV0LTE=')" = 200 ]
    [ "$(with 'bearer   c2VjcmV0LTE=')" = 200 ]
    local value
    for value in 'Bearer c2VjcmV0LTE' 'Bearer c2VjcmV0LTE==' 'Bearer c2VjcmV0LTF=' 'Bearer C2VjcmV0LTE=' 'Bearer' 'Bearer ' \
        'Basic c2VjcmV0LTE=' 'c2VjcmV0LTE=' 'Bearer c2VjcmV0LTE= x' "Bearer $(printf '%02000d' 0)"; do
        [ "$(with "$value")" = 401 ] || fail "with '$value': $(with "$value")"
    done
    [ "$(scrape_status)" = 401 ]
    run scrape -i
    assert_line --partial 'WWW-Authenticate: Bearer realm="metrics-sidecar"'
    refute_output --partial port_used
    # Whatever is asked for: nobody learns what there is.
    local path
    for path in / /nowhere; do
        run ns curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:9999$path"
        assert_output 401
    done
    run ns curl -s -o /dev/null -w '%{http_code}' -X POST http://127.0.0.1:9999/metrics
    assert_output 401
}

@test "two Authorization fields are none" {
    run ask 'GET /metrics HTTP/1.0' 'Authorization: Bearer c2VjcmV0LTE=' 'Authorization: Bearer c2VjcmV0LTE='
    assert_line --partial '401 Unauthorized'
    run ask 'GET /metrics HTTP/1.0' 'Authorization: Bearer c2VjcmV0LTE='
    assert_line --partial '200 OK'
}

@test "HEAD without the token: 401 and no content; what does not parse is 400 as ever" {
    run ask 'HEAD /metrics HTTP/1.0'
    assert_line --index 0 --partial '401 Unauthorized'
    refute_line Unauthorized
    run ask 'GET /metrics'
    assert_line --index 0 --partial '400 Bad Request'
}

@test "a file that is missing, empty, a directory, too long or no token: 503 for everyone, and one line that says why" {
    start_server --bearer-token-file="$TOKEN"
    refused_because() {
        [ "$(with 'Bearer c2VjcmV0LTE=')" = 503 ] || fail "$1: $(with 'Bearer c2VjcmV0LTE=')"
        [ "$(with 'Bearer')" = 503 ]
        [ "$(scrape_status)" = 503 ]
        grep -qF "read bearer token: $1: every request gets 503" "$BATS_TEST_TMPDIR/server.err" || fail "$(server_log)"
        # The next reason is to be said anew, also where it is the same.
        stop_all
        ns_create
        start_server --bearer-token-file="$TOKEN"
    }
    rm "$TOKEN"
    refused_because 'No such file or directory'
    : >"$TOKEN"
    refused_because empty
    printf ' \n\t\n' >"$TOKEN"
    refused_because empty
    printf 'two words\n' >"$TOKEN"
    refused_because 'not a token: bytes other than visible ASCII'
    printf '%01025d\n' 0 >"$TOKEN"
    refused_because 'longer than a token may be'
    head -c 100000 /dev/zero >"$TOKEN"
    refused_because 'longer than a token may be'
    rm "$TOKEN"
    mkdir "$TOKEN"
    refused_because 'Is a directory'
    # And open again without a restart, as long as it may be.
    rmdir "$TOKEN"
    printf '%01024d\n' 7 >"$TOKEN"
    [ "$(with "Bearer $(printf '%01024d' 7)")" = 200 ]
    [ "$(with "Bearer $(printf '%01023d' 7)")" = 401 ]
}

@test "an empty name of a file lets nobody in, by option and by variable" {
    METRICS_SIDECAR_BEARER_TOKEN_FILE='' start_server
    [ "$(scrape_status)" = 503 ]
    [ "$(with 'Bearer')" = 503 ]
    stop_all
    ns_create
    start_server --bearer-token-file=
    [ "$(scrape_status)" = 503 ]
}

@test "a rotated token counts from the next request on, as Kubernetes rotates it" {
    mkdir "$BATS_TEST_TMPDIR/..1" "$BATS_TEST_TMPDIR/..2"
    echo first >"$BATS_TEST_TMPDIR/..1/token"
    echo second >"$BATS_TEST_TMPDIR/..2/token"
    ln -s ..1 "$BATS_TEST_TMPDIR/data"
    start_server --bearer-token-file="$BATS_TEST_TMPDIR/data/token"
    [ "$(with 'Bearer first') $(with 'Bearer second')" = "200 401" ]
    ln -s ..2 "$BATS_TEST_TMPDIR/next"
    mv -T "$BATS_TEST_TMPDIR/next" "$BATS_TEST_TMPDIR/data"
    [ "$(with 'Bearer first') $(with 'Bearer second')" = "401 200" ]
}

@test "by environment; neither the token nor what was shown instead is ever logged or echoed" {
    export METRICS_SIDECAR_BEARER_TOKEN_FILE=$TOKEN
    start_server
    [ "$(with 'Bearer c2VjcmV0LTE=')" = 200 ]
    run scrape -i -H 'Authorization: Bearer guessed-by-someone'
    assert_line --partial '401 Unauthorized'
    refute_output --partial guessed-by-someone
    echo 'c2VjcmV0LTE= twice' >"$TOKEN"
    [ "$(scrape_status)" = 503 ]
    run server_log
    refute_output --partial c2VjcmV0
    refute_output --partial guessed-by-someone
}

@test "nothing of a request is echoed, whatever its status" {
    local answer line
    for line in 'GET /MARKER HTTP/1.0' 'MARKER /metrics HTTP/1.0' 'GET /metrics MARKER' 'GET /metrics?MARKER HTTP/1.0' \
        'GET http://MARKER/ HTTP/1.0' 'GET MARKER HTTP/1.0'; do
        answer=$(printf '%s\r\nHost: MARKER\r\nAccept: MARKER/MARKER\r\nAuthorization: Bearer MARKER\r\nMARKER: MARKER\r\n\r\n' "$line" |
            "$PROGRAM" --inetd --path.procfs="$FIXTURES/idle" 2>"$BATS_TEST_TMPDIR/err")
        grep -q '^HTTP/1.1 [245]' <<<"$answer"
        run ! grep -i MARKER <<<"$answer"
        run ! grep -i MARKER "$BATS_TEST_TMPDIR/err"
    done
}

is_confined() {
    grep -q '^Seccomp:.2$' "/proc/$1/status"
}

@test "a process that waits for a request does not have the token in its memory" {
    require_root "the memory of a process that cannot be traced"
    mkfifo "$BATS_TEST_TMPDIR/request"
    exec 7<>"$BATS_TEST_TMPDIR/request"
    "$PROGRAM" --inetd --bearer-token-file="$TOKEN" --pod-name=a-name-that-is-there <"$BATS_TEST_TMPDIR/request" \
        >"$BATS_TEST_TMPDIR/response" 3>&- 7>&- &
    local pid=$!
    STARTED+=("$pid")
    wait_until 5 is_confined "$pid"
    memory_has "$pid" a-name-that-is-there
    run -1 memory_has "$pid" c2VjcmV0LTE
    # It is the right one all the same.
    printf 'GET /metrics HTTP/1.0\r\nAuthorization: Bearer c2VjcmV0LTE=\r\n\r\n' >&7
    wait_until 5 grep -q '200 OK' "$BATS_TEST_TMPDIR/response"
    exec 7>&-
}
