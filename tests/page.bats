#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The page for people, in a real browser. tests/browser/browse.mjs says what is there; what is true is asked elsewhere.

load helpers

SOCKET_MAX=65536

setup_file() {
    "$ROOT/tests/browser/run" >"$BATS_FILE_TMPDIR/browser" 2>&1 || touch "$BATS_FILE_TMPDIR/no-browser"
}

setup() {
    [ ! -e "$BATS_FILE_TMPDIR/no-browser" ] || skip "needs a browser: $(tail -n 1 "$BATS_FILE_TMPDIR/browser")"
    ns_create
    SOCKET=$BATS_TEST_TMPDIR/s
}

teardown() {
    stop_all
}

start_page() {
    start_server --web.listen-address="unix:$SOCKET" "$@"
}

# browse VERB ARGUMENT...: of the page.
browse() {
    "$ROOT/tests/browser/run" "$1" "$SOCKET" "${@:2}"
}

# ask PATH [CURL-ARGUMENT...]
ask() {
    curl -sS --max-time 20 --unix-socket "$SOCKET" "${@:2}" "http://localhost$1"
}

# start_watching: each change of what the page shows is a line of watch.out.
start_watching() {
    start watch "$ROOT/tests/browser/run" watch "$SOCKET"
    wait_until 20 shows 'renewed every two seconds'
}

# The last line.
shown() {
    tail -n 1 "$BATS_TEST_TMPDIR/watch.out"
}

shows() {
    shown | grep -qE "$1"
}

# stop_watching: and look whether the console had an error.
stop_watching() {
    kill -TERM "$STARTED_PID"
    wait_until 10 is_gone "$STARTED_PID"
    [ "$(cat "$BATS_TEST_TMPDIR/watch.err")" = "" ]
}

# Both ask for figures of a namespace in which nothing happens meanwhile.
assert_same_figures() {
    local page=$1 metrics state
    metrics=$(ask /metrics)
    [ "$(jq .used <<<"$page")" = "$(metric "$metrics" port_used)" ]
    [ "$(jq .total <<<"$page")" = "$(metric "$metrics" port_total)" ]
    [ "$(jq .nearest <<<"$page")" = "$(metric "$metrics" port_destination_used_max)" ]
    [ "$(jq .used <<<"$page")" -gt 30 ]
    for state in $(jq -r '.states | keys[]' <<<"$page"); do
        [ "$(jq ".states.${state}[0]" <<<"$page")" = "$(metric "$metrics" port_sockets "protocol=\"tcp\",state=\"$state\"")" ]
        echo "$state" >>"$BATS_TEST_TMPDIR/states"
    done
    [ "$(wc -l <"$BATS_TEST_TMPDIR/states")" -ge 8 ]
    # "127.0.0.1:5000 from 127.0.0.1", ports, share
    [ "$(jq -r '.destinations[] | "\(.[0]) \(.[1])"' <<<"$page")" = "$(sed -nE \
        's/^port_destination_used\{.*,source="(.*)",destination="(.*)"\} ([0-9]+)$/\2 from \1 \3/p' <<<"$metrics")" ]
    [ "$(jq '.destinations | length' <<<"$page")" -eq 3 ]
}

@test "the figures are those of /metrics, with JavaScript and without; the console has no error" {
    make_every_kind
    start_page --top-destinations=3
    run browse figures
    assert_success
    assert_same_figures "$output"
    [ "$(jq .line <<<"$output")" = true ]
    rm "$BATS_TEST_TMPDIR/states"
    run browse figures nojs
    assert_success
    assert_same_figures "$output"
    [ "$(jq .line <<<"$output")" = false ]
    [ "$(jq -r .status <<<"$output")" = "" ]
}

@test "a browser that has 12 KiB of cookies for this host sees the page" {
    start_page
    run browse cookies
    assert_success
    [ "$output" -ge 12288 ]
}

