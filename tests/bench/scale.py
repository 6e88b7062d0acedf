#!/usr/bin/python3
"""N real TCP sessions in one Dunlin on this machine, both ends: what they cost, and whether it still works.

Asks `dunlin --check-host N` first whether the machine can, and says what to set where not. Then `dunlin-bench
scale` has N clients connect, subscribe to a topic of their own each, rest, publish one message each to another,
and come back after a tenth of them was cut. Where one table of descriptors cannot hold N and the limit cannot be
raised, the broker gets `reactor_descriptors private` and as many reactors as that takes, and the load tool as
many threads.

Standard library only. Every process started here is ended by its id, also on errors and ^C, and every setting
of the system that --set changed is put back.
"""
import argparse
import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time

import run

SPARE = 200             # descriptors of a table that are no client's
REACTORS_MAX = 128      # of the directive; with more sessions --check-host says what is in the way
UNEVEN = 1.25           # the kernel spreads connections over reactors by chance
CLIENTS_PER_SOURCE = 8000   # well below half of an address's ports: see dunlin-bench(1), LIMITS OF THIS MACHINE
END_S = 120             # within which the broker has seen the end of all connections
WORD_S = 15             # between two lines about progress where there is no terminal
BOTH_ENDS_BYTES = 2 * 4300 + 420 + 150  # kernel, broker and load tool, for each session
# What --set may change: ceilings, which take nothing by themselves.
SAFE = {"fs.file-max", "fs.nr_open", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog",
        "net.core.netdev_max_backlog", "net.netfilter.nf_conntrack_max", "net.ipv4.tcp_mem"}


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- how it has to be done here ----

