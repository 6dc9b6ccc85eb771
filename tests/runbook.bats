#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# docs/runbook.md, as somebody uses it at night: each of its command blocks is run as it stands by dash, where a program
# leaks connections, or is in the list of those that need what is not here. A block that is in no list fails.

load helpers

RUNBOOK=$ROOT/docs/runbook.md
BLOCKS=0

# What is done with each block, by its first line. "shell" is part of the shell that others need, "net" runs in the network
# of a pod, "kubectl" with a kubectl that has the pod, "watch" the same until Ctrl-C, "client" where the program serves.
# The others are checked and not run: there is no cluster, node, container or service manager here.
kinds() {
    cat <<'KINDS'
shell|NS=shop POD=manju-7744b786fc-jvftc IMAGE=registry.example.org/tools
shell|in_net() { "$@"; }
shell|in_net() { nsenter -t "$PID" -n "$@"; }
shell|FIRST=$(in_net cut -f 1 /proc/sys/net/ipv4/ip_local_port_range)
net|in_net ss -Htan state connected "( sport >= :$FIRST and sport <= :$LAST )" |
net|DST=10.0.0.9:443
net|in_net sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
net|for protocol in t u; do
net|in_net ss -Htan "( sport >= :$FIRST and sport <= :$LAST )" |
net|in_net ss -Htlnp "( sport >= :$FIRST and sport <= :$LAST )"
net|in_net ss -Htuln
net|in_net sysctl net.ipv4.ip_local_reserved_ports
net|in_net sysctl -w net.ipv4.tcp_tw_reuse=1
net|in_net ss -Htanp state close-wait | grep -oE '"[^"]+",pid=[0-9]+' | sort | uniq -c | sort -rn
net|LEAK=$(in_net ss -Htanp state close-wait | grep -oE 'pid=[0-9]+' | sort | uniq -c | sort -rn | sed -n '1s/.*=//p')
kubectl|kubectl -n "$NS" logs "$POD" --all-containers --since=15m |
kubectl|kubectl -n "$NS" debug -it "$POD" --profile=sysadmin --image="$IMAGE" -- sysctl -w net.ipv4.ip_local_port_range="10240 65535"
kubectl|kubectl -n "$NS" get pod "$POD" -o wide
watch|kubectl -n "$NS" exec -it "$POD" -c metrics-sidecar -- /metrics-sidecar --report --watch
client|curl -i http://localhost:9999/metrics
a cluster, for a shell that a person types into|kubectl -n "$NS" debug -it "$POD" --profile=sysadmin --image="$IMAGE" -- sh
a cluster, and a node of it|NODE=$(kubectl -n "$NS" get pod "$POD" -o jsonpath='{.spec.nodeName}')
a node with CRI|PID=$(crictl inspect --output go-template --template '{{.info.pid}}' "$ID")
a node with CRI|crictl ps --id "$(grep -oE '[0-9a-f]{64}' "/proc/$LEAK/cgroup" | sed -n '$p')"
docker and a container|PID=$(docker inspect --format '{{.State.Pid}}' "$NAME")
docker and a container|docker ps --no-trunc --filter "id=$(grep -oE '[0-9a-f]{64}' "/proc/$LEAK/cgroup" | sed -n '$p')"
podman and a container|PID=$(podman inspect --format '{{.State.Pid}}' "$NAME")
podman and a container|podman ps --no-trunc --filter "id=$(grep -oE '[0-9a-f]{64}' "/proc/$LEAK/cgroup" | sed -n '$p')"
a host that systemd runs|systemctl status "$LEAK"
a host that systemd runs|systemctl status metrics-sidecar.socket metrics-sidecar-supervised.socket
KINDS
}

# split_blocks: block1, block2 and on, in the order of the runbook; BLOCKS is how many.
split_blocks() {
    awk -v prefix="$BATS_TEST_TMPDIR/block" '/^```sh$/ { inside = 1; file = prefix (++count); next } /^```$/ { inside = 0 }
        inside { print >file } END { print count }' "$RUNBOOK" >"$BATS_TEST_TMPDIR/count"
    BLOCKS=$(cat "$BATS_TEST_TMPDIR/count")
}

setup() {
    split_blocks
}

teardown() {
    stop_all
}

# kind_of N: of that block; fails where no list has it.
kind_of() {
    awk -F '|' -v first="$(head -n 1 "$BATS_TEST_TMPDIR/block$1")" 'substr($0, length($1) + 2) == first { print $1; found = 1; exit }
        END { exit !found }' <(kinds)
}

