#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the figures warn of, against the kernel: a destination's figure says how many ports a new connect() to it cannot
# use, so the others, and not one more, must be there when the test connects until the kernel has none left.
#
# Ports that connections hold are those that the kernel found by itself, but where a test says otherwise: a socket that
# was bound to its port by number before it connected closes the port to all others, and procfs does not tell which ones
# were.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    new_namespace "40000 40009"
}

teardown() {
    stop_all
}

# new_namespace RANGE: with that local port range. A connection in TIME_WAIT is not used again, as it would be on
# loopback.
new_namespace() {
    ns_create
    ns_sysctl ip_local_port_range "$1"
    ns_sysctl tcp_tw_reuse 0
}

# measure: the namespace, by each source.
measure() {
    BY_SOCK_DIAG=$(ns "$PROGRAM" --print --source=sock_diag --top-destinations=100)
    BY_PROCFS=$(ns "$PROGRAM" --print --source=procfs --top-destinations=100)
}

# expect_both VALUE NAME [LABELS]: the last measurement, by each source.
expect_both() {
    expect_value "$BY_SOCK_DIAG" "$@" || fail "by sock_diag"
    expect_value "$BY_PROCFS" "$@" || fail "by procfs"
}

# expect_value has the text first; expect_both has not.
to() {
    echo "source=\"$1\",destination=\"$2\""
}

# expect_try ANSWER HOST PORT [FROM-HOST]: what one connect() gets.
expect_try() {
    run ns "$PEER" try "${@:2}"
    assert_output "$1"
}

# expect_room COUNT HOST PORT [FROM-HOST]: so many connect() work, and the next one fails for want of a port.
expect_room() {
    run ns "$PEER" fill "${@:2}"
    assert_output "$1 EADDRNOTAVAIL"
}

# expect_room_unanswered COUNT HOST PORT: the same where nothing answers, so that connect() may not wait.
expect_room_unanswered() {
    run ns "$PEER" fill-unanswered "${@:2}"
    assert_output "$1 EADDRNOTAVAIL"
}

@test "0 to 10 connections to one destination: it is exhausted when used_max is total, not before" {
    hold "listen 0.0.0.0 5000" "listen 0.0.0.0 5001"
    local k
    for k in $(seq 0 10); do
        measure
        expect_both 10 port_total
        expect_both "$k" port_used
        expect_both "$k" port_destination_used_max
        expect_both 0 port_blocked
        if [ "$k" -eq 10 ]; then
            expect_try EADDRNOTAVAIL 127.0.0.1 5000
            break
        fi
        expect_both 0 port_time_wait
        expect_try connected 127.0.0.1 5000
        expect_room $((10 - k)) 127.0.0.1 5000
        hold "dial 127.0.0.1 5000"
    done
    # Other destinations share the ports.
    expect_try connected 127.0.0.2 5000
    expect_try connected 127.0.0.1 5001
    expect_room 10 127.0.0.2 5000
    expect_room 10 127.0.0.1 5001
    # And the attempts have left nothing.
    measure
    expect_both 10 port_destination_used_max
    expect_both 10 port_sockets 'protocol="tcp",state="established"'
    expect_both 0 port_sockets 'protocol="tcp",state="time_wait"'
}

@test "listening ports of the range are closed to every connect(), IPv4 and IPv6" {
    local sockets=()
    mapfile -t sockets < <(
        lines 40000 40001 "listen 127.0.0.1 PORT"
        echo "listen 0.0.0.0 40002"
        echo "listen ::1 40003"
        echo "listen :: 40004"
        # Outside the range: one that is asked, by either family.
        echo "listen :: 5000"
    )
    hold "${sockets[@]}"
    measure
    expect_both 5 port_blocked
    expect_both 5 port_used
    expect_both 5 port_destination_used_max
    expect_room 5 127.0.0.1 5000
    expect_room 5 127.0.0.2 5000
    expect_room 5 ::1 5000

    hold "3 x dial 127.0.0.1 5000" "dial 127.0.0.2 5000"
    measure
    expect_both 5 port_blocked
    expect_both 8 port_destination_used_max
    expect_both 8 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_both 6 port_destination_used "$(to 127.0.0.1 127.0.0.2:5000)"
    expect_room 2 127.0.0.1 5000
    expect_room 4 127.0.0.2 5000
    expect_room 5 127.0.0.3 5000
}

@test "an IPv6 listening socket alone blocks an IPv4 connect()" {
    hold "listen 0.0.0.0 5000" "10 x listen ::1 0"
    measure
    expect_both 10 port_blocked
    expect_both 10 port_destination_used_max
    expect_try EADDRNOTAVAIL 127.0.0.1 5000
}

@test "several sockets that listen on one port block it once" {
    hold "listen 0.0.0.0 5000" "3 x listen-shared 127.0.0.1 40001" "listen ::1 40001"
    measure
    expect_both 1 port_blocked
    expect_both 1 port_destination_used_max
    expect_both 4 port_sockets 'protocol="tcp",state="listen"'
    expect_room 9 127.0.0.1 5000
}

