#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Where the figures come from: both sources say the same, the second stands in for the first whatever is wrong with it,
# and the answer says whose namespace it is about.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    ns_create
    # The sources are asked one after the other: meanwhile no socket in TIME_WAIT gets old enough to be reused.
    ns_sysctl tcp_tw_reuse 0
}

teardown() {
    stop_all
    [ -z "${LIMIT:-}" ] || wait_until 10 rmdir "$LIMIT"
}

# take NAME [COMMAND...] PROGRAM [OPTION...]: what --print says, in the files NAME and NAME.err.
take() {
    ns "${@:2}" --print --top-destinations=100 >"$BATS_TEST_TMPDIR/$1" 2>"$BATS_TEST_TMPDIR/$1.err"
}

taken() {
    cat "$BATS_TEST_TMPDIR/$1"
}

# lasting NAME: what was taken, without what differs from one scan to the next.
lasting() {
    taken "$1" | grep -v '^port_scan_duration_seconds{'
}

# comparable NAME: and without what differs from one source to the other.
comparable() {
    lasting "$1" | grep -v '^port_scan_sockets{' |
        sed -E 's/source="(procfs|sock_diag)",launcher/source="SOURCE",launcher/'
}

# expect_source NAME SOURCE: what was taken says so.
expect_source() {
    run grep -o 'source="[a-z_]*",launcher' "$BATS_TEST_TMPDIR/$1"
    assert_output "source=\"$2\",launcher"
}

# --- agreement

# compare_sources PROGRAM: lines that procfs alone has begin with "<", those of sock_diag with ">".
compare_sources() {
    take procfs "$1" --source=procfs
    take sock_diag "$1" --source=sock_diag
    expect_source procfs procfs
    expect_source sock_diag sock_diag
    [ "$(comparable procfs | grep -vc '^#')" -gt 20 ]
    run diff <(comparable procfs) <(comparable sock_diag)
}

# The one line more that says that nothing is bound, where the kernel would show it.
expect_agreement() {
    if kernel_shows_bound; then
        assert_equal "$(grep '^[<>]' <<<"$output")" \
            '> port_sockets{pod_name="test-pod",protocol="tcp",state="bound_inactive"} 0'
    else
        refute_output
    fi
}

@test "the sources agree: sockets of every kind" {
    make_every_kind
    local build
    for build in "$PROGRAM" "$STATIC_PROGRAM"; do
        compare_sources "$build"
        expect_agreement
        # Equality of two empty answers would say nothing.
        expect_value "$(taken procfs)" 42 port_used_by_protocol 'protocol="tcp"'
        expect_value "$(taken procfs)" 8 port_used_by_protocol 'protocol="udp"'
    done
}

@test "the sources agree: an empty namespace, another range, everything in the range" {
    local range
    compare_sources "$PROGRAM"
    expect_agreement
    ns_sysctl ip_unprivileged_port_start 0 # below it no range may begin
    ns_sysctl tcp_tw_reuse 0
    hold "listen 127.0.0.1 1" "listen :: 65535" "connect ::1 65535 ::1 ~1024" "time-wait 127.0.0.1 65535 127.0.0.1 ~2" \
        "bind-udp :: 1" "bind-udp 0.0.0.0 65535" "connect-udp ::1 53 ::1 1024"
    for range in "1 65535" "2 65534" "1 1" "65535 65535" "1024 1024"; do
        ns_sysctl ip_local_port_range "$range"
        compare_sources "$PROGRAM"
        expect_agreement
    done
    ns_sysctl ip_local_port_range "1 65535"
    compare_sources "$PROGRAM"
    expect_value "$(taken procfs)" 65535 port_total
    # 1, 2, 1024 and 65535; UDP has 1, 1024 and 65535.
    expect_value "$(taken procfs)" 4 port_used
    expect_value "$(taken procfs)" 4 port_used_by_protocol 'protocol="tcp"'
    expect_value "$(taken procfs)" 3 port_used_by_protocol 'protocol="udp"'
    expect_value "$(taken procfs)" 2 port_blocked
}

@test "the sources agree: many sockets, more than one part of a dump or of a table brings" {
    ns_sysctl ip_local_port_range "20000 59999"
    # With fewer than 4,096 descriptors, which is what some machines allow.
    hold "listen :: 5000" "600 x connect 127.0.0.1 5000" "600 x connect ::1 5000" "700 x time-wait 127.0.0.2 5000" \
        "400 x bind-udp 127.0.0.1 0" "400 x bind-udp ::1 0" "200 x listen 127.0.0.1 0"
    compare_sources "$PROGRAM"
    expect_agreement
    expect_value "$(taken sock_diag)" 1200 port_sockets 'protocol="tcp",state="established"'
    expect_value "$(taken sock_diag)" 700 port_sockets 'protocol="tcp",state="time_wait"'
    expect_value "$(taken sock_diag)" 800 port_sockets 'protocol="udp",state="close"'
    expect_value "$(taken sock_diag)" 200 port_blocked
}

