#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The supervisor: what it holds, what it lets go, and that no error ends it. Every failure here ends with a 200.

load helpers
bats_require_minimum_version 1.5.0

setup() {
    ns_create
}

teardown() {
    # A supervisor that PID 1 takes along could not write what it has run; see tests/coverage.
    [ -z "${PID1:-}" ] || ! find_supervisor || ! kill -TERM "$SERVER_PID" || wait_until 2 is_gone "$SERVER_PID"
    stop_all
}

outcome() {
    metric "$(scrape)" metrics_sidecar_connections_total "outcome=\"$1\""
}

# expect_end_within PID [WAITED-PID]: send SIGTERM, see it gone within 0.2 s, with status 0.
expect_end_within() {
    local start=${EPOCHREALTIME/./} status=0
    kill -TERM "$1"
    wait "${2:-$1}" || status=$?
    local ms=$(((${EPOCHREALTIME/./} - start) / 1000))
    [ "$status" -eq 0 ] || fail "ended with status $status"
    [ "$ms" -le 200 ] || fail "took $ms ms to end"
}

@test "port taken: waits, says so, serves within 5 s after it is free" {
    hold "listen 0.0.0.0 9999"
    start server ns "$PROGRAM"
    wait_until 5 grep -q 'listen on :9999: Address already in use' "$BATS_TEST_TMPDIR/server.err"
    # Long enough for the wait between two tries to have grown to its longest.
    local end=$((SECONDS + 7))
    until [ "$SECONDS" -ge "$end" ]; do
        ! is_gone "$STARTED_PID" || fail "it is gone"
        sleep 0.5
    done
    [ "$(grep -c 'already in use' "$BATS_TEST_TMPDIR/server.err")" -le 2 ]
    kill "$HOLD_PID"
    local start=${EPOCHREALTIME/./}
    wait_until 6 serves
    [ $((${EPOCHREALTIME/./} - start)) -le 5000000 ]
}

@test "one address taken: the others serve meanwhile" {
    hold "listen 127.0.0.1 9998"
    start_server --web.listen-address=127.0.0.1:9998 --web.listen-address=127.0.0.1:9999
    serves
}

@test "accept fails for want of descriptors: the oldest idle connections go, scrapes are served" {
    start_server_with_limit() {
        start server ns sh -c 'ulimit -n 20; exec "$@"' sh "$PROGRAM"
        SERVER_PID=$STARTED_PID
        wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    }
    start_server_with_limit
    start idle ns "$PEER" idle 127.0.0.1 9999 100
    wait_until 5 grep -q 'accept connection: Too many open files' "$BATS_TEST_TMPDIR/server.err"
    serves
    wait_until 8 grep -q 'reset 100 of 100' "$BATS_TEST_TMPDIR/idle.out"
    serves
}

@test "calls that fail: logged, waited out, and the next scrape is served" {
    local call error from log
    while read -r call error from log; do
        stop_all
        ns_create
        # -D: the program is our child, not strace.
        start server ns strace -D -f -e trace="$call" -e signal=none -o /dev/null \
            -e inject="$call:error=$error:when=$from" "$PROGRAM"
        wait_until 10 serves || fail "$call: $error: not served any more: $(server_log)"
        grep -q "$log" "$BATS_TEST_TMPDIR/server.err" || fail "$call: $error: not logged: $(server_log)"
    done <<'CALLS'
accept4 ENFILE 1..3 accept.connection:.Too.many.open.files.in.system
accept4 ENOMEM 1..3 accept.connection:.Cannot.allocate.memory
accept4 EINVAL 1..3 accept.connection:.Invalid.argument
accept4 EPERM 1..3 accept.connection:.Operation.not.permitted
accept4 ECONNABORTED 1..3 listen.on
accept4 ECONNABORTED 1..70 accept.connection:.Software.caused.connection.abort
epoll_create1 EMFILE 1..2 create.epoll:.Too.many.open.files
epoll_ctl ENOMEM 1..2 watch.:9999:.Cannot.allocate.memory
epoll_pwait ENOMEM 1..3 wait.for.events:.Cannot.allocate.memory
socket ENFILE 1..2 listen.on.:9999:.Too.many.open.files.in.system
bind EACCES 1..2 listen.on.:9999:.Permission.denied
listen EADDRINUSE 1..2 listen.on.:9999:.Address.already.in.use
recvfrom ENOMEM 1..1 look.at.connection:.Cannot.allocate.memory
clone EAGAIN 1..2 start.process:.Resource.temporarily.unavailable
mmap ENOMEM 40+ listen.on
prctl EPERM 1+ listen.on
setitimer EPERM 1..1 listen.on
CALLS
}

# Bytes of a connection that nobody has accepted yet.
request_has_come() {
    ns ss -Htn state established '( sport = :9999 )' | awk '$1 > 0 { found = 1 } END { exit !found }'
}

@test "connections that cannot be watched: 503 for a head that is to come, an answer for one that is there" {
    # The first one that it watches is the listening socket.
    start server ns strace -D -qq -o /dev/null -e trace=epoll_ctl -e signal=none \
        -e inject=epoll_ctl:error=ENOSPC:when=2+ "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    run ns "$PEER" talk 127.0.0.1 9999 <<<'GET /metrics HTTP/1.1'
    assert_line --partial "HTTP/1.1 503 Service Unavailable"
    grep -q 'watch connection: No space left on device' "$BATS_TEST_TMPDIR/server.err"
    # Stopped, it accepts only what has a head already.
    kill -STOP "$SERVER_PID"
    start_client one
    wait_until 5 request_has_come
    kill -CONT "$SERVER_PID"
    wait_until 5 client_has one 200
    # Nobody says that the client has closed.
    wait_until 5 no_connection
}

no_connection() {
    [ -z "$(ns ss -Htn state connected '( sport = :9999 )')" ]
}

@test "events cannot be had at all: everything is looked at now and then" {
    start server ns strace -D -qq -o /dev/null -e trace=epoll_pwait -e signal=none -e inject=epoll_pwait:error=ENOMEM "$PROGRAM"
    wait_until 5 grep -q 'wait for events: Cannot allocate memory' "$BATS_TEST_TMPDIR/server.err"
    serves
    # The rest of this head comes when the connection has been accepted.
    run ns "$PEER" talk 127.0.0.1 9999 piece=20 pause-ms=300 whole <<<$'GET /metrics HTTP/1.0\r\n\r'
    assert_line --index 0 --partial "HTTP/1.1 200 OK"
    expect_end_within "$STARTED_PID"
}

@test "no process can be started: 503 with Retry-After, then 200" {
    start server ns strace -D -f -e trace=clone,clone3,fork,vfork -e signal=none -o /dev/null \
        -e inject=clone,clone3,fork,vfork:error=EAGAIN:when=1..1 "$PROGRAM"
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    run ns curl -s -D - http://127.0.0.1:9999/metrics
    assert_line --partial "HTTP/1.1 503 Service Unavailable"
    assert_line --partial "Retry-After: 1"
    serves
}

@test "/proc is gone: 500 and the reason; 200 again when it is back" {
    start server ns unshare -m "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    in_its_mounts() {
        ns nsenter -m -t "$SERVER_PID" -- "$@"
    }
    # Where the server looks; the tools of this test are started outside of it.
    local age
    age=$(figures_age)
    in_its_mounts mount -t tmpfs none /proc
    sleep "$age"
    run scrape -w '%{http_code}'
    assert_output --partial "read sys/net/ipv4/ip_local_port_range: No such file or directory"
    assert_output --partial "500"
    in_its_mounts umount /proc
    serves
    grep -q 'read sys/net/ipv4/ip_local_port_range: No such file' "$BATS_TEST_TMPDIR/server.err"
}

@test "a procfs that is not there, nor the directory that it is to be in: 500, and 200 when both are there" {
    local procfs=$BATS_TEST_TMPDIR/none/procfs
    start_server --path.procfs="$procfs"
    [ "$(scrape_status)" = 500 ]
    mkdir "${procfs%/*}"
    cp -r "$FIXTURES/idle" "$procfs"
    wait_until 5 serves
}

@test "a log that nobody can be told: closed, full, a pipe that nobody reads" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    # Opened for both, so that opening waits for nobody; filled to the brim.
    exec 7<>"$BATS_TEST_TMPDIR/pipe"
    dd if=/dev/zero of=/dev/fd/7 oflag=nonblock bs=4096 count=100 2>/dev/null || true
    local where
    for where in '2>&-' '2>/dev/full' '2>&7' '<&- >&- 2>&-'; do
        start server ns bash -c "exec \"\$@\" $where" bash "$PROGRAM" --path.procfs="$BATS_TEST_TMPDIR/procfs" \
            --idle-exit=1 --top-destinations=5
        # Messages at the start, and one for each of these.
        wait_until 5 test_status 500 || fail "with $where"
        test_status 500
        cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
        test_status 200 || fail "with $where"
        rm -r "$BATS_TEST_TMPDIR/procfs"
        kill "$STARTED_PID"
        wait_until 5 is_gone "$STARTED_PID"
    done
    exec 7>&-
}