@test "a violation of the policy would be found" {
    # The same page with a script more.
    start_page
    ask / >"$BATS_TEST_TMPDIR/page"
    ask / -D "$BATS_TEST_TMPDIR/head" -o /dev/null
    sed -i 's|</body>|<script>1</script></body>|' "$BATS_TEST_TMPDIR/page"
    sed -i "s/^Content-Length: .*/Content-Length: $(wc -c <"$BATS_TEST_TMPDIR/page")\r/" "$BATS_TEST_TMPDIR/head"
    cat "$BATS_TEST_TMPDIR/head" "$BATS_TEST_TMPDIR/page" >"$BATS_TEST_TMPDIR/answer"
    # It reads the request first: unread input at close() would turn the answer into a reset.
    # shellcheck disable=SC2016 # for the inner shell
    start fake systemd-socket-activate -a --inetd -l "$BATS_TEST_TMPDIR/fake" -- \
        sh -c 'while read -r line && [ ${#line} -gt 1 ]; do :; done; cat "$1"' sh "$BATS_TEST_TMPDIR/answer"
    wait_until 5 test -S "$BATS_TEST_TMPDIR/fake"
    run "$ROOT/tests/browser/run" figures "$BATS_TEST_TMPDIR/fake"
    assert_failure 1
    assert_output --partial script-src
}

@test "it follows when 1,000 sockets are opened, and says how long the ports last" {
    ns_sysctl ip_local_port_range "40000 49999"
    start_page
    start_watching
    shows '"used":0,'
    hold "listen 127.0.0.1 5000" "1000 x connect 127.0.0.1 5000"
    wait_until 10 shows '"used":1000,'
    wait_until 20 shows 'the nearest destination is exhausted in [0-9]+ (seconds|minutes)'
    STARTED_PID=${STARTED[-2]} stop_watching
}

@test "it says so when the sidecar cannot be reached, and goes on when it can" {
    start_page
    start_watching
    local watch_pid=$STARTED_PID
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    wait_until 20 shows '"trouble":true,"status":"The sidecar cannot be reached since TIME ZONE; what you see is older."'
    rm -f "$SOCKET"
    hold "listen 127.0.0.1 5000" "7 x connect 127.0.0.1 5000"
    start_page
    wait_until 20 shows '"used":7,"trouble":false'
    STARTED_PID=$watch_pid stop_watching
}

@test "it says why there are no figures" {
    cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
    start_page --path.procfs="$BATS_TEST_TMPDIR/procfs"
    start_watching
    mv "$BATS_TEST_TMPDIR/procfs/self/net/tcp" "$BATS_TEST_TMPDIR/tcp"
    wait_until 20 shows 'No figures since TIME ZONE .*read self/net/tcp: No such file or directory'
    run ask / -o /dev/null -w '%{http_code} %{content_type}'
    assert_output '500 text/plain; charset=utf-8'
    mv "$BATS_TEST_TMPDIR/tcp" "$BATS_TEST_TMPDIR/procfs/self/net/tcp"
    wait_until 20 shows '"trouble":false'
    kill -TERM "$STARTED_PID"
    wait_until 10 is_gone "$STARTED_PID"
}

@test "nobody asks while the tab is hidden" {
    start_page
    run browse hide
    assert_success
    assert_output 'hidden 0, shown 1'
}

@test "axe-core finds nothing serious: wide and narrow, light and dark, with names and without" {
    make_every_kind
    start_page --top-destinations=10
    local scheme
    for scheme in light dark; do
        run browse axe 1200 $scheme
        assert_success
        assert_output --regexp 'axe: [0-9]+ rules passed'
        run browse axe 390 $scheme
        assert_success
    done
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    rm -f "$SOCKET"
    start_page
    run browse axe 1200 light
    assert_success
}

@test "nothing sticks out at the side, however long the names are" {
    local name
    name=$(printf '%0253d' 0)
    make_long_procfs 100
    POD_NAME=$name start_page --top-destinations=100 --path.procfs="$BATS_TEST_TMPDIR/procfs"
    local width
    for width in 320 390 1200; do
        run browse shot "$BATS_TEST_TMPDIR/shot.png" $width 800 dark
        assert_success
        assert_output ""
    done
}

# make_long_procfs ROWS: connections of IPv6, of long addresses, towards a hundred destinations, from all ports in turn.
make_long_procfs() {
    cp -r "$FIXTURES/idle" "$BATS_TEST_TMPDIR/procfs"
    awk -v rows="$1" 'BEGIN {
        printf "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        for (i = 0; i < rows; i++)
            printf "%4d: B80D0120EFCDAB8901234567EFCDAB89:%04X B80D0120EFCDAB8901234567EFCDAB%02X:01BB 01 00000000:00000000 00:00000000 00000000     0        0 %d 1 0000000000000000 20 4 30 10 -1\n", \
                i, 32768 + i % 28000, i % 100, i }' >"$BATS_TEST_TMPDIR/procfs/self/net/tcp6"
    # The short cut past the table is closed to these.
    rm -f "$BATS_TEST_TMPDIR/procfs/self/net/sockstat6"
}

