#!/usr/bin/python3
"""replay.py [--build BUILD] [--messages N] [--rounds N]: what a subscription to '#' over a million
retained messages does to another client of the same reactor.

Broker on core 0, clients on core 1. As root the three have real-time priorities (broker, then the
client that pings, then the reader of the million), so that what is measured is the broker and not who
of two clients the kernel lets run; else the kernel decides, and the figures say so.
"""

import argparse
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time

PAYLOAD = b"0123456789abcdef"
GAP_S = 0.0003  # between pings


def packet(kind, body):
    length, head = len(body), bytearray([kind])
    while True:
        head.append(length % 128 | (128 if length > 127 else 0))
        length //= 128
        if not length:
            return bytes(head) + body


def connect(port, name):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name))
    assert s.recv(4) == b"\x20\x02\x00\x00"
    return s


def settle_down(core, priority):
    """Pins this process; True when it got its real-time priority."""
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        return True
    except PermissionError:
        return False


def fill(port, messages):
    """Publishes the retained messages; returns how many bytes a replay of them has."""
    s, block, size = connect(port, b"fill"), bytearray(), 0
    for number in range(messages):
        topic = b"r/%07d" % number
        one = packet(0x31, struct.pack(">H", len(topic)) + topic + PAYLOAD)
        size += len(one)
        block += one
        if len(block) > 1 << 20:
            s.sendall(block)
            block.clear()
    s.sendall(block + b"\xc0\x00")
    while s.recv(2) != b"\xd0\x00":
        pass
    return size


def ping(port, seconds):
    settle_down(1, 30)
    s, took, end = connect(port, b"ping"), [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter_ns()
        s.sendall(b"\xc0\x00")
        s.recv(2)
        took.append((time.perf_counter_ns() - start) / 1000)
        time.sleep(GAP_S)
    took.sort()
    return [took[len(took) // 2], took[len(took) * 99 // 100], took[-1]]


def read_all(port, size, times):
    """Subscribes to '#' so often, reads every byte; returns seconds for each."""
    settle_down(1, 10)
    s, took = connect(port, b"reader"), []
    for _ in range(times):
        start, got = time.monotonic(), 0
        s.sendall(packet(0x82, b"\x00\x01\x00\x01#\x00"))
        while got < size + 5:
            got += len(s.recv(1 << 18))
        took.append(time.monotonic() - start)
        s.sendall(packet(0xA2, b"\x00\x02\x00\x01#"))
        s.recv(4)
    return took


def in_child(function, *arguments):
    """Runs it in a process of its own; returns how to get its list of numbers."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, " ".join(f"{x:.6f}" for x in function(*arguments)).encode())
        os._exit(0)
    os.close(writing)

    def result():
        with os.fdopen(reading) as pipe:
            numbers = [float(x) for x in pipe.read().split()]
        os.wait()
        return numbers
    return result


def start_broker(build, port):
    config = pathlib.Path(tempfile.mkdtemp()) / "replay.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nreactors 1\nsys_interval 0\n"
                      "set_tcp_nodelay true\n")
    process = subprocess.Popen([build / "dunlin", "-q", "-c", config],
                               preexec_fn=lambda: settle_down(0, 20))
    for _ in range(100):
        try:
            connect(port, b"probe").close()
            return process
        except OSError:
            time.sleep(0.05)
    sys.exit("the broker did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default="build")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18930)
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("not root: no real-time priorities, the kernel's scheduler is measured too")
    broker = start_broker(options.build.resolve(), options.port)
    size = fill(options.port, options.messages)
    for _ in range(options.rounds):
        calm = in_child(ping, options.port, 2)()
        reader = in_child(read_all, options.port, size, 3)
        busy = in_child(ping, options.port, 1.2)()
        took = reader()
        print(f"ping, us: calm p50 {calm[0]:.0f} p99 {calm[1]:.0f}; during replays p50 {busy[0]:.0f} "
              f"p99 {busy[1]:.0f}: p99 x {busy[1] / calm[1]:.2f}; {options.messages} messages in "
              f"{', '.join(f'{t:.2f}' for t in took)} s")
    broker.terminate()
    broker.wait()


if __name__ == "__main__":
    main()
