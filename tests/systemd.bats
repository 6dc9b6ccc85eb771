#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The package and the units, in a machine of their own with systemd as process 1: installed by dpkg, started by
# systemctl, scraped over the network, purged.

bats_require_minimum_version 1.5.0
load helpers

can_boot() {
    [ "$(id -u)" = 0 ] && [ -e "$UNPACKED/machine.tar" ]
}

# systemd-nspawn opens the network namespace by its path; the machine's directory is thrown away.
setup_file() {
    # setup() says why.
    can_boot || return 0
    ns_create
    export NS_PID
    touch "$BATS_FILE_TMPDIR/groups"
    MACHINE=$BATS_FILE_TMPDIR/machine
    mkdir "$MACHINE"
    tar -C "$MACHINE" -xf "$UNPACKED/machine.tar" --exclude='./dev/*'
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$ROOT" deb >"$BATS_FILE_TMPDIR/deb.log" 2>&1
    rm "$MACHINE/etc/hostname" # of the machine that made it; nspawn sets one
    cp "$ROOT"/build/deb/metrics-sidecar_*.deb "$MACHINE/package.deb"
    boot
    export MACHINE NSPAWN_PID INIT_PID
    machine find / -xdev -type f -o -type l | sort >"$BATS_FILE_TMPDIR/before"
    machine dpkg -i /package.deb
    make_groups_writable
}

teardown_file() {
    can_boot || return 0
    [ -z "${NSPAWN_PID:-}" ] || {
        kill -TERM "$NSPAWN_PID"
        wait_until 10 is_gone "$NSPAWN_PID" || kill -KILL "$NSPAWN_PID"
    }
    local group
    while read -r group; do
        find "$group" -depth -type d -exec rmdir {} \;
    done <"$BATS_FILE_TMPDIR/groups"
    kill -TERM "$NS_PID"
}

setup() {
    require_root "it starts a service manager"
    needs "$UNPACKED/machine.tar"
    NS_ENTER=(nsenter -n -t "$NS_PID")
    BEGUN=@$EPOCHREALTIME
}

# What a test has started or configured is gone for the next one.
teardown() {
    [ "$(id -u)" = 0 ] || return 0
    stop_all
    machine systemctl stop metrics-sidecar.socket metrics-sidecar-supervised.socket 'metrics-sidecar-netns@*.socket' \
        'metrics-sidecar*.service' 'system-metrics*.slice'
    rm -rf "$MACHINE"/etc/systemd/system/{,system-}metrics-sidecar*.d
    machine systemctl daemon-reload
    machine systemctl reset-failed
    wait_until 5 no_connection_left
}

no_connection_left() {
    [ -z "$(machine systemctl list-units --all --plain --no-legend 'metrics-sidecar*')" ]
}

