#!/usr/bin/python3
"""Compares Dunlin with every other MQTT broker that is installed, over the wire, in the same run.

As run.py: each broker is started afresh for each run, in turn, with a folder and a port of its own, on one
core; the load has another. What a broker costs is the CPU time of all its threads and of all processes below
it. A broker that cannot do a scenario, or loses something in it, has no figure there; the reason stands below.

What is not installed is left out, and said with how to get it. Nothing is installed here, no service is used or
stopped: brokers run from their programs, in the foreground, and are ended with whatever they started.
Standard library only.
"""
import argparse
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import run

SCENARIOS = [
    run.Scenario("pairs-qos0", "pairs --clients 50 --window 16"),
    run.Scenario("pairs-qos1", "pairs --clients 50 --window 16 --qos 1"),
    run.Scenario("pairs-qos2", "pairs --clients 50 --window 16 --qos 2"),
    run.Scenario("pairs-w1", "pairs --clients 50 --window 1"),
    run.Scenario("fanin-100", "fanin --clients 100 --window 16"),
    run.Scenario("fanout-500", "fanout --clients 500 --window 16"),
    run.Scenario("idle-5k", "connect --clients 5000 --source " + run.SOURCES, kind="idle", seconds=2),
]
SPOILS = ("lost", "refused", "closed", "unacked")  # a figure with one of these compares nothing
ERLANG_FLAGS = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"  # one core, and no waiting in circles
JAVA = "/usr/share/java"


# ---- processes ----

def parents():
    """{process: its parent}, of all there are."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                fields = f.read()
        except OSError:
            continue
        found[int(fields.split(" ", 1)[0])] = int(fields.rsplit(")", 1)[1].split()[1])
    return found


def tree(pid):
    """The process and all below it."""
    above, found = parents(), {pid}
    while True:
        more = {child for child, parent in above.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu_ns(pid):
    """Of all its threads; 0 when it is gone."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path, encoding="ascii") as f:
                total += int(f.read().split()[0])
        except OSError:
            pass
    return total


def rss_bytes(pid):
    kb = run.field(f"/proc/{pid}/smaps_rollup", "Rss:").split()[0]
    return int(kb) * 1024 if kb.isdigit() else 0


def end_tree(process):
    """All of it at once: what they would write on leaving, nobody reads."""
    below = tree(process.pid) if process.poll() is None else {process.pid}
    for pid in below - {process.pid}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.end(process)


# ---- peers ----

def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")


class Peer(run.Broker):
    """A broker that somebody else made. A context, as its base is."""

    patience_s = 90
    label, get = "", ""  # what it is called; how a user comes to it
    login = None         # name and password, for those that want one

    def __init__(self, options):
        super().__init__(self.label, self.program(options), [])
        self.beside = []  # processes that it needs, started before it

    def program(self, _):
        """Path of what must be there; None when it is not installed."""
        return find(self.label)

    def version(self):
        return run.said([self.path, "--version"])

    def command(self, folder):
        """(argv, what it needs in the environment); self.port is where it is to listen."""
        raise NotImplementedError

    def argv(self, folder):
        argv, environment = self.command(folder)
        environment = {"HOME": folder, "ERL_CRASH_DUMP_SECONDS": 0, **environment}
        return ["/usr/bin/env", *(f"{k}={v}" for k, v in environment.items()), *argv]

    def extra_args(self):
        return ["--username", self.login, "--password", self.login] if self.login else []

    def await_port(self):
        super().await_port()
        self.pid = max(tree(self.process.pid), key=cpu_ns)  # behind shells and the like

    def __exit__(self, *_):
        end_tree(self.process)
        while self.beside:
            run.end(self.beside.pop())
        super().__exit__()


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    return path


class Mosquitto(Peer):
    label, get = "mosquitto", "apt-get install mosquitto"

    def program(self, options):
        return find(options.mosquitto)

    def version(self):
        return run.said([self.path, "-h"])

    def command(self, folder):
        lines = [f"listener {self.port} 127.0.0.1"] + run.COMMON + run.AS_ROOT
        return [self.path, "-c", write(folder, "mosquitto.conf", "\n".join(lines) + "\n")], {}


