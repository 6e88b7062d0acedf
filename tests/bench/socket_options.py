#!/usr/bin/python3
"""socket_options.py [BUILD]: what each option of a listener's sockets costs or saves, against none.

Starts the broker with one option at a time on one reactor and lets dunlin-bench connect clients and send a
message at a time back and forth; options take turns in each of ROUNDS rounds, and what is printed is the median
of the rounds, in brackets the lowest and the highest. CPU is the broker's, as the kernel accounts it; kernel memory is
that of both ends, counted for the whole machine: let nothing else connect meanwhile.
"""

import json
import statistics
import subprocess
import sys
import time

import run
import scale

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
ROUNDS = 5
CLIENTS = 8000
SOURCE = ["--source", "127.0.0.2-127.0.0.9"]
OPTIONS = ("set_tcp_nodelay true", "tcp_defer_accept 5", "tcp_keepalive 300", "tcp_user_timeout 30",
           "socket_receive_buffer 4096", "socket_send_buffer 4096")
COLUMNS = {
    "connect_us": "broker CPU per connect and subscribe (us)",
    "kernel": "kernel memory per idle connection, both ends (bytes)",
    "w1_us": "CPU per message, one in flight (us)",
    "w1_p50": "its latency, p50 (us)",
    "w16_us": "CPU per message, 16 in flight (us)",
}


def load_argv(broker, *args):
    return [f"{BUILD}/dunlin-bench", *args, "--port", str(broker.port)]


def load(broker, *args):
    """What came of a load of a second."""
    out = subprocess.run(load_argv(broker, *args, "--pid", str(broker.process.pid), "--json", "--seconds", "1",
                                   "--warmup", "0"), stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(out.stdout)


def idle_kernel_bytes(broker):
    """Once more, and the kernel's memory is looked at while the clients rest."""
    before = most = sum(scale.kernel_bytes().values())
    clients = subprocess.Popen(load_argv(broker, "connect", "--clients", str(CLIENTS), *SOURCE, "--seconds", "3"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while clients.poll() is None:
        most = max(most, sum(scale.kernel_bytes().values()))
        time.sleep(0.1)
    return (most - before) / CLIENTS


def measure(lines):
    # Options of a listener stand in its section, below its line.
    config = ["allow_anonymous true", "reactors 1", "sys_interval 0", *lines]
    with run.Broker("dunlin", f"{BUILD}/dunlin", config, pinned=False) as broker:
        connect = load(broker, "connect", "--clients", str(CLIENTS), *SOURCE)
        one = load(broker, "pairs", "--clients", "1", "--window", "1")
        many = load(broker, "pairs", "--clients", "50", "--window", "16")
        kernel = idle_kernel_bytes(broker)
    return {
        "connect_us": connect["broker"]["connect_cpu_us"],
        "kernel": kernel,
        "w1_us": one["broker"]["cpu_us"],
        "w1_p50": one["latency_us"]["p50"],
        "w16_us": many["broker"]["cpu_us"],
    }


def main():
    results = {name: [] for name in ("none", *OPTIONS)}
    for number in range(ROUNDS):
        for name, found in results.items():
            run.progress(f"round {number + 1} of {ROUNDS}: {name}")
            found.append(measure([] if name == "none" else [name]))
    print("| option | " + " | ".join(COLUMNS.values()) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, rounds in results.items():
        cells = []
        for key in COLUMNS:
            values = [r[key] for r in rounds]
            digits = 0 if key in ("kernel", "w1_p50") else 2
            low, middle, high = (f"{f(values):,.{digits}f}" for f in (min, statistics.median, max))
            cells.append(f"{middle} ({low}-{high})")
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