@test "a million sockets: the page stays below 64 KiB, and below 32 KiB without names" {
    make_long_procfs 1000000
    start_page --top-destinations=100 --path.procfs="$BATS_TEST_TMPDIR/procfs" --timeout=60
    ask / >"$BATS_TEST_TMPDIR/page"
    grep -q 'Scanned 1,000,00[0-9] sockets' "$BATS_TEST_TMPDIR/page"
    [ "$(grep -c '<tr><td>\[2001:db8:' "$BATS_TEST_TMPDIR/page")" -eq 100 ]
    echo "# $(wc -c <"$BATS_TEST_TMPDIR/page") bytes" >&3
    [ "$(wc -c <"$BATS_TEST_TMPDIR/page")" -lt $SOCKET_MAX ]
    rm "$BATS_TEST_TMPDIR/procfs/self/net/tcp6"
    run bash -c '"$1" --inetd <<<$'"'GET / HTTP/1.0\r\n\r'"' | wc -c' bash "$PROGRAM"
    [ "$output" -lt 32768 ]
}

# page_of [ASSIGNMENT...]: as a process for one request shows it.
page_of() {
    ns env "$@" "$PROGRAM" --inetd <<<$'GET / HTTP/1.0\r\n\r'
}

@test "where nothing is named, the page says how to see it: by kubectl in Kubernetes, and there alone" {
    local rest=' To name ten here, start with <code>--top-destinations=10</code>'
    run page_of KUBERNETES_SERVICE_HOST=10.0.0.1
    assert_line --partial "<code>kubectl exec -it POD -c metrics-sidecar -- /metrics-sidecar --report</code>.$rest"
    run page_of
    assert_line --partial "<code>metrics-sidecar --report</code> where this one runs.$rest"
    refute_output --partial kubectl
    run page_of KUBERNETES_SERVICE_HOST=10.0.0.1 METRICS_SIDECAR_TOP_DESTINATIONS=1
    refute_output --partial kubectl
    # The supervisor's processes as well.
    KUBERNETES_SERVICE_HOST=10.0.0.1 start_page
    run ask /
    assert_line --partial "<code>kubectl exec -it POD "
}

@test "close_wait: the page says what it is a sign of, where there is some" {
    local said='<p>close_wait: the program does not close what the other side has closed. Where that lasts or grows, it is a leak.</p>'
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000"
    run page_of
    refute_output --partial close_wait
    hold "listen 127.0.0.1 5001" "close-wait 127.0.0.1 5001"
    run page_of
    assert_line "$said"
}

@test "with a token, without it the page is not shown" {
    echo secret-token >"$BATS_TEST_TMPDIR/token"
    start_page --bearer-token-file="$BATS_TEST_TMPDIR/token"
    [ "$(ask / -o /dev/null -w '%{http_code}')" = 401 ]
    ask / -H 'Authorization: Bearer secret-token' | grep -q '<section id="pool">'
}

@test "nothing but digests allows a style or a script, and they are right" {
    start_page
    local policy
    policy=$(ask / -D - -o "$BATS_TEST_TMPDIR/page" | tr -d '\r' | sed -n 's/^Content-Security-Policy: //p')
    [[ $policy == "default-src 'none'; "* ]]
    [[ $policy != *unsafe* ]]
    # digest TAG: of what is between the tags.
    digest() {
        awk -v RS="</?$1>" 'NR == 2 { printf "%s", $0 }' "$BATS_TEST_TMPDIR/page" | openssl dgst -sha256 -binary | openssl base64
    }
    [[ $policy == *"style-src 'sha256-$(digest style)';"* ]]
    [[ $policy == *"script-src 'sha256-$(digest script)';"* ]]
    # No attribute that would need more.
    run grep -nE ' (style|on[a-z]+)=' "$BATS_TEST_TMPDIR/page"
    assert_failure
}