@test "the sources differ by bound, unconnected sockets alone" {
    # One on a port of its own; one on a port that listens elsewhere; one that UDP has as well; one that is reserved,
    # and one outside the range.
    make_every_kind "bind-tcp 127.0.0.1 40500" "bind-tcp 127.0.0.2 40200" "bind-tcp ::1 40400" \
        "bind-tcp 127.0.0.1 40011" "bind-tcp 127.0.0.1 7500"
    local build
    for build in "$PROGRAM" "$STATIC_PROGRAM"; do
        compare_sources "$build"
        if ! kernel_shows_bound; then
            refute_output
            continue
        fi
        assert_equal "$(grep '^[<>]' <<<"$output" | sort)" "$(sort <<'WANTED'
< port_used{pod_name="test-pod"} 49
> port_used{pod_name="test-pod"} 50
< port_used_by_protocol{pod_name="test-pod",protocol="tcp"} 42
> port_used_by_protocol{pod_name="test-pod",protocol="tcp"} 44
< port_blocked{pod_name="test-pod"} 6
> port_blocked{pod_name="test-pod"} 8
< port_destination_used_max{pod_name="test-pod"} 31
> port_destination_used_max{pod_name="test-pod"} 33
< port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5000"} 31
> port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5000"} 33
< port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.2:5000"} 13
> port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.2:5000"} 15
< port_destination_used{pod_name="test-pod",source="::1",destination="[::1]:5003"} 11
> port_destination_used{pod_name="test-pod",source="::1",destination="[::1]:5003"} 13
< port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5009"} 7
> port_destination_used{pod_name="test-pod",source="127.0.0.1",destination="127.0.0.1:5009"} 9
> port_sockets{pod_name="test-pod",protocol="tcp",state="bound_inactive"} 3
WANTED
)"
    done
}

# --- a deadline that passes during a scan

# ask COMMAND...: one request on standard input; the answer goes to the file "answer", and how long it took, in
# milliseconds, to TOOK_MS.
ask() {
    local began=${EPOCHREALTIME/./}
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n%s\r\n' "$HEADER" |
        ns timeout 15 "$@" >"$BATS_TEST_TMPDIR/answer" 2>"$BATS_TEST_TMPDIR/answer.err"
    TOOK_MS=$(((${EPOCHREALTIME/./} - began) / 1000))
}

# expect_late OBJECT FILE: the answer is a 500 that says what could not be read in time, and so does the log.
expect_late() {
    grep -q '^HTTP/1.1 500 ' "$BATS_TEST_TMPDIR/answer"
    grep -qx "read $1: deadline passed" <(tr -d '\r' <"$BATS_TEST_TMPDIR/answer")
    grep -qx "metrics-sidecar: read $1: deadline passed" "$BATS_TEST_TMPDIR/$2"
}

# get PORT: the same by a connection.
get() {
    ask curl -sS -i --max-time 14 --noproxy '*' ${HEADER:+-H "${HEADER%$'\r\n'}"} "http://127.0.0.1:$1/metrics"
}

# scan_late OBJECT ARGUMENT...: such a scan by every launcher; TOOK_MS has how long each took.
scan_late() {
    local object=$1
    shift
    TOOK=()
    ask "$@" --inetd
    expect_late "$object" answer.err
    TOOK+=("$TOOK_MS")

    start activate ns systemd-socket-activate -a -E POD_NAME=test-pod -l 127.0.0.1:9998 "$@"
    wait_until 5 ns_listens 9998
    get 9998
    expect_late "$object" activate.err
    TOOK+=("$TOOK_MS")
    kill "$STARTED_PID"

    local SERVER=$1
    start_server "${@:2}"
    get 9999
    expect_late "$object" server.err
    TOOK+=("$TOOK_MS")
    echo "# until the answer was there, by --inetd, -a and the supervisor: ${TOOK[*]} ms" >&3
}

@test "a table that does not come: the 500 says so half a second before the deadline, whoever started the program" {
    make_stuck_procfs
    local how took
    # One that does not open, and one that opens and says nothing.
    for how in open read; do
        [ "$how" = open ] || exec 7<>"$STUCK/self/net/tcp"
        scan_late self/net/tcp "$PROGRAM" --timeout=3 --path.procfs="$STUCK"
        for took in "${TOOK[@]}"; do
            [ "$took" -ge 2400 ]
            [ "$took" -lt 3000 ]
        done
        stop_all
        ns_create
    done
}

