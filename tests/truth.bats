#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the program says, against sockets that the test made itself, in a network namespace of its own.

load helpers

setup() {
    ns_create
}

teardown() {
    stop_all
}

# expect_every_kind EXPOSITION: what those sockets come to.
expect_every_kind() {
    expect_value "$1" 990 port_total
    # TCP: 10 + 5 to two destinations, 2 mapped, 7 + 2 in TIME_WAIT, 1 in both, 5 closing, 1 opening, 3 by IPv6,
    # 6 listening, one of them connected as well. UDP: 4, 1 shared with TCP, 1, 2.
    expect_value "$1" 42 port_used_by_protocol 'protocol="tcp"'
    expect_value "$1" 8 port_used_by_protocol 'protocol="udp"'
    expect_value "$1" 49 port_used
    expect_value "$1" 6 port_blocked
    expect_value "$1" 9 port_time_wait
    # To port 5000 of 127.0.0.1: 10, 2 mapped, 8 in TIME_WAIT, 5 closing; and the blocked ones.
    expect_value "$1" 31 port_destination_used_max
    expect_value "$1" 0 port_destination_error_max
    local state count
    while read -r state count; do
        expect_value "$1" "$count" port_sockets "protocol=\"tcp\",state=\"$state\""
    done <<STATES
established 25
syn_sent 1
syn_recv 1
fin_wait1 1
fin_wait2 1
time_wait 10
close 0
close_wait 1
last_ack 1
listen 7
closing 1
STATES
    expect_value "$1" 7 port_sockets 'protocol="udp",state="close"'
    expect_value "$1" 1 port_sockets 'protocol="udp",state="established"'
    expect_value "$1" 40000 port_range_first
    expect_value "$1" 40999 port_range_last
    expect_value "$1" 10 port_reserved
}

# expect_destinations EXPOSITION: whom those sockets are connected to, blocked ports added.
expect_destinations() {
    run grep '^port_destination_used{' <<<"$1"
    assert_output - <<'WANTED'
port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5000"} 31
port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.2:5000"} 13
port_destination_used{pod_name="test-pod",source="::1",destination="[::1]:5003"} 11
port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5009"} 7
WANTED
}

@test "an empty namespace: six lines, byte for byte, 28232 ports" {
    ns_sysctl ip_local_port_range "32768 60999"
    start_server
    scrape >"$BATS_TEST_TMPDIR/first"
    # The one used port is the client's own.
    diff - <(head -n 6 "$BATS_TEST_TMPDIR/first") <<'WANTED'
# HELP port_used Used Local Port Count
# TYPE port_used gauge
port_used{pod_name="test-pod"} 1
# HELP port_total Total Local Port Count
# TYPE port_total gauge
port_total{pod_name="test-pod"} 28232
WANTED
}

@test "an empty namespace without a client uses nothing" {
    expect_value "$(ns "$PROGRAM" --print)" 0 port_used
}

@test "a range of 100 ports with 10 reserved has 90" {
    ns_sysctl ip_local_port_range "32768 32867"
    ns_sysctl ip_local_reserved_ports "32768-32772,32863-32870,9999"
    expect_value "$(ns "$PROGRAM" --print)" 90 port_total
    ns_sysctl ip_local_reserved_ports "32800-32809"
    expect_value "$(ns "$PROGRAM" --print)" 90 port_total
}

@test "sockets of every kind: the figures are those of the sockets made" {
    make_every_kind
    local build source text
    for build in "$PROGRAM" "$STATIC_PROGRAM"; do
        for source in auto sock_diag procfs; do
            text=$(ns "$build" --print --source="$source" --top-destinations=10)
            expect_every_kind "$text"
            expect_destinations "$text"
        done
    done
}

@test "sockets of every kind: the same by HTTP, through a UNIX socket that adds none" {
    make_every_kind
    start_server --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    expect_every_kind "$(ns curl -sS --unix-socket "$BATS_TEST_TMPDIR/socket" http://localhost/metrics)"
}

@test "sockets of every kind: the same for each of many who ask at once and share a scan" {
    make_every_kind
    start_server --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    ns curl -sS --parallel --parallel-immediate --parallel-max 20 --unix-socket "$BATS_TEST_TMPDIR/socket" \
        -o "$BATS_TEST_TMPDIR/answer.#1" 'http://localhost/metrics?[1-20]'
    local i
    for i in $(seq 20); do
        expect_every_kind "$(cat "$BATS_TEST_TMPDIR/answer.$i")"
    done
}

@test "two connections that share a local port count once" {
    hold "listen 0.0.0.0 5000" \
        "connect 127.0.0.1 5000 127.0.0.1 40000" "connect 127.0.0.2 5000 127.0.0.1 40000"
    local source text
    for source in sock_diag procfs; do
        text=$(ns "$PROGRAM" --print --source="$source")
        expect_value "$text" 1 port_used
        expect_value "$text" 1 port_destination_used_max
        expect_value "$text" 2 port_sockets 'protocol="tcp",state="established"'
    done
}

@test "an exhausted range: used is total, never more" {
    ns_sysctl ip_local_port_range "40000 40009"
    local port sockets=("listen 0.0.0.0 5000")
    for port in $(seq 40000 40009); do
        sockets+=("connect 127.0.0.1 5000 127.0.0.1 $port" "connect 127.0.0.2 5000 127.0.0.1 $port"
            "bind-udp 127.0.0.1 $port")
    done
    hold "${sockets[@]}"
    local source text
    for source in sock_diag procfs; do
        text=$(ns "$PROGRAM" --print --source="$source")
        expect_value "$text" 10 port_total
        expect_value "$text" 10 port_used
        expect_value "$text" 10 port_used_by_protocol 'protocol="tcp"'
        expect_value "$text" 10 port_used_by_protocol 'protocol="udp"'
        expect_value "$text" 10 port_destination_used_max
        expect_value "$text" 20 port_sockets 'protocol="tcp",state="established"'
    done
    # What the figure warns of: the kernel has no port left.
    run ns "$PEER" hold "listen 127.0.0.1 5001" "connect 127.0.0.1 5000"
    assert_failure
    assert_output --partial "Cannot assign requested address"
}

@test "a list of reserved ports of any length is read whole" {
    # Every other port from 20001 on: six bytes each, so that these end before, at and behind a page.
    local count
    for count in 681 682 683 684 1365 1366 2730 2731 2732 10000 20000; do
        ns_sysctl ip_local_port_range "1024 65535"
        # In one write, because each replaces the list.
        seq -s, 20001 2 $((20001 + 2 * (count - 1))) |
            ns dd bs=1M iflag=fullblock status=none of=/proc/sys/net/ipv4/ip_local_reserved_ports
        expect_value "$(ns "$PROGRAM" --print)" "$count" port_reserved
    done
}

@test "a listening port inside the range is warned of" {
    ns_sysctl ip_local_port_range "9000 10999"
    start_server
    server_log | grep -q 'listen on port 9999: it lies in the local port range'
    ns_sysctl ip_local_reserved_ports "9999"
    stop_all
    ns_create
    start_server
    run server_log
    refute_output --partial "lies in the local port range"
}
