"""The figures of bench-report: a file of them, and the pictures and the table that are made from it.

bench-report.tsv has what is to be known of the run ("# key: text"), then a line of names, then one row for
each round of each point, as measured. Pictures and table show the median of a point's rounds, and lowest and
highest where there are several. Nothing here measures, so both can be made again at any time.
"""
import collections
import os
import re
import statistics
import subprocess

import run

DATA = "bench-report.tsv"
PAGE = "BENCHMARKS.md"
BEGIN, END = "<!-- bench-report: begin -->\n", "<!-- bench-report: end -->\n"
KEYS = ["line", "sessions", "round"]
FIGURES = [
    "connected",         # connections, with those of the dashboards
    "session_bytes",     # growth of the broker's RSS, for each of them
    "per_second",        # messages delivered, at the rate that was asked for
    "cpu_us",            # of the broker, for each of these messages
    "p50_us", "p99_us",  # latency of these messages, from when they were due
    "late_p99_us",       # of which the load tool's own lateness
    "flat_per_second",   # as fast as it goes: messages delivered,
    "flat_cpu_us",       # CPU of the broker for each,
    "flat_percent",      # and how much of a core that was
    "trouble",           # messages lost, doubled, out of order or not come for a second, connections lost
]
COLOURS = ["#1b6ca8", "#2e8b57", "#c8553d", "#7a5195"]
SETTINGS = """
set terminal svg size 720,440 font 'sans-serif,13' background '#ffffff'
set datafile separator '\\t'
set logscale x 10
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
set key outside below horizontal Left reverse
set xlabel 'connected sessions'
set ylabel '{ylabel}'
set format x '%.0s%c'
set format y '%g'
set title '{title}'
{scale}
plot {plots}
"""
LINEAR, LOGARITHMIC = "set yrange [0:*]", "set logscale y 10"

Curve = collections.namedtuple("Curve", "name title ylabel figures scale")
CURVES = [
    Curve("memory", "memory per session", "bytes of RSS", ["session_bytes"], LOGARITHMIC),
    Curve("cost", "broker CPU per message, {rate} messages a second", "microseconds", ["cpu_us"], LINEAR),
    Curve("flat-out", "broker CPU per message, as fast as it goes", "microseconds", ["flat_cpu_us"], LOGARITHMIC),
    Curve("latency", "latency from when a message was due, {rate} messages a second", "microseconds",
          ["p50_us", "p99_us"], LOGARITHMIC),
]


class BadData(Exception):
    """The file is not one of these."""


# ---- the file ----