@test "what a listening socket of the range accepted belongs to no destination" {
    local sockets=()
    mapfile -t sockets < <(
        echo "listen 0.0.0.0 5000"
        echo "listen 127.0.0.1 40000"
        lines 6000 6006 "connect 127.0.0.1 40000 127.0.0.1 PORT"
        # One client many times over does not make it one either.
        echo "listen :: 40001"
        lines 6010 6016 "connect ::1 40001 ::1 PORT"
        lines 6020 6026 "connect 127.0.0.1 40001 127.0.0.1 PORT"
    )
    hold "${sockets[@]}"
    measure
    expect_both 2 port_used
    expect_both 2 port_blocked
    expect_both 2 port_destination_used_max
    expect_both 21 port_sockets 'protocol="tcp",state="established"'
    run ! grep '^port_destination_used{' <<<"$BY_SOCK_DIAG$BY_PROCFS"
    expect_room 8 127.0.0.1 5000
}

@test "a port that is connected and then listened on is lost once, not twice" {
    # Every one of the ten is connected to one destination; three of them listen as well.
    local sockets=()
    mapfile -t sockets < <(
        echo "listen 0.0.0.0 5000"
        echo "10 x dial 127.0.0.1 5000"
        lines 40003 40005 "listen 127.0.0.1 PORT"
    )
    hold "${sockets[@]}"
    measure
    expect_both 10 port_used
    expect_both 3 port_blocked
    expect_both 10 port_destination_used_max
    expect_room 0 127.0.0.1 5000
    expect_room 7 127.0.0.2 5000
}

@test "reserved ports are not of the pool: 10 of 20 leave exactly 10 connects" {
    new_namespace "40000 40019"
    ns_sysctl ip_local_reserved_ports "40000-40004,40010-40014,40020"
    hold "listen 0.0.0.0 5000" "listen 127.0.0.1 40002" "connect 127.0.0.1 40002 127.0.0.1 6000"
    measure
    expect_both 10 port_total
    expect_both 10 port_reserved
    expect_both 0 port_blocked
    expect_both 0 port_used
    expect_room 10 127.0.0.1 5000
    hold "10 x dial 127.0.0.1 5000"
    measure
    expect_both 10 port_used
    expect_both 10 port_destination_used_max
    expect_try EADDRNOTAVAIL 127.0.0.1 5000
}

@test "TIME_WAIT holds a port towards its destination alone" {
    hold "listen 0.0.0.0 5000" "10 x time-wait 127.0.0.1 5000"
    measure
    expect_both 10 port_time_wait
    expect_both 10 port_used
    expect_both 0 port_blocked
    expect_both 10 port_destination_used_max
    expect_try EADDRNOTAVAIL 127.0.0.1 5000
    expect_try connected 127.0.0.2 5000
    expect_room 10 127.0.0.2 5000
}

@test "a simultaneous open in SYN_RECV counts towards its destination, a request to a listening socket does not" {
    ns ip tuntap add dev tun0 mode tun
    ns ip addr add 10.7.0.1/24 dev tun0
    ns ip link set tun0 up
    hold "listen 127.0.0.1 5000" "syn-recv 127.0.0.1 40004 127.0.0.1 6001" "3 x crossed-open tun0 10.7.0.2 443"
    measure
    expect_both 4 port_sockets 'protocol="tcp",state="syn_recv"'
    expect_both 1 port_blocked
    expect_both 4 port_used
    expect_both 4 port_destination_used_max
    expect_both 4 port_destination_used "$(to 10.7.0.1 10.7.0.2:443)"
    # connect() does not wait for an answer here: nobody gives one.
    expect_room_unanswered 6 10.7.0.2 443
    expect_room 9 127.0.0.1 5000
}

# all_older_than MS: every socket in TIME_WAIT, by what its timer has left of a minute, in hundredths of a second.
all_older_than() {
    ns cat /proc/self/net/tcp /proc/self/net/tcp6 | awk -v ms="$1" '
        function hex(text, i, n) {
            for (i = 1; i <= length(text); i++) n = n * 16 + index("123456789ABCDEF", substr(text, i, 1))
            return n
        }
        $4 == "06" { split($6, timer, ":"); if (60000 - hex(timer[2]) * 10 < ms) young = 1 }
        END { exit young }'
}

# set_delay MS: how old a socket in TIME_WAIT must be to be taken over, where the kernel can be told (Linux 6.14).
set_delay() {
    DELAY=1000
    [ -e /proc/sys/net/ipv4/tcp_tw_reuse_delay ] || return 0
    ns_sysctl tcp_tw_reuse_delay "$1"
    DELAY=$1
}

# expect_room_left LABELS HOST PORT [FROM-HOST]: both sources say what connect() then gets of ten.
expect_room_left() {
    local used
    used=$(metric "$BY_SOCK_DIAG" port_destination_used "$1") || used=$(metric "$BY_SOCK_DIAG" port_blocked)
    [ "$used" = "$(metric "$BY_PROCFS" port_destination_used "$1" || metric "$BY_PROCFS" port_blocked)" ]
    expect_room $((10 - used)) "${@:2}"
}

# make_time_waits: towards 127.0.0.1 with IPv4 and mapped, ::1, an address that is not loopback's, and FIN_WAIT2 that the
# kernel keeps as it keeps TIME_WAIT.
make_time_waits() {
    ns ip addr add 10.0.0.1/32 dev lo
    ns ip addr add 10.0.0.9/32 dev lo
    hold "listen :: 5000" "2 x fin-wait2 127.0.0.1 5000" "2 x time-wait 127.0.0.1 5000" \
        "2 x time-wait ::ffff:127.0.0.1 5000" "5 x time-wait ::1 5000" "4 x time-wait 10.0.0.9 5000 10.0.0.1 0"
    wait_until 5 all_older_than $((DELAY + 50))
}

