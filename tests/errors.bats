#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Every error: its reason reaches the client and the log, from a confined process too, in which the C library must
# neither allocate nor make a call that the filter does not know. Each is tried with both C libraries, and again with a
# malloc() that ends a confined process.

load helpers
bats_require_minimum_version 1.5.0

PROGRAMS=("$PROGRAM" "$STATIC_PROGRAM" "${NOALLOC:-$ROOT/build/tests/noalloc}" "${NOALLOC_STATIC:-$ROOT/build/tests/noalloc-static}")

teardown() {
    stop_all
}

# The tables, their fields between " :: ". A reason is an extended regular expression; where the C libraries have words of their own, both are there.

# What is done to the directory of a procfs; the reason of the 500, which the log has as well.
figures_table() {
    cat <<'TABLE'
rm -r ../procfs                                            :: read procfs: No such file or directory
rm -r ../procfs; touch ../procfs                           :: read procfs: Not a directory
rm -r *                                                    :: read sys/net/ipv4/ip_local_port_range: No such file or directory
cd sys/net/ipv4; rm *range; mkdir ip_local_port_range      :: read sys/net/ipv4/ip_local_port_range: Is a directory
cd sys/net/ipv4; rm *range; ln -s {,./}ip_local_port_range :: read sys/net/ipv4/ip_local_port_range: (Too many levels of symbolic links|Symbolic link loop)
cd sys/net/ipv4; : >ip_local_port_range                    :: read sys/net/ipv4/ip_local_port_range: not in the format the kernel writes
cd sys/net/ipv4; echo 2 1 >ip_local_port_range             :: read sys/net/ipv4/ip_local_port_range: not in the format the kernel writes
cd sys/net/ipv4; rm ip_local_reserved_ports                :: read sys/net/ipv4/ip_local_reserved_ports: No such file or directory
cd sys/net/ipv4; echo x >ip_local_reserved_ports           :: read sys/net/ipv4/ip_local_reserved_ports: not in the format the kernel writes
cd sys/net/ipv4; echo x >tcp_tw_reuse                      :: read sys/net/ipv4/tcp_tw_reuse: not in the format the kernel writes
cd sys/net/ipv4; echo x >tcp_tw_reuse_delay                :: read sys/net/ipv4/tcp_tw_reuse_delay: not in the format the kernel writes
cd sys/net/ipv4; echo x >tcp_timestamps                    :: read sys/net/ipv4/tcp_timestamps: not in the format the kernel writes
rm self/net/tcp                                            :: read self/net/tcp: No such file or directory
rm self/net/tcp; mkdir self/net/tcp                        :: read self/net/tcp: Is a directory
echo torn >self/net/tcp                                    :: read self/net/tcp: not in the format the kernel writes
echo torn >self/net/tcp6                                   :: read self/net/tcp6: not in the format the kernel writes
rm self/net/udp; mkdir self/net/udp                        :: read self/net/udp: Is a directory
echo torn >self/net/udp6                                   :: read self/net/udp6: not in the format the kernel writes
rm self/net/tcp; mkfifo self/net/tcp                       :: read self/net/tcp: deadline passed
TABLE
}

