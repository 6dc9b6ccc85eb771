#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# --report, in real terminals and without one. golden/report-* is what a terminal shows, with its colours as words;
# UPDATE_GOLDEN=1 writes it anew: read the difference before committing it.

load helpers
bats_require_minimum_version 1.5.0

setup() {
    export TMUX_TMPDIR=$BATS_TEST_TMPDIR
    unset TMUX NO_COLOR COLUMNS LC_CTYPE LANG
    TERMINALS=0
}

teardown() {
    [ "$TERMINALS" -eq 0 ] || terminals kill-server
    stop_all
}

# terminals COMMAND...: tell what holds the terminals of this test.
terminals() {
    tmux -u -L tests -f /dev/null "$@" 3>&-
}

# in_terminal COLUMNS LINES COMMAND...: start it in a terminal of its own, $TERMINAL, which outlives it; what it says
# on standard error goes to $TERMINAL.err, its status to $TERMINAL.status.
in_terminal() {
    TERMINALS=$((TERMINALS + 1))
    TERMINAL=terminal$TERMINALS
    # shellcheck disable=SC2016 # for that shell
    terminals start-server \; set -g status off \; new-session -d -s "$TERMINAL" -x "$1" -y "$2" \
        sh -c 'trap : INT; "$@" 2>"$0.err"; echo $? >"$0.status"; exec sleep infinity' \
        "$BATS_TEST_TMPDIR/$TERMINAL" "${@:3}"
}

terminal_ended() {
    [ -s "$BATS_TEST_TMPDIR/$TERMINAL.status" ]
}

# ended_with STATUS
ended_with() {
    [ "$(cat "$BATS_TEST_TMPDIR/$TERMINAL.status")" = "$1" ]
}

# screen [ARGUMENT...]: what the terminal shows.
screen() {
    terminals capture-pane -p -t "$TERMINAL" "$@"
}

shows() {
    screen | grep -qE -- "$1"
}

# The same where a line may end anywhere.
says() {
    screen | tr '\n' ' ' | grep -qE -- "$1"
}

# Colours and weights as words, where a character has others than the one before it: no two terminals agree on how to
# switch them.
name_colours() {
    awk 'BEGIN { RS = "\033"; split("red green yellow blue", colours, " ") }
        NR > 1 {
            end = index($0, "m")
            count = split(substr($0, 2, end - 2), codes, ";")
            for (i = 1; i <= count; i++) {
                code = codes[i] + 0
                if (code == 0) colour = weight = ""
                else if (code == 1) weight = "bold "
                else if (code == 2) weight = "dim "
                else if (code == 22) weight = ""
                else if (code == 39) colour = ""
                else if (code > 30 && code < 35) colour = colours[code - 30]
                else if (code != 49) colour = "code " code
            }
            $0 = substr($0, end + 1)
        }
        {
            style = weight colour
            sub(/ $/, "", style)
            if (style != shown && match($0, /[^\n]/)) {
                $0 = substr($0, 1, RSTART - 1) "{" style "}" substr($0, RSTART)
                shown = style
            }
            printf "%s", $0
        }'
}

# The same without them.
forget_colours() {
    sed 's/{[a-z ]*}//g' "$@"
}

# Without the time that a scan took, the version, and where a line of them had to end; without empty lines behind it.
steady_report() {
    awk '/^Scanned / { foot = 1 } !foot { print } foot { line = line (line == "" || $0 == "" ? "" : " ") $0 }
        END { if (foot) print line }' |
        sed -E 's/ in [0-9.]+ ms / in TIME ms /; s/metrics-sidecar [0-9.]+$/metrics-sidecar VERSION/'
}

# report_of FIXTURE [ARGUMENT...]: piped.
report_of() {
    "$PROGRAM" --report --top-destinations=3 --path.procfs="$FIXTURES/$1" "${@:2}"
}