@test "a table that does not come: a scraper that waits for less time gets its 500 within that" {
    make_stuck_procfs
    # Open for writing as well, so that the program can open it.
    exec 7<>"$STUCK/self/net/tcp"
    local HEADER=$'X-Prometheus-Scrape-Timeout-Seconds: 2\r\n'
    ask "$PROGRAM" --inetd --path.procfs="$STUCK"
    expect_late self/net/tcp answer.err
    [ "$TOOK_MS" -ge 1400 ]
    [ "$TOOK_MS" -lt 2000 ]
    # Of a short time half is for the scan.
    HEADER=$'X-Prometheus-Scrape-Timeout-Seconds: 0.8\r\n'
    ask "$PROGRAM" --inetd --path.procfs="$STUCK"
    expect_late self/net/tcp answer.err
    [ "$TOOK_MS" -ge 300 ]
    [ "$TOOK_MS" -lt 800 ]
}

@test "a table that does not come: --print and --report end as well" {
    make_stuck_procfs
    local mode
    for mode in --print --report; do
        run timeout 10 "$PROGRAM" "$mode" --timeout=1 --path.procfs="$STUCK"
        assert_failure 1
        assert_output "metrics-sidecar: read self/net/tcp: deadline passed"
    done
}

@test "a file that does not open: the reason is the deadline, whichever file it is" {
    local file
    for file in version sys/net/ipv4/tcp_ehash_entries sys/net/ipv4/tcp_tw_reuse self/net/sockstat6; do
        rm -rf "$BATS_TEST_TMPDIR/procfs"
        cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
        rm -f "$BATS_TEST_TMPDIR/procfs/$file"
        mkfifo "$BATS_TEST_TMPDIR/procfs/$file"
        run timeout 10 "$PROGRAM" --print --timeout=1 --path.procfs="$BATS_TEST_TMPDIR/procfs"
        assert_failure 1
        assert_output --partial ": deadline passed"
    done
}

# limit_cpu US: a group of control for programs that may use so many microseconds in each tenth of a second; LIMITED is
# the command that puts one there.
limit_cpu() {
    require_root "control groups"
    LIMIT=/sys/fs/cgroup/cpu/metrics-sidecar-$$
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        LIMIT=/sys/fs/cgroup/metrics-sidecar-$$
        echo +cpu >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    fi
    mkdir -p "$LIMIT" 2>/dev/null || skip "no control group can be made"
    if [ -e "$LIMIT/cpu.max" ]; then
        echo "$1 100000" >"$LIMIT/cpu.max"
    elif [ -e "$LIMIT/cpu.cfs_quota_us" ]; then
        echo 100000 >"$LIMIT/cpu.cfs_period_us"
        echo "$1" >"$LIMIT/cpu.cfs_quota_us"
    else
        rmdir "$LIMIT"
        skip "control groups limit no processor time here"
    fi
    LIMITED=$BATS_TEST_TMPDIR/limited
    printf '#!/bin/sh\necho $$ >%s/cgroup.procs\nexec "$@"\n' "$LIMIT" >"$LIMITED"
    chmod +x "$LIMITED"
}

@test "a scan that a limit of processor time makes too slow: a 500 that says so, whoever started the program" {
    limit_cpu 1000
    ns_sysctl ip_local_port_range "20000 59999"
    ns_sysctl tcp_tw_reuse 0
    hold "listen 0.0.0.0 5000" "12000 x time-wait 127.0.0.1 5000" "12000 x time-wait 127.0.0.2 5000"
    scan_late self/net/tcp "$LIMITED" "$PROGRAM" --timeout=2 --source=procfs
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    scan_late sock_diag "$LIMITED" "$PROGRAM" --timeout=2 --source=sock_diag
}

# --- a dump is no snapshot

# ns_create_with NAME VALUE: a namespace whose child gets a table of its own of so many chains.
ns_create_with() {
    require_root "net.ipv4.$1"
    [ -e "/proc/sys/net/ipv4/$1" ] || skip "no net.ipv4.$1"
    unshare -n -- sh -c 'echo "$2" >"/proc/sys/net/ipv4/$1" && exec unshare -n -- sleep infinity' sh "$1" "$2" 3>&- &
    NS_PID=$!
    STARTED+=("$NS_PID")
    NS_ENTER=(nsenter -n -t "$NS_PID")
    wait_until 5 ns_is_ready
    ns ip link set lo up
}

# churn KIND: sockets of TCP or UDP outside the pool, which come and go in the chains of those that stay.
churn() {
    start churn ns python3 -c '
import random, select, socket, struct, sys

abort = struct.pack("ii", 1, 0)
listener = socket.create_server(("127.0.0.1", 6000), backlog=4096)
live = []
while True:
    try:
        if sys.argv[1] == "udp":
            ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
            ends[0].bind(("127.0.0.1", random.randrange(20000, 39999)))
        else:
            ends = [socket.socket()]
            ends[0].bind(("127.0.0.1", random.randrange(20000, 39999)))
            ends[0].connect(("127.0.0.1", 6000))
            ends.append(listener.accept()[0])
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
    except OSError:
        continue
    live.append(ends)
    if len(live) > 300:
        for end in live.pop(random.randrange(300)):
            end.close()
' "$1"
}