# in_own_groups COMMAND...: the groups of version 1 are not nspawn's business, and two machines would share theirs.
in_own_groups() {
    local hierarchy controllers group groups
    groups=$(cat /proc/self/cgroup) # whole, before it changes
    [ -e /sys/fs/cgroup/cgroup.procs ] || while IFS=: read -r hierarchy controllers group; do
        [ "$hierarchy" != 0 ] || controllers=unified
        [[ " cpu cpuacct cpu,cpuacct memory pids unified name=systemd " == *" $controllers "* ]] || continue
        controllers=/sys/fs/cgroup/${controllers#name=}
        [ -d "$controllers" ] || continue
        group=$controllers$group
        # In a container that has no namespace for them, the names are those of the host.
        [ -d "$group" ] || exec unshare --cgroup bash -c "$(declare -f in_own_groups); in_own_groups \"\$@\"" bash "$@"
        group=$group/metrics-sidecar-test-$BASHPID
        mkdir "$group"
        echo "$group" >>"$BATS_FILE_TMPDIR/groups"
        echo "$BASHPID" >"$group/cgroup.procs"
    done <<<"$groups"
    exec "$@"
}

# What nspawn keeps from a container, and a machine of its own has.
LANDLOCK="landlock_create_ruleset landlock_add_rule landlock_restrict_self"

# boot: systemd as process 1, in the namespace that NS_PID holds.
boot() {
    local scope=() legacy=()
    # systemd 256 and 257 start with groups of version 1 where they are told to.
    [ -e /sys/fs/cgroup/cgroup.procs ] || legacy=(SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1)
    # With version 2 alone, a manager has to hand the groups over.
    [ ! -e /sys/fs/cgroup/cgroup.procs ] || [ ! -d /run/systemd/system ] ||
        scope=(systemd-run --quiet --scope -p Delegate=yes)
    start machine in_own_groups "${scope[@]}" systemd-nspawn --quiet --register=no --keep-unit --directory="$MACHINE" \
        --network-namespace-path="/proc/$NS_PID/ns/net" --capability=all --system-call-filter="bpf $LANDLOCK" --console=pipe \
        --hostname=test-pod --boot "${legacy[@]}"
    NSPAWN_PID=$STARTED_PID
    wait_until 20 is_booted || { cat "$BATS_TEST_TMPDIR/machine.err" >&2; return 1; }
}

is_booted() {
    INIT_PID=$(pgrep -P "$NSPAWN_PID" | tail -n 1)
    [ -n "$INIT_PID" ] && [ "$(machine systemctl is-system-running)" = running ]
}

# machine COMMAND...: run it there.
machine() {
    nsenter -a -t "$INIT_PID" -- "$@"
}

# Where the hierarchies of version 1 are mounted read-only, CPUQuota=, MemoryMax= and TasksMax= would be ignored.
make_groups_writable() {
    local controller
    [ ! -d /sys/fs/cgroup/memory ] || for controller in cpu cpuacct memory pids; do
        machine mount -o remount,bind,rw "/sys/fs/cgroup/$controller"
    done
    machine systemctl daemon-reexec
}

# drop_in UNIT LINE...: as `systemctl edit` would write it.
drop_in() {
    local directory=$MACHINE/etc/systemd/system/$1.d
    mkdir -p "$directory"
    printf '%s\n' "${@:2}" >"$directory/test.conf"
    machine systemctl daemon-reload
}

make_other_namespace() {
    machine ip netns add other 2>/dev/null || true
    machine ip -n other link set lo up
}

# What the journal has said since the test began.
journal() {
    machine journalctl --since="$BEGUN" -o cat "$@"
}

property() {
    machine systemctl show -P "$2" "$1"
}

is_active() {
    [ "$(machine systemctl is-active "$1")" = active ]
}

is_inactive() {
    [ "$(machine systemctl is-active "$1")" = inactive ]
}

assert_nothing_failed() {
    run machine systemctl list-units --all --plain --no-legend --state=failed
    assert_output ""
    run journal
    refute_output --regexp 'Failed with result|status=[0-9]'
}

# program_pid [ARGUMENT]: of the program in the machine, not another of this host, seen from here.
program_pid() {
    pgrep -f -x --ns "$INIT_PID" --nslist pid "/usr/bin/metrics-sidecar${1:+ $1}"
}

UNITS=(metrics-sidecar.socket metrics-sidecar@1.service system-metrics-sidecar.slice metrics-sidecar-supervised.socket
    metrics-sidecar-supervised.service metrics-sidecar-netns@other.socket metrics-sidecar-netns@other.service)

# --- what is installed

@test "make deb: of the version of the program, without an error or a warning of lintian" {
    run cat "$BATS_FILE_TMPDIR/deb.log"
    refute_output --regexp '^[EW]: '
    run machine dpkg-query -W -f '${Version}' metrics-sidecar
    assert_output "$("$PROGRAM" --version | sed -n '1s/.* //p')"
    run machine metrics-sidecar --version
    assert_output "$("$PROGRAM" --version)"
}

@test "the package has the documents by their names, and what README points to" {
    local documents=$MACHINE/usr/share/doc/metrics-sidecar file
    for file in README.md SECURITY.md docs/runbook.md docs/images/report.png bench/results.svg deploy/grafana/dashboard.json \
        deploy/prometheus/rules.yaml deploy/prometheus/scrape.yaml deploy/kubernetes/sidecar/kustomization.yaml; do
        cmp "$ROOT/$file" "$documents/$file"
    done
    assert_equal "$(readlink "$documents/deploy")" ../../metrics-sidecar/deploy
}

@test "the package enables nothing and starts nothing" {
    run machine systemctl list-unit-files --no-legend --plain 'metrics-sidecar*'
    [ "${#lines[@]}" -eq 6 ]
    refute_output --partial enabled' '
    run machine systemctl list-units --all --no-legend --plain 'metrics-sidecar*'
    assert_output ""
    run machine find /etc/systemd -name '*metrics-sidecar*'
    assert_output ""
}

@test "systemd-analyze verify has nothing to say, the manual page is found" {
    local unit
    for unit in "${UNITS[@]}"; do
        # An unknown key is a warning, and its status 0.
        run machine systemd-analyze verify "$unit"
        assert_success
        assert_output ""
    done
}

@test "exposure: 0.7 for each service" {
    local unit
    for unit in "${UNITS[@]}"; do
        [[ $unit == *.service ]] || continue
        run machine systemd-analyze security --no-pager --threshold=7 "$unit"
        assert_success
        assert_line --partial "Overall exposure level for $unit: 0."
    done
}

# --- metrics-sidecar.socket, one process for each scrape

# assert_right_figures FIRST [PORT [NETNS]]: of sockets that the test makes on ports from FIRST on, a pool of 100, in the
# machine's network namespace.
assert_right_figures() {
    local first=$1 answer
    make_sockets "$first"
    answer=$(scrape_port "${2:-9999}")
    assert_figures_of_sockets "$answer" "${4:-test-pod}"
    # Nothing that a unit denies may cost the better source.
    [[ $answer == *'source="sock_diag"'* ]]
    [[ $answer == *"netns=\"${3:-same}\""* ]]
}

make_sockets() {
    local first=$1
    ns_sysctl ip_local_port_range "$first $((first + 99))"
    hold "listen 127.0.0.1 5000" "connect 127.0.0.1 5000 127.0.0.1 ~$first" \
        "connect 127.0.0.1 5000 127.0.0.1 ~$((first + 1))" \
        "connect ::ffff:127.0.0.1 5000 ::ffff:127.0.0.1 ~$((first + 3))" \
        "time-wait 127.0.0.1 5000 127.0.0.1 $((first + 4))" "bind-udp 127.0.0.1 $first" \
        "listen 127.0.0.1 $((first + 2))"
}

# scrape_port PORT [CURL-ARGUMENT...]: from a local port outside every pool of these tests.
scrape_port() {
    ns curl -sS --max-time 10 --local-port 6000-9000 "${@:2}" "http://127.0.0.1:$1/metrics"
}

status_of_port() {
    scrape_port "$1" -o /dev/null -w '%{http_code}' 2>/dev/null || true
}

port_serves() {
    [ "$(status_of_port "$1")" = 200 ]
}

assert_figures_of_sockets() {
    expect_value "$1" 100 port_total
    expect_value "$1" 5 port_used
    expect_value "$1" 5 port_used_by_protocol 'protocol="tcp"'
    expect_value "$1" 1 port_used_by_protocol 'protocol="udp"'
    expect_value "$1" 1 port_blocked
    expect_value "$1" 1 port_time_wait
    expect_value "$1" 5 port_destination_used_max
}

# hang PORT: a client that has sent half a head and keeps its connection.
hang() {
    # shellcheck disable=SC2016 # of the inner shell
    start client ns bash -c 'printf "GET /metrics HTTP/1.1\r\n" | exec "$0" talk 127.0.0.1 "$1"' "$PEER" "$1"
}

@test "metrics-sidecar.socket: right figures under every directive" {
    machine systemctl start metrics-sidecar.socket
    assert_right_figures 40000
    run scrape_port 9999
    assert_output --partial 'launcher="inetd"'
    wait_until 5 no_instance_left
    assert_nothing_failed
    # Nothing of a scrape is worth a line.
    run journal
    refute_output --partial 'metrics-sidecar@'
    run journal -t metrics-sidecar
    refute_output --partial metrics
}

no_instance_left() {
    [ -z "$(machine systemctl list-units --all --plain --no-legend 'metrics-sidecar@*')" ]
}

@test "metrics-sidecar.socket: an instance has no rights, and its limits" {
    machine systemctl start metrics-sidecar.socket
    hang 9999
    wait_until 5 program_pid
    assert_confined "$(program_pid)" 33554432 2
}

# assert_confined PID MEMORY TASKS
assert_confined() {
    local status=/proc/$1/status group
    grep -qE '^CapEff:\s+0+$' "$status"
    grep -qE '^CapBnd:\s+0+$' "$status"
    grep -qE '^NoNewPrivs:\s+1$' "$status"
    grep -qE '^Seccomp:\s+2$' "$status"
    run ! grep -qE '^[UG]id:.*\s0(\s|$)' "$status"
    assert_limit "$1" memory memory.limit_in_bytes memory.max "$2"
    assert_limit "$1" pids pids.max pids.max "$3"
}

# assert_limit PID CONTROLLER FILE-V1 FILE-V2 VALUE
assert_limit() {
    local groups group hierarchies=/proc/$INIT_PID/root/sys/fs/cgroup
    groups=$(nsenter --cgroup -t "$INIT_PID" -- cat "/proc/$1/cgroup") # as the machine names them
    group=$(sed -nE "s/^[0-9]+:$2:(.*)/\1/p" <<<"$groups")
    if [ -n "$group" ]; then
        run cat "$hierarchies/$2$group/$3"
    else
        run cat "$hierarchies$(sed -n 's/^0:://p' <<<"$groups")/$4"
    fi
    assert_output "$5"
}

# slice_file CONTROLLER FILE-V1 FILE-V2: of the slice of all instances.
slice_file() {
    local slice=system.slice/system-metrics.slice/system-metrics-sidecar.slice group
    group=$(nsenter --cgroup -t "$INIT_PID" -- sed -nE "s/^[0-9]+:([a-z,]*,)?$1(,[a-z,]*)?:(.*)/\3/p" "/proc/$INIT_PID/cgroup")
    if [ -d "/sys/fs/cgroup/$1" ]; then
        echo "/proc/$INIT_PID/root/sys/fs/cgroup/$1${group%/init.scope}/$slice/$2"
    else
        echo "/proc/$INIT_PID/root/sys/fs/cgroup/$slice/$3"
    fi
}

@test "metrics-sidecar.socket: all instances together have a ceiling, whoever comes" {
    machine systemctl start metrics-sidecar.socket
    local i
    for i in {1..32}; do
        hang 9999
    done
    wait_until 20 program_pid
    run cat "$(slice_file memory memory.limit_in_bytes memory.max)"
    assert_output 134217728
    run cat "$(slice_file pids pids.max pids.max)"
    assert_output 64
    run sh -c 'cat "$@" 2>/dev/null | tr "\\n" " "' sh "$(slice_file cpu cpu.cfs_quota_us cpu.max)" \
        "$(slice_file cpu cpu.cfs_period_us none)"
    assert_output '250000 1000000 '
    scrape_without_pause
    wait_until 30 is_throttled
    i=$(cat "$(slice_file memory memory.max_usage_in_bytes memory.peak)")
    echo "# at most $i bytes" >&3
    [ "$i" -lt 134217728 ]
    is_active metrics-sidecar.socket
}

# Eight scrapers; what they cost for three seconds is a figure for people, of the machine and its manager too.
scrape_without_pause() {
    local usage began used
    for _ in {1..8}; do
        start scraper ns "$PEER" scrape 127.0.0.1 9999 0 100000
    done
    usage=$(grep -m 1 /cpuacct/ "$BATS_FILE_TMPDIR/groups")/cpuacct.usage
    [ -e "$usage" ] || return 0
    began=${EPOCHREALTIME/./}
    used=$(cat "$usage")
    ns timeout 3 tail -f /dev/null || true
    used=$((($(cat "$usage") - used) / (${EPOCHREALTIME/./} - began)))
    echo "# 8 scrapers: $((used / 10)) % of a processor, the manager included" >&3
}

is_throttled() {
    [ "$(awk '/^nr_throttled/ { print $2 }' "$(slice_file cpu cpu.stat cpu.stat)")" -gt 0 ]
}

@test "metrics-sidecar.socket: 300 scrapes, a 404, clients that hang, reset or say nothing: no failed unit" {
    ns_sysctl ip_local_port_range "32768 60999"
    machine systemctl start metrics-sidecar.socket
    hang 9999
    run ns "$PEER" scrape 127.0.0.1 9999 0 300
    assert_output --partial 'answered 300 of 300,'
    run ns curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9999/nothing
    assert_output 404
    ns "$PEER" talk 127.0.0.1 9999 reset </dev/null
    # While a process reads it.
    printf 'GET /metrics HTTP/1.1\r\n' | ns "$PEER" talk 127.0.0.1 9999 piece=4 pause-ms=400 reset
    # The hanging one gets its 408.
    wait_until 10 is_gone "$STARTED_PID"
    wait_until 10 no_instance_left
    assert_nothing_failed
    is_active metrics-sidecar.socket
    port_serves 9999
}

# burst PORT: 600 connections in one second at least, of clients that say half a head, or end then.
burst() {
    local manner
    for manner in '' half-close; do
        run ns "$PEER" flood 127.0.0.1 "$1" 900 1 "$manner"
        [[ $output =~ ^opened\ ([0-9]+),\ failed\ 0$ ]]
        [ "${BASH_REMATCH[1]}" -ge 600 ]
    done
}

# The machine has no curl, and shares its network namespace with this test: commands of systemd are run in it, others here.
@test "README.md, on a host: the commands as they stand" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\nexec nsenter -a -t %s -- systemctl "$@"\n' "$INIT_PID" >"$BATS_TEST_TMPDIR/bin/systemctl"
    chmod 755 "$BATS_TEST_TMPDIR/bin/systemctl"
    block_below README.md "On a host" sh >"$BATS_TEST_TMPDIR/block"
    run -0 --separate-stderr env PATH="$BATS_TEST_TMPDIR/bin:$PATH" "${NS_ENTER[@]}" -- sh -e "$BATS_TEST_TMPDIR/block"
    assert_line --regexp '^port_used\{pod_name="test-pod"\} [0-9]+$'
    assert_line --regexp '^metrics_sidecar_info\{.*launcher="inetd",netns="same"\} 1$'
    [ "$(machine systemctl is-enabled metrics-sidecar.socket)" = enabled ]
    machine systemctl disable --now metrics-sidecar.socket
}