# Arguments; the request, in a format of printf; the status of the response, and the reason in its content and in the
# log, each "-" when there is none.
requests_table() {
    cat <<'TABLE'
                              :: nonsense\r\n\r\n                      :: 400 :: Bad Request                                                           :: -
                              :: GET /metrics HTTP/1.1\r\n\r\n         :: 400 :: Bad Request                                                           :: -
                              :: GET /metrics HTTP/1.0\r\n             :: 400 :: Bad Request                                                           :: -
                              :: GET /nowhere HTTP/1.0\r\n\r\n         :: 404 :: Not Found                                                             :: -
                              :: POST /metrics HTTP/1.0\r\n\r\n        :: 405 :: Method Not Allowed                                                    :: -
                              :: GET /%017000d HTTP/1.0\r\n            :: 414 :: URI Too Long                                                          :: -
                              :: GET / HTTP/1.0\r\nX: %017000d\r\n\r\n :: 431 :: Request Header Fields Too Large                                       :: -
                              :: GET /metrics HTTP/2.0\r\n\r\n         :: 505 :: HTTP Version Not Supported                                            :: -
--timeout=1                   :: WAIT                                  :: 408 :: Request Timeout                                                       :: -
--bearer-token-file=token     :: GET /metrics HTTP/1.0\r\n\r\n         :: 401 :: Unauthorized                                                          :: -
--bearer-token-file=none      :: GET /metrics HTTP/1.0\r\n\r\n         :: 503 :: Service Unavailable                                                   :: read bearer token: No such file or directory: every request gets 503
--bearer-token-file=          :: GET / HTTP/1.0\r\n\r\n                :: 503 :: Service Unavailable                                                   :: read bearer token: No such file or directory: every request gets 503
--bearer-token-file=directory :: GET / HTTP/1.0\r\n\r\n                :: 503 :: Service Unavailable                                                   :: read bearer token: Is a directory: every request gets 503
--bearer-token-file=token/x   :: GET /metrics HTTP/1.0\r\n\r\n         :: 503 :: Service Unavailable                                                   :: read bearer token: Not a directory: every request gets 503
--bearer-token-file=empty     :: GET /metrics HTTP/1.0\r\n\r\n         :: 503 :: Service Unavailable                                                   :: read bearer token: empty: every request gets 503
--bearer-token-file=long      :: GET /metrics HTTP/1.0\r\n\r\n         :: 503 :: Service Unavailable                                                   :: read bearer token: longer than a token may be: every request gets 503
--bearer-token-file=blank     :: GET /metrics HTTP/1.0\r\n\r\n         :: 503 :: Service Unavailable                                                   :: read bearer token: not a token: bytes other than visible ASCII: every request gets 503
--netns-file=none             :: GET /metrics HTTP/1.0\r\n\r\n         :: 500 :: measure network namespace none: deleted                               :: measure network namespace none: deleted
--netns-file=token            :: GET / HTTP/1.0\r\n\r\n                :: 500 :: measure network namespace token: replaced by another one of that name :: measure network namespace token: replaced by another one of that name
--netns-file=token/x          :: GET /metrics HTTP/1.0\r\n\r\n         :: 500 :: measure network namespace token/x: Not a directory                    :: measure network namespace token/x: Not a directory
TABLE
}

# Calls that fail, by strace; arguments; the status of the response, the reason in its content, and that in the log.
calls_table() {
    cat <<'TABLE'
socket:error=EPROTONOSUPPORT        :: --source=sock_diag :: 500 :: read sock_diag: Protocol not supported                 :: read sock_diag: Protocol not supported
socket:error=524                    :: --source=sock_diag :: 500 :: read sock_diag: error 524                              :: read sock_diag: error 524
filter:sendto:EACCES                :: --source=sock_diag :: 500 :: read sock_diag: Permission denied                      :: read sock_diag: Permission denied
filter:sendto:ENOBUFS               :: --source=sock_diag :: 500 :: read sock_diag: No buffer space available              :: read sock_diag: No buffer space available
filter:sendto:4095                  :: --source=sock_diag :: 500 :: read sock_diag: error 4095                             :: read sock_diag: error 4095
filter:recvfrom:ENOMEM              :: --source=sock_diag :: 500 :: read sock_diag: (Cannot allocate memory|Out of memory) :: read sock_diag: (Cannot allocate memory|Out of memory)
filter:recvfrom:EAGAIN              :: --source=sock_diag :: 500 :: read sock_diag: interrupted at every try               :: read sock_diag: interrupted at every try
prctl:error=EPERM                   :: --source=procfs    :: 200 :: -                                                      :: confine process: no_new_privs: Operation not permitted
prlimit64:error=EPERM               :: --source=procfs    :: 200 :: -                                                      :: confine process: rlimits: Operation not permitted
capget,capset:error=EPERM           :: --source=procfs    :: 200 :: -                                                      :: confine process: capabilities: Operation not permitted
landlock_create_ruleset:error=EPERM :: --source=procfs    :: 200 :: -                                                      :: confine process: landlock: Operation not permitted
landlock_restrict_self:error=E2BIG  :: --source=sock_diag :: 200 :: -                                                      :: confine process: landlock: Argument list too long
seccomp,prctl:error=EINVAL          :: --source=procfs    :: 200 :: -                                                      :: confine process: seccomp: Invalid argument
TABLE
}

