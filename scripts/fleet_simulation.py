#!/usr/bin/env python3
"""Computes, by discrete events, what many machines of a circle that start at once ask of source, store and Redis.

    scripts/fleet --simulate 10000       measures first, and then runs this
    scripts/fleet_simulation.py MEASURED MACHINES [--source-gbit 1] [--store-gbit 25] ...

MEASURED is what `scripts/fleet --simulate` has written of three rounds on one computer: one machine alone (all of its units are
retrieved from the source), another later (all come from the store), and several at once. What one unit (a small file, or an extent of
4 MiB) costs is taken from the first two; the third is not looked at but to be compared with what is computed for as many machines.

The rules are those of src/shared/claim.rs (C1 to C8): ask the store; what it has not, ask Redis for the lease of; who gets that
retrieves and gives, the others wait for its end for a second at most, one of them takes over then, and they retrieve by themselves
after two. A value that has not come after the patience of a reader is retrieved from the source as well.
"""

import argparse
import collections
import heapq
import itertools
import json
import random
import sys

LONGEST_WAIT, TURN, PATIENCE = 2.0, 1.0, 0.25

# Machines that start "at once" do so within this many seconds.
SPREAD = 0.05

# What is short where all machines are on one computer: its cores, and the line of each machine.
UNLIMITED = {
    "source_requests": 1e9, "store_requests": 1e9, "source_bytes": 1e12, "store_bytes": 1e12, "redis_bytes": 1e12, "shards": 1,
}


class Simulation:
    """A clock, and processes that are generators: each yields for how long it sleeps, or a `Gate` that it waits for."""

    def __init__(self):
        self.now, self.events, self.order = 0.0, [], itertools.count()

    def start(self, process, after=0.0):
        heapq.heappush(self.events, (self.now + after, next(self.order), process, None))

    def run(self):
        while self.events:
            self.now, _, process, told = heapq.heappop(self.events)
            try:
                wanted = process.send(told)
            except StopIteration:
                continue
            if isinstance(wanted, tuple):
                gate, seconds = wanted
                gate.wait(self, process, seconds)
            else:
                heapq.heappush(self.events, (self.now + wanted, next(self.order), process, None))


class Gate:
    """The end of a lease, for which processes wait; each hears whether it came in time."""

    def __init__(self):
        self.waiting = []

    def wait(self, simulation, process, seconds):
        turn = [process]
        self.waiting.append(turn)
        simulation.start(self._give_up(simulation, turn), seconds)

    def _give_up(self, simulation, turn):
        if turn:
            heapq.heappush(simulation.events, (simulation.now, next(simulation.order), turn.pop(), False))
        return
        yield

    def open(self, simulation):
        for turn in self.waiting:
            if turn:
                heapq.heappush(simulation.events, (simulation.now, next(simulation.order), turn.pop(), True))
        self.waiting = []


class Service:
    """Something that answers requests in the order in which they come, `servers` at once."""

    def __init__(self, simulation, name, seconds_each, bytes_a_second, servers=1, credit=0.0):
        self.simulation, self.name, self.credit = simulation, name, credit
        self.seconds_each, self.rate = seconds_each, bytes_a_second
        self.free = [-credit] * servers
        self.requests, self.bytes = collections.Counter(), collections.Counter()
        self.busy = 0.0

    def asked(self, bytes_moved=0, times=1):
        """For how long the answer to a request that comes now is waited for."""
        now = self.simulation.now
        self.requests[int(now)] += times
        self.bytes[int(now)] += bytes_moved
        takes = self.seconds_each * times + bytes_moved / self.rate
        self.busy += takes
        ends = max(now - self.credit, heapq.heappop(self.free)) + takes
        heapq.heappush(self.free, ends)
        return max(0.0, ends - now)


