#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the documentation says is so: its experiments have the outcome that it shows, its links lead somewhere.

load helpers

EXPERIMENTS=$ROOT/docs/how-ports-run-out.md

# block N KIND: the Nth fenced block of that kind, "sh" for commands, "" for what they print.
block() {
    awk -v wanted="$1" -v kind="$2" '
        /^```/ { inside = !inside; if (inside) { this = substr($0, 4); here = this == kind && ++n == wanted; next } here = 0 }
        inside && here' "$EXPERIMENTS"
}

# experiment N: run it, and compare.
experiment() {
    block "$1" sh >"$BATS_TEST_TMPDIR/experiment"
    block "$1" "" >"$BATS_TEST_TMPDIR/expected"
    grep -q unshare "$BATS_TEST_TMPDIR/experiment"
    # Root needs no user namespace, and may not have any.
    [ "$(id -u)" != 0 ] || sed -i 's/unshare -rn/unshare -n/' "$BATS_TEST_TMPDIR/experiment"
    grep -q '[0-9]' "$BATS_TEST_TMPDIR/expected"
    cd "$ROOT" || return
    sh "$BATS_TEST_TMPDIR/experiment" 3>&- >"$BATS_TEST_TMPDIR/printed" 2>&1
    diff <(varying "$BATS_TEST_TMPDIR/expected") <(varying "$BATS_TEST_TMPDIR/printed")
}

# Figures of which the text says that they differ from run to run, or from kernel to kernel.
varying() {
    sed -E "${VARYING:-}" "$1"
}

setup() {
    command -v python3 >/dev/null || skip "needs python3"
    kernel_shows_bound || skip "needs Linux 6.8"
}

@test "one destination is exhausted, others are not" {
    VARYING='s/^(port_used\{pod_name="lab"\}) (49[0-9]|500)$/\1 N/' experiment 1
}

@test "the kernel does not count it" {
    VARYING='s/[0-9]+ counters/N counters/' experiment 2
}

@test "blocked ports are lost for everybody" {
    # How many numbers both protocols have; but what is left is what the figure says.
    VARYING='s/\b(41[0-9]|4[2-9][0-9]|500)$/MORE/; s/\b5[0-9][0-9], then/LESS, then/g' experiment 3
    local blocked left
    blocked=$(awk '/^port_blocked/ { n = $2 } END { print n }' "$BATS_TEST_TMPDIR/printed")
    left=$(awk '/connect\(\) to/ { n = $4 + 0 } END { print n }' "$BATS_TEST_TMPDIR/printed")
    [ $((blocked + left)) -eq 1000 ]
}

@test "TIME_WAIT holds a port for 60 seconds" {
    VARYING='s/for (59|6[0-2]) s$/for N s/' experiment 4
}

@test "tcp_tw_reuse" {
    experiment 5
}

# Times are others on each machine; what carries over is that the largest pool is the slowest, and slow. Where the block takes
# longer than TIME_WAIT lasts, the last figure is lower.
@test "past one half, connect() can be slow" {
    VARYING='s/: [0-9]+ us up.*//; 9s/[0-9]+$/N/' experiment 6
    local times
    mapfile -t times < <(sed -nE 's/.* us from 52 to 60 %: ([0-9]+) times;.*/\1/p' "$BATS_TEST_TMPDIR/printed")
    [ "${#times[@]}" -eq 3 ]
    [ "${times[2]}" -gt 10 ] && [ "${times[2]}" -gt "${times[0]}" ]
}

@test "UDP, and bind() before connect()" {
    experiment 7
}

@test "why the rows of /proc/net/tcp are no count of ports" {
    VARYING='s/^(port_used\{pod_name="lab"\}) [4-7][0-9]$/\1 N/' experiment 8
}

@test "the reference of metrics has every family, and no other" {
    # Of the supervisor too.
    ns_create
    start_server --top-destinations=1
    [ "$(scrape | sed -nE 's/^# TYPE ([a-z_]+) .*/\1/p' | sort)" = \
        "$(sed -nE 's/^### `([a-z_]+)`.*/\1/p' "$ROOT/docs/metrics.md" | sort)" ]
    stop_all
}

# words: each on a line of its own.
words() {
    grep -oE '[a-z_]{5,}' | sort
}

@test "the outcomes of a connection: the program, the README, the reference and the manual have the same" {
    ns_create
    start_server
    scrape | sed -nE 's/^metrics_sidecar_connections_total\{.*outcome="([a-z_]+)".*/\1/p' | sort >"$BATS_TEST_TMPDIR/outcomes"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/outcomes")" -ge 7 ]
    diff "$BATS_TEST_TMPDIR/outcomes" \
        <(sed -nE 's/^\| `metrics_sidecar_connections_total` .*by how they ended: (.*) \|$/\1/p' "$ROOT/README.md" | words)
    diff "$BATS_TEST_TMPDIR/outcomes" <(awk '/^\| outcome \|/ { inside = 1 } !/^\|/ { inside = 0 } inside' "$ROOT/docs/metrics.md" |
        sed -nE 's/^\| `([a-z_]+)` \|.*/\1/p' | sort)
    diff "$BATS_TEST_TMPDIR/outcomes" <(sed -n '/connections since it started, by how they ended:/,/^\.It/p' "$ROOT/metrics-sidecar.8" |
        sed '1d; $d; s/([^)]*)//' | words)
    stop_all
}

# Experiments of this file and of page.bats show each of these to be false in a case.
@test "no text says of bind(), connect() and UDP what is not always so" {
    local texts=("$ROOT"/*.c "$ROOT/page.js" "$ROOT"/README.md "$ROOT"/docs/*.md "$ROOT"/metrics-sidecar.8
        "$ROOT"/deploy/prometheus/*.yaml "$ROOT"/deploy/grafana/dashboard.json) sentence
    while IFS= read -r sentence; do
        # Lines end anywhere, in C between quotes.
        run grep -lzE -- "${sentence// /[\"[:space:]]+}" "${texts[@]}"
        assert_output ""
    done <<'SENTENCES'
connect\(\) (to it )?is slow
connect\(\) becomes slow
connecting to it becomes slow
each connect\(\) to that destination takes tens
UDP sockets share none\.
UDP sockets do not share ports\.
no two sockets share one
new UDP sockets fail
gets none: EAGAIN
no trouble for TCP
no destination is near exhaustion
\*\*How bad\.\*\* Nothing fails( yet)?\.
the ports last for more than two days
SENTENCES
    # The search finds what is there.
    grep -qzE -- "connect\(\)[\"[:space:]]+can[\"[:space:]]+be[\"[:space:]]+many[\"[:space:]]+times[\"[:space:]]+slower" "$ROOT/view.c"
}

# anchors FILE: those of its headings, as the places where repositories are shown make them.
anchors() {
    awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ /, ""); print }' "$1" | sed -E 's/\[([^]]*)\]\([^)]*\)/\1/g' |
        tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# links FILE: those to files of the repository.
links() {
    awk '/^```/ { code = !code } !code' "$1" | grep -oE '\]\([^)#][^)]*\)|\]\(#[^)]*\)|^\[[^]]+\]: [^ ]+' |
        sed -E 's/^\]\((.*)\)$/\1/; s/^\[[^]]+\]: //' | grep -vE '^(https?|mailto):' | sort -u
}

@test "every link to a file or a heading leads there" {
    local file link target
    for file in README.md CONTRIBUTING.md SECURITY.md "$ROOT"/docs/*.md; do
        file=$ROOT/${file#"$ROOT/"}
        [ -e "$file" ] || continue
        for link in $(links "$file"); do
            target=$(dirname "$file")/${link%%#*}
            [ "${link%%#*}" != "" ] || target=$file
            [ -e "$target" ] || fail "$file: $link: no such file"
            [[ $link != *'#'* ]] || anchors "$target" | grep -qxF -- "${link#*#}" || fail "$file: $link: no such heading"
            echo "$link" >>"$BATS_TEST_TMPDIR/links"
        done
    done
    [ "$(wc -l <"$BATS_TEST_TMPDIR/links")" -gt 50 ]
    # And the pictures.
    while read -r link; do
        [ -s "$ROOT/$link" ]
    done < <(grep -oE 'docs/images/[a-z-]+\.png' "$ROOT/README.md")
}