# report_in_terminal COLUMNS FIXTURE [ASSIGNMENT...]: the same in a terminal with room for it all.
report_in_terminal() {
    in_terminal "$1" 60 env "${@:3}" "$PROGRAM" --report --top-destinations=3 --path.procfs="$FIXTURES/$2"
    wait_until 10 terminal_ended
    ended_with 0
}

# expect_goldens FIXTURE: at each width, in UTF-8 and in ASCII.
expect_goldens() {
    local width charset golden
    for width in 40 80 200; do
        for charset in C.UTF-8 C; do
            golden=$ROOT/tests/golden/report-$1-$width-$charset.txt
            report_in_terminal "$width" "$1" LC_ALL="$charset"
            screen -e | name_colours | steady_report >"$BATS_TEST_TMPDIR/shown"
            if [ -n "${UPDATE_GOLDEN:-}" ]; then
                cp "$BATS_TEST_TMPDIR/shown" "$golden"
            fi
            diff "$golden" "$BATS_TEST_TMPDIR/shown"
            # The terminal had no line to break that the program did not.
            diff <(forget_colours "$golden") <(COLUMNS=$width LC_ALL=$charset report_of "$1" | steady_report)
        done
        expect_printed_figures "$1" "$ROOT/tests/golden/report-$1-$width-C.txt"
    done
}

# share PART WHOLE: as the report has it.
share() {
    local share=$(($1 * 1000 / $2))
    echo "$((share / 10)).$((share % 10)) %"
}

# expect_printed_figures FIXTURE FILE: a report of ASCII has the figures that --print has.
expect_printed_figures() {
    local text used total nearest tcp udp blocked time_wait state count line
    text=$("$PROGRAM" --print --top-destinations=3 --path.procfs="$FIXTURES/$1")
    used=$(metric "$text" port_used)
    total=$(metric "$text" port_total)
    nearest=$(metric "$text" port_destination_used_max)
    tcp=$(metric "$text" port_used_by_protocol 'protocol="tcp"')
    udp=$(metric "$text" port_used_by_protocol 'protocol="udp"')
    blocked=$(metric "$text" port_blocked)
    time_wait=$(metric "$text" port_time_wait)
    {
        echo "Nearest to exhaustion $nearest of $total ports ($(share "$nearest" "$total")): "
        echo "$used of $total ports in use ($(share "$used" "$total")): TCP $tcp, UDP $udp; range $(
            metric "$text" port_range_first
        ) to $(metric "$text" port_range_last), $(metric "$text" port_reserved) reserved "
        echo " $((used - blocked - time_wait)) connected, or UDP "
        echo " $blocked blocked for every connect() "
        echo " $time_wait TCP in TIME_WAIT only "
        echo " $((total - used)) free "
        echo " Scanned $(metric "$text" port_scan_sockets) sockets "
        sed -nE 's/^port_destination_used\{.*,source="(.*)",destination="(.*)"\} ([0-9]+)$/\3 \2 \1/p' <<<"$text" |
            while read -r count line; do
                echo " $count $(share "$count" "$total") ${line/ / from } "
            done
        sed -nE 's/^port_sockets\{.*protocol="tcp",state="(.*)"\} .*/\1/p' <<<"$text" | while read -r state; do
            tcp=$(metric "$text" port_sockets "protocol=\"tcp\",state=\"$state\"")
            udp=$(metric "$text" port_sockets "protocol=\"udp\",state=\"$state\"") || udp=0
            [ "$state" != established ] && [ "$state" != time_wait ] && [ "$tcp$udp" = 00 ] || echo " $state $tcp $udp "
        done
    } >"$BATS_TEST_TMPDIR/figures"
    # In one line, without what groups digits, and without bars.
    forget_colours "$2" | sed -E 's/([0-9]),([0-9]{3})/\1\2/g; s/ [#wX.|]+ +/ /' | tr -s ' \n' ' ' >"$BATS_TEST_TMPDIR/line"
    while IFS= read -r line; do
        grep -qF -- "$line" "$BATS_TEST_TMPDIR/line" || fail "$2 has no \"$line\""
    done <"$BATS_TEST_TMPDIR/figures"
    [ "$(grep -cE '^  [a-z_0-9]+  +[0-9]' <(forget_colours "$2"))" -eq "$(grep -cE '^ [a-z]' "$BATS_TEST_TMPDIR/figures")" ]
}

