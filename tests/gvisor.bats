#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Under the real gVisor, whose tables list only sockets that a process has open: what is said is true, and nothing says 0
# of what cannot be seen.

load helpers

RUNSC=$UNPACKED/usr/bin/runsc

# Everything happens in one sandbox, which takes seconds to start; each situation leaves an exposition in the file of its
# name.
setup_file() {
    [ -x "$RUNSC" ] && [ "$(id -u)" = 0 ] || return 0
    cat >"$BATS_FILE_TMPDIR/situations.py" <<'END'
import errno, os, socket, struct, subprocess, sys, time

INET, INET6, STREAM, DGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
program = [sys.argv[1], "--print", "--pod-name=test-pod", "--top-destinations=10"]
held = []

def pool(first, last):
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
        f.write(f"{first} {last}\n")

def made(family, kind, address=None):
    s = socket.socket(family, kind)
    if address:
        s.bind(address)
    held.append(s)
    return s

def show(name, *arguments):
    print(f"FILE {name}", flush=True)
    subprocess.run(program + list(arguments), stderr=subprocess.DEVNULL)

def attempt(name, connects):
    try:
        connects()
        print(f"FILE {name}\nworked")
    except OSError as e:
        print(f"FILE {name}\n{errno.errorcode[e.errno]}", flush=True)

def drop():
    for s in held:
        s.close()
    held.clear()

listener = socket.create_server(("127.0.0.1", 5000), backlog=200)

# Exhausted, by connections that the client then closes.
pool(40000, 40019)
accepted = []
for _ in range(20):
    made(INET, STREAM).connect(("127.0.0.1", 5000))
    accepted.append(listener.accept()[0])
show("connected")
drop()
for s in accepted:
    s.recv(1)
    s.close()
time.sleep(0.2)
show("time-wait")
show("time-wait-procfs", "--source=procfs")
attempt("time-wait-connect", lambda: made(INET, STREAM).connect(("127.0.0.1", 5000)))
drop()

# UDP sockets of IPv6, which have no table.
pool(41000, 41099)
for _ in range(100):
    made(INET6, DGRAM, ("::", 0))
show("udp6")
attempt("udp6-bind", lambda: made(INET6, DGRAM, ("::", 0)))
drop()

# A mixture, of which some is seen.
pool(42000, 42099)
for port in 42010, 42011:
    made(INET, STREAM, ("127.0.0.1", port)).listen()
made(INET6, STREAM, ("::1", 42012)).listen()
for port in 42020, 42021, 42022:
    made(INET, STREAM, ("127.0.0.1", port)).connect(("127.0.0.1", 5000))
made(INET6, STREAM, ("::1", 42023)).connect(("::1", 42012))
made(INET, DGRAM, ("127.0.0.1", 42040))
made(INET, DGRAM, ("127.0.0.1", 42041))
made(INET6, DGRAM, ("::", 42042))
# Bound: it has its port. Refused: the port is free again, though the row names it.
made(INET, STREAM, ("127.0.0.1", 42050))
for _ in range(4):
    made(INET, STREAM).connect_ex(("127.0.0.1", 9))
# Nobody takes what is more than a queue of one: these stay in SYN_SENT.
full = socket.create_server(("127.0.0.1", 5001), backlog=1)
opening = [made(INET, STREAM, ("127.0.0.1", port)) for port in range(42060, 42080)]
for s in opening:
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", 5001))
    time.sleep(0.05)
show("mixture")
with open("/proc/self/net/tcp") as f:
    rows = [row.split() for row in f]
print("FILE mixture-syn-sent\n" + str(sum(row[3] == "02" for row in rows)))
print("FILE mixture-queued\n" + str(sum(row[3] == "01" and row[2].endswith(":1389") for row in rows)))
began = time.monotonic()
for _ in range(20):
    subprocess.run(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"FILE cost\n{(time.monotonic() - began) * 50:.1f} ms")
END
    # It reads and writes regular files by itself: a pipe.
    timeout 120 unshare -m -n -- "$RUNSC" --platform=ptrace --network=none --ignore-cgroups "do" \
        python3 "$BATS_FILE_TMPDIR/situations.py" "$STATIC_PROGRAM" 2>&1 3>&- | cat >"$BATS_FILE_TMPDIR/output"
    (cd "$BATS_FILE_TMPDIR" && awk '$1 == "FILE" { file = "said-" $2; next } file { print >file }' output)
}