class Plan:
    """How many reactors and threads so many sessions take, and whether each has a table of descriptors of its own."""

    def __init__(self, sessions, private=False):
        cores = len(os.sched_getaffinity(0))
        hard = raise_limit(sessions + SPARE)
        self.sessions = sessions
        self.private = private or hard < sessions + SPARE
        self.reactors = self.threads = cores
        if self.private:
            wanted = max(cores, int(sessions * UNEVEN / (hard - SPARE)) + 1)
            self.reactors, self.threads = min(wanted, REACTORS_MAX), wanted
        last = 1 + max(2, -(-sessions // CLIENTS_PER_SOURCE))
        self.sources = f"127.0.0.2-127.0.{last // 256}.{last % 256}"
        self.tables = "of each reactor" if self.private else "of the process"
        self.own_config = [f"reactors {self.reactors}"]
        if self.private:
            self.own_config.append("reactor_descriptors private")
        self.config = ["allow_anonymous true", "set_tcp_nodelay true", "sys_interval 0",
                       "connection_messages false"] + self.own_config


def raise_limit(wanted):
    """The limit of open files, raised to `wanted` if that may be; the programs started here inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# ---- whether this machine can ----

class Missing:
    """Something that the machine does not have, and the command that gives it."""

    def __init__(self, name, found, needed, command):
        self.name, self.found, self.needed, self.command = name, found, needed, command

    def __str__(self):
        return f"  {self.name}: {self.found}, needed: {self.needed}\n      {self.command}"

    def setting(self):
        """(key, value) where a sysctl that is safe to change would do."""
        match = re.match(r'sysctl -w ([a-z0-9_.-]+)="?([0-9 ]+)"?', self.command)
        return (match[1], match[2]) if match and match[1] in SAFE else None


def ask_broker(options, plan):
    """What `dunlin --check-host` says is in the way, for the broker's end."""
    with tempfile.NamedTemporaryFile("w", prefix="dunlin-scale-", encoding="ascii") as f:
        f.write("\n".join(["listener 1883 127.0.0.1"] + plan.config) + "\n")
        f.flush()
        done = subprocess.run([options.dunlin, "-c", f.name, "--check-host", str(plan.sessions)],
                              capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"dunlin --check-host failed: {done.stderr.strip()}")
    found = re.findall(r"^  NO +(\S.*?)  +(\S.*?)  +needed: (.*)\n +(\S.*?)(?:   # .*)?$",
                       done.stdout, re.M)
    return [Missing(*row) for row in found]


def ask_both_ends(plan):
    """What has to be there twice, because the clients are on this machine as well."""
    missing = []
    files, _, most = map(int, read("/proc/sys/fs/file-nr").split())
    wanted = files + 2 * plan.sessions + 10000
    if most < wanted:
        missing.append(Missing("fs.file-max, both ends", most, f">= {wanted}",
                               f"sysctl -w fs.file-max={wanted}"))
    free = int(run.field("/proc/meminfo", "MemAvailable").split()[0]) * 1024
    wanted = plan.sessions * BOTH_ENDS_BYTES
    if free < wanted:
        missing.append(Missing("memory available, both ends", f"{free / 1e6:.0f} MB",
                               f">= {wanted / 1e6:.0f} MB", "more memory, or fewer sessions"))
    return missing


def ask(options, plan):
    return ask_broker(options, plan) + ask_both_ends(plan)


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


class Settings:
    """Settings of the system, put back at the end. A context."""

    def __init__(self, folder="/proc/sys"):
        self.folder, self.before = folder, []

    def __enter__(self):
        return self

    def set(self, key, value):
        path = os.path.join(self.folder, key.replace(".", "/"))
        before = " ".join(read(path).split())
        self.write(path, value)
        self.before.append((path, before))
        say(f"set {key} = {value} (it was {before})")

    @staticmethod
    def write(path, value):
        with open(path, "w", encoding="ascii") as f:
            f.write(value)

    def __exit__(self, *_):
        for path, before in reversed(self.before):
            self.write(path, before)


def prepare(options, plan, settings, command):
    """Whether the machine can now; says what is missing, and the command that sets what may be set."""
    missing = ask(options, plan)
    if options.set:
        for key, value in filter(None, [one.setting() for one in missing]):
            settings.set(key, value)
        missing = ask(options, plan)
    if not missing:
        return True
    say(f"{plan.sessions:,} sessions and their clients do not fit on this machine:")
    say("\n".join(str(one) for one in missing))
    if any(one.setting() for one in missing) and not options.set:
        say(f"as root, this sets what is a sysctl above for as long as it runs: {command}")
    return False


# ---- what is measured ----

def cpu_ns(pid):
    tasks = f"/proc/{pid}/task"
    return sum(int(read(f"{tasks}/{tid}/schedstat").split()[0]) for tid in os.listdir(tasks))


def rss_bytes(pid):
    return int(run.field(f"/proc/{pid}/smaps_rollup", "Rss").split()[0]) * 1024


def kernel_bytes():
    """What the kernel has for itself, by kind; of the whole machine."""
    kinds = {"slab": "Slab", "page tables": "PageTables", "stacks": "KernelStack"}
    found = {kind: int(run.field("/proc/meminfo", name + ":").split()[0]) * 1024
             for kind, name in kinds.items()}
    pages = re.search(r"^TCP: .* mem (\d+)", read("/proc/net/sockstat"), re.M)
    found["socket buffers"] = int(pages[1]) * resource.getpagesize()
    return found


def cpu_percent(pid, seconds):
    start, before = time.monotonic(), cpu_ns(pid)
    time.sleep(seconds)
    return (cpu_ns(pid) - before) / 1e7 / (time.monotonic() - start)


def connections():
    """TCP sockets in use on this machine, in pairs."""
    return int(re.search(r"^TCP: inuse (\d+)", read("/proc/net/sockstat"), re.M)[1]) // 2


# ---- the run ----

def load_argv(options, plan, broker, scenario):
    return [options.load, *scenario.split(), "--threads", str(plan.threads), "--source", plan.sources,
            "--timeout", "120", "--port", str(broker.port), "--pid", str(broker.process.pid), "--json", "--hold"]


def await_report(load):
    """The line of JSON. dunlin-bench shows its progress on a terminal; elsewhere a line now and then has to do."""
    while not select.select([load.stdout], [], [], WORD_S)[0]:
        if not sys.stderr.isatty():
            say(f"  {connections():,} connections on this machine")
    line = load.stdout.readline()
    if not line:
        load.wait()
        raise RuntimeError(f"dunlin-bench ended with {load.returncode}")
    report = json.loads(line)
    if report["stopped"]:
        raise RuntimeError(f"dunlin-bench was stopped after these steps: {', '.join(report['steps'])}")
    return report


@contextlib.contextmanager
def held_load(argv, core=None):
    """dunlin-bench, whose clients stay connected after its report: (process, report)."""
    load = run.spawn(argv, core, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield load, await_report(load)
        load.stdin.close()
        load.wait(END_S)
    finally:
        run.end(load)


def measure_still(load, pid, seconds):
    """CPU of the broker while no packet comes: all are connected, and the load tool is stopped."""
    os.kill(load.pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        return cpu_percent(pid, seconds)
    finally:
        os.kill(load.pid, signal.SIGCONT)


def await_quiet(pid):
    """Until the broker has dealt with the end of all connections."""
    deadline = time.monotonic() + END_S
    while cpu_percent(pid, 1) > 2 and time.monotonic() < deadline:
        pass


def run_once(options, plan):
    """Everything measured: {"load": dunlin-bench's JSON, and more}."""
    kernel = kernel_bytes()
    with run.Broker("dunlin", options.dunlin, plan.config, pinned=False) as broker:
        pid, out = broker.process.pid, {}
        say(f"broker: {plan.reactors} reactors; clients: {plan.threads} threads, from {plan.sources}; "
            f"descriptors: {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,} {plan.tables}")
        scenario = (f"scale --clients {options.sessions} --rate {options.rate} --keepalive {options.keepalive} "
                    f"--ping-every {options.ping_every} --seconds {options.rest}")
        with held_load(load_argv(options, plan, broker, scenario)) as (load, out["load"]):
            say("all steps are done; measuring the kernel's memory and the CPU without a packet")
            out["kernel"] = {kind: n - kernel[kind] for kind, n in kernel_bytes().items()}
            out["still_percent"] = measure_still(load, pid, options.still)
        out["status"] = load.returncode
        await_quiet(pid)
        out["rss_left"] = rss_bytes(pid)
    return out


# ---- what is told ----

def figures(options, found):
    """The figures that matter, by name."""
    load, steps = found["load"], found["load"]["steps"]
    broker, back = load["broker"], steps["return"]
    return {
        "connected": steps["connect"]["count"],
        "connect_seconds": steps["connect"]["seconds"],
        "connect_cpu_us": steps["connect"]["broker"]["cpu_us"],
        "user_bytes": broker["session_bytes"],
        "kernel_bytes": sum(found["kernel"].values()) / options.sessions / 2,
        "load_bytes": load["load_bytes"],
        "still_percent": found["still_percent"],
        "rest_percent": steps["rest"]["broker"]["cpu_percent"],
        "rest_user_percent": steps["rest"]["broker"]["user_percent"],
        "rest_us": steps["rest"]["latency_us"],
        "rest_pings": steps["rest"]["per_second"],
        "message_rate": steps["messages"]["per_second"],
        "message_us": steps["messages"]["latency_us"],
        "message_cpu_us": steps["messages"]["broker"]["cpu_us"],
        "returned": back["count"],
        "return_seconds": back["seconds"],
        "return_us": back["latency_us"],
        "rss_start": broker["rss_start"],
        "rss_connected": broker["rss_connected"],
        "rss_returned": broker["rss_end"],
        "rss_left": found["rss_left"],
    }


def mb(count):
    return f"{count / 1e6:,.1f} MB"


def percentiles(latency, unit=1000, name="ms"):
    return " / ".join(f"{latency[p] / unit:,.1f}" for p in ("p50", "p99", "p999", "max")) + f" {name}"


def rows(f):
    return [
        ["", "figure"],
        ["sessions connected, each with a subscription of its own", f"{f['connected']:,}"],
        ["connected within", f"{f['connect_seconds']:.1f} s, {f['connect_cpu_us']:.0f} us of broker CPU each"],
        ["broker memory (RSS) per session", f"{f['user_bytes']:.0f} bytes"],
        ["kernel memory per session, at the broker's end", f"{f['kernel_bytes']:,.0f} bytes"],
        ["load tool memory (RSS) per connection", f"{f['load_bytes']:.0f} bytes"],
        ["CPU at rest, no packet at all", f"{f['still_percent']:.2f} % of a core"],
        [f"CPU at rest, {f['rest_pings']:,.0f} PINGREQ a second",
         f"{f['rest_percent']:.1f} % of a core, {f['rest_user_percent']:.1f} % outside of the kernel"],
        [f"latency while all are connected, {f['message_rate']:,.0f} messages a second, p50 / p99 / p99.9 / max",
         percentiles(f["message_us"])],
        ["broker CPU per message", f"{f['message_cpu_us']:.1f} us"],
        [f"{f['returned']:,} cut at once: all back within", f"{f['return_seconds']:.1f} s"],
        ["of them back after, p50 / p99 / p99.9 / max", percentiles(f["return_us"])],
        ["RSS: before / connected / after the cut / after all have left",
         " / ".join(mb(f["rss_" + when]) for when in ("start", "connected", "returned", "left"))],
    ]


def print_all(options, about, found):
    if options.markdown:
        for key in ("date", "machine", "commit", "command", "dunlin", "reactors"):
            print(f"- {key}: `{about[key]}`")
        print()
    run.print_table(rows(figures(options, found)), options.markdown)
    for line in troubles(found):
        print(("- " if options.markdown else "! ") + line)


def troubles(found):
    load = found["load"]
    names = ("lost", "duplicate", "disordered", "foreign", "unacked", "unanswered", "unsent", "refused", "closed",
             "retried", "timeouts", "timeouts_again", "stalled")
    lines = [f"{name}: {load[name]:,}" for name in names if load[name]]
    lines += [f"the step {name} did not come to its end"
              for name, step in load["steps"].items() if not step["complete"]]
    return lines


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sessions", type=int, nargs="?", default=1000000, metavar="N")
    parser.add_argument("--rest", type=float, default=30, help="seconds of rest that are measured")
    parser.add_argument("--still", type=float, default=10, help="seconds without a packet that are measured")
    parser.add_argument("--ping-every", type=float, default=60,
                        help="seconds between the PINGREQs of a client that rests")
    parser.add_argument("--keepalive", type=int, default=600,
                        help="seconds; short ones lose clients where the machine has other work")
    parser.add_argument("--rate", type=int, help="messages a second, all clients together; default: what makes "
                        "one of each in 200 seconds, but 1000 at least")
    parser.add_argument("--private", action="store_true",
                        help="a table of descriptors for each reactor, even where one would do")
    parser.add_argument("--set", action="store_true",
                        help="as root: set what is missing, as long as it is a sysctl, and put it back")
    parser.add_argument("--anyway", action="store_true", help="try, even where something is missing")
    parser.add_argument("--build", default=os.path.join(run.ROOT, "build"), help="build folder")
    parser.add_argument("--json", metavar="FILE", help="everything measured")
    parser.add_argument("--markdown", action="store_true", help="ready for docs/BENCHMARKS.md")
    options = parser.parse_args()
    options.rate = options.rate or max(1000, options.sessions // 200)
    options.dunlin = os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    if options.sessions < 10:
        parser.error("N: ten sessions at least")
    return options


def main():
    options = parse_options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run.stop_on_signal)
    with Settings() as settings:
        plan = Plan(options.sessions, options.private)
        if not prepare(options, plan, settings, f"make scale N={plan.sessions} SET=1") and not options.anyway:
            return 1
        about = run.surroundings_of(options, "tests/bench/scale.py")
        about["reactors"] = f"{plan.reactors}, with {plan.threads} threads of clients"
        try:
            found = run_once(options, plan)
        except (RuntimeError, OSError, KeyboardInterrupt) as error:
            say(f"scale: {error or 'stopped'}")
            return 1
    print_all(options, about, found)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"about": about, "figures": figures(options, found), **found}, f, indent=1)
    return 3 if found["status"] or troubles(found) else 0


if __name__ == "__main__":
    sys.exit(main())