# Where the request comes from and where the response goes to, in the words of a shell; the status of the process, and
# the reason in the log. There is no response.
streams_table() {
    cat <<'TABLE'
<directory               :: 1 :: read request: Is a directory
<&-                      :: 1 :: read request: Bad file descriptor
<request >/dev/full      :: 1 :: write response: No space left on device
<request >&-             :: 1 :: write response: Bad file descriptor
<request >&7             :: 1 :: write response: Broken pipe
<request >&8 --timeout=1 :: 1 :: write response: (Connection|Operation) timed out
TABLE
}

# Calls that fail in the supervisor and in its processes, as strace has them, and its arguments; what is done to it; what
# the log then has; and whether it serves on, goes on without a 200, or ends.
server_table() {
    cat <<'TABLE'
accept4:error=ENFILE:when=1..3                    ::                                 :: scrapes :: accept connection: Too many open files in system                                              :: serves
accept4:error=524:when=1..3                       ::                                 :: scrapes :: accept connection: error 524                                                                  :: serves
epoll_create1:error=EMFILE:when=1..2              ::                                 :: waits   :: create epoll: (Too many open files|No file descriptors available)                             :: serves
epoll_ctl:error=ENOSPC:when=1..2                  ::                                 :: waits   :: watch :9999: No space left on device                                                          :: serves
epoll_ctl:error=ENOSPC:when=2..3                  ::                                 :: scrapes :: watch connection: No space left on device                                                     :: serves
epoll_pwait:error=ENOMEM:when=1..3                ::                                 :: waits   :: wait for events: (Cannot allocate memory|Out of memory)                                       :: serves
epoll_pwait:error=4095:when=1..3                  ::                                 :: waits   :: wait for events: error 4095                                                                   :: serves
socket:error=ENFILE:when=1..2                     ::                                 :: waits   :: listen on :9999: Too many open files in system                                                :: serves
bind:error=ENODEV:when=1..2                       ::                                 :: waits   :: listen on :9999: No such device: tried again, without another line                            :: serves
bind:error=EACCES:when=1..2                       ::                                 :: waits   :: listen on :9999: Permission denied                                                            :: serves
recvfrom:error=ENOMEM:when=1                      ::                                 :: scrapes :: look at connection: (Cannot allocate memory|Out of memory)                                    :: serves
clone,?clone3,?fork,?vfork:error=EAGAIN:when=1..2 ::                                 :: scrapes :: start process: Resource temporarily unavailable                                               :: serves
landlock_create_ruleset:error=ENOSYS              ::                                 :: waits   :: confine process: landlock: Function not implemented                                           :: serves
seccomp,prctl:error=EINVAL                        ::                                 :: waits   :: confine process: seccomp: Invalid argument                                                    :: serves
limit:64:64                                       :: --max-connections=128           :: waits   :: raise descriptor limit to [0-9]+: only 64 allowed                                             :: serves
passed:?fcntl,?fcntl64:error=EPERM                ::                                 :: scrapes :: make passed socket non-blocking: Operation not permitted                                      :: serves
?fcntl,?fcntl64:error=ENOLCK:when=1+              ::                                 :: scrapes :: share figures: No locks available: measured again                                             :: serves
filter:sendto:EPIPE                               :: --source=procfs                 :: scrapes :: write response: Broken pipe                                                                   :: stays
filter:sendto:ELOOP                               :: --source=procfs                 :: scrapes :: write response: unusual error                                                                 :: stays
filter:sendto:EPERM                               :: --source=sock_diag              :: scrapes :: read sock_diag: Operation not permitted                                                       :: stays
refuse:EPROTONOSUPPORT                            :: --source=auto                   :: scrapes :: read sock_diag: Protocol not supported: reading procfs instead                                :: serves
NOTHING                                           :: --path.procfs=directory         :: scrapes :: read sys/net/ipv4/ip_local_port_range: No such file or directory                              :: stays
NOTHING                                           :: --path.procfs=torn              :: scrapes :: read self/net/tcp: not in the format the kernel writes                                        :: stays
NOTHING                                           :: --bearer-token-file=none        :: scrapes :: read bearer token: No such file or directory: every request gets 503                          :: stays
NOTHING                                           :: --netns-file=lost               :: loses   :: measure network namespace lost: deleted: ending                                               :: ends
NOTHING                                           :: --path.procfs=stuck --timeout=1 :: scrapes :: read self/net/tcp: deadline passed                                                            :: stays
NOTHING                                           :: --path.procfs=stuck --timeout=3 :: stops   :: answer connection: deadline passed                                                            :: stays
NOTHING                                           :: --path.procfs=stuck             :: crashes :: answer connection: process killed by signal 11                                                :: stays
NOTHING                                           :: --path.procfs=stuck             :: crashes :: start supervisor with new addresses: not the child of our PID 1: crashes are slowed down only :: stays
TABLE
}

