#!/usr/bin/python3
"""cost.py [--build BUILD] [--only NAME,...] [--markdown]: what a message costs, by function.

Each scenario of dunlin-bench runs twice, short and long, against a broker under valgrind (callgrind
with its model of the caches); what the long run had more, divided by the messages that it had more, is
the price of one, without starting and connecting. Those that end by themselves (storm, subscribe,
retained, scale) have more clients, filters or messages in the long run, not more time. Instructions, allocations, locks and atomics are
exact and the same on any machine; misses are those of the model, a core with 32 KiB and 1 MiB. System calls are counted by the
kernel, in a run of its own without valgrind.

    instructions   callgrind's Ir
    D1, LL         data misses of the first and the last level
    allocations    calls to malloc and its kind
    locks          calls to pthread_mutex_lock
    atomics        instructions with a lock prefix, and xchg with memory, in the broker itself
    system calls   perf stat -e raw_syscalls:sys_enter (as root)

As root for the system calls; without, and of scenarios that end by themselves, their column stays empty.
"""
import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time

import run

ROOT = run.ROOT
SHORT_S, LONG_S = 2, 5
TOP = 12
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64")
EVENTS = ("Ir", "D1mr", "D1mw", "DLmr", "DLmw")
ALLOCATIONS = {"malloc", "calloc", "realloc", "aligned_alloc"}
LOCK = "pthread_mutex_lock"
CALLS = ("recvfrom", "read", "sendto", "sendmsg", "write", "writev", "epoll_wait", "epoll_ctl", "accept4",
         "close", "setsockopt", "futex")
SOURCES = " --source " + run.SOURCES


