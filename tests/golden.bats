#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The whole response to a request on standard input, for each situation of /proc: the fixtures are named for it,
# golden/ holds what must come. UPDATE_GOLDEN=1 writes golden/ anew; read the difference before committing it.

load helpers

# respond DIR: the response for the procfs in DIR, without what changes from run to run.
respond() {
    printf 'GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n' |
        "$PROGRAM" --inetd --path.procfs="$1" 2>"$BATS_TEST_TMPDIR/log" | tr -d '\r' | steady
}

# expect_golden FIXTURE: the response is the golden one, byte for byte.
expect_golden() {
    respond "$FIXTURES/$1" >"$BATS_TEST_TMPDIR/response"
    if [ -n "${UPDATE_GOLDEN:-}" ]; then
        cp "$BATS_TEST_TMPDIR/response" "$ROOT/tests/golden/$1.txt"
    fi
    diff "$ROOT/tests/golden/$1.txt" "$BATS_TEST_TMPDIR/response"
}

# expect_refusal DIR REASON: 500, the reason in content and log, and not one sample.
expect_refusal() {
    run respond "$1"
    assert_line --index 0 "HTTP/1.1 500 Internal Server Error"
    assert_line "$2"
    refute_line --regexp '^port_'
    run cat "$BATS_TEST_TMPDIR/log"
    assert_output "metrics-sidecar: $2"
}

# copy_fixture NAME: one that the test may change.
copy_fixture() {
    cp -r "$FIXTURES/$1" "$BATS_TEST_TMPDIR/procfs"
}

@test "idle" {
    expect_golden idle
}

@test "busy: sockets of every kind" {
    expect_golden busy
}

@test "exhausted: used is total" {
    expect_golden exhausted
    grep -q '^port_used{.*} 10$' "$BATS_TEST_TMPDIR/response"
    grep -q '^port_total{.*} 10$' "$BATS_TEST_TMPDIR/response"
}

@test "IPv6 only" {
    expect_golden ipv6-only
}

@test "a kernel without IPv6 has no tables for it, which is no error" {
    expect_golden no-ipv6
}

@test "gVisor: rows without padding, port 0, an unknown state, an empty reserved file" {
    expect_golden gvisor
}

@test "a table of 100,000 rows" {
    copy_fixture idle
    local procfs=$BATS_TEST_TMPDIR/procfs
    # Ports 32768 to 60999 again and again, each towards several destinations; every tenth row is outside.
    awk 'BEGIN { for (i = 0; i < 100000; i++)
        printf "%4d: 0100007F:%04X 0200007F:%04X 01 00000000:00000000 00:00000000 00000000  1000        0 %d 1 0 20 4 30 10 -1\n",
            i, i % 10 == 9 ? 8080 : 32768 + i % 28000, 443 + i % 7, i }' >>"$procfs/self/net/tcp"
    local text wanted
    text=$(respond "$procfs")
    # What awk itself counts in the file it wrote.
    wanted=$(awk 'NR > 1 && $2 !~ /:1F90$/ { n++; if (!seen[$2]++) ports++ } END { print ports, n }' \
        "$procfs/self/net/tcp")
    [ "$(metric "$text" port_used) $(metric "$text" port_sockets 'protocol="tcp",state="established"')" = "$wanted" ]
    [ "$(metric "$text" port_scan_sockets)" = 100000 ]
}

@test "a torn line: 500, never a number" {
    expect_refusal "$FIXTURES/torn" "read self/net/tcp: not in the format the kernel writes"
}

@test "a table with another heading: 500" {
    copy_fixture busy
    sed -i '1s/local_address/LocalAddress /' "$BATS_TEST_TMPDIR/procfs/self/net/udp"
    expect_refusal "$BATS_TEST_TMPDIR/procfs" "read self/net/udp: not in the format the kernel writes"
}

@test "a table torn at every byte of its last row: 500" {
    copy_fixture busy
    local procfs=$BATS_TEST_TMPDIR/procfs row size i
    size=$(stat -c %s "$FIXTURES/busy/self/net/tcp")
    row=$(tail -n 1 "$FIXTURES/busy/self/net/tcp" | wc -c)
    for ((i = 1; i < row; i++)); do
        head -c $((size - i)) "$FIXTURES/busy/self/net/tcp" >"$procfs/self/net/tcp"
        [ "$(respond "$procfs" | head -n 1)" = "HTTP/1.1 500 Internal Server Error" ] || fail "torn $i bytes from the end"
    done
}

@test "rows that are no rows: 500" {
    local row
    copy_fixture idle
    while IFS= read -r row; do
        { cat "$FIXTURES/idle/self/net/tcp" && printf '%b\n' "$row"; } >"$BATS_TEST_TMPDIR/procfs/self/net/tcp"
        expect_refusal "$BATS_TEST_TMPDIR/procfs" "read self/net/tcp: not in the format the kernel writes"
    done <<'ROWS'

garbage
   0 0100007F:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C4 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C400 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F0100007F:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C4G 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C40 0100007F:1388 0D 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C40 0100007F:1388 1 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C40 0100007F:1388 01 00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   0: 0100007F:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 1
   0: 0100007F:9C40
\0000\0000\0000
ROWS
}

