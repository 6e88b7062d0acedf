#!/usr/bin/python3
"""Draws what a broker costs against how many sessions it has: Dunlin, and mosquitto if it is there.

A point is a broker that is started afresh, and a fleet of so many sensors that connect, with a subscription
of their own each, and 64 dashboards. First all sensors take turns to publish, at one rate together that is
the same for all sizes: memory, CPU per message, latency. Then the fleet rests, connected, while 500 sensors
more publish as fast as it goes: CPU per message. So only the number of sessions differs.

Where one table of descriptors does not hold the largest fleet, Dunlin is a second line: with as many reactors,
each with a table of its own, as that fleet takes (scale.py), for all sizes. The load is the same process with
the same number of threads at every point, on a core of its own; the broker has the other.

Lines take turns in each round. All figures go into docs/bench-report.tsv, and from there into pictures
(bench-*.svg) and a table in docs/BENCHMARKS.md; --redraw makes these again without measuring. Standard library
only; gnuplot draws.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import types

import curves
import run
import scale

SIZES = [100, 1000, 10000, 18000, 100000, 300000, 1000000]
DASHBOARDS = 64     # a power of two, at least so many; each belongs to one thread of the load, with its sensors
LARGE = 20000       # sessions; with more there is one round, as long as the rounds together
KEEPALIVE_S = 3600  # sensors that rest send no PINGREQ
FLAT_OUT = run.Scenario("flat out", "telemetry --clients 500 --dashboards 10 --window 16")
FLAT_OUT_CLIENTS = 510
CONFIG = run.COMMON + ["connection_messages false"]


class Line:
    """A broker in one configuration, for all sizes that it can have."""

    def __init__(self, name, program, path, own_config, private=False):
        self.name, self.private = name, private
        self.broker = run.Broker(program, path, CONFIG + own_config)


class Setup:
    """What is the same for all points, made for the largest of them."""

    def __init__(self, sizes):
        self.plan = scale.Plan(sizes[-1] + DASHBOARDS + FLAT_OUT_CLIENTS)
        # Each thread has as many dashboards as the next, and so as many sensors.
        threads = self.plan.threads = 1 << (self.plan.threads - 1).bit_length()
        self.dashboards = max(DASHBOARDS, threads)
        self.sizes = [n for n in sizes if n >= self.dashboards]

    def lines(self, options):
        lines = [Line("Dunlin, 1 reactor", "dunlin", options.dunlin, ["reactors 1"])]
        if self.plan.private:
            lines.append(Line(f"Dunlin, {self.plan.reactors} reactors, a table each", "dunlin", options.dunlin,
                              self.plan.own_config, private=True))
        if os.access(options.mosquitto, os.X_OK):
            lines.append(Line("mosquitto", "mosquitto", options.mosquitto, run.AS_ROOT))
        else:
            scale.say(f"without mosquitto: no program at {options.mosquitto}")
        return lines

    def holds(self, line, sessions):
        return line.private or not scale.Plan(sessions + self.dashboards + FLAT_OUT_CLIENTS).private

    def load(self, options, sessions="N"):
        return (f"telemetry --commands --clients {sessions} --dashboards {self.dashboards} "
                f"--rate {options.rate} --keepalive {KEEPALIVE_S}")

    def about(self, options):
        """For whoever reads the figures later."""
        return {
            **run.surroundings_of(options, "tests/bench/report.py"),
            "mosquitto": run.said([options.mosquitto, "-h"]) or "none",
            "conditions": "broker on core %s, load on core %s" % run.cores(),
            "configuration": "; ".join(CONFIG),
            "load": f"dunlin-bench {self.load(options)} --threads {self.plan.threads}",
            "flat_out": "dunlin-bench " + " ".join(FLAT_OUT.args),
            "rate": f"{options.rate:,}",
            "rounds": f"{options.rounds} of {options.seconds:g} s; above {LARGE:,} sessions one of "
                      f"{options.rounds * options.seconds:g} s",
        }


# ---- measuring ----

def measure(options, setup, line, sessions, rounds):
    """One point, one round: what dunlin-bench says of the fleet, and of those that go as fast as it goes."""
    seconds = options.seconds * options.rounds / rounds
    how = types.SimpleNamespace(load=options.load, seconds=seconds, warmup=1, quick=False, gather=0)
    scenario = f"{setup.load(options, sessions)} --seconds {seconds:g}"
    with line.broker as broker:
        argv = scale.load_argv(options, setup.plan, broker, scenario)
        with scale.held_load(argv, run.cores()[1]) as (_, fleet):
            flat = run.run_load(how, broker, FLAT_OUT)
    if "error" in flat:
        raise RuntimeError(flat["error"])
    if "late_us" not in fleet or not flat["per_second"]:
        raise RuntimeError("no message in the time that was measured; the machine may have too much to do")
    return fleet, flat


def row_of(line, sessions, number, fleet, flat):
    counts = ("lost", "duplicate", "disordered", "foreign", "unacked", "unanswered", "unsent", "refused", "closed",
              "stalled")
    figures = {
        "connected": fleet["ready"],
        "session_bytes": fleet["broker"]["session_bytes"],
        "per_second": fleet["per_second"],
        "cpu_us": fleet["broker"]["cpu_us"],
        "p50_us": fleet["latency_us"]["p50"],
        "p99_us": fleet["latency_us"]["p99"],
        "late_p99_us": fleet["late_us"]["p99"],
        "flat_per_second": flat["per_second"],
        "flat_cpu_us": flat["broker"]["cpu_us"],
        "flat_percent": flat["broker"]["cpu_percent"],
        "trouble": sum(result[name] for result in (fleet, flat) for name in counts),
    }
    return {"line": line.name, "sessions": sessions, "round": number, **figures}


def say_row(row, seconds):
    print(f"{row['line']}, {row['sessions']:,} sessions, round {row['round']}: {row['session_bytes']:,.0f} bytes each; "
          f"{row['cpu_us']:.1f} us a message, p50 {row['p50_us']:,.0f} us, p99 {row['p99_us']:,.0f} us; flat out "
          f"{row['flat_cpu_us']:.2f} us, {row['flat_per_second']:,.0f} a second; took {seconds:.0f} s", flush=True)


def measure_all(options, setup):
    """Yields a row for each round of each point, or None for one that failed."""
    lines = setup.lines(options)
    for sessions in setup.sizes:
        fit = [line for line in lines if setup.holds(line, sessions)]
        rounds = 1 if sessions > LARGE else options.rounds
        for number in range(rounds):
            shift = number % len(fit)
            for line in fit[shift:] + fit[:shift]:
                scale.say(f"{line.name}, {sessions:,} sessions, round {number + 1} of {rounds} ...")
                start = time.monotonic()
                try:
                    row = row_of(line, sessions, number + 1, *measure(options, setup, line, sessions, rounds))
                    say_row(row, time.monotonic() - start)
                    yield row
                except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                    print(f"! {line.name}, {sessions:,} sessions, round {number + 1}: {error}", flush=True)
                    yield None


# ---- the whole ----

def choose(options, settings):
    """A Setup for the sizes that this machine can have; None when it cannot have those that were asked for."""
    sizes = options.sessions or SIZES
    while sizes:
        setup = Setup(sizes)
        if scale.prepare(options, setup.plan, settings, "make bench-report SET=1"):
            return setup
        sizes = None if options.sessions else sizes[:-1]
    return None


def redraw(folder):
    for path in curves.redraw(folder):
        print(path)


def sizes_of(text):
    sizes = sorted({int(n) for n in text.split(",")})
    if sizes[0] < DASHBOARDS:
        raise argparse.ArgumentTypeError(f"{DASHBOARDS} sessions at least: one sensor for each dashboard")
    return sizes


def positive(kind):
    def parse(text):
        if kind(text) <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return kind(text)
    parse.__name__ = kind.__name__  # what argparse calls it
    return parse


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sessions", type=sizes_of, metavar="N,N,...",
                        help=f"default: {','.join(map(str, SIZES))}, as far as this machine can")
    parser.add_argument("--rate", type=positive(int), default=2000, help="messages a second, all sensors")
    parser.add_argument("--rounds", type=positive(int), default=3)
    parser.add_argument("--seconds", type=positive(float), default=3, help="measured in each round")
    parser.add_argument("--set", action="store_true",
                        help="as root: set what is missing, as long as it is a sysctl, and put it back")
    parser.add_argument("--redraw", action="store_true",
                        help="pictures and table once more, from what was measured before")
    parser.add_argument("--build", default=os.path.join(run.ROOT, "build"), help="build folder")
    parser.add_argument("--folder", default=os.path.join(run.ROOT, "docs"),
                        help="for the figures, the pictures and the table")
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto", path=os.environ.get(
        "PATH", "") + ":/usr/sbin") or "mosquitto")
    options = parser.parse_args()
    options.dunlin = os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    return options


def main():
    options = parse_options()
    for path in [] if options.redraw else [options.dunlin, options.load]:
        if not os.access(path, os.X_OK):
            sys.exit(f"report: no program at {path}: make")
    if not shutil.which("gnuplot"):
        sys.exit("report: no gnuplot: tests/check/packages bench, or apt-get install gnuplot-nox")
    if options.redraw:
        return redraw(options.folder)
    curves.page_around(options.folder)  # not only after the measuring
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run.stop_on_signal)
    kept = os.path.join(options.build, curves.DATA)  # for a run that is stopped
    rows, failed = [], 0
    with scale.Settings() as settings:
        setup = choose(options, settings)
        if not setup:
            return 1
        about = setup.about(options)
        try:
            for row in measure_all(options, setup):
                failed += row is None
                rows += [row] if row else []
                curves.write(kept, about, rows)
        except KeyboardInterrupt:
            sys.exit(f"report: stopped; what was measured is in {kept}")
    if rows:
        shutil.copy(kept, options.folder)
        redraw(options.folder)
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except curves.BadData as error:
        sys.exit(f"report: {error}")
