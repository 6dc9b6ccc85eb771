# SPDX-License-Identifier: MIT
"""The far end of a TUN device: a TCP peer that says only what it is told to, so that a state lasts."""
import fcntl
import ipaddress
import os
import select
import struct
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
FIN, SYN, RST, ACK = 1, 2, 4, 16
OPTION_NOP, OPTION_TIMESTAMP = 1, 8


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def find_timestamp(options):
    while options and options[0] != 0:
        if options[0] == OPTION_NOP:
            options = options[1:]
            continue
        if options[0] == OPTION_TIMESTAMP:
            return struct.unpack("!I", options[2:6])[0]
        options = options[options[1]:]
    return None


def ip_header(source, target, length):
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, 6, 64) + source.packed + target.packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 6, 0) + source.packed + target.packed
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:]


class Tun:
    def __init__(self, name):
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))

    def write(self, source, port, target, target_port, flags, seq, ack, stamps):
        options = b"" if stamps is None else struct.pack("!BBBBII", OPTION_NOP, OPTION_NOP, OPTION_TIMESTAMP, 10, *stamps)
        length = 20 + len(options)
        segment = struct.pack("!HHIIBBHHH", port, target_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, length // 4 << 4,
                              flags, 65000, 0, 0) + options
        pseudo = source.packed + target.packed + struct.pack("!II", length, 6)
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        os.write(self.fd, ip_header(source, target, length) + segment)

    def read(self):
        """(local port, remote, remote port, flags, seq, timestamp) of the next segment of TCP; None when there is none."""
        while select.select([self.fd], [], [], 0)[0]:
            packet = os.read(self.fd, 65535)
            start = 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
            target = packet[24:40] if packet[0] >> 4 == 6 else packet[16:20]
            if packet[6 if packet[0] >> 4 == 6 else 9] != 6:
                continue
            segment = packet[start:]
            port, remote_port, seq, _, offset, flags = struct.unpack("!HHIIBB", segment[:14])
            return (port, ipaddress.ip_address(target), remote_port, flags, seq,
                    find_timestamp(segment[20:(offset >> 4) * 4]))
        return None

    def await_segment(self, port, remote, remote_port, flag):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            segment = self.read()
            if segment is None:
                select.select([self.fd], [], [], 0.1)
            elif segment[:3] == (port, remote, remote_port) and segment[3] & flag:
                return segment
        raise TimeoutError(f"no segment from port {port} to {remote} {remote_port}")


class Remote:
    """The other end of one connection. The kernel handles what write() gives it before that returns."""

    def __init__(self, tun, local, port, remote, remote_port, timestamps):
        self.tun = tun
        self.local, self.port = ipaddress.ip_address(local), port
        self.remote, self.remote_port = ipaddress.ip_address(remote), remote_port
        self.wants_timestamps, self.echo = timestamps, None
        self.seq, self.ack = 1000, 0

    def say(self, flags):
        stamps = None
        if self.wants_timestamps and self.echo is not None:
            stamps = (int(time.monotonic() * 1000) & 0xFFFFFFFF, self.echo)
        self.tun.write(self.remote, self.remote_port, self.local, self.port, flags, self.seq, self.ack, stamps)
        if flags & (SYN | FIN):
            self.seq += 1

    def hear_syn(self):
        segment = self.tun.await_segment(self.port, self.remote, self.remote_port, SYN)
        self.echo = segment[5]
        self.ack = segment[4] + 1

    def answer(self):
        self.hear_syn()
        self.say(SYN | ACK)

    def open_as_well(self):
        self.hear_syn()
        self.ack = 0
        self.say(SYN)

    def call(self):
        """A connection that this end begins: the kernel's end is SYN_RECV then."""
        self.echo = 0
        self.say(SYN)
        self.hear_syn()

    def complete(self):
        self.say(ACK)

    def acknowledge_fin(self):
        self.ack += 1
        self.say(ACK)

    def finish(self):
        self.say(FIN | ACK)

    def repeat_fin(self):
        self.seq -= 1
        self.say(FIN | ACK)

    def reset(self):
        self.say(RST | ACK)