@test "metrics-sidecar.socket and metrics-sidecar-supervised.socket: each ends the other, and its port is free" {
    local before=metrics-sidecar-supervised.socket unit
    machine systemctl start "$before"
    # Its service holds the listening socket too.
    port_serves 9999
    is_active "${before%.socket}.service"
    for unit in metrics-sidecar.socket metrics-sidecar-supervised.socket; do
        machine systemctl start "$unit"
        is_active "$unit"
        is_inactive "$before"
        port_serves 9999
        before=$unit
    done
    is_active metrics-sidecar-supervised.service
    # Both enabled is a mistake that leaves one of them, not none.
    machine systemctl stop metrics-sidecar-supervised.socket
    run machine systemctl start sockets.target metrics-sidecar.socket
    assert_success
    assert_nothing_failed
}

@test "600 connections in one second leave every socket unit active, and serving" {
    ns_sysctl ip_local_port_range "32768 60999"
    make_other_namespace
    local unit port
    while read -r unit port; do
        machine systemctl start "$unit"
        burst "$port"
        is_active "$unit"
        # The starts of the burst come first, and share the quota of the slice.
        wait_until 40 port_serves "$port"
        is_active "$unit"
        machine systemctl stop "$unit" "${unit%.socket}.service" 2>/dev/null || true
    done <<<$'metrics-sidecar.socket 9999\nmetrics-sidecar-supervised.socket 9999\nmetrics-sidecar-netns@other.socket 9998'
}

