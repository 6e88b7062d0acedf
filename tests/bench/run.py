#!/usr/bin/python3
"""Compares Dunlin with mosquitto and with a bare relay, over the wire, in the same run.

Each scenario is run in rounds; in each round every broker is started afresh, loaded by dunlin-bench,
measured and stopped, in turn, so that whatever else the machine does falls on all of them alike.
The broker has one core and the load generator another. What is compared is the broker's CPU time
per delivered message, as ratios within a round; the table shows medians, and least to most.

Standard library only. Every process started here is ended by its id, also on errors and ^C.
"""
import argparse
import atexit
import ctypes
import datetime
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = "127.0.0.2-127.0.0.9"
BROKER_CORE, LOAD_CORE = 0, 1


class Scenario:
    """One row: what dunlin-bench is told, and what is aimed at."""

    def __init__(self, name, args, aim=None, bare=False, quick=False, kind="message", seconds=None):
        self.name, self.args, self.aim = name, args.split(), aim
        self.bare, self.quick, self.kind, self.seconds = bare, quick, kind, seconds


SCENARIOS = [
    Scenario("pairs-qos0", "pairs --clients 50 --window 16", 0.12, bare=True, quick=True),
    Scenario("pairs-qos1", "pairs --clients 50 --window 16 --qos 1", 0.09, quick=True),
    Scenario("pairs-qos2", "pairs --clients 50 --window 16 --qos 2", 0.08, quick=True),
    Scenario("pairs-qos1-v5", "pairs --clients 50 --window 16 --qos 1 --version 5", 0.09),
    Scenario("pairs-w1", "pairs --clients 50 --window 1", 1.0, bare=True, quick=True),
    Scenario("pairs-qos1-w1", "pairs --clients 50 --window 1 --qos 1", 1.0),
    Scenario("pairs-w4", "pairs --clients 50 --window 4", bare=True),
    Scenario("pairs-w64", "pairs --clients 50 --window 64", bare=True),
    Scenario("pairs-w256", "pairs --clients 50 --window 256", bare=True),
    Scenario("fanin-100", "fanin --clients 100 --window 16", 0.07, bare=True, quick=True),
    Scenario("fanin-1000", "fanin --clients 1000 --window 16", 0.07, bare=True),
    Scenario("fanin-100-topics", "fanin --clients 100 --window 16 --own-topics"),
    Scenario("fanout-500", "fanout --clients 500 --window 16", 0.085, bare=True, quick=True),
    Scenario("fanout-1000", "fanout --clients 1000 --window 16", 0.085, bare=True),
    Scenario("connect", "churn --clients 16 --no-publish", 0.5, kind="cycle"),
    Scenario("connect-publish", "churn --clients 16", 0.5, kind="cycle"),
    Scenario("ping-10k", "ping --clients 10000 --rate 20000 --source " + SOURCES, kind="ping"),
    Scenario("idle-10k", "connect --clients 10000 --source " + SOURCES, kind="idle", quick=True,
             seconds=10),
    Scenario("idle-18k", "connect --clients 18000 --source " + SOURCES, kind="idle", seconds=2),
]
HALF = Scenario("telemetry-half", "telemetry --clients 1000 --dashboards 10", kind="half", seconds=3)
SCENARIOS.append(HALF)
HALF_P99_AIM = 0.5
SATURATED_SHARE = 0.95  # a broker that delivers less of what is due has more than it can do
FIRST_RATE = 4000
TRIES = 3               # before a rate is called too high: neighbours have bad moments
SESSION_BYTES_AIM = 512
REST_PERCENT_AIM = 0.1
REACTORS_AIM = 1.15
REACTORS_SCENARIOS = ["pairs-qos0", "pairs-qos1", "pairs-w1", "fanin-100", "fanout-500"]


# ---- processes ----

started = []