class Scenario:
    """What dunlin-bench is told, what is counted, and with how many reactors. `size` is for those that end by
    themselves: an option and its value in the short run; the long run has more of it instead of more time."""

    def __init__(self, name, args, unit="delivered", reactors=1, size=None):
        self.name, self.args, self.unit, self.reactors, self.size = name, args.split(), unit, reactors, size

    def length(self, seconds):
        """The options that make a run as long as so many seconds would."""
        if not self.size:
            return ["--seconds", str(seconds)]
        option, value = self.size
        return ["--seconds", "1", option, str(value * seconds // SHORT_S)]

    def count(self, result):
        """Of what is counted, how many there were: a figure of the run, or that of a step."""
        return result[self.unit] if self.unit in result else result["steps"][self.unit]["count"]


SCENARIOS = [
    Scenario("pairs-qos0", "pairs --clients 50 --window 16"),
    Scenario("pairs-w1", "pairs --clients 50 --window 1"),
    Scenario("pairs-w256", "pairs --clients 50 --window 256"),
    Scenario("pairs-qos1", "pairs --clients 50 --window 16 --qos 1"),
    Scenario("pairs-qos2", "pairs --clients 50 --window 16 --qos 2"),
    Scenario("fanin", "fanin --clients 100 --window 16"),
    Scenario("fanin-two", "fanin --clients 100 --window 16", reactors=2),
    Scenario("fanout", "fanout --clients 500 --window 16"),
    Scenario("shared", "shared --clients 10 --members 10 --window 16"),
    Scenario("telemetry", "telemetry --clients 1000 --dashboards 10 --window 1"),
    Scenario("connect", "churn --clients 16 --no-publish", "cycles"),
    Scenario("connect-publish", "churn --clients 16", "cycles"),
    Scenario("ping", "ping --clients 1000 --rate 4000" + SOURCES, "pongs"),
    Scenario("storm", "storm" + SOURCES, "storm", size=("--clients", 1000)),
    Scenario("subscribe", "subscribe", "subscribe", size=("--filters", 10000)),
    Scenario("retained", "retained --clients 10", "set", size=("--topics", 1000)),
    Scenario("scale", "scale --rate 1000" + SOURCES, "messages", size=("--clients", 1000)),
]


# ---- callgrind's file ----

def atomic_addresses(program):
    """Addresses of instructions that lock a cache line."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program], capture_output=True,
                          text=True, check=True).stdout
    return {int(m[1], 16)
            for m in re.finditer(r"^\s+([0-9a-f]+):\s+(?:lock |xchg\s.*\()", text, re.MULTILINE)}


class Counts:
    """What one run came to: figures of the whole, and events of each function."""

    def __init__(self, units=0):
        self.units = units
        self.totals = collections.Counter()
        self.functions = collections.defaultdict(collections.Counter)

    def per_unit_beyond(self, other):
        """(totals, functions): what this one has more than `other`, for each unit."""
        units = self.units - other.units
        if units <= 0:
            raise RuntimeError(f"{self.units} units in the long run, {other.units} in the short one")

        def rest(mine, others):
            return {key: (mine[key] - others[key]) / units for key in mine}
        functions = {name: rest(events, other.functions[name]) for name, events in self.functions.items()}
        return rest(self.totals, other.totals), functions


def count_call(counts, name, number):
    if name in ALLOCATIONS:
        counts.totals["allocations"] += number
    elif name.startswith(LOCK):
        counts.totals["locks"] += number


def read_callgrind(path, program, atomics, units):
    """Of a file written with --dump-instr=yes and without compression."""
    counts = Counts(units)
    events, function, called, is_ours, is_call = [], None, None, False, False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.rstrip("\n").partition("=")
            if line.startswith("events:"):
                events = line.split()[1:]
            elif key == "ob":
                is_ours = value == program
            elif key == "fn":
                function = value
            elif key == "cfn":
                called = value
            elif key == "calls":
                count_call(counts, called, int(value.split()[0]))
                is_call = True
            elif line.startswith("0x"):
                if not is_call:  # else: what the called function cost, which stands there itself
                    count_line(counts, function, line.split(), events, atomics if is_ours else ())
                is_call = False
    return counts


def count_line(counts, function, fields, events, atomics):
    costs = dict(zip(events, map(int, fields[1:])))
    for event in EVENTS:
        if event in costs:
            counts.totals[event] += costs[event]
            counts.functions[function][event] += costs[event]
    if int(fields[0], 16) in atomics:
        counts.totals["atomics"] += costs["Ir"]
        counts.functions[function]["atomics"] += costs["Ir"]


# ---- runs ----

def valgrind(path, out, reactors):
    broker = run.dunlin(path, reactors, name="cost")
    broker.patience_s = 60
    if os.geteuid() == 0:
        broker.config_lines = broker.config_lines + ["user root"]  # who may write the file at the end
    plain = broker.argv
    broker.argv = lambda folder: [
        "valgrind", "--tool=callgrind", "--cache-sim=yes", *CACHES, "--dump-instr=yes", "--dump-line=no",
        "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={out}"] + plain(folder)
    return broker


def load(options, broker, scenario, seconds):
    """One run of dunlin-bench; its JSON."""
    argv = [options.load] + scenario.args + ["--port", str(broker.port), "--json", "--warmup", "0"]
    argv += scenario.length(seconds)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 120)
    if not done.stdout.strip():
        raise RuntimeError(done.stderr.strip()[-300:])
    return json.loads(done.stdout.splitlines()[-1])


def profile_run(options, scenario, seconds, atomics):
    out = os.path.join(options.build, "callgrind.out")
    with valgrind(options.program, out, scenario.reactors) as broker:
        units = scenario.count(load(options, broker, scenario, seconds))
        broker.process.send_signal(signal.SIGTERM)
        broker.process.wait(60)
    counts = read_callgrind(out, options.program, atomics, units)
    os.unlink(out)
    return counts


def longer_run(options, scenario, short, atomics):
    """A run of clearly more units than `short`, however busy the machine is."""
    for seconds in (LONG_S, LONG_S * 2, LONG_S * 4, LONG_S * 8):
        run.progress(f"{scenario.name}: long run")
        counts = profile_run(options, scenario, seconds, atomics)
        if counts.units > short.units * 1.5:
            return counts
    raise RuntimeError(f"{scenario.name}: the machine is too busy")


def system_calls(options, scenario):
    """{system call: how many for each unit}; empty when the kernel does not say."""
    names = ["raw_syscalls:sys_enter"] + [f"syscalls:sys_enter_{name}" for name in CALLS]
    is_alone = scenario.reactors == 1  # several share both cores with the load
    with run.dunlin(options.program, scenario.reactors, pinned=is_alone) as broker:
        argv = [options.load] + scenario.args + ["--port", str(broker.port), "--json", "--warmup", "2",
                                                 "--seconds", "3"]
        loading = run.spawn(argv, run.cores()[1] if is_alone else None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(3)
        counted = subprocess.run(["perf", "stat", "-x", ";", "-e", ",".join(names), "-p",
                                  str(broker.process.pid), "--timeout", "1500"],
                                 capture_output=True, text=True)
        result = json.loads(loading.communicate(timeout=120)[0].splitlines()[-1])
        run.end(loading)
    units = result["per_second"] * 1.5
    found = {}
    for line in counted.stderr.splitlines():
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            name = fields[2].partition("sys_enter_")[2] or "all"
            found[name] = int(fields[0]) / units
    return found


def measure(options, scenario, atomics):
    run.progress(f"{scenario.name}: short run")
    short = profile_run(options, scenario, SHORT_S, atomics)
    totals, functions = longer_run(options, scenario, short, atomics).per_unit_beyond(short)
    run.progress(f"{scenario.name}: system calls")
    can_count = os.geteuid() == 0 and not scenario.size
    calls = system_calls(options, scenario) if can_count else {}
    run.progress("")
    return {"name": scenario.name, "args": " ".join(scenario.args), "unit": scenario.unit,
            "reactors": scenario.reactors, "totals": totals, "functions": functions, "calls": calls}


# ---- what is printed ----

def figure(value):
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 \
        else f"{value:.2f}" if value >= 0.005 else "0"


def misses(totals, level):
    return totals.get(level + "mr", 0) + totals.get(level + "mw", 0)


def rows_of(results):
    head = ["for each message, cycle or ping", "instructions", "D1 misses", "LL misses", "allocations",
            "locks", "atomics", "system calls"]
    rows = []
    for r in results:
        t = r["totals"]
        rows.append([r["name"], figure(t["Ir"]), figure(misses(t, "D1")), figure(misses(t, "DL"))] +
                    [figure(t.get(key, 0)) for key in ("allocations", "locks", "atomics")] +
                    [figure(r["calls"].get("all"))])
    return [head] + rows


def plain_name(function):
    """Without what compilers and the C library add to names."""
    name = re.sub(r"\.(isra|constprop|part|cold)\.?\d*", "", function)
    return re.sub(r"^__(mem\w+?)_(avx|sse|evex|erms)\w*$", r"\1", name).removesuffix("'2")


def by_function(result):
    """[(name, instructions, D1 misses, atomics)], the dearest first."""
    sums = collections.defaultdict(lambda: [0.0, 0.0, 0.0])
    for name, events in result["functions"].items():
        of_one = events.get("Ir", 0), misses(events, "D1"), events.get("atomics", 0)
        sums[plain_name(name)] = [a + b for a, b in zip(sums[plain_name(name)], of_one)]
    return sorted(((name, *both) for name, both in sums.items()), key=lambda row: -row[1])


def by_call(result):
    calls = {name: n for name, n in result["calls"].items() if name in CALLS and n >= 0.005}
    return ", ".join(f"{name} {figure(n)}" for name, n in sorted(calls.items(), key=lambda one: -one[1]))


def print_results(results, is_markdown):
    run.print_table(rows_of(results), is_markdown)
    for result in results:
        print(f"{'### ' if is_markdown else ''}{result['name']}\n")
        print(f"`dunlin-bench {result['args']}`" + (", two reactors" if result["reactors"] > 1 else "") +
              (f"; system calls: {by_call(result)}" if result["calls"] else "") + "\n")
        top = by_function(result)
        rows = [[f"`{name}`" if is_markdown else name] + [figure(x) for x in figures]
                for name, *figures in top[:TOP]]
        rest = top[TOP:]
        rows.append([f"{len(rest)} others"] + [figure(sum(row[i] for row in rest)) for i in (1, 2, 3)])
        run.print_table([["function", "instructions", "D1 misses", "atomics"]] + rows, is_markdown)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="folder of the programs")
    parser.add_argument("--only", default="", help="scenarios whose names begin so, with commas")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--markdown", action="store_true", help="print what docs/COSTS.md holds")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.program = os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    wanted = [s for s in SCENARIOS if s.name.startswith(tuple(options.only.split(",")))]
    if options.list:
        print("\n".join(s.name for s in SCENARIOS))
        return 0
    if not wanted:
        parser.error(f"no scenario begins with {options.only!r}: --list names them")
    for program in ("valgrind", "objdump"):
        if not run.shutil.which(program):
            parser.error(f"{program} is missing: apt-get install valgrind binutils")
    atomics = atomic_addresses(options.program)
    print_results([measure(options, s, atomics) for s in wanted], options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