# --- one connection

# each_row TABLE: its rows, the fields between unit separators.
each_row() {
    "$1" | sed -E 's/ *:: +/\x1f/g'
}

# expect_response STATUS REASON|-: what ./answer has, "-" for a 200 without one; and REASON|- of ./log, which has no more
# lines than that but for other layers of the sandbox.
expect_response() {
    local where
    where="$4: $(cat answer log)"
    [[ $(head -n 1 answer) == "HTTP/1.1 $1 "* ]] || fail "not a $1: $where"
    [ "$2" = - ] || tr -d '\r' <answer | tail -n 1 | grep -qxE "$2" || fail "not in the content: $2: $where"
    if [ "$3" = - ]; then
        [ ! -s log ] || fail "logged: $where"
    else
        grep -qxE "metrics-sidecar: $3" log || fail "not in the log: $3: $where"
    fi
}

prepare_files() {
    cd "$BATS_TEST_TMPDIR" || return
    mkdir directory
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >request
    printf 'secret\n' >token
    printf '%09000d' 1 >long
    printf 'two words\n' >blank
    : >empty
}

@test "one connection: what is wrong with procfs is in the 500 and in the log" {
    prepare_files
    local program deed reason row rows
    mapfile -t rows < <(each_row figures_table)
    for row in "${rows[@]}"; do
        IFS=$'\x1f' read -r deed reason <<<"$row"
        for program in "${PROGRAMS[@]}"; do
            rm -rf procfs
            cp -r "$FIXTURES/idle" procfs
            (cd procfs && eval "$deed")
            run --separate-stderr "$program" --inetd --path.procfs=procfs --timeout=1 <request
            [ "$status" -eq 0 ] || fail "$program: $deed: status $status"
            echo "$output" >answer
            echo "$stderr" >log
            expect_response 500 "$reason" "$reason" "$program: $deed"
        done
    done
    [ "${#rows[@]}" -eq 19 ]
}

# send FORMAT: the request, or half of one and no end.
send() {
    if [ "$1" = WAIT ]; then
        printf 'GET /'
        wait_until 5 test -s answer
    else
        # shellcheck disable=SC2059 # a format
        printf "$1" 0
    fi
}