# expect_none_missed COUNT KIND: of so many scans each counts the sockets that stay, whose ports are all there are.
expect_none_missed() {
    local i used rows missed=0
    used=$(metric "$(ns "$PROGRAM" --print --source=sock_diag)" port_used)
    churn "$2"
    for i in $(seq "$1"); do
        rows=$(metric "$(ns "$PROGRAM" --print --source=sock_diag)" port_used)
        [ "$rows" = "$used" ] || missed=$((missed + 1))
    done
    echo "# $2: of $1 scans of $used ports $missed missed some" >&3
    [ "$missed" -eq 0 ]
}

@test "sock_diag misses no socket of TCP that stays while others come and go, however long the chains" {
    ns_create_with tcp_child_ehash_entries 16
    [ "$(ns cat /proc/sys/net/ipv4/tcp_ehash_entries)" = 16 ]
    ns_sysctl ip_local_port_range "40000 49999"
    hold "listen 127.0.0.1 5000" "1621 x connect 127.0.0.1 5000" "30 x listen 127.0.0.1 0" "40 x bind-udp 127.0.0.1 0"
    compare_sources "$PROGRAM"
    expect_agreement
    expect_none_missed 100 tcp
}

@test "sock_diag misses no socket of UDP that stays while others come and go, however long the chains" {
    ns_create_with udp_child_hash_entries 128
    [ "$(ns cat /proc/sys/net/ipv4/udp_hash_entries)" = 128 ]
    ns_sysctl ip_local_port_range "40000 49999"
    hold "1621 x bind-udp 127.0.0.1 0"
    expect_none_missed 200 udp
}

# --- what is no procfs of Linux

# feed FILE: write there what comes on standard input, each line when the one before it has been read.
feed() {
    timeout 20 python3 -c '
import fcntl, os, struct, sys, termios, time

pipe = os.open(sys.argv[1], os.O_WRONLY)
for line in sys.stdin.buffer:
    os.write(pipe, line)
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]:
        time.sleep(0.001)
' "$1"
}

@test "tables that come in pieces from what is no procfs are read to their end" {
    local procfs=$BATS_TEST_TMPDIR/procfs table
    for table in tcp tcp6 udp udp6; do
        rm -rf "$procfs"
        make_busy_procfs "$procfs"
        mv "$procfs/self/net/$table" "$BATS_TEST_TMPDIR/rows"
        mkfifo "$procfs/self/net/$table"
        start scan "$PROGRAM" --print --path.procfs="$procfs"
        feed "$procfs/self/net/$table" <"$BATS_TEST_TMPDIR/rows"
        wait "$STARTED_PID"
        expect_value "$(cat "$BATS_TEST_TMPDIR/scan.out")" 10 port_scan_sockets
        expect_value "$(cat "$BATS_TEST_TMPDIR/scan.out")" 6 port_used
    done
}

# padded_rows FIRST LAST: rows of 128 bytes, one for each of these ports.
padded_rows() {
    awk -v first="$1" -v last="$2" 'BEGIN { for (i = first; i <= last; i++) {
        row = sprintf("%4d: 0100007F:%04X 0200007F:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 %d 1 0 20 4 30",
            i, i, i)
        printf "%-127s\n", row } }'
}

# as_procfs PROCFS: what the program says of those files when fstatfs() tells it that they are of Linux's procfs.
as_procfs() {
    strace -qq -o "$BATS_TEST_TMPDIR/calls" -e trace=fstatfs -e inject=fstatfs:poke_exit=@arg2=a09f000000000000 \
        "$PROGRAM" --print --path.procfs="$1"
}

@test "the end of a table that is shown again, as the kernel does when rows come meanwhile: counted once" {
    local procfs=$BATS_TEST_TMPDIR/procfs text
    cp -r "$FIXTURES/idle" "$procfs"
    # The first read brings 16 KiB: a heading of 256 bytes and 126 rows.
    { printf '%-255s\n' "$(head -n 1 "$FIXTURES/idle/self/net/tcp")" && padded_rows 40001 40126; } >"$procfs/self/net/tcp"
    [ "$(stat -c %s "$procfs/self/net/tcp")" -eq 16384 ]
    padded_rows 40124 40126 >>"$procfs/self/net/tcp"
    text=$(as_procfs "$procfs")
    expect_value "$text" 126 port_used
    expect_value "$text" 126 port_scan_sockets
    # Another socket of the same addresses and ports, as on another device, is another one by its inode.
    head -c 16384 "$procfs/self/net/tcp" >"$BATS_TEST_TMPDIR/first"
    { cat "$BATS_TEST_TMPDIR/first" && padded_rows 40126 40126 | sed 's/ 0 40126 1 / 0 90126 1 /'; } >"$procfs/self/net/tcp"
    text=$(as_procfs "$procfs")
    expect_value "$text" 126 port_used
    expect_value "$text" 127 port_scan_sockets
    { cat "$BATS_TEST_TMPDIR/first" && padded_rows 40124 40126; } >"$procfs/self/net/tcp"
    # With another row behind it, it is not the same again, and that row counts.
    padded_rows 40127 40127 >>"$procfs/self/net/tcp"
    expect_value "$(as_procfs "$procfs")" 127 port_used
}

