# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the long tests share: the limits that a sidecar has, in a control group of the test's own, and what was measured.

# shellcheck disable=SC1091 # it is checked by itself
source "${BASH_SOURCE[0]%/*}/../helpers.bash"

LOAD=$ROOT/build/tests/load
CROWD=$ROOT/build/bench/crowd
SOAK_SECONDS=${SOAK_SECONDS:-60}
export LOAD CROWD SOAK_SECONDS

MEMORY_LIMIT=$((128 << 20))
CONTROLLERS=(cpu cpuacct memory pids)

# --- control groups, of version 1 or 2

cgroup_is_v2() {
    [ -e /sys/fs/cgroup/cgroup.controllers ]
}

# cgroup_of CONTROLLER: the directory of the test's group.
cgroup_of() {
    if cgroup_is_v2; then
        echo "/sys/fs/cgroup/$CGROUP"
    else
        echo "/sys/fs/cgroup/$1/$CGROUP"
    fi
}

# cgroup_create: without limits but that of memory. To be called in setup, as root.
cgroup_create() {
    local controller
    CGROUP=metrics-sidecar-$$-$BATS_TEST_NUMBER
    ! cgroup_is_v2 || echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
    for controller in "${CONTROLLERS[@]}"; do
        mkdir -p "$(cgroup_of "$controller")"
    done
    cgroup_limit memory memory.limit_in_bytes memory.max "$MEMORY_LIMIT"
}

# cgroup_limit CONTROLLER FILE-OF-V1 FILE-OF-V2 VALUE-OF-V1 [VALUE-OF-V2]
cgroup_limit() {
    local file=$2 value=$4
    ! cgroup_is_v2 || { file=$3 value=${5:-$4}; }
    echo "$value" >"$(cgroup_of "$1")/$file"
}

# cgroup_limit_cpu MILLICORES: and the share of a processor that others want too, which the request of the manifest is.
# Kubernetes makes shares of it by the thousandth, and of shares a weight: 2 to 262144 are 1 to 10000.
cgroup_limit_cpu() {
    local shares
    shares=$(($(manifest_cpu_request) * 1024 / 1000))
    cgroup_limit cpu cpu.shares cpu.weight "$shares" $((1 + (shares - 2) * 9999 / 262142))
    if cgroup_is_v2; then
        echo "$(($1 * 100)) 100000" >"$(cgroup_of cpu)/cpu.max"
    else
        echo 100000 >"$(cgroup_of cpu)/cpu.cfs_period_us"
        echo "$(($1 * 100))" >"$(cgroup_of cpu)/cpu.cfs_quota_us"
    fi
}

# Thousandths of a processor.
manifest_cpu_request() {
    awk '/^ *requests:/ { here = 1 } here && $1 == "cpu:" { print int($2); exit }' "$ROOT/deploy/kubernetes/sidecar/container.yaml"
}

# cgroup_limit_processes N|max
cgroup_limit_processes() {
    echo "$1" >"$(cgroup_of pids)/pids.max"
}

# The most bytes that it ever held, those of its sockets in the kernel too.
cgroup_memory_peak() {
    cat "$(cgroup_of memory)"/memory.max_usage_in_bytes 2>/dev/null || cat "$(cgroup_of memory)/memory.peak"
}

# Microseconds on a processor, user and system.
cgroup_cpu_us() {
    if cgroup_is_v2; then
        awk '$1 == "usage_usec" { print $2 }' "$(cgroup_of cpu)/cpu.stat"
    else
        awk '{ printf "%d\n", $1 / 1000 }' "$(cgroup_of cpuacct)/cpuacct.usage"
    fi
}

cgroup_processes() {
    cat "$(cgroup_of pids)/cgroup.procs"
}

cgroup_is_empty() {
    [ -z "$(cgroup_processes)" ]
}

# After the processes in it have ended.
cgroup_remove() {
    local controller pid
    for pid in $(cgroup_processes); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait_until 5 cgroup_is_empty
    for controller in "${CONTROLLERS[@]}"; do
        [ ! -d "$(cgroup_of "$controller")" ] || wait_until 5 rmdir "$(cgroup_of "$controller")"
    done
}

# --- the server in it

soak_setup() {
    require_root "it makes control groups"
    ns_create
    cgroup_create
    # Scrapers are elsewhere: the TIME_WAIT of a connection that they closed is not in the pod's namespace.
    ns_sysctl tcp_max_tw_buckets 0
    # Room for those who attack, who would else fail at their own end.
    ns_sysctl ip_local_port_range "10000 60999"
}

soak_teardown() {
    [ "$(id -u)" = 0 ] || return 0
    stop_all
    cgroup_remove
}

# start_in_cgroup NAME COMMAND...: in the group and in the namespace.
start_in_cgroup() {
    local name=$1 files=() controller
    shift
    for controller in "${CONTROLLERS[@]}"; do
        files+=("$(cgroup_of "$controller")/cgroup.procs")
    done
    # The shell becomes the command: they have one pid.
    # shellcheck disable=SC2016 # expanded by that shell
    start "$name" sh -c 'while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec "$@"' sh \
        "${files[@]}" -- "${NS_ENTER[@]}" -- "$@"
}

# start_limited_server [ARGUMENT...]: the static program, as the image has it.
start_limited_server() {
    start_in_cgroup server "$STATIC_PROGRAM" "$@"
    SERVER_PID=$STARTED_PID
    wait_until 5 serves
}

# The process that accepts.
server_pid() {
    echo "$SERVER_PID"
}

server_descriptors() {
    find "/proc/$(server_pid)/fd" -mindepth 1 | wc -l
}

# KiB that are its own.
server_memory() {
    awk '$1 == "RssAnon:" { print $2 }' "/proc/$(server_pid)/status"
}

# --- what was measured

say() {
    echo "# $*" >&3
}

# figure NAME LINE: the number behind that name, in what the tools print.
figure() {
    grep -oE "(^|[ ,])$1 -?[0-9.]+" <<<"$2" | head -n 1 | awk '{ print $NF }'
}

# rate LINE
rate() {
    grep -oE '[0-9]+ per second' <<<"$1" | cut -d ' ' -f 1
}

# holds EXPRESSION: of numbers, fractions too.
holds() {
    awk "BEGIN { exit !($1) }" || fail "not so: $1"
}

# median: of the numbers on standard input, an odd count of them.
median() {
    sort -g | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

# said NAME: what a command of `start` wrote.
said() {
    cat "$BATS_TEST_TMPDIR/$1.out"
}

# wait_for NAME SECONDS PID: until it has ended.
wait_for() {
    wait_until "$2" is_gone "$3" || fail "$1 does not end"
    forget "$3"
}

# forget PID: it has ended. A server that starts thousands of processes uses every pid again before the test is over, and
# what has this one by then is not to be ended by stop_all.
forget() {
    local pid left=()
    wait "$1" || true
    for pid in "${STARTED[@]}"; do
        [ "$pid" = "$1" ] || left+=("$pid")
    done
    STARTED=("${left[@]}")
}

# start_slow COUNT SECONDS: that many slow clients, and wait until all are there.
start_slow() {
    start slow ns "${ATTACKER[@]}" "$LOAD" slow 127.0.0.1 9999 "$1" "$2"
    wait_until 20 grep -q ready "$BATS_TEST_TMPDIR/slow.out"
}

# Put before a command that attacks.
ATTACKER=(nice -n 5)

# pulse SECONDS: scrapes every 200 ms.
pulse() {
    ns "$LOAD" pulse 127.0.0.1 9999 200 $(($1 * 5))
}