class RabbitMQ(Peer):
    """With its MQTT plugin. It would start an Erlang port mapper that stays: it is given one that does not."""

    label, get = "rabbitmq", "apt-get install rabbitmq-server"

    def program(self, _):
        path = "/usr/lib/rabbitmq/bin/rabbitmq-server"
        return path if os.access(path, os.X_OK) and find("epmd") else None

    def version(self):
        found = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
        return os.path.basename(found[0]) if found else ""

    def command(self, folder):
        config = write(folder, "rabbitmq.conf", "\n".join([
            "listeners.tcp = none", f"mqtt.listeners.tcp.default = 127.0.0.1:{self.port}",
            "mqtt.allow_anonymous = true", "mqtt.prefetch = 65535", "mqtt.tcp_listen_options.nodelay = true",
            "log.console = false", "log.file.level = error"]) + "\n")
        mapper, nodes = run.free_port(), run.free_port()
        self.beside.append(run.spawn([find("epmd"), "-address", "127.0.0.1", "-port", str(mapper)], run.cores()[0],
                                     stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log))
        return [self.path], {
            "ERL_EPMD_PORT": mapper, "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_DIST_PORT": nodes,
            "RABBITMQ_NODENAME": "bench@localhost", "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_ENABLED_PLUGINS_FILE": write(folder, "enabled_plugins", "[rabbitmq_mqtt].\n"),
            "RABBITMQ_MNESIA_BASE": folder, "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                ERLANG_FLAGS + " -kernel inet_dist_use_interface {127,0,0,1}"}


class Ejabberd(Peer):
    """Its MQTT module alone, without the rest of it, as a node that talks to no other."""

    label, get = "ejabberd", "apt-get install ejabberd"
    login = "bench"  # any name will do, with any password

    def program(self, _):
        found = glob.glob("/usr/lib/*/ejabberd-*/ebin")
        return found[0] if found and find("erl") else None

    def version(self):
        return os.path.basename(os.path.dirname(self.path))

    def command(self, folder):
        config = write(folder, "ejabberd.yml", f"""
hosts: [localhost]
loglevel: error
auth_method: anonymous
anonymous_protocol: login_anon
allow_multiple_connections: true
listen:
  - {{port: {self.port}, ip: "127.0.0.1", module: mod_mqtt, backlog: 1024, max_payload_size: infinity}}
modules:
  mod_mqtt:
    max_queue: unlimited
    access_publish: {{"#": [{{allow: all}}]}}
    access_subscribe: {{"#": [{{allow: all}}]}}
""")
        return [find("erl"), *ERLANG_FLAGS.split(), "+K", "true", "+P", "250000", "+Q", "65536", "-noinput",
                "-mnesia", "dir", f'"{folder}"', "-s", "ejabberd"], {
            "EJABBERD_CONFIG_PATH": config, "EJABBERD_LOG_PATH": os.path.join(folder, "ejabberd.log"),
            "SPOOL_DIR": folder, "ERL_LIBS": os.path.dirname(os.path.dirname(self.path))}


class Nats(Peer):
    label, get = "nats-server", "apt-get install nats-server"

    def command(self, folder):
        config = write(folder, "nats.conf", f"""
server_name: bench
host: 127.0.0.1
port: {run.free_port()}
jetstream {{ store_dir: "{folder}/store" }}
mqtt {{ host: 127.0.0.1, port: {self.port}, max_ack_pending: 65535 }}
""")
        return [self.path, "-c", config], {}


class ActiveMQ(Peer):
    label, get = "activemq", "apt-get install --no-install-recommends libactivemq-java libmqtt-client-java"

    def program(self, _):
        there = all(os.path.exists(f"{JAVA}/{jar}.jar") for jar in ("activemq-mqtt", "mqtt-client"))
        return find("java") if there else None

    def version(self):
        return re.sub(r".*/(.*)\.jar", r"\1", (glob.glob(JAVA + "/activemq-mqtt-[0-9]*.jar") + [""])[0])

    def command(self, folder):
        uri = f"broker:(mqtt+nio://127.0.0.1:{self.port})?persistent=false&useJmx=false&brokerName=bench"
        return [self.path, f"-Djava.io.tmpdir={folder}", f"-Dactivemq.data={folder}", "-cp", JAVA + "/*",
                "org.apache.activemq.console.command.ShellCommand", "start", uri], {}


class Node(Peer):
    """A broker that is a package of Node's: loaded by a few lines of script."""

    script = ""

    def program(self, options):
        self.package = os.path.join(os.path.abspath(options.node_modules), self.label)
        return find("node") if os.path.exists(os.path.join(self.package, "package.json")) else None

    def version(self):
        with open(os.path.join(self.package, "package.json"), encoding="utf-8") as f:
            return f"{self.label} {json.load(f)['version']}, node {run.said([self.path, '--version'])}"

    def command(self, folder):
        script = self.script.replace("PACKAGE", json.dumps(self.package)).replace("PORT", str(self.port))
        return [self.path, write(folder, "broker.cjs", script)], {}


class Aedes(Node):
    label, get = "aedes", "npm install aedes; --node-modules DIR/node_modules"
    script = """
const path = require('path'), net = require('net'), root = PACKAGE;
const entry = JSON.parse(require('fs').readFileSync(path.join(root, 'package.json')));
const main = entry.exports ? entry.exports['.'].default : entry.main;
import(path.join(root, main)).then(async ({ Aedes }) => {
  const broker = await Aedes.createBroker();
  net.createServer({ noDelay: true }, broker.handle).listen({ port: PORT, host: '127.0.0.1', backlog: 1024 });
});
"""


PEERS = [Mosquitto, RabbitMQ, Ejabberd, Nats, ActiveMQ, Aedes]


# ---- measuring ----

def receive(connection, number):
    data = b""
    while len(data) < number:
        more = connection.recv(number - len(data))
        if not more:
            raise OSError("the broker closed the connection")
        data += more
    return data


def granted(broker, qos):
    """What a subscription that asks for `qos` is given: some brokers grant less, and deliver with less."""
    login = [broker.login] * 2 if getattr(broker, "login", None) else []
    texts = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in ["peerqos"] + login)
    connect = b"\x00\x04MQTT\x04" + (b"\xc2" if login else b"\x02") + b"\x00\x3c" + texts
    with socket.create_connection(("127.0.0.1", broker.port), 10) as connection:
        connection.sendall(b"\x10" + bytes([len(connect)]) + connect)
        code = receive(connection, 4)[3]
        if code != 0:
            raise OSError(f"CONNECT is refused with code {code}")
        connection.sendall(b"\x82\x09\x00\x01\x00\x04peer" + bytes([qos]))
        code = receive(connection, 5)[4]
        connection.sendall(b"\xe0\x00")
    return code


