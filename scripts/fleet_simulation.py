#!/usr/bin/env python3
"""Computes, by discrete events, what many machines of a circle that start at once ask of source, store and Redis.

    scripts/fleet --simulate 10000       measures first, and then runs this
    scripts/fleet_simulation.py MEASURED MACHINES [--source-gbit 1] [--store-gbit 25] ...

MEASURED is what `scripts/fleet --simulate` has written of three rounds on one computer: one machine alone (all of its units are
retrieved from the source), another later (all come from the store), and several at once. What one unit (a small file, or an extent of
4 MiB) costs is taken from the first two; the third is not looked at but to be compared with what is computed for as many machines.

The rules are those of src/shared: ask the store; what it has not, ask Redis for the lease of (claim.rs, C1 to C8); who gets that retrieves
and gives, the others wait for its end for three times what such a piece takes, one of them takes over then, and they retrieve by themselves
after two seconds, or after three times what the source takes if that is longer. A value that has not come after the patience of a reader
(backend.rs) is retrieved from the source as well; five such in a row, and the machine leaves that service alone for half a minute.
"""

import argparse
import collections
import heapq
import itertools
import json
import random
import sys

# Of src/shared/claim.rs, backend.rs and breaker.rs, in seconds.
LEAST_WAIT, LONGEST_WAIT, TURN = 2.0, 10.0, (0.25, 1.0)
PATIENCE, LONGEST_PATIENCE = (0.03, 0.25), 2.0
LATEST, FAILURES, REST = 5.0, 5, 30.0

# What one thing that is asked of Redis counts there: a script counts as what is in it, too.
COMMANDS = {"get": 1, "set": 1, "held": 2, "taken": 3, "release": 4, "listen": 1, "unlisten": 1}

# Machines that start "at once" do so within this many seconds.
SPREAD = 0.05

