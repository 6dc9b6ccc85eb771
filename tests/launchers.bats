#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Every way to start the program: the launcher is the real one, its configuration the one that is installed, and
# the answer always the same.

bats_require_minimum_version 1.5.0
load helpers

PREFIX_UNDER_TEST=$BATS_FILE_TMPDIR/prefix
PROCFS=$BATS_FILE_TMPDIR/procfs
REFERENCE=$BATS_FILE_TMPDIR/reference
REFERENCE_500=$BATS_FILE_TMPDIR/reference-500
INSTALLED=$PREFIX_UNDER_TEST/bin/metrics-sidecar
INETD_FILES=$PREFIX_UNDER_TEST/share/metrics-sidecar/inetd
# A procfs that is not there: each scrape is a 500 with a message. A setting that cannot be used: a message as
# soon as the process starts, before it knows its client.
BROKEN=(METRICS_SIDECAR_PROCFS=/nonexistent METRICS_SIDECAR_TIMEOUT=soon)
# Those with a configuration that is installed: each starts a process for a connection, as nobody.
SUPER_SERVERS=(xinetd inetd tcpserver tcpsvd s6_ipcserver stunnel)
CERTIFICATES=$BATS_FILE_TMPDIR/certificates

setup_file() {
    umask 022
    # Super-servers start the program as nobody, who must get there.
    chmod a+x "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$(dirname "$BATS_FILE_TMPDIR")"
    make_target install PREFIX="$PREFIX_UNDER_TEST" DESTDIR=
    install -m 755 "$PROGRAM" "$INSTALLED"
    make_busy_procfs "$PROCFS"
    make_certificates
    request | METRICS_SIDECAR_PROCFS=$PROCFS "$PROGRAM" --inetd | cat >"$REFERENCE"
    request | env "${BROKEN[@]}" "$PROGRAM" --inetd 2>/dev/null | cat >"$REFERENCE_500"
}

# make_target TARGET VARIABLE=VALUE...: where files go is for the test alone to say.
make_target() {
    env -u BINDIR -u DATADIR -u SYSTEMDUNITDIR -u MANDIR -u BASHCOMPLETIONDIR make -s -C "$ROOT" "$@" >/dev/null
}

# make_certificate NAME OPENSSL-ARGUMENT...: it and its key.
make_certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout "$1.key" -out "$1.crt" \
        "${@:2}"
}

# A server, a client of its authority, and one of another authority of the same name.
make_certificates() (
    mkdir "$CERTIFICATES"
    cd "$CERTIFICATES" || return
    make_certificate server -subj /CN=server -addext subjectAltName=IP:127.0.0.1
    make_certificate clients-ca -subj /CN=authority
    make_certificate client -subj /CN=client -CA clients-ca.crt -CAkey clients-ca.key
    make_certificate other-ca -subj /CN=authority
    make_certificate stranger -subj /CN=client -CA other-ca.crt -CAkey other-ca.key
)

setup() {
    ns_create
}

teardown() {
    end_namespace
    stop_all
}