# request_sockets PROGRAM: five handshakes that their clients left, on a listening socket of IPv6 that is closed since.
# It prints the rows of tcp6 before and after, and what the program says in between.
request_sockets() {
    ns timeout 20 python3 - "$1" <<'END'
import fcntl, os, socket, struct, subprocess, sys

tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
for command in "addr add fd00::1/64 dev tun0 nodad", "link set tun0 up":
    subprocess.run(["ip"] + command.split(), check=True)
here, there = (socket.inet_pton(socket.AF_INET6, address) for address in ("fd00::1", "fd00::2"))

def syn(port):
    """A packet with a SYN from this port of the other end, which never answers."""
    tcp = struct.pack("!HHIIBBHHH", port, 40202, 1, 0, 5 << 4, 2, 65535, 0, 0)
    data = there + here + struct.pack("!II", len(tcp), 6) + tcp
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    tcp = tcp[:16] + struct.pack("!H", ~total & 0xFFFF) + tcp[18:]
    return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + there + here + tcp

def rows():
    with open("/proc/self/net/tcp6") as table:
        return table.read().count(":9D0A ")

listener = socket.create_server(("fd00::1", 40202), family=socket.AF_INET6)
for port in range(6000, 6005):
    os.write(tun, syn(port))
listener.close()
print("rows", rows(), flush=True)
subprocess.run([sys.argv[1], "--print", "--source=procfs"])
print("rows", rows())
END
}

requests_stayed() {
    request_sockets "$PROGRAM" >"$BATS_TEST_TMPDIR/requests" && [ "$(grep -c '^rows 5$' "$BATS_TEST_TMPDIR/requests")" = 2 ]
}

@test "requests that outlive their listening socket of IPv6 are seen by procfs, though sockstat6 counts no socket" {
    require_root "/dev/net/tun"
    [ -c /dev/net/tun ] || skip "no /dev/net/tun"
    # The kernel drops them within a second; on a busy machine that can be before the program has looked.
    wait_until 20 requests_stayed
    expect_value "$(taken requests)" 5 port_sockets 'protocol="tcp",state="syn_recv"'
    expect_value "$(taken requests)" 1 port_used
}

# --- sock_diag refused, or broken

# take_truth: what must come when procfs stands in, in the file "truth", and what sock_diag itself says in "binary".
take_truth() {
    take truth "$PROGRAM" --source=procfs
    take binary "$PROGRAM" --source=sock_diag
    expect_value "$(taken truth)" 49 port_used
}

# expect_stand_in NAME REASON: it is the answer of procfs, whole, and the log says why, once.
expect_stand_in() {
    expect_source "$1" procfs
    diff <(lasting truth) <(lasting "$1")
    run taken "$1.err"
    assert_output "metrics-sidecar: read sock_diag: $2: reading procfs instead"
}

# expect_either NAME: the answer of one source or of the other, whole, and a log line with the second only.
expect_either() {
    if grep -q 'source="sock_diag",launcher' "$BATS_TEST_TMPDIR/$1"; then
        diff <(lasting binary) <(lasting "$1")
        [ ! -s "$BATS_TEST_TMPDIR/$1.err" ]
    else
        diff <(lasting truth) <(lasting "$1")
        [ "$(wc -l <"$BATS_TEST_TMPDIR/$1.err")" -eq 1 ]
        grep -q '^metrics-sidecar: read sock_diag: .*: reading procfs instead$' "$BATS_TEST_TMPDIR/$1.err"
    fi
}

# expect_refusal REASON COMMAND...: no number, one line, status 1.
expect_refusal() {
    run ns "${@:2}" --print --source=sock_diag
    assert_failure 1
    assert_output "metrics-sidecar: read sock_diag: $1"
}

# The errors of socket(): SELinux and seccomp, a kernel without the family, gVisor.
refusals() {
    cat <<'REFUSALS'
EPERM Operation not permitted
EACCES Permission denied
EPROTONOSUPPORT Protocol not supported
EAFNOSUPPORT Address family not supported by protocol
REFUSALS
}