@test "the sockets answer this machine alone, until open-to-network.conf names others" {
    [ -e /sys/fs/cgroup/cgroup.procs ] || [ -d /sys/fs/cgroup/unified ] ||
        skip "needs control groups of version 2: the kernel filters by them"
    # An address of the machine that is not localhost, as the BPF program sees it.
    local address unit=metrics-sidecar.socket
    for address in 192.0.2.1 192.0.2.10; do
        ns ip addr add "$address/32" dev lo 2>/dev/null || true
    done
    machine systemctl start "$unit"
    port_serves 9999
    run ns curl -sS --max-time 1 http://192.0.2.10:9999/metrics
    assert_failure 7
    # On every address, the kernel still keeps others out.
    drop_in "$unit" '[Socket]' ListenStream= ListenStream=9999
    machine systemctl restart "$unit"
    run ns curl -sS --max-time 1 http://192.0.2.10:9999/metrics
    assert_failure 28
    port_serves 9999
    mkdir -p "$MACHINE/etc/systemd/system/$unit.d"
    rm "$MACHINE/etc/systemd/system/$unit.d/test.conf"
    machine cp /usr/share/metrics-sidecar/systemd/open-to-network.conf "/etc/systemd/system/$unit.d/"
    machine systemctl daemon-reload
    machine systemctl restart "$unit"
    run ns curl -sS --max-time 5 -o /dev/null -w '%{http_code}' http://192.0.2.10:9999/metrics
    assert_output 200
    run ns curl -sS --max-time 1 http://192.0.2.1:9999/metrics
    assert_failure 28
}