@test "a log that is a socket: it has every line, and one that is gone harms nobody" {
    start log ns "$PEER" inetd 9998 sh -c 'exec cat >"$1"' sh "$BATS_TEST_TMPDIR/log"
    local reader=$STARTED_PID
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/log.out"
    start server ns bash -c 'exec "$@" 2>/dev/tcp/127.0.0.1/9998' bash "$PROGRAM" --path.procfs="$BATS_TEST_TMPDIR/procfs"
    wait_until 5 test_status 500
    wait_until 5 grep -q 'read procfs: No such file' "$BATS_TEST_TMPDIR/log"
    grep -q '^metrics-sidecar: listen on :9999$' "$BATS_TEST_TMPDIR/log"
    kill "$(ps -o pid= --ppid "$reader" | tr -d ' ')"
    wait_until 5 is_gone "$reader"
    cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
    test_status 200
    rm -r "$BATS_TEST_TMPDIR/procfs/self"
    test_status 500
    test_status 500
}

test_status() {
    [ "$(scrape_status)" = "$1" ]
}

@test "the same message is written once in ten seconds, and then with its count" {
    start_server --path.procfs="$BATS_TEST_TMPDIR/nowhere"
    local i
    for i in $(seq 20); do
        test_status 500
    done
    [ "$(grep -c 'read procfs: No such file' "$BATS_TEST_TMPDIR/server.err")" -eq 1 ]
    message_is_repeated() {
        scrape_status >/dev/null
        [ "$(grep -c 'read procfs: No such file' "$BATS_TEST_TMPDIR/server.err")" -eq 2 ]
    }
    wait_until 12 message_is_repeated
    grep -qE 'read procfs: No such file or directory \([0-9]+ more times since\)' "$BATS_TEST_TMPDIR/server.err"
}

@test "a line of the log is printable ASCII, and has 512 bytes at most" {
    start_server --path.procfs="$(printf '%0900d\001\377\n' 0)" --bearer-token-file="$(printf 'x\033[2J\n')"
    test_status 503
    POD_NAME=$(printf '\001%0999d' 0) "$PROGRAM" --print --path.procfs="$BATS_TEST_TMPDIR/none" \
        2>>"$BATS_TEST_TMPDIR/server.err" >/dev/null || true
    "$PROGRAM" "--source=$(printf '\001%0999d' 0)" 2>>"$BATS_TEST_TMPDIR/server.err" || true
    [ "$(server_log | wc -l)" -ge 5 ]
    run ! grep -naP '[^\x20-\x7e]' "$BATS_TEST_TMPDIR/server.err"
    run awk 'length($0) + 1 > 512' "$BATS_TEST_TMPDIR/server.err"
    assert_output ""
}

@test "ten lines a second are written, and how many were not" {
    local port addresses=()
    # 16 faults at once: 8 variables, 8 ports that are taken.
    for port in $(seq 7001 7008); do
        addresses+=("listen 127.0.0.1 $port")
    done
    hold "${addresses[@]}"
    write_at_once() {
        start server ns env METRICS_SIDECAR_PORT=x METRICS_SIDECAR_TIMEOUT=x METRICS_SIDECAR_IDLE_EXIT=x \
            METRICS_SIDECAR_MAX_PROCESSES=x METRICS_SIDECAR_MAX_CONNECTIONS=x METRICS_SIDECAR_TOP_DESTINATIONS=x \
            METRICS_SIDECAR_SOURCE=x METRICS_SIDECAR_PROCFS=/nowhere \
            METRICS_SIDECAR_LISTEN_ADDRESS="$(seq -s , -f 127.0.0.1:%.0f 7001 7008)" "$PROGRAM"
        # The same again ten seconds later, unless something else is said before.
        wait_until 12 grep -qE '\([0-9]+ messages lost\)' "$BATS_TEST_TMPDIR/server.err"
        [ "$(sed '/messages lost/,$d' "$BATS_TEST_TMPDIR/server.err" | wc -l)" -eq 10 ]
    }
    # All of it may fall into two seconds of the clock.
    write_at_once || write_at_once
}

@test "SIGTERM and SIGINT end it, status 0, children included" {
    start_stuck_scan
    local child
    child=$(children)
    expect_end_within "$SERVER_PID"
    wait_until 1 is_gone "$child"

    start server ns "$PROGRAM"
    wait_until 5 serves
    kill -INT "$STARTED_PID"
    wait "$STARTED_PID"
}

@test "PID 1: SIGTERM ends it within 0.2 s, status 0, no process left" {
    make_stuck_procfs
    as_pid1 --path.procfs="$STUCK"
    start_client one
    wait_until 5 has_children 1
    local child
    child=$(children)
    expect_end_within "$PID1" "$UNSHARE_PID"
    is_gone "$child"
    is_gone "$SERVER_PID"
}

@test "PID 1: of all 64 signals only TERM and INT end it" {
    as_pid1
    local number
    for number in $(seq 64); do
        case $(kill -l "$number") in
        TERM | INT) continue ;;
        esac
        # From inside, as a process of the container would; from outside nothing survives SIGKILL.
        ns nsenter -p -t "$PID1" -- bash -c 'kill -s "$1" 1' bash "$number" 2>/dev/null ||
            { [ "$number" -eq 32 ] || [ "$number" -eq 33 ]; } # those of the C library have no name
    done
    serves
    [ "$(ps -o pid= --ppid "$UNSHARE_PID" | tr -d ' ')" = "$PID1" ]
    expect_end_within "$PID1" "$UNSHARE_PID"
    as_pid1
    kill -INT "$PID1"
    wait "$UNSHARE_PID"
}

@test "PID 1: orphans are reaped" {
    start server ns unshare -p --fork --kill-child sh -c '(sleep 0.2 & sleep 0.3 & :); exec "$1"' sh "$PROGRAM"
    wait_until 5 serves
    SERVER_PID=$(ps -o pid= --ppid "$STARTED_PID" | tr -d ' ')
    # The process that accepts is left.
    wait_until 5 has_children 1
    serves
    [ "$(outcome crashed) $(outcome failed)" = "0 0" ]
    expect_end_within "$SERVER_PID" "$STARTED_PID"
}

@test "PID 1: the port stays ours while nobody accepts, and counters go on" {
    as_pid1
    serves
    serves
    local first
    first=$(metric "$(scrape)" metrics_sidecar_start_time_seconds)
    # The next one is started after 0.1 s; whoever connects meanwhile waits in the backlog.
    kill -KILL "$SERVER_PID"
    ns_listens 9999
    serves
    grep -q 'accept connections: process killed by signal 9: started again' "$BATS_TEST_TMPDIR/server.err"
    [ "$(outcome served)" -ge 4 ]
    [ "$(metric "$(scrape)" metrics_sidecar_start_time_seconds)" = "$first" ]
}

@test "PID 1: the process that accepts is told to end: another one is started" {
    as_pid1
    serves
    kill -TERM "$SERVER_PID"
    wait_until 5 grep -q 'accept connections: process ended with status 0: started again' "$BATS_TEST_TMPDIR/server.err"
    serves
    expect_end_within "$PID1" "$UNSHARE_PID"
}

@test "PID 1: the process that accepts cannot be started: said, and tried again" {
    SERVER=strace as_pid1 -D -qq -o /dev/null -e trace=clone,clone3,fork,vfork -e signal=none \
        -e inject=clone,clone3,fork,vfork:error=EAGAIN:when=1..2 "$PROGRAM"
    grep -q 'start process: Resource temporarily unavailable' "$BATS_TEST_TMPDIR/server.err"
    serves
    expect_end_within "$PID1" "$UNSHARE_PID"
}

@test "PID 1: a port that is taken is waited for by the process that accepts, and kept by PID 1" {
    hold "listen 0.0.0.0 9999"
    start server ns unshare -p --fork --kill-child "$PROGRAM"
    wait_until 5 grep -q 'already in use' "$BATS_TEST_TMPDIR/server.err"
    kill "$HOLD_PID"
    wait_until 6 serves
    find_pid1
    kill -KILL "$SERVER_PID"
    ns_listens 9999
    serves
}

@test "PID 1: who dies again and again is started later each time" {
    as_pid1
    local i delays=() start
    # One that has answered somebody would be in good health.
    for i in 1 2 3 4; do
        start=${EPOCHREALTIME/./}
        kill -KILL "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
        wait_until 5 find_pid1
        delays+=($(((${EPOCHREALTIME/./} - start) / 1000)))
    done
    echo "# ms until the next one: ${delays[*]}" >&3
    [ "${delays[0]}" -ge 100 ]
    [ "${delays[1]}" -ge 200 ]
    [ "${delays[2]}" -ge 400 ]
    [ "${delays[3]}" -ge 800 ]
    wait_until 5 serves
}

@test "SIGTERM while the port is taken and nothing is served" {
    hold "listen 0.0.0.0 9999"
    start server ns "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'already in use' "$BATS_TEST_TMPDIR/server.err"
    expect_end_within "$SERVER_PID"
}