# number_of LINE: of the first block that begins with it.
number_of() {
    local i
    for i in $(seq "$BLOCKS"); do
        [ "$(head -n 1 "$BATS_TEST_TMPDIR/block$i")" != "$1" ] || { echo "$i" && return; }
    done
    return 1
}

# block LINE: the whole of it.
block() {
    cat "$BATS_TEST_TMPDIR/block$(number_of "$1")"
}

# said_by LINE: what that block has printed.
said_by() {
    cat "$BATS_TEST_TMPDIR/out$(number_of "$1")"
}

@test "each command block of the runbook is in one list, and each list has no other" {
    local i row
    [ "$BLOCKS" -ge 30 ]
    for i in $(seq "$BLOCKS"); do
        kind_of "$i" >/dev/null || fail "in no list: $(cat "$BATS_TEST_TMPDIR/block$i")"
    done
    while IFS= read -r row; do
        number_of "${row#*|}" >/dev/null || fail "the runbook has no such block: $row"
    done < <(kinds)
    # And what is no command is no block of commands.
    run grep -E '^```.' "$RUNBOOK"
    [ "$(sort -u <<<"$output" | tr '\n' ' ')" = '```promql ```sh ```yaml ' ]
}

@test "each command block is POSIX sh: dash and shellcheck take it" {
    local i
    for i in $(seq "$BLOCKS"); do
        dash -n "$BATS_TEST_TMPDIR/block$i"
        # Variables and functions are of other blocks.
        shellcheck -s sh -e SC2034,SC2154 "$BATS_TEST_TMPDIR/block$i" || fail "block $i"
    done
    # Which is more than bash takes.
    # shellcheck disable=SC2016 # of a block
    echo 'read -r FIRST LAST < <(cat)' >"$BATS_TEST_TMPDIR/bash"
    run shellcheck -s sh "$BATS_TEST_TMPDIR/bash"
    assert_failure
}

# make_leak: a program that does not close what 10.0.0.9 has closed: 60 of 100 ports, and a few sockets of other kinds.
make_leak() {
    ns_create
    ns ip address add 10.0.0.9/32 dev lo
    ns ip address add 10.0.0.5/32 dev lo
    ns_sysctl ip_local_port_range "40000 40099"
    local sockets
    mapfile -t sockets < <(lines 40000 40059 "close-wait 10.0.0.9 443 10.0.0.5 ~PORT")
    hold "listen 0.0.0.0 443" "${sockets[@]}" "3 x connect 127.0.0.1 443" "listen 127.0.0.1 40090" "bind-udp 127.0.0.1 40091"
}

# make_commands: a directory with nsenter for whoever is not root, and with a kubectl that has one pod: the namespace.
make_commands() {
    COMMANDS=$BATS_TEST_TMPDIR/commands
    mkdir -p "$COMMANDS"
    [ "$(id -u)" = 0 ] || {
        printf '#!/bin/sh\nexec %s -U --preserve-credentials "$@"\n' "$(command -v nsenter)" >"$COMMANDS/nsenter"
        chmod +x "$COMMANDS/nsenter"
    }
    {
        printf '#!/usr/bin/env bash\nENTER=%q PROGRAM=%q REAL=%q\n' "${NS_ENTER[*]} --" "$PROGRAM" "$(command -v kubectl || true)"
        cat <<'KUBECTL'
# The real one, where it is, reads the arguments before it finds no cluster.
if [ -n "$REAL" ] && "$REAL" --server=http://127.0.0.1:1 "$@" 2>&1 </dev/null | grep -iE 'unknown|invalid|usage' >&2; then
    exit 64
fi
[ "$1 $2" = "-n shop" ] || exit 64
shift 2
command=$1
[[ " $* " == *" manju-7744b786fc-jvftc "* ]] || exit 64
case $command in
exec | debug)
    while [ "$1" != -- ]; do shift; done
    shift
    exec $ENTER "${@/#\/metrics-sidecar/$PROGRAM}"
    ;;
logs) echo 'dial tcp 10.0.0.9:443: connect: cannot assign requested address' ;;
get | describe | port-forward) echo "$command" ;;
*) exit 64 ;;
esac
KUBECTL
    } >"$COMMANDS/kubectl"
    chmod +x "$COMMANDS/kubectl"
}

