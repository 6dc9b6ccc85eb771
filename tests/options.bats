#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Options, environment variables, and what is said of bad ones.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

@test "--version names the version that metrics_sidecar_info has" {
    run "$PROGRAM" --version
    assert_success
    assert_line --index 0 --regexp '^metrics-sidecar [0-9]+\.[0-9]+\.[0-9]+$'
    assert_line --index 1 --regexp '^sandbox:( [a-z_]+)*$'
    local version=${lines[0]#metrics-sidecar }
    run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line --partial "version=\"$version\""
}

@test "--help fits 80 columns and 30 lines" {
    run "$PROGRAM" --help
    assert_success
    [ "$(wc -l <<<"$output")" -le 30 ]
    [ "$(wc -L <<<"$output")" -le 80 ]
}

@test "a bad option: one line, status 2, nothing served" {
    local option
    while read -r option; do
        # shellcheck disable=SC2086 # words
        run ns timeout 5 "$PROGRAM" $option
        [ "$status" -eq 2 ] || fail "$option: status $status"
        [ "${#lines[@]}" -eq 1 ] || fail "$option: said $output"
        [[ $output == "metrics-sidecar: use "*": "* ]] || fail "$option: said $output"
    done <<'OPTIONS'
--nonsense
nonsense
-x
--timeout
--timeout=
--timeout=0
--timeout=61
--timeout=1.5
--timeout=-1
--timeout=99999999999999999999
--max-connections=0
--max-connections=16385
--max-processes=65
--max-processes=0x8
--top-destinations=101
--idle-exit=x
--source=magic
--source=sock_diag --path.procfs=/tmp
--path.procfs=
--netns-file=
--web.listen-address=9999
--web.listen-address=:0
--web.listen-address=:65536
--web.listen-address=localhost
--web.listen-address=shop.example:9999
--web.listen-address=:http
--web.listen-address=*:9999
--web.listen-address=::1:9999
--web.listen-address=[::1]
--web.listen-address=[]:9999
--web.listen-address=[fe80::1]:9999
--web.listen-address=[fe80::1%]:9999
--web.listen-address=[::1%lo]:9999
--web.listen-address=unix:relative
--web.listen-address=unix:
--web.listen-address=:1,
--print=x
OPTIONS
    run ns "$PROGRAM" --web.listen-address="$(seq -s , -f ':%g' 17)"
    [ "$status" -eq 2 ]
    assert_output --partial ': more than 16 addresses'
    run ns "$PROGRAM" --pod-name="$(printf '%0254d' 0)"
    [ "$status" -eq 2 ]
    # What is repeated of it does nothing to a terminal, and makes no second line.
    run "$PROGRAM" --timeout=$'a\nb\e[31m\xff'
    [ "$status" -eq 2 ]
    assert_output "metrics-sidecar: use --timeout=a?b?[31m?: not a whole number from 1 to 60"
}

@test "every option is read from its variable, and the option wins" {
    METRICS_SIDECAR_PORT=9998 start_server
    run ns curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9998/metrics
    assert_output 200
    stop_all

    ns_create
    METRICS_SIDECAR_LISTEN_ADDRESS='127.0.0.1:9997,[::1]:9996' METRICS_SIDECAR_PORT=9998 start_server
    run ns curl -s -o /dev/null -o /dev/null -w '%{http_code}' http://127.0.0.1:9997/metrics 'http://[::1]:9996/metrics'
    assert_output 200200
    run ns curl -s http://127.0.0.1:9998/metrics
    assert_failure
    stop_all

    ns_create
    METRICS_SIDECAR_LISTEN_ADDRESS=127.0.0.1:9997 start_server --web.listen-address=:9999
    serves
    run ns curl -s http://127.0.0.1:9997/metrics
    assert_failure

    run env METRICS_SIDECAR_PROCFS="$FIXTURES/exhausted" "$PROGRAM" --print
    assert_line 'port_total{pod_name="test-pod"} 10'
    run env METRICS_SIDECAR_PROCFS="$FIXTURES/exhausted" "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_total{pod_name="test-pod"} 28232'
}

@test "pod_name: option, else POD_NAME, else the host name" {
    run env POD_NAME=a "$PROGRAM" --print --pod-name=b --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="b"} 0'
    run env POD_NAME=a "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="a"} 0'
    run env -u POD_NAME "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line "port_used{pod_name=\"$(uname -n)\"} 0"
    # The host name of a pod, as the kernel has it.
    run unshare -Urn --uts sh -c 'hostname shop-abc; exec env -u POD_NAME "$@"' sh \
        "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_line 'port_used{pod_name="shop-abc"} 0'
}

@test "a bad variable is logged, and the default used" {
    # The second is what Kubernetes sets for a Service that is called metrics-sidecar.
    METRICS_SIDECAR_TIMEOUT=never METRICS_SIDECAR_PORT=tcp://10.0.0.1:9999 METRICS_SIDECAR_SOURCE=magic \
        METRICS_SIDECAR_MAX_PROCESSES=0 METRICS_SIDECAR_LISTEN_ADDRESS=somewhere POD_NAME=$(printf '%0254d' 0) \
        start_server
    [ "$(scrape_status)" = 200 ]
    run server_log
    assert_line "metrics-sidecar: use METRICS_SIDECAR_TIMEOUT=never: not a whole number from 1 to 60: default used"
    assert_line --partial "use METRICS_SIDECAR_PORT=tcp://10.0.0.1:9999: "
    assert_line --partial "use METRICS_SIDECAR_SOURCE=magic: not one of auto, sock_diag, procfs"
    assert_line --partial "use METRICS_SIDECAR_MAX_PROCESSES=0: "
    assert_line --regexp "use METRICS_SIDECAR_LISTEN_ADDRESS=somewhere: .*: localhost:9999 used\$"
    assert_line --partial "use POD_NAME=0"
    run scrape
    assert_line "port_total{pod_name=\"$(uname -n)\"} 28232"
}

@test "an empty variable is none" {
    METRICS_SIDECAR_PORT='' METRICS_SIDECAR_TIMEOUT='' start_server
    serves
    [ "$(wc -l <"$BATS_TEST_TMPDIR/server.err")" -eq 1 ]
}

@test "with another procfs, auto means its files; the variable cannot ask for anything else" {
    run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_output --partial 'source="procfs"'
    METRICS_SIDECAR_SOURCE=sock_diag run "$PROGRAM" --print --path.procfs="$FIXTURES/idle"
    assert_success
    assert_output --partial "use METRICS_SIDECAR_SOURCE=sock_diag: another procfs than /proc is read as files only: procfs used"
    assert_output --partial 'source="procfs"'
}

@test "--print that fails: status 1, one line, no number" {
    run "$PROGRAM" --print --path.procfs=/nonexistent
    assert_failure 1
    assert_output "metrics-sidecar: read procfs: No such file or directory"
    run bash -c '"$1" --print --path.procfs="$2" > /dev/full' bash "$PROGRAM" "$FIXTURES/idle"
    assert_failure 1
    assert_output "metrics-sidecar: write metrics: No space left on device"
}

# assert_named WORD FILE...
assert_named() {
    local file
    for file in "${@:2}"; do
        grep -qF -- "$1" "$file" || fail "$(basename "$file") does not name $1"
    done
}

@test "README and the manual page name every option, variable and metric of the program" {
    local word manual=$BATS_TEST_TMPDIR/manual
    mandoc -T ascii "$ROOT/metrics-sidecar.8" | col -b >"$manual"
    # Of the source, lest one be missing everywhere.
    for word in $(sed -nE 's/^\t\{ "([a-z.-]+)".*/--\1/p' "$ROOT/options.c") \
        $(grep -oE '"(METRICS_SIDECAR|POD)_[A-Z_]+"' "$ROOT/options.c" | tr -d '"'); do
        assert_named "$word" "$ROOT/README.md" "$manual" <("$PROGRAM" --help)
    done
    start_server --top-destinations=1
    for word in $(scrape | sed -nE 's/^# TYPE ([a-z_]+) .*/\1/p'); do
        assert_named "\`$word\`" "$ROOT/README.md"
        # As an entry of its own.
        grep -qE "^\.It (.* )?$word( |$)" "$ROOT/metrics-sidecar.8" || fail "the manual page has no entry $word"
    done
}

@test "README and the manual page give the ranges of numbers that the program has" {
    local option range
    for option in $("$PROGRAM" --help | sed -nE 's/^ +(--[a-z.-]+)=.*/\1/p'); do
        range=$("$PROGRAM" --print "$option=x" 2>&1 >/dev/null | sed -nE 's/.*not a whole number from ([0-9]+ to [0-9]+)$/\1/p')
        [ -n "$range" ] || continue
        grep -qF "\`$option=" "$ROOT/README.md" || fail "README does not name $option"
        grep -F "\`$option=" "$ROOT/README.md" | grep -qF ", $range" || fail "README: $option is not $range"
        sed -n "/^\.It Fl -${option#--} /,/^\.It/p" "$ROOT/metrics-sidecar.8" | tr '\n' ' ' | grep -qF " $range" ||
            fail "manual page: $option is not $range"
        echo "$option" >>"$BATS_TEST_TMPDIR/numbers"
    done
    [ "$(wc -l <"$BATS_TEST_TMPDIR/numbers")" -eq 5 ]
}

@test "mandoc has nothing to say about the manual page" {
    # But which other manuals this machine has.
    run bash -c 'mandoc -T lint "$1" 2>/dev/null | grep -v "referenced manual not found"' bash "$ROOT/metrics-sidecar.8"
    assert_output ""
    run grep -c '^\.Sh' "$ROOT/metrics-sidecar.8"
    [ "$output" -ge 12 ]
}