@test "SIGTERM while accept fails for good: waits in between, and ends at once" {
    start server ns strace -D -f -e trace=accept4 -e signal=none -o /dev/null -e inject=accept4:error=EPERM "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    start_client one
    wait_until 5 grep -q 'accept connection: Operation not permitted' "$BATS_TEST_TMPDIR/server.err"
    # Seconds of CPU that it takes, in clock ticks, over two seconds of the clock: it does not spin.
    local before end=$((SECONDS + 3))
    before=$(awk '{ print $14 + $15 }' "/proc/$SERVER_PID/stat")
    until [ "$SECONDS" -ge "$end" ]; do sleep 0.1; done
    [ $(($(awk '{ print $14 + $15 }' "/proc/$SERVER_PID/stat") - before)) -le 5 ]
    expect_end_within "$SERVER_PID"
}

@test "a complete request that waits for a process longer than a head may take is answered" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=1
    start_client one
    wait_until 5 has_children 1
    start_client two
    local end=$((SECONDS + 7))
    until [ "$SECONDS" -ge "$end" ]; do sleep 0.1; done
    let_scan_go
    wait_until 5 client_has one 200
    wait_until 5 client_has two 200
}

# let_scan_go: a scan that waits for the stuck table gets a whole one. Where none waits, this does not either.
let_scan_go() {
    mv "$STUCK/self/net/tcp" "$STUCK/fifo"
    unstick_procfs
    cat "$STUCK/self/net/tcp" 1<>"$STUCK/fifo"
}

@test "a complete request that waits for a process beyond its deadline: 503" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=1 --timeout=2
    start_client one
    start_client two
    wait_until 5 has_children 1
    # It is killed a second after its deadline, and no process is free before that.
    kill -STOP "$(children)"
    either_is_told() {
        client_has one 503 || client_has two 503
    }
    wait_until 5 either_is_told
    wait_until 5 has_children 0
    unstick_procfs
    [ "$(outcome timed_out)" = 2 ]
}

# start_many NAME HOST COUNT: so many scrapes at once, the status of each to NAME.out when it is there.
start_many() {
    start "$1" ns stdbuf -oL curl -sSZ --parallel-immediate --parallel-max 300 --max-time 30 -o /dev/null \
        -w '%{http_code}\n' "http://$2:9999/metrics?[1-$3]"
}

# has_statuses NAME STATUS COUNT
has_statuses() {
    [ "$(grep -c "$2" "$BATS_TEST_TMPDIR/$1.out")" -eq "$3" ]
}

@test "256 complete requests of one address wait for a process; the next ones get 503 at once, and those 256 their answer" {
    start_stuck_scan --max-processes=1 --timeout=30
    start_many many 127.0.0.1 260
    wait_until 10 has_statuses many 503 4
    let_scan_go
    wait_until 30 is_gone "$STARTED_PID"
    [ "$(sort "$BATS_TEST_TMPDIR/many.out" | uniq -c | tr -s ' \n' ' ')" = " 256 200 4 503 " ]
    [ "$(outcome refused)" = 4 ]
}

# A connection to an address of the namespace comes from that address.
other_address() {
    ns ip address add "$1" dev lo 2>&1
}

@test "requests that wait: one of another address goes before those of the address that fills its half" {
    other_address 192.0.2.7/32
    start_stuck_scan --max-processes=1 --timeout=30
    start_many many 192.0.2.7 260
    wait_until 10 has_statuses many 503 4
    start_client two
    wait_until 5 holds_requests 258
    let_scan_go
    wait_until 10 client_has two 200
    # In their order the others would have had theirs before.
    [ "$(wc -l <"$BATS_TEST_TMPDIR/many.out")" -lt 130 ]
}

# holds_requests N: connections that the server has accepted.
holds_requests() {
    [ "$(find "/proc/$SERVER_PID/fd" -lname 'socket:*' | wc -l)" -ge "$1" ]
}

@test "a queue that two addresses have filled: a third one has its place and its turn, the one with the most gives one up" {
    other_address 192.0.2.7/32
    other_address 192.0.2.8/32
    start_stuck_scan --max-processes=1 --max-connections=20 --timeout=30
    start_many first 192.0.2.7 12
    wait_until 5 has_statuses first 503 2
    start_many second 192.0.2.8 12
    # The table of 20 is full: 1 is being answered, 10 and 9 wait.
    # Given up before their request was there, or refused: their own address has as many as the other one.
    wait_until 5 has_statuses second '503\|000' 3
    start_client three
    wait_until 5 has_statuses first 503 3
    let_scan_go
    wait_until 10 client_has three 200
    wait_until 10 has_statuses first 200 9
    wait_until 10 has_statuses second 200 9
    [ $(($(outcome refused) + $(outcome evicted))) -eq 6 ]
}

@test "a full queue beside room for connections: a third address has its place, one of the others gives one up" {
    other_address 192.0.2.7/32
    other_address 192.0.2.8/32
    start_stuck_scan --max-processes=1 --max-connections=1024 --timeout=30
    start_many first 192.0.2.7 256
    start_many second 192.0.2.8 256
    wait_until 10 holds_requests 514
    start_client three
    other_gave_up() {
        [ "$(cat "$BATS_TEST_TMPDIR"/{first,second}.out)" = 503 ]
    }
    wait_until 5 other_gave_up
    let_scan_go
    wait_until 10 client_has three 200
    [ "$(outcome refused)" = 1 ]
}

