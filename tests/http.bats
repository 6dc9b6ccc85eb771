#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# HTTP as a client meets it (RFC 9110, RFC 9112), by four roads: the program's own loop, a connection that inetd
# accepted, a pipe that ends after the request, a pipe that does not.

load helpers

TEXT='text/plain; version=0[.]0[.]4; charset=utf-8'
OPENMETRICS='application/openmetrics-text; version=1[.]0[.]0; charset=utf-8'
GET='GET /metrics HTTP/1.1\r\nHost: localhost\r\n'

setup() {
    ASKED=0
    ASKING=()
    EXAMINED=$BATS_TEST_TMPDIR/examined
    FAULTS=$BATS_TEST_TMPDIR/faults
    PROCFS=$BATS_TEST_TMPDIR/proc
    ARGUMENTS=("--path.procfs=$PROCFS")
    make_procfs "$PROCFS"
    : >"$FAULTS"
}

teardown() {
    stop_all
}

start_quiet_server() {
    ns_create
    start_server "${ARGUMENTS[@]}" "$@"
}

# request TEXT...: what the client says, with the escapes of printf.
request() {
    REQUEST=$BATS_TEST_TMPDIR/request.$((ASKED + 1))
    printf '%b' "$@" >"$REQUEST"
}

# repeat COUNT TEXT
repeat() {
    local text
    printf -v text '%*s' "$1" ''
    printf '%s' "${text// /$2}"
}

# ask ROAD [MANNER...]: $REQUEST to the program, its answer to $ANSWER. MANNER is that of `peer talk`; by the road
# `feed` it is the number of bytes that are written at a time.
ask() {
    ASKED=$((ASKED + 1))
    ANSWER=$BATS_TEST_TMPDIR/answer.$ASKED
    exchange "$@"
}

# The same, in the background.
ask_meanwhile() {
    ASKED=$((ASKED + 1))
    ANSWER=$BATS_TEST_TMPDIR/answer.$ASKED
    exchange "$@" 3>&- &
    ASKING+=($!)
}

# Beside the answer: how the connection ended, and the milliseconds it took.
exchange() {
    local road=$1 since=${EPOCHREALTIME/[.,]/}
    shift
    case $road in
    server) ns "$PEER" talk 127.0.0.1 9999 "$@" <"$REQUEST" >"$ANSWER" 2>"$ANSWER.ended" ;;
    inetd) exchange_by_inetd "$@" ;;
    systemd) ns "$PEER" talk 127.0.0.1 9997 "$@" <"$REQUEST" >"$ANSWER" 2>"$ANSWER.ended" ;;
    pipe) "$PROGRAM" --inetd "${ARGUMENTS[@]}" < <(cat "$REQUEST") >"$ANSWER" 2>"$ANSWER.err" ;;
    feed) "$PEER" feed "${1:-0}" "$PROGRAM" --inetd "${ARGUMENTS[@]}" <"$REQUEST" >"$ANSWER" 2>"$ANSWER.err" ;;
    esac || printf 'by %s: exit status %s\n' "$road" "$?" >>"$FAULTS"
    case $road in
    pipe | feed) echo closed >"$ANSWER.ended" ;;
    esac
    echo $(((${EPOCHREALTIME/[.,]/} - since) / 1000)) >"$ANSWER.took"
}

exchange_by_inetd() {
    local name=inetd.$ASKED port=$((10000 + ASKED))
    start "$name" ns timeout 30 "$PEER" inetd "$port" "$PROGRAM" --inetd "${ARGUMENTS[@]}"
    wait_until 5 grep -q ready "$BATS_TEST_TMPDIR/$name.out"
    ns "$PEER" talk 127.0.0.1 "$port" "$@" <"$REQUEST" >"$ANSWER" 2>"$ANSWER.ended"
    wait_until 10 grep -q status "$BATS_TEST_TMPDIR/$name.out"
    # Nobody is left to be served, where the client has reset.
    grep -qx "status $([[ $* = reset ]] && echo '[01]' || echo 0)" "$BATS_TEST_TMPDIR/$name.out"
}

# as_most_clients ROAD [METHOD]: to $MANNER how most clients end: they close when the answer is whole.
as_most_clients() {
    case $1-${2:-GET} in
    server-HEAD | inetd-HEAD) MANNER=(half-close) ;;
    server-* | inetd-*) MANNER=(whole) ;;
    *) MANNER=() ;;
    esac
}

# examine CASE STATUS [METHOD [CONTENT-TYPE [LEAST [MOST]]]]: $ANSWER is to be one whole response with that status,
# after so many milliseconds. STATUS and CONTENT-TYPE are regular expressions. no_faults does the work.
examine() {
    printf '%s\t' "$ANSWER" "$2" "${3:-GET}" "${4:-[a-z]+/[a-z-]+(; .*)?}" "${5:-0}" "${6:-2500}" >>"$EXAMINED"
    printf '%s\n' "${1:0:160}" >>"$EXAMINED"
}

