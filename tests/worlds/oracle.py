# SPDX-License-Identifier: MIT
"""Figures worked out from a list of sockets.

Nothing here asks the kernel or the program. figures() says what a source has to show; Room says what connect() has to
do, by the rules of net/ipv4/inet_hashtables.c and tcp_twsk_unique() in net/ipv4/tcp_ipv4.c.
"""
import dataclasses
import ipaddress

LOOPBACK_INDEX = 1
# An age this near to the delay, in seconds, is not judged: the kernel's clocks have ticks, and the program takes time.
MARGIN = 0.03

TCP_STATES = ("established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close", "close_wait",
              "last_ack", "listen", "closing", "bound_inactive")
UDP_STATES = ("established", "close")


class Unclear(Exception):
    """A TIME_WAIT socket was about as old as the delay when it was looked at."""


@dataclasses.dataclass(eq=False)
class Socket:
    """One socket of the world. origin says how it came to its port: connect, number, zero (bind() to port 0),
    accept."""
    protocol: str
    local: str
    port: int
    state: str
    remote: str = None
    remote_port: int = 0
    device: int = 0
    origin: str = "connect"
    # Where the kernel has it: full, timewait (the small sockets that stay after close()), request (SYN_RECV).
    kind: str = "full"
    timestamps: bool = True
    # When it entered TIME_WAIT, and when its timer was last started: pairs of the earliest and the latest moment.
    entered: tuple = None
    timer: tuple = None

    def tuple(self):
        return self.local, self.port, self.remote, self.remote_port

    def destination(self):
        return self.local, self.remote, self.remote_port


@dataclasses.dataclass
class Settings:
    first: int
    last: int
    reserved: frozenset
    reuse: int
    timestamps: int
    delay: float

    def pool(self):
        return frozenset(range(self.first, self.last + 1)) - self.reserved


def is_loopback(address):
    return ipaddress.ip_address(address).is_loopback


def older_than(since, delay, moment):
    """moment and since are pairs of the earliest and the latest they can be."""
    if moment[0] - since[1] > delay + MARGIN:
        return True
    if moment[1] - since[0] < delay - MARGIN:
        return False
    raise Unclear


def may_be_reused(socket, settings, device, since, timestamps, moment):
    """tcp_twsk_unique(): FIN_WAIT2 in the time-wait table is none."""
    if socket.state != "time_wait" or settings.reuse == 0 or not timestamps:
        return False
    if settings.reuse == 2 and not (is_loopback(socket.local) or is_loopback(socket.remote) or
                                    device == LOOPBACK_INDEX):
        return False
    return older_than(since, settings.delay, moment)


def label(local, remote, remote_port, device):
    host = f"[{remote}]" if ":" in remote else remote
    zone = f"%{device}" if device else ""
    return f"{local}{zone}", f"{host}:{remote_port}"


@dataclasses.dataclass
class Figures:
    # By name and label values: what is wanted, or the least and the most.
    values: dict
    # By label: the least and the most, and whether the series must be there. Where all connections are TIME_WAIT that may
    # be taken over, it need not.
    destinations: dict


def is_seen(socket, source):
    return source == "sock_diag" or socket.state != "bound_inactive"


def is_seen_blocking(socket, source):
    if socket.protocol != "tcp":
        return False
    if socket.state in ("listen", "bound_inactive"):
        return True
    # Only sock_diag tells a port that was bound by number, and only of a socket that is there in full.
    return source == "sock_diag" and socket.origin == "number" and socket.kind == "full"


def destination_ports(sockets, source, blocked, reusable):
    """By (local, remote, remote port, device): the ports that a connect() there cannot get, blocked ones aside."""
    ports = {}
    connected = [s for s in sockets if s.remote is not None and s.port not in blocked]
    for s in connected:
        ports.setdefault((*s.destination(), s.device if source == "sock_diag" else 0), set())
    for key, held in ports.items():
        for s in connected:
            # A socket of another device is no obstacle; one of no device is one for all.
            devices = (0, key[3]) if source == "sock_diag" else (s.device,)
            if s.destination() == key[:3] and s.device in devices and s not in reusable:
                held.add(s.port)
    return ports


