#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# More destinations than any machine has, and rows as only a table in motion shows them: synthetic tables through
# the real scanner. tests/reality.bats has the real sockets.

load helpers

setup() {
    PROCFS=$BATS_TEST_TMPDIR/procfs
    make_procfs "$PROCFS"
}

# crowd ROWS EXPRESSION: that many established rows in tcp; the expression makes, from the row number i, the local
# port `port`, and the remote address and port `to` (a number of up to 32 bits) and `to_port`.
crowd() {
    awk -v rows="$1" 'BEGIN { for (i = 0; i < rows; i++) { port = 32768 + i % 28232; to = i; to_port = 443; '"$2"'
        printf "%4d: 0100000A:%04X %08X:%04X 01 00000000:00000000 00:00000000 00000000     0        0 %d 1 0 20 4 30 10 -1\n",
            i, port, to, to_port, i } }' >>"$PROCFS/self/net/tcp"
}

# figures [ARGUMENT...]: used_max and error_max.
figures() {
    local text
    text=$("$PROGRAM" --print --path.procfs="$PROCFS" "$@")
    echo "$(metric "$text" port_destination_used_max) $(metric "$text" port_destination_error_max)"
}

@test "1,000,000 rows towards 1,000,000 destinations: less than 4 MiB, and less than 64 KiB to say" {
    crowd 1000000 ''
    local size
    # The limit is on the address space: what cannot be mapped cannot become resident.
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >"$BATS_TEST_TMPDIR/request"
    (
        ulimit -v 4096
        exec "$STATIC_PROGRAM" --inetd --path.procfs="$PROCFS" --top-destinations=100
    ) <"$BATS_TEST_TMPDIR/request" >"$BATS_TEST_TMPDIR/response"
    size=$(stat -c %s "$BATS_TEST_TMPDIR/response")
    head -n 1 "$BATS_TEST_TMPDIR/response" | grep -q '^HTTP/1.1 200 '
    grep -q '^port_scan_sockets{.*} 1000000$' "$BATS_TEST_TMPDIR/response"
    [ "$size" -lt 65536 ]
    # Not one is left by name, each has been counted 61 times too few at the most: 1,000,000 / 16,385.
    read -r used error <<<"$(figures)"
    [ "$error" -eq 61 ]
    [ "$used" -le 1 ]
}

@test "the limit of that test is one: a quarter of the memory does not do" {
    run bash -c 'ulimit -v 1024; exec "$@"' bash "$STATIC_PROGRAM" --print --path.procfs="$PROCFS"
    assert_failure
}

@test "the heaviest of 980,001 destinations is found, and its figure within the bound" {
    # Every 50th row: 20,000 ports lead there.
    crowd 1000000 'if (i % 50 == 0) { to = 150995210; to_port = 8443; port = 32768 + i / 50 }'
    local used error top
    read -r used error <<<"$(figures)"
    [ "$error" -gt 0 ]
    [ "$error" -le $((1000000 / 16385)) ]
    [ "$used" -le 20000 ]
    [ $((used + error)) -ge 20000 ]
    # The figure named is the same one, and 0900010A is 10.1.0.9.
    top=$("$PROGRAM" --print --path.procfs="$PROCFS" --top-destinations=1 | grep '^port_destination_used{')
    [ "$top" = "port_destination_used{pod_name=\"test-pod\",source=\"10.0.0.1\",destination=\"10.1.0.9:8443\"} $used" ]
}

@test "every figure is exact while 16,384 destinations fit" {
    # Two rows for each destination but the last, which has three.
    crowd 32769 'to = i % 16384; if (i == 32768) to = 16383'
    [ "$(figures)" = "3 0" ]
    # One more takes one from each.
    crowd 1 'to = 99999'
    [ "$(figures)" = "2 1" ]
}