@test "TIME_WAIT that connect() may take over counts towards no destination: tcp_tw_reuse, loopback, timestamps" {
    local reuse timestamps loopback other
    for timestamps in 1 0; do
        for reuse in 0 1 2; do
            new_namespace "40000 40009"
            ns_sysctl tcp_timestamps "$timestamps"
            set_delay 10
            make_time_waits
            # Not before: one that is made could take the port of an older one.
            ns_sysctl tcp_tw_reuse "$reuse"
            # How many of those to loopback, and of the others, are in the way.
            loopback=1 other=1
            [ "$timestamps$reuse" != 11 ] || loopback=0 other=0
            [ "$timestamps$reuse" != 12 ] || loopback=0
            echo "timestamps $timestamps, reuse $reuse"
            measure
            expect_both 10 port_total
            expect_both 2 port_sockets 'protocol="tcp",state="fin_wait2"'
            expect_both 13 port_sockets 'protocol="tcp",state="time_wait"'
            expect_both $((2 + 4 * loopback)) port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
            [ "$loopback" = 0 ] || expect_both 5 port_destination_used "$(to ::1 '[::1]:5000')"
            [ "$other" = 0 ] || expect_both 4 port_destination_used "$(to 10.0.0.1 10.0.0.9:5000)"
            expect_room_left "$(to 127.0.0.1 127.0.0.1:5000)" 127.0.0.1 5000
            expect_room_left "$(to ::1 '[::1]:5000')" ::1 5000
            expect_room_left "$(to 10.0.0.1 10.0.0.9:5000)" 10.0.0.9 5000 10.0.0.1
            stop_all
        done
    done
}

@test "TIME_WAIT younger than tcp_tw_reuse_delay counts, older does not" {
    ns_sysctl tcp_tw_reuse 2
    set_delay 1500
    hold "listen 0.0.0.0 5000" "6 x time-wait 127.0.0.1 5000"
    wait_until 10 all_older_than $((DELAY + 50))
    hold "listen 0.0.0.0 5001" "3 x time-wait 127.0.0.1 5001"
    # Of one port two destinations have a socket in TIME_WAIT, an old one and a young one.
    measure
    expect_both 3 port_destination_used_max
    expect_both 3 port_destination_used "$(to 127.0.0.1 127.0.0.1:5001)"
    expect_both 9 port_sockets 'protocol="tcp",state="time_wait"'
    # A port with a young one is not for everybody.
    expect_both $(($(metric "$BY_PROCFS" port_time_wait) - 3)) port_time_wait_reusable
    expect_room 7 127.0.0.1 5001
    expect_room 10 127.0.0.1 5000
}

@test "a port in TIME_WAIT towards two destinations is reusable when both sockets are" {
    ns_sysctl tcp_tw_reuse 2
    set_delay 1500
    hold "listen 0.0.0.0 5000" "time-wait 127.0.0.1 5000 127.0.0.1 ~40003" "time-wait 127.0.0.1 5000 127.0.0.1 ~40004"
    wait_until 10 all_older_than $((DELAY + 50))
    hold "listen 0.0.0.0 5001" "time-wait 127.0.0.1 5001 127.0.0.1 ~40003"
    measure
    expect_both 2 port_time_wait
    expect_both 1 port_time_wait_reusable
    expect_both 1 port_destination_used_max
    wait_until 10 all_older_than $((DELAY + 50))
    measure
    expect_both 2 port_time_wait
    expect_both 2 port_time_wait_reusable
    expect_both 0 port_destination_used_max
    expect_both 2 port_used
    expect_room 10 127.0.0.1 5001
}

@test "every state after SYN holds a port towards its destination" {
    hold "listen 0.0.0.0 5000" "connect 127.0.0.1 5000" "fin-wait1 127.0.0.1 5000" "fin-wait2 127.0.0.1 5000" \
        "closing 127.0.0.1 5000" "last-ack 127.0.0.1 5000" "close-wait 127.0.0.1 5000" "time-wait 127.0.0.1 5000"
    measure
    local state
    for state in established fin_wait1 fin_wait2 closing last_ack close_wait time_wait; do
        expect_both 1 port_sockets "protocol=\"tcp\",state=\"$state\""
    done
    expect_both 7 port_destination_used_max
    expect_room 3 127.0.0.1 5000
}

@test "an IPv6 socket that talks IPv4 counts towards the IPv4 destination" {
    hold "listen 0.0.0.0 5000" "4 x dial ::ffff:127.0.0.1 5000" "5 x dial 127.0.0.1 5000"
    measure
    expect_both 9 port_destination_used_max
    expect_both 9 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_room 1 127.0.0.1 5000
    expect_room 1 ::ffff:127.0.0.1 5000
    hold "dial ::ffff:127.0.0.1 5000"
    measure
    expect_both 10 port_destination_used_max
    expect_try EADDRNOTAVAIL 127.0.0.1 5000
    expect_try EADDRNOTAVAIL ::ffff:127.0.0.1 5000
    run grep -c '^port_destination_used{' <<<"$BY_SOCK_DIAG"
    assert_output 1
}

