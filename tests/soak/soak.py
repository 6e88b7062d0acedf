#!/usr/bin/python3
"""soak.py [--minutes M] [--seed N] PROGRAM: hours of bad company in minutes, and nothing may be left of it.

A broker of two reactors is started with the machine's own clock. Four threads of clients come and go: clean and
dirty ends, takeovers, subscriptions of all kinds, retained messages set and cleared, wills, each QoS, readers that
are slow or never acknowledge, sessions that end soon, requests of admins, malformed packets; meanwhile the broker
is told to reload. Each client that behaves holds what it gets against the standard (conformance/client.py).

Time is cut into cycles. After each all clients go, retained messages are cleared, sessions end, and these must be
back where they were before the first: sessions, subscriptions, retained and stored messages, descriptors. Stored bytes may differ by the
digits of the figures below $SYS, which are retained messages themselves. Counted memory (`heap/current`) must be within 256 KiB of what it was after the first cycle: pools and tables keep
some room. RSS must be within 10 % of the same mark at the end, but only of a broker without sanitizer: theirs
is mostly shadow memory and freed blocks that are kept from being used again, so it says nothing of the broker, and
what is lost they report themselves (leaks at the exit, under AddressSanitizer). At last SIGTERM: the exit status
is 0, and nothing in the log speaks of trouble.

The seed decides what each thread does, not how the threads meet; the same seed makes a similar run.
"""

import argparse
import os
import pathlib
import random
import signal
import socket
import sys
import threading
import time
import traceback

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "conformance"))

THREADS = 4
POOL = 24  # clients of a thread
CYCLE_S = 45
LOOK_S = 5
HEAP_SLACK = 256 << 10
RETURN_S = 40
WATCHED = ("clients/total", "subscriptions/count", "shared_subscriptions/count", "retained messages/count",
           "store/messages/count")
BYTES_SLACK = 1000
CONFIGS = ({"max_queued_messages": 300}, {"max_queued_messages": 40, "queue_policy": "drop_oldest"},
           {"max_queued_messages": 60, "queue_policy": "disconnect", "share_policy": "sticky"},
           {"max_inflight_messages": 3, "queue_qos0_messages": "true", "allow_duplicate_messages": "false"})
BASE = {"reactors": 2, "sys_interval": 1, "persistent_client_expiration": "4s", "connection_messages": "false",
        "log_type": ["error", "warning"]}
SIZES = (0, 2, 20, 200, 3000, 40000)