@test "the verdict turns where the alerts ring" {
    local rules=$ROOT/deploy/prometheus/rules.yaml
    # threshold ALERT: in percent.
    threshold() {
        awk -v alert="$1" '$2 == "alert:" || $3 == alert { here = $3 == alert } here && match($0, /> [0-9.]+$/) { print substr($0, RSTART + 2) * 100; exit }' "$rules"
    }
    constant() {
        sed -nE "s/^\t$1 = ([0-9]+),.*/\1/p" "$ROOT/view.h"
    }
    # The page says what is; what comes and goes around one half rings no alert.
    [ "$(threshold LocalPortsDestinationHalfUsed)" = "$(($(constant VIEW_HALF_PERCENT) + 1))" ]
    [ "$(threshold LocalPortsDestinationNearlyExhausted)" = "$(constant VIEW_SHORT_PERCENT)" ]
    [ "$(threshold LocalPortsPoolMostlyUsed)" = "$(constant VIEW_POOL_PERCENT)" ]
    [ "$(threshold LocalPortsPoolNearlyExhausted)" = "$(constant VIEW_POOL_SHORT_PERCENT)" ]
    # One port more each time.
    ns_sysctl ip_local_port_range "40000 40009"
    local ports word
    while read -r ports word; do
        hold "listen 127.0.0.1 5000" "$ports x connect 127.0.0.1 5000"
        run ns "$PROGRAM" --report
        assert_line --index 0 "Local ports of test-pod: $word"
        kill "$HOLD_PID"
        wait_until 5 is_gone "$HOLD_PID"
    done <<<$'1 enough\n5 enough\n6 half used\n9 half used\n10 exhausted'
}

@test "another pod behind the same address is not taken for the first one" {
    POD_NAME=first start_page
    start_watching
    local watch_pid=$STARTED_PID
    kill "$SERVER_PID"
    wait_until 5 is_gone "$SERVER_PID"
    rm -f "$SOCKET"
    hold "listen 127.0.0.1 5000" "7 x connect 127.0.0.1 5000"
    POD_NAME=second start_page
    wait_until 20 shows '"used":0,"trouble":true,"status":"No figures since TIME ZONE .this is Local ports of second now: load it again.; '
    STARTED_PID=$watch_pid stop_watching
}

# judged SOCKET...: the first lines of a report, while there are these.
judged() {
    hold "$@"
    ns env COLUMNS=200 "$PROGRAM" --report | head -n 2
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
}

# judged_each LAST KIND: a socket on each port up to that one, by number: those that the kernel chooses may be shared.
judged_each() {
    local sockets
    mapfile -t sockets < <(lines 40000 "$1" "$2 127.0.0.1 PORT")
    judged "${sockets[@]}"
}

# verdict LEVEL SENTENCES: the first two lines of such a report.
verdict() {
    assert_output "Local ports of test-pod: $1"$'\n'"$2"
}

HELD="Sockets that listen or are bound hold"

@test "the verdict names the cause: sockets that block, UDP, TIME_WAIT, a pool without ports" {
    kernel_shows_bound || skip "needs Linux 6.8"
    ns_sysctl ip_local_port_range "40000 40009"
    run judged_each 40005 bind-tcp
    verdict "half used" "More than half of the ports are taken towards every destination: connect() can be many times slower there. $HELD these ports."
    run judged_each 40009 bind-tcp
    verdict exhausted "No port is left towards every destination: connect() fails there with EADDRNOTAVAIL. $HELD these ports."
    run judged_each 40008 bind-udp
    verdict "mostly used" "Most UDP ports are in use: UDP sockets do not share ports between destinations."
    ns_sysctl tcp_tw_reuse 0
    run judged "listen 127.0.0.1 5000" "10 x time-wait 127.0.0.1 5000"
    assert_output --partial ' Ports in TIME_WAIT come back within 60 seconds.'
    ns_sysctl ip_local_reserved_ports "40000-40009"
    run judged
    verdict exhausted "The pool is empty: every port of the range is reserved."
}

@test "all ports in TIME_WAIT that connect() may take over: enough is left for connect(), and bind() can fail" {
    kernel_shows_bound || skip "needs Linux 6.8"
    [ -e /proc/sys/net/ipv4/tcp_tw_reuse_delay ] || skip "needs Linux 6.14"
    ns_sysctl ip_local_port_range "40000 40009"
    ns_sysctl tcp_tw_reuse_delay 1
    # Each would take over the one before.
    ns_sysctl tcp_tw_reuse 0
    hold "listen 127.0.0.1 5000" "10 x time-wait 127.0.0.1 5000"
    ns_sysctl tcp_tw_reuse 2
    wait_until 5 eval 'ns "$PROGRAM" --print | grep -q "^port_time_wait_reusable{.*} 10$"'
    run ns env COLUMNS=200 "$PROGRAM" --report
    assert_line --index 0 "Local ports of test-pod: enough"
    assert_line --partial 'Most TCP ports are in use, but connect() may take over those in TIME_WAIT that no program had bound.'
    run ns "$PEER" try-bind 127.0.0.1
    assert_output EADDRINUSE
    run ns "$PEER" try 127.0.0.1 5000
    assert_output connected
}

