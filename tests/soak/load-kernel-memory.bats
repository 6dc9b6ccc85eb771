#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the kernel holds for connections, under floods of each kind and after them, charged to the group of a pod.

load helpers

RATE=300

setup() {
    soak_setup
    # Version 1 counts the buffers of sockets only where there is a limit.
    cgroup_is_v2 || echo $((1 << 30)) >"$(cgroup_of memory)/memory.kmem.tcp.limit_in_bytes"
    # With a large send buffer from the start, for who has not bound it.
    ns_sysctl tcp_congestion_control bbr || true
}

teardown() {
    soak_teardown
}

# Bytes of the kernel that the group pays for: buffers of sockets, and structures.
kernel_memory() {
    local memory
    memory=$(cgroup_of memory)
    if cgroup_is_v2; then
        awk '$1 == "sock" || $1 == "slab" { sum += $2 } END { printf "%d\n", sum }' "$memory/memory.stat"
    else
        echo $(($(cat "$memory/memory.kmem.tcp.usage_in_bytes") + $(cat "$memory/memory.kmem.usage_in_bytes")))
    fi
}

# Sockets of the server's port that the kernel still has, the listening one apart.
server_sockets() {
    ns ss -Htan '( sport = :9999 )' | awk '$1 != "LISTEN"' | wc -l
}

# Of these, those that no process has open. A connection that is not accepted yet has no inode either, but is not closed.
orphans() {
    ns ss -Htane '( sport = :9999 )' | grep -cE '^(FIN-WAIT-1|CLOSING|LAST-ACK) .* ino:0 ' || true
}

# Slabs of a processor are given back a little later.
is_back() {
    [ "$(kernel_memory)" -le $((START + 1048576)) ]
}

has_no_sockets() {
    [ "$(server_sockets)" -eq 0 ]
}

# look PID: at what is held, until the flood has ended: the most of it to PEAK and MOST_ORPHANS.
look() {
    local now
    PEAK=0 MOST_ORPHANS=0
    until is_gone "$1"; do
        now=$(kernel_memory)
        [ "$now" -le "$PEAK" ] || PEAK=$now
        now=$(orphans)
        [ "$now" -le "$MOST_ORPHANS" ] || MOST_ORPHANS=$now
        sleep 0.2
    done
}

# endure NAME COMMAND...: below 32 MiB during it, back within 10 s, and nothing is left of the process.
endure() {
    local pid
    start_limited_server
    START=$(kernel_memory)
    start flood ns "${ATTACKER[@]}" "${@:2}"
    pid=$STARTED_PID
    look "$pid"
    say "$1: $(said flood | tail -n 1); peak $((PEAK / 1024)) KiB, start $((START / 1024)) KiB, orphans $MOST_ORPHANS"
    forget "$pid"
    holds "$PEAK < 32 * 1024 * 1024"
    [ "$MOST_ORPHANS" -eq 0 ]
    wait_until 10 is_back || fail "$(kernel_memory) bytes, $START at the start"
    serves
}

# unread MANNER
unread() {
    endure "$1" "$LOAD" unread 127.0.0.1 9999 / 16000 "$RATE" "$SOAK_SECONDS" 1460 "$1"
}

@test "clients that do not read" {
    unread hold
}

@test "clients that end their side and do not read" {
    unread half-close
}

@test "clients that reset" {
    unread reset
}

@test "complete requests, 400 at a time" {
    endure complete "$LOAD" crowd 127.0.0.1 9999 400 "${SOAK_SECONDS}s"
}

@test "clients that do not read: nothing is left when the server has been told to end, or was killed" {
    local signal pid
    for signal in TERM KILL; do
        start_limited_server
        start flood ns "${ATTACKER[@]}" "$LOAD" unread 127.0.0.1 9999 / 150 "$RATE" 8 1460 half-close
        pid=$STARTED_PID
        wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/flood.out"
        kill "-$signal" "$SERVER_PID"
        wait_for server 5 "$SERVER_PID"
        wait_until 5 has_no_sockets || fail "$signal: $(server_sockets) sockets are left"
        wait_for flood 10 "$pid"
    done
}

# Their link goes down: nothing that is sent to them is answered, not even by a reset.
@test "clients that vanish: nothing is left 13 s later" {
    local far pid
    unshare -n -- sleep infinity 3>&- &
    far=$!
    STARTED+=("$far")
    wait_until 5 far_is_ready "$far"
    ns ip link add near type veth peer name far netns "$far"
    ns ip addr add 10.1.0.1/24 dev near
    ns ip link set near up
    nsenter -n -t "$far" ip addr add 10.1.0.2/24 dev far
    nsenter -n -t "$far" ip link set far up
    start_limited_server
    START=$(kernel_memory)
    start flood nsenter -n -t "$far" -- "$LOAD" unread 10.1.0.1 9999 / 150 "$RATE" 20 1460 half-close
    pid=$STARTED_PID
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/flood.out"
    nsenter -n -t "$far" ip link set far down
    wait_until 13 has_no_sockets || fail "$(server_sockets) sockets are left"
    is_back
    kill "$pid"
    wait_for flood 5 "$pid"
}

far_is_ready() {
    [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