# refuses COUNT HOST...: one process is busy, twelve requests can wait; of ten clients, shared out between the hosts, COUNT
# get 503, and the others their answer.
refuses() {
    local count=$1 host i clients=() where=()
    shift
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=1 --max-connections=12 --timeout=30 \
        --web.listen-address=:9999 --web.listen-address=0.0.0.0:9998 --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    for host; do
        read -r -a where <<<"$host"
        for ((i = 0; i < 10 / $#; i++)); do
            start "client${#clients[@]}" ns curl -gsS --max-time 20 -o /dev/null -w '%{http_code}\n' "${where[@]}"
            clients+=("$STARTED_PID")
        done
    done
    wait_until 5 have_statuses 503 "$count" || fail "$*: $(cat "$BATS_TEST_TMPDIR"/client*.out | grep -c 503) refused"
    wait_until 5 holds_requests $((10 - count))
    let_scan_go
    wait_until 10 have_statuses 200 $((10 - count))
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    rm -r "$STUCK"
}

# have_statuses STATUS COUNT: of all clients.
have_statuses() {
    [ "$(cat "$BATS_TEST_TMPDIR"/client*.out | grep -c "$1")" -eq "$2" ]
}

@test "one address has half of the queue, however it is written; IPv6 by its first 64 bits; UNIX sockets have all" {
    local v4=http://127.0.0.1
    other_address 192.0.2.7/32
    other_address 2001:db8:0:1::1/128
    other_address 2001:db8:0:1::2/128
    other_address 2001:db8:0:2::1/128
    refuses 3 "$v4:9999"
    refuses 3 "$v4:9999" "$v4:9998"
    refuses 0 "$v4:9999" http://192.0.2.7:9999
    refuses 3 'http://[2001:db8:0:1::1]:9999' 'http://[2001:db8:0:1::2]:9999'
    refuses 0 'http://[2001:db8:0:1::1]:9999' 'http://[2001:db8:0:2::1]:9999'
    refuses 0 "http://x --unix-socket $BATS_TEST_TMPDIR/socket"
}

@test "one address has all processes while no other one waits" {
    start_stuck_scan --max-processes=4 --timeout=30
    start_many many 127.0.0.1 9
    wait_until 5 has_children 4
    let_scan_go
    wait_until 10 has_statuses many 200 9
}

@test "a table full of requests that are being answered: 503, and nobody is given up" {
    start_stuck_scan --max-connections=1
    # It is told so without a look at what it asks.
    run ns "$PEER" talk 127.0.0.1 9999 <<<$'GET /metrics HTTP/1.0\r\n\r'
    assert_line --partial "HTTP/1.1 503 Service Unavailable"
    let_scan_go
    wait_until 5 client_has one 200
    [ "$(outcome refused) $(outcome evicted)" = "1 0" ]
}

@test "a full table gives up a connection that has had its answer, without a reset" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-connections=1
    # It does not close before the server does.
    start lingering ns sh -c 'printf "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" | "$1" talk 127.0.0.1 9999' sh "$PEER"
    wait_until 5 has_children 1
    let_scan_go
    wait_until 5 has_children 0
    serves
    wait_until 5 is_gone "$STARTED_PID"
    head -n 1 "$BATS_TEST_TMPDIR/lingering.out" | grep -q '200 OK'
    [ "$(cat "$BATS_TEST_TMPDIR/lingering.err")" = closed ]
    [ "$(outcome evicted)" = 0 ]
}

@test "a client that ends before its head does gets 400, and no process" {
    start_server
    run ns "$PEER" talk 127.0.0.1 9999 half-close <<<'GET /metrics HTTP/1.1'
    assert_line --partial "HTTP/1.1 400 Bad Request"
    [ "$(outcome failed)" = 1 ]
    [ "$(outcome served)" = 1 ] # the scrape before
}

# probe HOST PORT MANNER...: connect, and send not a byte.
probe() {
    ns "$PEER" talk "$@" </dev/null >/dev/null 2>&1
}

@test "a connection that closes without a byte is a probe, not a failure; a torn head or silence is none" {
    start_server --timeout=1 --web.listen-address=127.0.0.1:9999 --web.listen-address="unix:$BATS_TEST_TMPDIR/socket"
    local i
    for i in $(seq 50); do
        probe 127.0.0.1 9999 half-close
        probe 127.0.0.1 9999 reset
        probe "$BATS_TEST_TMPDIR/socket" 0 half-close
    done
    wait_until 5 outcome_is probe 150
    [ "$(outcome probe) $(outcome failed) $(outcome timed_out)" = "150 0 0" ]
    [ "$(wc -l <"$BATS_TEST_TMPDIR/server.err")" -eq 2 ] || fail "$(server_log)"
    # Some bytes of a head, and then the end or a reset: that is a client that failed.
    ns "$PEER" talk 127.0.0.1 9999 half-close <<<'GET /metrics HTTP/1.1'
    ns "$PEER" talk 127.0.0.1 9999 reset <<<'GET /metrics HTTP/1.1'
    wait_until 5 outcome_is failed 2
    # Silence for as long as a head may take.
    probe 127.0.0.1 9999
    wait_until 5 outcome_is timed_out 1
    [ "$(outcome probe) $(outcome failed) $(outcome timed_out)" = "150 2 1" ]
}

@test "one shot: a probe is a success, and no line of the log, also when it ends by a reset" {
    local manner
    for manner in half-close reset; do
        start "$manner" ns "$PEER" inetd 9998 sh -c 'exec "$0" --inetd 2>"$1"' "$PROGRAM" "$BATS_TEST_TMPDIR/$manner.log"
        wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/$manner.out"
        probe 127.0.0.1 9998 "$manner"
        wait_until 5 grep -qx 'status 0' "$BATS_TEST_TMPDIR/$manner.out"
        [ ! -s "$BATS_TEST_TMPDIR/$manner.log" ]
    done
}

# read_late: a client that takes 4 s to begin with its answer, of which not all fits into its buffer.
read_late() {
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' |
        ns "$PEER" talk 127.0.0.1 9999 whole read-after-ms=4000 >"$BATS_TEST_TMPDIR/answer"
    local head length
    head=$(sed '/^\r$/q' "$BATS_TEST_TMPDIR/answer" | wc -c)
    length=$(tr -d '\r' <"$BATS_TEST_TMPDIR/answer" | sed -nE 's/^Content-Length: ([0-9]+)$/\1/p')
    [ "$length" -gt 8000 ]
    [ "$(wc -c <"$BATS_TEST_TMPDIR/answer")" -eq $((head + length)) ]
}

@test "a client that reads late gets the whole answer" {
    start_server --pod-name="$(printf '%0253d' 0)"
    read_late
}

@test "where the kernel cannot say what it holds for an answer, a client that reads late gets all of it" {
    SERVER=strace start_server -D -qq -o /dev/null -e trace=getsockopt -e signal=none -e inject=getsockopt:error=ENOPROTOOPT \
        "$PROGRAM" --pod-name="$(printf '%0253d' 0)"
    read_late
}

# Without the event of its end a client would be let go half a second after its answer, by an end of our side.
@test "a client that has its answer, and whose input cannot be read, is let go at once" {
    SERVER=strace start_server -D -qq -o "$BATS_TEST_TMPDIR/trace" -e trace=recvfrom,shutdown -e signal=none \
        -e inject=recvfrom:error=ECONNRESET:when=2+ "$PROGRAM"
    # Stopped, it looks once only, at a head that is complete.
    kill -STOP "$SERVER_PID"
    start_client one
    wait_until 5 request_has_come
    kill -CONT "$SERVER_PID"
    wait_until 5 client_has one 200
    wait_until 5 no_connection
    grep -q '^recvfrom(.*ECONNRESET.*INJECTED' "$BATS_TEST_TMPDIR/trace"
    run ! grep '^shutdown' "$BATS_TEST_TMPDIR/trace"
}

@test "one shot: the deadline holds, also where SIGALRM was blocked by the parent" {
    make_stuck_procfs
    local start=${EPOCHREALTIME/./}
    run bash -c 'printf "GET /metrics HTTP/1.0\r\n\r\n" |
        env --block-signal=ALRM "$1" --inetd --timeout=1 --path.procfs="$2"' bash "$PROGRAM" "$STUCK"
    assert_success
    assert_line --partial "500 Internal Server Error"
    assert_line --partial "read self/net/tcp: deadline passed"
    [ $((${EPOCHREALTIME/./} - start)) -lt 3000000 ]
}

@test "one shot: an output that somebody made non-blocking, and full, is waited for, until the deadline" {
    local pipe=$BATS_TEST_TMPDIR/pipe
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >"$BATS_TEST_TMPDIR/request"
    mkfifo "$pipe"
    # answer_to_full_pipe ARGUMENT...: dd leaves the descriptor non-blocking.
    answer_to_full_pipe() {
        exec 7<>"$pipe"
        dd if=/dev/zero oflag=nonblock bs=4096 count=100 >&7 2>/dev/null || true
        start one strace -D -qq -o "$BATS_TEST_TMPDIR/calls" -e trace=write -e signal=none \
            bash -c 'exec "$@" <"$0" >&7' "$BATS_TEST_TMPDIR/request" "$PROGRAM" --inetd --path.procfs="$FIXTURES/idle" "$@"
        exec 7>&-
    }
    answer_to_full_pipe --timeout=10
    wait_until 5 grep -q '= -1 EAGAIN' "$BATS_TEST_TMPDIR/calls"
    tr -d '\0\r' <"$pipe" >"$BATS_TEST_TMPDIR/answer"
    wait "$STARTED_PID"
    run cat "$BATS_TEST_TMPDIR/answer"
    assert_line --index 0 "HTTP/1.1 200 OK"
    assert_line 'port_total{pod_name="test-pod"} 28232'

    local status=0
    answer_to_full_pipe --timeout=1
    wait "$STARTED_PID" || status=$?
    [ "$status" -eq 1 ]
    grep -q 'write response: Connection timed out' "$BATS_TEST_TMPDIR/one.err"
}

@test "an output that always says EAGAIN or EINTR ends every mode that prints after --timeout, and nothing spins" {
    local mode error calls status
    for mode in --print --report '--report --watch' --help; do
        for error in EAGAIN EINTR; do
            status=0
            # The bound is far above the second of --timeout, and far below for ever.
            # shellcheck disable=SC2086 # two words
            timeout 8 strace -D -qq -o "$BATS_TEST_TMPDIR/calls" -e trace=write -e signal=none \
                -e inject=write:error=$error "$PROGRAM" $mode --timeout=1 >/dev/null 2>&1 || status=$?
            calls=$(wc -l <"$BATS_TEST_TMPDIR/calls")
            [[ $status -eq 1 && $calls -le 200 ]] || fail "$mode, $error: status $status after $calls calls"
        done
    done
    # It confines itself, so that strace cannot make its calls fail; but a pipe that nobody reads does.
    mkfifo "$BATS_TEST_TMPDIR/full"
    exec 7<>"$BATS_TEST_TMPDIR/full"
    dd if=/dev/zero oflag=nonblock bs=4096 count=100 >&7 2>/dev/null || true
    status=0
    timeout 8 "$PROGRAM" --version --timeout=1 >&7 || status=$?
    exec 7>&-
    [ "$status" -eq 1 ]
}

@test "a process past its deadline: the client is told, the next one is served" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --timeout=1
    start_client one
    wait_until 4 client_has one 500
    grep -q 'read self/net/tcp: deadline passed' "$BATS_TEST_TMPDIR/server.err"
    unstick_procfs
    serves
}

@test "a process whose read does not end before the deadline: the client is told" {
    make_stuck_procfs
    # With a writer that says nothing, open() returns and read() does not.
    exec 7<>"$STUCK/self/net/tcp"
    start_server --path.procfs="$STUCK" --timeout=1
    start_client one
    wait_until 4 client_has one 500
    grep -q 'read self/net/tcp: deadline passed' "$BATS_TEST_TMPDIR/server.err"
    exec 7>&-
}

@test "a process stopped past its deadline is killed" {
    start_stuck_scan --timeout=1
    kill -STOP "$(children)"
    wait_until 5 has_children 0
    unstick_procfs
    [ "$(outcome timed_out)" = 1 ]
}

@test "a process that crashes takes nobody along" {
    start_stuck_scan
    kill -SEGV "$(children)"
    wait_until 5 has_children 0
    unstick_procfs
    [ "$(outcome crashed)" = 1 ]
    grep -q 'answer connection: process killed by signal 11' "$BATS_TEST_TMPDIR/server.err"
}