@test "an IPv6 destination" {
    hold "listen ::1 5003" "listen 127.0.0.1 5003" "10 x dial ::1 5003"
    measure
    expect_both 10 port_destination_used_max
    expect_both 10 port_destination_used "$(to ::1 '[::1]:5003')"
    expect_try EADDRNOTAVAIL ::1 5003
    expect_try connected 127.0.0.1 5003
}

@test "two local addresses towards one remote are two destinations" {
    hold "listen 0.0.0.0 5000" "3 x dial 127.0.0.1 5000" "6 x dial 127.0.0.1 5000 127.0.0.9 0"
    measure
    expect_both 6 port_destination_used_max
    expect_both 3 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_both 6 port_destination_used "$(to 127.0.0.9 127.0.0.1:5000)"
    expect_room 7 127.0.0.1 5000
    expect_room 4 127.0.0.1 5000 127.0.0.9
    expect_room 10 127.0.0.1 5000 127.0.0.8
}

@test "UDP takes nothing from TCP" {
    local sockets=()
    mapfile -t sockets < <(
        echo "listen 0.0.0.0 5000"
        lines 40000 40004 "bind-udp 0.0.0.0 PORT"
        lines 40005 40009 "connect-udp 127.0.0.1 5000 127.0.0.1 PORT"
    )
    hold "${sockets[@]}"
    measure
    expect_both 10 port_used
    expect_both 0 port_blocked
    expect_both 0 port_destination_used_max
    expect_room 10 127.0.0.1 5000
}

# expect_bound COUNT: what the last measurement says when so many ports are bound by sockets without a connection.
# procfs never shows them, and a series that nobody can fill is absent, not 0.
expect_bound() {
    local labels='protocol="tcp",state="bound_inactive"'
    if kernel_shows_bound; then
        expect_value "$BY_SOCK_DIAG" "$1" port_sockets "$labels"
        expect_value "$BY_SOCK_DIAG" "$1" port_blocked
        expect_value "$BY_SOCK_DIAG" "$1" port_used
        expect_value "$BY_SOCK_DIAG" "$1" port_destination_used_max
    else
        expect_value "$BY_SOCK_DIAG" 0 port_blocked
        run ! metric "$BY_SOCK_DIAG" port_sockets "$labels"
    fi
    expect_value "$BY_PROCFS" 0 port_blocked
    expect_value "$BY_PROCFS" 0 port_used
    run ! metric "$BY_PROCFS" port_sockets "$labels"
    run ! grep bound_inactive <<<"$BY_PROCFS"
}

@test "a bound, unconnected socket blocks its port, where the kernel shows it" {
    hold "listen :: 5000"
    measure
    expect_bound 0
    hold "bind-tcp 127.0.0.1 40003"
    measure
    expect_bound 1
    expect_room 9 127.0.0.1 5000
    expect_room 9 127.0.0.2 5000
    hold "bind-tcp ::1 40004" "bind-tcp :: 40005" "bind-tcp 0.0.0.0 0"
    measure
    expect_bound 4
    expect_room 6 127.0.0.1 5000
    expect_room 6 ::1 5000
    # Of the range alone.
    hold "bind-tcp 127.0.0.1 7000"
    measure
    expect_bound 4
}

@test "a socket that was bound keeps its port when its connection is reset; another one does not" {
    hold "listen 0.0.0.0 5000" "reset 127.0.0.1 5000 127.0.0.1 40003" "2 x reset 127.0.0.1 5000"
    measure
    expect_bound 1
    expect_room 9 127.0.0.1 5000
    expect_room 9 127.0.0.2 5000
    # It is a destination no more.
    run ! grep '^port_destination_used{' <<<"$BY_SOCK_DIAG"
}

# expect_sources SOCK-DIAG PROCFS NAME [LABELS]: what each of them says of the last measurement.
expect_sources() {
    expect_value "$BY_SOCK_DIAG" "$1" "${@:3}" || fail "by sock_diag"
    expect_value "$BY_PROCFS" "$2" "${@:3}" || fail "by procfs"
}

@test "a port that was bound by number before connect() is blocked, where the source tells" {
    hold "listen :: 5000" "fin-wait1 127.0.0.1 5000 127.0.0.1 40007" "close-wait ::1 5000 ::1 40006" \
        "dial 127.0.0.1 5000 127.0.0.1 40009" "dial ::1 5000 ::1 40008" "3 x dial 127.0.0.1 5000"
    measure
    expect_both 7 port_used
    expect_sources 4 0 port_blocked
    # 127.0.0.1: 3, and 40009 and 40007, which are blocked for all.
    expect_sources 7 5 port_destination_used_max
    expect_sources 7 5 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    run ! metric "$BY_SOCK_DIAG" port_destination_used "$(to ::1 '[::1]:5000')"
    expect_room 3 127.0.0.1 5000
    expect_room 6 127.0.0.2 5000
    expect_room 6 ::1 5000
}

@test "a port that the kernel found is blocked while a socket bound by number shares it" {
    hold "listen 0.0.0.0 5000" "dial 127.0.0.1 5000 127.0.0.1 ~40003"
    hold "listen 0.0.0.0 5001" "dial 127.0.0.1 5001 127.0.0.1 40003"
    measure
    expect_both 1 port_used
    expect_sources 1 0 port_blocked
    expect_sources 1 1 port_destination_used_max
    expect_room 9 127.0.0.2 5000
    # The listening socket goes first, which resets the connection; nothing of it is left in TIME_WAIT.
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    measure
    expect_both 0 port_blocked
    expect_both 1 port_destination_used_max
    # Before Linux 6.18 the port stays closed as long as any socket has it, and nothing shows that.
    if kernel_is 6 18; then
        expect_room 10 127.0.0.2 5000
    else
        expect_room 9 127.0.0.2 5000
    fi
}