def asked_qos(scenario):
    return int(scenario.args[scenario.args.index("--qos") + 1]) if "--qos" in scenario.args else 0


def add_others(result, before, after, pid, clients):
    """What the processes beside `pid` used, as a share of what it used; their memory, per client."""
    grown = {p: tuple(now - then for now, then in zip(used, before.get(p, (0, 0)))) for p, used in after.items()}
    mine, others = grown.pop(pid)[0], sum(cpu for cpu, _ in grown.values())
    broker = result["broker"]
    if mine > 0 and broker.get("cpu_us") is not None:
        broker["cpu_us"] *= 1 + others / mine
    if broker.get("session_bytes") is not None:
        broker["session_bytes"] += sum(rss for _, rss in grown.values()) / clients


def usage(broker):
    roots = [broker.process] + getattr(broker, "beside", [])
    return {pid: (cpu_ns(pid), rss_bytes(pid)) for root in roots for pid in tree(root.pid)}


def load(options, broker, scenario):
    """As run.run_load(), of all that the broker is; 'error' says what it cannot."""
    qos = asked_qos(scenario)
    code = granted(broker, qos)
    if code != qos:
        return {"error": f"no QoS {qos}: a subscription to it is granted {code}"}
    before = usage(broker)
    result = run.run_load(options, broker, scenario)
    after = usage(broker)
    if broker.process.poll() is not None or broker.pid not in after:
        return {"error": "it ended under the load"}
    if "error" not in result:
        add_others(result, before, after, broker.pid, result["clients"])
    return result


def measure(options, broker, scenario):
    try:
        with broker:
            return load(options, broker, scenario)
    except (RuntimeError, OSError) as error:
        return {"error": " ".join(str(error).split())[-300:]}


def figure(scenario, result):
    """None where there is nothing to compare."""
    key = "session_bytes" if scenario.kind == "idle" else "cpu_us"
    return None if reason(scenario, result) else result["broker"][key]


def reason(scenario, result):
    """Why a run counts for nothing; empty when it does."""
    if "error" in result:
        return result["error"]
    found = [f"{key} {result[key]:,}" for key in SPOILS if result.get(key)]
    if scenario.kind == "idle" and result["connected"] < result["clients"]:
        found.append(f"{result['connected']:,} of {result['clients']:,} connected")
    if scenario.kind != "idle" and not result["steps"]["run"]["count"]:
        found.append("nothing came in the measured time")
    return ", ".join(found)


def run_all(options, brokers, scenarios):
    """[(scenario, {broker: [result of each round]})]; ^C ends it with what is complete."""
    rows = []
    try:
        for scenario in scenarios:
            results = {b.name: [] for b in brokers}
            for number in range(options.rounds):
                shift = number % len(brokers)
                for broker in brokers[shift:] + brokers[:shift]:
                    run.progress(f"{scenario.name}: round {number + 1} of {options.rounds}, {broker.name}")
                    results[broker.name].append(measure(options, broker, scenario))
            rows.append((scenario, results))
    except KeyboardInterrupt:
        print("stopped; the scenarios that were complete:", file=sys.stderr)
    run.progress("")
    return rows


# ---- printing ----

def title(scenario):
    return f"{scenario.name}: bytes per session" if scenario.kind == "idle" else scenario.name