@test "busy: sockets of every kind, in terminals of 40, 80 and 200 columns" {
    expect_goldens busy
}

@test "exhausted: the same" {
    expect_goldens exhausted
}

@test "idle: the same" {
    expect_goldens idle
}

@test "no colours: piped, with NO_COLOR, and where TERM is dumb or not set; UTF-8 it is all the same" {
    local golden=$ROOT/tests/golden/report-busy-80-C.UTF-8.txt variable
    grep -q '{green}' "$golden"
    forget_colours "$golden" >"$BATS_TEST_TMPDIR/plain"
    diff "$BATS_TEST_TMPDIR/plain" <(LC_ALL=C.UTF-8 report_of busy | steady_report)
    for variable in NO_COLOR=1 TERM=dumb TERM= --unset=TERM; do
        report_in_terminal 80 busy "$variable" LC_ALL=C.UTF-8
        diff "$BATS_TEST_TMPDIR/plain" <(screen -e | steady_report)
    done
    # An empty one is none.
    report_in_terminal 80 busy NO_COLOR= LC_ALL=C.UTF-8
    diff "$golden" <(screen -e | name_colours | steady_report)
}

@test "piped: 80 columns, or those of COLUMNS, from 40 to 200" {
    local columns width
    while read -r columns width; do
        diff <(forget_colours "$ROOT/tests/golden/report-busy-$width-C.txt") \
            <(COLUMNS=$columns report_of busy | steady_report) || fail "COLUMNS=$columns"
    done <<'WIDTHS'
40 40
80 80
200 200
1 40
39 40
201 200
65535 200
0 80
-1 80
80x 80
WIDTHS
    diff <(COLUMNS='' report_of busy | steady_report) <(report_of busy | steady_report)
    # A terminal knows better.
    report_in_terminal 40 busy COLUMNS=80 NO_COLOR=1
    diff <(COLUMNS=40 report_of busy | steady_report) <(screen | steady_report)
}

@test "UTF-8 or ASCII: the first of LC_ALL, LC_CTYPE, LANG that is set decides; without any, as in an image, UTF-8" {
    local charset variables
    while read -r charset variables; do
        # shellcheck disable=SC2086 # words
        diff <(forget_colours "$ROOT/tests/golden/report-busy-80-$charset.txt") \
            <(env -u LC_ALL $variables "$PROGRAM" --report --top-destinations=3 --path.procfs="$FIXTURES/busy" |
                steady_report) || fail "$variables"
    done <<'LOCALES'
C.UTF-8
C LANG=C
C LANG=de_DE.ISO-8859-1
C LC_ALL=C LC_CTYPE=C.UTF-8 LANG=C.UTF-8
C LC_CTYPE=POSIX LANG=C.UTF-8
C.UTF-8 LANG=en_US.UTF-8
C.UTF-8 LANG=de_DE.utf8
C.UTF-8 LC_CTYPE=C.utf8 LANG=C
C.UTF-8 LC_ALL= LC_CTYPE= LANG=C.UTF-8
C.UTF-8 LC_ALL=C.UTF-8 LC_CTYPE=C LANG=C
C.UTF-8 LC_ALL= LC_CTYPE= LANG=
LOCALES
}

# hex6 ADDRESS: an IPv6 address of eight groups of four digits as proc_table wants it.
hex6() {
    local groups i
    IFS=: read -ra groups <<<"${1^^}"
    for i in 0 2 4 6; do
        printf %s "${groups[i + 1]:2}" "${groups[i + 1]:0:2}" "${groups[i]:2}" "${groups[i]:0:2}"
    done
}