@test "what no source shows: bind() to port 0, TIME_WAIT of a bound socket, what a closed listening socket accepted" {
    hold "listen 0.0.0.0 5000" "time-wait 127.0.0.1 5000 127.0.0.1 40001" "dial 127.0.0.1 5000 127.0.0.1 any" \
        "accepted-alone 127.0.0.1 40002 127.0.0.1 6000"
    measure
    expect_both 3 port_used
    expect_both 0 port_blocked
    expect_both 2 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_both 1 port_destination_used "$(to 127.0.0.1 127.0.0.1:6000)"
    # The documents say so: they are closed to all.
    expect_room 7 127.0.0.2 5000
}

# make_links: two veth pairs, a1-b1 and a2-b2, with the same link-local addresses on both.
make_links() {
    local i end
    for i in 1 2; do
        ns ip link add "a$i" type veth peer name "b$i"
        for end in a b; do
            ns ip link set "$end$i" addrgenmode none
            ns ip link set "$end$i" up
            ns ip addr add "fe80::$end/64" dev "$end$i" nodad
        done
    done
}

# index_of DEVICE
index_of() {
    ns ip -o link show "$1" | cut -d: -f1
}

@test "link-local addresses of two links are two destinations" {
    make_links
    hold "listen fe80::b%b1 5000" "6 x dial fe80::b%a1 5000"
    hold "listen fe80::b%b2 5000" "3 x dial fe80::b%a2 5000"
    measure
    expect_value "$BY_SOCK_DIAG" 6 port_destination_used "$(to "fe80::a%$(index_of a1)" '[fe80::b]:5000')"
    expect_value "$BY_SOCK_DIAG" 3 port_destination_used "$(to "fe80::a%$(index_of a2)" '[fe80::b]:5000')"
    # The files of procfs do not show the link. Both may have got the same ports.
    expect_value "$BY_PROCFS" "$(metric "$BY_PROCFS" port_destination_used_max)" \
        port_destination_used "$(to fe80::a '[fe80::b]:5000')"
    expect_value "$BY_SOCK_DIAG" 6 port_destination_used_max
    expect_room 4 fe80::b%a1 5000
    expect_room 7 fe80::b%a2 5000
}

@test "unbound sockets are in the way of one bound to a device, and not the other way round" {
    local sockets=()
    mapfile -t sockets < <(
        echo "listen 0.0.0.0 5000"
        lines 40001 40004 "dial 127.0.0.1%lo 5000 127.0.0.1 ~PORT"
    )
    hold "${sockets[@]}"
    measure
    expect_both 4 port_destination_used_max
    expect_value "$BY_SOCK_DIAG" 4 port_destination_used "$(to 127.0.0.1%1 127.0.0.1:5000)"
    expect_room 10 127.0.0.1 5000
    expect_room 6 127.0.0.1%lo 5000

    # Two of the same ports, and two more.
    mapfile -t sockets < <(lines 40003 40006 "dial 127.0.0.1 5000 127.0.0.1 ~PORT")
    hold "${sockets[@]}"
    measure
    expect_both 6 port_destination_used_max
    expect_value "$BY_SOCK_DIAG" 6 port_destination_used "$(to 127.0.0.1%1 127.0.0.1:5000)"
    expect_value "$BY_SOCK_DIAG" 4 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_value "$BY_PROCFS" 6 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_room 6 127.0.0.1 5000
    expect_room 4 127.0.0.1%lo 5000
}

@test "a listening socket that is bound to a device blocks its port for all others" {
    hold "listen 0.0.0.0 5000" "listen 127.0.0.1%lo 40003" "listen ::1%lo 40004"
    measure
    expect_both 2 port_blocked
    expect_both 2 port_destination_used_max
    expect_room 8 127.0.0.1 5000
    expect_room 8 127.0.0.1%lo 5000
}

@test "TIME_WAIT of a socket bound to the loopback device is loopback's, where the source tells" {
    ns_sysctl tcp_tw_reuse 2
    set_delay 10
    ns ip addr add 10.0.0.9/32 dev lo
    hold "listen 10.0.0.9 5000" "4 x time-wait 10.0.0.9%lo 5000"
    wait_until 5 all_older_than $((DELAY + 50))
    measure
    expect_sources 4 0 port_time_wait_reusable
    expect_sources 0 4 port_destination_used_max
    expect_room 10 10.0.0.9%lo 5000
}

# expect_room_about COUNT HOST PORT: so many connect() work, or one more.
expect_room_about() {
    run ns "$PEER" fill "${@:2}"
    [ "$output" = "$1 EADDRNOTAVAIL" ] || [ "$output" = "$(($1 + 1)) EADDRNOTAVAIL" ] ||
        fail "$output, said were $1"
}