def figure_rows(rows, names):
    table = [["CPU per delivered message (us)"] + names]
    for scenario, results in rows:
        form = "{:,.0f}" if scenario.kind == "idle" else "{:.2f}"
        table.append([title(scenario)] + [run.spread([figure(scenario, r) for r in results[n]], form) for n in names])
    return table


def ratio_rows(rows, names):
    table = [["dunlin's, as a share of"] + names[1:]]
    for scenario, results in rows:
        ours, *others = ([figure(scenario, r) for r in results[n]] for n in names)
        table.append([title(scenario)] + [run.spread(run.ratios(ours, other), "{:.3f}") for other in others])
    return table


def reasons(rows):
    for scenario, results in rows:
        for name, rounds in results.items():
            said = [reason(scenario, r) for r in rounds]
            for text in dict.fromkeys(filter(None, said)):
                yield f"{name}, {scenario.name}, {said.count(text)} of {len(rounds)} rounds: {text}"


def print_all(options, about, rows, names):
    for key, text in about.items():
        print(f"- {key}: `{text}`" if options.markdown else f"{key + ':':13}{text}")
    print()
    if rows:
        for table in (figure_rows(rows, names), ratio_rows(rows, names)):
            if len(table[0]) > 1:
                run.print_table(table, options.markdown)
    for line in reasons(rows):
        print(("- " if options.markdown else "! ") + line)


# ---- the whole ----

def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one round, short: a try-out")
    parser.add_argument("--only", default="", help="scenarios that begin so, with commas between")
    parser.add_argument("--peers", default="", metavar="NAMES", help="only these, with commas between")
    parser.add_argument("--list", action="store_true", help="names of scenarios and peers, and which are there")
    parser.add_argument("--rounds", type=int, help="default 3; quick: 1")
    parser.add_argument("--seconds", type=float, help="measured in each run; default 2; quick 0.6")
    parser.add_argument("--node-modules", default="node_modules", metavar="DIR",
                        help="where npm put its packages; default ./node_modules")
    parser.add_argument("--build", default=os.path.join(run.ROOT, "build"), help="build folder")
    parser.add_argument("--mosquitto", default="mosquitto", help="its program")
    parser.add_argument("--json", metavar="FILE", help="everything measured")
    parser.add_argument("--markdown", action="store_true", help="ready for docs/BENCHMARKS.md")
    options = parser.parse_args()
    options.dunlin = os.path.join(options.build, "dunlin")
    options.load = os.path.join(options.build, "dunlin-bench")
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.6 if options.quick else 2)
    options.warmup, options.gather = (1 if options.quick else 4), 0  # some compile while they run
    names = [p.label for p in PEERS]
    for name in filter(None, options.peers.split(",")):
        if name not in names:
            parser.error(f"--peers: no {name}; there are {', '.join(names)}")
    options.scenarios = chosen(SCENARIOS, options.only, lambda s, word: s.name.startswith(word))
    if not options.scenarios:
        parser.error(f"--only: no such scenario; there are {', '.join(s.name for s in SCENARIOS)}")
    return options


def chosen(things, words, fits):
    words = [w for w in words.split(",") if w]
    return [t for t in things if not words or any(fits(t, w) for w in words)]


def installed(options):
    """The peers that are there; says of each that is not how to get it."""
    found = []
    for kind in chosen(PEERS, options.peers, lambda p, word: p.label == word):
        peer = kind(options)
        if peer.path:
            found.append(peer)
        else:
            print(f"without {peer.name}: {peer.get}", file=sys.stderr)
    return found


def main():
    options = parse_options()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, run.stop_on_signal)
    peers = installed(options)
    if options.list:
        print("\n".join([s.name for s in options.scenarios] + [p.name for p in peers]))
        return 0
    for path in (options.dunlin, options.load):
        if not os.access(path, os.X_OK):
            print(f"no program at {path}: make", file=sys.stderr)
            return 2
    run.raise_descriptors()
    brokers = [run.dunlin(options.dunlin)] + peers
    about = run.surroundings_of(options, "tests/bench/peers.py")
    about.update({p.name: p.version() for p in peers})
    about["conditions"] = "broker on core %s, load on core %s" % run.cores()
    begun = time.monotonic()
    rows = run_all(options, brokers, options.scenarios)
    about["minutes"] = f"{(time.monotonic() - begun) / 60:.0f}"
    print_all(options, about, rows, [b.name for b in brokers])
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"about": about, "scenarios": [
                {"name": s.name, "args": s.args, "results": r} for s, r in rows]}, f, indent=1)
    if len(rows) < len(options.scenarios):
        return 130
    return 1 if any(reason(s, r) for s, results in rows for r in results["dunlin"]) else 0


if __name__ == "__main__":
    sys.exit(main())