# make_ipv6_procfs DIR DESTINATION...: one connection from port 40000, 40001 and on to each.
make_ipv6_procfs() {
    local destination port=40000 rows=()
    make_procfs "$1"
    for destination in "${@:2}"; do
        rows+=("$(hex6 "$SOURCE"):$(printf %04X "$port") $(hex6 "$destination"):FFFF 01")
        port=$((port + 1))
    done
    proc_table "$1/self/net/tcp6" "${rows[@]}"
}

@test "a hundred addresses as long as they get, with colours: shown whole at every width" {
    local procfs=$BATS_TEST_TMPDIR/procfs width destinations=()
    SOURCE=2001:1db8:1111:2222:3333:4444:5555:6666
    mapfile -t destinations < <(printf '2001:1db8:1111:2222:3333:4444:7777:1%03d\n' $(seq 100))
    make_ipv6_procfs "$procfs" "${destinations[@]}"
    for width in 40 80 132 200; do
        in_terminal "$width" 500 env LC_ALL=C.UTF-8 "$PROGRAM" --report --top-destinations=100 --path.procfs="$procfs"
        wait_until 10 terminal_ended
        ended_with 0
        diff <(screen | sed '1,/^Top/d' | tr -d ' \n' | grep -oE "\[2001:[0-9a-f:]+:1[0-9]{3}\]:65535from$SOURCE" | sort) \
            <(printf "[%s]:65535from$SOURCE\n" "${destinations[@]}" | sort) || fail "at $width columns"
    done
    # Where there is room for one, no address is broken.
    for width in 80 132 200; do
        COLUMNS=$width "$PROGRAM" --report --top-destinations=100 --path.procfs="$procfs" >"$BATS_TEST_TMPDIR/report"
        [ "$(wc -L <"$BATS_TEST_TMPDIR/report")" -le "$width" ] || fail "wider than $width columns"
    done
}

@test "addresses that have no room in one line of 80 columns: the second is below the first" {
    SOURCE=fd00:0010:0244:0001:0000:0000:0000:0023
    make_ipv6_procfs "$BATS_TEST_TMPDIR/procfs" fd00:0010:0096:0000:0000:0000:0000:000a
    run "$PROGRAM" --report --top-destinations=1 --path.procfs="$BATS_TEST_TMPDIR/procfs"
    assert_line '       1    0.0 %  #...................  [fd00:10:96::a]:65535'
    assert_line '                                         from fd00:10:244:1::23'
}

@test "close_wait: the report says what it is a sign of, where there is some" {
    local said='close_wait: the program does not close what the other side has closed. Where that lasts or grows, it is a leak.'
    ns_create
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000"
    COLUMNS=200 run ns "$PROGRAM" --report
    refute_output --partial "close_wait"
    hold "listen 127.0.0.1 5001" "close-wait 127.0.0.1 5001"
    COLUMNS=200 run ns "$PROGRAM" --report
    assert_line "$said"
    # At its own width, 40 columns at the least.
    COLUMNS=40 run ns "$PROGRAM" --report
    [ "$(tr '\n' ' ' <<<"$output" | grep -cF -- "$said")" -eq 1 ]
}

@test "pod name: control characters and bytes that are no UTF-8 do not reach the terminal" {
    # Escape, bell, delete, C1 as a byte and as a character, a character cut short, one that is too long, a surrogate.
    local name=$'a\e[31mb\a\x7fc\x9b\xc2\x9bd\xc3\xc0\xafe\xed\xa0\x80\t\nf\xc3\xa9'
    LC_ALL=C.UTF-8 report_of idle --pod-name="$name" >"$BATS_TEST_TMPDIR/report"
    [ "$(head -n 1 "$BATS_TEST_TMPDIR/report")" = $'Local ports of a?[31mb??c??d???e?????f\xc3\xa9: enough' ]
    LC_ALL=C.UTF-8 report_of idle | tail -n +2 | steady_report | diff - <(tail -n +2 "$BATS_TEST_TMPDIR/report" | steady_report)
    run report_of idle --pod-name="$name"
    assert_line --index 0 'Local ports of a?[31mb??c??d???e?????f?: enough'
    # As it comes out of a variable, where there are escapes of our own.
    in_terminal 80 60 env POD_NAME="$name" LC_ALL=C.UTF-8 "$PROGRAM" --report --path.procfs="$FIXTURES/idle"
    wait_until 10 terminal_ended
    [ "$(screen -e | name_colours | head -n 1)" = $'{green}Local ports of a?[31mb??c??d???e?????f\xc3\xa9: enough' ]
}