@test "of three ports connect() never gets the last one" {
    new_namespace "40000 40002"
    hold "listen 0.0.0.0 5000"
    measure
    expect_both 3 port_total
    expect_both 1 port_destination_used_max
    expect_room 2 127.0.0.1 5000
    hold "2 x dial 127.0.0.1 5000"
    measure
    expect_both 2 port_used
    expect_both 3 port_destination_used_max
    expect_both 3 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_try EADDRNOTAVAIL 127.0.0.1 5000
    # Used by number it is not lost twice.
    hold "listen 0.0.0.0 5001" "listen 127.0.0.1 40002"
    measure
    expect_both 3 port_destination_used_max
    expect_both 1 port_blocked
    expect_room 2 127.0.0.1 5001
    # Nor when it is reserved.
    new_namespace "40000 40002"
    ns_sysctl ip_local_reserved_ports 40002
    hold "listen 0.0.0.0 5000"
    measure
    expect_both 0 port_destination_used_max
    expect_room 2 127.0.0.1 5000
}

@test "ranges of every small size: what connect() gets" {
    local size reserved used total
    for size in 1 2 4 5 6 7 8 9 101; do
        for reserved in "" 40000 $((40000 + size - 1)); do
            new_namespace "40000 $((40000 + size - 1))"
            ns_sysctl ip_local_reserved_ports "$reserved"
            hold "listen 0.0.0.0 5000"
            measure
            total=$(metric "$BY_PROCFS" port_total)
            used=$(metric "$BY_PROCFS" port_destination_used_max)
            echo "size $size, reserved $reserved: $used of $total"
            expect_both "$used" port_destination_used_max
            if [ $((size % 2)) = 0 ] || [ "$size" = 1 ]; then
                [ "$used" = 0 ]
                expect_room "$total" 127.0.0.1 5000
            else
                [ "$used" = $((reserved != 40000)) ]
                # A search leaves out one end or the other: by chance several searches get them both, or neither.
                [ "$size" -lt 9 ] || [ -n "$reserved" ] || expect_room_about $((total - used)) 127.0.0.1 5000
            fi
            stop_all
        done
    done
}

# count_connected PORTS...: towards how many of ten destinations connect() works when only those ports of 101 are free.
count_connected() {
    local i count=0 sockets=("listen 0.0.0.0 5000") port
    for i in {1..10}; do
        for port in "$@"; do
            sockets+=("dial 127.0.0.$i 5000 127.0.0.1 ~$port")
        done
    done
    new_namespace "40000 40100"
    hold "${sockets[@]}"
    measure
    for i in {1..10}; do
        run ns "$PEER" try "127.0.0.$i" 5000
        [ "$output" != connected ] || count=$((count + 1))
    done
    CONNECTED=$count
}

@test "an odd range: with the first port alone left connect() fails but for chance, and the figure is the total" {
    # A search gets it when it begins there, which one in fifty does.
    count_connected $(seq 40001 40100)
    expect_both 101 port_total
    expect_both 100 port_used
    expect_both 101 port_destination_used_max
    [ "$CONNECTED" -le 3 ]
    # The last one alone all others get.
    count_connected $(seq 40000 40099)
    expect_both 100 port_destination_used_max
    [ "$CONNECTED" -ge 7 ]
    # Without both it is one; and all are all.
    count_connected $(seq 40001 40099)
    expect_both 100 port_destination_used_max
    [ "$CONNECTED" = 10 ]
    count_connected $(seq 40000 40100)
    expect_both 101 port_destination_used_max
    [ "$CONNECTED" = 0 ]
}