find_faults() {
    [ -e "$EXAMINED" ] || return 0
    awk -F '\t' '
        function fault(text) {
            gsub(/\r/, "\\r", text)
            print name ": " text
        }
        function want(field, value) {
            if (count[field] != 1 || value_of[field] !~ ("^(" value ")$"))
                fault(field " is there " count[field] + 0 " times: \"" value_of[field] "\"")
        }
        function first_line(file,    line) {
            line = ""
            getline line < file
            close(file)
            return line
        }
        function field_line(line,    colon, field) {
            colon = index(line, ": ")
            if (colon < 2 || line !~ /\r$/)
                fault("not a field line: " line)
            field = tolower(substr(line, 1, colon - 1))
            count[field]++
            value_of[field] = substr(line, colon + 2, length(line) - colon - 2)
        }
        function examine(answer, status, method, type, least, most,    head, lines, blank, line, ended, took) {
            split("", count)
            split("", value_of)
            head = lines = blank = 0
            while ((getline line < answer) > 0) {
                if (tolower(line) ~ /echome/)
                    fault("echoed: " line)
                if (++lines == 1 && line !~ ("^HTTP/1[.]1 (" status ") [A-Z][A-Za-z ]*\r$"))
                    fault("status-line \"" line "\"")
                if (blank)
                    continue
                head += length(line) + 1
                blank = line == "\r"
                if (lines > 1 && !blank)
                    field_line(line)
                else if (!blank)
                    code = substr(line, 10, 3)
            }
            close(answer)
            took = first_line(answer ".took") + 0
            if (took < least + 0 || took > most + 0)
                fault("took " took " ms")
            ended = first_line(answer ".ended")
            # What the supervisor refuses by itself is told so and reset: no TIME_WAIT, on either side.
            if (ended != "closed" && ended != "whole" && !(name ~ /^torn/ && ended == "ECONNRESET"))
                fault("ended with " ended)
            if (lines == 0) {
                fault("no answer")
                return
            }
            if (!blank)
                fault("no blank line")
            want("connection", "close")
            want("content-type", type)
            want("content-length", method == "HEAD" ? "[1-9][0-9]*" : size[answer] - head)
            if (method == "HEAD" && size[answer] != head)
                fault("HEAD was answered with content")
            if ("date" in count)
                fault("a Date field line")
            if (code == 405)
                want("allow", "GET, HEAD")
            if (code == 503)
                want("retry-after", "[0-9]+")
        }
        FNR == NR {
            size[$1] = $2
            next
        }
        {
            name = $7
            examine($1, $2, $3, $4, $5, $6)
        }' <(stat --printf='%n\t%s\n' "$BATS_TEST_TMPDIR"/answer.*) "$EXAMINED" >>"$FAULTS"
}

# Examine it all; to be said once, at the end.
no_faults() {
    [ "${#ASKING[@]}" -eq 0 ] || wait "${ASKING[@]}"
    find_faults
    [ ! -s "$FAULTS" ] || fail "$(cat "$FAULTS")"
}

# A table from standard input, without the blanks around its bars.
rows() {
    sed -E 's/ +\| +/|/g'
}

# each_row ROAD...: the table "case | request | status" of standard input, every request by every road.
each_row() {
    local name text status road method count=0
    while IFS='|' read -r name text status; do
        request "$text"
        method=${text%% *}
        for road; do
            as_most_clients "$road" "$method"
            ask "$road" "${MANNER[@]}"
            examine "$name (by $road, $text)" "$status" "$method"
            count=$((count + 1))
        done
    done < <(rows)
    [ "$count" -gt 0 ]
}

@test "what is served, what is not" {
    start_quiet_server
    each_row pipe server <<'TABLE'
metrics             | GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
the page            | GET / HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
HTTP/1.0            | GET /metrics HTTP/1.0\r\n\r\n | 200
HTTP/1.0 with Host  | GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n | 200
keep-alive 1.0      | GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n | 200
keep-alive 1.1      | GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n | 200
HTTP/1.2            | GET /metrics HTTP/1.2\r\nHost: localhost\r\n\r\n | 200
empty Host          | GET /metrics HTTP/1.1\r\nHost:\r\n\r\n | 200
IPv6 Host           | GET /metrics HTTP/1.1\r\nHost: [::1]:9999\r\n\r\n | 200
HEAD metrics        | HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
HEAD page           | HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
HEAD elsewhere      | HEAD /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
query               | GET /metrics?name%5B%5D=echome&b=/../x HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
empty query         | GET /metrics? HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
two question marks  | GET /metrics?a?b HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
query of the page   | GET /?echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
absolute-form       | GET http://host/metrics HTTP/1.1\r\nHost: host\r\n\r\n | 200
scheme in capitals  | GET HTTP://host:9999/metrics?x HTTP/1.1\r\nHost: host:9999\r\n\r\n | 200
absolute, no path   | GET http://host HTTP/1.1\r\nHost: host\r\n\r\n | 200
absolute, query     | GET http://host?x HTTP/1.1\r\nHost: host\r\n\r\n | 200
absolute, IPv6      | GET http://[::1]:9999/metrics HTTP/1.1\r\nHost: [::1]:9999\r\n\r\n | 200
absolute, slashes   | GET http://host/metrics?u=http://echome/ HTTP/1.0\r\n\r\n | 200
absolute, elsewhere | GET http://host/echome HTTP/1.1\r\nHost: host\r\n\r\n | 404
elsewhere           | GET /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded letter      | GET /%6detrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
encoded letters     | HEAD /%6D%65%74rics?%2 HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
encoded, absolute   | GET http://host/m%65trics HTTP/1.1\r\nHost: host\r\n\r\n | 200
encoded slash       | GET %2fmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
encoded 2nd slash   | GET /%2Fmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded slash alone | GET /%2F HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded query mark  | GET /metrics%3Fechome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded NUL         | GET /metrics%00 HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded twice       | GET /%256detrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded, not ASCII  | GET /%edetrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
encoded, elsewhere  | GET /%65chome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
percent, no digits  | GET /metrics% HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
percent, one digit  | GET /metrics%6 HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
percent, no hex     | GET /%6getrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
percent in a query  | GET /metrics?a=100% HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
markup elsewhere    | GET /<script>echome</script> HTTP/1.1\r\nHost: echome\r\n\r\n | 404|400
slash behind        | GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
more behind         | GET /metricsechome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
less                | GET /metric HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
two slashes         | GET //metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
another case        | GET /Metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
dots                | GET /echome/../metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
elsewhere with      | GET /echome?/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
POST                | POST /metrics?echome HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nechome | 405
PUT                 | PUT /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nechome | 405
DELETE              | DELETE /metrics HTTP/1.1\r\nHost: localhost\r\nX: echome\r\n\r\n | 405
TRACE               | TRACE / HTTP/1.1\r\nHost: localhost\r\nX: echome\r\n\r\n | 405
PATCH               | PATCH / HTTP/1.1\r\nHost: localhost\r\nX: echome\r\n\r\n | 405
OPTIONS             | OPTIONS /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 405
OPTIONS *           | OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n | 405
CONNECT             | CONNECT echome:443 HTTP/1.1\r\nHost: echome:443\r\n\r\n | 405
lower-case method   | get /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 405
longer method       | GETTING /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 405
unknown method      | E-cho.Me!~ /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 405
Expect              | GET /metrics HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n | 200
Upgrade             | GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n | 200
Range               | GET /metrics HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\n\r\n | 200
conditional         | GET /metrics HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: *\r\n\r\n | 200
chunked body        | GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nechome\r\n0\r\n\r\n | 200
HTTP/2 preface      | PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00 | 505
HTTP/2.0            | GET /echome HTTP/2.0\r\nHost: localhost\r\n\r\n | 505
HTTP/3.0            | GET /metrics HTTP/3.0\r\nHost: localhost\r\n\r\n | 505
HTTP/0.9 spelled    | GET /metrics HTTP/0.9\r\n\r\n | 505
HTTP/9.9            | GET /metrics HTTP/9.9\r\n\r\n | 505
TABLE
    no_faults
}