@test "three crashes in ten seconds: the next processes are started one at a time, later and later" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=1
    local i child started=()
    for i in 1 2 3 4 5; do
        start_client "client$i"
    done
    for i in 1 2 3 4 5; do
        wait_until 5 has_children 1
        started+=("${EPOCHREALTIME/./}")
        child=$(children)
        kill -SEGV "$child"
        wait_until 5 is_gone "$child"
    done
    # The third crash puts the next one off by 0.1 s, the fourth by 0.2 s.
    [ $((started[3] - started[2])) -ge 100000 ]
    [ $((started[4] - started[3])) -ge 200000 ]
    unstick_procfs
    wait_until 5 serves
    [ "$(outcome crashed)" = 5 ]
}

# layout PID: where the program and its stack lie in that process.
layout() {
    awk '$NF ~ /metrics-sidecar$/ && !seen { seen = 1; printf "%s ", $1 } $NF == "[stack]" { print $1 }' "/proc/$1/maps"
}

# find_supervisor: SERVER_PID, the child of PID 1 that accepts; a tracer may be another one.
find_supervisor() {
    SERVER_PID=$(pgrep -P "$PID1" -x metrics-sidecar)
}

# crash_one: a request whose process crashes; its layout goes to $LAYOUTS.
crash_one() {
    local child
    start_client "crash$1"
    has_child() {
        find_supervisor && child=$(children) && [ -n "$child" ]
    }
    wait_until 8 has_child
    layout "$child" >>"$LAYOUTS"
    kill -SEGV "$child"
    wait_until 5 is_gone "$child"
}

@test "PID 1: after three crashes there is a supervisor with other addresses; who waits is answered by it" {
    LAYOUTS=$BATS_TEST_TMPDIR/layouts
    make_stuck_procfs
    as_pid1 --path.procfs="$STUCK" --max-processes=1 --timeout=30
    local i
    for i in 1 2; do
        crash_one "$i"
    done
    [ "$(sort -u "$LAYOUTS" | wc -l)" -eq 1 ]
    # Three complete requests, of which the first one crashes, and one that is complete when another supervisor has it.
    start_client crashed
    wait_until 5 has_children 1
    start_client two
    start_client three
    mkfifo "$BATS_TEST_TMPDIR/slow"
    start slow ns bash -c 'exec 5<>/dev/tcp/127.0.0.1/9999; printf "GET /metrics HTTP/1.0\r\n" >&5
        read -r _ <"$1"; printf "\r\n" >&5; cat <&5' bash "$BATS_TEST_TMPDIR/slow"
    all_came() {
        [ "$(ns ss -Htn state established '( sport = :9999 )' | wc -l)" -eq 4 ]
    }
    wait_until 5 all_came
    local before=$SERVER_PID
    layout "$(children)" >>"$LAYOUTS"
    kill -SEGV "$(children)"
    wait_until 5 is_gone "$before"
    ns_listens 9999
    echo go >"$BATS_TEST_TMPDIR/slow"
    wait_until 8 find_supervisor
    wait_until 8 has_children 1
    layout "$(children)" >>"$LAYOUTS"
    [ "$(sort -u "$LAYOUTS" | wc -l)" -eq 2 ]
    let_scan_go
    wait_until 8 client_has two 200
    wait_until 8 client_has three 200
    wait_until 8 grep -q '^HTTP/1.1 200 OK' "$BATS_TEST_TMPDIR/slow.out"
    grep -q 'start supervisor with new addresses: processes crashed' "$BATS_TEST_TMPDIR/server.err"
    refute grep -q 'accept connections' "$BATS_TEST_TMPDIR/server.err"
    [ "$(grep -c 'listen on' "$BATS_TEST_TMPDIR/server.err")" -eq 1 ]
    # Counters go on.
    [ "$(outcome crashed)" = 3 ]
    [ "$(outcome served)" -ge 3 ]
    expect_end_within "$PID1" "$UNSHARE_PID"
}

# crash_beside PID NAME: a request whose process crashes while PID is the process of another one.
crash_beside() {
    local child
    start_client "$2"
    has_second() {
        child=$(children | grep -vx "$1") && [ -n "$child" ]
    }
    wait_until 8 has_second "$1"
    kill -SEGV "$child"
    wait_until 5 is_gone "$child"
}

@test "PID 1: a supervisor with new addresses waits a second for what is being answered, and no longer" {
    make_stuck_procfs
    as_pid1 --path.procfs="$STUCK" --max-processes=4 --timeout=30
    start_client answered
    wait_until 5 has_children 1
    local child i before=$SERVER_PID start
    child=$(children)
    for i in 1 2 3; do
        crash_beside "$child" "crash$i"
    done
    let_scan_go
    wait_until 5 client_has answered 200
    wait_until 5 is_gone "$before"
    grep -q 'start supervisor with new addresses: processes crashed' "$BATS_TEST_TMPDIR/server.err"
    # Another process is not answered in time. While crashes are many, one is enough.
    rm "$STUCK/self/net/tcp"
    mkfifo "$STUCK/self/net/tcp"
    wait_until 5 find_supervisor
    start_client late
    wait_until 8 has_children 1
    child=$(children)
    before=$SERVER_PID
    start=${EPOCHREALTIME/./}
    crash_beside "$child" crash4
    wait_until 5 is_gone "$before"
    [ $((${EPOCHREALTIME/./} - start)) -ge 1000000 ]
    wait_until 5 client_has late 000
    [ "$(outcome_when_unstuck failed)" = 1 ]
}

# crash_with_two_waiting [ARGUMENT...]: as_pid1 with those, and its third crash while two complete requests wait.
crash_with_two_waiting() {
    LAYOUTS=$BATS_TEST_TMPDIR/layouts
    make_stuck_procfs
    as_pid1 "$@" --path.procfs="$STUCK" --max-processes=1 --timeout=30
    crash_one 1
    crash_one 2
    start_client crashed
    wait_until 5 has_children 1
    start_client two
    start_client three
    three_came() {
        [ "$(ns ss -Htn state established '( sport = :9999 )' | wc -l)" -eq 3 ]
    }
    wait_until 5 three_came
    local before=$SERVER_PID
    kill -SEGV "$(children)"
    wait_until 5 is_gone "$before"
}

@test "PID 1: a connection that cannot be handed over gets 503" {
    SERVER=strace crash_with_two_waiting -D -f -qq -o /dev/null -e trace=sendmsg -e signal=none -e inject=sendmsg:error=EAGAIN \
        "$PROGRAM"
    wait_until 5 client_has two 503
    wait_until 5 client_has three 503
    [ "$(outcome_when_unstuck refused)" = 2 ]
}

@test "more descriptors left open by the launcher than are listed: that is said, and it serves" {
    # shellcheck disable=SC2016 # for the inner shell
    SERVER=bash start_server -c 'for ((i = 20; i < 320; i++)); do eval "exec $i</dev/null"; done; exec "$@"' bash "$PROGRAM"
    server_log | grep -q '^metrics-sidecar: list inherited descriptors: more than [0-9]*: the others are closed'
    serves
}