@test "every byte alone as pod name: printable ASCII, or a question mark; white space is no part of a name" {
    local i byte wanted
    for i in $(seq 255); do
        printf -v byte '%b' "\\x$(printf %x "$i")"
        wanted='?'
        [ "$i" -lt 32 ] || [ "$i" -gt 126 ] || wanted=$byte
        [[ $byte != [[:space:]] ]] || wanted=
        run -0 bash -c 'LC_ALL=C.UTF-8 "$@" | head -n 1' bash "$PROGRAM" --report --path.procfs="$FIXTURES/idle" --pod-name="$byte"
        [ "$output" = "Local ports of $wanted: enough" ] || fail "byte $i: $output"
    done
}

@test "what cannot be measured: status 1, one line, no report" {
    run --separate-stderr "$PROGRAM" --report --path.procfs=/nonexistent
    assert_failure 1
    assert_output ""
    # shellcheck disable=SC2154 # run sets it
    [ "$stderr" = "metrics-sidecar: read procfs: No such file or directory" ]
}

@test "what cannot be written: status 1, one line; watched or not" {
    local watch
    for watch in '' --watch; do
        # shellcheck disable=SC2086 # no word, or one
        run bash -c '"$@" >/dev/full' bash "$PROGRAM" --report --path.procfs="$FIXTURES/idle" $watch
        assert_failure 1
        assert_output "metrics-sidecar: write report: No space left on device"
    done
}

@test "--watch without --report: status 2, and what to do" {
    local mode
    for mode in --watch "--watch --print" "--inetd --watch"; do
        # shellcheck disable=SC2086 # words
        run "$PROGRAM" $mode
        assert_failure 2
        assert_output "metrics-sidecar: use --watch: only with --report; see --help"
    done
}