@test "one connection: every status has its reason in the content, and what is not the client's fault is in the log" {
    prepare_files
    local program arguments request status reason said row rows
    mapfile -t rows < <(each_row requests_table)
    for row in "${rows[@]}"; do
        IFS=$'\x1f' read -r arguments request status reason said <<<"$row"
        for program in "${PROGRAMS[@]}"; do
            : >answer
            # shellcheck disable=SC2086 # no argument, or one
            send "$request" | "$program" --inetd --path.procfs="$FIXTURES/idle" $arguments >answer 2>log ||
                fail "$program: $arguments $request: status $?"
            expect_response "$status" "$reason" "$said" "$program: $arguments $request"
        done
    done
    [ "${#rows[@]}" -eq 20 ]
}

# where CALLS: in BEFORE, what stands before a command whose calls fail so: "CALL,CALL:error=ERROR:when=WHEN" by strace,
# "filter:CALL:ERROR" for a call behind the filter of a confined process, "refuse:ERROR" for sock_diag, "passed:" for
# calls on a listening socket that is passed, "limit:SOFT:HARD" for descriptors, or NOTHING.
where() {
    local call error
    IFS=: read -r _ call error <<<"$1"
    case $1 in
    NOTHING) BEFORE=() ;;
    filter:*) BEFORE=("$PEER" fail "$call" "$error") ;;
    refuse:*) BEFORE=("$PEER" refuse "$call") ;;
    limit:*) BEFORE=(prlimit --nofile="$call:$error") ;;
    passed:*) BEFORE=("$PEER" blocking 9999 strace -D -f -qq -o /dev/null -e signal=none -e inject="$call:$error") ;;
    *) BEFORE=(strace -D -f -qq -o /dev/null -e trace="${1%%:*}" -e signal=none -e inject="$1") ;;
    esac
}

@test "one connection: a call that fails, before the first byte and behind it" {
    ns_create
    prepare_files
    local program calls arguments status reason said row rows
    mapfile -t rows < <(each_row calls_table)
    for row in "${rows[@]}"; do
        IFS=$'\x1f' read -r calls arguments status reason said <<<"$row"
        where "$calls"
        for program in "${PROGRAMS[@]}"; do
            ns "${BEFORE[@]}" "$program" --inetd "$arguments" <request >answer 2>log ||
                fail "$program: $calls: status $?: $(cat log)"
            expect_response "$status" "$reason" "$said" "$program: $calls"
        done
    done
    [ "${#rows[@]}" -eq 13 ]
}

@test "one connection: what cannot be read or written is in the log, and the status is 1" {
    prepare_files
    mkfifo left full
    # Who reads from one pipe has left; the other is full.
    # shellcheck disable=SC2094 # a pipe
    exec 6<>left 7>left 6<&- 8<>full
    dd if=/dev/zero of=full oflag=nonblock bs=4096 count=1000 2>/dev/null || true
    local program streams status reason r row rows
    mapfile -t rows < <(each_row streams_table)
    for row in "${rows[@]}"; do
        IFS=$'\x1f' read -r streams status reason <<<"$row"
        for program in "${PROGRAMS[@]}"; do
            r=0
            eval '"$program" --inetd --path.procfs="$FIXTURES/idle" 2>log >answer' "$streams" || r=$?
            [ "$r" -eq "$status" ] || fail "$program: $streams: status $r: $(cat log)"
            [ ! -s answer ] || fail "$program: $streams: $(cat answer)"
            grep -qxE "metrics-sidecar: $reason" log || fail "$program: $streams: $(cat log)"
        done
    done
    exec 7>&- 8>&-
    [ "${#rows[@]}" -eq 6 ]
}