class Fleet:
    """Machines that read the same units in the same order."""

    def __init__(self, machines, work, costs, limits, one_computer):
        self.simulation = Simulation()
        self.work, self.costs, self.machines = work, costs, machines
        self.source = Service(self.simulation, "source", 1 / limits["source_requests"], limits["source_bytes"])
        self.store = Service(self.simulation, "store", 1 / limits["store_requests"], limits["store_bytes"])
        shards = range(limits["shards"])
        self.redis = [Service(self.simulation, "Redis", costs["redis_seconds"], limits["redis_bytes"]) for _ in shards]
        # What these are asked for are seconds, not bytes.
        self.cores = Service(self.simulation, "cores", 0.0, 1.0, one_computer) if one_computer else None
        self.there, self.leases = set(), {}
        self.retrievals = self.retrieved = self.commands = 0
        self.ended = 0.0

    def run(self):
        chance = random.Random(1)
        for _ in range(self.machines):
            self.simulation.start(self.machine(), chance.random() * self.costs["spread"])
        self.simulation.run()
        return self

    def machine(self):
        """One machine: reads unit after unit, several at once on a line of its own."""
        # What was not sent in the last second may be sent beside what is, as by `max_bandwidth`.
        line = Service(self.simulation, "line", 0.0, self.costs["line"], credit=1.0)
        units = iter(enumerate(self.work))

        def reader():
            for number, (size, is_small) in units:
                yield from self.unit(number, size, is_small, line)
            self.ended = max(self.ended, self.simulation.now)

        for _ in range(self.costs["at_once"]):
            self.simulation.start(reader())
        yield 0.0

    def ask_redis(self, number, bytes_moved=0, times=1):
        self.commands += times
        return self.redis[number % len(self.redis)].asked(bytes_moved, times) + self.costs["redis_latency"]

    def look(self, number, size, is_small, line=None):
        """Asks the store for a unit, which comes by the machine's `line` if it is to come."""
        is_there = number in self.there
        moved = size if is_there and line else 0
        takes = self.ask_store(number, moved, is_small)
        if moved:
            takes += self.work_on(self.costs["hit_cpu"])
        if moved and takes > PATIENCE:
            yield PATIENCE
            takes = min(takes - PATIENCE, self.ask_source(size, line) + self.work_on(self.costs["miss_cpu"]))
        yield takes
        return is_there

    def ask_store(self, number, moved, is_small):
        if is_small:
            return self.ask_redis(number, moved)
        return self.store.asked(moved) + self.costs["store_latency"]

    def ask_source(self, size, line):
        self.retrievals += 1
        self.retrieved += size
        return self.costs["source_latency"] + max(self.source.asked(size), line.asked(size))

    def work_on(self, seconds):
        """For how long a machine works on what has come: all on the same cores, if they are on one computer."""
        return self.cores.asked(seconds) if self.cores else seconds

    def unit(self, number, size, is_small, line):
        if (yield from self.look(number, size, is_small, line)):
            return
        mine, deadline, gate, taken_from = object(), self.simulation.now + LONGEST_WAIT, None, None
        while True:
            yield self.ask_redis(number)
            holder, ending = self.leases.get(number, (None, None))
            if holder in (None, taken_from):
                ending = ending or Gate()
                self.leases[number] = mine, ending
                if (yield from self.look(number, size, is_small)):
                    yield from self.release(number, mine, ending)
                    yield from self.look(number, size, is_small, line)
                    return
                yield from self.retrieve(size, line)
                self.simulation.start(self.give(number, size, is_small, mine, ending))
                return
            taken_from = None
            if gate is None:
                # Listens, and asks once more: it may have ended before that.
                gate = ending
                yield self.ask_redis(number)
                continue
            if self.simulation.now >= deadline:
                yield from self.retrieve(size, line)
                return
            in_time = yield gate, min(TURN, deadline - self.simulation.now)
            if not in_time:
                taken_from = holder
            elif (yield from self.look(number, size, is_small)):
                yield from self.look(number, size, is_small, line)
                return

    def retrieve(self, size, line):
        yield self.ask_source(size, line) + self.work_on(self.costs["miss_cpu"])

    def give(self, number, size, is_small, mine, gate):
        yield self.ask_store(number, size, is_small)
        self.there.add(number)
        yield from self.release(number, mine, gate)

    def release(self, number, mine, gate):
        yield self.ask_redis(number)
        if self.leases.get(number, (None, None))[0] is mine:
            del self.leases[number]
            gate.open(self.simulation)

    def services(self):
        yield from (self.source, self.store, self.redis[0])


def costs_of(measured):
    """What one unit costs, from one machine that retrieves all and one that finds all in the store."""
    first, second, units = measured["first"], measured["second"], len(units_of(measured))
    sending = max(0.0, first["bytes"] / measured["line"] - 1.0)
    costs = {
        "redis_seconds": first["redis_seconds"] / max(1, first["commands"]),
        "redis_latency": 1 / measured["gets_a_second"],
        "store_latency": 1 / measured["gets_a_second"],
        "source_latency": max(0.0, first["source_seconds"] - sending) / max(1, first["retrievals"]),
        "miss_cpu": first["cpu"] / units,
        "hit_cpu": second["cpu"] / units,
        "line": measured["line"],
        "spread": SPREAD,
    }
    # How many units one machine has under way is what makes it as fast as it was.
    off = {}
    for at_once in range(1, 17):
        alone = Fleet(1, units_of(measured), costs | {"at_once": at_once}, UNLIMITED, measured["cores"]).run()
        off[at_once] = abs(alone.ended - first["seconds"])
    costs["at_once"] = min(off, key=off.get)
    # A script in Redis counts as the commands in it too.
    asked = Fleet(1, units_of(measured), costs, UNLIMITED, measured["cores"]).run().commands
    return costs | {"redis_seconds": first["redis_seconds"] / asked, "commands_each": first["commands"] / asked}