@test "most ports blocked and the rest connected: no port is left towards one destination, and others connect" {
    kernel_shows_bound || skip "needs Linux 6.8"
    ns_sysctl ip_local_port_range "40000 40009"
    local sockets
    mapfile -t sockets < <(lines 40000 40005 "bind-tcp 127.0.0.1 PORT")
    hold "listen 0.0.0.0 5000" "${sockets[@]}" "4 x connect 127.0.0.1 5000"
    run ns env COLUMNS=200 "$PROGRAM" --report
    assert_line --index 1 "No port is left towards one destination: connect() fails there with EADDRNOTAVAIL. $HELD most of these ports, which closes them to every destination."
    run ns "$PEER" try 127.0.0.1 5000
    assert_output EADDRNOTAVAIL
    run ns "$PEER" try 127.0.0.2 5000
    assert_output connected
}

# dialled N [KIND]: so many connections, each to a destination of its own, of programs that bind to port 0 first, or
# of that kind.
dialled() {
    seq "$1" | while read -r n; do echo "${2:-dial-bound} 127.0.1.$n 5000 127.0.0.1${2:+ 0}"; done
}

# All of it on one local address; see the comment in view.c.
@test "all TCP ports in use: what fails is what the verdict says, and connect() works as far as it says" {
    ns_sysctl ip_local_port_range "40000 40099"
    local sockets full="All TCP ports are in use. bind() to port 0 fails with EADDRINUSE on an address on which all of \
them are, and so do programs that bind before they connect. connect() without bind() can still share ports that no program \
has bound."
    mapfile -t sockets < <(dialled 100)
    hold "listen 0.0.0.0 5000" "${sockets[@]}"
    run ns env COLUMNS=400 "$PROGRAM" --report
    assert_line --index 0 "Local ports of test-pod: exhausted"
    assert_equal "$(sed -n '2,/^$/p' <<<"$output" | tr '\n' ' ' | sed 's/ *$//')" "$full"
    expect_value "$(ns "$PROGRAM" --print)" 100 port_used_by_protocol 'protocol="tcp"'
    # The figure of a destination is that of its connections, and not what a new connect() cannot use.
    ns "$PROGRAM" --inetd <<<$'GET / HTTP/1.0\r\n\r' >"$BATS_TEST_TMPDIR/page"
    grep -q '<p><b>1 <small>(1.0 %)</small></b> are blocked or lead to it: ' "$BATS_TEST_TMPDIR/page"
    assert_equal "$(ns "$PEER" try-bind 127.0.0.1)" EADDRINUSE
    assert_equal "$(ns "$PEER" try-bind 0.0.0.0)" EADDRINUSE
    # On another address of this machine they are not all in use.
    assert_equal "$(ns "$PEER" try-bind 127.0.0.2)" bound
    # A program has bound each of them, so that connect() shares none.
    assert_equal "$(ns "$PEER" try 127.0.2.1 5000)" EADDRNOTAVAIL
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    # The same ports, chosen by connect().
    mapfile -t sockets < <(lines 40000 40009 "dial 127.0.0.1 5000 127.0.0.1 0")
    ns_sysctl ip_local_port_range "40000 40009"
    hold "listen 0.0.0.0 5000" "${sockets[@]}"
    assert_equal "$(ns "$PEER" try-bind 127.0.0.1)" EADDRINUSE
    assert_equal "$(ns "$PEER" try 127.0.2.1 5000)" connected
}

@test "nearly all TCP or UDP ports in use: few are left, and so it is when one is left of an odd number" {
    ns_sysctl ip_local_port_range "40000 40199"
    local sockets
    mapfile -t sockets < <(dialled 198)
    run judged "listen 0.0.0.0 5000" "${sockets[@]}"
    verdict "mostly used" "Most TCP ports are in use, all destinations together. bind() to port 0 needs others on the same address; connect() without bind() can share those that no program has bound."
    mapfile -t sockets < <(dialled 199)
    run judged "listen 0.0.0.0 5000" "${sockets[@]}"
    verdict "nearly exhausted" "Nearly all TCP ports are in use: few are left for bind() to port 0, and for programs that bind before they connect."
    run judged_each 40198 bind-udp
    verdict "nearly exhausted" "Nearly all UDP ports are in use: few are left for new UDP sockets, those of name lookups among them."
    ns_sysctl ip_local_port_range "40000 40004"
    mapfile -t sockets < <(dialled 4)
    run judged "listen 0.0.0.0 5000" "${sockets[@]}"
    assert_output --partial "nearly exhausted"
}