@test "one connection: a log that takes nothing keeps no reason from the client" {
    prepare_files
    mkfifo full
    exec 8<>full
    dd if=/dev/zero of=full oflag=nonblock bs=4096 count=1000 2>/dev/null || true
    local program log
    for program in "${PROGRAMS[@]}"; do
        for log in '2>&-' '2>/dev/full' '2>&8' '2<directory'; do
            eval '"$program" --inetd --path.procfs=empty <request >answer' "$log"
            tr -d '\r' <answer | grep -qx 'read procfs: Not a directory' || fail "$program: $log: $(cat answer)"
        done
    done
    exec 8>&-
}

@test "one connection, standard error is the client: the reason is in the system log" {
    ns_create
    prepare_files
    mkdir dev
    touch dev/null
    local program
    for program in "${PROGRAMS[@]}"; do
        start syslog "$PEER" receive "$BATS_TEST_TMPDIR/dev/log"
        wait_until 5 test -S dev/log
        start inetd ns "$PEER" inetd 9998 unshare -m \
            sh -c 'mount --bind /dev/null dev/null && mount --rbind dev /dev && exec "$@"' \
            sh "$program" --inetd --path.procfs=empty --bearer-token-file=token/x
        wait_until 5 grep -q ready inetd.out
        ns "$PEER" talk 127.0.0.1 9998 <request >answer 2>/dev/null
        [[ $(head -n 1 answer) == "HTTP/1.1 503 Service Unavailable"* ]] || fail "$program: $(cat answer inetd.out)"
        wait_until 5 grep -q 'metrics-sidecar\[[0-9]*\]: read bearer token: Not a directory: every request gets 503' syslog.out
        kill "${STARTED[@]:1}"
        rm dev/log
    done
}

@test "every error number has its text in a confined process, and one without a text its number" {
    run "$ROOT/build/tests/probe" errors
    assert_success
    assert_line '2 No such file or directory'
    assert_line '4095 error 4095'
    diff <(echo "$output") - < <(python3 - <<'PYTHON'
import os
for error in range(1, 4096):
    print(error, os.strerror(error).replace("Unknown error", "error"))
PYTHON
    )
}

@test "--version, confined by then, says why a layer is missing" {
    local program error reason
    for program in "${PROGRAMS[@]}"; do
        while read -r error reason; do
            run strace -qq -o /dev/null -e trace=landlock_create_ruleset -e signal=none \
                -e inject=landlock_create_ruleset:error="$error" "$program" --version
            assert_success
            assert_line --index 2 "not available: landlock ($reason)"
        done <<'ERRORS'
EPERM Operation not permitted
ENOSYS Function not implemented
524 error 524
ERRORS
    done
}

# --- the supervisor and its processes

# What is done to a server.
waits() {
    :
}

scrapes() {
    scrape_status >scraped
}

loses() {
    wait_until 5 is_gone "$SERVER_PID"
}

stops() {
    start_client one
    wait_until 5 has_children 1
    kill -STOP "$(children)"
}

crashes() {
    crash_three
}

# How it goes on.
stays() {
    refute is_gone "$SERVER_PID"
}

ends() {
    wait "$SERVER_PID"
}

@test "the supervisor: what fails is in the log, and it goes on" {
    prepare_files
    cp -r "$FIXTURES/idle" torn
    echo torn >torn/self/net/tcp
    make_stuck_procfs
    local program calls arguments deed reason end row rows
    mapfile -t rows < <(each_row server_table)
    for row in "${rows[@]}"; do
        IFS=$'\x1f' read -r calls arguments deed reason end <<<"$row"
        where "$calls"
        for program in "${PROGRAMS[@]:2}"; do
            ns_create
            # shellcheck disable=SC2086 # arguments
            start server ns "${BEFORE[@]}" "$program" $arguments
            SERVER_PID=$STARTED_PID
            wait_until 10 grep -q 'listen on\|ending' server.err
            "$deed"
            wait_until 10 grep -qxE "metrics-sidecar: $reason( \(.*\))?" server.err ||
                fail "$program: $calls $arguments: not in the log: $reason: $(server_log)"
            wait_until 10 "$end" || fail "$program: $calls $arguments: not so: $end: $(server_log)"
            stop_all
        done
    done
    [ "${#rows[@]}" -eq 29 ]
}