# ns_pids: the processes in the namespace but for the one that holds it open.
ns_pids() {
    local inode
    inode=$(readlink "/proc/$NS_PID/ns/net") || return 0
    inode=${inode//[!0-9]/}
    find /proc/[0-9]*/ns/net -maxdepth 0 -lname "net:\[$inode\]" 2>/dev/null | cut -d / -f 3 |
        grep -vx "$NS_PID" || true
}

ns_is_empty() {
    [ -z "$(ns_pids)" ]
}

signal_namespace() {
    local pid
    for pid in $(ns_pids); do
        kill "-$1" "$pid" 2>/dev/null || true
    done
}

# A super-server's children may outlive it, so all that this test started in its namespace is ended, each by its pid.
end_namespace() {
    signal_namespace TERM
    wait_until 2 ns_is_empty && return
    signal_namespace KILL
    wait_until 2 ns_is_empty
}

request() {
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'
}

# ask [ADDRESS [PORT]]: all bytes that a client gets until the other side closes.
ask() {
    request | ns timeout 30 "$PEER" talk "${1:-127.0.0.1}" "${2:-9999}" half-close 2>/dev/null
}

# --- launchers: launch_X NAME=VALUE... starts X with that in the program's environment

launch_own_loop() {
    start launcher ns env "$@" "$PROGRAM"
}

# activate OPTIONS NAME=VALUE...: the environment does not pass by itself.
activate() {
    local options=$1 variable arguments=()
    shift
    for variable in "POD_NAME=$POD_NAME" "$@"; do
        arguments+=(-E "$variable")
    done
    # shellcheck disable=SC2086 # words
    start launcher ns systemd-socket-activate $options -l 127.0.0.1:9999 "${arguments[@]}" "$PROGRAM"
}

launch_activate() {
    activate "" "$@"
}

launch_activate_accept() {
    activate "-a" "$@"
}

launch_activate_accept_inetd() {
    activate "-a --inetd" "$@"
}

launch_activate_inetd() {
    activate "--inetd" "$@"
}

# xinetd CONF NAME=VALUE...
xinetd() {
    local conf=$1
    shift
    needs "$UNPACKED/usr/sbin/xinetd"
    start launcher ns env "$@" "$UNPACKED/usr/sbin/xinetd" -dontfork -stayalive -f "$conf" \
        -pidfile "$BATS_TEST_TMPDIR/xinetd.pid"
}

launch_xinetd() {
    xinetd "$INETD_FILES/metrics-sidecar.xinetd" "$@"
}

launch_xinetd_wait() {
    # Nobody is connected yet whom only_from could know: xinetd would start, and refuse, without end.
    sed -E -e 's/^(\s*wait\s*=) no$/\1 yes/' -e '/^\s*only_from\s/d' "$INETD_FILES/metrics-sidecar.xinetd" \
        >"$BATS_TEST_TMPDIR/wait.xinetd"
    grep -qE '^\s*wait\s*= yes$' "$BATS_TEST_TMPDIR/wait.xinetd"
    run ! grep only_from "$BATS_TEST_TMPDIR/wait.xinetd"
    xinetd "$BATS_TEST_TMPDIR/wait.xinetd" "$@"
}

launch_inetd() {
    needs "$UNPACKED/usr/sbin/inetd"
    start launcher ns env "$@" "$UNPACKED/usr/sbin/inetd" -i "$INETD_FILES/inetd.conf"
}

launch_inetd_wait() {
    needs "$UNPACKED/usr/sbin/inetd"
    sed 's/ nowait\.6000 / wait /' "$INETD_FILES/inetd.conf" >"$BATS_TEST_TMPDIR/wait.conf"
    grep -q ' wait ' "$BATS_TEST_TMPDIR/wait.conf"
    start launcher ns env "$@" "$UNPACKED/usr/sbin/inetd" -i "$BATS_TEST_TMPDIR/wait.conf"
}

launch_tcpserver() {
    needs "$UNPACKED/usr/bin/tcpserver"
    start launcher ns env "PATH=$UNPACKED/usr/bin:$PATH" "$@" "$INETD_FILES/tcpserver-run"
}

launch_tcpsvd() {
    needs "$UNPACKED/usr/bin/tcpsvd"
    start launcher ns env "PATH=$UNPACKED/usr/bin:$PATH" "$@" "$INETD_FILES/tcpsvd-run"
}

# The parts of s6 start each other as /usr/bin/s6-..., so there is a /usr/bin that has them.
launch_s6_ipcserver() {
    needs "$UNPACKED/usr/bin/s6-ipcserver"
    start launcher ns unshare -m \
        sh -c 'mount -t overlay none -o "lowerdir=$1:/usr/bin" /usr/bin && shift && exec "$@"' sh "$UNPACKED/usr/bin" \
        env "SOCKET=$BATS_TEST_TMPDIR/s6" "$@" "$INETD_FILES/s6-ipcserver-run"
}

launch_stunnel() {
    local conf=$BATS_TEST_TMPDIR/stunnel.conf
    needs "$UNPACKED/usr/bin/stunnel4"
    sed -E "s#^((cert|key|CAfile) = )/etc/metrics-sidecar/#\1$CERTIFICATES/#" "$INETD_FILES/stunnel.conf" >"$conf"
    assert_equal "$(grep -c " = $CERTIFICATES/" "$conf")" 3
    run ! grep ' = /etc' "$conf"
    start launcher ns env "$@" "$UNPACKED/usr/bin/stunnel4" "$conf"
}

launch() {
    local launcher=$1
    shift
    "launch_$launcher" "$@"
    wait_until 5 is_up "$launcher"
}

is_up() {
    case $1 in
    # A listening socket is marked so (__SO_ACCEPTCON).
    s6_ipcserver) grep -q " 00010000 .* $BATS_TEST_TMPDIR/s6\$" "/proc/$NS_PID/net/unix" ;;
    stunnel) ns_listens 9443 ;;
    *) ns_listens 9999 ;;
    esac
}

# talk_to LAUNCHER [MANNER...]: standard input to its service, to standard output what comes until that closes.
talk_to() {
    case $1 in
    s6_ipcserver) ns timeout 30 "$PEER" talk "$BATS_TEST_TMPDIR/s6" "" "${@:2}" ;;
    # It never ends before the other side does.
    stunnel) tls_client -cert "$CERTIFICATES/client.crt" -key "$CERTIFICATES/client.key" ;;
    *) ns timeout 30 "$PEER" talk 127.0.0.1 9999 "${@:2}" ;;
    esac 2>/dev/null
}

# tls_client [OPENSSL-ARGUMENT...]
tls_client() {
    ns timeout 30 openssl s_client -quiet -connect 127.0.0.1:9443 -CAfile "$CERTIFICATES/server.crt" \
        -verify_return_error "$@"
}

# get LAUNCHER [CURL-ARGUMENT...] PATH: what its service has there, to standard output.
get() {
    local url=http://127.0.0.1:9999 how=()
    case $1 in
    s6_ipcserver) how=(--unix-socket "$BATS_TEST_TMPDIR/s6") ;;
    stunnel)
        url=https://127.0.0.1:9443
        how=(--cacert "$CERTIFICATES/server.crt" --cert "$CERTIFICATES/client.crt" --key "$CERTIFICATES/client.key")
        ;;
    esac
    ns curl -sS --max-time 20 --noproxy '*' "${how[@]}" "${@:2:$#-2}" "$url${!#}"
}

assert_serves() {
    run get "$1" -o /dev/null -w '%{http_code}' /metrics
    assert_success
    assert_output 200
}

# --- what an answer must be

# assert_whole FILE: these bytes are a head and as many bytes as its Content-Length says, no more.
assert_whole() {
    local head length
    head=$(sed '/^\r$/q' "$1" | wc -c)
    length=$(sed -nE -e 's/^Content-Length: ([0-9]+)\r$/\1/p' -e '/^\r$/q' "$1")
    assert_equal "$(wc -c <"$1")" "$((head + length))"
}

# What is the same in all answers.
common() {
    sed -E 's/\r$//' "$1" | steady |
        sed -E -e '1,/^$/s/^(Content-Length:) .*/\1 LENGTH/' \
            -e '/metrics_sidecar_(connections|start_time_seconds)/d' \
            -e 's/^(metrics_sidecar_info\{.*launcher)="[a-z]+",netns="[a-z]+"/\1="LAUNCHER",netns="NETNS"/'
}

