#!/usr/bin/python3
"""socket_options.py [BUILD]: what each option of a listener's sockets costs or saves, against none.

Starts the broker with one option at a time on one reactor and lets dunlin-bench connect clients and send a
message at a time back and forth; options take turns in each of ROUNDS rounds, and what is printed is the median
of the rounds. CPU is the broker's, as the kernel accounts it; kernel memory is that of both ends, by slabs and
buffers of /proc/meminfo (other work on the machine shows in it).
"""

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
ROUNDS = 5
CLIENTS = 8000
SOURCE = ["--source", "127.0.0.2-127.0.0.9"]
OPTIONS = {
    "none": "",
    "set_tcp_nodelay true": "set_tcp_nodelay true",
    "tcp_defer_accept 5": "tcp_defer_accept 5",
    "tcp_keepalive 300": "tcp_keepalive 300",
    "tcp_user_timeout 30": "tcp_user_timeout 30",
    "socket_receive_buffer 4096": "socket_receive_buffer 4096",
    "socket_send_buffer 4096": "socket_send_buffer 4096",
}
COLUMNS = {
    "connect_us": "broker CPU per connect and subscribe (us)",
    "kernel": "kernel memory per idle connection, both ends (bytes)",
    "w1_us": "CPU per message, one in flight (us)",
    "w1_p50": "its latency, p50 (us)",
    "w16_us": "CPU per message, 16 in flight (us)",
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kernel_bytes():
    text = open("/proc/meminfo").read()
    slab = int(re.search(r"^Slab:\s+(\d+)", text, re.M)[1]) * 1024
    pages = int(re.search(r"^TCP: .* mem (\d+)", open("/proc/net/sockstat").read(), re.M)[1])
    return slab + pages * os.sysconf("SC_PAGE_SIZE")


class Broker:
    def __init__(self, option):
        self.port = free_port()
        # Options of a listener stand in its section, below its line.
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous true\nreactors 1\nsys_interval 0\n{option}\n"
        with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o644)
        self.config = file.name
        self.process = subprocess.Popen([f"{BUILD}/dunlin", "-c", file.name], stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"the broker did not start with {option!r}")

    def load(self, *args):
        command = [f"{BUILD}/dunlin-bench", *args, "--port", str(self.port), "--pid", str(self.process.pid),
                   "--json", "--seconds", "1", "--warmup", "0"]
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True)
        return json.loads(out.stdout.splitlines()[-1])

    def idle_kernel_bytes(self):
        """One more run whose clients rest while the kernel's memory is looked at."""
        before = kernel_bytes()
        command = [f"{BUILD}/dunlin-bench", "connect", "--clients", str(CLIENTS), *SOURCE, "--port",
                   str(self.port), "--seconds", "3"]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most = before
        while load.poll() is None:
            most = max(most, kernel_bytes())
            time.sleep(0.1)
        return (most - before) / CLIENTS

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        os.unlink(self.config)


def measure(option):
    broker = Broker(option)
    try:
        connect = broker.load("connect", "--clients", str(CLIENTS), *SOURCE)
        one = broker.load("pairs", "--clients", "1", "--window", "1")
        many = broker.load("pairs", "--clients", "50", "--window", "16")
        kernel = broker.idle_kernel_bytes()
    finally:
        broker.stop()
    return {
        "connect_us": connect["broker"]["connect_cpu_us"],
        "kernel": kernel,
        "w1_us": one["broker"]["cpu_us"],
        "w1_p50": one["latency_us"]["p50"],
        "w16_us": many["broker"]["cpu_us"],
    }


def main():
    results = {name: [] for name in OPTIONS}
    for number in range(ROUNDS):
        for name, option in OPTIONS.items():
            results[name].append(measure(option))
            print(f"\rround {number + 1} of {ROUNDS}: {name:30}", end="", file=sys.stderr)
    print(file=sys.stderr)
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