@test "an ordinary user in an empty root file system without an environment, as the image has none: UTF-8, no colours" {
    require_root "it changes its root, and becomes another user"
    local empty=$BATS_TEST_TMPDIR/empty
    mkdir -p "$empty/proc"
    install -m 755 "$STATIC_PROGRAM" "$empty/metrics-sidecar"
    ns_create
    hold "listen 127.0.0.1 5000" "3 x connect 127.0.0.1 5000"
    # shellcheck disable=SC2016 # for that shell
    local enter=("${NS_ENTER[@]}" -- unshare -m sh -c '
        mount --rbind /proc "$1/proc" && mount -o remount,bind,ro "$1/proc" &&
            exec env -i "$(command -v chroot)" --userspec=65534:65534 --groups= "$@"' sh "$empty" /metrics-sidecar)
    run "${enter[@]}" --report --pod-name=test-pod
    assert_success
    steady_report <<<"$output" | diff - <(LC_ALL=C.UTF-8 ns "$PROGRAM" --report | steady_report)
    assert_line --partial '3 of 28,232 ports in use '
    assert_line --partial '█ 3 connected, or UDP'
    in_terminal 80 60 "${enter[@]}" --report --pod-name=test-pod
    wait_until 10 terminal_ended
    ended_with 0
    screen -e | steady_report | diff - <(LC_ALL=C.UTF-8 ns "$PROGRAM" --report | steady_report)
}

# --- watched

# watch_in_terminal COLUMNS LINES [ARGUMENT...]: in the namespace.
watch_in_terminal() {
    in_terminal "$1" "$2" "${NS_ENTER[@]}" -- env LC_ALL=C.UTF-8 "$PROGRAM" --report --watch "${@:3}"
    wait_until 10 shows '^Local ports of'
}

has_not_scrolled() {
    [ "$(terminals display-message -p -t "$TERMINAL" '#{history_size}')" -eq 0 ]
}

# begins_with_verdict NAME: the report is where it began, and nothing has left the screen upwards.
begins_with_verdict() {
    [ "$(screen | head -n 1 | forget_time)" = "Local ports of test-pod: $1" ] || fail "it begins with $(screen | head -n 1)"
    has_not_scrolled || fail "it has scrolled"
}

# The verdict has the time of the figures, when it is watched.
forget_time() {
    sed -E 's/^(Local ports of .*) at [0-9]{2}:[0-9]{2}:[0-9]{2} UTC:/\1:/'
}

forget_time_left() {
    forget_time | sed -E '/^(How long|At the pace) /,/^$/{ /^$/!d }'
}

# screen_is COMMAND...: it shows the beginning of that report, but for how long the ports last, and nothing else.
screen_is() {
    local shown wanted
    shown=$(screen | forget_time_left | steady_report)
    wanted=$(LC_ALL=C.UTF-8 "$@" | steady_report)
    [[ $wanted == "$shown"* ]] && [ "$(wc -l <<<"$shown")" -ge 20 ]
}

# reports N: that many whole ones were written.
reports() {
    [ "$(grep -c '^Scanned' "$BATS_TEST_TMPDIR/watch.out")" -ge "$1" ]
}

@test "watched in a terminal: redrawn in place, from the verdict on, as much as has room" {
    ns_create
    watch_in_terminal 80 24 --top-destinations=3
    wait_until 10 shows '^0 of 28,232 ports in use '
    begins_with_verdict enough
    hold "listen 127.0.0.1 5000" "30 x connect 127.0.0.1 5000" "listen ::1 5003" "7 x connect ::1 5003"
    wait_until 10 shows '^30 of 28,232 ports \(0\.1 %\): 127\.0\.0\.1:5000 from 127\.0\.0\.1$'
    wait_until 10 screen_is ns "$PROGRAM" --report --top-destinations=3
    begins_with_verdict enough
    # More destinations, more rows: the foot has no room any more.
    hold "listen 127.0.0.2 5000" "100 x connect 127.0.0.2 5000"
    wait_until 10 shows '^     100    0\.3 %  █(░)+  127\.0\.0\.2:5000 from '
    wait_until 10 screen_is ns "$PROGRAM" --report --top-destinations=3
    begins_with_verdict enough
    [ "$(screen | wc -l)" -eq 24 ]
}

# replace_procfs FIXTURE: that is the procfs from now on, whatever it was; there is one all the time.
replace_procfs() {
    cp -r "$FIXTURES/$1" "$BATS_TEST_TMPDIR/next-$1"
    ln -sfn "next-$1" "$BATS_TEST_TMPDIR/link"
    mv -T "$BATS_TEST_TMPDIR/link" "$BATS_TEST_TMPDIR/procfs"
}

@test "watched: what was longer before leaves nothing behind" {
    ns_create
    replace_procfs busy
    watch_in_terminal 80 60 --path.procfs="$BATS_TEST_TMPDIR/procfs" --top-destinations=3
    wait_until 10 shows '^  listen  '
    replace_procfs idle
    wait_until 10 shows '^Scanned 0 sockets '
    wait_until 10 screen_is report_of idle
}

# One that waits for the column after its last one erases that when it is told to erase the rest of the line.
@test "watched: no line is erased from its end, where some terminals have the last character" {
    ns_create
    in_terminal 80 24 sh -c 'until [ -e "$1" ]; do sleep 0.02; done; shift; exec "$@"' sh "$BATS_TEST_TMPDIR/go" \
        env LC_ALL=C "$PROGRAM" --report --watch --path.procfs="$FIXTURES/idle"
    terminals pipe-pane -t "$TERMINAL" "cat >'$BATS_TEST_TMPDIR/bytes'"
    touch "$BATS_TEST_TMPDIR/go"
    wait_until 10 grep -q $'\e\\[J' "$BATS_TEST_TMPDIR/bytes"
    grep -q $'\e\\[K' "$BATS_TEST_TMPDIR/bytes"
    # What erases stands at the beginning of a line, and at its beginning only.
    run ! grep -aP '[^H]\e\[K' "$BATS_TEST_TMPDIR/bytes"
}

@test "watched: lines that the terminal has to break take more of its room than one" {
    ns_create
    local name width
    name=$(printf '%0253d' 0)
    SOURCE=2001:1db8:1111:2222:3333:4444:5555:6666
    make_ipv6_procfs "$BATS_TEST_TMPDIR/procfs" 2001:1db8:1111:2222:3333:4444:7777:{1000..1009}
    for width in 20 39 40 80; do
        watch_in_terminal "$width" 40 --pod-name="$name" --top-destinations=10 --path.procfs="$BATS_TEST_TMPDIR/procfs"
    done
    TERMINALS=0
    for width in 20 39 40 80; do
        TERMINAL=terminal$((++TERMINALS))
        # Of one report or more before it, nothing is left.
        wait_until 20 says 'At the pace of'
        [ "$(screen | head -n 1)" = "Local ports of" ] || fail "$width columns: it begins with $(screen | head -n 1)"
        has_not_scrolled || fail "$width columns: it has scrolled"
    done
}

@test "watched: follows the size of the terminal" {
    ns_create
    watch_in_terminal 80 24 --path.procfs="$FIXTURES/busy"
    terminals resize-window -t "$TERMINAL" -x 50 -y 60
    wait_until 10 shows '^(█|░|│){50}$'
    wait_until 10 shows '^Scanned 76 sockets'
}

@test "watched: says how long the ports last while connections grow steadily" {
    ns_create
    ns_sysctl ip_local_port_range "40000 41999"
    hold "listen 127.0.0.1 5000"
    watch_in_terminal 80 24
    wait_until 5 shows '^How long the ports last can be estimated in a few seconds\.$'
    start grow ns bash -c 'while exec {fd}<>/dev/tcp/127.0.0.1/5000; do sleep 0.05; done'
    wait_until 30 says 'At the pace of the last [0-9]+ seconds, [0-9.]+ ports a second, the nearest destination is exhausted in [0-9]+ (seconds|minutes)\. '
    begins_with_verdict enough
}

@test "watched: says that the ports last where nothing grows, and that nothing is left" {
    COLUMNS=200 start idle "$PROGRAM" --report --watch --path.procfs="$FIXTURES/busy"
    start exhausted "$PROGRAM" --report --watch --path.procfs="$FIXTURES/exhausted"
    wait_until 20 grep -qx 'At the pace of the last [0-9]* seconds connections to the nearest destination do not take all ports within two days\.' "$BATS_TEST_TMPDIR/idle.out"
    wait_until 20 grep -qx 'Nothing is left towards the nearest destination\.' "$BATS_TEST_TMPDIR/exhausted.out"
    # Four reports are too few to tell.
    run grep -xm 5 -e 'How long the ports .*' -e 'At the pace .*' "$BATS_TEST_TMPDIR/idle.out"
    assert_line --index 3 'How long the ports last can be estimated in a few seconds.'
    assert_line --index 4 --regexp '^At the pace of the last [0-9]+ seconds connections to the nearest destination do not take all ports within two days\.$'
}

@test "watched: less than a second left is not nothing" {
    local procfs=$BATS_TEST_TMPDIR/procfs rows
    make_procfs "$procfs"
    printf '40000\t40099\n' >"$procfs/sys/net/ipv4/ip_local_port_range"
    mapfile -t rows < <(printf '0100007F:%04X 0100007F:1388 01\n' $(seq 40000 40098))
    proc_table "$BATS_TEST_TMPDIR/tcp" "${rows[@]}"
    start watch "$PROGRAM" --report --watch --path.procfs="$procfs"
    wait_until 20 reports 4
    mv "$BATS_TEST_TMPDIR/tcp" "$procfs/self/net/tcp"
    wait_until 10 grep -qx 'Local ports of test-pod at .* UTC: nearly exhausted' "$BATS_TEST_TMPDIR/watch.out"
    run tr '\n' ' ' <"$BATS_TEST_TMPDIR/watch.out"
    assert_output --partial ' the nearest destination is exhausted in 1 second. '
}

# expect_interrupted STATUS: Ctrl-C ends it within a second, and leaves the report where it is.
expect_interrupted() {
    local start
    wait_until 10 shows '^Local ports of '
    start=${EPOCHREALTIME/./}
    terminals send-keys -t "$TERMINAL" C-c
    wait_until 5 terminal_ended
    [ $(((${EPOCHREALTIME/./} - start) / 1000)) -le 1000 ]
    ended_with "$1"
    shows '^Local ports of test-pod at [0-9:]{8} UTC: enough$'
}

@test "watched: Ctrl-C ends it at once" {
    in_terminal 80 24 "$PROGRAM" --report --watch --path.procfs="$FIXTURES/busy"
    expect_interrupted 130
}

@test "watched as PID 1, as in a container of its own: Ctrl-C and SIGTERM end it at once" {
    ns_create
    in_terminal 80 24 "${NS_ENTER[@]}" -- unshare -p --fork --kill-child \
        "$PROGRAM" --report --watch --path.procfs="$FIXTURES/busy"
    expect_interrupted 130
    start watch ns unshare -p --fork --kill-child "$PROGRAM" --report --watch --path.procfs="$FIXTURES/busy"
    wait_until 10 grep -q '^Scanned' "$BATS_TEST_TMPDIR/watch.out"
    kill -TERM "$(ps -o pid= --ppid "$STARTED_PID" | tr -d ' ')"
    wait_until 5 is_gone "$STARTED_PID"
}

@test "watched through a pipe that is closed: status 1, one line" {
    run bash -c '"$@" | head -n 1 | sed "s/ at .* UTC//"; exit "${PIPESTATUS[0]}"' bash \
        timeout 30 "$PROGRAM" --report --watch --path.procfs="$FIXTURES/idle"
    assert_failure 1
    assert_output - <<'SAID'
Local ports of test-pod: enough
metrics-sidecar: write report: Broken pipe
SAID
}

@test "watched: goes on after an error, and says why there was no report" {
    local procfs=$BATS_TEST_TMPDIR/procfs
    cp -r "$FIXTURES/idle" "$procfs"
    start watch "$PROGRAM" --report --watch --path.procfs="$procfs"
    wait_until 10 reports 1
    [ ! -s "$BATS_TEST_TMPDIR/watch.err" ]
    mv "$procfs" "$procfs.away"
    wait_until 10 grep -qx 'metrics-sidecar: read procfs: No such file or directory' "$BATS_TEST_TMPDIR/watch.err"
    local before
    before=$(grep -c '^Scanned' "$BATS_TEST_TMPDIR/watch.out")
    mv "$procfs.away" "$procfs"
    wait_until 10 reports $((before + 2))
    # An error takes no report, and no part of one.
    [ "$(grep -c '^Local ports of' "$BATS_TEST_TMPDIR/watch.out")" -eq "$(grep -c '^Scanned' "$BATS_TEST_TMPDIR/watch.out")" ]
    [ "$(wc -l <"$BATS_TEST_TMPDIR/watch.err")" -eq 1 ]
}

@test "watched in a terminal: says since when there are no figures, where the verdict was" {
    local procfs=$BATS_TEST_TMPDIR/procfs
    cp -r "$FIXTURES/idle" "$procfs"
    ns_create
    watch_in_terminal 80 24 --path.procfs="$procfs"
    mv "$procfs" "$procfs.away"
    wait_until 10 shows '^No figures since [0-9:]{8} UTC; these are older\.$'
    mv "$procfs.away" "$procfs"
    wait_until 10 shows '^Local ports of test-pod at [0-9:]{8} UTC: enough$'
}