@test "PrivateNetwork= by mistake: netns is other, and the journal says so" {
    drop_in metrics-sidecar@.service '[Service]' PrivateNetwork=yes
    machine systemctl start metrics-sidecar.socket
    run scrape_port 9999
    assert_line --regexp '^metrics_sidecar_info\{.*netns="other"\} 1$'
    says_other_namespace() {
        journal -t metrics-sidecar | grep -qx \
            'metrics-sidecar: measure network namespace: not the one that the client connected to'
    }
    wait_until 5 says_other_namespace
}

@test "settings of /etc/default/metrics-sidecar" {
    echo 'POD_NAME=from-default' >"$MACHINE/etc/default/metrics-sidecar"
    machine systemctl start metrics-sidecar.socket
    run scrape_port 9999
    rm "$MACHINE/etc/default/metrics-sidecar"
    assert_line --regexp '^port_total\{pod_name="from-default"\} [0-9]+$'
}

# --- metrics-sidecar-supervised.socket, one process that stays

SUPERVISED=metrics-sidecar-supervised

@test "supervised: started by the first scrape, READY, right figures, confined" {
    machine systemctl start "$SUPERVISED.socket"
    is_inactive "$SUPERVISED.service"
    assert_right_figures 41000
    # Type=notify: it is active when it has said so.
    is_active "$SUPERVISED.service"
    assert_equal "$(property "$SUPERVISED.service" StatusText)" 'Answering scrapes'
    assert_confined "$(program_pid)" 67108864 80
    ns_sysctl ip_local_port_range "32768 60999"
    run ns "$PEER" scrape 127.0.0.1 9999 0 300
    assert_output --partial 'answered 300 of 300,'
    assert_equal "$(property "$SUPERVISED.service" NRestarts)" 0
    assert_nothing_failed
}

