#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Every block of the documents that a reader may paste is pasted by a test: tests/blocks.txt says by which.

load helpers

TABLE=$ROOT/tests/blocks.txt

teardown() {
    stop_all
}

# fields LINE: of the table, to FIELDS.
fields() {
    mapfile -t FIELDS <<<"${1// | /$'\n'}"
}

documents() {
    (cd "$ROOT" && ls README.md CONTRIBUTING.md SECURITY.md docs/*.md)
}

# rows_of FILE HEADING KIND: how many lines of the table are about this block; they are noted.
rows_of() {
    local line n=0
    while IFS= read -r line; do
        fields "$line"
        [[ $1 == "${FIELDS[0]}" && $2 =~ ^(${FIELDS[1]})$ && $3 =~ ^(${FIELDS[2]})$ ]] || continue
        n=$((n + 1))
        echo "$line" >>"$BATS_TEST_TMPDIR/used"
    done < <(table)
    echo "$n"
}

table() {
    grep -vE '^(#|$)' "$TABLE"
}

# Every block of every document: a line with what is wrong with it.
check_blocks() {
    local file heading kind
    while read -r file; do
        while IFS=$'\t' read -r heading kind; do
            [ "$(rows_of "$file" "$heading" "$kind")" = 1 ] || echo "$file: $heading: $kind: not in one line of tests/blocks.txt"
        done < <(blocks "$file")
    done < <(documents)
}

@test "every block of the documents is in one line of tests/blocks.txt, and every line has a block and a test" {
    local line test
    run check_blocks
    assert_output ""
    diff <(table | sort) <(sort -u "$BATS_TEST_TMPDIR/used")
    while IFS= read -r line; do
        fields "$line"
        [ "${#FIELDS[@]}" -eq 5 ]
        [ -n "${FIELDS[4]}" ]
        test=${FIELDS[3]}
        [ -e "$ROOT/$test" ] || grep -qxF "@test \"${test#*: }\" {" "$ROOT/${test%%: *}" || fail "$test: no such test"
    done < <(table)
}

@test "a new block, in a document of today or another one, is noticed" {
    local copy=$BATS_TEST_TMPDIR/copy
    mkdir -p "$copy/docs" "$copy/tests"
    cp "$ROOT"/*.md "$copy"
    cp "$ROOT"/docs/*.md "$copy/docs"
    printf '\n## New\n\n```sh\ntrue\n```\n' >>"$copy/SECURITY.md"
    printf '# Other\n\n    text\n\n  ```\n  true\n  ```\n' >"$copy/docs/other.md"
    ROOT=$copy run check_blocks
    assert_output "SECURITY.md: New: sh: not in one line of tests/blocks.txt
docs/other.md: Other: text: not in one line of tests/blocks.txt"
}

@test "README.md, two commands: the first serves a page and metrics, the second is what runs this" {
    local commands
    mapfile -t commands < <(block_below README.md "Two commands" sh)
    [ "${#commands[@]}" -eq 2 ]
    [[ ${commands[1]} =~ ^make\ test\ +# ]]
    ns_create
    start run ns env -C "$ROOT" -u LISTEN -u MAKEFLAGS -u MFLAGS -u MAKELEVEL sh -c "exec ${commands[0]}"
    wait_until 60 serves
    run ns curl -s http://localhost:9999/
    assert_output --partial '<!DOCTYPE html>'
    # Nothing but this machine can connect.
    run grep -h ':270F 0\{8,32\}:0000 0A' "/proc/$NS_PID/net/tcp" "/proc/$NS_PID/net/tcp6"
    assert_equal "${#lines[@]}" 2
    refute_output --regexp ' 0+:270F '
}

# paste_block SHELL-BLOCK-FILE: as somebody in the namespace who has the program in the path, in an empty directory.
paste_block() {
    mkdir "$BATS_TEST_TMPDIR/here"
    (cd "$BATS_TEST_TMPDIR/here" && PATH="$(dirname "$PROGRAM"):$PATH" ns sh <"$1")
}

# hold_with_python CODE: the sockets that it makes, kept.
hold_with_python() {
    start sockets ns bash -c 'ulimit -n 4096; exec python3 -u -c "$0"' "import socket, signal
held = []
$1
print('ready')
signal.pause()"
    wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/sockets.out"
}

@test "ss in a script: as it stands, and what it prints" {
    local used
    ns_create
    ns_sysctl ip_local_port_range "40000 40099"
    hold_with_python "
server = socket.create_server(('127.0.0.1', 40000), backlog=4096)
other = socket.create_server(('0.0.0.0', 5000), backlog=4096)
for port in range(20000, 20744):
    held += [socket.create_connection(('127.0.0.1', 40000), source_address=('127.0.0.1', port)), server.accept()[0]]
for host in '127.0.0.1', '127.0.0.2':
    held += [socket.create_connection((host, 5000)) for i in range(30)]"
    block_below docs/alternatives.md "ss in a script" sh >"$BATS_TEST_TMPDIR/block"
    paste_block "$BATS_TEST_TMPDIR/block" >"$BATS_TEST_TMPDIR/printed"
    block_below docs/alternatives.md "ss in a script" text | sed '/^ *\.\.\.$/d' >"$BATS_TEST_TMPDIR/expected"
    # The first number differs from run to run; it is that of the program.
    diff <(sed 1d "$BATS_TEST_TMPDIR/expected") <(sed -n "2,$(wc -l <"$BATS_TEST_TMPDIR/expected")p" "$BATS_TEST_TMPDIR/printed")
    used=$(ns "$PROGRAM" --print | sed -nE 's/^port_used\{.*\} //p')
    assert_equal "$(head -n 1 "$BATS_TEST_TMPDIR/printed")" "$used"
    # The rows that the text tells of.
    grep -qF '`/proc/net/tcp` had 1,610 rows' "$ROOT/docs/alternatives.md"
    assert_equal "$(ns sed 1d /proc/self/net/tcp | wc -l)" 1610
}

@test "sock_diag and procfs: both commands, and what they print" {
    kernel_shows_bound || skip "needs Linux 6.8"
    ns_create
    # What a destination can lose to chance is no part of this.
    hold_with_python "
server = socket.create_server(('127.0.0.1', 5000), backlog=4096)
for i in range(10):
    held.append(socket.socket())
    held[-1].bind(('127.0.0.1', 0))
held += [socket.create_connection(('127.0.0.1', 5000)) for i in range(100)]"
    block_below docs/metrics.md "sock_diag and procfs" text >"$BATS_TEST_TMPDIR/expected"
    sed -n 's/^\$ //p' "$BATS_TEST_TMPDIR/expected" >"$BATS_TEST_TMPDIR/block"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/block")" -eq 2 ]
    diff <(grep -v '^\$ ' "$BATS_TEST_TMPDIR/expected") <(paste_block "$BATS_TEST_TMPDIR/block")
}
