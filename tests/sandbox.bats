#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a process can still do when it reads its first byte from the network, in every way of being started.

load helpers
bats_require_minimum_version 1.5.0

setup() {
    ns_create
    TRACE=$BATS_TEST_TMPDIR/trace
}

teardown() {
    stop_all
}

# assert_confined PID SECONDS: what the kernel says of it; SECONDS of processor time are all that it may spend.
assert_confined() {
    local status
    status=$(cat "/proc/$1/status")
    grep -qE '^NoNewPrivs:\s+1$' <<<"$status"
    grep -qE '^Seccomp:\s+2$' <<<"$status"
    local set
    for set in CapInh CapPrm CapEff CapAmb; do
        grep -qE "^$set:\s+0+$" <<<"$status" || fail "$set: $status"
    done
    local limit
    while read -r limit; do
        grep -qE "^$limit +0 +0 " "/proc/$1/limits" || fail "$limit: $(cat "/proc/$1/limits")"
    done <<<$'Max core file size\nMax processes'
    grep -qE '^Max open files +1 +1 ' "/proc/$1/limits"
    grep -qE "^Max cpu time +$2 +$2 " "/proc/$1/limits" || fail "$(cat "/proc/$1/limits")"
    # What was mapped, and 256 KiB; what was shared is not mapped any more.
    local size allowed
    size=$(awk '{ print $1 * 4096 }' "/proc/$1/statm")
    allowed=$(awk '/^Max address space/ { print $4 }' "/proc/$1/limits")
    [ "$allowed" -ge "$size" ]
    [ "$allowed" -le $((size + 288 * 1024)) ]
}

# The process that has the seccomp filter of a responder: RLIMIT_NPROC is 0.
is_confined() {
    grep -qE '^Max processes +0 ' "/proc/$1/limits"
}

@test "one request on standard input: confined while it waits for the first byte" {
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    exec 7<>"$BATS_TEST_TMPDIR/pipe"
    local build pid
    # shellcheck disable=SC2153 # PROGRAM is of the helpers
    for build in "$PROGRAM" "$STATIC_PROGRAM"; do
        "$build" --inetd <&7 2>"$BATS_TEST_TMPDIR/err" 3>&- 7>&- | cat >"$BATS_TEST_TMPDIR/answer" 3>&- &
        wait_until 5 pgrep -P $$ -f -- "$build --inetd"
        pid=$(pgrep -P $$ -f -- "$build --inetd")
        wait_until 5 is_confined "$pid"
        assert_confined "$pid" 11
        printf 'GET /metrics HTTP/1.0\r\n\r\n' >&7
        wait "$pid" || true
        wait_until 5 grep -q '^port_used' "$BATS_TEST_TMPDIR/answer"
        [ "$(cat "$BATS_TEST_TMPDIR/err")" = "" ]
    done
    exec 7>&-
}

@test "connections of systemd and of inetd: confined while they wait for the first byte" {
    local mode pid
    for mode in '-a' '-a --inetd'; do
        # shellcheck disable=SC2086 # two words
        start launcher ns systemd-socket-activate $mode -l 127.0.0.1:9997 "$PROGRAM"
        wait_until 5 ns_listens 9997
        start client ns "$PEER" idle 127.0.0.1 9997 1
        serving() {
            pid=$(pgrep -P "${STARTED[-2]}")
            is_confined "$pid"
        }
        wait_until 5 serving
        assert_confined "$pid" 11
        kill "${STARTED[-1]}" "${STARTED[-2]}"
        wait_until 5 is_gone "${STARTED[-2]}"
        wait_until 8 is_gone "$pid"
    done
}

@test "a child of the supervisor: confined, and so is the supervisor itself" {
    # A child that is held back at its very end.
    start server ns strace -D -f -o /dev/null -e trace=exit_group -e signal=none \
        -e inject=exit_group:delay_enter=3000000 "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    local child
    child=$(pgrep -P "$SERVER_PID" | head -n 1)
    # It has spent next to nothing on its scan, and has a second left.
    assert_confined "$child" 1
    grep -qE '^NoNewPrivs:\s+1$' "/proc/$SERVER_PID/status"
    grep -qE '^Seccomp:\s+2$' "/proc/$SERVER_PID/status"
    # It shares no memory, and its own connection is all that it has open, where the lowest descriptor is.
    run ! grep -E '^[^ ]+ ...s ' "/proc/$child/maps"
    [ "$(ls "/proc/$child/fd")" = 0 ]
    [[ $(readlink "/proc/$child/fd/0") == socket:* ]]
}