@test "supervised: ends when idle, and no scrape is lost between two starts" {
    drop_in "$SUPERVISED.service" '[Service]' Environment=METRICS_SIDECAR_IDLE_EXIT=1
    machine systemctl start "$SUPERVISED.socket"
    port_serves 9999
    wait_until 5 is_inactive "$SUPERVISED.service"
    # The interval is as long as it takes to end, so that scrapes arrive before, during and
    # after the end. How many of them start the service again depends on their duration.
    run ns "$PEER" scrape 127.0.0.1 9999 1010 12
    assert_output --partial 'answered 12 of 12,'
    # In twice that time the service always ends between two scrapes.
    run ns "$PEER" scrape 127.0.0.1 9999 2000 3
    assert_output --partial 'answered 3 of 3,'
    run journal -u "$SUPERVISED.service"
    [ "$(grep -c '^Started' <<<"$output")" -ge 3 ]
    wait_until 5 is_inactive "$SUPERVISED.service"
    is_active "$SUPERVISED.socket"
    assert_nothing_failed
}

main_pid() {
    property "$SUPERVISED.service" MainPID
}

@test "supervised: answers the watchdog; one that hangs is replaced" {
    local pid
    drop_in "$SUPERVISED.service" '[Service]' WatchdogSec=1
    machine systemctl start "$SUPERVISED.socket"
    port_serves 9999
    pid=$(main_pid)
    # Three times as long as it may be silent, with nobody coming.
    run ns "$PEER" scrape 127.0.0.1 9999 3000 2
    assert_output --partial 'answered 2 of 2,'
    assert_equal "$(main_pid)" "$pid"
    machine systemctl kill --kill-who=main -s STOP "$SUPERVISED.service"
    wait_until 10 another_is_active "$pid"
    port_serves 9999
    run journal -u "$SUPERVISED.service"
    assert_output --partial 'Watchdog timeout'
}

# another_is_active PID: than that one.
another_is_active() {
    is_active "$SUPERVISED.service" && [ "$(main_pid)" != "$1" ]
}