class Thread(threading.Thread):
    """Some clients, and what they do until `stop` is set."""

    def __init__(self, address, seed, number, stop):
        super().__init__(daemon=True)
        self.address, self.stop, self.rng = address, stop, random.Random(f"{seed}/{number}")
        self.name = f"w{number}"
        self.pool, self.silent = {}, []  # by client id; sockets that nobody reads
        self.counts, self.failure = {}, None
        actions = {self.come: 14, self.leave: 10, self.subscribe: 14, self.unsubscribe: 6, self.publish: 40,
                   self.retain: 10, self.take_over: 6, self.read_slowly: 2, self.never_acknowledge: 3,
                   self.admin: 5, self.watch_sessions: 1, self.malformed: 6, self.read: 30}
        self.actions, self.weights = list(actions), list(actions.values())

    def run(self):
        try:
            while not self.stop.is_set():
                action, = self.rng.choices(self.actions, self.weights)
                self.counts[action.__name__] = self.counts.get(action.__name__, 0) + 1
                self.attempt(action)
        except Exception:
            self.failure = traceback.format_exc()
        finally:
            for client in [*self.pool.values(), *self.silent]:
                client.close()

    def attempt(self, action):
        """Does it; a client that the broker had closed meanwhile, by policy or by an admin, is forgotten."""
        client = self.any()
        try:
            action(client)
        except clients.Closed:
            self.forget(client)
        except clients.codec.Malformed as fault:
            if "ended inside a packet" not in str(fault):
                raise  # else it was closed with output that did not fit into the socket
            self.forget(client)

    def any(self):
        return self.pool[self.rng.choice(list(self.pool))] if self.pool else None

    def forget(self, client):
        if client:
            client.close()
            self.pool = {name: other for name, other in self.pool.items() if other is not client}

    # ---- coming and going

    def connect(self, client_id):
        rng = self.rng
        version = rng.choice((5, 5, 4, 3))
        props = {}
        if version == 5:
            props = {"session_expiry": rng.choice((0, 1, 2, 3)), "receive_max": rng.choice((2, 10, 100)),
                     "topic_alias_max": rng.choice((0, 5))}
        will = None
        if rng.random() < 0.4:
            will = {"topic": self.topic(), "payload": b"gone", "qos": rng.randrange(3),
                    "retain": rng.random() < 0.2}
            if version == 5:
                will["props"] = {"will_delay": rng.choice((0, 1))}
        return clients.Client(self.address, client_id, version, clean=version == 3 or rng.random() < 0.5,
                              keepalive=rng.choice((0, 60)), props=props, will=will)

    def come(self, _):
        if len(self.pool) >= POOL:
            return
        client_id = f"{self.name}/{self.rng.randrange(POOL * 2)}"
        if client_id not in self.pool:
            self.pool[client_id] = self.connect(client_id)

    def leave(self, client):
        if not client:
            return
        how = self.rng.randrange(4)
        self.pool = {name: other for name, other in self.pool.items() if other is not client}
        if how == 0:
            client.send(clients.codec.disconnect(client.version))
        if how == 1:
            client.reset()
        elif how == 2:
            self.silent.append(client.sock)  # it is never closed, and never heard of again
        else:
            client.close()
        while len(self.silent) > 8:
            self.silent.pop(0).close()

    def take_over(self, client):
        if not client or not client.client_id:
            return
        fresh = self.connect(client.client_id)
        client.close()
        self.pool[client.client_id] = fresh

    # ---- messages

    def topic(self):
        return f"soak/{self.rng.randrange(6)}/{self.rng.randrange(6)}"

    def filter(self):
        rng = self.rng
        return rng.choice((self.topic(), f"soak/+/{rng.randrange(6)}", f"soak/{rng.randrange(6)}/#",
                           f"$share/g{rng.randrange(3)}/soak/+/{rng.randrange(6)}", f"own/{rng.randrange(99)}"))

    def subscribe(self, client):
        if not client:
            return
        options = self.rng.randrange(3)
        filters = [self.filter() for _ in range(self.rng.choice((1, 1, 3, 60)))]
        client.subscribe(*filters, qos=options)

    def unsubscribe(self, client):
        if client:
            filters = [self.filter() for _ in range(self.rng.choice((1, 5, 40)))]
            client.unsubscribe(*filters, codes=Any())

    def publish(self, client):
        if not client:
            return
        size = self.rng.choice(SIZES)
        props = {"message_expiry": 2} if client.version == 5 and self.rng.random() < 0.3 else None
        client.publish(self.topic(), b"x" * size, self.rng.randrange(3), props=props)

    def retain(self, client):
        if client:
            payload = b"kept" * self.rng.choice((0, 0, 1, 300))
            client.publish(f"soak/{self.rng.randrange(6)}/kept{self.rng.randrange(40)}", payload,
                           self.rng.randrange(3), retain=True)

    def read(self, client):
        """Takes what there is, and acknowledges it."""
        if not client:
            return
        while client._read(time.monotonic() + 0.001) and not client.eof:
            pass
        inbox, client.inbox = client.inbox, []
        for packet in inbox:
            if packet.kind == "PUBLISH" and packet.qos:
                (client.puback if packet.qos == 1 else client.pubrec)(packet.id)
            elif packet.kind == "PUBREL":
                client.pubcomp(packet.id)
        if client.eof:
            raise clients.Closed("closed")

    # ---- bad company

    def stray(self, data, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(clients.WAIT_S)
        sock.connect(self.address)
        sock.sendall(data)
        self.silent.append(sock)
        while len(self.silent) > 8:
            self.silent.pop(0).close()

    def read_slowly(self, _):
        codec, name = clients.codec, f"{self.name}/slow{self.rng.randrange(3)}"
        self.stray(codec.connect(5, name, props={"session_expiry": 2}) +
                   codec.subscribe(5, 1, [("soak/#", self.rng.randrange(3))]), 4096)

    def never_acknowledge(self, _):
        codec, name = clients.codec, f"{self.name}/mute{self.rng.randrange(3)}"
        self.stray(codec.connect(4, name, clean=False) + codec.subscribe(4, 1, [("soak/#", 2)]) +
                   codec.publish(4, "soak/1/1", b"half", 2, 7))

    def malformed(self, _):
        codec, rng = clients.codec, self.rng
        packets = [codec.connect(rng.choice((3, 4, 5)), f"{self.name}/bad"), codec.subscribe(5, 1, [("#", 1)]),
                   codec.publish(5, "soak/1/1", b"x" * 50, 1, 5), codec.pingreq(), codec.disconnect(5)]
        data = bytearray(b"".join(packets[:rng.randrange(1, 6)]))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        if rng.random() < 0.2:
            data = rng.randbytes(200)
        self.stray(bytes(data[:rng.randrange(1, len(data) + 1)]))

    # ---- admins

    def admin(self, client):
        if not client:
            return
        rng, victim = self.rng, f"{self.name}/{self.rng.randrange(POOL * 2)}"
        command = rng.choice(('"listSessions","limit":20', '"countSessions","state":"connected"',
                              f'"getSession","clientId":"{victim}"', f'"disconnectSession","clientId":"{victim}"',
                              f'"deleteSession","clientId":"{victim}"'))
        client.publish("$CONTROL/sessions/v1", '{"commands":[{"command":%s}]}' % command, 1)

    def watch_sessions(self, client):
        if client:
            client.subscribe("$SYS/broker/sessions/#", qos=1)
            client.unsubscribe("$SYS/broker/sessions/#")


class Any:
    """Equal to every list of codes."""

    def __eq__(self, other):
        return True


class Watcher:
    """What the broker and the kernel say of it."""

    def __init__(self, broker):
        self.broker = broker
        self.client = clients.Client(broker.address, "watcher", 5)
        self.client.subscribe("$SYS/broker/+/+", "$SYS/broker/+/+/+", "$SYS/broker/+")
        self.figures = {}

    def look(self):
        """The newest figures, after one more round of them."""
        rounds, client = 0, self.client
        deadline = time.monotonic() + clients.WAIT_S
        while rounds < 2:
            packet = client.next(max(0.1, deadline - time.monotonic()))
            assert packet and packet.kind == "PUBLISH", f"the watcher got {packet}"
            name = packet.topic.removeprefix("$SYS/broker/")
            rounds += name == "uptime" and not packet.retain
            self.figures[name] = packet.payload.decode()
        got = {name: int(self.figures[name]) for name in WATCHED}
        got["descriptors"] = self.broker.descriptors()
        return got

    def stored_bytes(self):
        return int(self.figures["store/messages/bytes"])

    def heap(self):
        return int(self.figures["heap/current"])

    def rss_kb(self):
        text = pathlib.Path(f"/proc/{self.broker.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    def line(self, got):
        return (f"sessions {got['clients/total']:4} subscriptions {got['subscriptions/count']:5} "
                f"retained {got['retained messages/count']:4} stored {got['store/messages/count']:6} "
                f"heap {self.heap() >> 10:6} KiB  RSS {self.rss_kb():7} KiB  descriptors {got['descriptors']:3}  "
                f"received {self.figures['publish/messages/received']} sent {self.figures['publish/messages/sent']} "
                f"dropped {self.figures['publish/messages/dropped']}")


def say(start, text):
    print(f"{time.monotonic() - start:6.0f} s  {text}", flush=True)


def clear_retained(address):
    client = clients.Client(address, "cleaner", 5)
    client.subscribe("#")
    client.sync()
    while client.inbox:
        packet = client.inbox.pop(0)
        if packet.kind == "PUBLISH" and packet.payload:
            client.publish(packet.topic, b"", 1, retain=True)
    client.disconnect()


def churn(broker, watcher, seed, cycle, until, start, rng):
    stop = threading.Event()
    threads = [Thread(broker.address, f"{seed}/{cycle}", number, stop) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() < until and not any(thread.failure for thread in threads):
            say(start, watcher.line(watcher.look()))
            broker.config = {**BASE, **rng.choice(CONFIGS)}
            broker.write_config()
            broker.signal(signal.SIGHUP)
            time.sleep(max(0, min(LOOK_S - 2, until - time.monotonic())))  # the clock is the real one here
    finally:
        stop.set()
        for thread in threads:
            thread.join(4 * clients.WAIT_S)
    for thread in threads:
        assert not thread.is_alive(), f"{thread.name} hangs"
        assert not thread.failure, f"{thread.name}: {thread.failure}"
    return sum(sum(thread.counts.values()) for thread in threads)


def come_to_rest(broker, watcher, before, stored_bytes):
    """Clears, and waits until everything has returned to `before`."""
    deadline = time.monotonic() + RETURN_S
    while True:
        clear_retained(broker.address)
        got = watcher.look()
        if got == before and abs(watcher.stored_bytes() - stored_bytes) < BYTES_SLACK:
            return
        wrong = {name: f"{got[name]}, was {before[name]}" for name in before if got[name] != before[name]}
        assert time.monotonic() < deadline, \
            f"not back after {RETURN_S} s: {wrong}; stored bytes {watcher.stored_bytes()}, were {stored_bytes}"


def soak(minutes, seed, cycle_s=CYCLE_S):
    """Raises AssertionError when something does not return. `broker` and `client` are imported by now."""
    start = time.monotonic()
    say(start, f"seed {seed}, {minutes:g} minutes, {brokers.BINARY}")
    broker, mark = Broker(BASE), None
    try:
        watcher = Watcher(broker)
        before, rng = watcher.look(), random.Random(f"{seed}/reloads")
        stored_bytes = watcher.stored_bytes()
        end = start + minutes * 60
        cycle_s = min(cycle_s, minutes * 60 / 3)
        for cycle in range(max(2, round(minutes * 60 / cycle_s))):
            until = min(end, time.monotonic() + cycle_s) if cycle > 1 else time.monotonic() + cycle_s
            steps = churn(broker, watcher, seed, cycle, until, start, rng)
            come_to_rest(broker, watcher, before, stored_bytes)
            heap, rss_kb = watcher.heap(), watcher.rss_kb()
            mark = mark or (heap, rss_kb)
            say(start, f"cycle {cycle}: {steps} steps; at rest: heap {heap >> 10} KiB, RSS {rss_kb} KiB")
            assert heap <= mark[0] + HEAP_SLACK, f"counted memory grew from {mark[0]} to {heap} bytes"
            if time.monotonic() > end:
                break
        if brokers.SANITIZED:
            say(start, "RSS is not looked at: it is the sanitizer's")
        else:
            assert rss_kb <= mark[1] * 1.1, f"RSS grew from {mark[1]} to {rss_kb} KiB"
        watcher.client.close()
        broker.stop()
        say(start, "good: all returned, exit status 0")
    except AssertionError as failure:
        raise AssertionError(f"{failure}\nThe end of the broker's output:\n{broker.log()[-6000:]}") from None
    finally:
        broker.abandon()


def load(program):
    """The modules of conformance/ look at the environment when they are imported."""
    global brokers, clients, Broker
    os.environ["CONFORMANCE_TARGET"] = str(pathlib.Path(program).resolve())
    os.environ.setdefault("CONFORMANCE_WAIT_S", "60")
    os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=16:detect_stack_use_after_return=1")
    os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    os.environ.setdefault("TSAN_OPTIONS", "second_deadlock_stack=1:history_size=4")
    import broker as brokers
    import client as clients

    class Broker(brokers.Broker):
        def clock_environment(self):
            return {}  # the machine's clock


def main():
    parser = argparse.ArgumentParser(usage=__doc__.splitlines()[0].split(":")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("program")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    load(options.program)
    try:
        soak(options.minutes, seed)
    except AssertionError as failure:
        print(f"FAILED (SEED={seed}): {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