# make_mixture SEED: sockets of a range of 20, drawn at random, into MIXTURE. Bound, unconnected ones are left to the
# tests that know which sources show them.
make_mixture() {
    local i port kinds=("connect 127.0.0.1 5000" "connect 127.0.0.1 5000" "connect 127.0.0.2 5000" "connect ::1 5000"
        "connect ::ffff:127.0.0.1 5000" "connect 127.0.0.1 5000 127.0.0.9 0" "time-wait 127.0.0.1 5000"
        "time-wait ::1 5000" "fin-wait1 127.0.0.2 5000" "bind-udp 127.0.0.1 0" "listen 127.0.0.1 PORT"
        "listen ::1 PORT" "bind-udp ::1 PORT")
    MIXTURE=("listen :: 5000")
    RANDOM=$1
    for i in {1..18}; do
        # A number of its own each, so that no bind() fails for another's sake.
        port=$((40000 + i))
        MIXTURE+=("${kinds[RANDOM % ${#kinds[@]}]//PORT/$port}")
    done
    # What accepts is the socket made last, so the one that is asked comes first.
    mapfile -t MIXTURE < <(printf '%s\n' "${MIXTURE[@]}" | awk '!/^listen .* 400/; /^listen .* 400/ { late[n++] = $0 }
        END { for (i = 0; i < n; i++) print late[i] }')
}

# expect_figure_is_room DESTINATION-LABELS HOST PORT [FROM-HOST]: both sources say what the kernel has left there.
expect_figure_is_room() {
    local used
    used=$(metric "$BY_SOCK_DIAG" port_destination_used "$1") || used=$(metric "$BY_SOCK_DIAG" port_blocked)
    expect_room $((20 - used)) "${@:2}"
}

@test "any mixture of sockets: what is left of the pool is what the kernel has left" {
    local seed
    for seed in 1 2 3 4 5 6 7 8; do
        new_namespace "40000 40019"
        make_mixture "$seed"
        printf 'seed %s: %s\n' "$seed" "${MIXTURE[*]}"
        hold "${MIXTURE[@]}"
        measure
        diff <(grep -E '^port_(used|blocked|time_wait|destination)' <<<"$BY_SOCK_DIAG") \
            <(grep -E '^port_(used|blocked|time_wait|destination)' <<<"$BY_PROCFS")
        expect_figure_is_room "$(to 127.0.0.1 127.0.0.1:5000)" 127.0.0.1 5000
        expect_figure_is_room "$(to 127.0.0.1 127.0.0.2:5000)" 127.0.0.2 5000
        expect_figure_is_room "$(to 127.0.0.9 127.0.0.1:5000)" 127.0.0.1 5000 127.0.0.9
        expect_figure_is_room "$(to ::1 '[::1]:5000')" ::1 5000
        expect_figure_is_room "$(to 127.0.0.1 127.0.0.3:5000)" 127.0.0.3 5000
        stop_all
    done
}

# Three destinations with addresses as a network has them, and a listening socket in the range.
make_destinations() {
    ns ip addr add 10.0.0.1/32 dev lo
    ns ip addr add 10.0.0.9/32 dev lo
    ns ip addr add 2001:db8::1/128 dev lo nodad
    ns ip addr add 2001:db8::2/128 dev lo nodad
    hold "listen 10.0.0.9 443" "listen 10.0.0.9 8080" "listen 2001:db8::1 443" "listen 127.0.0.1 40009" \
        "2 x dial 10.0.0.9 443 10.0.0.1 0" "3 x dial 2001:db8::1 443 2001:db8::2 0" "dial 10.0.0.9 8080 10.0.0.1 0"
}

# destinations SOURCE [OPTION...]: the samples.
destinations() {
    ns "$PROGRAM" --print --source="$1" "${@:2}" | grep '^port_destination_used[{]' || true
}

@test "no destination is named unless it is asked for" {
    make_destinations
    local source text
    for source in sock_diag procfs; do
        for text in "$(ns "$PROGRAM" --print --source="$source")" \
            "$(ns "$PROGRAM" --print --source="$source" --top-destinations=0)"; do
            run grep -E 'port_destination_used( |[{])|10\.0\.0\.|2001:db8' <<<"$text"
            refute_output
            expect_value "$text" 4 port_destination_used_max
        done
    done
}

@test "--top-destinations=2 of three names the two highest, highest first" {
    make_destinations
    local source
    for source in sock_diag procfs; do
        run destinations "$source" --top-destinations=2
        assert_output - <<'WANTED'
port_destination_used{pod_name="test-pod",source="2001:db8::2",destination="[2001:db8::1]:443"} 4
port_destination_used{pod_name="test-pod",source="10.0.0.1",destination="10.0.0.9:443"} 3
WANTED
    done
    expect_room 6 2001:db8::1 443 2001:db8::2
    expect_room 7 10.0.0.9 443 10.0.0.1
    expect_room 8 10.0.0.9 8080 10.0.0.1
}

@test "--top-destinations beyond those that there are, by option and by environment" {
    make_destinations
    local source
    for source in sock_diag procfs; do
        run destinations "$source" --top-destinations=100
        assert_output - <<'WANTED'
port_destination_used{pod_name="test-pod",source="2001:db8::2",destination="[2001:db8::1]:443"} 4
port_destination_used{pod_name="test-pod",source="10.0.0.1",destination="10.0.0.9:443"} 3
port_destination_used{pod_name="test-pod",source="10.0.0.1",destination="10.0.0.9:8080"} 2
WANTED
        METRICS_SIDECAR_TOP_DESTINATIONS=1 run destinations "$source"
        assert_output \
            'port_destination_used{pod_name="test-pod",source="2001:db8::2",destination="[2001:db8::1]:443"} 4'
        METRICS_SIDECAR_TOP_DESTINATIONS=1 run destinations "$source" --top-destinations=0
        refute_output
    done
}

@test "destinations with equal figures keep their order, and their places below the limit" {
    local sockets=("listen 0.0.0.0 5000") host
    for host in 7 3 9 1 5 8 2 6 4; do
        sockets+=("dial 127.0.0.$host 5000")
    done
    hold "${sockets[@]}" "dial 127.0.0.7 5000"
    local first again i
    first=$(destinations sock_diag --top-destinations=4)
    [ "$(wc -l <<<"$first")" -eq 4 ]
    [ "$(grep -c '} 1$' <<<"$first")" -eq 3 ]
    [[ $(head -n 1 <<<"$first") == *'destination="127.0.0.7:5000"} 2' ]]
    for i in {1..5}; do
        again=$(destinations sock_diag --top-destinations=4)
        diff <(echo "$first") <(echo "$again")
        again=$(destinations procfs --top-destinations=4)
        diff <(echo "$first") <(echo "$again")
    done
    # A new connection moves rows of the kernel's tables about, not these.
    hold "dial 127.0.0.99 5000"
    again=$(destinations sock_diag --top-destinations=4)
    diff <(echo "$first") <(echo "$again")
}

@test "more destinations than are remembered: a figure is too low by no more than is said" {
    new_namespace "20000 59999"
    ns_sysctl tcp_max_tw_buckets 100000
    hold "listen 0.0.0.0 5000" "300 x time-wait 127.0.0.1 5000" "time-wait-each 18000 127.1.0.0 5000"
    local text max error
    measure
    for text in "$BY_SOCK_DIAG" "$BY_PROCFS"; do
        max=$(metric "$text" port_destination_used_max)
        error=$(metric "$text" port_destination_error_max)
        echo "said $max, too low by at most $error; made 300"
        [ "$error" -gt 0 ]
        # It still warns.
        [ "$error" -lt 30 ]
        [ "$max" -le 300 ]
        [ $((max + error)) -ge 300 ]
        expect_value "$text" 0 port_blocked
        run grep -m 1 '^port_destination_used{' <<<"$text"
        assert_output "port_destination_used{pod_name=\"test-pod\",$(to 127.0.0.1 127.0.0.1:5000)} $max"
    done
}

# at_least VALUE NAME [LABELS]: so much, by each source; and not more than there are.
at_least() {
    local source text value
    for source in SOCK_DIAG PROCFS; do
        text=BY_$source
        value=$(metric "${!text}" "${@:2}")
        [ "$value" -ge "$1" ] || fail "$2{${3:-}} is $value by $source, held are $1"
        [ "$value" -le 1000 ] || fail "$2{${3:-}} is $value by $source, of 1000"
    done
}

@test "while connections come and go, no figure is below what stays" {
    new_namespace "40000 40999"
    hold "listen 0.0.0.0 5000" "100 x connect 127.0.0.1 5000" "300 x time-wait 127.0.0.2 5000" "20 x listen 127.0.0.1 0"
    start churn ns "$PEER" churn 127.0.0.1 5001
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/churn.out"
    local i
    for i in {1..10}; do
        measure
        expect_both 1000 port_total
        at_least 320 port_used
        # A socket that is just being closed is bound without a connection for a moment.
        at_least 20 port_blocked
        at_least 320 port_destination_used_max
        at_least 320 port_destination_used "$(to 127.0.0.1 127.0.0.2:5000)"
        at_least 120 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    done
    # Had it ended early, the test would have been an easy one.
    run is_gone "$STARTED_PID"
    assert_failure
}

# scan_while COMMAND...: a scan of procfs, to the file scan.out, that is stopped behind the read that brought all rows of
# tcp until the command has been run. The kernel then looks for the row behind the last one by its number, from the
# start of the table (tcp_seek_last_pos, tcp_seq_start).
scan_while() {
    local nth
    ns strace -qq -o "$BATS_TEST_TMPDIR/plain" -e trace=openat,read "$PROGRAM" --print --source=procfs >/dev/null
    nth=$(awk '/^read/ { n++ } opened && /^read/ { print n; exit } /self\/net\/tcp"/ { opened = 1 }' \
        "$BATS_TEST_TMPDIR/plain")
    # -D: the program is our child, not strace.
    start scan ns strace -D -qq -o "$BATS_TEST_TMPDIR/calls" -e trace=read -e signal=SIGSTOP \
        -e "inject=read:signal=SIGSTOP:when=$nth" "$PROGRAM" --print --source=procfs --top-destinations=10
    local scan=$STARTED_PID
    wait_until 5 grep -q 'stopped by SIGSTOP' "$BATS_TEST_TMPDIR/calls"
    "$@"
    wait_until 10 continued "$scan"
}

# continued PID: until it ends. It is told more than once, because what comes before it has stopped for good is lost.
continued() {
    kill -CONT "$1" 2>/dev/null || true
    is_gone "$1"
}

# Listening sockets come first in the table, so these move all other rows ten places on, and the last ten are shown
# again. They are no figure's themselves, since they lie outside the range.
add_ten_rows() {
    local sockets
    mapfile -t sockets < <(lines 6000 6009 "listen 127.0.0.1 PORT")
    hold "${sockets[@]}"
}

@test "a port whose row the kernel shows twice counts once" {
    # A pool that is large enough, or its size would hide what is too much.
    new_namespace "40000 40099"
    hold "listen 0.0.0.0 5000" "20 x time-wait 127.0.0.1 5000"
    scan_while add_ten_rows
    local text
    text=$(cat "$BATS_TEST_TMPDIR/scan.out")
    expect_value "$text" 20 port_used
    expect_value "$text" 20 port_time_wait
    expect_value "$text" 20 port_destination_used_max
    expect_value "$text" 20 port_destination_used "$(to 127.0.0.1 127.0.0.1:5000)"
    expect_room 80 127.0.0.1 5000
}

@test "a socket whose row the kernel shows twice counts once, however the table ends in its last page" {
    local count text
    # The heading and 26 rows fill a page of 4 KiB: with 25 or so there is no room to tell that the table has ended.
    for count in 20 23 24 25 26 27; do
        new_namespace "40000 40099"
        hold "listen 0.0.0.0 5000" "$count x time-wait 127.0.0.1 5000"
        scan_while add_ten_rows
        text=$(cat "$BATS_TEST_TMPDIR/scan.out")
        expect_value "$text" "$count" port_sockets 'protocol="tcp",state="time_wait"'
        expect_value "$text" "$count" port_destination_used_max
    done
}

@test "many sockets on one port, over several pages: none is taken for a row shown again" {
    new_namespace "40000 40099"
    hold "100 x listen-shared 127.0.0.1 40000" "100 x listen-shared 127.0.0.1 5001"
    local text
    text=$(ns "$PROGRAM" --print --source=procfs)
    expect_value "$text" 100 port_sockets 'protocol="tcp",state="listen"'
    expect_value "$text" 200 port_scan_sockets
}