@test "supervised: killed again and again it comes back, past every start limit" {
    local pid
    machine systemctl start "$SUPERVISED.socket"
    for _ in 1 2 3 4 5 6 7; do
        wait_until 10 port_serves 9999
        pid=$(main_pid)
        machine systemctl kill --kill-who=main -s KILL "$SUPERVISED.service"
        wait_until 10 another_is_active "$pid"
    done
    port_serves 9999
    assert_equal "$(property "$SUPERVISED.service" NRestarts)" 7
}

@test "supervised: a client that hangs and a 404 leave it as it is" {
    local pid
    machine systemctl start "$SUPERVISED.socket"
    port_serves 9999
    pid=$(main_pid)
    hang 9999
    run ns curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9999/nothing
    assert_output 404
    wait_until 10 is_gone "$STARTED_PID"
    assert_equal "$(main_pid)" "$pid"
    assert_nothing_failed
}

# --- metrics-sidecar-netns@.socket, another network namespace

NETNS=metrics-sidecar-netns@other

@test "netns: the figures of the other namespace, which has neither a listening socket nor a route" {
    make_other_namespace
    machine systemctl start "$NETNS.socket"
    # What is made goes there; who asks comes to the machine's own.
    NS_ENTER=(nsenter "--net=/proc/$INIT_PID/root/run/netns/other")
    make_sockets 42000
    NS_ENTER=(nsenter -n -t "$NS_PID")
    run scrape_port 9998
    assert_figures_of_sockets "${output//pod_name=\"other\"/pod_name=\"test-pod\"}"
    assert_line --regexp '^metrics_sidecar_info\{pod_name="other",.*source="sock_diag",launcher="supervisor",netns="other"\} 1$'
    run machine ip netns exec other ss -Hltn 'sport = :9998'
    assert_output ""
    assert_confined "$(program_pid "--pod-name=other --netns-file=/run/netns/other")" 67108864 80
    # It is meant that the client is elsewhere.
    run journal -t metrics-sidecar
    refute_output --partial 'measure network namespace'
    assert_nothing_failed
}

@test "netns: a namespace that is not there yet is waited for, without haste" {
    machine ip netns delete late 2>/dev/null || true
    machine systemctl start metrics-sidecar-netns@late.socket
    run scrape_port 9998 --max-time 1
    assert_failure
    machine ip netns add late
    wait_until 15 port_serves 9998
    # Tried every five seconds.
    [ "$(property metrics-sidecar-netns@late.service NRestarts)" -le 4 ]
    is_active metrics-sidecar-netns@late.socket
}

# inode_of NAME: of that namespace.
inode_of() {
    machine stat -L -c %i "/run/netns/$1"
}

# is_kept INODE: whether a process has that namespace.
is_kept() {
    find /proc/[0-9]*/ns/net -maxdepth 0 -lname "net:\[$1\]" 2>/dev/null | grep -q .
}

is_released() {
    ! is_kept "$1"
}

# make_pool NAME FIRST LAST: a namespace that is known by its range.
make_pool() {
    machine ip netns add "$1"
    machine ip -n "$1" link set lo up
    nsenter "--net=/proc/$INIT_PID/root/run/netns/$1" sh -c "echo $2 $3 >/proc/sys/net/ipv4/ip_local_port_range"
}

@test "netns: a namespace that is deleted is let go, and made again the new one is measured" {
    local old unit=metrics-sidecar-netns@again
    machine ip netns delete again 2>/dev/null || true
    make_pool again 42000 42099
    machine systemctl start "$unit.socket"
    run scrape_port 9998
    assert_line 'port_total{pod_name="again"} 100'
    old=$(inode_of again)
    is_kept "$old"

    # Deleted, and made again: nobody comes, and yet the old one ends.
    machine ip netns delete again
    make_pool again 43000 43199
    wait_until 8 is_released "$old"
    wait_until 8 is_inactive "$unit.service"
    run scrape_port 9998
    assert_line 'port_total{pod_name="again"} 200'
    run journal -t metrics-sidecar
    assert_output --partial 'measure network namespace /run/netns/again: '

    # Deleted, and scraped before and after the process ends: no figure of what is gone.
    machine ip netns delete again
    run scrape_port 9998 --max-time 2
    refute_output --partial port_total
    wait_until 8 is_inactive "$unit.service"
    run scrape_port 9998 --max-time 2
    refute_output --partial port_total
    wait_until 8 is_restarting "$unit.service"
    is_active "$unit.socket"

    # And back. What waits is tried every five seconds, no more often.
    make_pool again 44000 44299
    wait_until 15 port_serves 9998
    run scrape_port 9998
    assert_line 'port_total{pod_name="again"} 300'
    [ "$(property "$unit.service" NRestarts)" -le 4 ]
    machine ip netns delete again
}