@test "no netlink: procfs stands in, whole, and the log says why" {
    # A bound socket, so that something would be left over of what the other source has.
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    local error reason
    while read -r error reason; do
        take auto "$PEER" refuse "$error" "$PROGRAM"
        expect_stand_in auto "$reason"
        take auto "$PEER" refuse "$error" "$PROGRAM" --source=auto
        expect_stand_in auto "$reason"
        # Each C library has words of its own; the figures are the same.
        take static "$PEER" refuse "$error" "$STATIC_PROGRAM"
        expect_source static procfs
        diff <(lasting truth) <(lasting static)
        [ "$(grep -c 'read sock_diag: .*: reading procfs instead$' "$BATS_TEST_TMPDIR/static.err")" -eq 1 ]
    done < <(refusals)
}

@test "no netlink, and nothing else wanted: status 1, no number" {
    local error reason
    while read -r error reason; do
        expect_refusal "$reason" "$PEER" refuse "$error" "$PROGRAM"
    done < <(refusals)
}

@test "no netlink, and nothing else wanted: a 500 with the reason" {
    start server ns "$PEER" refuse EPERM "$PROGRAM" --source=sock_diag
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    run scrape -w '%{http_code}'
    assert_line 500
    assert_line "read sock_diag: Operation not permitted"
    refute_line --regexp '^port_'
    run server_log
    assert_line "metrics-sidecar: read sock_diag: Operation not permitted"
    # The next one is answered as well.
    [ "$(scrape_status)" = 500 ]
}

# scrape_for SECONDS: one scrape after another.
scrape_for() {
    local end=$((SECONDS + $1))
    while [ "$SECONDS" -le "$end" ]; do
        serves
    done
}

@test "no netlink: the supervisor logs it once, not once for each scrape" {
    start server ns "$PEER" refuse EACCES "$PROGRAM"
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    run scrape
    assert_line --partial 'source="procfs",launcher="supervisor"'
    # The log repeats a message after ten seconds; this one it does not.
    scrape_for 12
    run server_log
    assert_equal "$(grep -c sock_diag <<<"$output")" 1
    assert_line "metrics-sidecar: read sock_diag: Permission denied: reading procfs instead"
}

# trace NAME [STRACE-OPTION...]: what the program says under strace; what it called goes to the file NAME.calls.
trace() {
    take "$1" strace -qq -o "$BATS_TEST_TMPDIR/$1.calls" -e trace=sendto,recvfrom -e signal=none "${@:2}" "$PROGRAM"
}

# tamper NAME INJECTION: what it says when strace meddles with its calls.
tamper() {
    trace "$1" -e "inject=$2"
    grep -q INJECTED "$BATS_TEST_TMPDIR/$1.calls"
}

# requests NAME, receives NAME: how often the program asked, and how often it received.
requests() {
    grep -c '^sendto(' "$BATS_TEST_TMPDIR/$1.calls"
}

receives() {
    grep -c '^recvfrom(' "$BATS_TEST_TMPDIR/$1.calls"
}

# first_row NAME: the length of the first row that it received, as the kernel has it in memory.
first_row() {
    local length
    length=$(sed -nE '/^recvfrom/ { s/^recvfrom\([0-9]+, \[+\{nlmsg_len=([0-9]+).*/\1/p; q }' \
        "$BATS_TEST_TMPDIR/$1.calls")
    [ "$length" -gt 72 ]
    printf '%02x000000' "$length"
}

# The head of a request of sequence number 1, of 96 bytes, and the first bytes of its body: SOCK_DIAG_BY_FAMILY for
# IPv4 and protocol 253, which RFC 3692 keeps for experiments, so that no kernel has a handler for it. What the kernel
# says to that is what it says when a module is missing.
NO_TCP=6000000014000103010000000000000002fd
# The same for a request of 92 bytes with the number 2 or 3.
NO_UDP=5c00000014000103020000000000000002fd
NO_UDP6=5c0000001400010303000000000000000afd

@test "the kernel has no tcp_diag, or no udp_diag: procfs stands in, whole" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    local n=0 request
    for request in "$NO_TCP" "$NO_UDP" "$NO_UDP6"; do
        n=$((n + 1))
        tamper auto "sendto:poke_enter=@arg2=$request:when=$n"
        # Is it what was meant? The program asked $n times, and the kernel said ENOENT at the last.
        assert_equal "$(requests auto)" "$n"
        tail -n 1 "$BATS_TEST_TMPDIR/auto.calls" | grep -qE ', -2\]|error=-ENOENT'
        expect_stand_in auto "No such file or directory"
    done
    expect_refusal "No such file or directory" strace -qq -o /dev/null -e trace=sendto -e signal=none \
        -e "inject=sendto:poke_enter=@arg2=$NO_TCP:when=1" "$PROGRAM"
}

@test "the kernel does not know the request at all: procfs stands in, whole" {
    make_every_kind
    take_truth
    # A type of message that sock_diag does not have: it answers with an error of its own.
    tamper auto "sendto:poke_enter=@arg2=600000007700:when=1"
    grep -q NLMSG_ERROR "$BATS_TEST_TMPDIR/auto.calls"
    expect_stand_in auto "Invalid argument"
}