# prepare_shell WAY: before.sh, what a person has done before a block: the shell blocks, with in_net entering the network of
# a process, or in the network already.
prepare_shell() {
    # shellcheck disable=SC2016 # of blocks
    {
        block 'NS=shop POD=manju-7744b786fc-jvftc IMAGE=registry.example.org/tools'
        if [ "$1" = inside ]; then
            block 'in_net() { "$@"; }'
        else
            echo "PID=$NS_PID"
            block 'in_net() { nsenter -t "$PID" -n "$@"; }'
        fi
        block 'FIRST=$(in_net cut -f 1 /proc/sys/net/ipv4/ip_local_port_range)'
    } >"$BATS_TEST_TMPDIR/before.sh"
}

# command_for N WAY: COMMAND is a dash that has done that, and does that block.
command_for() {
    # shellcheck disable=SC2016 # for that shell
    COMMAND=(env PATH="$COMMANDS:$PATH" dash -c '. "$1/before.sh"; . "$1/block$2"' dash "$BATS_TEST_TMPDIR" "$1")
    [ "$2" != inside ] || COMMAND=("${NS_ENTER[@]}" -- "${COMMAND[@]}")
}

# run_block N WAY: what it says goes to outN and errN.
run_block() {
    command_for "$@"
    "${COMMAND[@]}" >"$BATS_TEST_TMPDIR/out$1" 2>"$BATS_TEST_TMPDIR/err$1" 3>&-
}

# watch_block N: until it has shown a whole report.
watch_block() {
    command_for "$1" node
    # It ends its whole process group.
    start watched timeout 60 "${COMMAND[@]}"
    wait_until 30 grep -q '^Scanned' "$BATS_TEST_TMPDIR/watched.out"
    ! is_gone "$STARTED_PID" || fail "block $1 has ended by itself"
    kill -TERM "$STARTED_PID"
    wait_until 5 is_gone "$STARTED_PID"
    mv "$BATS_TEST_TMPDIR/watched.out" "$BATS_TEST_TMPDIR/out$1"
}

# run_blocks WAY: all of the runbook, from its first line to its last one; what was done is in done.
run_blocks() {
    local i kind way
    for i in $(seq "$BLOCKS"); do
        kind=$(kind_of "$i")
        case $kind in
        net | kubectl)
            # kubectl is where the person is, and not in the pod.
            [ "$kind" = net ] && way=$1 || way=node
            run_block "$i" "$way" || fail "status $? of block $i: $(cat "$BATS_TEST_TMPDIR/block$i" "$BATS_TEST_TMPDIR/err$i")"
            [ ! -s "$BATS_TEST_TMPDIR/err$i" ] || fail "block $i says: $(cat "$BATS_TEST_TMPDIR/err$i")"
            ;;
        watch) watch_block "$i" ;;
        client) run_block "$i" inside ;;
        esac
        echo "$kind" >>"$BATS_TEST_TMPDIR/done"
    done
}

# expect_leak_found: what the blocks have printed names the destination, the state, the program and its command line.
# shellcheck disable=SC2016 # of blocks
expect_leak_found() {
    run said_by 'in_net ss -Htan state connected "( sport >= :$FIRST and sport <= :$LAST )" |'
    assert_line --index 0 --regexp '^ +60 10\.0\.0\.5 10\.0\.0\.9:443$'
    run said_by 'DST=10.0.0.9:443'
    assert_line --regexp '^ +60 CLOSE-WAIT$'
    assert_line --regexp "^ +60 \"peer\",pid=$HOLD_PID\$"
    run said_by 'for protocol in t u; do'
    assert_line --index 0 --regexp "^ +6[0-9] \"peer\",pid=$HOLD_PID\$"
    assert_line --regexp '^ +1 LISTEN$'
    run said_by 'in_net ss -Htlnp "( sport >= :$FIRST and sport <= :$LAST )"'
    assert_line --regexp '^LISTEN .*127\.0\.0\.1:40090 .*"peer"'
    run said_by "in_net ss -Htanp state close-wait | grep -oE '\"[^\"]+\",pid=[0-9]+' | sort | uniq -c | sort -rn"
    assert_line --index 0 --regexp "^ +60 \"peer\",pid=$HOLD_PID\$"
    assert_line --regexp '^ +60 10\.0\.0\.9:443$'
    run said_by "LEAK=\$(in_net ss -Htanp state close-wait | grep -oE 'pid=[0-9]+' | sort | uniq -c | sort -rn | sed -n '1s/.*=//p')"
    assert_line --index 0 --partial "$PEER hold listen 0.0.0.0 443 close-wait 10.0.0.9 443 "
    assert_line --regexp "^ *$HOLD_PID "
    assert_line --regexp '^0::/|^[0-9]+:.*:/'
    run said_by 'kubectl -n "$NS" logs "$POD" --all-containers --since=15m |'
    assert_output 'dial tcp 10.0.0.9:443: connect: cannot assign requested address'
    run said_by 'kubectl -n "$NS" exec -it "$POD" -c metrics-sidecar -- /metrics-sidecar --report --watch'
    assert_line --regexp '^6[0-9] of 100 ports \(6[0-9]\.[0-9] %\): 10\.0\.0\.9:443 from 10\.0\.0\.5$'
    run said_by 'curl -i http://localhost:9999/metrics'
    assert_line --index 0 --partial 'HTTP/1.1 200 OK'
    run said_by 'kubectl -n "$NS" debug -it "$POD" --profile=sysadmin --image="$IMAGE" -- sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    assert_output 'net.ipv4.ip_local_port_range = 10240 65535'
}