is_restarting() {
    [ "$(property "$1" SubState)" = auto-restart ]
}

# --- what the filter allows

# traced NAME: the system calls of the program, from its own start on, in that output of strace.
traced() {
    awk '/execve\("[^"]*\/metrics-sidecar"/ { ours[$1] = 1 }
        ours[$1] && match($2, /^[a-z0-9_]+\(/) { print substr($2, 1, RLENGTH - 1) }
        / (clone|clone3|fork|vfork)\(.*= [0-9]+$/ && ours[$1] { ours[$NF] = 1 }' "$1" | sort -u
}

# allowed UNIT: what its filter lets through, and what systemd always does.
allowed() {
    {
        grep -h '^SystemCallFilter=' "$MACHINE/usr/lib/systemd/system/$1" | cut -d = -f 2 | tr ' ' '\n'
        machine systemd-analyze syscall-filter @default | grep -v '#'
        echo execve
    } | tr -d ' ' | sort -u
}

@test "the filters allow what the program calls, by both sources" {
    local source trace=$BATS_TEST_TMPDIR/trace
    # shellcheck disable=SC2016 # of the inner shell
    for source in auto procfs; do
        printf 'GET /metrics HTTP/1.0\r\n\r\n' | ns strace -f -o "$trace.once.$source" \
            "$PROGRAM" --inetd --source="$source" >"$trace.answer"
        grep -q '^HTTP/1.1 200 ' "$trace.answer"
        start launcher ns strace -f -o "$trace.stays.$source" systemd-socket-activate -l 127.0.0.1:9997 \
            -E NOTIFY_SOCKET="$BATS_TEST_TMPDIR/nobody" -E WATCHDOG_USEC=500000 "$PROGRAM" --idle-exit=2 --source="$source"
        wait_until 5 port_serves 9997
        hang 9997
        wait_until 20 is_gone "${STARTED[-2]}"
    done
    # The trace is one: netlink was asked, files were read.
    cat "$trace".once.* >"$trace"
    run traced "$trace"
    assert_line recvfrom
    assert_line openat
    # Root has capabilities to drop; the services have none.
    run comm -23 <(cat "$trace".once.* >"$trace" && traced "$trace" | grep -vx capset) <(allowed metrics-sidecar@.service)
    assert_output ""
    for unit in metrics-sidecar-supervised.service metrics-sidecar-netns@.service; do
        run comm -23 <(cat "$trace".stays.* >"$trace" && traced "$trace" | grep -vx capset) <(allowed "$unit")
        assert_output ""
    done
}

# --- the package again; these change what the others need

@test "an upgrade goes on listening, and what stays is the new program" {
    local pid
    machine systemctl start "$SUPERVISED.socket"
    port_serves 9999
    pid=$(main_pid)
    machine dpkg -i /package.deb
    is_active "$SUPERVISED.socket"
    another_is_active "$pid"
    port_serves 9999
}

@test "purge: sockets and services end, no file is left" {
    machine systemctl enable --now metrics-sidecar.socket
    make_other_namespace
    machine systemctl enable --now "$NETNS.socket"
    port_serves 9999
    port_serves 9998
    machine dpkg --purge metrics-sidecar
    run machine systemctl list-units --all --no-legend --plain 'metrics-sidecar*'
    refute_output --regexp ' active '
    run scrape_port 9999
    assert_failure 7
    run scrape_port 9998
    assert_failure 7
    # The journal and the logs and lists of dpkg and man-db are not the package's.
    machine find / -xdev -type f -o -type l | sort >"$BATS_TEST_TMPDIR/after"
    run comm -13 "$BATS_FILE_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
    run grep -vE '^/(var/(log|cache/man|lib/dpkg|lib/systemd)|run|tmp|proc|sys)/' <<<"$output"
    assert_output ""
    run machine dpkg-query -W metrics-sidecar
    assert_failure
}