def units_of(measured):
    small = [(measured["small_bytes"], True)] * measured["small"]
    whole, rest = divmod(measured["large_bytes"], measured["extent"])
    large = [(measured["extent"], False)] * whole + ([(rest, False)] if rest else [])
    return small + large * measured["large"]


def simulate(measured, machines, limits, one_computer=None):
    return Fleet(machines, units_of(measured), costs_of(measured), limits, one_computer).run()


def peak(counter):
    return max(counter.values(), default=0)


def gigabytes(count):
    return f"{count / 1e9:,.2f} GB"


def compare(measured):
    """Prints what was computed and measured for the machines that ran at once; whether they agree within a fifth."""
    together = measured["together"]
    computed = simulate(measured, together["machines"], UNLIMITED, measured["cores"])
    rows = [
        ("bytes from the source", computed.retrieved, together["bytes"]),
        ("retrievals", computed.retrievals, together["retrievals"]),
        ("commands to Redis", computed.commands * computed.costs["commands_each"], together["commands"]),
        ("seconds until all have all", computed.ended, together["seconds"]),
    ]
    print(f"{together['machines']} machines at once      computed      measured   difference")
    agree = True
    for name, ours, theirs in rows:
        difference = ours / theirs - 1 if theirs else 0.0
        agree &= abs(difference) <= 0.2
        print(f"{name:27} {ours:13,.2f} {theirs:13,.2f} {difference:+10.0%}")
    return agree


def report(measured, machines, limits):
    fleet = simulate(measured, machines, limits)
    content = sum(size for size, _ in units_of(measured))
    print(f"\n{machines:,} machines at once, {gigabytes(content)} each: all have all after {fleet.ended:,.1f} s")
    print(f"{'':8} {'requests':>14} {'in a second':>12} {'bytes':>14} {'in a second':>14} {'busy':>6}")
    busiest = None
    for service in fleet.services():
        of = len(fleet.redis) if service.name == "Redis" else 1
        # What readers did not wait for, since it came from elsewhere, is answered later.
        busy = service.busy / max(fleet.simulation.now, *service.free, 1e-9)
        each = of * (fleet.costs["commands_each"] if service.name == "Redis" else 1)
        requests, moved = sum(service.requests.values()) * each, sum(service.bytes.values()) * of
        second = gigabytes(peak(service.bytes) * of)
        print(f"{service.name:8} {requests:14,.0f} {peak(service.requests) * each:12,.0f} {gigabytes(moved):>14} {second:>14} {busy:6.0%}")
        if busiest is None or busy > busiest[1]:
            busiest = service.name, busy
    print(f"first bottleneck: {busiest[0]}, busy for {busiest[1]:.0%} of the time")
    return busiest[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("measured", help="the file that scripts/fleet --simulate has written")
    parser.add_argument("machines", type=int)
    parser.add_argument("--source-gbit", type=float, default=1.0, help="what the source sends, Gbit/s (1)")
    parser.add_argument("--source-requests", type=float, default=1000.0, help="requests a second that it answers (1000)")
    parser.add_argument("--store-gbit", type=float, default=25.0, help="what the store moves, Gbit/s (25)")
    parser.add_argument("--store-requests", type=float, default=5500.0, help="requests a second that it answers (5500)")
    parser.add_argument("--redis-gbit", type=float, default=10.0, help="what each Redis moves, Gbit/s (10)")
    asked = parser.parse_args()
    with open(asked.measured) as file:
        measured = json.load(file)
    limits = {
        "source_requests": asked.source_requests,
        "source_bytes": asked.source_gbit * 125e6,
        "store_requests": asked.store_requests,
        "store_bytes": asked.store_gbit * 125e6,
        "redis_bytes": asked.redis_gbit * 125e6,
        "shards": 1,
    }
    agree = compare(measured)
    bottleneck = report(measured, asked.machines, limits)
    if bottleneck == "Redis":
        for shards in (2, 4, 8):
            sharded = simulate(measured, asked.machines, limits | {"shards": shards})
            print(f"with {shards} Redis: {sharded.ended:,.1f} s")
    elif bottleneck == "store":
        for groups in (2, 4, 8):
            one = simulate(measured, -(-asked.machines // groups), limits | {"source_bytes": limits["source_bytes"] / groups})
            print(f"with {groups} stores, each for a part of the machines: {one.ended:,.1f} s, {gigabytes(one.retrieved * groups)} from the source")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