# The first eight bytes of an answer: the end of a dump, which was interrupted.
INTERRUPTED=1400000003001200

@test "a dump that is interrupted every time: three tries, then procfs stands in" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    tamper auto "recvfrom:poke_exit=@arg2=$INTERRUPTED"
    expect_stand_in auto "interrupted at every try"
    assert_equal "$(requests auto)" 3
    expect_refusal "interrupted at every try" strace -qq -o /dev/null -e trace=recvfrom -e signal=none \
        -e "inject=recvfrom:poke_exit=@arg2=$INTERRUPTED" "$PROGRAM"
}

@test "TCP is walked once without connections, twice with some, and once more where one was bound by number" {
    hold "listen 127.0.0.1 40000" "bind-tcp 127.0.0.1 40001" "listen 0.0.0.0 5000" "3 x time-wait 127.0.0.1 5000"
    trace idle
    assert_equal "$(requests idle)" 3
    hold "listen 0.0.0.0 5001" "connect 127.0.0.1 5001"
    trace connected
    assert_equal "$(requests connected)" 4
    hold "listen 0.0.0.0 5002" "connect 127.0.0.1 5002 127.0.0.1 40002"
    trace bound
    assert_equal "$(requests bound)" 5
    expect_source bound sock_diag
    expect_value "$(taken bound)" 7 port_used
    expect_value "$(taken bound)" "$(if kernel_shows_bound; then echo 3; else echo 2; fi)" port_blocked
}

@test "a part of a dump that says it was interrupted, without being the end" {
    make_every_kind
    take_truth
    # The head of the first row, as long as it is, with NLM_F_DUMP_INTR.
    trace plain
    tamper auto "recvfrom:poke_exit=@arg2=$(first_row plain)12001200:when=1"
    expect_source auto sock_diag
    diff <(lasting binary) <(lasting auto)
    [ "$(requests auto)" -gt "$(requests plain)" ]
}

@test "a dump that is interrupted once is made again, whichever it is" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    trace plain
    expect_source plain sock_diag
    [ "$(receives plain)" -ge 3 ]
    local n
    for n in $(seq "$(receives plain)"); do
        tamper auto "recvfrom:poke_exit=@arg2=$INTERRUPTED:when=$n"
        expect_source auto sock_diag
        diff <(lasting binary) <(lasting auto)
        [ ! -s "$BATS_TEST_TMPDIR/auto.err" ]
        [ "$(requests auto)" -gt "$(requests plain)" ]
    done
}

@test "an answer that is cut, or lacks its end, or cannot be received: never a wrong figure" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    trace plain
    local fault reason n
    while read -r fault reason; do
        # Every time.
        tamper auto "recvfrom:$fault"
        expect_stand_in auto "$reason"
        # Bounded, too.
        [ "$(requests auto)" -le 3 ] || fail "$fault: $(requests auto) requests"
        # Once, at any place.
        for n in $(seq "$(receives plain)"); do
            tamper auto "recvfrom:$fault:when=$n"
            expect_either auto || fail "$fault at receive $n"
        done
    done <<'FAULTS'
error=ENOBUFS No buffer space available
error=EAGAIN interrupted at every try
error=ENOMEM Cannot allocate memory
retval=40000 interrupted at every try
retval=0 not in the format the kernel writes
poke_exit=@arg2=ffffffff not in the format the kernel writes
poke_exit=@arg2=00000000 not in the format the kernel writes
poke_exit=@arg2=0f000000 not in the format the kernel writes
poke_exit=@arg2=10000000 not in the format the kernel writes
poke_exit=@arg2=14000000120002 not in the format the kernel writes
FAULTS
}

@test "a kernel that does not show what is bound, by its release: that series is absent, not 0" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take old setarch --uname-2.6 "$PROGRAM" --source=sock_diag
    expect_source old sock_diag
    run ! grep bound_inactive "$BATS_TEST_TMPDIR/old"
    expect_value "$(taken old)" 49 port_used
    # One that does not say which it is might not.
    take unknown strace -qq -o "$BATS_TEST_TMPDIR/unknown.calls" -e trace=uname -e signal=none \
        -e inject=uname:error=EFAULT "$PROGRAM" --source=sock_diag
    grep -q INJECTED "$BATS_TEST_TMPDIR/unknown.calls"
    diff <(lasting old) <(lasting unknown)
}

@test "ENOBUFS once: the dump is made again" {
    make_every_kind
    take_truth
    tamper auto "recvfrom:error=ENOBUFS:when=1"
    expect_source auto sock_diag
    diff <(lasting binary) <(lasting auto)
    [ ! -s "$BATS_TEST_TMPDIR/auto.err" ]
}