@test "what parses, what does not" {
    start_quiet_server
    each_row pipe server <<'TABLE'
LF alone            | GET /metrics HTTP/1.1\nHost: localhost\n\n | 200
CRLF and LF         | GET /metrics HTTP/1.1\r\nHost: localhost\nX: y\r\n\n | 200
LF and CRLF         | GET /metrics HTTP/1.1\nHost: localhost\r\nX: y\n\r\n | 200
LF alone, no fields | GET /metrics HTTP/1.0\n\n | 200
empty line first    | \r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
empty lines first   | \r\n\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
LFs first           | \n\nGET /metrics HTTP/1.1\nHost: localhost\n\n | 200
LF, CRLF first      | \n\r\nGET /metrics HTTP/1.0\r\n\r\n | 200
no space            | GET /metrics HTTP/1.1\r\nHost:localhost\r\n\r\n | 200
much space          | GET /metrics HTTP/1.1\r\nHost: \t localhost \t \r\n\r\n | 200
case of a name      | GET /metrics HTTP/1.1\r\nhOsT: localhost\r\n\r\n | 200
empty value         | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX:\r\n\r\n | 200
every token byte    | GET /metrics HTTP/1.1\r\nHost: localhost\r\n!#$%&'*+-.^_`\x7c~09azAZ: y\r\n\r\n | 200
obs-text            | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: \x80\xff\xc3\xa9\r\n\r\n | 200
tab in a value      | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\tb\r\n\r\n | 200
missing Host        | GET /metrics HTTP/1.1\r\nX: echome\r\n\r\n | 400
no fields           | GET /echome HTTP/1.1\r\n\r\n | 400
missing Host, 1.2   | GET /echome HTTP/1.2\r\n\r\n | 400
missing Host, HEAD  | HEAD /echome HTTP/1.1\r\n\r\n | 400
missing Host, absol | GET http://echome/metrics HTTP/1.1\r\n\r\n | 400
name ends with Host | GET /metrics HTTP/1.1\r\nX-Host: echome\r\n\r\n | 400
two Hosts           | GET /metrics HTTP/1.1\r\nHost: echome\r\nHost: echome2\r\n\r\n | 400
two equal Hosts     | GET /metrics HTTP/1.1\r\nHost: echome\r\nX: y\r\nhost: echome\r\n\r\n | 400
two Hosts, 1.0      | GET /metrics HTTP/1.0\r\nHost: echome\r\nHost: echome2\r\n\r\n | 400
space in Host       | GET /metrics HTTP/1.1\r\nHost: echo me\r\n\r\n | 400
slash in Host       | GET /metrics HTTP/1.1\r\nHost: echome/x\r\n\r\n | 400
lower-case name     | GET /echome http/1.1\r\nHost: localhost\r\n\r\n | 400
mixed-case name     | GET /echome Http/1.1\r\nHost: localhost\r\n\r\n | 400
simple request      | GET /echome\r\n\r\n | 400
simple, a space     | GET /echome \r\n\r\n | 400
no target           | GET HTTP/1.1\r\nHost: echome\r\n\r\n | 400
no target, 2 spaces | GET  HTTP/1.1\r\nHost: echome\r\n\r\n | 400
method alone        | ECHOME\r\n\r\n | 400
no method           | \x20/echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
two spaces          | GET  /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
two spaces behind   | GET /echome  HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
space in the target | GET /echo me HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
space at the end    | GET /echome HTTP/1.1 \r\nHost: localhost\r\n\r\n | 400
tabs                | GET\t/echome\tHTTP/1.1\r\nHost: localhost\r\n\r\n | 400
not a token         | G(T /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
method not ASCII    | G\xc3\x8bT /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
relative target     | GET metrics?echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
asterisk with GET   | GET * HTTP/1.1\r\nHost: echome\r\n\r\n | 400
fragment            | GET /metrics#echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400|404
version too short   | GET /echome HTTP/1\r\nHost: localhost\r\n\r\n | 400
version, no minor   | GET /echome HTTP/1.\r\nHost: localhost\r\n\r\n | 400
version, no major   | GET /echome HTTP/.1\r\nHost: localhost\r\n\r\n | 400
version, two digits | GET /echome HTTP/1.10\r\nHost: localhost\r\n\r\n | 400
version, more       | GET /echome HTTP/1.1x\r\nHost: localhost\r\n\r\n | 400
version, a letter   | GET /echome HTTP/1.x\r\nHost: localhost\r\n\r\n | 400
another protocol    | GET /echome RTSP/1.0\r\nHost: localhost\r\n\r\n | 400
NUL in the target   | GET /metrics\x00echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
NUL in the method   | GET\x00 /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
NUL first           | \x00GET /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
NUL in a name       | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX\x00: echome\r\n\r\n | 400
NUL in a value      | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\x00echome\r\n\r\n | 400
NUL before the end  | GET /metrics HTTP/1.1\r\nHost: localhost\r\n\x00\r\n\r\n | 400
NUL in the query    | GET /metrics?echome\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
DEL in the target   | GET /metrics?echome\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
target not ASCII    | GET /metrics\xff?echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400|404
bare CR, target     | GET /metrics\rechome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
bare CR, line end   | GET /metrics HTTP/1.1\rHost: echome\r\r\n\r\n | 400
bare CR, value      | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\rechome\r\n\r\n | 400
bare CR, two        | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: echome\r\r\n\r\n | 400
bare CR, name       | GET /metrics HTTP/1.1\r\nHost: localhost\r\n\rX: echome\r\n\r\n | 400
bare CR first       | \rGET /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 400
obs-fold            | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\r\n echome\r\n\r\n | 400
obs-fold, tab       | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\techome\r\n\r\n | 400
obs-fold, LF        | GET /metrics HTTP/1.1\nHost: localhost\nX: a\n echome\n\n | 400
obs-fold of nothing | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: echome\r\n \r\n\r\n | 400
fold of request-line| GET /metrics HTTP/1.1\r\n Host: echome\r\nHost: localhost\r\n\r\n | 400
space before colon  | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX : echome\r\n\r\n | 400
tab before colon    | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX\t: echome\r\n\r\n | 400
Host, space, colon  | GET /metrics HTTP/1.1\r\nHost : echome\r\n\r\n | 400
no colon            | GET /metrics HTTP/1.1\r\nHost: localhost\r\nechome\r\n\r\n | 400
no name             | GET /metrics HTTP/1.1\r\nHost: localhost\r\n: echome\r\n\r\n | 400
name of two words   | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX Y: echome\r\n\r\n | 400
name not a token    | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX(Y): echome\r\n\r\n | 400
name not ASCII      | GET /metrics HTTP/1.1\r\nHost: localhost\r\nX\xc3\xa9: echome\r\n\r\n | 400
broken and unknown  | ECHO /metrics HTTP/1.1\r\nHost: localhost\r\nechome\r\n\r\n | 400
broken elsewhere    | GET /echome HTTP/1.1\r\nHost: localhost\r\n\x01: y\r\n\r\n | 400
TABLE
    no_faults
}

@test "what needs no further byte is answered at once: TLS, and heads that are too long" {
    start_quiet_server
    # By these roads the client waits for the answer, with its side open. The hello is 512 bytes, none of them LF.
    each_row feed server <<TABLE
TLS hello           | \x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03$(repeat 503 '\xa5') | 400
TLS hello, torn     | \x16\x03\x01\x02\x00 | 400
TLS 1.0 hello       | \x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00$(repeat 32 '\x5a') | 400
endless target      | GET /$(repeat 16400 a) | 414
endless query       | GET /metrics?$(repeat 16400 a) | 414
endless method      | $(repeat 16400 A) | 400|414
endless field       | ${GET}X: $(repeat 16400 a) | 431
endless fields      | ${GET}$(repeat 1800 'X: echome\r\n') | 431
endless name        | ${GET}$(repeat 16400 X) | 400|431
endless empty lines | $(repeat 9000 '\r\n') | 400|414|431
long HEAD           | HEAD /$(repeat 16400 a) HTTP/1.1\r\nHost: x\r\n\r\n | 414
long and elsewhere  | GET /echome HTTP/1.1\r\nHost: x\r\nX: $(repeat 17000 a)\r\n\r\n | 431
40 KiB of target    | GET /$(repeat 40960 a) HTTP/1.1\r\nHost: x\r\n\r\n | 414
40 KiB of fields    | ${GET}X: $(repeat 40960 a)\r\n\r\n | 431
TABLE
    # A real one.
    run ns curl -ksS --max-time 2 --noproxy '*' https://127.0.0.1:9999/metrics
    assert_failure 35
    run serves
    assert_success
    no_faults
}

@test "a head of exactly 16 KiB is served, one byte more is not" {
    local road size
    start_quiet_server
    for road in pipe feed server; do
        as_most_clients "$road"
        for size in 16383 16384 16385; do
            request "${GET}Xyz: $(repeat $((size - 49)) a)\r\n\r\n"
            [ "$(stat -c %s "$REQUEST")" -eq "$size" ]
            ask "$road" "${MANNER[@]}"
            examine "fields, $size bytes by $road" "$((size > 16384 ? 431 : 200))"

            request "GET /metrics?$(repeat $((size - 26)) a) HTTP/1.0\r\n\r\n"
            [ "$(stat -c %s "$REQUEST")" -eq "$size" ]
            ask "$road" "${MANNER[@]}"
            # The byte too many is the blank line's.
            examine "request-line, $size bytes by $road" "$([ "$size" -gt 16384 ] && echo '414|431' || echo 200)"
        done
        # The request-line alone is too long, by its line end or by more.
        for size in 16385 16386 16387 17000; do
            request "GET /metrics?$(repeat $((size - 24)) a) HTTP/1.1\r\n" 'Host: localhost\r\n\r\n'
            ask "$road" "${MANNER[@]}"
            examine "request-line of $size bytes by $road" 414
        done
    done
    # Bytes behind the head do not count.
    request "$GET\r\n" "$(repeat 32768 x)"
    for road in pipe feed server inetd; do
        as_most_clients "$road"
        ask "$road" "${MANNER[@]}"
        examine "32 KiB behind the head by $road" 200
    done
    no_faults
}

@test "a head of 16 KiB is served however its bytes are cut into segments" {
    local piece mtu
    start_quiet_server
    request "${GET}Cookie: $(repeat $((16384 - 52)) c)\r\n\r\n"
    [ "$(stat -c %s "$REQUEST")" -eq 16384 ]
    # The supervisor only peeks, so that the buffer of the socket must hold it all, and each segment costs its own part.
    for mtu in 65536 1500 576; do
        ns ip link set lo mtu "$mtu"
        for piece in 1 7 100 1000 16384; do
            ask server "piece=$piece" whole
            examine "segments of $piece bytes, MTU $mtu" 200
        done
    done
    no_faults
}

@test "a head may be split at every byte" {
    local text size piece status
    start_quiet_server
    while IFS='|' read -r text status; do
        request "$text"
        size=$(stat -c %s "$REQUEST")
        # Pieces of N bytes: the first split is at N.
        for ((piece = 1; piece < size; piece++)); do
            ask feed "$piece"
            examine "$text in pieces of $piece by feed" "$status"
            ask server "piece=$piece" pause-ms=1 whole
            examine "$text in pieces of $piece by server" "$status"
        done
    done < <(rows <<TABLE
GET /metrics HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n | 200
\n\r\nGET / HTTP/1.1\nHost: a\n\n | 200
GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n | 400
TABLE
    )
    request "$GET\r\n"
    ask inetd piece=1 pause-ms=1
    examine "bytes by inetd" 200
    no_faults
}

# heads_agree PATH [FIELD-LINES]: HEAD has the head of GET.
heads_agree() {
    local road method
    for road in pipe server; do
        for method in GET HEAD; do
            request "$method $1 HTTP/1.1\r\nHost: localhost\r\n${2:-}\r\n"
            ask "$road" half-close
            examine "$method $1 by $road" "$([ "$1" = /nowhere ] && echo 404 || echo 200)" "$method"
            sed '/^\r$/q' "$ANSWER" >"$BATS_TEST_TMPDIR/head-$method"
        done
        cmp -s "$ANSWER" "$BATS_TEST_TMPDIR/head-HEAD" || return 1
        diff "$BATS_TEST_TMPDIR/head-GET" "$BATS_TEST_TMPDIR/head-HEAD" || return 1
    done
}

@test "HEAD: the head of GET, and no content" {
    local path
    start_quiet_server
    # The count of connections gains a digit now and then.
    wait_until 1 heads_agree /metrics
    wait_until 1 heads_agree /metrics 'Accept: application/openmetrics-text\r\n'
    for path in / /nowhere 'http://localhost/metrics?x'; do
        wait_until 1 heads_agree "$path"
    done
    no_faults
}

@test "two answers differ in durations and counters only" {
    local road which
    start_quiet_server
    request "$GET\r\n"
    for road in pipe server; do
        for which in first second; do
            ask "$road" whole
            examine "$which by $road" 200
            # The length follows the digits of the counters.
            steady <"$ANSWER" | sed '/^Content-Length: /d' >"$BATS_TEST_TMPDIR/$which"
        done
        run diff "$BATS_TEST_TMPDIR/first" "$BATS_TEST_TMPDIR/second"
        assert_success
    done
    no_faults
}

@test "Accept: text unless OpenMetrics is wanted more" {
    local name fields type wanted road roads
    start_quiet_server
    while IFS='|' read -r name fields wanted; do
        request "$GET" "$fields\r\n\r\n"
        type=$TEXT
        [ "$wanted" = text ] || type=$OPENMETRICS
        roads=(pipe)
        [[ $name != Prometheus* ]] || roads=(pipe server)
        for road in "${roads[@]}"; do
            ask "$road" whole
            examine "$name (by $road, $fields)" 200 GET "$type"
        done
    done < <(rows <<'TABLE'
nothing             | X: y | text
empty               | Accept: | text
anything            | Accept: */* | text
a browser           | Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8 | text
neither             | Accept: image/png | text
text                | Accept: text/plain | text
text with version   | Accept: text/plain; version=0.0.4; charset=utf-8 | text
OpenMetrics         | Accept: application/openmetrics-text | openmetrics
with version        | Accept: application/openmetrics-text; version=1.0.0 | openmetrics
with charset        | Accept: application/openmetrics-text; version=1.0.0; charset=utf-8 | openmetrics
Prometheus 2.5      | Accept: application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1 | text
Prometheus 2.40     | Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1 | openmetrics
Prometheus 2.50     | Accept: application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2 | openmetrics
Prometheus 3        | Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2 | openmetrics
Prometheus text     | Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.4 | text
Prometheus protobuf | Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2 | openmetrics
tie                 | Accept: application/openmetrics-text, text/plain | text
tie, other order    | Accept: text/plain, application/openmetrics-text | text
tie by weight       | Accept: application/openmetrics-text;q=0.5, text/plain;q=0.500 | text
tie by ranges       | Accept: application/*, text/* | text
more by a weight    | Accept: application/openmetrics-text;q=0.6, text/plain;q=0.5 | openmetrics
by a thousandth     | Accept: application/openmetrics-text;q=0.501, text/plain;q=0.5 | openmetrics
less by a weight    | Accept: application/openmetrics-text;q=0.5, text/plain;q=0.6 | text
q=1.000             | Accept: application/openmetrics-text;q=1.000, text/plain;q=0.999 | openmetrics
Q in capitals       | Accept: application/openmetrics-text;Q=0.1, text/plain;Q=0.2 | text
q before another    | Accept: application/openmetrics-text;q=0.1;x=y, text/plain;q=0.2 | text
q=0                 | Accept: application/openmetrics-text;q=0, */*;q=0.5 | text
q=0.000             | Accept: application/openmetrics-text;q=0.000 | text
q=0 of text         | Accept: text/plain;q=0, application/openmetrics-text;q=0.001 | openmetrics
q=0 of text, any    | Accept: text/plain;q=0, */* | openmetrics
q=0 of all          | Accept: */*;q=0 | text
q=0 of all but it   | Accept: */*;q=0, application/openmetrics-text | openmetrics
more specific: type | Accept: text/plain;q=0.1, text/*, application/openmetrics-text;q=0.5 | openmetrics
more specific: any  | Accept: application/openmetrics-text;q=0.5, */* | text
more specific: app  | Accept: application/*;q=0.1, application/openmetrics-text, text/plain;q=0.5 | openmetrics
more specific: ver. | Accept: text/plain;version=0.0.4;q=0.2, text/plain;q=0.9, application/openmetrics-text;q=0.5 | openmetrics
range of the type   | Accept: application/*, text/plain;q=0.5 | openmetrics
range, and rest     | Accept: application/*;q=0.6, */*;q=0.5 | openmetrics
upper case          | Accept: APPLICATION/OPENMETRICS-TEXT; VERSION=1.0.0 | openmetrics
field in other case | aCCePT: application/openmetrics-text | openmetrics
quoted version      | Accept: application/openmetrics-text; version="1.0.0" | openmetrics
quoted pair         | Accept: application/openmetrics-text; version="1\\.0.0" | openmetrics
unknown version     | Accept: application/openmetrics-text; version=2.0.0 | text
version 0.0.1       | Accept: application/openmetrics-text; version=0.0.1 | text
version, prefix     | Accept: application/openmetrics-text; version=1.0 | text
version, longer     | Accept: application/openmetrics-text; version=1.0.00 | text
quoted unknown      | Accept: application/openmetrics-text; version="0.0.1" | text
unknown then known  | Accept: application/openmetrics-text;version=2.0.0, application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.4 | openmetrics
longer type         | Accept: application/openmetrics-text2 | text
shorter type        | Accept: application/openmetrics | text
other type          | Accept: text/openmetrics-text | text
much space          | Accept: \tapplication/openmetrics-text \t; version=1.0.0 ; q=0.8 \t, text/plain ; q=0.5 | openmetrics
no space            | Accept:application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5 | openmetrics
empty elements      | Accept: ,, application/openmetrics-text ,, | openmetrics
empty parameters    | Accept: application/openmetrics-text;;version=1.0.0; | openmetrics
comma in quotes     | Accept: foo/bar;x="a, application/openmetrics-text", text/plain | text
pair in quotes      | Accept: foo/bar;x="\\", application/openmetrics-text;y=\\"", text/plain | text
two lines           | Accept: text/plain;q=0.5\r\nAccept: application/openmetrics-text | openmetrics
two lines, apart    | Accept: application/openmetrics-text;q=0.5\r\nX: y\r\naccept: text/plain | text
three lines         | Accept: image/png\r\nAccept: application/openmetrics-text;q=0.2\r\nAccept: text/*;q=0.1 | openmetrics
another field       | X-Accept: application/openmetrics-text | text
Accept-Encoding     | Accept-Encoding: gzip, application/openmetrics-text | text
garbage             | Accept: ;;;/,=q,"" | text
open quote          | Accept: foo/bar;x=" | text
TABLE
    )
    no_faults
}

# How often a line starts so in $ANSWER.
lines_with() {
    grep -c "^$1" "$ANSWER" || true
}

@test "Content-Type and # EOF: of the metrics, of the page, of an error" {
    local road
    start_quiet_server
    for road in pipe server; do
        request "$GET\r\n"
        ask "$road" whole
        examine "metrics by $road" 200 GET "$TEXT"
        [ "$(lines_with '# EOF')" -eq 0 ]
        request "${GET}Accept: application/openmetrics-text\r\n\r\n"
        ask "$road" whole
        examine "OpenMetrics by $road" 200 GET "$OPENMETRICS"
        [ "$(lines_with '# EOF')" -eq 1 ]
        [ "$(tail -c 7 "$ANSWER" | od -An -c | tr -d ' ')" = '\n#EOF\n' ]
        # What it is asked for in does not change the page, nor an error.
        request 'GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n'
        ask "$road" whole
        examine "page by $road" 200 GET 'text/html; charset=utf-8'
        grep -q 'href="metrics"' "$ANSWER"
        request 'GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n'
        ask "$road" whole
        examine "error by $road" 404 GET 'text/plain; charset=utf-8'
    done
    no_faults
}

@test "one request per connection: a pipelined second one is not answered" {
    local road size second
    start_quiet_server
    request "$GET\r\n"
    size=$(stat -c %s "$REQUEST")
    for second in "$GET\r\n" 'GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n' 'ECHOME\r\n\r\n'; do
        request "$GET\r\n" "$second"
        for road in pipe feed server inetd; do
            # To the end of the connection, lest a second answer be missed.
            ask_meanwhile "$road"
            examine "then $second by $road" 200
        done
        # The second one when the first one's answer has been sent.
        for road in server inetd; do
            ask_meanwhile "$road" "piece=$size" pause-ms=100
            examine "later $second by $road" 200
        done
    done
    # One that would like to stay connects again.
    run scrape -o /dev/null -w '%{num_connects} %{http_code}\n' -o /dev/null http://127.0.0.1:9999/
    assert_output $'1 200\n1 200'
    no_faults
}

@test "a client that half-closes gets its answer" {
    local road text status name
    start_quiet_server
    while IFS='|' read -r text status; do
        request "$text"
        for road in pipe server inetd; do
            ask "$road" half-close
            name="$text by $road"
            [ "$road $status" != "server 400" ] || name="torn $name"
            examine "$name" "$status" "${text%% *}"
        done
    done < <(rows <<'TABLE'
GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n | 200
GET /echome HTTP/1.1\r\nHost: localhost\r\n\r\n | 404
GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\n | 200
E | 400
GET /echome | 400
GET /echome\r\n | 400
GET /echome HTTP/1.1 | 400
GET /echome HTTP/1.1\r\n | 400
GET /echome HTTP/1.1\r\nHost: localhost | 400
GET /metrics HTTP/1.1\r\nHost: localhost\r\n | 400
GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r | 400
GET /metrics HTTP/1.0\r\n | 400
TABLE
    )
    # One that says nothing needs no answer, and does no harm.
    request ''
    for road in server inetd; do
        ask "$road" half-close
        [ "$(cat "$ANSWER.took")" -lt 2500 ]
    done
    run serves
    assert_success
    no_faults
}

# The connections that the supervisor has counted.
connections() {
    awk '/^metrics_sidecar_connections_total/ { n += $2 } END { print n + 0 }' < <(scrape)
}

has_counted() {
    [ "$(connections)" -ge "$1" ]
}

@test "clients that reset do no harm, and little noise" {
    local lines before
    start_quiet_server
    lines=$(server_log | wc -l)
    before=$(connections)
    ns bash -c '
        for ((i = 0; i < 50; i++)); do
            printf "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" | "$1" talk 127.0.0.1 9999 reset
            printf "GET /metrics HTTP/1.1\r\nHo" | "$1" talk 127.0.0.1 9999 reset
            "$1" talk 127.0.0.1 9999 reset </dev/null
        done' bash "$PEER"
    wait_until 10 serves
    # Those that are gone before their head was whole may end uncounted, but the others were answered or failed.
    wait_until 5 has_counted $((before + 50))
    request "$GET\r\n"
    ask server whole
    examine 'after 150 resets' 200
    [ $(($(server_log | wc -l) - lines)) -le 10 ] || fail "$(server_log)"
    # As inetd's client: the process ends, and not by a signal.
    ask inetd reset
    request 'GET /metrics HTTP/1.1\r\nHo'
    ask inetd reset
    no_faults
}

@test "a client that sends a body gets its whole answer, not a reset" {
    local road text status
    start_quiet_server
    while IFS='|' read -r text status; do
        request "$text" "$(repeat 102400 x)"
        for road in pipe feed server inetd; do
            ask_meanwhile "$road"
            examine "$text by $road" "$status"
        done
        # The greater part comes when the answer has been sent.
        for road in server inetd; do
            ask_meanwhile "$road" piece=8192 pause-ms=2
            examine "$text in pieces by $road" "$status"
        done
    done < <(rows <<'TABLE'
GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 102400\r\n\r\n | 200
POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 102400\r\n\r\n | 405
POST /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n19000\r\n | 405
PUT /echome HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nContent-Length: 102400\r\n\r\n | 400
TABLE
    )
    no_faults
}

# ask_to_the_end ROAD TEXT...: five of each, one after the other, by a client that reads to the end of the connection;
# prints how many milliseconds they took together.
ask_to_the_end() {
    local road=$1 text i together=0
    shift
    for text; do
        for i in 1 2 3 4 5; do
            request "$text"
            ask "$road"
            examine "$text to the end by $road" '200|400' "${text%% *}"
            together=$((together + $(cat "$ANSWER.took")))
        done
    done
    echo "$together"
}

@test "a client that reads to the end gets it at once, if it is of HTTP/1.0, says close, or is not understood" {
    local road together
    start_quiet_server
    start systemd ns systemd-socket-activate -a -l 127.0.0.1:9997 "$PROGRAM" "${ARGUMENTS[@]}"
    wait_until 5 ns_listens 9997
    for road in server inetd systemd; do
        together=$(ask_to_the_end "$road" 'GET /metrics HTTP/1.0\r\n\r\n' "${GET}Connection: close\r\n\r\n" \
            "${GET}Connection: keep-alive, Close\r\n\r\n" 'garbage\r\n\r\n' \
            'GET /metrics HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n')
        echo "# 25 requests by $road: $together ms" >&3
        # Half a second for each would be 12.5 s.
        [ "$together" -lt 10000 ] || fail "25 requests by $road took $together ms"
    done
    # The others are given the time to close first.
    for road in server inetd systemd; do
        while read -r text; do
            request "$text"
            ask "$road"
            examine "$text by $road" 200 GET '' 450
        done <<TABLE
$GET\r\n
${GET}Connection: Upgrade, X-Close\r\n\r\n
TABLE
    done
    no_faults
}

# How many sockets of the server's port are in TIME_WAIT.
server_time_waits() {
    ns ss -Htan state time-wait '( sport = :9999 )' | wc -l
}

@test "a client that closes when its answer is whole keeps the TIME_WAIT, unless it wants the end at once" {
    local text
    start_quiet_server
    for text in "$GET\r\n" 'GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n' "${GET}X: y\r\n\r\n" \
        "${GET/GET/POST}\r\n"; do
        request "$text"
        ask server whole
        examine "$text" '200|404|405|400' "${text%% *}"
    done
    run serves
    assert_success
    wait_until 2 client_time_waits 5
    [ "$(server_time_waits)" -eq 0 ]
    no_faults
}

client_time_waits() {
    [ "$(ns ss -Htan state time-wait '( dport = :9999 )' | wc -l)" -eq "$1" ]
}

@test "500: the reason in the content and in the log, never a number" {
    local road method
    rm -r "$PROCFS"
    mkdir "$PROCFS"
    start_quiet_server
    for road in pipe feed server inetd; do
        for method in GET HEAD; do
            request "$method /metrics HTTP/1.1\r\nHost: echome\r\nAccept: application/openmetrics-text\r\n\r\n"
            as_most_clients "$road" "$method"
            ask "$road" "${MANNER[@]}"
            examine "$method by $road" 500 "$method" 'text/plain; charset=utf-8'
            case $method in
            GET) grep -q 'No such file or directory' "$ANSWER" || echo "no reason by $road" >>"$FAULTS" ;;
            esac
            ! grep -q 'port_' <(grep -v 'ip_local_port_range' "$ANSWER") || echo "a number by $road" >>"$FAULTS"
        done
        case $road in
        server) server_log ;;
        inetd) continue ;; # whose standard error is the client
        *) cat "$ANSWER.err" ;;
        esac >"$BATS_TEST_TMPDIR/log"
        grep -q 'No such file or directory' "$BATS_TEST_TMPDIR/log" || echo "nothing in the log by $road" >>"$FAULTS"
    done
    # It is no more than that scrape's failure.
    make_procfs "$PROCFS"
    run serves
    assert_success
    no_faults
}

@test "503 with Retry-After while no process can be started" {
    local limit as_server=()
    ns_create
    # The limit counts for ordinary users only. The program is passed as a descriptor, lest the way to it be closed.
    install -m 755 "$PROGRAM" "$BATS_TEST_TMPDIR/program"
    exec 9<"$BATS_TEST_TMPDIR/program"
    if [ "$(id -u)" = 0 ]; then
        as_server=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
        SERVER=setpriv start_server "${as_server[@]:1}" /proc/self/fd/9
    else
        SERVER=/proc/self/fd/9 start_server
    fi
    exec 9<&-
    run serves
    assert_success
    limit=$("${as_server[@]}" prlimit --pid "$SERVER_PID" --nproc -o SOFT --noheadings)
    "${as_server[@]}" prlimit --pid "$SERVER_PID" --nproc=0:

    request "${GET}X: echome\r\n\r\n"
    ask server whole
    examine 'no process' 503
    request 'HEAD /echome HTTP/1.1\r\nHost: localhost\r\n\r\n'
    ask server whole
    # Nobody has read what was asked.
    examine 'no process, HEAD' 503 'GET'
    server_log | grep -q 'Resource temporarily unavailable' || echo 'nothing in the log' >>"$FAULTS"

    "${as_server[@]}" prlimit --pid "$SERVER_PID" "--nproc=${limit// /}:"
    wait_until 6 serves
    no_faults
}

# examine_late CASE STATUS LEAST MOST: one that is late may be closed by a reset.
examine_late() {
    wait "${ASKING[@]}"
    echo closed >"$ANSWER.ended"
    examine "$1" "$2" GET 'text/plain; charset=utf-8' "$3" "$4"
}

# ask_late CASE ROAD MANNER...
ask_late() {
    LATE+=("$1")
    ask_meanwhile "${@:2}"
    LATE_ANSWERS+=("$ANSWER")
}

@test "408 within about a second with --timeout=1" {
    local road text LATE=() LATE_ANSWERS=() i
    ARGUMENTS+=(--timeout=1)
    start_quiet_server
    for text in '' 'GET /echome HTTP/1.1\r\nHost: localhost\r\n'; do
        request "$text"
        for road in feed server inetd; do
            ask_late "'$text' by $road" "$road"
        done
    done
    for i in "${!LATE[@]}"; do
        ANSWER=${LATE_ANSWERS[i]}
        examine_late "${LATE[i]}" 408 800 2500
    done
    # What comes in time is served.
    request "$GET\r\n"
    ask server piece=10 pause-ms=50 whole
    examine 'in time' 200
    no_faults
}

@test "408 after 5 s: for silence, for drops, for HTTP/0.9 without a blank line" {
    local i LATE=() LATE_ANSWERS=()
    start_quiet_server
    request ''
    ask_late silence server
    request 'GET /metrics HTTP/1.1\r\nX: echome' "$(repeat 70 .)"
    ask_late drops server piece=1 pause-ms=100
    request 'GET /echome\r\n'
    ask_late 'simple request' server
    run serves # meanwhile
    assert_success
    for i in 0 1; do
        ANSWER=${LATE_ANSWERS[i]}
        examine_late "${LATE[i]}" 408 4500 6500
    done
    ANSWER=${LATE_ANSWERS[2]}
    examine_late "${LATE[2]}" '400|408' 0 6500
    no_faults
}

@test "X-Prometheus-Scrape-Timeout-Seconds is understood" {
    start_quiet_server
    each_row pipe server <<'TABLE'
whole               | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n | 200
fraction            | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 9.500000\r\n\r\n | 200
below a second      | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.9\r\n\r\n | 200
long                | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 86400\r\n\r\n | 200
very long           | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 99999999999999999999999\r\n\r\n | 200
very precise        | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 9.99999999999999999999999\r\n\r\n | 200
not a number        | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: echome\r\n\r\n | 200
negative            | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: -1\r\n\r\n | 200
infinite            | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: inf\r\n\r\n | 200
empty               | GET /metrics HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds:\r\n\r\n | 200
TABLE
    no_faults
}

# make_endless_table: it opens, and nothing ever comes.
make_endless_table() {
    rm "$PROCFS/self/net/tcp"
    mkfifo "$PROCFS/self/net/tcp"
    exec 7<>"$PROCFS/self/net/tcp"
}

@test "X-Prometheus-Scrape-Timeout-Seconds shortens the deadline" {
    make_endless_table
    request "${GET}X-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n"
    ask feed
    exec 7>&-
    [ "$(cat "$ANSWER.took")" -lt 4000 ] || echo "it took $(cat "$ANSWER.took") ms" >>"$FAULTS"
    examine 'a table that never comes' 500 GET '' 0 4000
    no_faults
}

@test "X-Prometheus-Scrape-Timeout-Seconds does not end a scan that others wait for" {
    make_endless_table
    start_quiet_server --timeout=3
    request "${GET}X-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n"
    ask server
    exec 7>&-
    # The supervisor's child has measured before it reads what the client says of its patience.
    [ "$(cat "$ANSWER.took")" -ge 2900 ] || echo "it took $(cat "$ANSWER.took") ms" >>"$FAULTS"
    examine 'a table that never comes' 500 GET '' 0 6000
    no_faults
}