def write(path, about, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(f"# {key}: {text}\n" for key, text in about.items())
        f.write("\t".join(KEYS + FIGURES) + "\n")
        for row in rows:
            f.write("\t".join([str(row[key]) for key in KEYS] + [f"{row[name]:.12g}" for name in FIGURES]) + "\n")


def read(path):
    """(about, rows)"""
    about, rows, names = {}, [], None
    if not os.path.exists(path):
        raise BadData(f"no figures at {path}: make bench-report measures them")
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            match = re.match(r"# (\w+): (.*)", line)
            cells = line.rstrip("\n").split("\t")
            if match:
                about[match[1]] = match[2]
            elif names is None:
                names = cells
            else:
                rows.append(read_row(f"{path}:{number}", cells))
    if names != KEYS + FIGURES or not rows or "rate" not in about:
        raise BadData(f"{path}: not a file of make bench-report")
    return about, rows


def read_row(where, cells):
    try:
        row = dict(zip(KEYS + FIGURES, [cells[0], int(cells[1]), int(cells[2])] + [float(c) for c in cells[3:]],
                       strict=True))
    except (ValueError, IndexError):
        raise BadData(f"{where}: not a row of {len(KEYS + FIGURES)} figures") from None
    return row


# ---- what is shown ----

def lines_of(rows):
    return list(dict.fromkeys(row["line"] for row in rows))


def points_of(rows, line):
    """Of each size of a line: (sessions, rows of its rounds)."""
    sizes = sorted({row["sessions"] for row in rows if row["line"] == line})
    return [(n, [row for row in rows if (row["line"], row["sessions"]) == (line, n)]) for n in sizes]


def script_of(curve, about, rows):
    """What gnuplot is told; the data is in it, a block for each line."""
    blocks, plots = [], []
    for line, colour in zip(lines_of(rows), COLOURS):
        for dashes, name in enumerate(curve.figures, 1):
            block = f"$b{len(blocks)}"
            points = [(n, [row[name] for row in rounds]) for n, rounds in points_of(rows, line)]
            blocks.append(f"{block} << EOD\n" + "".join(
                f"{n}\t{statistics.median(values):.4f}\t{min(values):.4f}\t{max(values):.4f}\n"
                for n, values in points) + "EOD\n")
            label = line if len(curve.figures) == 1 else f"{line}: {name.split('_', maxsplit=1)[0]}"
            plots.append(f"{block} using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.5 dt {dashes} "
                         f"lc rgb '{colour}' title '{label}'")
    return "".join(blocks) + SETTINGS.format(title=curve.title.format(**about), ylabel=curve.ylabel,
                                             scale=curve.scale, plots=", ".join(plots))


def draw(curve, about, rows, folder):
    picture = subprocess.run(["gnuplot"], input=script_of(curve, about, rows), stdout=subprocess.PIPE,
                             text=True, check=True).stdout
    path = os.path.join(folder, f"bench-{curve.name}.svg")
    with open(path, "w", encoding="utf-8") as f:
        f.write(picture)
    return path


def table_of(about, rows):
    table = [["", "sessions", "bytes each", f"CPU (us), {about['rate']} a second", "its p50 / p99 (us)",
              "CPU (us), flat out", "a second, flat out"]]
    for line in lines_of(rows):
        for sessions, rounds in points_of(rows, line):
            def figure(name, form):
                return run.spread([row[name] for row in rounds], form)
            p50, p99 = (statistics.median(row[name] for row in rounds) for name in ("p50_us", "p99_us"))
            table.append([line, f"{sessions:,}", figure("session_bytes", "{:,.0f}"), figure("cpu_us", "{:.1f}"),
                          f"{p50:,.0f} / {p99:,.0f}", figure("flat_cpu_us", "{:.2f}"),
                          figure("flat_per_second", "{:,.0f}")])
    return table


def troubles(rows):
    return [f"{row['line']}, {row['sessions']:,} sessions, round {row['round']}: {row['trouble']:,.0f} messages or "
            "connections lost, late or doubled" for row in rows if row["trouble"]]


def section_of(about, rows):
    """What stands in the page between the marks."""
    pictures = [f"![{curve.title.format(**about)}](bench-{curve.name}.svg)" for curve in CURVES]
    facts = [f"- {key}: `{text}`" for key, text in about.items()]
    table = list(run.table_lines(table_of(about, rows), True))
    trouble = [f"- {text}" for text in troubles(rows)]
    parts = ["\n".join(part) for part in (pictures, facts, table, trouble) if part]
    return BEGIN + "\n" + "\n\n".join(parts) + "\n\n" + END


def page_around(folder):
    """What stands before and after the section; None where the folder has no such page."""
    path = os.path.join(folder, PAGE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        head, begin, rest = f.read().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise BadData(f"{path}: the marks {BEGIN.strip()} and {END.strip()} are not there")
    return head, tail


def redraw(folder):
    """All that is made from the file in this folder; yields the paths."""
    about, rows = read(os.path.join(folder, DATA))
    around = page_around(folder)
    if around:
        path = os.path.join(folder, PAGE)
        with open(path, "w", encoding="utf-8") as f:
            f.write(around[0] + section_of(about, rows) + around[1])
        yield path
    for curve in CURVES:
        yield draw(curve, about, rows, folder)
