# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What every test file loads: where things are, a network namespace of the test's own, a server in it.

bats_load_library bats-support
bats_load_library bats-assert

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Another build of the program may be put to the tests; see tests/coverage.
PROGRAM=${PROGRAM_UNDER_TEST:-$ROOT/metrics-sidecar}
STATIC_PROGRAM=${STATIC_PROGRAM_UNDER_TEST:-$ROOT/build/static-systemd0/metrics-sidecar}
PEER=$ROOT/build/tests/peer
FIXTURES=${FIXTURES:-$ROOT/tests/fixtures}
UNPACKED=$ROOT/build/unpacked # packages that are used without being installed
PROMETHEUS=$UNPACKED/usr/bin/prometheus
PROMTOOL=$UNPACKED/usr/bin/promtool
API=http://127.0.0.1:9090 # of a Prometheus in the namespace
export ROOT PROGRAM STATIC_PROGRAM PEER FIXTURES UNPACKED PROMETHEUS PROMTOOL API

# The environment of whoever runs the tests is not part of them.
unset POD_NAME LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_USEC
for variable in $(compgen -e | grep '^METRICS_SIDECAR_' || true); do
    unset "$variable"
done
export POD_NAME=test-pod
export LC_ALL=C
# Some commands of the tests are root's, and an ordinary user may not have their directories in the path.
export PATH=$PATH:/usr/sbin:/sbin

# require_root REASON: for what no user namespace can do.
require_root() {
    [ "$(id -u)" = 0 ] || skip "needs root: $1"
}

# needs COMMAND-OR-FILE...: of packages that not every distribution has.
needs() {
    local name
    for name; do
        [ -e "$name" ] || command -v "$name" >/dev/null || skip "needs ${name#"$UNPACKED/"}, which is not here"
    done
}