def figures(sockets, settings, source, moment):
    pool = settings.pool()
    seen = [s for s in sockets if s.port in pool and is_seen(s, source)]
    tcp = [s for s in seen if s.protocol == "tcp"]
    blocked = {s.port for s in tcp if is_seen_blocking(s, source)}
    reusable = {s for s in tcp if may_be_reused(s, settings, s.device if source == "sock_diag" else 0, s.timer,
                                                settings.timestamps, moment)}
    waiting = {s.port for s in tcp} - {s.port for s in tcp if s.state != "time_wait"}
    ports = destination_ports(tcp, source, blocked, reusable)
    values = {
        ("port_total",): len(pool),
        ("port_used",): len({s.port for s in seen}),
        ("port_used_by_protocol", "tcp"): len({s.port for s in tcp}),
        ("port_used_by_protocol", "udp"): len({s.port for s in seen if s.protocol == "udp"}),
        ("port_blocked",): len(blocked),
        ("port_time_wait",): len(waiting),
        ("port_time_wait_reusable",): len(waiting - {s.port for s in tcp if s not in reusable}),
    }
    for protocol, states in (("tcp", TCP_STATES), ("udp", UDP_STATES)):
        for state in states:
            if state != "bound_inactive" or source == "sock_diag":
                values["port_sockets", protocol, state] = sum(
                    s.protocol == protocol and s.state == state for s in seen)
    taken = {key: taken_bounds(pool, blocked | held, settings) for key, held in ports.items()}
    none = taken_bounds(pool, blocked, settings)
    values["port_destination_used_max",] = tuple(max(bounds) for bounds in zip(none, *taken.values()))
    lasting = {(*s.destination(), s.device if source == "sock_diag" else 0) for s in tcp
               if s.remote is not None and s.port not in blocked and s not in reusable}
    return Figures(values, {label(*key): (taken[key], key in lasting) for key in ports})


def taken_bounds(pool, taken, settings):
    """The port that connect() leaves out may be counted as taken, and need not be: whether it gets it in the end is
    chance."""
    return len(taken), len(pool) - room(pool - taken, settings)[0]


def is_shut(socket):
    """Whether the kernel keeps the port from every connect() that has none yet. A port that connect() itself chose is
    shared. A request (SYN_RECV) is in no table of ports; its listening socket is."""
    return socket.protocol == "tcp" and socket.origin != "connect" and socket.kind != "request"


def free_ports(sockets, settings, local, remote, remote_port, device, moment):
    """The ports that connect() from there to there may get: what is true, seen by a source or not."""
    free = set(settings.pool()) - {s.port for s in sockets if is_shut(s)}
    for s in sockets:
        if s.protocol == "tcp" and s.destination() == (local, remote, remote_port) and s.device in (0, device):
            if not may_be_reused(s, settings, s.device, s.entered, s.timestamps, moment):
                free.discard(s.port)
    return free


def room(free, settings):
    """The least and the most that connect() can get of these ports. Of an odd number of ports in the range, three or
    more, one call tries all but one, which is the first or the last one; of three ports it is always the last one."""
    size = settings.last - settings.first + 1
    if size % 2 == 0 or size == 1:
        return len(free), len(free)
    if size == 3:
        return len(free - {settings.last}), len(free - {settings.last})
    return len(free) - bool(free & {settings.first, settings.last}), len(free)


def unseen(sockets, settings):
    """What no source can see: (whether connect() may get fewer ports than the figures say, whether it may get more)."""
    seen = {s.port for s in sockets if is_seen_blocking(s, "sock_diag")}
    fewer = any(is_shut(s) and s.port not in seen for s in sockets)
    waiting = [s for s in sockets if s.state == "time_wait"]
    fewer = fewer or any(settings.timestamps and not s.timestamps for s in waiting)
    return fewer, any(s.timer != s.entered for s in waiting)
