#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A well-known attacker's own judgement.

load helpers

LASTS=15

setup() {
    soak_setup
    cgroup_limit_cpu 250
}

teardown() {
    soak_teardown
}

# It ends early when the server has closed all of its connections; then it comes again.
# shellcheck disable=SC2016 # expanded by that shell
ATTACK='
    out=$1 end=$(($(date +%s) + $2)) n=0
    shift 2
    while left=$((end - $(date +%s))) && [ "$left" -gt 1 ]; do
        n=$((n + 1))
        slowhttptest -c 1000 -r 500 -l "$left" -p 3 -g -o "$out.$n" -u http://127.0.0.1:9999/metrics "$@"
    done'

# attack ARGUMENT...: it finds the service available each time it looks, and so does a scraper.
attack() {
    local out=$BATS_TEST_TMPDIR/slow attack_pid
    start_limited_server
    start attack ns "${ATTACKER[@]}" sh -c "$ATTACK" sh "$out" "$LASTS" "$@"
    attack_pid=$STARTED_PID
    run pulse $((LASTS - 1))
    say "scrapes: $output"
    wait_for slowhttptest 20 "$attack_pid"
    head -q -n 1 "$out".*.csv | refute_other 'Seconds,Closed,Pending,Connected,Service Available'
    say "$(looks "$out" | wc -l) looks, at most $(looks "$out" | cut -d , -f 4 | sort -n | tail -n 1) connected"
    assert_output --partial "answered $(((LASTS - 1) * 5)) of"
    [ "$(looks "$out" | wc -l)" -ge $((LASTS - 2)) ]
    # 0 is what it plots for a service that is not available.
    refute [ "$(looks "$out" | cut -d , -f 5 | sort -n | head -n 1)" -eq 0 ]
}

# looks OUT: a line for each second.
looks() {
    tail -q -n +2 "$1".*.csv
}

# refute_other LINE: on standard input there is no other one.
refute_other() {
    refute grep -vxF "$1"
}

@test "slowhttptest: slow heads" {
    attack -H -i 2
}

@test "slowhttptest: slow bodies" {
    attack -B -i 2 -s 8192 -t POST
}

@test "slowhttptest: slow reads" {
    attack -X -w 1 -y 16 -n 2 -z 8
}

@test "slowhttptest: ranges" {
    attack -R -a 10 -b 3000 -t HEAD
}
