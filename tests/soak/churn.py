#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Short connections at a steady rate, each ended by its client, and what the program says of them meanwhile.

usage: churn.py PROGRAM ADDRESS RATE SECONDS SERVER-NETNS ALERTS-FILE RULES-FILE

In the network namespace that this runs in are the clients; the server is in the one that is named, which may be the same.
The port range is what it is there. Every two seconds the program is run, and its figure is compared with how many ports
connect() cannot get by the log of this process: those whose connection is open, or ended so recently that its TIME_WAIT
may not be taken over. A line for each, and one of the whole. At the end connect() takes what is left, which is the kernel's
own answer.

ALERTS-FILE gets a test for promtool: the samples, the last of them over and over until there are 20 minutes of them, and
no alert of RULES-FILE firing in any of these minutes. When the file's name ends in .exhausted.yaml, the one for exhausted
destinations is firing at the end.
"""
import ctypes
import errno
import ipaddress
import os
import re
import socket
import subprocess
import sys
import time

PERIOD = 2
TIME_WAIT_SECONDS = 60
SAMPLE = re.compile(r"^(\w+\{.*\}) (\S+)$")


def sysctl(name):
    with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def listen_in(netns, address):
    """A listening socket of another namespace, held by this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    for place, act in ((os.open(netns, os.O_RDONLY), True), (ours, False)):
        if libc.setns(place, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        if act:
            listener = socket.create_server((address, 5000), backlog=1024)
    return listener


class Log:
    """When each port was taken from connect(), and when it was given back."""

    def __init__(self, hold_seconds):
        self.hold_seconds = hold_seconds
        self.taken, self.returned = {}, {}

    def open(self, port, moment):
        self.taken[port], self.returned[port] = moment, float("inf")

    def close(self, port, moment):
        self.returned[port] = moment + self.hold_seconds

    def held(self, moment):
        return sum(self.taken[p] <= moment < self.returned[p] for p in self.taken)


class Measurement:
    """One run of the program, beside the connections. held is taken while it runs: a port that is used again has its
    time overwritten in the log."""

    def __init__(self, program, log):
        self.log, self.held = log, []
        self.process = subprocess.Popen([program, "--print", "--top-destinations=5"], stdout=subprocess.PIPE, text=True)
        self.look()

    def look(self):
        self.held.append(self.log.held(time.monotonic()))

    def is_over(self):
        self.look()
        return self.process.poll() is not None

    def samples(self):
        text = self.process.stdout.read()
        if self.process.returncode != 0:
            raise RuntimeError(f"the program ended with status {self.process.returncode}")
        return {match[1]: float(match[2]) for match in map(SAMPLE.match, text.splitlines()) if match}


def value_of(samples, name):
    return int(next(value for key, value in samples.items() if key.startswith(name + "{")))


class Churn:
    def __init__(self, program, address, listener, log):
        self.program, self.address, self.listener, self.log = program, address, listener, log
        self.made, self.failed, self.first_failure = 0, 0, None
        self.slowest = 0
        self.records = []
        self.measurement = None

    def connect_once(self):
        client = socket.socket()
        start = time.monotonic()
        try:
            client.connect((self.address, 5000))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            self.failed += 1
            self.first_failure = self.first_failure or start - self.start
            return
        self.slowest = max(self.slowest, time.monotonic() - start)
        port = client.getsockname()[1]
        self.log.open(port, start)
        server = self.listener.accept()[0]
        client.shutdown(socket.SHUT_WR)
        server.close()
        # The end of the other side is what begins TIME_WAIT.
        client.recv(1)
        client.close()
        self.log.close(port, time.monotonic())
        self.made += 1

    def measure(self):
        if self.measurement is None or not self.measurement.is_over():
            return
        measurement, self.measurement = self.measurement, None
        samples = measurement.samples()
        self.records.append(samples)
        said = value_of(samples, "port_destination_used_max")
        low, high = min(measurement.held), max(measurement.held)
        age = time.monotonic() - self.start
        # The kernel ends TIME_WAIT by a coarse timer: how long after its 60 seconds is not known.
        off = "" if age > TIME_WAIT_SECONDS == self.log.hold_seconds else f", off by {max(low - said, said - high, 0)}"
        print(f"sample at {age:.1f} s: said {said} of {value_of(samples, 'port_total')}, "
              f"connect() cannot get {low} to {high}{off}", flush=True)

    def run(self, rate, seconds):
        self.start = time.monotonic()
        due, next_sample = 0, 2.5
        while (now := time.monotonic() - self.start) < seconds:
            if now >= next_sample and self.measurement is None:
                self.measurement = Measurement(self.program, self.log)
                next_sample += PERIOD
            self.measure()
            if due <= now * rate:
                self.connect_once()
                # After a pause of the machine no more than a twentieth of a second is made up for.
                due = max(due + 1, int((now - 0.05) * rate))
            else:
                time.sleep(max(0, min(due / rate - now, 0.001)))

    def fill(self):
        low = self.log.held(time.monotonic())
        kept = []
        while True:
            client = socket.socket()
            client.setblocking(False)
            error = client.connect_ex((self.address, 5000))
            if error == errno.EADDRNOTAVAIL:
                return len(kept), (low, self.log.held(time.monotonic()))
            kept.append(client)


def write_alerts(path, rules, records):
    """The samples as series: a pod whose figures go on like this for 20 minutes."""
    minutes = 20
    times = minutes * 60 // PERIOD + 1
    # What was recorded, and then its last half minute over and over.
    steady = records[-30 // PERIOD:]
    played = (records + steady * times)[:times]
    names = sorted({name for record in records for name in record if not name.startswith("port_scan_")})
    lines = [f"rule_files: [{rules}]", "evaluation_interval: 15s", "tests:", f"  - interval: {PERIOD}s",
             "    input_series:"]
    for name in names:
        values = [f"{record.get(name, 0):g}" for record in played]
        quoted = name.replace("'", "''")
        lines += [f"      - series: '{quoted}'", f"        values: '{' '.join(values)}'"]
    lines.append("    promql_expr_test:")
    for minute in range(1, minutes + 1):
        if path.endswith(".exhausted.yaml") and minute < minutes:
            continue
        lines += [f"      - eval_time: {minute}m"]
        if path.endswith(".exhausted.yaml"):
            lines += ["        expr: count by (alertname) (ALERTS{alertname=\"LocalPortsDestinationNearlyExhausted\", "
                      "alertstate=\"firing\"})", "        exp_samples:",
                      "          - { labels: '{alertname=\"LocalPortsDestinationNearlyExhausted\"}', value: 1 }"]
        else:
            lines += ["        expr: count by (alertname) (ALERTS{alertstate=\"firing\"})"]
    with open(path, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")


def main():
    program, address, rate, seconds, netns, alerts, rules = sys.argv[1:]
    reuse = sysctl("tcp_tw_reuse")[0]
    may_be_reused = reuse == 1 or reuse == 2 and ipaddress.ip_address(address).is_loopback
    hold = sysctl("tcp_tw_reuse_delay")[0] / 1000 if may_be_reused else TIME_WAIT_SECONDS
    churn = Churn(program, address, listen_in(netns, address), Log(hold))
    churn.run(float(rate), float(seconds))
    got, held = churn.fill()
    first, last = sysctl("ip_local_port_range")
    size = last - first + 1
    low, high = size - max(held), size - min(held)
    print(f"made {churn.made}, failed {churn.failed}, first failure at {churn.first_failure or 0:.1f} s, "
          f"slowest connect() {churn.slowest * 1e6:.0f} us")
    agrees = low - size // 100 <= got <= high + size // 100
    print(f"then connect() got {got} of {size}, {'as' if agrees else 'not as'} the log has it: {low} to {high}")
    write_alerts(alerts, rules, churn.records)


main()