def end_with_parent():
    """In the child: SIGTERM when this script dies, whatever way it dies."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def spawn(argv, core, **kwargs):
    def prepare():
        end_with_parent()
        if core is not None:
            os.sched_setaffinity(0, {core})
    process = subprocess.Popen(argv, preexec_fn=prepare, **kwargs)
    started.append(process)
    return process


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process in started:
        started.remove(process)


@atexit.register
def end_all():
    for process in list(started):
        end(process)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cores():
    """The core for the broker and that for the load; none to choose on a machine with one."""
    usable = sorted(os.sched_getaffinity(0))
    if BROKER_CORE in usable and LOAD_CORE in usable:
        return BROKER_CORE, LOAD_CORE
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


# ---- brokers ----

class Broker:
    """A program under test. A context: started on entering, stopped on leaving."""

    patience_s = 10  # until it listens

    def __init__(self, name, path, config_lines, pinned=True):
        self.name, self.path, self.config_lines, self.pinned = name, path, config_lines, pinned

    def argv(self, folder):
        config = os.path.join(folder, self.name + ".conf")
        with open(config, "w", encoding="ascii") as f:
            f.write("\n".join([f"listener {self.port} 127.0.0.1"] + self.config_lines) + "\n")
        return [self.path, "-c", config]

    def __enter__(self):
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="dunlin-bench-")
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")
        core = cores()[0] if self.pinned else None
        self.process = spawn(self.argv(self.folder.name), core, stdin=subprocess.DEVNULL,
                             stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        self.await_port()
        return self

    def await_port(self):
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.log.seek(0)
        said = self.log.read()[-2000:]
        self.__exit__()
        raise RuntimeError(f"{self.name} does not listen; it said:\n{said}")

    def __exit__(self, *_):
        end(self.process)
        self.log.close()
        self.folder.cleanup()

    def extra_args(self):
        return []


class Relay(Broker):
    """The bare relay: no configuration, and no MQTT."""

    def argv(self, folder):
        return [self.path, str(self.port)]

    def extra_args(self):
        return ["--bare"]


COMMON = ["allow_anonymous true", "set_tcp_nodelay true", "max_queued_messages 0",
          "max_inflight_messages 0", "sys_interval 0"]


def dunlin(path, reactors=1, pinned=True, name="dunlin"):
    return Broker(name, path, COMMON + [f"reactors {reactors}"], pinned)


# Without this mosquitto changes its user, and what the kernel was told of its parent is lost.
AS_ROOT = ["user root"] if os.geteuid() == 0 else []


def mosquitto(path):
    return Broker("mosquitto", path, COMMON + AS_ROOT)


# ---- measuring ----

def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K" + text)
        sys.stderr.flush()


def run_load(options, broker, scenario):
    """One run of dunlin-bench against a running broker: its JSON, or a dict with only 'error'."""
    seconds = scenario.seconds or options.seconds
    if options.quick:
        seconds = min(seconds, 2)
    argv = [options.load] + scenario.args + [
        "--port", str(broker.port), "--pid", str(broker.pid), "--json",
        "--seconds", str(seconds), "--warmup", str(1 if scenario.kind == "idle" else options.warmup)]
    argv += broker.extra_args()
    if options.gather:
        argv += ["--gather", str(options.gather)]
    if not broker.pinned:
        argv += ["--threads", "2"]
    process = spawn(argv, cores()[1] if broker.pinned else None, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=seconds + 180)
    except subprocess.TimeoutExpired:
        out, err = "", "no end of it"
    end(process)
    if process.returncode not in (0, 3) or not out.strip():
        return {"error": (err.strip() or f"exit {process.returncode}")[-300:]}
    return json.loads(out)


def run_once(options, broker, scenario):
    try:
        with broker:
            return run_load(options, broker, scenario)
    except (RuntimeError, OSError) as error:
        return {"error": str(error)}


def at_rate(options, broker, rate):
    return run_once(options, broker, Scenario(HALF.name, " ".join(HALF.args) + f" --rate {rate:.0f}",
                                              seconds=HALF.seconds))


def keeps_pace(result, rate):
    return not result.get("lost") and result.get("per_second", 0) >= SATURATED_SHARE * rate


def saturation(options, broker):
    """The highest rate, to a tenth, at which telemetry still keeps its pace; None when there is none."""
    good, bad, rate = None, None, FIRST_RATE
    while bad is None or (good and bad / good > 1.1):
        progress(f"{HALF.name}: {broker.name} at {rate:,.0f} a second")
        keeps = any(keeps_pace(at_rate(options, broker, rate), rate) for _ in range(TRIES))
        good, bad = (rate, bad) if keeps else (good, rate)
        if good is None:
            return None
        rate = good * 2 if bad is None else (good * bad) ** 0.5
    return good


def run_half(options, brokers):
    """As run_scenario(): all brokers at half of what saturates mosquitto (Dunlin, without it). The load
    tool has an end as well, so what is found for a fast broker is at least so much."""
    found = {b.name: saturation(options, b) for b in brokers}
    rates = [rate for rate in (found.get("mosquitto"), found.get("dunlin")) if rate]
    results = {b.name: [] for b in brokers}
    for number in range(options.rounds if rates else 0):
        shift = number % len(brokers)
        for broker in brokers[shift:] + brokers[:shift]:
            progress(f"{HALF.name}: round {number + 1} of {options.rounds}, {broker.name}")
            result = at_rate(options, broker, rates[0] / 2)
            results[broker.name].append({**result, "saturation": found[broker.name]})
    progress("")
    return results


def run_scenario(options, scenario, brokers):
    """All rounds of one scenario: {broker name: [result of each round]}."""
    if scenario.kind == "half":
        return run_half(options, brokers)
    results = {b.name: [] for b in brokers}
    rounds = 1 if scenario.kind == "idle" and options.quick else options.rounds
    for number in range(rounds):
        shift = number % len(brokers)
        for broker in brokers[shift:] + brokers[:shift]:
            progress(f"{scenario.name}: round {number + 1} of {rounds}, {broker.name}")
            results[broker.name].append(run_once(options, broker, scenario))
    progress("")
    return results


# ---- figures ----

def values(results, *path):
    """The figure at `path` in each round; None for rounds that failed."""
    out = []
    for result in results or []:
        for key in path:
            result = result.get(key) if isinstance(result, dict) else None
        out.append(result)
    return out


def spread(numbers, form):
    """Median, and least to most: '1.20 (1.10-1.30)'."""
    numbers = [n for n in numbers if n is not None]
    if not numbers:
        return "-"
    middle = form.format(statistics.median(numbers))
    if len(numbers) == 1:
        return middle
    return f"{middle} ({form.format(min(numbers))}-{form.format(max(numbers))})"


def ratios(above, below):
    return [a / b for a, b in zip(above, below) if a is not None and b]


def median(numbers):
    numbers = [n for n in numbers if n is not None]
    return statistics.median(numbers) if numbers else None


def verdict(number, aim):
    if aim is None:
        return ""
    if number is None:
        return f"<= {aim:g}"
    return f"<= {aim:g} {'yes' if number <= aim else 'NO'}"


def cpu(results):
    return values(results, "broker", "cpu_us")


def message_rows(rows):
    table = [["CPU per message, ping or cycle (us)", "dunlin", "mosquitto", "relay",
              "dunlin/mosquitto", "aim", "dunlin/relay"]]
    for scenario, results in rows:
        if scenario.kind in ("idle", "half"):
            continue
        ours, peer, bare = (cpu(results.get(n)) for n in ("dunlin", "mosquitto", "relay"))
        ratio = ratios(ours, peer)
        table.append([scenario.name, spread(ours, "{:.3f}"), spread(peer, "{:.3f}"),
                      spread(bare, "{:.3f}"), spread(ratio, "{:.3f}"),
                      verdict(median(ratio), scenario.aim), spread(ratios(ours, bare), "{:.2f}")])
    return table


def speed_rows(rows):
    names = ("dunlin", "mosquitto", "relay")
    table = [["rate per second; p50 / p99 (us)"] + list(names)]
    for scenario, results in rows:
        if scenario.kind in ("idle", "half"):
            continue
        line = [scenario.name]
        for name in names:
            rate = median(values(results.get(name), "per_second"))
            p50 = median(values(results.get(name), "latency_us", "p50"))
            p99 = median(values(results.get(name), "latency_us", "p99"))
            line.append("-" if rate is None else f"{rate:,.0f}; {p50:,.0f} / {p99:,.0f}")
        table.append(line)
    return table


IDLE_FIGURES = [
    ("RSS per session (bytes)", ("broker", "session_bytes"), "{:.0f}", SESSION_BYTES_AIM),
    ("CPU at rest (% of a core)", ("steps", "rest", "broker", "cpu_percent"), "{:.3f}", REST_PERCENT_AIM),
    ("CPU per connect and subscribe (us)", ("broker", "connect_cpu_us"), "{:.1f}", None),
]


def idle_rows(rows):
    table = [["sessions at rest", "dunlin", "mosquitto", "dunlin/mosquitto", "aim"]]
    for scenario, results in rows:
        if scenario.kind != "idle":
            continue
        for title, path, form, aim in IDLE_FIGURES:
            ours = values(results.get("dunlin"), *path)
            peer = values(results.get("mosquitto"), *path)
            table.append([f"{scenario.name}: {title}", spread(ours, form), spread(peer, form),
                          spread(ratios(ours, peer), "{:.2f}"), verdict(median(ours), aim)])
    return table


def half_rows(rows):
    table = [["latency at half of saturation", "dunlin", "mosquitto", "dunlin/mosquitto", "aim"]]
    for scenario, results in rows:
        if scenario.kind != "half":
            continue
        ours, peer = (values(results.get(n), "latency_us", "p99") for n in ("dunlin", "mosquitto"))
        most = [median(values(results.get(n), "saturation")) for n in ("dunlin", "mosquitto")]
        rate = median(values(results.get("dunlin"), "rate"))
        table.append([f"{scenario.name}: saturated at (a second)"]
                     + ["-" if n is None else f"{n:,.0f}" for n in most] + ["", ""])
        table.append([f"{scenario.name}: p99 (us) at {rate or 0:,.0f} a second", spread(ours, "{:.0f}"),
                      spread(peer, "{:.0f}"), spread(ratios(ours, peer), "{:.2f}"),
                      verdict(median(ratios(ours, peer)), HALF_P99_AIM)])
        late = [values(results.get(n), "late_us", "p99") for n in ("dunlin", "mosquitto")]
        table.append([f"{scenario.name}: the load tool itself was late, p99 (us)",
                      *(spread(figures, "{:.0f}") for figures in late), "", ""])
    return table


def reactors_rows(rows, reactors):
    many = f"{reactors} reactors"
    table = [["CPU per message (us)", "1 reactor", many, "ratio", "aim", "rate, 1 reactor",
              "rate, " + many]]
    for scenario, results in rows:
        one, more = results["1 reactor"], results[many]
        ratio = ratios(cpu(more), cpu(one))
        rates = [median(values(r, "per_second")) for r in (one, more)]
        table.append([scenario.name, spread(cpu(one), "{:.3f}"), spread(cpu(more), "{:.3f}"),
                      spread(ratio, "{:.2f}"), verdict(median(ratio), REACTORS_AIM)]
                     + ["-" if r is None else f"{r:,.0f}" for r in rates])
    return table


def troubles(rows):
    """What did not go as it should: one line each."""
    lines = []
    for scenario, results in rows:
        for name, rounds in results.items():
            for number, result in enumerate(rounds):
                found = [f"{key} {result[key]}" for key in
                         ("error", "lost", "duplicate", "disordered", "foreign", "refused",
                          "closed", "unacked", "unanswered", "unsent", "stalled") if result.get(key)]
                if found:
                    lines.append(f"{scenario.name}, {name}, round {number + 1}: "
                                 + ", ".join(found))
    return lines


# ---- printing ----

def table_lines(table, markdown):
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in [table[0], ["-" * width for width in widths]] + table[1:]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        yield "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()


def print_table(table, markdown):
    if len(table) > 1:
        print("\n".join(table_lines(table, markdown)) + "\n")


def said(argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=5, check=False)
        return done.stdout.strip().split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return ""


def field(path, key):
    try:
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.startswith(key):
                    return line[len(key):].strip(" \t:=\"\n")
    except OSError:
        pass
    return "?"


def surroundings_of(options, program):
    """Where, when and of what: for every report."""
    git = ["git", "-C", ROOT]
    commit = said(git + ["rev-parse", "--short", "HEAD"])
    if said(git + ["status", "--porcelain", "--untracked-files=no"]):
        commit += " with changes"
    memory = int(field("/proc/meminfo", "MemTotal").split()[0]) / 1048576
    return {
        "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        "machine": f"{field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores, "
                   f"{memory:.0f} GiB; {field('/etc/os-release', 'PRETTY_NAME')}, "
                   f"Linux {platform.release()}",
        "commit": commit,
        "command": " ".join([program] + sys.argv[1:]),
        "dunlin": said([options.dunlin, "--version"]) or "none",
    }


def surroundings(options):
    return {
        **surroundings_of(options, "tests/bench/run.py"),
        "mosquitto": said([options.mosquitto, "-h"]) or "none",
        "conditions": "unpinned" if options.reactors > 1 else
                      "broker on core %s, load on core %s" % cores(),
        "gather_us": options.gather,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def print_all(options, about, rows):
    if options.markdown:
        for key, text in about.items():
            print(f"- {key}: `{text}`")
        print()
    else:
        for key in ("machine", "commit", "dunlin", "mosquitto", "conditions"):
            print(f"{key + ':':12}{about[key]}")
        print()
    tables = ([reactors_rows(rows, options.reactors)] if options.reactors > 1 else
              [message_rows(rows), idle_rows(rows), half_rows(rows), speed_rows(rows)])
    for table in tables:
        print_table(table, options.markdown)
    for line in troubles(rows):
        print(("- " if options.markdown else "! ") + line)
    if options.markdown:
        print("Commands, each with `--port PORT --pid PID --json "
              f"--seconds {options.seconds:g} --warmup {options.warmup:g}`:\n")
        for scenario, _ in rows:
            print(f"- {scenario.name}: `dunlin-bench {' '.join(scenario.args)}`")


# ---- the whole ----

def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the main scenarios, about a minute")
    parser.add_argument("--only", default="", help="scenarios that begin so, with commas between")
    parser.add_argument("--list", action="store_true", help="names of the scenarios")
    parser.add_argument("--rounds", type=int, help="default 5; quick: 2")
    parser.add_argument("--seconds", type=float, help="measured in each run; default 2; quick 0.6")
    parser.add_argument("--reactors", type=int, default=1,
                        help="N > 1: compare N reactors with one, unpinned, without peers")
    parser.add_argument("--gather", type=int, default=0, metavar="US",
                        help="load sleeps so long before each turn: more comes at once")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="build folder")
    parser.add_argument("--dunlin", help="path of the broker; default BUILD/dunlin")
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto", path=os.environ.get(
        "PATH", "") + ":/usr/sbin") or "mosquitto")
    parser.add_argument("--json", metavar="FILE", help="everything measured")
    parser.add_argument("--markdown", action="store_true", help="ready for docs/BENCHMARKS.md")
    options = parser.parse_args()
    options.dunlin = options.dunlin or os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    options.relay = os.path.join(options.build, "tests/bench/relay")
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (0.6 if options.quick else 2)
    options.warmup = 0.3 if options.quick else 1
    return options


def choose_scenarios(options):
    wanted = [s for s in options.only.split(",") if s]
    if wanted:
        return [s for s in SCENARIOS if any(s.name.startswith(w) for w in wanted)]
    if options.reactors > 1:
        return [s for s in SCENARIOS if s.name in REACTORS_SCENARIOS]
    return [s for s in SCENARIOS if s.quick or not options.quick]


def choose_brokers(options):
    """Those that are there; says which are not."""
    if options.reactors > 1:
        return [dunlin(options.dunlin, 1, False, "1 reactor"),
                dunlin(options.dunlin, options.reactors, False, f"{options.reactors} reactors")]
    brokers = [dunlin(options.dunlin), mosquitto(options.mosquitto),
               Relay("relay", options.relay, [])]
    for broker in brokers:
        if not os.access(broker.path, os.X_OK):
            print(f"without {broker.name}: no program at {broker.path}", file=sys.stderr)
    return [b for b in brokers if os.access(b.path, os.X_OK)]


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_on_signal(*_):
    raise KeyboardInterrupt


def main():
    options = parse_options()
    if options.list:
        print("\n".join(s.name for s in SCENARIOS))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)
    if not os.access(options.load, os.X_OK):
        print(f"no load tool at {options.load}: make bench-bins", file=sys.stderr)
        return 2
    raise_descriptors()
    about = surroundings(options)
    brokers, rows, stopped = choose_brokers(options), [], False
    try:
        for scenario in choose_scenarios(options):
            fit = [b for b in brokers if scenario.bare or not isinstance(b, Relay)]
            rows.append((scenario, run_scenario(options, scenario, fit)))
    except KeyboardInterrupt:
        stopped = True
        print("stopped; the scenarios that were complete:", file=sys.stderr)
    print_all(options, about, rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"about": about, "scenarios": [
                {"name": s.name, "args": s.args, "aim": s.aim, "results": r} for s, r in rows]},
                f, indent=1)
    if stopped:
        return 130
    return 1 if any("error" in r for _, results in rows for rounds in results.values()
                    for r in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