setup() {
    require_root "runsc"
    [ -x "$RUNSC" ] || skip "runsc is not unpacked"
    grep -q '^FILE connected$' "$BATS_FILE_TMPDIR/output" || skip "runsc does not run here: $(head -n 1 "$BATS_FILE_TMPDIR/output")"
}

said() {
    cat "$BATS_FILE_TMPDIR/said-$1"
}

# expect_silence NAME SERIES...: none of these is there, and nothing is 0 but what is known to be.
expect_silence() {
    local series text
    text=$(said "$1")
    shift
    expect_value "$text" 1 metrics_sidecar_info "version=\"$VERSION\",source=\"gvisor\",launcher=\"print\",netns=\"unknown\""
    run grep -vE '^port_(reserved\{|sockets\{.*,protocol="tcp",state="listen"\})' <(grep '^port_.* 0$' <<<"$text")
    refute_output
    for series in port_time_wait port_destination_error_max "$@"; do
        run grep -E "^(# (HELP|TYPE) )?${series}[ {]" <<<"$text"
        refute_output
    done
}

# expect_states NAME COUNT...: TCP sockets by state, those and no others; none of UDP.
expect_states() {
    run sed -nE 's/^port_sockets\{pod_name="test-pod",protocol="([a-z]+)",state="([a-z0-9_]+)"\} /\1 \2 /p' \
        "$BATS_FILE_TMPDIR/said-$1"
    assert_output "$(printf '%s\n' "${@:2}")"
}

VERSION=$("$STATIC_PROGRAM" --version | head -n 1 | cut -d ' ' -f 2)

@test "gVisor: connections that are open are counted" {
    expect_silence connected port_blocked
    expect_value "$(said connected)" 20 port_total
    expect_value "$(said connected)" 20 port_used
    expect_value "$(said connected)" 20 port_destination_used_max
    expect_value "$(said connected)" 20 port_destination_used 'source="127.0.0.1",destination="127.0.0.1:5000"'
    expect_states connected "tcp established 20" "tcp listen 0"
}

@test "gVisor: exhausted by TIME_WAIT, which it does not list: no series says 0" {
    [ "$(said time-wait-connect)" = EADDRNOTAVAIL ]
    local name
    for name in time-wait time-wait-procfs; do
        expect_silence "$name" port_used port_used_by_protocol port_blocked port_destination_used_max
        expect_value "$(said "$name")" 20 port_total
        expect_states "$name" "tcp listen 0"
    done
}

@test "gVisor: exhausted by UDP sockets of IPv6, which it does not list: no series says 0" {
    [ "$(said udp6-bind)" != worked ]
    expect_silence udp6 port_used port_used_by_protocol port_blocked port_destination_used_max
    expect_value "$(said udp6)" 100 port_total
    expect_states udp6 "tcp listen 0"
}

@test "gVisor: of a mixture, what is said is true" {
    local opening queued
    opening=$(said mixture-syn-sent)
    queued=$(said mixture-queued)
    [ "$opening" -ge 1 ]
    [ $((opening + queued)) -eq 20 ]
    expect_silence mixture
    # 3 listen, 4 are connected, 20 are queued or not answered; not the bound one, which cannot be told from the refused.
    expect_value "$(said mixture)" 27 port_used_by_protocol 'protocol="tcp"'
    expect_value "$(said mixture)" 2 port_used_by_protocol 'protocol="udp"'
    expect_value "$(said mixture)" 29 port_used
    # What is on its way somewhere, nobody says where to, blocks nothing.
    expect_value "$(said mixture)" 3 port_blocked
    expect_value "$(said mixture)" $((3 + (queued > 3 ? queued : 3))) port_destination_used_max
    expect_states mixture "tcp established $((4 + queued))" "tcp syn_sent $opening" "tcp listen 3"
    echo "# a scrape of $(metric "$(said mixture)" port_scan_sockets) rows: $(said cost), of which the scan is" \
        "$(metric "$(said mixture)" port_scan_duration_seconds) s" >&3
}
