# SPDX-License-Identifier: MIT
"""Make the world of one seed, and compare it with the program and with the kernel.

usage: judge.py SEED PROGRAM STRETCH, in a network namespace of its own. The last line of the output is the result, as JSON.
"""
import json
import re
import socket
import subprocess
import sys
import time
import traceback

import oracle
from world import World

SOURCES = ("sock_diag", "procfs")
SAMPLE = re.compile(r'^(\w+)\{pod_name="[^"]*"(?:,(.*))?\} (\S+)$')
LABEL = re.compile(r'(\w+)="([^"]*)"')


def measure(program, source):
    """The samples of one scan by name and label values, and when it was."""
    start = time.monotonic()
    text = subprocess.run([program, "--print", f"--source={source}", "--top-destinations=100"], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    moment = start, time.monotonic()
    samples = {}
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match:
            samples[(match[1], *(value for _, value in LABEL.findall(match[2] or "")))] = float(match[3])
    return samples, moment


def within(value, bounds):
    return bounds[0] <= value <= bounds[1]


def compare(samples, figures, where):
    """What is wrong, as sentences."""
    wrong = []
    for name, wanted in figures.values.items():
        got = samples.get(name)
        if got is None or not within(got, wanted if isinstance(wanted, tuple) else (wanted, wanted)):
            wrong.append(f"{where}: {' '.join(name)}: wanted {wanted}, got {got}")
    shown = {name[1:]: int(value) for name, value in samples.items() if name[0] == "port_destination_used"}
    for name, (wanted, must_be_there) in figures.destinations.items():
        got = shown.pop(name, None)
        if must_be_there if got is None else not within(got, wanted):
            wrong.append(f"{where}: from {name[0]} to {name[1]}: wanted {wanted}, got {got}")
    wrong += [f"{where}: from {name[0]} to {name[1]}: wanted none, got {got}" for name, got in shown.items()]
    return wrong


def judge_figures(world, program, when, wrong):
    """Both sources against the sockets that were made; the samples of sock_diag."""
    by_source = {}
    for source in SOURCES:
        by_source[source], moment = measure(program, source)
        figures = oracle.figures(world.sockets, world.settings, source, moment)
        wrong += compare(by_source[source], figures, f"{source} {when}")
    return by_source["sock_diag"]


def said_of(samples, target, device):
    """The figure of a destination, or of the next best that holds for it too."""
    for zone in (device, 0):
        name = oracle.label(target.local, target.remote, target.port, zone)
        if ("port_destination_used", *name) in samples:
            return samples[("port_destination_used", *name)]
    return samples["port_blocked",]


def judge_room(world, samples, target, device, tally):
    """What connect() then gets, against what is true and against what the program said."""
    index = socket.if_nametoindex(device) if device else target.zone
    before = list(world.sockets)
    start = time.monotonic()
    count, moment = world.fill(target, device)
    free = oracle.free_ports(before, world.settings, target.local, target.remote, target.port, index,
                             (start, moment[1]))
    where = f"connect() to {target}{' of device ' + device if device else ''}"
    if not within(count, oracle.room(free, world.settings)):
        tally["model"].append(f"{where}: wanted {oracle.room(free, world.settings)}, got {count}")
    said = samples["port_total",] - said_of(samples, target, index)
    fewer, more = oracle.unseen(before, world.settings)
    # Of an odd range one end may be left over, and may be counted as taken.
    spare = len(free) - oracle.room(free, world.settings)[0]
    if not (fewer or more or spare):
        tally["exact"] += 1
    if (not more and count > said + spare) or (not fewer and count < said - spare):
        tally["wrong"].append(f"{where}: the figures leave {int(said)}, the kernel gave {count}")
    tally["rooms"] += 1


def count_waiting(world, target):
    return sum(s.state == "time_wait" and s.destination() == (target.local, target.remote, target.port)
               for s in world.sockets)


def choose_rooms(world):
    """The destinations of this world, one that it has nothing to, and one of them by its device."""
    fresh = [t for t in world.all_targets() if str(t) not in map(str, world.targets)]
    rooms = [(target, None) for target in world.targets] + [(world.random.choice(fresh), None)]
    of_device = [t for t in world.targets if t.on_loopback() and world.loopback_device] or world.targets
    by_device = max(of_device, key=lambda target: count_waiting(world, target))
    # First, because what is filled without a device is in its way, and not the other way round.
    rooms.insert(0, (by_device, by_device.link))
    return rooms


def judge_bind(world, tally):
    """When every port is in use, bind() to port 0 gets none, for either protocol."""
    pool = world.settings.pool()
    held = [s for s in world.sockets if s.kind != "request"]
    for protocol, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
        free = pool - {s.port for s in held if s.protocol == protocol}
        bounds = oracle.room(free, world.settings) if protocol == "tcp" else (len(free), len(free))
        count = world.fill_by_bind(kind)
        if not within(count, bounds):
            tally["model"].append(f"bind() of {protocol}: wanted {bounds}, got {count}")


def judge(seed, program, stretch):
    tally = {"wrong": [], "model": [], "rooms": 0, "exact": 0, "made": []}
    world = World(seed, stretch)
    tally["made"] = world.made
    try:
        judge_world(world, program, tally)
    except oracle.Unclear:
        return {"late": True}
    except (AssertionError, OSError, TimeoutError):
        tally["model"].append(traceback.format_exc())
    return tally


def judge_world(world, program, tally):
    world.make()
    samples = judge_figures(world, program, "before", tally["wrong"])
    world.silence_loopback()
    for target, device in choose_rooms(world):
        # What was filled before has changed the figures of others: a connection takes the place of a TIME_WAIT.
        judge_room(world, samples, target, device, tally)
        samples, _ = measure(program, "sock_diag")
    judge_figures(world, program, "after", tally["wrong"])
    judge_bind(world, tally)


print(json.dumps(judge(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))