# kernel_closes: whether this one closes the sockets that it is told to close: CONFIG_INET_DIAG_DESTROY.
kernel_closes() {
    ns ss -Htan -K dport = :443 >/dev/null
    [ "$(ns ss -Htan state established dport = :443 | wc -l)" -eq 0 ]
}

# run_runbook WAY
run_runbook() {
    make_leak
    make_commands
    start_server
    prepare_shell "$1"
    run_blocks "$1"
    expect_leak_found
    # The pool is the one that the commands made: 55296 ports, 92 of them reserved.
    expect_value "$(ns "$PROGRAM" --print)" 55204 port_total
    [ "$(ns cat /proc/sys/net/ipv4/tcp_tw_reuse)" = 1 ]
    # The last block has closed what leaked and nothing else, where the kernel can do that.
    [ "$(ns ss -Htan state established dport = :443 | wc -l)" -eq 3 ]
    [ "$(ns ss -Htan state close-wait | wc -l)" -eq 0 ] || ! kernel_closes
    # What can be run was: 20 blocks and more.
    [ "$(grep -cxE 'net|kubectl|watch|client' "$BATS_TEST_TMPDIR/done")" -ge 20 ]
}

@test "every command works that can be run here, by dash, from a node: the leak is found, the range is wider" {
    run_runbook node
}

@test "the same in a container that kubectl has added to the pod" {
    run_runbook inside
}

@test "from the alert to the destination in a minute: its command, the page, the report and the runbook agree" {
    local start=$SECONDS command
    make_leak
    make_commands
    start_server
    # The alert, as promtool finds it word by word in rules.bats.
    command=$(sed -nE 's/^ +command: "(kubectl .*)"$/\1/p' "$ROOT/deploy/prometheus/rules.test.yaml" | sed -n '1s/exec -it [^ ]*/exec -it manju-7744b786fc-jvftc/p')
    COLUMNS=200 PATH="$COMMANDS:$PATH" run dash -c "$command"
    assert_success
    assert_line --index 0 "Local ports of test-pod: half used"
    assert_line --regexp '^6[0-9] of 100 ports .*: 10\.0\.0\.9:443 from 10\.0\.0\.5$'
    assert_line --regexp '^  close_wait +60 '
    assert_line --partial 'close_wait: the program does not close what the other side has closed.'
    # The page names nothing, and says how to see it; where it was started to name some, it does.
    run ns curl -sS http://127.0.0.1:9999/
    assert_line --partial '<h2>Local ports: half used</h2>'
    assert_line --partial 'close_wait: the program does not close'
    refute_output --partial 10.0.0.9
    assert_line --partial '--report</code>'
    # The section of that alert: state and program.
    prepare_shell node
    run_block "$(number_of DST=10.0.0.9:443)" node
    run said_by DST=10.0.0.9:443
    assert_line --index 0 --regexp '^ +60 CLOSE-WAIT$'
    assert_line --regexp "\"peer\",pid=$HOLD_PID\$"
    [ $((SECONDS - start)) -le 60 ]
}

@test "what the runbook asks Prometheus is PromQL" {
    {
        printf 'groups:\n  - name: runbook\n    rules:\n'
        awk '/^```promql$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$RUNBOOK" |
            while IFS= read -r expression; do
                printf "      - { record: asked%d, expr: '%s' }\n" $((++asked)) "$expression"
            done
    } >"$BATS_TEST_TMPDIR/asked.yaml"
    run "$PROMTOOL" check rules "$BATS_TEST_TMPDIR/asked.yaml"
    assert_success
    assert_output --partial "SUCCESS: 1 rules found"
}
