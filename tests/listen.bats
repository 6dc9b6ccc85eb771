#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Addresses to listen on: every form of them, several together, and what is not there yet. What listens is looked up
# in the kernel.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

# What listens in the namespace: "*:9999" is both families, "[::]:9999" IPv6 alone.
listening() {
    ns ss -Hltn | awk '{ print $4 }' | sort | tr '\n' ' '
}

listens_on() {
    [ "$(listening)" = "${1:+$1 }" ]
}

# assert_listens SOCKETS
assert_listens() {
    wait_until 5 listens_on "$1" || fail "listens on $(listening), not $1: $(server_log)"
}

# Each line: what is asked for, what listens then.
forms() {
    cat <<'FORMS'
:9999 | *:9999
127.0.0.1:9999 | 127.0.0.1:9999
[127.0.0.1]:9999 | 127.0.0.1:9999
0.0.0.0:9999 | 0.0.0.0:9999
[::]:9999 | *:9999
[::1]:9999 | [::1]:9999
[::ffff:127.0.0.1]:9999 | 127.0.0.1:9999
localhost:9999 | 127.0.0.1:9999 [::1]:9999
[LocalHost]:9999 | 127.0.0.1:9999 [::1]:9999
[fe80::5%lo]:9999 | [fe80::5]%lo:9999
[fe80::5%1]:9999 | [fe80::5]%lo:9999
127.0.0.1:9999 , [::1]:9998 | 127.0.0.1:9999 [::1]:9998
FORMS
}