# wait_until SECONDS COMMAND...: poll, never sleep for a guess.
wait_until() {
    local end=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

# Processes that this test started, ended by their pid.
STARTED=()

# start NAME COMMAND...: run it in the background; its output goes to $BATS_TEST_TMPDIR/NAME.{out,err}, its pid
# to $STARTED_PID.
start() {
    local name=$1
    shift
    # A function would run in a shell of its own, and that shell's pid is not the command's.
    [ "$1" != ns ] || set -- "${NS_ENTER[@]}" -- "${@:2}"
    # What one of that name said before is not to be taken for this one's.
    rm -f "$BATS_TEST_TMPDIR/$name.out" "$BATS_TEST_TMPDIR/$name.err"
    "$@" >"$BATS_TEST_TMPDIR/$name.out" 2>"$BATS_TEST_TMPDIR/$name.err" </dev/null 3>&- &
    STARTED_PID=$!
    STARTED+=("$STARTED_PID")
}

stop_all() {
    local pid
    for pid in "${STARTED[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        wait_until 2 is_gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    done
    STARTED=()
}

is_gone() {
    ! kill -0 "$1" 2>/dev/null || [ "$(ps -o stat= -p "$1" | cut -c1)" = Z ]
}

# ns_create: a network namespace of the test's own, with loopback up. As an ordinary user it comes with a user
# namespace.
ns_create() {
    if [ "$(id -u)" = 0 ]; then
        unshare -n -- sleep infinity 3>&- &
        NS_ENTER=(nsenter -n -t $!)
    else
        unshare -Urn -- sleep infinity 3>&- &
        NS_ENTER=(nsenter -U --preserve-credentials -n -t $!)
    fi
    NS_PID=$!
    STARTED+=("$NS_PID")
    wait_until 5 ns_is_ready
    ns ip link set lo up
}

ns_is_ready() {
    [ "$(readlink "/proc/$NS_PID/ns/net")" != "$(readlink /proc/self/ns/net)" ] &&
        [ "$(cat "/proc/$NS_PID/comm")" = sleep ]
}

# ns COMMAND...: run it in that namespace.
ns() {
    "${NS_ENTER[@]}" -- "$@"
}

# ns_sysctl NAME VALUE, NAME below net.ipv4.
ns_sysctl() {
    ns sh -c 'printf "%s\n" "$2" > "/proc/sys/net/ipv4/$1"' sh "$1" "$2"
}

# start_server [ARGUMENT...]: the program in the namespace, on port 9999 unless an argument says otherwise.
start_server() {
    start server ns "${SERVER:-$PROGRAM}" "$@"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
}

# as_pid1 [ARGUMENT...]: the server as PID 1 of a namespace of its own; UNSHARE_PID is its parent, and see find_pid1.
as_pid1() {
    start server ns unshare -p --fork --kill-child "${SERVER:-$PROGRAM}" "$@"
    UNSHARE_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    find_pid1
}

# PID1, and SERVER_PID: the process that accepts, its child.
find_pid1() {
    PID1=$(ps -o pid= --ppid "$STARTED_PID" | tr -d ' ')
    SERVER_PID=$(ps -o pid=,stat= --ppid "$PID1" | awk '$2 !~ /^Z/ { print $1 }')
    [ -n "$SERVER_PID" ]
}

# make_stuck_procfs: a procfs whose scan blocks at tcp until somebody writes there: a FIFO.
make_stuck_procfs() {
    STUCK=$BATS_TEST_TMPDIR/stuck
    cp -r "$FIXTURES/idle" "$STUCK"
    rm "$STUCK/self/net/tcp"
    mkfifo "$STUCK/self/net/tcp"
}

# From the next scan on there is a table; a FIFO that a scan waits for stays where a test has moved it.
unstick_procfs() {
    rm -f "$STUCK/self/net/tcp"
    cp "$FIXTURES/idle/self/net/tcp" "$STUCK/self/net/tcp"
}

# start_client NAME [CURL-ARGUMENT...]: one scrape in the background; its status goes to NAME.out.
start_client() {
    local name=$1
    shift
    start "$name" ns curl -sS --max-time 20 -o "$BATS_TEST_TMPDIR/$name.content" -w '%{http_code}' "$@" \
        http://127.0.0.1:9999/metrics
}

client_has() {
    [ "$(cat "$BATS_TEST_TMPDIR/$1.out")" = "$2" ]
}

# The children of the server.
children() {
    ps -o pid= --ppid "$SERVER_PID" | tr -d ' '
}

has_children() {
    [ "$(children | wc -l)" -eq "$1" ]
}

# crash_three: three processes of a server whose scans are stuck crash, one after the other.
crash_three() {
    local i child
    for i in 1 2 3; do
        start_client "client$i"
        wait_until 5 has_children 1
        child=$(children)
        kill -SEGV "$child"
        wait_until 5 is_gone "$child"
    done
}

# start_stuck_scan [ARGUMENT...]: the server with one process that waits for such a table.
start_stuck_scan() {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" "$@"
    start_client one
    wait_until 5 has_children 1
}

server_log() {
    cat "$BATS_TEST_TMPDIR/server.err"
}

# scrape [CURL-ARGUMENT...]: /metrics of the server in the namespace, to standard output.
scrape() {
    ns curl -sS --max-time 10 --noproxy '*' "$@" http://127.0.0.1:9999/metrics
}

# The status of one scrape, 000 when there was no answer.
scrape_status() {
    scrape -o /dev/null -w '%{http_code}' "$@" 2>/dev/null || true
}

serves() {
    [ "$(scrape_status)" = 200 ]
}

# figures_age: how old the figures of a scrape can be, in seconds: a scan serves for nine times its processor time.
figures_age() {
    scrape | awk '/^port_scan_duration_seconds\{/ { print 9 * $2 + 0.001 }'
}

# metric EXPOSITION NAME [LABELS]: the value of a sample; LABELS as they stand behind pod_name.
metric() {
    local prefix="$2{pod_name=\"test-pod\"${3:+,$3}} "
    awk -v prefix="$prefix" 'index($0, prefix) == 1 { print substr($0, length(prefix) + 1); found = 1 }
        END { exit !found }' <<<"$1"
}

# hold SOCKET...: make sockets in the namespace (see peer.c) and keep them until the end of the test.
hold() {
    start hold ns "$PEER" hold "$@"
    HOLD_PID=$STARTED_PID
    wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/hold.out" || {
        cat "$BATS_TEST_TMPDIR/hold.err" >&2
        return 1
    }
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

# kernel_is MAJOR MINOR: this one, or newer.
kernel_is() {
    local major minor
    IFS=.- read -r major minor _ <<<"$(uname -r)"
    [ "$major" -gt "$1" ] || { [ "$major" -eq "$1" ] && [ "$minor" -ge "$2" ]; }
}

# Whether this kernel shows sockets that are bound and not connected.
kernel_shows_bound() {
    kernel_is 6 8
}

# Sockets of every kind, except bound, unconnected ones of TCP, which not every source shows; more may be named as
# arguments. The pool is 40000 to 40999 without 40010 to 40019. The kernel finds the ports of connections: which ones are
# bound by number not every source shows either.
make_every_kind() {
    # A socket in TIME_WAIT holds its port to the end.
    ns_sysctl tcp_tw_reuse 0
    ns_sysctl ip_local_port_range "40000 40999"
    ns_sysctl ip_local_reserved_ports "40010-40019,50000"
    local sockets=()
    mapfile -t sockets < <(
        # Two destinations of one listening socket outside the range; 40100 is shared between them.
        echo "listen 0.0.0.0 5000"
        lines 40100 40109 "connect 127.0.0.1 5000 127.0.0.1 ~PORT"
        lines 40110 40114 "connect 127.0.0.2 5000 127.0.0.1 ~PORT"
        echo "connect 127.0.0.2 5000 127.0.0.1 ~40100"
        # An IPv6 socket that talks IPv4.
        lines 40130 40131 "connect ::ffff:127.0.0.1 5000 ::ffff:127.0.0.1 ~PORT"
        # TIME_WAIT alone, and TIME_WAIT on a port that another connection holds as well.
        lines 40300 40306 "time-wait 127.0.0.1 5000 127.0.0.1 ~PORT"
        echo "connect 127.0.0.2 5000 127.0.0.1 ~40307"
        echo "time-wait 127.0.0.1 5000 127.0.0.1 ~40307"
        # Every other way to end, and to begin.
        echo "close-wait 127.0.0.1 5000 127.0.0.1 ~40320"
        echo "fin-wait1 127.0.0.1 5000 127.0.0.1 ~40321"
        echo "fin-wait2 127.0.0.1 5000 127.0.0.1 ~40322"
        echo "closing 127.0.0.1 5000 127.0.0.1 ~40323"
        echo "last-ack 127.0.0.1 5000 127.0.0.1 ~40324"
        echo "syn-sent 127.0.0.1 5009 127.0.0.1 ~40330"
        echo "syn-recv 127.0.0.1 40202 127.0.0.1 6001"
        # A port that is connected already when another socket listens there.
        echo "connect 127.0.0.2 5000 127.0.0.1 ~40205"
        echo "listen 127.0.0.1 40205"
        # IPv6.
        echo "listen ::1 5003"
        lines 40120 40122 "connect ::1 5003 ::1 ~PORT"
        lines 40310 40311 "time-wait ::1 5003 ::1 ~PORT"
        # Listening sockets inside the range; two are connected to, from outside it. Two share a port.
        echo "listen ::1 40201"
        echo "listen 127.0.0.1 40200"
        echo "connect 127.0.0.1 40200 127.0.0.1 6000"
        echo "listen :: 40204"
        echo "connect 127.0.0.1 40204 127.0.0.1 6002"
        echo "2 x listen-shared 127.0.0.1 40203"
        # A reserved port is not of the pool, whoever holds it.
        echo "listen 127.0.0.1 40010"
        # UDP, on a number of its own and on one that TCP holds too, connected, IPv6, outside the range.
        lines 40400 40403 "bind-udp 127.0.0.1 PORT"
        echo "bind-udp 127.0.0.1 40100"
        echo "connect-udp 127.0.0.1 5353 127.0.0.1 40410"
        lines 40420 40421 "bind-udp ::1 PORT"
        echo "bind-udp 127.0.0.1 5353"
        [ $# -eq 0 ] || printf '%s\n' "$@"
    )
    hold "${sockets[@]}"
}

# What two answers may differ in: times, counters, and the version from one release to the next.
steady() {
    sed -E -e 's/version="[0-9.]+"/version="VERSION"/' -e '/^(port_scan_duration_seconds|metrics_sidecar_start_time_seconds)\{/s/ [0-9.]+$/ TIME/' \
        -e '/^metrics_sidecar_connections_total\{/s/ [0-9]+$/ COUNT/'
}

# memory_has PID TEXT: whether the process has the text anywhere in its memory.
memory_has() {
    python3 - "$1" "$2" <<'PYTHON'
import sys
pid, text = sys.argv[1], sys.argv[2].encode()
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
    for line in maps:
        area, rights = line.split()[:2]
        if not rights.startswith("rw"):
            continue
        first, last = (int(end, 16) for end in area.split("-"))
        memory.seek(first)
        if text in memory.read(last - first):
            sys.exit(0)
sys.exit(1)
PYTHON
}

# query EXPRESSION [ARGUMENT...]: what the Prometheus in the namespace answers, a line for each series.
query() {
    ns "$PROMTOOL" query instant "${@:2}" "$API" "$1"
}

# Prometheus may not be up yet, or not have scraped.
finds() {
    [ -n "$(query "$1" 2>/dev/null)" ]
}

# ns_listens PORT: whether somebody in the namespace listens there; asking makes no socket.
ns_listens() {
    grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F]+:0000 0A " "/proc/$NS_PID/net/tcp" \
        "/proc/$NS_PID/net/tcp6"
}

# proc_table FILE ROW...: a file of /proc/net; a row is LOCAL REMOTE STATE, all in the kernel's hexadecimal form.
proc_table() {
    local file=$1 i=0 row
    shift
    {
        printf '%-149s\n' '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
        for row; do
            # shellcheck disable=SC2086 # three words
            printf '%4d: %s %s %s 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 %d\n' \
                "$i" $row $((4000 + i)) 100
            i=$((i + 1))
        done
    } >"$file"
}

# make_busy_procfs DIR: a procfs whose figures no client disturbs: a pool of 990 ports, 6 of them used.
make_busy_procfs() {
    local none4=00000000:0000 none6=00000000000000000000000000000000:0000
    local peer4=0200000A:01BB loopback6=00000000000000000000000001000000
    mkdir -p "$1/self/net" "$1/sys/net/ipv4"
    printf '32768\t33767\n' >"$1/sys/net/ipv4/ip_local_port_range"
    echo 32770-32779 >"$1/sys/net/ipv4/ip_local_reserved_ports"
    # 33000 listens, 33001 is established, 33002 is TIME_WAIT; 32770 is reserved, and 443 outside the range.
    proc_table "$1/self/net/tcp" "0100007F:80E8 $none4 0A" "0100000A:80E9 $peer4 01" "0100000A:80EA $peer4 06" \
        "0100000A:8002 $peer4 01" "00000000:01BB $none4 0A"
    # 33001 again, and 33003.
    proc_table "$1/self/net/tcp6" "$loopback6:80E9 $loopback6:01BB 01" "$loopback6:80EB $none6 0A"
    # 33001 is a port of its own in UDP; 33010 and 33011.
    proc_table "$1/self/net/udp" "0100007F:80E9 $none4 07" "0100007F:80F2 $none4 07"
    proc_table "$1/self/net/udp6" "$loopback6:80F3 $none6 07"
}

# make_procfs DIR: a procfs that is quiet: no sockets, the default range, nothing reserved.
make_procfs() {
    local v6='  sl  local_address                         remote_address                        st tx_queue rx_queue'
    local rest='tr tm->when retrnsmt   uid  timeout inode'
    mkdir -p "$1/self/net" "$1/sys/net/ipv4"
    printf '%-149s\n' "  sl  local_address rem_address   st tx_queue rx_queue $rest" >"$1/self/net/tcp"
    printf '%-127s\n' "   sl  local_address rem_address   st tx_queue rx_queue $rest ref pointer drops" >"$1/self/net/udp"
    printf '%s\n' "$v6 $rest" >"$1/self/net/tcp6"
    printf '%s\n' "$v6 $rest ref pointer drops" >"$1/self/net/udp6"
    printf '32768\t60999\n' >"$1/sys/net/ipv4/ip_local_port_range"
    printf '\n' >"$1/sys/net/ipv4/ip_local_reserved_ports"
}

# blocks FILE: a line for each fenced block of it: the heading above, a TAB, its kind, "text" where it says none.
blocks() {
    awk '/^ *```/ { inside = !inside; if (inside) { sub(/^ *```/, ""); print heading "\t" ($0 == "" ? "text" : $0) } next }
        !inside && /^#+ / { heading = $0; sub(/^#+ /, "", heading) }' "$ROOT/$1"
}

# block_below FILE HEADING KIND [N]: the Nth block of that kind below a heading, as a reader copies it.
block_below() {
    awk -v wanted="$2" -v kind="$3" -v number="${4:-1}" '
        /^ *```/ { inside = !inside; sub(/^ *```/, "")
            if (inside) here = heading == wanted && ($0 == "" ? "text" : $0) == kind && ++n == number
            next }
        !inside && /^#+ / { heading = $0; sub(/^#+ /, "", heading) }
        inside && here { print; found = 1 }
        END { exit !found }' "$ROOT/$1"
}
