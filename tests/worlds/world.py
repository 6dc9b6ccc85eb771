# SPDX-License-Identifier: MIT
"""A world of real sockets, made from a seed, in the network namespace that this runs in.

Everything that is made is written down as oracle.Socket. Of the kernel only a socket of one's own is asked, for the port
that it was given and, to wait for it, for its state.
"""
import errno
import ipaddress
import os
import random
import select
import signal
import socket
import struct
import subprocess
import time

import oracle
import tun

IPPROTO_MPTCP = 262
IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51
KERNEL_STATES = ("", "established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait",
                 "last_ack", "listen", "closing")
SERVER_PORT, SILENT_PORT, TUN_PORT = 5000, 5009, 80
OUTSIDE_PORT = 6000
IFA_F_TENTATIVE = 0x40
# What ends as one of the small sockets that the kernel keeps when nothing else needs the connection.
LEFT_SMALL = ("time_wait", "time_wait_closing", "time_wait_orphan", "fin_wait2_orphan", "died_acknowledged")
NO_PORT = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)


class Target:
    """Where connections go. source is the local address when it is to be bound without a port, local the one that the
    connection has then."""

    def __init__(self, link, local, remote, port, bound=False, mapped=False):
        self.link, self.local, self.remote, self.port = link, local, remote, port
        self.bound, self.mapped = bound, mapped
        self.family = socket.AF_INET6 if mapped or ":" in remote else socket.AF_INET
        self.zone = socket.if_nametoindex(link) if remote.startswith("fe80") else 0

    def on_loopback(self):
        return self.link == "lo"

    def address(self, host, port):
        if self.family == socket.AF_INET:
            return host, port
        return ("::ffff:" + host if self.mapped else host), port, 0, self.zone

    def __str__(self):
        return f"{'mapped ' if self.mapped else ''}{self.local} > {self.remote} {self.port} by {self.link}"


def run(*command, **kwargs):
    return subprocess.run(command, check=True, **kwargs)


def sysctl(name, value):
    with open(f"/proc/sys/net/ipv4/{name}", "w", encoding="ascii") as file:
        file.write(f"{value}\n")