# --- and these are all

# Each message of the program, and where it is provoked: in a "table" above, or else why not.
messages() {
    cat <<'MESSAGES'
%s :: the reason of a response, and what is wrong with the options, which is said before anything is confined
%s; see --help :: an error of usage, which ends the program before anything is confined
%s: %s :: one of the actions below
accept connection: %s :: table
accept connections: process ended with status %d: started again :: by PID 1, which is not confined
accept connections: process killed by signal %d: started again :: by PID 1
allocate connection table: %s :: by mmap(), which fails in tests/torture.c: how many come before differs between C libraries
answer connection: deadline passed :: table
answer connection: process killed by signal %d :: table
confine process: %s: %s :: table
confine process: seccomp :: table
connect to service manager: %s :: before anything is confined, and by PID 1
create epoll: %s :: table
list inherited descriptors: more than %d: the others are closed by close_range() or not at all :: before anything is confined
listen on %s :: no error
listen on %s: %s :: table
listen on %s: %s: tried again, without another line :: table
listen on port %u: it lies in the local port range; reserve it in net.ipv4.ip_local_reserved_ports :: before anything is confined
look at connection: %s :: table
make passed socket non-blocking: %s :: table
measure network namespace %.128s: %s :: table
measure network namespace %s: %s: ending :: table
measure network namespace: not the one that the client connected to :: needs a socket of another namespace, which tests/netns.bats has; no error is in it
only one of --inetd, --print and --report :: an error of usage
prepare other addresses for each supervisor: %s: all have the same :: by PID 1
raise descriptor limit to %zu: only %llu allowed :: table
read %s: %s :: table
read bearer token: %s: every request gets 503 :: table
read request :: table
read sock_diag: %s: reading procfs instead :: table
render figures :: the buffer has room for the longest answer there is; the sum is in answer.h
render figures: longer than %zu bytes :: the same
share figures: %s: each request measures :: before anything is confined
share figures: %s: measured again :: table
start process: %s :: table
start supervisor with new addresses: exec /proc/self/exe: %s: same addresses :: by PID 1
start supervisor with new addresses: %s: crashes are slowed down only :: table
start supervisor with new addresses: processes crashed :: below PID 1, by tests/supervisor.bats; no error is in it
take passed sockets: %d of %d are not listening stream sockets, or more than %d: closed :: before anything is confined
take passed sockets: %s :: before anything is confined
take passed sockets: LISTEN_PID is not this process: ignored :: before anything is confined
use %s=%.64s: %s: %s used :: before anything is confined
use --idle-exit: only with passed sockets: ignored :: before anything is confined
use METRICS_SIDECAR_SOURCE=sock_diag: another procfs than /proc is read as files only: procfs used :: before anything is confined
wait for events: %s :: table
watch %s: %s :: table
watch connection: %s :: table
write metrics: %s :: by a mode that confines nothing
write report: %s :: by a mode that confines nothing
write response :: table
MESSAGES
}

