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

# lines FIRST LAST COMMAND...: the command once for each port, "PORT" in it replaced.
lines() {
    local port
    for port in $(seq "$1" "$2"); do
        echo "${3//PORT/$port}"
    done
}

# expect_value EXPOSITION VALUE NAME [LABELS]
expect_value() {
    local value
    value=$(metric "$1" "$3" "${4:-}") || fail "no sample $3{${4:-}}"
    [ "$value" = "$2" ] || fail "$3{${4:-}} is $value, made were $2"
}

# Sockets of every kind, and what they come to. The pool is 40000 to 40999 without 40010 to 40019.
make_every_kind() {
    ns_sysctl ip_local_port_range "40000 40999"
    ns_sysctl ip_local_reserved_ports "40010-40019,50000"
    local sockets=()
    mapfile -t sockets < <(
        # Two destinations of one listening socket outside the range; 40100 is shared between them.
        echo "listen 0.0.0.0 5000"
        lines 40100 40109 "connect 127.0.0.1 5000 127.0.0.1 PORT"
        lines 40110 40114 "connect 127.0.0.2 5000 127.0.0.1 PORT"
        echo "connect 127.0.0.2 5000 127.0.0.1 40100"
        # An IPv6 socket that talks IPv4.
        lines 40130 40131 "connect ::ffff:127.0.0.1 5000 ::ffff:127.0.0.1 PORT"
        # TIME_WAIT alone, and TIME_WAIT on a port that another connection holds as well.
        lines 40300 40306 "time-wait 127.0.0.1 5000 127.0.0.1 PORT"
        echo "connect 127.0.0.2 5000 127.0.0.1 40307"
        echo "time-wait 127.0.0.1 5000 127.0.0.1 40307"
        echo "close-wait 127.0.0.1 5000 127.0.0.1 40320"
        echo "syn-sent 127.0.0.1 5009 127.0.0.1 40330"
        # IPv6.
        echo "listen ::1 5003"
        lines 40120 40122 "connect ::1 5003 ::1 PORT"
        lines 40310 40311 "time-wait ::1 5003 ::1 PORT"
        # Listening sockets inside the range; one is connected to, from outside it.
        echo "listen ::1 40201"
        echo "listen 127.0.0.1 40200"
        echo "connect 127.0.0.1 40200 127.0.0.1 6000"
        # A reserved port is not of the pool, whoever holds it.
        echo "listen 127.0.0.1 40010"
        # UDP, on a number of its own and on one that TCP holds too, connected, IPv6, outside the range.
        lines 40400 40403 "bind-udp 127.0.0.1 PORT"
        echo "bind-udp 127.0.0.1 40100"
        echo "connect-udp 127.0.0.1 5353 127.0.0.1 40410"
        lines 40420 40421 "bind-udp ::1 PORT"
        echo "bind-udp 127.0.0.1 5353"
    )
    hold "${sockets[@]}"
}

expect_every_kind() {
    expect_value "$1" 990 port_total
    # TCP: 10 + 5 to two destinations, 2 mapped, 7 + 2 in TIME_WAIT, 1 in both, 1 closing, 1 opening, 3 by IPv6,
    # 2 listening. UDP: 4, 1 shared with TCP, 1, 2.
    expect_value "$1" 34 port_used_by_protocol 'protocol="tcp"'
    expect_value "$1" 8 port_used_by_protocol 'protocol="udp"'
    expect_value "$1" 41 port_used
    expect_value "$1" 9 port_time_wait
    local state count
    while read -r state count; do
        expect_value "$1" "$count" port_sockets "protocol=\"tcp\",state=\"$state\""
    done <<STATES
established 23
syn_sent 1
syn_recv 0
fin_wait1 0
fin_wait2 0
time_wait 10
close 0
close_wait 1
last_ack 0
listen 2
closing 0
STATES
    expect_value "$1" 7 port_sockets 'protocol="udp",state="close"'
    expect_value "$1" 1 port_sockets 'protocol="udp",state="established"'
    expect_value "$1" 40000 port_range_first
    expect_value "$1" 40999 port_range_last
    expect_value "$1" 10 port_reserved
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
    expect_every_kind "$(ns "$PROGRAM" --print)"
    expect_every_kind "$(ns "$STATIC_PROGRAM" --print)"
}

@test "sockets of every kind: the same by HTTP, through a UNIX socket that adds none" {
    make_every_kind
    start_server --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    expect_every_kind "$(ns curl -sS --unix-socket "$BATS_TEST_TMPDIR/socket" http://localhost/metrics)"
}

@test "two connections that share a local port count once" {
    hold "listen 0.0.0.0 5000" \
        "connect 127.0.0.1 5000 127.0.0.1 40000" "connect 127.0.0.2 5000 127.0.0.1 40000"
    local text
    text=$(ns "$PROGRAM" --print)
    expect_value "$text" 1 port_used
    expect_value "$text" 2 port_sockets 'protocol="tcp",state="established"'
}

@test "an exhausted range: used is total, never more" {
    ns_sysctl ip_local_port_range "40000 40009"
    local port sockets=("listen 0.0.0.0 5000")
    for port in $(seq 40000 40009); do
        sockets+=("connect 127.0.0.1 5000 127.0.0.1 $port" "connect 127.0.0.2 5000 127.0.0.1 $port"
            "bind-udp 127.0.0.1 $port")
    done
    hold "${sockets[@]}"
    local text
    text=$(ns "$PROGRAM" --print)
    expect_value "$text" 10 port_total
    expect_value "$text" 10 port_used
    expect_value "$text" 10 port_used_by_protocol 'protocol="tcp"'
    expect_value "$text" 10 port_used_by_protocol 'protocol="udp"'
    expect_value "$text" 20 port_sockets 'protocol="tcp",state="established"'
    # What the figure warns of: the kernel has no port left.
    run ns "$PEER" hold "listen 127.0.0.1 5001" "connect 127.0.0.1 5000"
    assert_failure
    assert_output --partial "Cannot assign requested address"
}

# opened_files: which tables a scan opens.
opened_files() {
    ns strace -f -e trace=openat -o "$BATS_TEST_TMPDIR/trace" "$PROGRAM" --print >/dev/null
    grep -o 'self/net/[a-z0-9]*' "$BATS_TEST_TMPDIR/trace" | sort -u
}

@test "tcp6 is not read while nothing is in it" {
    hold "listen 0.0.0.0 5000" "connect 127.0.0.1 5000"
    run opened_files
    assert_line self/net/tcp
    refute_line self/net/tcp6
}

@test "tcp6 is read for one IPv6 socket, and for one in TIME_WAIT alone" {
    hold "listen ::1 5003"
    run opened_files
    assert_line self/net/tcp6
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"

    # The listening socket goes with its process, TIME_WAIT stays: sockstat6 then counts no TCP6 socket at all.
    hold "listen ::1 5003" "time-wait ::1 5003 ::1 40310"
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    ns cat /proc/self/net/sockstat6 | grep -q 'TCP6: inuse 0'
    expect_value "$(ns "$PROGRAM" --print)" 1 port_time_wait
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
