#!/usr/bin/python3
"""Draws what a broker costs against how many sessions it has: Dunlin, and mosquitto if it is there.

For each number of sessions every broker is started afresh, and dunlin-bench lets so many sensors
connect and publish at the same total rate; so only the number of sessions differs. Rounds take
turns as in run.py, and a point is the median. gnuplot draws three curves into docs/:

    bench-cost.svg      broker CPU per message
    bench-memory.svg    broker memory per session
    bench-latency.svg   p50 and p99 from when a message was due (open loop)

The figures go to BUILD/bench-report.tsv as well. Standard library only.
"""
import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import types

import run

COLUMNS = {  # column of the file: where it is in dunlin-bench's JSON
    "cost_us": ("broker", "cpu_us"),
    "session_bytes": ("broker", "session_bytes"),
    "p50_us": ("latency_us", "p50"),
    "p99_us": ("latency_us", "p99"),
}
COLOURS = {"dunlin": "#1b6ca8", "mosquitto": "#c8553d"}
SETTINGS = """
set terminal svg size 640,400 font 'sans-serif,13' background '#ffffff'
set output '{output}'
set datafile separator '\\t'
set datafile missing '-'
set logscale x 10
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
set key outside below horizontal
set xlabel 'connected sessions'
set ylabel '{ylabel}'
set format x '%.0f'
set title '{title}'
{more}
plot {plots}
"""


class Curve:
    def __init__(self, name, title, ylabel, columns, more="set yrange [0:*]"):
        self.name, self.title, self.ylabel, self.columns, self.more = name, title, ylabel, columns, more


CURVES = [
    Curve("cost", "CPU per message", "microseconds", ["cost_us"]),
    Curve("memory", "memory per session", "bytes of RSS", ["session_bytes"]),
    Curve("latency", "latency, from when a message was due", "microseconds", ["p50_us", "p99_us"],
          "set logscale y 10"),
]


def measure(options, brokers):
    """Rows of (broker, sessions, {column: median})."""
    rows = []
    how = types.SimpleNamespace(load=options.load, seconds=options.seconds, warmup=options.warmup,
                                quick=False, gather=0)
    for sessions in options.sessions:
        scenario = run.Scenario(f"{sessions} sessions",
                                f"telemetry --clients {sessions} --rate {options.rate} "
                                f"--dashboards 10 --source {run.SOURCES}")
        found = {b.name: [] for b in brokers}
        for number in range(options.rounds):
            for broker in brokers[number % len(brokers):] + brokers[:number % len(brokers)]:
                run.progress(f"{scenario.name}: round {number + 1} of {options.rounds}, {broker.name}")
                found[broker.name].append(run.run_once(how, broker, scenario))
        run.progress("")
        for line in run.troubles([(scenario, found)]):
            print("! " + line)
        for name, results in found.items():
            rows.append((name, sessions, medians(results)))
            print(f"{name:10} {sessions:8,} sessions: "
                  + ", ".join(f"{column} {value:,.1f}" for column, value in rows[-1][2].items()))
    return rows


def medians(results):
    out = {}
    for column, path in COLUMNS.items():
        numbers = [n for n in run.values(results, *path) if n is not None]
        if numbers:
            out[column] = statistics.median(numbers)
    return out


def write_rows(path, rows):
    with open(path, "w", encoding="ascii") as f:
        f.write("\t".join(["broker", "sessions", *COLUMNS]) + "\n")
        for name, sessions, figures in rows:
            f.write("\t".join([name, str(sessions)]
                              + [f"{figures[c]:.4f}" if c in figures else "-" for c in COLUMNS]) + "\n")


def draw(curve, rows, folder):
    """One SVG; the data is in the script, a block for each line."""
    blocks, plots = [], []
    for name in dict.fromkeys(row[0] for row in rows):
        for dashes, column in enumerate(curve.columns, 1):
            block = f"$b{len(blocks)}"
            lines = [f"{sessions}\t{figures[column]:.4f}" for broker, sessions, figures in rows
                     if broker == name and column in figures]
            blocks.append(f"{block} << EOD\n" + "\n".join(lines) + "\nEOD\n")
            label = name if len(curve.columns) == 1 else f"{name} {column.split('_')[0]}"
            plots.append(f"{block} using 1:2 with linespoints lw 2 pt 7 ps 0.5 dt {dashes} "
                         f"lc rgb '{COLOURS[name]}' title '{label}'")
    output = os.path.join(folder, f"bench-{curve.name}.svg")
    script = "".join(blocks) + SETTINGS.format(output=output, title=curve.title, ylabel=curve.ylabel,
                                               more=curve.more, plots=", ".join(plots))
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(output)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sessions", default="100,1000,10000,18000", help="with commas between")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second, all sensors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--build", default=os.path.join(run.ROOT, "build"), help="build folder")
    parser.add_argument("--folder", default=os.path.join(run.ROOT, "docs"), help="for the SVGs")
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto", path=os.environ.get(
        "PATH", "") + ":/usr/sbin") or "mosquitto")
    options = parser.parse_args()
    options.sessions = [int(n) for n in options.sessions.split(",")]
    options.dunlin = os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    options.warmup = 1
    return options


def main():
    options = parse_options()
    if not shutil.which("gnuplot"):
        sys.exit("no gnuplot: tests/check/packages bench, or apt-get install gnuplot-nox")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run.stop_on_signal)
    run.raise_descriptors()
    brokers = [b for b in (run.dunlin(options.dunlin), run.mosquitto(options.mosquitto))
               if os.access(b.path, os.X_OK)]
    rows = measure(options, brokers)
    write_rows(os.path.join(options.build, "bench-report.tsv"), rows)
    for curve in CURVES:
        draw(curve, rows, options.folder)


if __name__ == "__main__":
    main()