# Where nothing is short.
UNLIMITED = {
    "source_requests": 1e9, "store_requests": 1e9, "source_bytes": 1e12, "store_bytes": 1e12, "redis_bytes": 1e12, "machine_bytes": 1e12, "shards": 1,
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

    def __init__(self, simulation, name, seconds_each, bytes_a_second, servers=1):
        self.simulation, self.name = simulation, name
        self.seconds_each, self.rate = seconds_each, bytes_a_second
        self.free = [0.0] * servers
        self.requests, self.bytes = collections.Counter(), collections.Counter()
        self.busy = 0.0

    def asked(self, bytes_moved=0, times=1):
        """For how long the answer to a request that comes now is waited for."""
        now = self.simulation.now
        self.requests[int(now)] += times
        self.bytes[int(now)] += bytes_moved
        takes = self.seconds_each * times + bytes_moved / self.rate
        self.busy += takes
        ends = max(now, heapq.heappop(self.free)) + takes
        heapq.heappush(self.free, ends)
        return max(0.0, ends - now)

    def called_off(self, seconds, bytes_moved, times=1):
        """Who was to be answered in so many seconds wants nothing any more. How many of the bytes come all the same."""
        takes = self.seconds_each * times + bytes_moved / self.rate
        spared = min(takes, seconds)
        self.busy -= spared
        heapq.heappush(self.free, heapq.heappop(self.free) - spared)
        came = bytes_moved * (1 - spared / takes)
        self.bytes[int(self.simulation.now)] -= bytes_moved - came
        return came


class Usual:
    """What something takes on average, as src/shared learns it."""

    def __init__(self):
        self.seconds = None

    def note(self, took):
        self.seconds = took if self.seconds is None else (self.seconds * 7 + took) / 8

    def at_least(self, took):
        if took > (self.seconds or 0.0):
            self.note(took)


class Machine:
    """What one machine has learned, of small files and of extents."""

    def __init__(self, line, patience):
        # The patience that is configured, if one is.
        self.line, self.configured = line, patience
        self.store, self.source, self.gives = ([Usual(), Usual()] for _ in range(3))
        self.failures, self.failed_at, self.rests_until = [0, 0], [-1.0, -1.0], [-1.0, -1.0]
        self.lingers = [False, False]

    def slow(self, is_small):
        """What the source takes for such a thing at least, as far as is known."""
        known = [usual.seconds for usual in (self.source[1:] if is_small else self.source) if usual.seconds is not None]
        return max(known, default=0.0)

    def longest_patience(self, is_small):
        return max(PATIENCE[1], min(self.slow(is_small), LONGEST_PATIENCE))

    def patience(self, is_small):
        if self.configured is not None:
            return self.configured
        usual = self.store[is_small].seconds
        longest = self.longest_patience(is_small)
        return longest if usual is None else min(max(3 * usual, PATIENCE[0], self.slow(is_small) / 2), longest)

    def turn(self, is_small):
        usual, configured = self.gives[is_small].seconds, self.configured or 0.0
        longest = min(max(TURN[1], configured, 2 * self.slow(is_small)), max(LONGEST_WAIT, configured))
        return longest if usual is None else min(max(3 * usual, TURN[0]), longest)

    def longest_wait(self, is_small):
        return max(min(max(LEAST_WAIT, 3 * self.slow(is_small)), LONGEST_WAIT), self.configured or 0.0)

    def failed(self, is_small, asked, now):
        if asked < self.failed_at[is_small]:
            return
        self.failed_at[is_small] = now
        self.failures[is_small] = min(self.failures[is_small] + 1, FAILURES)
        if self.failures[is_small] == FAILURES and self.rests_until[is_small] <= now:
            self.rests_until[is_small] = now + REST

    def worked(self, is_small):
        self.failures[is_small], self.failed_at[is_small], self.rests_until[is_small] = 0, -1.0, -1.0


class Fleet:
    """Machines that read the same units in the same order."""

    def __init__(self, machines, work, costs, limits, one_computer):
        self.simulation = Simulation()
        self.work, self.costs, self.machines, self.line = work, costs, machines, limits["machine_bytes"]
        self.source = Service(self.simulation, "source", 1 / limits["source_requests"], limits["source_bytes"])
        self.store = Service(self.simulation, "store", 1 / limits["store_requests"], limits["store_bytes"])
        shards = range(limits["shards"])
        self.redis = [Service(self.simulation, "Redis", costs["redis_seconds"], limits["redis_bytes"]) for _ in shards]
        # What these are asked for are seconds, not bytes.
        self.cores = Service(self.simulation, "cores", 0.0, 1.0, one_computer) if one_computer else None
        self.there, self.leases, self.ends = set(), {}, collections.defaultdict(Gate)
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
        machine = Machine(Service(self.simulation, "line", 0.0, self.line), self.costs.get("patience"))
        units = iter(enumerate(self.work))

        def reader():
            for number, (size, is_small) in units:
                if size:
                    yield from self.unit(machine, number, size, is_small)
                else:
                    # A large file begins, the first block of which comes from the source in any case.
                    takes = self.ask_source(self.costs["first_bytes"], machine, self.costs["first_retrievals"])
                    machine.source[True].note(takes)
                    yield takes
            self.ended = max(self.ended, self.simulation.now)

        for _ in range(self.costs["at_once"]):
            self.simulation.start(reader())
        yield 0.0

    def ask_redis(self, number, what, bytes_moved=0):
        self.commands += COMMANDS[what]
        return self.redis[number % len(self.redis)].asked(bytes_moved, COMMANDS[what]) + self.costs["redis_latency"]

    def look(self, machine, number, size, is_small, wants=True):
        """Asks the store for a unit; with `wants`, it comes. Whether it is there; `None` if it has come otherwise."""
        if self.simulation.now < machine.rests_until[is_small]:
            if wants:
                yield from self.retrieve(machine, size, is_small)
            return None if wants else False
        is_there, asked = number in self.there, self.simulation.now
        moved = size if is_there and wants else 0
        answers = self.ask_store(number, moved, is_small)
        # What readers wait for is the answer; the machine works on that afterwards.
        patience = machine.patience(is_small)
        if answers <= patience:
            yield answers
            machine.worked(is_small)
            if moved:
                machine.store[is_small].note(answers)
                yield self.work_on(self.costs["hit_cpu"])
            return is_there
        yield patience
        machine.failed(is_small, asked, self.simulation.now)
        if not machine.lingers[is_small]:
            machine.lingers[is_small] = True
            self.simulation.start(self.linger(machine, is_small, answers, moved), min(answers, LATEST) - patience)
        if not wants:
            return False
        comes = self.ask_source(size, machine, self.costs["retrievals"][is_small])
        if comes < answers - patience:
            machine.source[is_small].note(comes)
            yield comes + self.work_on(self.costs["miss_cpu"])
        else:
            left = answers - patience
            # The source takes longer than that.
            machine.source[is_small].at_least(left)
            came = self.source.called_off(comes - left, size, self.costs["retrievals"][is_small])
            self.retrieved -= size - came
            yield left + self.work_on(self.costs["hit_cpu"])
            # It was worth to be waited for.
            machine.worked(is_small)
        return None

    def linger(self, machine, is_small, took, moved):
        """A late answer is learned from when it comes."""
        machine.lingers[is_small] = False
        if took <= LATEST:
            if moved:
                machine.store[is_small].note(took)
            if took <= machine.longest_patience(is_small):
                machine.worked(is_small)
        return
        yield

    def ask_store(self, number, moved, is_small, what="get"):
        if is_small:
            return self.ask_redis(number, what, moved)
        return self.store.asked(moved) + self.costs["store_latency"]

    def ask_source(self, size, machine, retrievals):
        self.retrievals += retrievals
        self.retrieved += size
        return self.costs["source_latency"] + max(self.source.asked(size, retrievals), machine.line.asked(size))

    def work_on(self, seconds):
        """For how long a machine works on what has come: all on the same cores, if they are on one computer."""
        return self.cores.asked(seconds) if self.cores else seconds

    def unit(self, machine, number, size, is_small):
        if (yield from self.look(machine, number, size, is_small)) is not False:
            return
        mine, listens, taken_from = object(), False, None
        began = self.simulation.now
        deadline = began + machine.longest_wait(is_small)
        while True:
            yield self.ask_redis(number, "held")
            holder = self.leases.get(number)
            if holder in (None, taken_from):
                self.commands += COMMANDS["taken"] - COMMANDS["held"]
                self.leases[number] = mine
                if (yield from self.look(machine, number, size, is_small, wants=False)):
                    yield from self.release(number, mine)
                    yield from self.look(machine, number, size, is_small)
                else:
                    leased = self.simulation.now
                    yield from self.retrieve(machine, size, is_small)
                    self.simulation.start(self.give(machine, number, size, is_small, mine, leased))
                break
            taken_from = None
            if not listens:
                # Asks once more after that: it may have ended before.
                listens = True
                yield self.ask_redis(number, "listen")
                continue
            if self.simulation.now >= deadline:
                yield from self.retrieve(machine, size, is_small)
                break
            in_time = yield self.ends[number], min(machine.turn(is_small), deadline - self.simulation.now)
            if not in_time:
                taken_from = holder
            elif (yield from self.look(machine, number, size, is_small, wants=False)):
                yield from self.look(machine, number, size, is_small)
                break
        if listens:
            self.ask_redis(number, "unlisten")

    def retrieve(self, machine, size, is_small):
        takes = self.ask_source(size, machine, self.costs["retrievals"][is_small])
        machine.source[is_small].note(takes)
        yield takes + self.work_on(self.costs["miss_cpu"])

    def give(self, machine, number, size, is_small, mine, leased):
        yield self.ask_store(number, size, is_small, "set")
        self.there.add(number)
        machine.gives[is_small].note(self.simulation.now - leased)
        yield from self.release(number, mine)

    def release(self, number, mine):
        yield self.ask_redis(number, "release")
        if self.leases.get(number) is mine:
            del self.leases[number]
        self.ends[number].open(self.simulation)

    def services(self):
        yield from (self.source, self.store, self.redis[0])


def costs_of(measured):
    """What one unit costs, from one machine that retrieves all and one that finds all in the store."""
    first, second = measured["first"], measured["second"]
    units = sum(1 for size, _ in units_of(measured) if size)
    extents = units - measured["small"]
    large = max(1, measured["large"])
    costs = {
        "redis_seconds": first["redis_seconds"] / max(1, first["commands"]),
        "redis_latency": 1 / measured["gets_a_second"],
        "store_latency": 1 / measured["gets_a_second"],
        "source_latency": measured["round_trip"],
        "miss_cpu": first["cpu"] / units,
        "hit_cpu": second["cpu"] / units,
        "spread": SPREAD,
        # Of each large file; of an extent, and of a small file.
        "first_bytes": second["bytes"] / large,
        "first_retrievals": second["retrievals"] / large,
        "retrievals": [(first["retrievals"] - second["retrievals"] - measured["small"]) / max(1, extents), 1],
    }
    # How many units one machine has under way is what makes it as fast as it was.
    off = {}
    for at_once in range(1, 17):
        of_so_many = costs | {"at_once": at_once, "patience": measured["patience"]}
        alone = Fleet(1, units_of(measured), of_so_many, limits_of(measured), measured["cores"]).run()
        off[at_once] = abs(alone.ended - first["seconds"])
    return costs | {"at_once": min(off, key=off.get)}


def limits_of(measured):
    """What was short where it was measured."""
    return UNLIMITED | {"source_bytes": measured["line"]}


def units_of(measured):
    small = [(measured["small_bytes"], True)] * measured["small"]
    whole, rest = divmod(measured["large_bytes"], measured["extent"])
    # What has no bytes is the beginning of a large file.
    large = [(0, False)] + [(measured["extent"], False)] * whole + ([(rest, False)] if rest else [])
    return small + large * measured["large"]


def simulate(measured, machines, limits, one_computer=None, patience=None):
    costs = costs_of(measured) | {"patience": patience}
    return Fleet(machines, units_of(measured), costs, limits, one_computer).run()


def peak(counter):
    return max(counter.values(), default=0)


def gigabytes(count):
    return f"{count / 1e9:,.2f} GB"


def compare(measured):
    """Prints what was computed and measured for the machines that ran at once; whether what is counted agrees within a fifth."""
    together = measured["together"]
    computed = simulate(measured, together["machines"], limits_of(measured), measured["cores"], measured["patience"])
    rows = [
        ("bytes from the source", computed.retrieved, together["bytes"]),
        ("retrievals", computed.retrievals, together["retrievals"]),
        ("commands to Redis", computed.commands, together["commands"]),
    ]
    print(f"{together['machines']} machines at once      computed      measured   difference")
    agree = True
    for name, ours, theirs in rows:
        difference = ours / theirs - 1 if theirs else 0.0
        agree &= abs(difference) <= 0.2
        print(f"{name:27} {ours:13,.0f} {theirs:13,.0f} {difference:+10.0%}")
    # Those depend on what else the computer has to do.
    print(f"{'seconds until all have all':27} {computed.ended:13,.1f} {together['seconds']:13,.1f}")
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
        requests, moved = sum(service.requests.values()) * of, sum(service.bytes.values()) * of
        second = gigabytes(peak(service.bytes) * of)
        print(f"{service.name:8} {requests:14,.0f} {peak(service.requests) * of:12,.0f} {gigabytes(moved):>14} {second:>14} {busy:6.0%}")
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
    parser.add_argument("--machine-gbit", type=float, default=1.0, help="what each machine receives from the source, Gbit/s (1)")
    asked = parser.parse_args()
    with open(asked.measured) as file:
        measured = json.load(file)
    limits = {
        "source_requests": asked.source_requests,
        "source_bytes": asked.source_gbit * 125e6,
        "store_requests": asked.store_requests,
        "store_bytes": asked.store_gbit * 125e6,
        "redis_bytes": asked.redis_gbit * 125e6,
        "machine_bytes": asked.machine_gbit * 125e6,
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