@test "every form of an address that exporters take, by option and by variable" {
    ns ip -6 address add fe80::5/64 dev lo nodad
    local form sockets
    while IFS='|' read -r form sockets; do
        form=${form% } sockets=${sockets# }
        start_server --web.listen-address="$form"
        assert_listens "$sockets"
        kill -TERM "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
        # As a manifest has it that takes the value from a file.
        METRICS_SIDECAR_LISTEN_ADDRESS=" $form"$'\n' start_server
        assert_listens "$sockets"
        run server_log
        refute_output --partial 'use METRICS_SIDECAR'
        kill -TERM "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
    done < <(forms)
}

@test "white space around a value is not part of it" {
    METRICS_SIDECAR_PORT=$'9998\n' METRICS_SIDECAR_TIMEOUT=$' 5\n' METRICS_SIDECAR_SOURCE=$'procfs\n' \
        METRICS_SIDECAR_PROCFS=$'/proc\n' POD_NAME=$'test-pod\r\n' METRICS_SIDECAR_MAX_PROCESSES=$'\n' start_server
    assert_listens '*:9998'
    [ "$(server_log)" = 'metrics-sidecar: listen on :9998' ]
    run ns curl -sS http://127.0.0.1:9998/metrics
    assert_line --regexp '^metrics_sidecar_info\{pod_name="test-pod",.*source="procfs"'
    echo secret >"$BATS_TEST_TMPDIR/token"
    METRICS_SIDECAR_BEARER_TOKEN_FILE=$BATS_TEST_TMPDIR/token$'\n' start_server
    [ "$(scrape_status)" = 401 ]
    [ "$(scrape_status -H 'Authorization: Bearer secret')" = 200 ]
}

@test "a bad address in a variable opens localhost alone, at the port that it names" {
    local value port
    while IFS='|' read -r value port; do
        METRICS_SIDECAR_PORT=9990 METRICS_SIDECAR_LISTEN_ADDRESS=$value start_server
        assert_listens "127.0.0.1:$port [::1]:$port"
        run server_log
        assert_line --regexp "^metrics-sidecar: use METRICS_SIDECAR_LISTEN_ADDRESS=.*: not \[HOST\]:PORT .*: localhost:$port used\$"
        kill -TERM "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
    done <<'VALUES'
somewhere|9990
shop.example:9998|9998
$(POD_IP):9997|9997
[]:9996|9996
9995|9995
::1:9994|9994
*:9993|9993
fe80::5:9992|9992
[fe80::5]:9992|9992
127.0.0.1:9991,elsewhere|9991
127.0.0.1|9990
:http|9990
:0|9990
:65536|9990
unix:relative|9990
VALUES
    # One address too many is a bad value as well.
    METRICS_SIDECAR_LISTEN_ADDRESS=$(seq -s , -f '127.0.0.1:%g' 9001 9065) start_server
    assert_listens '127.0.0.1:9001 [::1]:9001'
}

@test "a variable is not looked at where its option is given" {
    METRICS_SIDECAR_LISTEN_ADDRESS=somewhere METRICS_SIDECAR_TIMEOUT=never start_server --timeout=5 \
        --web.listen-address=127.0.0.1:9999
    assert_listens 127.0.0.1:9999
    [ "$(server_log)" = 'metrics-sidecar: listen on 127.0.0.1:9999' ]
}

@test "addresses that include each other: all of them are served, and nothing is tried again" {
    local addresses sockets hosts host
    while IFS='|' read -r addresses sockets hosts; do
        start_server --web.listen-address="$addresses"
        assert_listens "$sockets"
        for host in $hosts; do
            run ns curl -sS -o /dev/null -w '%{http_code}' "http://$host:9999/metrics"
            assert_output 200
        done
        run server_log
        refute_output --partial 'in use'
        kill -TERM "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
    done <<'ADDRESSES'
0.0.0.0:9999,[::]:9999|0.0.0.0:9999 [::]:9999|127.0.0.1 [::1]
[::]:9999,0.0.0.0:9999|0.0.0.0:9999 [::]:9999|127.0.0.1 [::1]
[::]:9999,127.0.0.1:9999|127.0.0.1:9999 [::]:9999|127.0.0.1 [::1]
[::]:9999,localhost:9999|127.0.0.1:9999 [::]:9999|127.0.0.1 [::1]
localhost:9999,0.0.0.0:9999|0.0.0.0:9999 [::1]:9999|127.0.0.1 [::1]
127.0.0.1:9999,0.0.0.0:9999,[::1]:9999|0.0.0.0:9999 [::1]:9999|127.0.0.1 [::1]
:9999,0.0.0.0:9999|*:9999|127.0.0.1 [::1]
[::]:9999,:9999|*:9999|127.0.0.1 [::1]
0.0.0.0:9999,[::]:9999,:9999|*:9999|127.0.0.1 [::1]
localhost:9999,:9999,127.0.0.1:9998|*:9999 127.0.0.1:9998|127.0.0.1 [::1]
127.0.0.1:9999,[127.0.0.1]:9999,[::ffff:127.0.0.1]:9999|127.0.0.1:9999|127.0.0.1
ADDRESSES
}

# run_target [VARIABLE=VALUE]: make run, in the namespace.
run_target() {
    start server ns env -u LISTEN make --no-print-directory -C "$ROOT" run "$@"
    wait_until 60 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
}

@test "make run listens on localhost alone, and says how to open it" {
    run_target
    assert_listens '127.0.0.1:9999 [::1]:9999'
    run cat "$BATS_TEST_TMPDIR/server.out"
    assert_line 'Serving http://localhost:9999/ for you and /metrics for Prometheus; end with Ctrl-C.'
    assert_line 'It listens on localhost:9999. To open it to the network: make run LISTEN=:9999'
    kill -TERM "$STARTED_PID"
    wait_until 5 listens_on ''
    # As it says.
    run_target "$(sed -nE 's/.*: make run (LISTEN=.*)/\1/p' "$BATS_TEST_TMPDIR/server.out")"
    assert_listens '*:9999'
    grep -q '^Serving http://localhost:9999/ ' "$BATS_TEST_TMPDIR/server.out"
}

@test "make run on a port that is taken: says so at once, and what to do" {
    local taken
    for taken in "127.0.0.1 9999" "::1 9999" ":: 10000"; do
        ns_create
        hold "listen $taken"
        run ns timeout 5 env -u LISTEN make --no-print-directory -C "$ROOT" run LISTEN="localhost:${taken#* }"
        assert_failure 2
        assert_line --index 0 "Something listens on port ${taken#* } already: stop it, or take another port: make run LISTEN=localhost:$((${taken#* } + 1))"
        refute_output --partial Serving
    done
    # As it says; there is one that listens on every address of port 10000.
    run_target "$(sed -nE 's/.*: make run (LISTEN=.*)/\1/p' <<<"${lines[0]}")"
    assert_listens '*:10000 127.0.0.1:10001 [::1]:10001'
    grep -q '^Serving http://localhost:10001/ ' "$BATS_TEST_TMPDIR/server.out"
    grep -qF 'It listens on localhost:10001. To open it to the network: make run LISTEN=:10001' "$BATS_TEST_TMPDIR/server.out"
}

@test "make run names every address that it is told, and a taken one of several" {
    run_target LISTEN="127.0.0.1:9997,:9998,unix:$BATS_TEST_TMPDIR/s"
    run cat "$BATS_TEST_TMPDIR/server.out"
    assert_line "Serving unix:$BATS_TEST_TMPDIR/s http://127.0.0.1:9997/ http://localhost:9998/ for you and /metrics for Prometheus; end with Ctrl-C."
    refute_output --partial 'To open it'
    run ns timeout 5 make --no-print-directory -C "$ROOT" run LISTEN=localhost:9996,localhost:9998
    assert_failure 2
    assert_line --partial 'Something listens on port 9998 already'
}

@test "an interface, and its address, that come later" {
    start server ns "$PROGRAM" --web.listen-address='[fe80::5%later]:9999'
    wait_until 5 grep -q 'listen on \[fe80::5%later\]:9999: No such device' "$BATS_TEST_TMPDIR/server.err"
    ns ip link add later type veth peer name other
    ns ip link set later up
    wait_until 5 grep -q 'listen on \[fe80::5%later\]:9999: Cannot assign requested address' "$BATS_TEST_TMPDIR/server.err"
    ns ip -6 address add fe80::5/64 dev later nodad
    assert_listens '[fe80::5]%later:9999'
    run ns curl -sS -o /dev/null -w '%{http_code}' 'http://[fe80::5%25later]:9999/metrics'
    assert_output 200
}

@test "IPv6 that is switched off: IPv4 serves, and one line says what is missing" {
    # A build without IPv6 has no socket of it.
    start kernel ns strace -D -qq -o /dev/null -e trace=socket -e signal=none -e inject=socket:error=EAFNOSUPPORT:when=2+1 \
        "$PROGRAM" --web.listen-address='0.0.0.0:9997,[::]:9997'
    wait_until 5 grep -q 'listen on 0.0.0.0:9997' "$BATS_TEST_TMPDIR/kernel.err"
    ns sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
    start absent ns "$PROGRAM" --web.listen-address=127.0.0.1:9998 --web.listen-address=192.0.2.9:9998
    start_server --web.listen-address=localhost:9999
    # The same message comes again after ten seconds.
    run ns "$PEER" scrape 127.0.0.1 9999 11000 2
    assert_output --partial 'answered 2 of 2,'
    assert_equal "$(grep -c 'listen on \[::1\]:9999: Cannot assign requested address' "$BATS_TEST_TMPDIR/server.err")" 1
    assert_equal "$(grep -c 'listen on \[::\]:9997: Address family not supported by protocol' "$BATS_TEST_TMPDIR/kernel.err")" 1
    assert_equal "$(grep -c 'listen on 192.0.2.9:9998: Cannot assign requested address' "$BATS_TEST_TMPDIR/absent.err")" 1
    assert_equal "$(cat "$BATS_TEST_TMPDIR"/{server,kernel,absent}.err | wc -l)" 6
    # It is waited for all the same.
    ns sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6'
    wait_until 5 grep -qx 'metrics-sidecar: listen on \[::1\]:9999' "$BATS_TEST_TMPDIR/server.err"
}