@test "a UDP state that UDP does not have: 500" {
    copy_fixture idle
    echo "   0: 0100007F:9C40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 2 0 0" \
        >>"$BATS_TEST_TMPDIR/procfs/self/net/udp"
    expect_refusal "$BATS_TEST_TMPDIR/procfs" "read self/net/udp: not in the format the kernel writes"
}

@test "a line that never ends: 500" {
    copy_fixture idle
    head -c 100000 /dev/zero | tr '\0' ' ' >>"$BATS_TEST_TMPDIR/procfs/self/net/tcp"
    expect_refusal "$BATS_TEST_TMPDIR/procfs" "read self/net/tcp: not in the format the kernel writes"
}

@test "garbage in the range file: 500" {
    expect_refusal "$FIXTURES/garbage-range" \
        "read sys/net/ipv4/ip_local_port_range: not in the format the kernel writes"
    local range
    copy_fixture idle
    for range in '' '\n' '32768\n' '60999\t32768\n' '0\t60999\n' '32768\t65536\n' '-1\t60999\n' '32768\t60999' \
        '32768\t60999\n1\n' '32768\t\t60999\n' '99999999999999999999\t60999\n'; do
        printf '%b' "$range" >"$BATS_TEST_TMPDIR/procfs/sys/net/ipv4/ip_local_port_range"
        expect_refusal "$BATS_TEST_TMPDIR/procfs" \
            "read sys/net/ipv4/ip_local_port_range: not in the format the kernel writes"
    done
}

@test "garbage in the reserved file: 500" {
    local list
    copy_fixture idle
    for list in 'x\n' '1,\n' ',1\n' '1-\n' '2-1\n' '1 2\n' '65536\n' '1-2-3\n' '1' '1\n\n'; do
        printf '%b' "$list" >"$BATS_TEST_TMPDIR/procfs/sys/net/ipv4/ip_local_reserved_ports"
        expect_refusal "$BATS_TEST_TMPDIR/procfs" \
            "read sys/net/ipv4/ip_local_reserved_ports: not in the format the kernel writes"
    done
}

@test "the longest list of reserved ports there is: half of the range is left" {
    copy_fixture idle
    seq -s , 1 2 65535 >"$BATS_TEST_TMPDIR/procfs/sys/net/ipv4/ip_local_reserved_ports"
    local text
    text=$(respond "$BATS_TEST_TMPDIR/procfs")
    [ "$(metric "$text" port_total)" = 14116 ]
    [ "$(metric "$text" port_reserved)" = 14116 ]
}

@test "a masked table is no empty table: 500" {
    expect_refusal "$FIXTURES/masked" "read self/net/tcp: not in the format the kernel writes"
}

@test "a missing file: 500, and its name" {
    local file
    for file in self/net/tcp self/net/udp sys/net/ipv4/ip_local_port_range sys/net/ipv4/ip_local_reserved_ports; do
        rm -rf "$BATS_TEST_TMPDIR/procfs"
        copy_fixture idle
        rm "$BATS_TEST_TMPDIR/procfs/$file"
        expect_refusal "$BATS_TEST_TMPDIR/procfs" "read $file: No such file or directory"
    done
    expect_refusal "$BATS_TEST_TMPDIR/nowhere" "read procfs: No such file or directory"
}

@test "a file that opens and cannot be read: 500, and its name" {
    local file
    for file in self/net/tcp self/net/udp sys/net/ipv4/ip_local_port_range sys/net/ipv4/ip_local_reserved_ports; do
        rm -rf "$BATS_TEST_TMPDIR/procfs"
        copy_fixture idle
        rm "$BATS_TEST_TMPDIR/procfs/$file"
        mkdir "$BATS_TEST_TMPDIR/procfs/$file"
        expect_refusal "$BATS_TEST_TMPDIR/procfs" "read $file: Is a directory"
    done
}

@test "a missing IPv6 table on a kernel that has IPv6: 500" {
    copy_fixture busy
    rm "$BATS_TEST_TMPDIR/procfs/self/net/tcp6"
    expect_refusal "$BATS_TEST_TMPDIR/procfs" "read self/net/tcp6: No such file or directory"
}

@test "OpenMetrics: the same samples, other names for families, an end" {
    printf 'GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n' |
        "$PROGRAM" --inetd --path.procfs="$FIXTURES/busy" | tr -d '\r' | steady >"$BATS_TEST_TMPDIR/response"
    if [ -n "${UPDATE_GOLDEN:-}" ]; then
        cp "$BATS_TEST_TMPDIR/response" "$ROOT/tests/golden/busy-openmetrics.txt"
    fi
    diff "$ROOT/tests/golden/busy-openmetrics.txt" "$BATS_TEST_TMPDIR/response"
    diff <(grep '^[a-z].*{' "$ROOT/tests/golden/busy.txt") <(grep '^[a-z].*{' "$BATS_TEST_TMPDIR/response")
    [ "$(tail -n 1 "$BATS_TEST_TMPDIR/response")" = "# EOF" ]
}

@test "pod_name: escaped, invalid UTF-8 replaced" {
    local text
    text=$("$PROGRAM" --print --path.procfs="$FIXTURES/idle" --pod-name=$'a"b\\c\nd\xffe\xc3\xa9')
    [ "$(head -n 3 <<<"$text" | tail -n 1)" = $'port_used{pod_name="a\\"b\\\\c\\nd\xef\xbf\xbde\xc3\xa9"} 0' ]
}