# netns_of ADDRESS: what a connection to it tells of its network namespace: nothing, when it is a path.
netns_of() {
    [[ $1 == /* ]] && echo unknown || echo same
}

# assert_launcher FILE LABEL [NETNS]: the label of the launcher, whether the connection is of the measured network
# namespace, and the families that exist only under the supervisor.
assert_launcher() {
    run grep '^metrics_sidecar_info{' "$1"
    assert_output --regexp "^metrics_sidecar_info\{pod_name=\"test-pod\",.*launcher=\"$2\",netns=\"${3:-same}\"\} 1$"
    run grep -E '^(# TYPE )?metrics_sidecar_(connections|start_time)' "$1"
    if [ "$2" = supervisor ]; then
        assert_line '# TYPE metrics_sidecar_connections_total counter'
        assert_line --regexp '^metrics_sidecar_connections_total\{pod_name="test-pod",outcome="served"\} [0-9]+$'
        assert_line '# TYPE metrics_sidecar_start_time_seconds gauge'
        assert_line --regexp '^metrics_sidecar_start_time_seconds\{pod_name="test-pod"\} [0-9.]+$'
    else
        assert_output ""
    fi
}

# assert_same_answer FILE LABEL [NETNS]
assert_same_answer() {
    assert_whole "$1"
    diff <(common "$REFERENCE") <(common "$1")
    assert_launcher "$@"
}

# answers LAUNCHER LABEL LOG [NETNS]: the same answer as everywhere; a 500 without a byte of the log, which is in LOG
# (stderr: the launcher's; syslog: not there); a 200 with the true /proc.
answers() {
    local answer=$BATS_TEST_TMPDIR/answer
    launch "$1" "METRICS_SIDECAR_PROCFS=$PROCFS"
    request | talk_to "$1" half-close >"$answer"
    assert_same_answer "$answer" "$2" "${4:-same}"
    end_namespace

    launch "$1" "${BROKEN[@]}"
    request | talk_to "$1" half-close >"$answer"
    assert_whole "$answer"
    cmp "$REFERENCE_500" "$answer"
    assert_logged "$3"
    end_namespace

    ns_sysctl ip_local_port_range "32768 60999"
    launch "$1" "METRICS_SIDECAR_PORT=9999"
    hold "listen 127.0.0.1 40000"
    run get "$1" -w '%{http_code}\n' /metrics
    assert_line --index 5 'port_total{pod_name="test-pod"} 28232'
    assert_line '200'
    expect_value "$output" 1 port_blocked
    [ "$(metric "$output" port_used)" -ge 1 ]
    # And to a person.
    run get "$1" -w '%{http_code} %{content_type}\n' /
    assert_line '200 text/html; charset=utf-8'
    assert_line --regexp '<dt><i class="blocked"></i>blocked</dt><dd>1 <small>\(0\.0 %\)'
}

assert_logged() {
    case $1 in
    stderr)
        run cat "$BATS_TEST_TMPDIR/launcher.err"
        assert_output --partial 'metrics-sidecar: read procfs: No such file or directory'
        assert_output --partial 'metrics-sidecar: use METRICS_SIDECAR_TIMEOUT=soon: '
        ;;
    syslog)
        run grep metrics-sidecar: "$BATS_TEST_TMPDIR/launcher.err" "$BATS_TEST_TMPDIR/launcher.out"
        assert_failure
        ;;
    esac
}

# --- the same answer from everywhere

@test "the reference: figures of a known procfs, a 500 with its reason" {
    assert_whole "$REFERENCE"
    run common "$REFERENCE"
    assert_line --index 0 'HTTP/1.1 200 OK'
    assert_line 'Content-Type: text/plain; version=0.0.4; charset=utf-8'
    assert_line 'Connection: close'
    assert_line 'port_used{pod_name="test-pod"} 6'
    assert_line 'port_total{pod_name="test-pod"} 990'
    assert_line 'port_used_by_protocol{pod_name="test-pod",protocol="tcp"} 4'
    assert_line 'port_used_by_protocol{pod_name="test-pod",protocol="udp"} 3'
    assert_line 'port_time_wait{pod_name="test-pod"} 1'
    assert_line 'port_scan_sockets{pod_name="test-pod"} 10'

    assert_whole "$REFERENCE_500"
    run cat "$REFERENCE_500"
    assert_line --index 0 $'HTTP/1.1 500 Internal Server Error\r'
    assert_output --partial 'read procfs: No such file or directory'
    refute_output --partial 'METRICS_SIDECAR_TIMEOUT'
}

@test "own loop" {
    answers own_loop supervisor stderr
}

@test "systemd-socket-activate, Accept=no: the listening socket is descriptor 3" {
    answers activate supervisor stderr
}

@test "systemd-socket-activate -a, Accept=yes: the connection is descriptor 3" {
    answers activate_accept systemd stderr
}

@test "systemd-socket-activate -a --inetd: the connection is standard input and output" {
    answers activate_accept_inetd inetd stderr
}

@test "systemd-socket-activate --inetd: the listening socket is standard input" {
    answers activate_inetd supervisor stderr
}

@test "the static program, by systemd-socket-activate in each of its modes" {
    PROGRAM=$STATIC_PROGRAM
    answers activate supervisor stderr
    end_namespace
    answers activate_accept systemd stderr
    end_namespace
    answers activate_accept_inetd inetd stderr
    end_namespace
    answers activate_inetd supervisor stderr
}

@test "xinetd, wait = no, as installed" {
    require_root "xinetd starts the program as nobody"
    answers xinetd inetd syslog
}

@test "xinetd, wait = yes" {
    require_root "xinetd starts the program as nobody"
    answers xinetd_wait supervisor syslog
}

@test "inetd, nowait, as installed" {
    require_root "inetd starts the program as nobody"
    answers inetd inetd syslog
}

@test "inetd, wait" {
    require_root "inetd starts the program as nobody"
    answers inetd_wait supervisor syslog
}

@test "tcpserver, as installed" {
    require_root "the script starts the program as nobody"
    answers tcpserver inetd stderr
}

@test "tcpsvd, as installed" {
    require_root "the script starts the program as nobody"
    answers tcpsvd inetd stderr
}

@test "s6-ipcserver, a UNIX socket, as installed" {
    require_root "the script starts the program as nobody"
    answers s6_ipcserver inetd stderr unknown
}

@test "stunnel, for a client with a certificate, as installed" {
    require_root "stunnel starts the program as nobody"
    answers stunnel inetd stderr
}

@test "--inetd on a pair of pipes" {
    local answer=$BATS_TEST_TMPDIR/answer
    request | ns "$PROGRAM" --inetd --path.procfs="$PROCFS" | cat >"$answer"
    assert_same_answer "$answer" inetd unknown

    request | ns env "${BROKEN[@]}" "$PROGRAM" --inetd 2>"$BATS_TEST_TMPDIR/launcher.err" | cat >"$answer"
    assert_whole "$answer"
    cmp "$REFERENCE_500" "$answer"
    assert_logged stderr

    request | ns "$PROGRAM" --inetd | cat >"$answer"
    assert_whole "$answer"
    run head -n 1 "$answer"
    assert_output $'HTTP/1.1 200 OK\r'
    # Nobody is connected to anything.
    run metric "$(cat "$answer")" port_used
    assert_output 0
}

@test "--print: the same exposition, no HTTP" {
    ns "$PROGRAM" --print --path.procfs="$PROCFS" >"$BATS_TEST_TMPDIR/print"
    diff <(common "$REFERENCE" | sed '1,/^$/d') <(common "$BATS_TEST_TMPDIR/print")
    assert_launcher "$BATS_TEST_TMPDIR/print" print unknown

    run -0 ns "$PROGRAM" --print
    [ "$(metric "$output" port_used)" = 0 ]

    # The textfile collector gets nothing rather than a part.
    ns env "${BROKEN[@]}" "$PROGRAM" --print >"$BATS_TEST_TMPDIR/print" 2>"$BATS_TEST_TMPDIR/launcher.err" && return 1
    [ ! -s "$BATS_TEST_TMPDIR/print" ]
    assert_logged stderr
}

# --- when standard error is the client

# as_inetd COMMAND...: start it in the background for one connection to port 9998, which is descriptors 0, 1 and 2.
as_inetd() {
    start inetd ns "$PEER" inetd 9998 "$@"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/inetd.out"
}

@test "a usage error under inetd: status 2, and the client gets nothing" {
    as_inetd "$PROGRAM" --no-such-option
    ask 127.0.0.1 9998 >"$BATS_TEST_TMPDIR/answer"
    wait_until 5 grep -qx 'status 2' "$BATS_TEST_TMPDIR/inetd.out"
    [ ! -s "$BATS_TEST_TMPDIR/answer" ]
}

@test "under inetd the log goes to the system log" {
    local dev=$BATS_TEST_TMPDIR/dev
    mkdir "$dev"
    touch "$dev/null"
    start syslog "$PEER" receive "$dev/log"
    wait_until 5 test -S "$dev/log"
    # A /dev of its own, where that log is.
    as_inetd unshare -m sh -c 'mount --bind /dev/null "$1/null" && mount --rbind "$1" /dev && shift && exec "$@"' \
        sh "$dev" env "${BROKEN[@]}" "$PROGRAM"
    ask 127.0.0.1 9998 >"$BATS_TEST_TMPDIR/answer"
    cmp "$REFERENCE_500" "$BATS_TEST_TMPDIR/answer"
    wait_until 5 grep -q 'metrics-sidecar\[[0-9]*\]: read procfs: No such file' "$BATS_TEST_TMPDIR/syslog.out"
    grep -q 'metrics-sidecar\[[0-9]*\]: use METRICS_SIDECAR_TIMEOUT=soon: ' "$BATS_TEST_TMPDIR/syslog.out"
}

@test "under inetd a system log that does not read is not waited for" {
    local dev=$BATS_TEST_TMPDIR/dev
    mkdir "$dev"
    touch "$dev/null"
    start syslog "$PEER" deaf "$dev/log"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/syslog.out"
    as_inetd unshare -m sh -c 'mount --bind /dev/null "$1/null" && mount --rbind "$1" /dev && shift && exec "$@"' \
        sh "$dev" env "${BROKEN[@]}" "$PROGRAM"
    ask 127.0.0.1 9998 >"$BATS_TEST_TMPDIR/answer"
    cmp "$REFERENCE_500" "$BATS_TEST_TMPDIR/answer"
}

# A client that is gone before the process starts: not a listening socket, so no reason to open one.
@test "a client that has reset its connection before the process starts" {
    local said
    for said in "" "$(request)"; do
        as_inetd "$PROGRAM"
        printf '%s' "$said" | ns "$PEER" talk 127.0.0.1 9998 reset
        wait_until 5 grep -q '^status ' "$BATS_TEST_TMPDIR/inetd.out"
        # Not a byte: a probe of the port, which is a success. A request that is not answered is none.
        run cat "$BATS_TEST_TMPDIR/inetd.out"
        assert_line "status $([ -z "$said" ] && echo 0 || echo 1)"
        run ! ns_listens 9999
        end_namespace
    done
}

# 256 starts in a minute are what inetd allows without a number, 50 in a second what xinetd does.
@test "a burst of 300 scrapes does not switch the service off, inetd and xinetd" {
    require_root "they start the program as nobody"
    local launcher
    for launcher in inetd xinetd; do
        launch "$launcher" "METRICS_SIDECAR_PROCFS=$PROCFS"
        run ns "$PEER" scrape 127.0.0.1 9999 0 300
        assert_output --partial 'answered 300 of 300,'
        end_namespace
    done
}

# All at once: a super-server may refuse some, or leave them waiting.
@test "a burst of 200 connections does not switch the service off" {
    require_root "they start the program as nobody"
    local launcher
    for launcher in "${SUPER_SERVERS[@]}"; do
        echo "$launcher"
        launch "$launcher" "METRICS_SIDECAR_PROCFS=$PROCFS"
        get "$launcher" -Z --parallel-immediate --parallel-max 200 -o /dev/null -w '%{http_code}\n' \
            '/metrics?[1-200]' >"$BATS_TEST_TMPDIR/burst" 2>/dev/null || true
        assert_equal "$(wc -l <"$BATS_TEST_TMPDIR/burst")" 200
        grep -qx 200 "$BATS_TEST_TMPDIR/burst"
        assert_serves "$launcher"
        end_namespace
    done
}

# --- slow clients

# start_slow_client LAUNCHER: half a head, and nothing more; what it gets is in $BATS_TEST_TMPDIR/slow.
start_slow_client() {
    printf 'GET /metrics HTTP/1.1\r\nHost:' | talk_to "$1" >"$BATS_TEST_TMPDIR/slow" 3>&- &
    SLOW_PID=$!
    STARTED+=("$SLOW_PID")
}

# serving_pids: the processes in the namespace that serve a connection.
serving_pids() {
    local pid
    for pid in $(ns_pids); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != metrics-sidecar ] || echo "$pid"
    done
}

somebody_serves() {
    [ -n "$(serving_pids)" ]
}

nobody_serves() {
    [ -z "$(serving_pids)" ]
}

@test "a slow client does not outlive its deadline" {
    require_root "they start the program as nobody"
    local launcher
    for launcher in "${SUPER_SERVERS[@]}"; do
        echo "$launcher"
        launch "$launcher" "METRICS_SIDECAR_PROCFS=$PROCFS" METRICS_SIDECAR_TIMEOUT=1
        start_slow_client "$launcher"
        wait_until 8 is_gone "$SLOW_PID"
        wait_until 2 nobody_serves
        run head -n 1 "$BATS_TEST_TMPDIR/slow"
        assert_output $'HTTP/1.1 408 Request Timeout\r'
        assert_serves "$launcher"
        end_namespace
    done
}

# --- who may ask, and who answers

@test "the program runs as nobody, without a group of root's" {
    require_root "they start the program as nobody"
    local launcher uid gid
    uid=$(id -u nobody)
    gid=$(id -g nobody)
    # Root of a login has more groups than its own.
    NS_ENTER+=(setpriv '--groups=0,4')
    for launcher in "${SUPER_SERVERS[@]}"; do
        echo "$launcher"
        launch "$launcher"
        start_slow_client "$launcher"
        wait_until 8 somebody_serves
        run grep -E '^(Uid|Gid|Groups):' "/proc/$(serving_pids)/status"
        assert_line --index 0 --regexp "^Uid:(\s$uid){4}$"
        assert_line --index 1 --regexp "^Gid:(\s$gid){4}$"
        assert_line --index 2 --regexp "^Groups:\s($gid)?\s*$"
        end_namespace
    done
}

@test "xinetd serves this machine's addresses alone, until only_from says otherwise" {
    require_root "xinetd starts the program as nobody"
    local conf=$BATS_TEST_TMPDIR/open.xinetd
    # Who connects to an address of its own machine comes from that address.
    ns ip address add 192.0.2.1/32 dev lo
    launch xinetd
    run ask 192.0.2.1
    assert_output ""
    assert_serves xinetd
    end_namespace

    sed -E 's/^(\s*only_from\s*=).*/\1 192.0.2.1/' "$INETD_FILES/metrics-sidecar.xinetd" >"$conf"
    run ! cmp "$INETD_FILES/metrics-sidecar.xinetd" "$conf"
    xinetd "$conf"
    wait_until 5 ns_listens 9999
    run ask 192.0.2.1
    assert_line --index 0 $'HTTP/1.1 200 OK\r'
    run ask
    assert_output ""
}

# assert_refused REASON [OPENSSL-ARGUMENT...]: a client of stunnel with these gets nothing, for that reason.
assert_refused() {
    request | tls_client "${@:2}" >"$BATS_TEST_TMPDIR/answer" 2>/dev/null || true
    [ ! -s "$BATS_TEST_TMPDIR/answer" ]
    wait_until 5 grep -q "$1" "$BATS_TEST_TMPDIR/launcher.err"
}

@test "stunnel does not start the program for a client without a certificate, or with another authority's" {
    require_root "stunnel starts the program as nobody"
    # The program would say something as soon as it starts.
    launch stunnel "${BROKEN[@]}"
    assert_refused 'peer did not return a certificate'
    assert_refused 'certificate verify failed' -cert "$CERTIFICATES/stranger.crt" -key "$CERTIFICATES/stranger.key"
    run ! grep metrics-sidecar: "$BATS_TEST_TMPDIR/launcher.err"
    request | talk_to stunnel >"$BATS_TEST_TMPDIR/answer"
    cmp "$REFERENCE_500" "$BATS_TEST_TMPDIR/answer"
    assert_logged stderr
}

# --- own sockets

@test "a child with an unnamed socketpair as standard input starts its own loop" {
    start server ns "$PEER" socketpair "$PROGRAM"
    wait_until 5 grep -q 'listen on :9999' "$BATS_TEST_TMPDIR/server.err"
    serves
}

@test "no argument: IPv4 and IPv6 on port 9999" {
    start_server --path.procfs="$PROCFS"
    ask >"$BATS_TEST_TMPDIR/answer"
    assert_same_answer "$BATS_TEST_TMPDIR/answer" supervisor
    ask ::1 >"$BATS_TEST_TMPDIR/answer"
    assert_same_answer "$BATS_TEST_TMPDIR/answer" supervisor
}

@test "IPv4 alone where there is no IPv6" {
    # The first socket that it asks for is the listening one.
    start server ns strace -qq -o /dev/null -e trace=socket -e inject=socket:error=EAFNOSUPPORT:when=1 "$PROGRAM"
    wait_until 5 grep -q 'listen on :9999' "$BATS_TEST_TMPDIR/server.err"
    serves
    grep -qE ': 00000000:270F 00000000:0000 0A ' "/proc/$NS_PID/net/tcp"
    run ! grep -qE ':270F 0{32}:0000 0A ' "/proc/$NS_PID/net/tcp6"
}

@test "IPv4 alone where IPv6 has sockets and no addresses" {
    start server ns strace -D -qq -o /dev/null -e trace=bind -e signal=none -e inject=bind:error=EADDRNOTAVAIL:when=1 "$PROGRAM"
    wait_until 5 grep -q 'listen on :9999' "$BATS_TEST_TMPDIR/server.err"
    serves
    grep -qE ': 00000000:270F 00000000:0000 0A ' "/proc/$NS_PID/net/tcp"
    run ! grep -qE ':270F 0{32}:0000 0A ' "/proc/$NS_PID/net/tcp6"
}

@test "a UNIX socket" {
    local path=$BATS_TEST_TMPDIR/socket
    start_server --web.listen-address="unix:$path" --path.procfs="$PROCFS"
    ask "$path" >"$BATS_TEST_TMPDIR/answer"
    assert_same_answer "$BATS_TEST_TMPDIR/answer" supervisor unknown
    run scrape --unix-socket "$path" -w '%{http_code}\n'
    assert_line '200'
    # That one alone.
    run ! ns_listens 9999
}

@test "a stale path of a UNIX socket is replaced" {
    local path=$BATS_TEST_TMPDIR/socket
    hold "listen $path"
    kill -KILL "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    [ -S "$path" ]
    start_server --web.listen-address="unix:$path"
    run scrape --unix-socket "$path" -o /dev/null -w '%{http_code}'
    assert_output 200
}

@test "a stale path that could not be looked at is replaced at the next try" {
    local path=$BATS_TEST_TMPDIR/socket
    hold "listen $path"
    kill -KILL "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    # The second socket that it asks for is to find out whether somebody listens there.
    start server ns strace -D -qq -o /dev/null -e trace=socket -e signal=none -e inject=socket:error=EMFILE:when=2 \
        "$PROGRAM" --web.listen-address="unix:$path"
    wait_until 5 grep -qx "metrics-sidecar: listen on unix:$path: Address already in use" "$BATS_TEST_TMPDIR/server.err"
    wait_until 5 grep -qx "metrics-sidecar: listen on unix:$path" "$BATS_TEST_TMPDIR/server.err"
    run scrape --unix-socket "$path" -o /dev/null -w '%{http_code}'
    assert_output 200
}

@test "a path of a UNIX socket in use is waited for" {
    local path=$BATS_TEST_TMPDIR/socket
    hold "listen $path"
    start server ns "$PROGRAM" --web.listen-address="unix:$path"
    wait_until 5 grep -q "listen on unix:$path: Address already in use" "$BATS_TEST_TMPDIR/server.err"
    kill -TERM "$HOLD_PID"
    # At most five seconds after it is free.
    wait_until 5 grep -qx "metrics-sidecar: listen on unix:$path" "$BATS_TEST_TMPDIR/server.err"
    run scrape --unix-socket "$path" -o /dev/null -w '%{http_code}'
    assert_output 200
}

@test "a path with a file that is no socket is left alone" {
    local path=$BATS_TEST_TMPDIR/precious
    echo data >"$path"
    start server ns "$PROGRAM" --web.listen-address="unix:$path"
    wait_until 5 grep -q "listen on unix:$path" "$BATS_TEST_TMPDIR/server.err"
    run cat "$path"
    assert_output data
}

@test "several listening addresses, each of its kind" {
    local path=$BATS_TEST_TMPDIR/socket
    start_server --web.listen-address=127.0.0.1:9999 --web.listen-address="[::1]:9998" \
        --web.listen-address="unix:$path" --path.procfs="$PROCFS"
    wait_until 5 grep -q "listen on unix:$path" "$BATS_TEST_TMPDIR/server.err"
    local address
    for address in "127.0.0.1 9999" "::1 9998" "$path"; do
        # shellcheck disable=SC2086 # two words
        ask $address >"$BATS_TEST_TMPDIR/answer"
        assert_same_answer "$BATS_TEST_TMPDIR/answer" supervisor "$(netns_of "$address")"
    done
    run ns curl -sS --max-time 5 "http://[::1]:9999/metrics"
    assert_failure 7
}

@test "one of several addresses is taken: the others serve, and it does once it is free" {
    hold "listen 127.0.0.1 9998"
    start_server --web.listen-address=127.0.0.1:9998 --web.listen-address=127.0.0.1:9999
    wait_until 5 grep -q 'listen on 127.0.0.1:9998: Address already in use' "$BATS_TEST_TMPDIR/server.err"
    serves
    kill -TERM "$HOLD_PID"
    wait_until 5 grep -qx 'metrics-sidecar: listen on 127.0.0.1:9998' "$BATS_TEST_TMPDIR/server.err"
    run ns curl -sS --max-time 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:9998/metrics
    assert_output 200
}

# --- sockets passed by systemd

@test "several passed sockets, TCP and UNIX" {
    local path=$BATS_TEST_TMPDIR/socket
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 -l "$path" -E POD_NAME=test-pod \
        "$PROGRAM" --path.procfs="$PROCFS"
    wait_until 5 test -S "$path"
    local address
    for address in "$path" "127.0.0.1 9999"; do
        # shellcheck disable=SC2086 # two words
        ask $address >"$BATS_TEST_TMPDIR/answer"
        assert_same_answer "$BATS_TEST_TMPDIR/answer" supervisor "$(netns_of "$address")"
    done
}

@test "among passed sockets one that does not listen is left out, and that is said" {
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod \
        bash -c 'exec 4</dev/null; LISTEN_FDS=2 exec "$0"' "$PROGRAM"
    wait_until 5 ns_listens 9999
    serves
    grep -qx 'metrics-sidecar: take passed sockets: 1 of 2 are not listening stream sockets, or more than 64: closed' \
        "$BATS_TEST_TMPDIR/launcher.err"
}

# without_libsystemd COMMAND...: the loader looks into its cache, then into the directories that it knows.
without_libsystemd() {
    local path paths=()
    for path in $(ldconfig -p | sed -nE 's/^.*libsystemd\.so\.0 .*=> //p'); do
        paths+=(-P "$path" -P "$(readlink -f "$path")" -P "/usr$path")
    done
    [ ${#paths[@]} -gt 0 ]
    WITHOUT_LIBSYSTEMD=(strace -D -qq -o /dev/null "${paths[@]}" -e trace=openat -e signal=none -e inject=openat:error=ENOENT)
}

# assert_speaks_protocol NAME COMMAND...: it takes a listening socket, and tells a manager at a path and one at an
# abstract name how it is.
assert_speaks_protocol() {
    local name=$1 notify=$BATS_TEST_TMPDIR/$1.notify
    shift
    start "$name.manager" "$PEER" receive "$notify"
    wait_until 5 test -S "$notify"
    start "$name" ns systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod -E NOTIFY_SOCKET="$notify" \
        -E WATCHDOG_USEC=200000 "$@"
    wait_until 5 ns_listens 9999
    serves
    beats() {
        [ "$(grep -cx WATCHDOG=1 "$BATS_TEST_TMPDIR/$name.manager.out")" -ge 3 ]
    }
    wait_until 5 beats
    assert_equal "$(head -n 2 "$BATS_TEST_TMPDIR/$name.manager.out")" $'READY=1\nSTATUS=Answering scrapes'
    run cat "$BATS_TEST_TMPDIR/$name.err"
    assert_line 'metrics-sidecar: listen on passed socket'
    run ! grep libsystemd "/proc/$STARTED_PID/maps"
    kill -TERM "$STARTED_PID"
    wait_until 5 grep -qx STOPPING=1 "$BATS_TEST_TMPDIR/$name.manager.out"
}

@test "where libsystemd is missing, the program speaks the protocol by itself" {
    without_libsystemd
    assert_speaks_protocol missing "${WITHOUT_LIBSYSTEMD[@]}" "$PROGRAM"
    end_namespace
    assert_speaks_protocol static "$STATIC_PROGRAM"
}

# As podman starts a container that it has a socket for.
@test "the static program as PID 1 takes a passed socket, and notifies an abstract name" {
    start manager ns "$PEER" receive "@$BATS_TEST_TMPDIR"
    wait_until 5 grep -qF "@$BATS_TEST_TMPDIR" "/proc/$NS_PID/net/unix"
    # shellcheck disable=SC2016 # of the inner shell
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod -E NOTIFY_SOCKET="@$BATS_TEST_TMPDIR" \
        unshare -p --fork --kill-child sh -c 'LISTEN_PID=1 exec "$0"' "$STATIC_PROGRAM"
    wait_until 5 ns_listens 9999
    serves
    wait_until 5 grep -qx READY=1 "$BATS_TEST_TMPDIR/manager.out"
    run cat "$BATS_TEST_TMPDIR/launcher.err"
    assert_line 'metrics-sidecar: listen on passed socket'
    # It is the only one that listens.
    assert_equal "$(ns ss -Hltn | wc -l)" 1
}

@test "no passed socket, LISTEN_FDS 0 or empty: no error" {
    local program count
    for program in "$PROGRAM" "$STATIC_PROGRAM"; do
        for count in 0 ''; do
            # shellcheck disable=SC2016 # of the inner shell
            start server ns sh -c 'LISTEN_FDS=$1 LISTEN_PID=$$ exec "$0"' "$program" "$count"
            wait_until 5 grep -q 'listen on :9999' "$BATS_TEST_TMPDIR/server.err"
            serves
            assert_equal "$(server_log)" 'metrics-sidecar: listen on :9999'
            kill -TERM "$STARTED_PID"
            wait_until 5 is_gone "$STARTED_PID"
        done
    done
}

@test "LISTEN_PID of another process, or none: said, and its own loop starts" {
    local program pid
    for program in "$PROGRAM" "$STATIC_PROGRAM"; do
        for pid in 1 '' x; do
            LISTEN_FDS=1 LISTEN_PID=$pid SERVER=$program start_server
            assert_equal "$(server_log)" "metrics-sidecar: take passed sockets: LISTEN_PID is not this process: ignored
metrics-sidecar: listen on :9999"
            serves
            kill -TERM "$SERVER_PID"
            wait_until 5 is_gone "$SERVER_PID"
        done
    done
}

# activate_many FIRST LAST: the program, with a listening socket on each of these ports.
activate_many() {
    local port arguments=()
    for port in $(seq "$1" "$2"); do
        arguments+=(-l "127.0.0.1:$port")
    done
    start launcher ns systemd-socket-activate "${arguments[@]}" -E POD_NAME=test-pod "$PROGRAM" --path.procfs="$PROCFS"
    wait_until 5 ns_listens "$2"
}

@test "as many passed sockets as 64 are served; more are closed, and one line says how many" {
    local port
    for PROGRAM in "$PROGRAM" "$STATIC_PROGRAM"; do
        activate_many 9001 9070
        for port in 9001 9009 9064; do
            run ns curl -sS --max-time 5 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/metrics"
            assert_output 200
        done
        assert_equal "$(grep -c 'take passed sockets' "$BATS_TEST_TMPDIR/launcher.err")" 1
        grep -qx 'metrics-sidecar: take passed sockets: 6 of 70 are not listening stream sockets, or more than 64: closed' \
            "$BATS_TEST_TMPDIR/launcher.err"
        # Nobody has them any more, and a client learns that at once.
        run ns curl -sS --max-time 5 http://127.0.0.1:9065/metrics
        assert_failure 7
        kill -TERM "$STARTED_PID"
        wait_until 5 is_gone "$STARTED_PID"
    done
}

# exits_with_passed REDIRECTION [COUNT]: descriptor 3 is that, and passed by LISTEN_FDS, by libsystemd and without it.
exits_with_passed() {
    local program
    without_libsystemd
    for program in "$PROGRAM" "$STATIC_PROGRAM" "${WITHOUT_LIBSYSTEMD[*]} $PROGRAM"; do
        run ns timeout -k 1 5 bash -c "exec $1; LISTEN_FDS=${2:-1} LISTEN_PID=\$\$ exec $program"
        assert_failure 1
        run grep metrics-sidecar: <<<"$output"
        assert_line --index 0 --partial 'metrics-sidecar: take passed socket'
        refute_line --index 1 --regexp .
    done
}

@test "a number of passed sockets that is none: status 1 and one line" {
    exits_with_passed '3<&-' x
}

@test "a passed descriptor that is no socket: status 1 and one line" {
    exits_with_passed '3</dev/null'
}

@test "a passed descriptor that is not open: status 1 and one line" {
    exits_with_passed '3<&-'
}

@test "a passed datagram socket: status 1 and one line" {
    exits_with_passed '3<>/dev/udp/127.0.0.1/9'
}

@test "--idle-exit with a passed socket: status 0 when nobody has come for so long" {
    start manager "$PEER" receive "$BATS_TEST_TMPDIR/notify"
    wait_until 5 test -S "$BATS_TEST_TMPDIR/notify"
    start launcher ns systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod \
        -E NOTIFY_SOCKET="$BATS_TEST_TMPDIR/notify" "$PROGRAM" --idle-exit=2
    local pid=$STARTED_PID
    wait_until 5 ns_listens 9999
    serves
    # It became the program, in the same process; each scrape puts the end off.
    run ns "$PEER" scrape 127.0.0.1 9999 700 4
    assert_output --partial 'answered 4 of 4,'
    wait_until 5 is_gone "$pid"
    run wait "$pid"
    assert_success
    run cat "$BATS_TEST_TMPDIR/manager.out"
    assert_line READY=1
    assert_line STOPPING=1
}

@test "--idle-exit as PID 1: both processes end, status 0" {
    start launcher ns unshare -p --fork --kill-child systemd-socket-activate -l 127.0.0.1:9999 -E POD_NAME=test-pod \
        "$PROGRAM" --idle-exit=1
    local pid=$STARTED_PID
    wait_until 5 ns_listens 9999
    serves
    wait_until 5 is_gone "$pid"
    run wait "$pid"
    assert_success
    run ! grep 'started again' "$BATS_TEST_TMPDIR/launcher.err"
}

@test "--idle-exit with own sockets: ignored, said" {
    start_server --idle-exit=1
    run server_log
    assert_output --partial 'use --idle-exit: only with passed sockets: ignored'
    # Nobody comes for two seconds between these.
    run ns "$PEER" scrape 127.0.0.1 9999 2000 2
    assert_output --partial 'answered 2 of 2,'
}

@test "a service manager is told READY, STATUS and STOPPING, and the watchdog is answered" {
    local notify
    three_beats() {
        [ "$(grep -cx WATCHDOG=1 "$BATS_TEST_TMPDIR/manager.out")" -ge 3 ]
    }
    # At a path, and at an abstract name.
    for notify in "$BATS_TEST_TMPDIR/notify" "@$BATS_TEST_TMPDIR"; do
        start manager ns "$PEER" receive "$notify"
        wait_until 5 grep -qF " $notify" "/proc/$NS_PID/net/unix"
        NOTIFY_SOCKET=$notify WATCHDOG_USEC=200000 start_server
        wait_until 5 grep -qx READY=1 "$BATS_TEST_TMPDIR/manager.out"
        grep -q '^STATUS=.' "$BATS_TEST_TMPDIR/manager.out"
        run ! grep -x STOPPING=1 "$BATS_TEST_TMPDIR/manager.out"
        serves
        wait_until 5 three_beats
        kill -TERM "$SERVER_PID"
        wait_until 5 grep -qx STOPPING=1 "$BATS_TEST_TMPDIR/manager.out"
        assert_equal "$(grep -cx READY=1 "$BATS_TEST_TMPDIR/manager.out")" 1
        run wait "$SERVER_PID"
        assert_success
    done
}

@test "the watchdog is left alone when it was not asked for, or of another process" {
    local notify=$BATS_TEST_TMPDIR/notify
    start manager "$PEER" receive "$notify"
    wait_until 5 test -S "$notify"
    NOTIFY_SOCKET=$notify WATCHDOG_USEC=100000 WATCHDOG_PID=1 start_server
    run ns "$PEER" scrape 127.0.0.1 9999 300 2
    assert_output --partial 'answered 2 of 2,'
    run cat "$BATS_TEST_TMPDIR/manager.out"
    assert_line READY=1
    refute_line WATCHDOG=1
}

@test "libsystemd is loaded only where sockets are passed" {
    NOTIFY_SOCKET=$BATS_TEST_TMPDIR/nobody start_server
    run grep -c libsystemd "/proc/$SERVER_PID/maps"
    assert_output 0
    end_namespace
    activate ""
    wait_until 5 ns_listens 9999
    serves
    grep -q libsystemd "/proc/$STARTED_PID/maps"
}

@test "a service manager that does not read is not waited for" {
    local notify=$BATS_TEST_TMPDIR/notify program
    start manager "$PEER" deaf "$notify"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/manager.out"
    for program in "$PROGRAM" "$STATIC_PROGRAM"; do
        NOTIFY_SOCKET=$notify WATCHDOG_USEC=100000 SERVER=$program start_server
        serves
        run ns "$PEER" scrape 127.0.0.1 9999 300 2
        assert_output --partial 'answered 2 of 2,'
        kill -TERM "$SERVER_PID"
        wait_until 2 is_gone "$SERVER_PID"
    done
}