@test "all UDP ports in use: a new socket gets a port only where it may share one" {
    ns_sysctl ip_local_port_range "40000 40009"
    local full="All UDP ports are in use: a new UDP socket, as a name lookup opens one, gets a port only where it may share one, by SO_REUSEADDR or with another address or IP version."
    run judged_each 40009 bind-udp
    verdict exhausted "$full"
    local sockets
    mapfile -t sockets < <(lines 40000 40009 "bind-udp 127.0.0.1 PORT")
    hold "${sockets[@]}"
    assert_equal "$(ns "$PEER" try-udp 127.0.0.1 53)" EAGAIN
    assert_equal "$(ns "$PEER" try-udp ::1 53)" EAGAIN
    kill "$HOLD_PID"
    wait_until 5 is_gone "$HOLD_PID"
    mapfile -t sockets < <(lines 40000 40009 "bind-udp ::1 PORT")
    hold "${sockets[@]}"
    run ns env COLUMNS=200 "$PROGRAM" --report
    assert_line --index 1 "$full"
    assert_equal "$(ns "$PEER" try-udp 127.0.0.1 53)" connected
    assert_equal "$(ns "$PEER" try-udp ::1 53)" EAGAIN
}

@test "enough is said with a reserve, and with another one where bound sockets are not all seen" {
    kernel_shows_bound || skip "needs Linux 6.8"
    run ns env COLUMNS=200 "$PROGRAM" --report
    verdict_of_enough="As far as can be seen, enough local ports are free towards every destination."
    assert_line --index 1 "$verdict_of_enough"
    run ns env COLUMNS=200 "$PROGRAM" --report --source=procfs
    assert_line --index 1 "$verdict_of_enough Not every bound socket is seen here."
}

@test "more destinations than are counted: not known, and at least so much" {
    # 20,000 destinations share two ports, so that a figure may be too low by more than half of them.
    ns_sysctl ip_local_port_range "40000 40001"
    ns_sysctl tcp_max_tw_buckets 65536
    ns_sysctl tcp_tw_reuse 0
    hold "listen 0.0.0.0 5000" "time-wait-each 20000 127.1.0.1 5000"
    run ns env COLUMNS=200 "$PROGRAM" --report
    assert_line --index 0 "Local ports of test-pod: not known"
    assert_line --index 1 "At least 1 of 2 ports are taken towards one destination; there are too many destinations to count each."
    assert_line --regexp '^at least 1 of 2 ports '
}

@test "lower bounds: page and report say at least, and neither that enough is left nor how long it lasts" {
    local gvisor="--path.procfs=$FIXTURES/gvisor"
    run env COLUMNS=200 "$PROGRAM" --report "$gvisor"
    verdict_lines=$(head -n 2 <<<"$output")
    assert_equal "$verdict_lines" $'Local ports of test-pod: not known\nAt least 7 of 49,536 ports are in use. Sockets that no process has open any more, those in TIME_WAIT among them, and UDP sockets of IPv6 cannot be seen here: more ports may be in use.'
    assert_line --regexp '^at least 5 of 49,536 ports '
    assert_line --regexp '^at least 7 of 49,536 ports in use '
    refute_output --partial TIME_WAIT\ only
    refute_output --regexp '[Ee]nough'
    start watching env COLUMNS=200 "$PROGRAM" --report --watch "$gvisor"
    wait_until 20 grep -qx 'How long the ports last cannot be estimated: not every port in use can be seen.' "$BATS_TEST_TMPDIR/watching.out"
    start_page "$gvisor" --top-destinations=3
    ask / >"$BATS_TEST_TMPDIR/page"
    run sed -e 's/<script>.*//' "$BATS_TEST_TMPDIR/page"
    refute_output --regexp '[Ee]nough|TIME_WAIT only'
    assert_output --partial '<p>At least <b id="used">7</b> of '
    # Nor does the script.
    run browse figures
    [ "$(jq -r .verdict <<<"$output")" = "Local ports: not known" ]
    start_watching
    wait_until 20 shows 'How long the ports last cannot be estimated: not every port in use can be seen\.'
    kill -TERM "$STARTED_PID"
    wait_until 10 is_gone "$STARTED_PID"
}