# The messages in the sources, each once.
messages_of_sources() {
    cd "$ROOT" || return
    {
        cat ./*.c | tr '\n' ' ' | sed -E 's/"[[:space:]]+"//g; s/" DEFAULT_PROCFS "/\/proc/g' |
            grep -oE '(log_message(_once)?\(|buf_printf\([[:space:]]*reason,)[[:space:]]*"[^"]*"'
        grep -E '\[FAILURE_[A-Z]+\] = \{ "' metrics-sidecar.c
    } | sed -E 's/^[^"]*"([^"]*)".*/\1/' | sort -u
}

# The rows of all tables.
rows_of_all() {
    local table
    for table in figures_table requests_table calls_table streams_table server_table; do
        each_row "$table" | tr '\037' ' '
    done
}

@test "each message of the program is in a table, or it is said why not" {
    local message rows
    diff <(messages | sed 's/ :: .*//' | sort) <(messages_of_sources | grep -vxE 'empty|longer than %d bytes|more than %d addresses|not .*|%s %s')
    rows=$(rows_of_all)
    while read -r message; do
        # shellcheck disable=SC2001 # an expression
        grep -qE "(^| )$(sed 's/%[.0-9]*[a-z]*/.+/g' <<<"$message")" <<<"$rows" || fail "in no table: $message"
    done < <(messages | sed -n 's/ :: table$//p')
}

# --- the C library

# calls_of DIRECTORY: what its objects need of the C library, "FUNCTION MODULE".
calls_of() {
    nm -A "$1"/*.o | awk '{ module = $1; sub(/[.]o:.*/, "", module); sub(/.*[/]/, "", module) }
        $2 ~ /^[Uwv]$/ { needed[$3 " " module]; next }
        { defined[$3] } # by the program itself
        END { for (need in needed) { split(need, part, " "); if (!(part[1] in defined)) print need } }' |
        sed -E 's/^__//; s/^_GLOBAL/GLOBAL/; s/^([^ ]+)_chk /\1 /; s/^([^ ]+[^ 0-9])64 /\1 /; s/^([^ ]+)_time /\1 /'
}

# allowed_calls MODULE...: what the list has, "FUNCTION MODULE"; "*" is each of those.
allowed_calls() {
    local functions modules function module
    while IFS=: read -r functions modules _; do
        [ "$modules" != ' *' ] || modules=$*
        for function in ${functions/musl@/}; do
            for module in $modules; do
                echo "$function $module"
            done
        done
    done < <(grep -v '^#\|^$' "$ROOT/tests/libc.txt" | sed 's/^musl:/musl@/')
}

@test "the program calls nothing of either C library but what is listed with a reason, and where" {
    local dynamic static=$ROOT/build/static-systemd0
    # shellcheck disable=SC2012 # names of ours
    dynamic=$(dirname "$(ls -t "$ROOT"/build/dynamic-systemd*/metrics-sidecar | head -n 1)")
    cd "$BATS_TEST_TMPDIR" || return
    calls_of "$dynamic" | sort -u >called
    calls_of "$static" | sort -u >called-static
    # shellcheck disable=SC2046 # words
    allowed_calls $(basename -s .c "$ROOT"/*.c) | sort -u >allowed
    run comm -23 <(sort -u called called-static) allowed
    assert_output ""
    grep -qx 'snprintf util' called
    grep -qx 'snprintf util' called-static
    # Of glibc nothing that is listed for the other one, and nothing is listed that nobody calls.
    run comm -12 <(cut -d ' ' -f 1 called | sort -u) <(sed -n 's/^musl:\([a-z]*\):.*/\1/p' "$ROOT/tests/libc.txt" | sort)
    assert_output ""
    run comm -13 <(cut -d ' ' -f 1 called called-static | sort -u) <(cut -d ' ' -f 1 allowed | sort -u)
    assert_output ""
}

# %m and %n, wide characters and positions have the C library do more than write digits and copy bytes; of fractions only
# the report has one, and it is written by a process that is not confined.
@test "the program formats nothing but numbers and bytes" {
    run bash -c 'cd "$1" && sed "s/%%//g" ./*.c | grep -oE "%[-+#0]*([0-9]+|[*])?([.]([0-9]+|[*]))?(hh|h|ll|l|j|z|t|[0-9]+[$])?[A-Za-z]" |
        sed -E "s/[-+#0-9.*]//g" | sort -u' bash "$ROOT"
    assert_output $'%c\n%d\n%f\n%llu\n%s\n%u\n%zu'
    run grep -lE '%[.0-9*]*f' "$ROOT"/*.c
    assert_output "$ROOT/report.c"
}