def plain(host):
    """An address without its zone, and as IPv4 when it maps one."""
    address = ipaddress.ip_address(host.split("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def state_of(s):
    return KERNEL_STATES[s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]


def wait_for(what, condition):
    end = time.monotonic() + 5
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.001)


def await_state(s, state):
    wait_for(state, lambda: state_of(s) == state)


def await_end(s):
    s.settimeout(5)
    assert s.recv(1) == b""
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def is_ipv6_ready():
    with open("/proc/net/if_inet6", encoding="ascii") as file:
        return not any(int(line.split()[4], 16) & IFA_F_TENTATIVE for line in file)


class World:
    def __init__(self, seed, stretch):
        self.random = random.Random(seed)
        self.sockets, self.kept, self.made = [], [], []
        self.outside = OUTSIDE_PORT
        self.callers = 20000
        self.settings = self.choose_settings(stretch)
        self.has_unseen = self.random.random() < 0.35
        self.make_network()
        self.targets = self.random.sample(self.all_targets(), self.random.randint(2, 5))
        self.loopback_device = self.random.choice((None, None, "lo"))
        self.listener = self.listen_outside(SERVER_PORT, 4096)
        self.make_silent()

    # What there is to begin with.

    def choose_settings(self, stretch):
        r = self.random
        size = r.choice([r.randint(2, 8), r.randint(2, 64), r.randint(2, 64)])
        first = 40000 + r.randint(0, 1)
        last = first + size - 1
        reserved = set()
        if r.random() < 0.4:
            reserved = {r.choice([first, last, r.randint(first - 3, last + 3), r.randint(first, last)])
                        for _ in range(r.randint(1, 3))}
            if not set(range(first, last + 1)) - reserved:
                reserved = set()
        self.ages = r.choice(["old", "young", "both"])
        delay = {"old": 0.001, "young": 20, "both": 1}[self.ages]
        # What takes long on a busy machine is given more time, and the rest of the seed stays as it is.
        delay *= stretch if self.ages == "both" else 1
        settings = oracle.Settings(first, last, frozenset(reserved), r.choice([0, 1, 1, 2, 2, 2]),
                                   int(r.random() < 0.85), delay)
        sysctl("ip_local_port_range", f"{first} {last}")
        sysctl("ip_local_reserved_ports", ",".join(map(str, sorted(reserved))))
        sysctl("tcp_tw_reuse", settings.reuse)
        sysctl("tcp_timestamps", settings.timestamps)
        sysctl("tcp_tw_reuse_delay", int(delay * 1000))
        # A SYN that the device drops is sent again each half second; the default number of times is over in a few.
        sysctl("tcp_syn_retries", 127)
        self.made.append(f"range {first} to {last}, reserved {sorted(reserved)}, tcp_tw_reuse {settings.reuse}, "
                         f"tcp_timestamps {settings.timestamps}, delay {delay} s, TIME_WAIT {self.ages}")
        return settings

    def make_network(self):
        self.tuns = {name: tun.Tun(name) for name in ("tun0", "tun1")}
        lines = ["link set lo up", "link set tun0 up", "link set tun1 up",
                 "addr add 10.9.0.1/32 dev lo", "addr add fd09::1/128 dev lo",
                 "addr add 10.77.0.1/24 dev tun0", "addr add fd77::1/64 dev tun0"]
        lines += [f"addr add fe80::a/64 dev {name}" for name in self.tuns]
        sysctl("conf/tun0/route_localnet", 1)
        run("ip", "-batch", "-", input="\n".join(lines).encode())
        wait_for("IPv6 addresses", is_ipv6_ready)

    @staticmethod
    def all_targets():
        return [
            Target("lo", "127.0.0.1", "127.0.0.1", SERVER_PORT),
            Target("lo", "127.0.0.1", "127.0.0.2", SERVER_PORT),
            Target("lo", "127.0.0.3", "127.0.0.1", SERVER_PORT, bound=True),
            Target("lo", "10.9.0.1", "127.0.0.1", SERVER_PORT, bound=True),
            Target("lo", "127.0.0.1", "127.0.0.1", SERVER_PORT, mapped=True),
            Target("lo", "::1", "::1", SERVER_PORT),
            Target("lo", "10.9.0.1", "10.9.0.1", SERVER_PORT),
            Target("lo", "fd09::1", "fd09::1", SERVER_PORT),
            Target("tun0", "10.77.0.1", "10.77.0.2", TUN_PORT),
            Target("tun0", "10.77.0.1", "10.77.0.2", TUN_PORT, mapped=True),
            Target("tun0", "127.0.0.1", "10.77.0.3", TUN_PORT, bound=True),
            Target("tun0", "fd77::1", "fd77::2", TUN_PORT),
            Target("tun0", "fe80::a", "fe80::1", TUN_PORT),
            Target("tun1", "fe80::a", "fe80::1", TUN_PORT),
        ]

    def listen_outside(self, port, backlog):
        s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        s.bind(("::", port))
        s.listen(backlog)
        return s

    def make_silent(self):
        """A listening socket whose queue is full: it answers no SYN."""
        s = self.listen_outside(SILENT_PORT, 0)
        caller = socket.socket()
        caller.bind(("127.0.0.1", self.next_outside()))
        caller.connect(("127.0.0.1", SILENT_PORT))
        self.kept += [s, caller]

    def next_outside(self):
        self.outside += 1
        return self.outside

    # What is written down.

    def note(self, s, **fields):
        """Write a socket of ours down, with its addresses as they are now."""
        host, port = s.getsockname()[:2]
        record = oracle.Socket(local=plain(host), port=port, **fields)
        self.add(record)
        self.kept.append(s)
        return record

    def add(self, record):
        if record.protocol == "tcp" and record.remote is not None:
            # A new connection takes the place of the small socket that it was let in by: TIME_WAIT, and FIN_WAIT2 too where
            # the port was bound by number (tcp_twsk_unique()).
            self.sockets = [o for o in self.sockets if not (
                o.kind == "timewait" and o.tuple() == record.tuple() and o.device in (0, record.device))]
        self.sockets.append(record)

    def has_twin(self, record):
        return any(s.tuple() == record.tuple() for s in self.sockets if s is not record and s.protocol == "tcp")

    @staticmethod
    def since(start):
        return start, time.monotonic()

    # TCP.

    def new_socket(self, family, protocol=socket.IPPROTO_TCP, kind=socket.SOCK_STREAM):
        s = socket.socket(family, kind, protocol)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            if self.random.random() < 0.25:
                s.setsockopt(socket.SOL_SOCKET, option, 1)
        return s

    def some_port(self):
        return self.random.randint(self.settings.first, self.settings.last)

    def client(self, target, origin, device, mptcp=False):
        """A socket on its way to the target, not yet connected."""
        s = self.new_socket(target.family, IPPROTO_MPTCP if mptcp else socket.IPPROTO_TCP)
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        return self.bind_client(s, target, origin)

    def bind_client(self, s, target, origin):
        if target.bound and origin == "connect":
            s.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            s.bind(target.address(target.local, 0))
        elif origin == "number":
            s.bind(target.address(target.local, self.some_port()))
        elif origin == "zero":
            s.bind(target.address(target.local, 0))
        return s

    def limit_range(self, s):
        low = self.some_port()
        high = self.random.randint(low, self.settings.last)
        s.setsockopt(socket.SOL_IP, IP_LOCAL_PORT_RANGE, struct.pack("I", high << 16 | low))

    def choose_origin(self, state):
        origin = self.random.choices(("connect", "number", "zero"), (75, 18, 7))[0]
        if state in ("refused", "reset"):
            return "number"
        if not self.has_unseen and (origin == "zero" or origin == "number" and state in LEFT_SMALL):
            return "connect"
        return origin

    def choose_device(self, target, state):
        """Connections that differ in their device only can have the same addresses and ports, and then their other ends
        cannot tell them apart. A TUN device's end leaves such a one alone, and so does a port that never answers."""
        if target.on_loopback() and state not in ("syn_sent", "refused"):
            return self.loopback_device
        return target.link if self.random.random() < 0.2 else None

    def connection_fields(self, target, origin, device):
        index = socket.if_nametoindex(device) if device else target.zone
        return {"protocol": "tcp", "remote": target.remote, "remote_port": target.port, "device": index, "origin": origin}

    def make_connection(self):
        target = self.random.choice(self.targets)
        if target.on_loopback():
            states = ("established", "established", "time_wait", "time_wait", "close_wait", "fin_wait2", "fin_wait2_orphan",
                      "syn_sent", "refused")
        else:
            states = ("established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait1_orphan", "fin_wait2",
                      "fin_wait2_orphan", "time_wait", "time_wait_closing", "time_wait_orphan", "close_wait", "last_ack",
                      "closing", "closing_orphan", "reset", "died", "died_acknowledged")
        state = self.random.choice(states)
        origin = self.choose_origin(state)
        device = self.choose_device(target, state)
        self.made.append(f"{state} to {target}, port by {origin}{', of device ' + device if device else ''}")
        mptcp = target.on_loopback() and state == "established" and self.random.random() < 0.2
        (self.connect_loopback if target.on_loopback() else self.connect_tun)(target, state, origin, device, mptcp)

    def connect_loopback(self, target, state, origin, device, mptcp):
        if state == "syn_sent":
            target = Target(target.link, target.local, target.remote, SILENT_PORT, target.bound, target.mapped)
        if state == "refused":
            target = Target(target.link, target.local, target.remote, SERVER_PORT + 1, target.bound, target.mapped)
        s = self.client(target, origin, device, mptcp)
        if origin == "connect" and self.random.random() < 0.15:
            self.limit_range(s)
        fields = self.connection_fields(target, origin, device)
        if state == "syn_sent":
            s.setblocking(False)
            assert s.connect_ex(target.address(target.remote, target.port)) in (errno.EINPROGRESS, *NO_PORT)
            if s.getsockname()[1] and state_of(s) == "syn_sent":
                self.note(s, state=state, **fields)
            return
        if state == "refused":
            self.fail_to_connect(s, target, fields)
            return
        s.connect(target.address(target.remote, target.port))
        self.end_loopback(s, self.listener.accept()[0], state, fields)

    def fail_to_connect(self, s, target, fields):
        """A port bound by number stays when connect() fails."""
        try:
            s.connect(target.address(target.remote, target.port))
            raise AssertionError("a port where nothing listens has answered")
        except ConnectionRefusedError:
            del fields["remote"], fields["remote_port"]
            self.note(s, state="bound_inactive", **fields)

    def end_loopback(self, s, mate, state, fields):
        self.kept.append(mate)
        fields["timestamps"] = bool(self.settings.timestamps)
        record = self.note(s, state=state, **fields)
        if state == "close_wait":
            mate.close()
            await_end(s)
        elif state in ("fin_wait2", "fin_wait2_orphan"):
            s.shutdown(socket.SHUT_WR)
            await_end(mate)
            await_state(s, "fin_wait2")
            if state == "fin_wait2_orphan":
                s.close()
                record.state, record.kind = "fin_wait2", "timewait"
        elif state == "time_wait":
            self.enter_time_wait(s, mate)
            record.kind = "timewait"
            record.entered = record.timer = self.since(self.start)

    def enter_time_wait(self, s, mate):
        self.start = time.monotonic()
        if self.random.random() < 0.5:
            s.close()
            await_end(mate)
            # With this close() waits until the other end, TIME_WAIT now, has acknowledged.
            mate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
            mate.close()
            return
        s.shutdown(socket.SHUT_WR)
        await_end(mate)
        mate.close()
        await_end(s)
        s.close()

    def connect_tun(self, target, state, origin, device, _):
        if state.startswith("died"):
            self.die(target, state, origin, device)
            return
        s = self.client(target, origin, device)
        s.setblocking(False)
        self.begin(s, target)
        fields = self.connection_fields(target, origin, device)
        stamps = not self.has_unseen or self.random.random() < 0.7
        remote = tun.Remote(self.tuns[target.link], target.local, s.getsockname()[1], target.remote, target.port, stamps)
        fields["timestamps"] = stamps and bool(self.settings.timestamps)
        record = self.note(s, state=state, **fields)
        if state == "syn_sent" or self.has_twin(record):
            record.state = "syn_sent"
            return
        if state == "syn_recv":
            remote.open_as_well()
            await_state(s, "syn_recv")
            return
        remote.answer()
        await_state(s, "established")
        if state == "reset":
            remote.reset()
            record.state, record.remote, record.remote_port = "bound_inactive", None, 0
            await_state(s, "close")
            return
        self.end_tun(s, remote, state, record)

    @staticmethod
    def begin(s, target):
        error = s.connect_ex(target.address(target.remote, target.port))
        if error != errno.EINPROGRESS:
            raise OSError(error, os.strerror(error))

    def end_tun(self, s, remote, state, record):
        if state == "established":
            return
        self.start = time.monotonic()
        if state in ("close_wait", "last_ack"):
            remote.finish()
            await_state(s, "close_wait")
            if state == "last_ack":
                s.close()
            return
        if state.endswith("_orphan"):
            s.close()
        else:
            s.shutdown(socket.SHUT_WR)
            await_state(s, "fin_wait1")
        self.answer_fin(remote, state, record)
        if not state.endswith("_orphan") and not state.startswith("time_wait"):
            await_state(s, record.state)
        elif state.startswith("time_wait"):
            s.close()

    def answer_fin(self, remote, state, record):
        """The local end is FIN_WAIT1; what the other end says next decides on the rest."""
        record.state = state.removesuffix("_orphan")
        if record.state == "closing":
            remote.finish()
        elif record.state == "time_wait_closing":
            remote.finish()
            remote.acknowledge_fin()
        elif record.state != "fin_wait1":
            remote.acknowledge_fin()
        if state in ("time_wait", "time_wait_orphan"):
            remote.finish()
        if state == "fin_wait2_orphan":
            record.kind = "timewait"
        if record.state.startswith("time_wait"):
            self.enter_record(remote, record)

    def enter_record(self, remote, record):
        record.state, record.kind = "time_wait", "timewait"
        record.entered = record.timer = self.since(self.start)
        # A FIN that comes again starts the timer again, and is not when the connection entered TIME_WAIT.
        if self.has_unseen and self.random.random() < 0.2:
            start = time.monotonic()
            remote.repeat_fin()
            record.timer = self.since(start)

    def die(self, target, state, origin, device):
        """A process that is killed while it is connected."""
        s = self.client(target, origin, device)
        s.setblocking(False)
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        try:
            self.begin(s, target)
            fields = self.connection_fields(target, origin, device)
            remote = tun.Remote(self.tuns[target.link], target.local, s.getsockname()[1], target.remote, target.port, True)
            record = self.note(s, state="fin_wait1", timestamps=bool(self.settings.timestamps), **fields)
            if self.has_twin(record):
                self.sockets.remove(record)
                return
            remote.answer()
            await_state(s, "established")
        finally:
            s.close()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if state == "died_acknowledged":
            remote.acknowledge_fin()
            record.state, record.kind = "fin_wait2", "timewait"

    # Ports that are listened on, or bound.

    def make_listener(self):
        family = self.random.choice((socket.AF_INET, socket.AF_INET6))
        s = self.new_socket(family, self.random.choice((0, 0, 0, IPPROTO_MPTCP)))
        v6only = family == socket.AF_INET6 and self.random.random() < 0.5
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        device = self.random.choice((None, None, None, "lo", "tun0"))
        if device:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        hosts = ("0.0.0.0", "127.0.0.1", "10.77.0.1") if family == socket.AF_INET else ("::", "::1", "fd77::1")
        if family == socket.AF_INET6 and not v6only:
            hosts += ("::ffff:127.0.0.1",)
        host = self.random.choice(hosts)
        how = self.random.choice(("number", "number", "zero", "unbound"))
        self.made.append(f"listen {host} port by {how}{', IPv6 only' if v6only else ''}"
                         f"{', of device ' + device if device else ''}")
        if how != "unbound":
            s.bind((host, self.some_port() if how == "number" else 0))
        fields = {"protocol": "tcp", "origin": "number", "device": socket.if_nametoindex(device) if device else 0}
        if self.random.random() < 0.4 and how != "unbound":
            self.note(s, state="bound_inactive", **fields)
            return
        s.listen(64)
        self.note(s, state="listen", **fields)

    def make_accepted(self):
        """A listening socket of the pool with connections that it accepted, and whether it stays."""
        number = self.random.choice((4, 6))
        local, remote = ("10.77.0.1", "10.77.0.50") if number == 4 else ("fd77::1", "fd77::50")
        # Without SO_REUSEPORT: nothing else is to get these connections.
        s = socket.socket(socket.AF_INET if number == 4 else socket.AF_INET6)
        s.bind((self.random.choice((local, "0.0.0.0" if number == 4 else "::")), self.some_port()))
        s.listen(64)
        record = self.note(s, protocol="tcp", state="listen", origin="number")
        closes = self.has_unseen and self.random.random() < 0.6
        states = [self.random.choice(("established", "syn_recv", "close_wait", "time_wait"))
                  for _ in range(self.random.randint(1, 3))]
        # A request outlives its listening socket for some time, which nothing here knows.
        if closes:
            states = [state for state in states if state != "syn_recv"]
        self.made.append(f"listen {local} {record.port}, accepted {states}{', then closed' if closes else ''}")
        for state in states:
            self.accept_one(s, record.port, local, remote, state)
        if closes:
            s.close()
            self.sockets.remove(record)

    def accept_one(self, listener, port, local, remote, state):
        self.callers += 1
        caller = tun.Remote(self.tuns["tun0"], local, port, remote, self.callers, True)
        caller.call()
        record = oracle.Socket("tcp", local, port, state, remote, self.callers, origin="accept", kind="request",
                               timestamps=bool(self.settings.timestamps))
        self.add(record)
        if state == "syn_recv":
            return
        caller.complete()
        listener.settimeout(5)
        s = listener.accept()[0]
        record.kind = "full"
        self.kept.append(s)
        if state in ("close_wait", "time_wait"):
            self.end_tun(s, caller, state, record)

    def make_reserved(self):
        if not self.settings.reserved:
            return
        s = self.new_socket(socket.AF_INET)
        s.bind(("127.0.0.1", self.random.choice(sorted(self.settings.reserved))))
        s.listen(1)
        self.made.append(f"listen on the reserved port {s.getsockname()[1]}")
        self.note(s, protocol="tcp", state="listen", origin="number")

    def make_outside(self):
        target = self.random.choice([t for t in self.all_targets() if t.on_loopback()])
        s = socket.socket(target.family)
        s.bind(target.address(target.local, self.next_outside()))
        s.connect(target.address(target.remote, target.port))
        self.made.append(f"established to {target}, from outside of the range")
        self.end_loopback(s, self.listener.accept()[0], "established", self.connection_fields(target, "number", None))

    # UDP.

    def make_udp(self):
        family = self.random.choice((socket.AF_INET, socket.AF_INET6))
        s = self.new_socket(family, 0, socket.SOCK_DGRAM)
        hosts = ["0.0.0.0", "127.0.0.1"] if family == socket.AF_INET else ["::", "::1"]
        if family == socket.AF_INET6:
            v6only = self.random.random() < 0.5
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
            hosts += [] if v6only else ["::ffff:127.0.0.1"]
        if self.random.random() < 0.2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        host = self.random.choice(hosts)
        how = self.random.choice(("number", "zero", "connected", "connected by number"))
        self.made.append(f"UDP {host} {how}")
        if how != "connected":
            s.bind((host, 0 if how == "zero" else self.some_port()))
        if how.startswith("connected"):
            peer = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            s.connect((peer, 5353))
        self.note(s, protocol="udp", state="established" if how.startswith("connected") else "close")

    # All of it.

    def make_some(self, count):
        kinds = ((self.make_connection, 60), (self.make_listener, 10), (self.make_accepted, 6), (self.make_udp, 14),
                 (self.make_outside, 3), (self.make_reserved, 3))
        for _ in range(count):
            make = self.random.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
            told = len(self.made)
            try:
                make()
            except OSError as error:
                if error.errno not in NO_PORT:
                    raise
                if len(self.made) == told:
                    self.made.append(make.__name__)
                self.made[-1] += f": {errno.errorcode[error.errno]}"

    def let_age(self):
        """Until every TIME_WAIT socket is older than the delay."""
        entered = [max(s.timer[1], s.entered[1]) for s in self.sockets if s.state == "time_wait"]
        end = max(entered, default=0) + self.settings.delay + 2 * oracle.MARGIN
        while time.monotonic() < end:
            select.select([], [], [], max(0, end - time.monotonic()))

    def make(self):
        size = self.settings.last - self.settings.first + 1
        count = self.random.randint(2, size * 2 + 4)
        if self.ages == "both":
            self.make_some(count // 2)
            self.let_age()
            self.make_some(count - count // 2)
        else:
            self.make_some(count)
        if self.ages == "old":
            self.let_age()

    # What the kernel hands out.

    @staticmethod
    def silence_loopback():
        """From now on no packet gets through, and what connects there stays SYN_SENT."""
        run("tc", "qdisc", "add", "dev", "lo", "root", "bfifo", "limit", "1")

    def fill(self, target, device):
        """connect() until there is no port left; how many there were, and when it was."""
        start, count = time.monotonic(), 0
        while True:
            s = socket.socket(target.family)
            if device:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            self.bind_client(s, target, "connect")
            s.setblocking(False)
            try:
                self.begin(s, target)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                return count, self.since(start)
            count += 1
            self.note(s, state="syn_sent", **self.connection_fields(target, "connect", device))

    def fill_by_bind(self, kind):
        """bind() to port 0 on every address of either family; how many ports there were."""
        count, misses = 0, 0
        while misses < 20:
            s = socket.socket(socket.AF_INET6, kind)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                s.bind(("::", 0))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                misses += 1
                continue
            count += 1
            self.kept.append(s)
        return count