@test "what differs in one field only is another destination" {
    crowd 3 'to = 7'
    local row fields='01 00000000:00000000 00:00000000 00000000     0        0 9 1 0 20 4 30 10 -1'
    for row in "0100000A:9000 07000000:01BB" "0200000A:9001 00000007:01BB" "0100000A:9002 00000007:01BC" \
        "0100000A:9003 00000107:01BB"; do
        echo "   4: $row $fields" >>"$PROCFS/self/net/tcp"
    done
    [ "$(figures)" = "3 0" ]
    run "$PROGRAM" --print --path.procfs="$PROCFS" --top-destinations=100
    [ "$(grep -c '^port_destination_used{' <<<"$output")" -eq 5 ]
}

@test "a row that is shown again at once counts once" {
    # A table in motion shows the end of one piece again at the start of the next.
    crowd 5 'to = 7; port = 40000 + int(i / 2)'
    [ "$(figures)" = "3 0" ]
}

@test "a row that is shown again later counts once too, towards the first 32 destinations" {
    # Three ports three times over, towards each of 33.
    crowd 297 'to = int(i / 9); port = 40000 + i % 3'
    run "$PROGRAM" --print --path.procfs="$PROCFS" --top-destinations=100
    [ "$(grep -c '^port_destination_used{.*} 3$' <<<"$output")" -eq 32 ]
    # The last one has no room of its own; its rows never come twice in a row.
    [ "$(grep -c '^port_destination_used{.*} 9$' <<<"$output")" -eq 1 ]
}

@test "a port that IPv6 listens on, found after IPv4 was counted: blocked, and towards no destination" {
    crowd 3 'to = 7; port = 40000 + i'
    [ "$(figures)" = "3 0" ]
    proc_table "$PROCFS/self/net/tcp6" \
        "00000000000000000000000000000000:9C41 00000000000000000000000000000000:0000 0A"
    # 40001 listens: it is closed to every destination, and not twice to this one.
    [ "$(figures)" = "3 0" ]
    run "$PROGRAM" --print --path.procfs="$PROCFS" --top-destinations=1
    assert_line 'port_blocked{pod_name="test-pod"} 1'
    assert_line --partial 'destination="7.0.0.0:443"} 3'
    # Nothing else is counted twice, though the tables were read twice.
    assert_line 'port_scan_sockets{pod_name="test-pod"} 4'
    assert_line 'port_sockets{pod_name="test-pod",protocol="tcp",state="established"} 3'
}

@test "a figure never passes the total" {
    # The same port three times, not in a row: no table at rest has that.
    printf '40000\t40001\n' >"$PROCFS/sys/net/ipv4/ip_local_port_range"
    crowd 9 'to = 7; port = 40000 + i % 2'
    [ "$(figures)" = "2 0" ]
}

# old_time_wait: ten ports in TIME_WAIT for 29 s, over loopback.
old_time_wait() {
    local i
    for i in {0..9}; do
        printf '%4d: 0100007F:%04X 0100007F:01BB 06 00000000:00000000 03:00000C1C 00000000     0        0 0 3 0\n' \
            "$i" $((40000 + i))
    done >>"$PROCFS/self/net/tcp"
}

@test "a kernel without tcp_tw_reuse uses nothing again, one without a delay after a second; what does not parse is said" {
    local sysctls=$PROCFS/sys/net/ipv4 file
    old_time_wait
    [ "$(figures)" = "10 0" ]
    echo 2 >"$sysctls/tcp_tw_reuse"
    [ "$(figures)" = "10 0" ]
    echo 1 >"$sysctls/tcp_timestamps"
    [ "$(figures)" = "0 0" ]
    # 60 s less the 31 s that are left.
    echo 29000 >"$sysctls/tcp_tw_reuse_delay"
    [ "$(figures)" = "10 0" ]
    echo 28990 >"$sysctls/tcp_tw_reuse_delay"
    [ "$(figures)" = "0 0" ]
    for file in tcp_tw_reuse tcp_tw_reuse_delay tcp_timestamps; do
        printf 'x\n' >"$sysctls/$file"
        run "$PROGRAM" --print --path.procfs="$PROCFS"
        assert_failure
        assert_output "metrics-sidecar: read sys/net/ipv4/$file: not in the format the kernel writes"
        rm "$sysctls/$file"
    done
}