@test "a request that cannot be sent: procfs stands in" {
    make_every_kind
    take_truth
    local n
    for n in 1 2 3; do
        tamper auto "sendto:error=ECONNREFUSED:when=$n+"
        expect_stand_in auto "Connection refused"
        # A part of it is not it.
        tamper auto "sendto:retval=10:when=$n+"
        expect_stand_in auto "Message too long"
    done
}

@test "an answer to another request is not taken for this one's" {
    make_every_kind
    take_truth
    # The sequence number is the third word. A stale answer may be passed over or refused, but not counted.
    trace plain
    tamper auto "recvfrom:poke_exit=@arg2=$(first_row plain)1200020099999999:when=1"
    expect_either auto
}

@test "what another process sends is not taken for the kernel's answer" {
    make_every_kind "bind-tcp 127.0.0.1 40500"
    take_truth
    # The sender's address: AF_NETLINK, and a port id, which the kernel has not. Each time: of one part alone it would
    # be the test that loses what the kernel has sent.
    tamper auto "recvfrom:poke_exit=@arg5=100000002a000000"
    expect_source auto procfs
    diff <(lasting truth) <(lasting auto)
}

# --- whose namespace

# netns: the label, of the exposition on standard input.
netns() {
    sed -nE 's/^metrics_sidecar_info\{.*,netns="([a-z]+)"\} 1\r?$/\1/p'
}

@test "netns: same for a TCP connection of the own namespace; a UNIX socket does not tell" {
    start_server --web.listen-address=:9999 --web.listen-address=127.0.0.1:9998 \
        --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    run netns < <(scrape)
    assert_output same
    run netns < <(ns curl -sS http://127.0.0.1:9998/metrics)
    assert_output same
    run netns < <(ns curl -sS 'http://[::1]:9999/metrics')
    assert_output same
    # Accepted, it has the namespace of its client, which may have come by a path that both can see.
    run netns < <(scrape --unix-socket "$BATS_TEST_TMPDIR/socket")
    assert_output unknown
    run netns < <(ns unshare -n curl -sS --unix-socket "$BATS_TEST_TMPDIR/socket" http://localhost/metrics)
    assert_output unknown
}

@test "netns: unknown without a connection" {
    run netns < <(ns "$PROGRAM" --print)
    assert_output unknown
    run netns < <(printf 'GET /metrics HTTP/1.0\r\n\r\n' | ns "$PROGRAM" --inetd)
    assert_output unknown
}

@test "netns: unknown where the program cannot ask for its own" {
    # The first socket that it makes is that of the log, because standard error is the client; the second is to ask.
    start inetd ns "$PEER" inetd 9999 strace -qq -o "$BATS_TEST_TMPDIR/calls" -e trace=socket -e signal=none \
        -e inject=socket:error=EMFILE:when=2 "$PROGRAM" --inetd
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/inetd.out"
    run netns < <(scrape)
    assert_output unknown
    grep -qF 'socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = -1 EMFILE' "$BATS_TEST_TMPDIR/calls"
}

# The test's namespace is where clients connect; the program runs in another one, made here.
make_other_namespace() {
    start other ns unshare -n sleep infinity
    OTHER=(nsenter -n -t "$STARTED_PID" --)
    OTHER_PID=$STARTED_PID
    wait_until 5 other_is_ready
}

other_is_ready() {
    [ "$(cat "/proc/$OTHER_PID/comm")" = sleep ] &&
        [ "$(readlink "/proc/$OTHER_PID/ns/net")" != "$(readlink "/proc/$NS_PID/ns/net")" ]
}

@test "netns: inetd in the same namespace, and in another" {
    make_other_namespace
    ns_sysctl ip_local_port_range "40000 40009"
    start inetd ns "$PEER" inetd 9999 "$PROGRAM" --inetd
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/inetd.out"
    scrape >"$BATS_TEST_TMPDIR/same"
    run netns <"$BATS_TEST_TMPDIR/same"
    assert_output same
    expect_value "$(taken same)" 10 port_total
    wait_until 5 is_gone "$STARTED_PID"

    # The figures are those of the namespace that the program is in, by either source.
    local source
    for source in sock_diag procfs; do
        start inetd ns "$PEER" inetd 9999 "${OTHER[@]}" "$PROGRAM" --inetd --source="$source"
        wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/inetd.out"
        scrape >"$BATS_TEST_TMPDIR/other"
        run netns <"$BATS_TEST_TMPDIR/other"
        assert_output other
        expect_value "$(taken other)" 28232 port_total
        expect_value "$(taken other)" 0 port_used
        wait_until 5 is_gone "$STARTED_PID"
    done
}

@test "netns: other for sockets that a manager of another namespace listens on" {
    make_other_namespace
    start activate ns systemd-socket-activate -E POD_NAME=test-pod -l 127.0.0.1:9999 \
        "${OTHER[@]}" "$PROGRAM"
    wait_until 5 ns_listens 9999
    run netns < <(scrape)
    assert_output other
    run netns < <(scrape)
    assert_output other
}