@test "a listening socket on standard input is moved out of the reach of children" {
    start launcher ns systemd-socket-activate --inetd -l 127.0.0.1:9999 "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 ns_listens 9999
    wait_until 5 serves
    local fd
    for fd in 0 1 2; do
        run readlink "/proc/$SERVER_PID/fd/$fd"
        refute_output --partial socket:
    done
    serves
}

# after_first_byte FILE...: the calls behind the one that reads the first bytes of a request, each once; the trace has
# them by process.
after_first_byte() {
    awk '{ pid = $1; call = $2; sub(/\(.*/, "", call) }
        /^[0-9]+ +(read|recvfrom)\([0-9]+, "GET \/[m ]/ && !/MSG_PEEK/ { seen[pid] = 1 }
        seen[pid] && call ~ /^[a-z_0-9]+$/ { print call }' "$@" | sort -u
}

# Nothing is opened, and the filter is in place, before it is read.
assert_order() {
    awk '{ pid = $1 }
        / seccomp\(SECCOMP_SET_MODE_FILTER/ { filters[pid]++ }
        /^[0-9]+ +(read|recvfrom)\([0-9]+, "GET \/[m ]/ && !/MSG_PEEK/ { read[pid] = 1; if (!filters[pid]) bad = "no filter" }
        read[pid] && / (open|openat|socket|landlock_[a-z_]+|execve)\(/ { bad = $0 }
        END { if (bad || !length(read)) { print bad ? bad : "nothing was read"; exit 1 } }' "$@"
}

# The page is served by whoever serves scrapes, and by no call more.
serves_page() {
    [ "$(ns curl -s --max-time 10 --noproxy '*' http://127.0.0.1:9999/ | grep -c '<section')" -eq 7 ]
}

@test "at most 14 distinct calls after the first byte, in every mode, by both sources" {
    local source build mode
    for source in auto procfs; do
        for build in "$PROGRAM" "$STATIC_PROGRAM"; do
            printf 'GET /metrics HTTP/1.0\r\n\r\n' | ns strace -f -s 16 -o "$TRACE.pipe" "$build" --inetd --source=$source >"$BATS_TEST_TMPDIR/answer"
            grep -q ^port_used "$BATS_TEST_TMPDIR/answer"
            printf 'GET / HTTP/1.0\r\n\r\n' | ns strace -f -s 16 -A -o "$TRACE.pipe" "$build" --inetd --source=$source >"$BATS_TEST_TMPDIR/answer"
            [ "$(grep -c '<section' "$BATS_TEST_TMPDIR/answer")" -eq 7 ]
            start server ns strace -D -f -s 16 -o "$TRACE.server" "$build" --source=$source
            wait_until 5 serves
            serves_page
            kill "$STARTED_PID"
            wait_until 5 is_gone "$STARTED_PID"
            assert_order "$TRACE.server"
            run after_first_byte "$TRACE.server"
            echo "# $source, supervisor: ${lines[*]}" >&3
            [ "${#lines[@]}" -le 14 ] && [ "${#lines[@]}" -ge 3 ]
            assert_order "$TRACE.pipe"
            run after_first_byte "$TRACE.pipe"
            echo "# $source, standard input: ${lines[*]}" >&3
            [ "${#lines[@]}" -le 14 ] && [ "${#lines[@]}" -ge 5 ]
        done
        for mode in '-a' '-a --inetd'; do
            # shellcheck disable=SC2086 # two words
            start launcher ns strace -D -f -s 16 -o "$TRACE.systemd" systemd-socket-activate $mode -l 127.0.0.1:9999 \
                "$PROGRAM" --source=$source
            wait_until 5 ns_listens 9999
            wait_until 5 serves
            serves_page
            kill "$STARTED_PID"
            wait_until 5 is_gone "$STARTED_PID"
            assert_order "$TRACE.systemd"
            run after_first_byte "$TRACE.systemd"
            echo "# $source, $mode: ${lines[*]}" >&3
            [ "${#lines[@]}" -le 14 ] && [ "${#lines[@]}" -ge 5 ]
        done
    done
}

# The list of SECURITY.md.
documented_calls() {
    sed -n '/^What a responder can call/,/^$/p' "$ROOT/SECURITY.md" | grep -oE '`[a-z_]+`' | tr -d '`' | sort
}

@test "every other call by its number kills a responder: what does not is in SECURITY.md" {
    run "$ROOT/build/tests/probe" responder
    assert_success
    [ "$(sort <<<"$output")" = "$(documented_calls)" ]
}

@test "the server's filter refuses programs, debugging, writing, namespaces and other sockets" {
    run "$ROOT/build/tests/probe" server
    assert_success
    assert_output --regexp '^3[0-9] tried$'
}

@test "every layer is in place here, and one that is missing is said once, and not the end" {
    run "$ROOT/build/tests/probe" layers
    assert_output $'no_new_privs 0\nrlimits 0\ncapabilities 0\nlandlock 0\nseccomp 0'
    start server ns strace -D -f -o /dev/null -e trace=seccomp,prctl,landlock_create_ruleset,capset -e signal=none \
        -e inject=seccomp,prctl,capset:error=EINVAL -e inject=landlock_create_ruleset:error=ENOSYS "$PROGRAM"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
    serves
    serves
    local layer
    for layer in 'no_new_privs: Invalid argument' 'rlimits: Invalid argument' 'seccomp: Invalid argument' \
        'capabilities: Invalid argument' 'landlock: Function not implemented'; do
        [ "$(grep -c "confine process: $layer" "$BATS_TEST_TMPDIR/server.err")" -eq 1 ] || fail "$(server_log)"
    done
}

@test "where seccomp(2) is refused, the filter is set by prctl(2)" {
    local error build
    for error in ENOSYS EPERM; do
        for build in "$PROGRAM" "$STATIC_PROGRAM"; do
            run without seccomp "$error" "$build" --version
            assert_line --index 1 'sandbox: no_new_privs rlimits capabilities landlock seccomp'
        done
    done
    start server ns strace -D -f -o /dev/null -e trace=seccomp -e signal=none -e inject=seccomp:error=EPERM "$PROGRAM"
    wait_until 5 serves
    serves
    assert_equal "$(server_log)" 'metrics-sidecar: listen on :9999'
    grep -qE '^Seccomp:\s+2$' "/proc/$STARTED_PID/status"
}

# as_user COMMAND...: as whom the program runs in a container, without capabilities.
as_user() {
    setpriv --reuid=65532 --regid=65532 --clear-groups -- "$@"
}

@test "PID 1 and the supervisor: no core file, closed to others of the same user, and measured as ever" {
    require_root "it becomes an ordinary user"
    local source pid
    copy_for_users "$PROGRAM"
    for source in sock_diag procfs; do
        as_pid1_of_user "--source=$source"
        # shellcheck disable=SC2153 # PID1 is of the helpers
        for pid in "$PID1" "$SERVER_PID"; do
            grep -qE '^Max core file size +0 +0 ' "/proc/$pid/limits"
            run as_user cat "/proc/$pid/environ"
            assert_failure
            run as_user head -c 1 "/proc/$pid/mem"
            assert_failure
        done
        run scrape
        assert_line --regexp "^metrics_sidecar_info\\{.*source=\"$source\""
        kill "$PID1"
        wait_until 5 is_gone "$PID1"
    done
}

as_pid1_of_user() {
    start server ns unshare -p --fork --kill-child "$ROOT/build/tests/probe" without nothing "$COPY" "$@"
    wait_until 5 serves
    find_pid1
}

@test "the supervisor reads below procfs and beside the token, and nowhere else" {
    mkdir "$BATS_TEST_TMPDIR/token"
    echo secret >"$BATS_TEST_TMPDIR/token/token"
    cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
    start_server --bearer-token-file="$BATS_TEST_TMPDIR/token/token" --path.procfs="$BATS_TEST_TMPDIR/procfs"
    scrape -H 'Authorization: Bearer secret' | grep -q ^port_used
    # By a link that leads elsewhere, later.
    mkdir "$BATS_TEST_TMPDIR/elsewhere"
    cp "$FIXTURES/idle/self/net/tcp" "$BATS_TEST_TMPDIR/elsewhere/tcp"
    ln -sf "$BATS_TEST_TMPDIR/elsewhere/tcp" "$BATS_TEST_TMPDIR/procfs/self/net/tcp"
    wait_until 5 fails_to_read tcp
    echo other >"$BATS_TEST_TMPDIR/elsewhere/token"
    ln -sf "$BATS_TEST_TMPDIR/elsewhere/token" "$BATS_TEST_TMPDIR/token/token"
    [ "$(scrape_status -H 'Authorization: Bearer other')" = 503 ]
    grep -q 'read bearer token: Permission denied' "$BATS_TEST_TMPDIR/server.err"
}

fails_to_read() {
    scrape -H 'Authorization: Bearer secret' | grep -q "^read self/net/$1: Permission denied"
}

# without CALL ERRNO COMMAND...: run it where that call fails so, as on a kernel that does not have it.
without() {
    strace -f -qq -o /dev/null -e trace="$1" -e signal=none -e inject="$1:error=$2" "${@:3}"
}

@test "--version tells the layers, and which of them are not available" {
    run "$PROGRAM" --version
    assert_line --index 1 'sandbox: no_new_privs rlimits capabilities landlock seccomp'
    [ "${#lines[@]}" -eq 2 ]
    local build
    for build in "$PROGRAM" "$STATIC_PROGRAM"; do
        run without landlock_create_ruleset ENOSYS "$build" --version
        assert_success
        assert_line --index 0 "$("$build" --version | head -n 1)"
        assert_line --index 1 'sandbox: no_new_privs rlimits capabilities seccomp'
        assert_line --index 2 'not available: landlock (Function not implemented)'
    done
}

# one_shot_log COMMAND...: answer one request on standard input, and print what is logged.
one_shot_log() {
    printf 'GET /metrics HTTP/1.0\r\n\r\n' |
        "$@" --inetd --path.procfs="$FIXTURES/idle" >"$BATS_TEST_TMPDIR/answer" 2>"$BATS_TEST_TMPDIR/err"
    grep -q ^port_used "$BATS_TEST_TMPDIR/answer"
    cat "$BATS_TEST_TMPDIR/err"
}

@test "one shot: no line for a layer that the kernel does not have, one for a layer that is refused" {
    local call error
    for error in ENOSYS EOPNOTSUPP; do
        for call in landlock_create_ruleset seccomp prlimit64; do
            run one_shot_log without "$call" "$error" "$PROGRAM"
            assert_success
            assert_output ""
        done
    done
    run one_shot_log without landlock_create_ruleset EPERM "$PROGRAM"
    assert_output 'metrics-sidecar: confine process: landlock: Operation not permitted'
    # By the service manager, for each connection.
    start launcher ns strace -D -f -qq -o /dev/null -e trace=landlock_create_ruleset -e signal=none \
        -e inject=landlock_create_ruleset:error=ENOSYS systemd-socket-activate -a -l 127.0.0.1:9999 "$PROGRAM"
    wait_until 5 ns_listens 9999
    serves
    serves
    refute grep -q 'confine process' "$BATS_TEST_TMPDIR/launcher.err"
}

@test "one shot: no line for sock_diag that the kernel refuses, the figures say their source" {
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >"$BATS_TEST_TMPDIR/request"
    run ns sh -c '"$1" refuse EPROTONOSUPPORT "$2" --inetd <"$3" 2>&1 >"$4"' sh "$PEER" "$PROGRAM" "$BATS_TEST_TMPDIR/request" \
        "$BATS_TEST_TMPDIR/answer"
    assert_success
    assert_output ""
    grep -q '^metrics_sidecar_info{.*source="procfs",launcher="inetd"' "$BATS_TEST_TMPDIR/answer"
}

@test "an answer that goes to a file can be written" {
    printf 'GET /metrics HTTP/1.0\r\n\r\n' | "$PROGRAM" --inetd >"$BATS_TEST_TMPDIR/answer"
    grep -q ^port_used "$BATS_TEST_TMPDIR/answer"
}

@test "the memory bound of SECURITY.md is what the constants come to, and below 64 MiB" {
    run "$ROOT/tests/bounds" "$STATIC_PROGRAM"
    assert_success
    assert_output "$(sed -n '/^| PID 1 and the supervisor: all/,/^| bound/p' "$ROOT/SECURITY.md")"
}

# --- planted code: what a process that is taken over still reaches

PLANTED_PROGRAM=$ROOT/build/tests/planted
PROBE=$ROOT/build/tests/probe
export PLANTED_PROGRAM PROBE # of inner shells

# copy_for_users FILE: where ordinary users reach it, who may not enter the directory of the sources; its name to $COPY.
copy_for_users() {
    COPY=$BATS_TEST_TMPDIR/${1##*/}
    chmod 711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test "${BATS_TEST_TMPDIR%/*}"
    cp "$1" "$COPY"
}

# prepare_attacks: a directory of an ordinary user, and the memory that all of them share.
prepare_attacks() {
    export PLANTED=$BATS_TEST_TMPDIR/shared PLANTED_IN
    mapfile -t ATTACKS < <(PLANTED_DO=list "$PLANTED_PROGRAM")
    PLANTED_IN=$(mktemp -d /tmp/planted.XXXXXX)
    truncate -s 4096 "$PLANTED"
    touch "$PLANTED_IN/secret"
    chmod 666 "$PLANTED"
    chown -R 65532:65532 "$PLANTED_IN"
    copy_for_users "$PLANTED_PROGRAM"
    PLANTED_PROGRAM=$COPY
}

# neighbour ENTER...: the process that is attacked, where the attacker will be.
neighbour() {
    rm -f "$PLANTED_IN/stream" "$PLANTED_IN/datagram"
    start neighbour "$@" env PLANTED_DO=neighbour "$PROBE" without nothing "$PLANTED_PROGRAM"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/neighbour.out"
}

# request ROLE N
request() {
    printf 'GET /%s/%02d HTTP/1.0\r\n\r\n' "$1" "$2"
}

# forget_results: every attack is tried once.
forget_results() {
    printf '.%.0s' {1..64} | dd of="$PLANTED" conv=notrunc status=none
}

# results ROLE: y, n or k (killed) for each attack.
results() {
    local all
    all=$(head -c 64 "$PLANTED")
    [ "$1" = responder ] || all=${all:32}
    all=${all:0:${#ATTACKS[@]}}
    [[ $all != *.* ]] || fail "not all were tried: $1 $all"
    echo "${all//k/n}"
}

# attack PORT ROLE: each over a connection of its own.
attack() {
    local n
    for n in "${!ATTACKS[@]}"; do
        touch "$PLANTED_IN/victim"
        request "$2" "$n" | ns "$PEER" talk 127.0.0.1 "$1" >"$BATS_TEST_TMPDIR/out" 2>&1 || true
    done
}

# The launch modes; each is followed by the layer that is missing.
attack_pipe() {
    local n
    for n in "${!ATTACKS[@]}"; do
        touch "$PLANTED_IN/victim"
        request responder "$n" | ns "$PROBE" without "$1" "$PLANTED_PROGRAM" --inetd >"$BATS_TEST_TMPDIR/out" \
            2>"$BATS_TEST_TMPDIR/err" || true
    done
}

# With the client as standard error, and so with syslog's socket.
attack_inetd() {
    local n
    for n in "${!ATTACKS[@]}"; do
        touch "$PLANTED_IN/victim"
        start inetd ns "$PEER" inetd 9997 "$PROBE" without "$1" "$PLANTED_PROGRAM"
        wait_until 5 ns_listens 9997
        request responder "$n" | ns "$PEER" talk 127.0.0.1 9997 >"$BATS_TEST_TMPDIR/out" 2>&1 || true
        wait_until 5 is_gone "$STARTED_PID"
    done
}

attack_systemd() {
    # Not around the launcher, which sets a limit of its own in each process.
    start launcher ns systemd-socket-activate -a -l 127.0.0.1:9999 -E PLANTED -E PLANTED_IN \
        "$PROBE" without "$1" "$PLANTED_PROGRAM"
    wait_until 5 ns_listens 9999
    attack 9999 responder
    stop_started
}

attack_supervisor() {
    start server ns "$PROBE" without "$1" "$PLANTED_PROGRAM" --web.listen-address=127.0.0.1:9999
    attack_both
}

attack_passed() {
    start server ns "$PROBE" without "$1" systemd-socket-activate -l 127.0.0.1:9999 -E PLANTED -E PLANTED_IN \
        "$PLANTED_PROGRAM"
    attack_both
}

# In a PID namespace of its own, with its neighbour.
attack_pid1() {
    start server ns unshare -p -m --mount-proc --fork --kill-child "$PROBE" without "$1" "$PLANTED_PROGRAM" \
        --web.listen-address=127.0.0.1:9999
    wait_until 5 ns_listens 9999
    local pid1
    pid1=$(pgrep -P "$STARTED_PID")
    kill "${STARTED[1]}" # the neighbour outside
    wait_until 5 is_gone "${STARTED[1]}"
    neighbour nsenter -n -p -m -t "$pid1"
    attack 9999 responder
    attack 9999 supervisor
    kill -KILL "$pid1"
    wait_until 5 is_gone "$pid1"
}

attack_both() {
    wait_until 5 ns_listens 9999
    attack 9999 responder
    attack 9999 supervisor
    stop_started
}

stop_started() {
    kill "$STARTED_PID"
    wait_until 5 is_gone "$STARTED_PID"
}

# reach MODE LAYER: into REACHED, by class of processes: o one-shot, r responder of the supervisor, s supervisor.
reach() {
    local class=o found
    forget_results
    neighbour "${NS_ENTER[@]}" --
    "attack_$1" "$2"
    kill "${STARTED[-1]}" 2>/dev/null || true
    stop_all_but_namespace
    case $1 in supervisor | passed | pid1)
        class=r
        found=$(results supervisor)
        note s "$1" "$2" "$found"
        ;;
    esac
    found=$(results responder)
    note "$class" "$1" "$2" "$found"
}

stop_all_but_namespace() {
    local namespace=${STARTED[0]}
    STARTED=("${STARTED[@]:1}")
    stop_all
    STARTED=("$namespace")
}

# note CLASS MODE LAYER RESULTS: what succeeds in one mode of a class counts.
note() {
    echo "# without $3, $1 by $2: $4" >&3
    local n known=${REACHED[$1 $3]:-$4} both=
    for n in "${!ATTACKS[@]}"; do
        [[ ${4:$n:1}${known:$n:1} == *y* ]] && both+=y || both+=n
    done
    REACHED[$1 $3]=$both
}

# The table of SECURITY.md.
print_reached() {
    local n layer class cell
    for n in "${!ATTACKS[@]}"; do
        printf '| %s |' "${ATTACKS[$n]}"
        for layer in nothing no_new_privs rlimits capabilities landlock seccomp; do
            cell=
            for class in o r s; do
                [ "${REACHED[$class $layer]:$n:1}" != y ] || cell+=$class
            done
            printf ' %s |' "${cell:--}"
        done
        echo
    done
}

documented_reach() {
    sed -n '/^| attack | nothing missing/,/^$/p' "$ROOT/SECURITY.md" | sed -e 1,2d -e '/^$/d'
}

# reach_without LAYER: in every launch mode, in a namespace and a directory of their own.
reach_without() {
    local mode key
    STARTED=()
    BATS_TEST_TMPDIR=$BATS_TEST_TMPDIR/$1
    mkdir -m 711 "$BATS_TEST_TMPDIR"
    prepare_attacks
    ns_create
    for mode in pipe inetd systemd supervisor passed pid1; do
        reach "$mode" "$1"
    done
    rm -r "$PLANTED_IN"
    for key in "${!REACHED[@]}"; do
        echo "$key=${REACHED[$key]}"
    done >"$BATS_TEST_TMPDIR/reached"
}

# Most of the time is spent waiting for processes to start and to end, so the layers go side by side.
@test "planted code, in every launch mode, without each layer in turn: what succeeds is the table of SECURITY.md" {
    require_root "it becomes an ordinary user without capabilities, whom nothing but the layers stops"
    declare -A REACHED
    local layer key value pid pids=()
    for layer in nothing no_new_privs rlimits capabilities landlock seccomp; do
        (
            trap stop_all EXIT
            reach_without "$layer"
        ) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid"
    done
    while IFS='=' read -r key value; do
        REACHED[$key]=$value
    done < <(cat "$BATS_TEST_TMPDIR"/*/reached)
    mapfile -t ATTACKS < <(PLANTED_DO=list "$PLANTED_PROGRAM")
    run print_reached
    assert_output "$(documented_reach)"
}