# How many descriptors of a process are its log.
logs_of() {
    readlink "/proc/$1"/fd/* | grep -c '/server\.err$'
}

@test "PID 1: a supervisor that was taken over hands over what is no connection: those that wait are answered all the same" {
    SERVER="env" crash_with_two_waiting LD_PRELOAD="$ROOT/build/tests/takeover.so" PLANTED=foreign "$PROGRAM"
    wait_until 8 find_supervisor
    wait_until 8 has_children 1
    let_scan_go
    wait_until 8 client_has two 200
    wait_until 8 client_has three 200
    # Of its messages some had a descriptor that is no connection, or several; none of those is left open.
    grep -q 'look at connection: Socket operation on non-socket' "$BATS_TEST_TMPDIR/server.err"
    [ "$(logs_of "$SERVER_PID")" -eq "$(logs_of "$PID1")" ]
    # Six were of one descriptor, and what came twice has been answered once.
    twice_failed() {
        [ "$(outcome failed)" = 8 ]
    }
    wait_until 8 twice_failed
    grep -q 'read request: Connection reset by peer' "$BATS_TEST_TMPDIR/server.err"
}

@test "PID 1: a child of another one whose name is nearly that of a supervisor listens by itself" {
    local inherited
    for inherited in x 1,2,3 "1,1,1,1,1$(printf ',1%.0s' {1..80})"; do
        stop_all
        ns_create
        # shellcheck disable=SC2016 # of the inner shell
        start server ns unshare -p --fork --kill-child bash -c '(exec -a "$1" "$2") & wait' bash \
            "metrics-sidecar: inherited $inherited" "$PROGRAM"
        wait_until 5 grep -q 'listen on :9999' "$BATS_TEST_TMPDIR/server.err"
        find_pid1
        serves
        [ "$(server_log)" = 'metrics-sidecar: listen on :9999' ]
    done
}

# crash_processes COUNT: requests that their processes die of, where CRASH is loaded.
CRASH=$ROOT/build/tests/crash.so
crash_processes() {
    local i
    for i in $(seq "$1"); do
        run ! ns curl -s -m 10 http://127.0.0.1:9999/crash
    done
}

@test "while crashes are many, a process that hangs puts the next one off by as much as a crash" {
    make_stuck_procfs
    unstick_procfs
    SERVER="env" start_server LD_PRELOAD="$CRASH" "$PROGRAM" --path.procfs="$STUCK"
    # By 0.1 s from the third one on, then by 0.2, 0.4, and 0.8 s.
    crash_processes 6
    rm "$STUCK/self/net/tcp"
    mkfifo "$STUCK/self/net/tcp"
    start_client one
    start_client two
    wait_until 5 has_children 2
    # When they were started, in hundredths of a second.
    local started
    mapfile -t started < <(for pid in $(children); do awk '{ print $22 }' "/proc/$pid/stat"; done | sort -n)
    [ $((started[1] - started[0])) -ge 75 ]
    let_scan_go
    wait_until 5 client_has one 200
    wait_until 5 client_has two 200
}

@test "PID 1: no more than three processes that crash have the same addresses" {
    LAYOUTS=$BATS_TEST_TMPDIR/layouts
    make_stuck_procfs
    as_pid1 --path.procfs="$STUCK" --max-processes=1 --timeout=30
    local i most
    for i in $(seq 8); do
        crash_one "$i"
    done
    most=$(sort "$LAYOUTS" | uniq -c | sort -rn | awk 'NR == 1 { print $1 }')
    echo "# 8 crashes, $(sort -u "$LAYOUTS" | wc -l) layouts, at most $most of one" >&3
    [ "$most" -le 3 ]
    [ "$(outcome_when_unstuck crashed)" = 8 ]
}

outcome_when_unstuck() {
    unstick_procfs
    wait_until 8 serves
    outcome "$1"
}

@test "PID 1: a supervisor that dies by itself has a successor with other addresses" {
    as_pid1
    serves
    local before
    before=$(layout "$SERVER_PID")
    kill -SEGV "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    wait_until 5 serves
    find_supervisor
    [ "$(layout "$SERVER_PID")" != "$before" ]
    [ "$(layout "$SERVER_PID")" != "$(layout "$PID1")" ]
    # It is confined as the first one was, and has nothing of PID 1 but what it needs: memory, sockets, epoll, the log.
    grep -qE '^NoNewPrivs:\s+1$' "/proc/$SERVER_PID/status"
    grep -qE '^Seccomp:\s+2$' "/proc/$SERVER_PID/status"
    [ "$(find "/proc/$SERVER_PID/fd" -type l | wc -l)" -le 10 ]
}

@test "PID 1: a program that cannot be executed any more: a connection that waits is answered all the same" {
    LAYOUTS=$BATS_TEST_TMPDIR/layouts
    make_stuck_procfs
    SERVER=strace as_pid1 -D -f -qq -o /dev/null -e trace=execve -e signal=none -P /proc/self/exe -e inject=execve:error=ENOENT \
        "$PROGRAM" --path.procfs="$STUCK" --max-processes=1 --timeout=30
    local i
    for i in 1 2; do
        crash_one "$i"
    done
    start_client crashed
    wait_until 5 has_children 1
    start_client two
    both_came() {
        [ "$(ns ss -Htn state established '( sport = :9999 )' | wc -l)" -eq 2 ]
    }
    wait_until 5 both_came
    kill -SEGV "$(children)"
    wait_until 5 grep -q 'exec /proc/self/exe: No such file or directory: same addresses' "$BATS_TEST_TMPDIR/server.err"
    wait_until 8 find_supervisor
    wait_until 8 has_children 1
    let_scan_go
    wait_until 8 client_has two 200
}

@test "PID 1: a program that cannot be executed any more: said, and scrapes go on" {
    SERVER=strace as_pid1 -D -f -qq -o /dev/null -e trace=execve -e signal=none -P /proc/self/exe -e inject=execve:error=ENOENT \
        -E LD_PRELOAD="$CRASH" "$PROGRAM"
    serves
    find_supervisor
    kill -SEGV "$SERVER_PID"
    wait_until 5 grep -q 'start supervisor with new addresses: exec /proc/self/exe: No such file or directory: same addresses' \
        "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 serves
    # The supervisor that has the old addresses says why it does not end after crashes.
    find_supervisor
    crash_processes 3
    wait_until 5 grep -q 'start supervisor with new addresses: the program could not be executed: crashes are slowed down only' \
        "$BATS_TEST_TMPDIR/server.err"
    is_gone "$SERVER_PID" && fail "it has ended"
    wait_until 8 serves
}

@test "PID 1: other addresses that cannot be prepared: said, and scrapes go on" {
    local call
    for call in memfd_create ftruncate socketpair; do
        stop_all
        ns_create
        SERVER=strace as_pid1 -D -f -qq -o /dev/null -e trace="$call" -e signal=none -e inject="$call:error=EMFILE" \
            -E LD_PRELOAD="$CRASH" "$PROGRAM"
        grep -q 'prepare other addresses for each supervisor: Too many open files: all have the same' "$BATS_TEST_TMPDIR/server.err"
        find_supervisor
        crash_processes 3
        wait_until 5 grep -q 'start supervisor with new addresses: could not be prepared: crashes are slowed down only' \
            "$BATS_TEST_TMPDIR/server.err"
        kill -SEGV "$SERVER_PID"
        wait_until 5 is_gone "$SERVER_PID"
        wait_until 5 serves
    done
}

@test "PID 1: a supervisor that could not be executed anew still tells the service manager" {
    start manager ns "$PEER" receive "@$BATS_TEST_TMPDIR"
    wait_until 5 grep -qF "@$BATS_TEST_TMPDIR" "/proc/$NS_PID/net/unix"
    NOTIFY_SOCKET="@$BATS_TEST_TMPDIR" SERVER=strace as_pid1 -D -f -qq -o /dev/null -e trace=execve -e signal=none \
        -P /proc/self/exe -e inject=execve:error=ENOENT "$PROGRAM"
    ready() {
        [ "$(grep -cx READY=1 "$BATS_TEST_TMPDIR/manager.out")" -eq "$1" ]
    }
    wait_until 5 ready 1
    find_supervisor
    kill -KILL "$SERVER_PID"
    wait_until 5 grep -q 'exec /proc/self/exe: No such file or directory: same addresses' "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 ready 2
    find_supervisor
    kill -TERM "$SERVER_PID"
    wait_until 5 grep -qx STOPPING=1 "$BATS_TEST_TMPDIR/manager.out"
}

@test "three crashes without PID 1: said that addresses stay the same" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=1
    crash_three
    wait_until 5 grep -q 'start supervisor with new addresses: not the child of our PID 1' "$BATS_TEST_TMPDIR/server.err"
    is_gone "$SERVER_PID" && fail "it has ended"
    unstick_procfs
    wait_until 5 serves
}

# without_close_range COMMAND...: as on a kernel before 5.9, or in a runtime that does not know the call; close() is
# written to $TRACE, and descriptor 60 is what somebody has left open.
without_close_range() {
    TRACE=$BATS_TEST_TMPDIR/trace
    start server ns bash -c 'ulimit -n "$(ulimit -Hn)"; exec 60</etc/passwd; exec "$@"' bash \
        strace -D -f -qq -o "$TRACE" -e trace=close,close_range -e signal=none -e inject=close_range:error=EPERM "$@"
}

has_unix_socket() {
    readlink "/proc/$1"/fd/* | sed -n 's/^socket:\[\(.*\)\]$/\1/p' | grep -qxFf - <(awk '{ print $7 }' "/proc/$NS_PID/net/unix")
}

@test "close_range() is refused: a scrape closes what is open, not what could be, and no process has what is not its own" {
    make_stuck_procfs
    start manager ns "$PEER" receive "@$BATS_TEST_TMPDIR"
    wait_until 5 grep -qF "@$BATS_TEST_TMPDIR" "/proc/$NS_PID/net/unix"
    NOTIFY_SOCKET="@$BATS_TEST_TMPDIR" without_close_range "$PROGRAM" --path.procfs="$STUCK"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    start idle ns "$PEER" idle 127.0.0.1 9999 20
    idle_ones_came() {
        [ "$(find "/proc/$SERVER_PID/fd" -type l | wc -l)" -ge 27 ]
    }
    wait_until 5 idle_ones_came
    [ -e "/proc/$SERVER_PID/fd/60" ]
    start_client one
    wait_until 20 has_children 1
    local child
    child=$(children)
    # It is closed by the time it opens the table. What was not yet its own is the other 20 connections, and what we left.
    waits_for_table() {
        readlink "/proc/$child"/fd/* | grep -q "^$STUCK"
    }
    wait_until 20 waits_for_table
    refute grep -q 'passwd' <(readlink "/proc/$child"/fd/*)
    [ "$(readlink "/proc/$child"/fd/* | grep -c socket:)" -le 2 ] || fail "$(readlink "/proc/$child"/fd/*)"
    # One that would speak to the service manager is the supervisor's alone.
    has_unix_socket "$SERVER_PID"
    run ! has_unix_socket "$child"
    let_scan_go
    wait_until 20 client_has one 200
    local calls
    calls=$(grep -cE "^$child +close\(" "$TRACE")
    echo "# close() in the process of a scrape, limit $(ulimit -Hn): $calls" >&3
    [ "$calls" -le 128 ]
}

WITHOUT_CLOSE_RANGE="strace -D -f -qq -o /dev/null -e trace=close_range -e signal=none -e inject=close_range:error=ENOSYS"

@test "one shot: where neither close_range() nor /proc/self/fd can be had, the request is answered" {
    # shellcheck disable=SC2016,SC2086 # of the inner shell; words
    run -0 unshare -Urm sh -c 'mount -t tmpfs none /proc && ! [ -e /proc/self ] && exec "$@"' sh \
        $WITHOUT_CLOSE_RANGE "$PROGRAM" --inetd --path.procfs="$FIXTURES/idle" <<<$'GET /metrics HTTP/1.0\r\n\r'
    assert_line --partial "HTTP/1.1 200 OK"
}

@test "one shot: what its launcher has left open is closed before the request, with close_range() and without" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    local how pid
    for how in '' "$WITHOUT_CLOSE_RANGE"; do
        exec 7<>"$BATS_TEST_TMPDIR/pipe"
        # shellcheck disable=SC2086 # words
        bash -c 'for i in $(seq 60 260); do eval "exec $i</etc/passwd"; done; exec 261</etc/group; exec "$@"' bash $how "$PROGRAM" --inetd <&7 >"$BATS_TEST_TMPDIR/answer" \
            2>"$BATS_TEST_TMPDIR/one.err" 3>&- 7>&- &
        pid=$!
        STARTED+=("$pid")
        is_closed() {
            [ "$(cat "/proc/$pid/comm")" = metrics-sidecar ] && ! readlink "/proc/$pid"/fd/* | grep -qE 'passwd|group'
        }
        wait_until 5 is_closed
        printf 'GET /metrics HTTP/1.0\r\n\r\n' >&7
        wait_until 5 grep -q '^port_used' "$BATS_TEST_TMPDIR/answer"
        exec 7>&-
        wait "$pid"
        [ ! -s "$BATS_TEST_TMPDIR/one.err" ]
    done
}

@test "a killed supervisor leaves no process behind" {
    start_stuck_scan
    local child
    child=$(children)
    kill -KILL "$SERVER_PID"
    wait_until 2 is_gone "$child"
}

@test "a supervisor that is killed before its new process is bound to it leaves none behind either" {
    # Of the supervisor itself this delays the start.
    start server ns strace -D -f -qq -o /dev/null -e trace=prctl -e signal=none -e inject=prctl:delay_enter=2000000 "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
    start_client one
    wait_until 5 has_children 1
    local child
    child=$(children)
    kill -KILL "$SERVER_PID"
    wait_until 5 is_gone "$child"
    # It would have gone on to answer.
    wait_until 5 client_has one 000
}

@test "no more processes than allowed; complete requests wait their turn" {
    make_stuck_procfs
    start_server --path.procfs="$STUCK" --max-processes=2
    local i
    for i in 1 2 3 4; do
        start_client "client$i"
    done
    wait_until 5 has_children 2
    # Nobody else gets a process while these two are stuck; held open, they are let go by what is written here.
    local end=$((SECONDS + 1))
    while [ "$SECONDS" -le "$end" ]; do
        has_children 2
    done
    let_scan_go
    for i in 1 2 3 4; do
        wait_until 15 test -s "$BATS_TEST_TMPDIR/client$i.out"
    done
    # The one of the two stuck clients that got no row of the FIFO may have seen an empty table, which is a 500.
    [ "$(cat "$BATS_TEST_TMPDIR"/client?.out | grep -o 200 | wc -l)" -ge 3 ]
    serves
}

@test "a full table gives up the connection that has waited longest" {
    start_server --max-connections=4
    start idle ns "$PEER" idle 127.0.0.1 9999 8
    wait_until 5 outcome_is evicted 5
    # 8 connections in a table of 4, and one more went for the scrape itself.
    serves
}

@test "a full table gives up a connection of the address that has the most, not the oldest one" {
    other_address 192.0.2.7/32
    start_server --max-connections=8
    # Its head takes two seconds.
    start slow ns sh -c 'printf "GET /metrics HTTP/1.0\r\n\r\n" | "$1" talk 127.0.0.1 9999 piece=9 pause-ms=1000' sh "$PEER"
    wait_until 5 is_connected 127.0.0.1
    start idle ns "$PEER" idle 192.0.2.7 9999 50
    wait_until 5 outcome_is evicted 40
    wait_until 8 grep -q '200 OK' "$BATS_TEST_TMPDIR/slow.out"
}

is_connected() {
    [ -n "$(ns ss -Htn state established "( src $1 and dport = :9999 )")" ]
}

outcome_is() {
    [ "$(outcome "$1")" -ge "$2" ]
}

@test "1,000 connections that say nothing leave no TIME_WAIT and no descriptor" {
    start_server --max-connections=512
    start idle ns "$PEER" idle 127.0.0.1 9999 1000
    wait_until 12 grep -q 'of 1000' "$BATS_TEST_TMPDIR/idle.out"
    [ "$(cat "$BATS_TEST_TMPDIR/idle.out")" = "reset 1000 of 1000" ]
    [ "$(ns cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 06 0')" -le 1 ]
    local held
    held=$(find "/proc/$SERVER_PID/fd" -type l | wc -l)
    [ "$held" -le 9 ] || fail "$held descriptors are open"
    local text
    text=$(scrape)
    [ $(($(metric "$text" metrics_sidecar_connections_total 'outcome="evicted"') + $(
        metric "$text" metrics_sidecar_connections_total 'outcome="timed_out"')))  -eq 1000 ]
}

@test "200 scrapes: every one served, the client closes first, no zombie, no descriptor left" {
    start_server
    local before after
    before=$(find "/proc/$SERVER_PID/fd" -type l | wc -l)
    run ns "$PEER" scrape 127.0.0.1 9999 1 200
    assert_output --partial "answered 200 of 200"
    # TIME_WAIT on our side of a connection has our port as its local one: 9999 is 270F.
    [ "$(ns cat /proc/net/tcp /proc/net/tcp6 | awk '$2 ~ /:270F$/ && $4 == "06"' | wc -l)" -eq 0 ]
    wait_until 3 has_children 0
    all_closed() {
        [ "$(find "/proc/$SERVER_PID/fd" -type l | wc -l)" -eq "$before" ]
    }
    wait_until 4 all_closed
    [ "$(outcome served)" = 200 ]
}

@test "a client that never closes is let go" {
    start_server
    printf 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' | ns "$PEER" talk 127.0.0.1 9999 >"$BATS_TEST_TMPDIR/answer" \
        2>"$BATS_TEST_TMPDIR/end"
    [ "$(cat "$BATS_TEST_TMPDIR/end")" = closed ]
    head -n 1 "$BATS_TEST_TMPDIR/answer" | grep -q '200 OK'
    serves
}

# start_blocking: the server on a socket that another process keeps blocking, with SO_LINGER.
start_blocking() {
    start server ns "$PEER" blocking 9999 "$PROGRAM" --pod-name="$(printf '%0253d' 0)"
    SERVER_PID=$STARTED_PID
    wait_until 5 grep -q 'listen on' "$BATS_TEST_TMPDIR/server.err"
}

@test "a passed socket that another holder keeps blocking: scrapes are answered, SIGTERM ends it" {
    start_blocking
    local i before
    for i in $(seq 20); do
        serves || fail "scrape $i: $(server_log)"
    done
    # Clock ticks of processor time for two seconds without a client: a wait that is cut short must not spin.
    before=$(awk '{ print $14 + $15 }' "/proc/$SERVER_PID/stat")
    local end=$((SECONDS + 3))
    until [ "$SECONDS" -ge "$end" ]; do sleep 0.1; done
    [ $(($(awk '{ print $14 + $15 }' "/proc/$SERVER_PID/stat") - before)) -le 5 ]
    expect_end_within "$SERVER_PID"
}

@test "a passed socket that cannot be made non-blocking: said, and served" {
    start server ns "$PEER" blocking 9999 strace -D -f -qq -o /dev/null -e trace=fcntl -e signal=none \
        -e inject=fcntl:error=EPERM "$PROGRAM"
    wait_until 5 grep -q 'make passed socket non-blocking: Operation not permitted' "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 serves
    serves
}

@test "a passed socket with SO_LINGER: closing a connection waits for no client" {
    start_blocking
    # It has closed its side, and what it does not read stays unsent here: close() would wait for it.
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' >"$BATS_TEST_TMPDIR/request"
    start slow ns sh -c 'exec "$1" talk 127.0.0.1 9999 half-close read-after-ms=8000 <"$2"' sh "$PEER" "$BATS_TEST_TMPDIR/request"
    has_unsent() {
        ns ss -Htn '( sport = :9999 )' | awk '$3 > 0 { found = 1 } END { exit !found }'
    }
    wait_until 5 has_unsent
    [ "$(scrape_status --max-time 4)" = 200 ]
    # And the slow one has it all, later.
    wait_until 12 grep -q closed "$BATS_TEST_TMPDIR/slow.err"
    grep -q '^port_total' "$BATS_TEST_TMPDIR/slow.out"
}

# send_buffer STATE: of the sockets of port 9999 in that state, in bytes, each size once.
send_buffer() {
    ns ss -Htanm state "$1" '( sport = :9999 )' | grep -oE ',tb[0-9]+' | tr -dc '0-9\n' | sort -u
}

# start_long_answers [ARGUMENT...]: the server, with a pod name that is escaped and 100 destinations of IPv6.
start_long_answers() {
    local name rows=() i
    name=$(printf '%0200d"<&\\%049d' 0 0)
    for i in $(seq 100); do
        rows+=("$(printf 'B80D0120EFCDAB8901234567EFCDAB89:%04X B80D0120EFCDAB8901234567EFCDAB%02X:01BB 01' $((33000 + i)) "$i")")
    done
    make_procfs "$BATS_TEST_TMPDIR/procfs"
    proc_table "$BATS_TEST_TMPDIR/procfs/self/net/tcp6" "${rows[@]}"
    start_server "$@" --path.procfs="$BATS_TEST_TMPDIR/procfs" --pod-name="$name" --top-destinations=100
}

# Bytes that the kernel holds for answers that nobody has read.
unread_bytes() {
    ns ss -Htnm state connected '( sport = :9999 )' | grep -oE ',w[0-9]+' | awk '{ n += substr($0, 3) } END { print n + 0 }'
}

@test "answers that nobody reads: the kernel holds 12 MiB of them at most, and the oldest are given up" {
    # bbr has a large send buffer from the start.
    ns_sysctl tcp_congestion_control reno
    start_long_answers
    start unread ns "$ROOT/build/tests/load" unread 127.0.0.1 9999 /metrics 300 300 6 1460 hold
    local end=$((SECONDS + 5)) now most=0
    until [ "$SECONDS" -ge "$end" ]; do
        now=$(unread_bytes)
        most=$((now > most ? now : most))
    done
    serves
    wait_until 5 is_gone "$STARTED_PID"
    echo "# $most bytes at most, $(cat "$BATS_TEST_TMPDIR/unread.out")" >&3
    # One is noted when its process has ended, and some are being written.
    [ "$most" -ge $((10 * 1048576)) ]
    [ "$most" -le $((14 * 1048576)) ]
}

@test "where the kernel cannot say what it holds, each answer that is not read counts as the most" {
    local most=0 now end
    SERVER=strace start_long_answers -D -qq -o /dev/null -e trace=getsockopt -e signal=none -e inject=getsockopt:error=ENOPROTOOPT \
        "$PROGRAM"
    start unread ns "$ROOT/build/tests/load" unread 127.0.0.1 9999 /metrics 100 300 6 1460 hold
    end=$((SECONDS + 5))
    until [ "$SECONDS" -ge "$end" ]; do
        now=$(ns ss -Htn state connected '( sport = :9999 )' | awk '$3 > 0' | wc -l)
        most=$((now > most ? now : most))
    done
    serves
    wait_until 5 is_gone "$STARTED_PID"
    echo "# $most answers at most, $(cat "$BATS_TEST_TMPDIR/unread.out")" >&3
    # Of four times the longest answer, 251 KiB, 12 MiB hold 48; and some are being written.
    [ "$most" -ge 40 ]
    [ "$most" -le 64 ]
}

@test "the send buffer takes four times the longest answer: a pod name that is escaped, 100 destinations of IPv6" {
    local path size buffer
    start_long_answers
    buffer=$(send_buffer listening)
    for path in / /metrics; do
        size=$(ns curl -s -o /dev/null -w '%{size_download} %{size_header}' "http://127.0.0.1:9999$path" | awk '{ print $1 + $2 }')
        echo "# $path: $size bytes, buffer $buffer" >&3
        [ "$size" -gt 30000 ]
        [ "$buffer" -ge $((4 * size)) ]
    done
    [ "$buffer" -le $((8 * size)) ]
}

@test "passed sockets, connections that waited there, and passed connections have that send buffer too" {
    start_server --pod-name=x
    local buffer launcher
    buffer=$(send_buffer listening)
    [ "$buffer" -ge 60000 ]
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    # It starts the program when the first one has come.
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 "$PROGRAM" --pod-name=x
    launcher=$STARTED_PID
    wait_until 5 ns_listens 9999
    start idle ns "$PEER" idle 127.0.0.1 9999 3
    accepted() {
        [ "$(send_buffer "$1")" = "$buffer" ]
    }
    wait_until 5 accepted listening
    wait_until 5 accepted established
    kill "$STARTED_PID" "$launcher"
    wait_until 5 is_gone "$launcher"
    start launcher ns systemd-socket-activate -a -l 127.0.0.1:9999 "$PROGRAM" --pod-name=x
    wait_until 5 ns_listens 9999
    start idle ns "$PEER" idle 127.0.0.1 9999 1
    wait_until 5 accepted established
}

@test "a client that takes nothing, where the kernel gives a small buffer, holds its process for a second" {
    ns_sysctl tcp_congestion_control reno
    start server ns strace -D -f -qq -o /dev/null -e trace=setsockopt -e signal=none -e inject=setsockopt:error=EPERM \
        "$PROGRAM" --pod-name="$(printf '%0253d' 0)"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    wait_until 5 has_children 0
    start unread ns "$ROOT/build/tests/load" unread 127.0.0.1 9999 / 1 100 20 300 hold
    wait_until 5 has_children 1
    wait_until 4 has_children 0
    grep -q 'write response: .*timed out' "$BATS_TEST_TMPDIR/server.err"
}

# start_one_shot ARGUMENT...: for one connection to port 9998.
start_one_shot() {
    # shellcheck disable=SC2016 # expanded by that shell
    start one_shot ns "$PEER" inetd 9998 sh -c 'exec "$@" 2>"$0"' "$BATS_TEST_TMPDIR/one_shot.log" "$PROGRAM" --inetd "$@"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/one_shot.out"
}

one_shot_sockets() {
    ns ss -Htan '( sport = :9998 )' | grep -v '^TIME-WAIT' || true
}

@test "one shot: an answer that is not read does not outlive the process, which ends at its deadline" {
    local manner launcher
    for manner in hold half-close; do
        start_one_shot --timeout=2
        launcher=$STARTED_PID
        start unread ns "$ROOT/build/tests/load" unread 127.0.0.1 9998 / 1 100 20 1460 "$manner"
        # The listening socket goes with the launcher, right after the process.
        wait_until 5 is_gone "$launcher"
        [ -z "$(one_shot_sockets)" ] || fail "$manner: $(one_shot_sockets)"
        kill "$STARTED_PID"
    done
}

@test "one shot: a client that reads late gets the whole answer, also one that has ended its side" {
    local manner
    for manner in whole half-close; do
        start_one_shot --pod-name="$(printf '%0253d' 0)"
        printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' |
            ns "$PEER" talk 127.0.0.1 9998 "$manner" read-after-ms=5000 >"$BATS_TEST_TMPDIR/answer" 2>"$BATS_TEST_TMPDIR/end"
        grep -q '^port_total' "$BATS_TEST_TMPDIR/answer" || fail "$manner"
        grep -qE '^(whole|closed)$' "$BATS_TEST_TMPDIR/end" || fail "$manner: $(cat "$BATS_TEST_TMPDIR/end")"
        wait_until 5 is_gone "$STARTED_PID"
    done
}

@test "a client that neither reads nor closes is let go, by a reset that leaves nothing" {
    start_server
    start lingering ns bash -c 'exec 5<>/dev/tcp/127.0.0.1/9999; printf "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" >&5; exec sleep infinity'
    sockets() {
        ns ss -Htn state "$1" '( sport = :9999 or dport = :9999 )'
    }
    # First this side is closed, because the client may be one that reads to the end.
    half_closed() {
        [ -n "$(sockets fin-wait-2)" ]
    }
    wait_until 5 half_closed
    let_go() {
        [ -z "$(sockets connected)" ]
    }
    wait_until 5 let_go
    [ "$(outcome served)" = 1 ]
}

@test "a client that sends on after its answer is cut off after 1 MiB" {
    start_server
    run ns bash -c 'trap "" PIPE; exec 5<>/dev/tcp/127.0.0.1/9999; printf "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" >&5
        LC_ALL=C dd if=/dev/zero bs=64k count=4096 >&5'
    assert_failure
    # What was sent lies in buffers for the greater part.
    local sent
    sent=$(sed -nE 's/^([0-9]+) bytes .* copied.*/\1/p' <<<"$output")
    echo "# sent: $sent bytes" >&3
    [ "$sent" -gt 1048576 ]
    [ "$sent" -lt $((32 * 1048576)) ]
    serves
}

@test "resident memory of the supervisor in the static build stays below 1 MiB" {
    SERVER=$STATIC_PROGRAM start_server
    run ns "$PEER" scrape 127.0.0.1 9999 1 300
    assert_output --partial "answered 300 of 300"
    local rss
    rss=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$SERVER_PID/status")
    echo "# VmHWM of the static supervisor after 300 scrapes: $rss kB" >&3
    [ "$rss" -lt 1024 ]
}

@test "nothing in the program allocates" {
    run grep -nE '\b(malloc|calloc|realloc|strdup|strndup|asprintf|alloca|getline)\b *\(' "$ROOT"/*.c
    assert_failure
}
