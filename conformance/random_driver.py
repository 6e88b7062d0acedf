"""Runs a script against a broker and the model beside it: one thing at a time, and everything looked at after each.

After a step the clients are pinged until nothing more comes, and between that probes on each of the broker's threads, so
that what a step brings about has happened everywhere, and nothing depends on how fast anything is.
"""

import contextlib
import socket
import time
import uuid

import client as clients
import mqtt_codec as codec
import random_model
import random_parts
import random_steps
from random_steps import TOPICS, Step
from random_watch import SLACK_S

PROBE_ROUNDS = 4  # mail between threads that makes more mail, so many times, has arrived
SLOW_S = SLACK_S - 2  # a script that takes longer proves nothing: its timers may be off
ACKS_MAX = 200
PINGREQ = codec.pingreq()


def illegal(what, version):
    """The bytes of a packet that a connected client must not send."""
    publish, subscribe = codec.publish, codec.subscribe
    return {
        "second connect": lambda: codec.connect(version, "x"),
        "qos 3": lambda: publish(version, "a", "x", 0, 1, flags=6),
        "wildcard in topic": lambda: publish(version, "a/+", "x", 1, 1),
        "no topic": lambda: publish(version, "", "x", 1, 1),
        "subscribe flags": lambda: subscribe(version, 21, [("a", 0)], flags=0),
        "packet type 0": lambda: codec.packet(0),
        "suback": lambda: codec.packet(codec.SUBACK, b"\0\1" + (b"\0" if version == 5 else b"") + b"\0"),
        "id 0": lambda: publish(version, "a", "x", 1, 0),
        "no filter": lambda: subscribe(version, 21, []),
        "no-local on shared": lambda: subscribe(5, 21, [("$share/g/a", codec.options(1, True))]),
        "alias 0": lambda: publish(5, "a", "x", 1, 1, props={"topic_alias": 0}),
        "alias too large": lambda: publish(5, "a", "x", 1, 1, props={"topic_alias": 65535}),
        "nul in topic": lambda: publish(version, "a\0", "x"),
        "retain handling 3": lambda: subscribe(5, 21, [("a", 0x30)]),
        "subscription id 0": lambda: subscribe(5, 21, [("a", 0)], {"subscription_id": 0}),
        "auth": lambda: codec.auth(0x18, {}),
    }[what]()


def bad_connect(what, version, client_id):
    """The bytes of a CONNECT that is to be refused."""
    whole = codec.connect(version, client_id, will={"topic": "a", "payload": "never"})
    return {
        "reserved flag": lambda: codec.connect(version, client_id, connect_flags=3),
        "not connect": codec.pingreq,
        "level 9": lambda: codec.connect(version, client_id, level=9),
        "cut off": lambda: whole[:-3],
        "will qos 3": lambda: codec.connect(version, client_id, connect_flags=0x1E,
                                            will={"topic": "a"}),
    }[what]()


class Driver:
    """Runs scripts against a broker. `probes` are sockets of clients, at least one on each of its threads;
    `prefix` stands before every topic, where a broker has other users."""

    def __init__(self, broker, probes, habits=None, prefix="", can_turn=True, make_model=None):
        self.broker, self.probes, self.prefix, self.can_turn = broker, probes, prefix, can_turn
        self.habits = habits or random_model.Habits()
        self.make_model = make_model or random_model.Model

    def close(self):
        for probe in self.probes:
            probe.close()
        self.probes = []

    def run(self, steps):
        """None when the broker did what the model allows, or a text that says what it did not. Inconclusive
        when chance or slowness decided."""
        run = Run(self)
        try:
            return run.script(steps)
        finally:
            run.clean_up()


class Run:
    def __init__(self, driver):
        self.driver, self.broker, self.prefix = driver, driver.broker, driver.prefix
        self.model = driver.make_model(driver.habits)
        self.name = uuid.uuid4().hex[:10]
        self.clients = {}  # Connection -> Client
        self.strangers = []  # sockets that sent a bad CONNECT
        self.at = 0

    def script(self, steps):
        start = time.monotonic()
        step = None
        try:
            for self.at, step in enumerate(steps):
                self.do(step)
            step = Step("end", "-", {})
            self.drain()
        except random_parts.Inconclusive:
            step = Step("end", "-", {})  # what came before has been looked at
            return None
        except AssertionError as error:
            if time.monotonic() - start > SLOW_S:
                raise random_parts.Inconclusive("too slow") from None
            return f"step {self.at + 1}, {random_steps.to_text([step]).strip()}: {error}"
        return None

    # -------------------------------------------------------------------------------------- steps

    def do(self, step):
        if step.verb == "turn":
            if self.driver.can_turn:
                for seconds in self.model.turns(step.fields["seconds"]):
                    self.broker.turn(int(seconds * 1000))
                    self.broker.settle()
                    self.look()
            return
        operations = self.model.apply(step)
        for verb, connection, fields in operations:
            if connection in self.clients or verb in ("connect", "badconnect"):
                getattr(self, f"send_{verb}")(connection, fields)
        if operations:
            self.look()

    def drain(self):
        """Everybody comes back and acknowledges until nothing is left."""
        for session in list(self.model.sessions.values()):
            if not session.connection:
                self.do(Step("connect", session.name, {"version": 5, "clean": False, "expiry": 1000}))
        for _ in range(ACKS_MAX):
            waiting = [session.name for session in self.model.sessions.values()
                       if session.connection and self.model.outstanding(session)]
            if not waiting:
                break
            for name in waiting:
                self.do(Step("ack", name, {"which": 0, "all": True}))
        self.model.check_drained()

    def send(self, connection, data):
        self.clients[connection].send(data)

    def send_connect(self, connection, fields):
        version, names = connection.version, {"expiry": "session_expiry", "receive_max": "receive_max",
                                              "topic_alias_max": "topic_alias_max"}
        props = {names[key]: value for key, value in fields.items() if key in names}
        will = dict(fields["will"]) if fields.get("will") else None
        if will:
            will["topic"] = self.prefix + will["topic"]
            will["props"] = {name: will[key] for key, name in (
                ("delay", "will_delay"), ("expiry", "message_expiry")) if key in will}
        one = clients.Client(self.broker.address, self.name + fields["client"], version, connect=False,
                             props=props)
        self.clients[connection] = one
        one.send(codec.connect(version, one.client_id, fields["clean"], fields.get("keepalive", 0),
                               props, will))

    def send_badconnect(self, connection, fields):
        one = socket.create_connection(self.broker.address, clients.WAIT_S)
        self.strangers.append(one)
        one.sendall(bad_connect(fields["what"], fields["version"], self.name + fields["client"]))
        if fields["what"] == "cut off":
            one.shutdown(socket.SHUT_WR)

    def send_publish(self, connection, fields):
        props = [(name, fields[key]) for key, name in (("expiry", "message_expiry"),
                                                       ("alias", "topic_alias")) if key in fields]
        props += [("user", tuple(pair)) for pair in fields.get("user", [])]
        topic = self.prefix + fields["topic"] if fields["topic"] else ""
        self.send(connection, codec.publish(
            connection.version, topic, fields["payload"], fields["qos"],
            fields.get("id") if fields["qos"] else None, fields.get("retain", False),
            fields.get("dup", False) and fields["qos"], props))

    def send_ack(self, connection, fields):
        one, kind = self.clients[connection], fields["kind"]
        if kind in ("PUBACK", "PUBCOMP") or (fields.get("code") or 0) >= 0x80:
            one.inflight.pop(fields["id"], None)
        elif kind == "PUBREC" and fields["id"] in one.inflight:
            one.inflight[fields["id"]] = "PUBREC"
        one.send(codec.ack(getattr(codec, kind), connection.version, fields["id"],
                           fields.get("code")))

    def full_filter(self, text):
        name, rest = random_parts.split_share(text)
        if not random_parts.is_valid_filter(text):
            return text
        return self.prefix + rest if name is None else f"$share/{name}/{self.prefix}{rest}"

    def send_subscribe(self, connection, fields):
        filters = []
        for text, qos, *rest in fields["filters"]:
            options = codec.options(qos, *rest) if connection.version == 5 else qos
            filters.append((self.full_filter(text), options))
        props = {key: fields[key] for key in ("subscription_id",) if key in fields}
        self.send(connection, codec.subscribe(connection.version, fields["id"], filters, props))

    def send_unsubscribe(self, connection, fields):
        filters = [self.full_filter(text) for text in fields["filters"]]
        self.send(connection, codec.unsubscribe(connection.version, fields["id"], filters))

    def send_illegal(self, connection, fields):
        self.send(connection, illegal(fields["what"], connection.version))

    def send_disconnect(self, connection, fields):
        props = {"session_expiry": fields["expiry"]} if "expiry" in fields else None
        self.send(connection, codec.disconnect(connection.version, fields.get("code"), props))
        self.clients[connection].shut()

    def send_drop(self, connection, fields):
        if fields.get("half"):
            self.send(connection, codec.publish(connection.version, self.prefix + "a", "half", 1, 1)[:-2])
        self.clients[connection].shut()

    # ------------------------------------------------------------------------------------ looking

    def look(self):
        """Waits until all is at rest; tells the model what came, and asks what did not."""
        while True:
            self.settle()
            ended = self.tell()
            if not any(connection.may_close for connection in ended):
                break  # else that was the broker's choice, and there may be a will
        self.model.check()

    def tell(self):
        """What the clients have got; those first whose connection ended, as others may get a will for it."""
        ended = [connection for connection, one in self.clients.items() if one.eof]
        for connection in ended + [c for c in self.clients if c not in ended]:
            one = self.clients[connection]
            packets, one.inbox = one.inbox, []
            for packet in packets:
                if packet.kind == "PUBLISH":
                    packet.topic = packet.topic.removeprefix(self.prefix)
                    packet.payload = packet.payload.decode().encode()
                self.model.observe(connection, packet)
                if packet.kind == "CONNACK":
                    packet.session_present = True  # `one` lets pass what is the model's to judge
            if connection in ended:
                code = one.last_disconnect.code if one.last_disconnect else None
                self.clients.pop(connection).close()
                self.model.closed(connection, code)
        return ended

    def settle(self):
        while self.strangers:
            self.refused(self.strangers.pop())
        for connection, one in self.clients.items():
            if one.connack is None:
                self.wait_connack(one)
        self.ping_clients()
        while True:
            for _ in range(PROBE_ROUNDS):
                self.ping_probes()
            if not self.ping_clients():
                return

    def refused(self, one):
        """Silence, or one CONNACK with a code, of whatever version; and the end."""
        data = b""
        with one, contextlib.suppress(ConnectionResetError):
            while part := one.recv(1000):
                data += part
        if data and (data[0] != codec.CONNACK << 4 or not data[3] or len(data) != 2 + data[1]):
            raise random_parts.Diverged(f"a bad CONNECT was answered with {data}")

    def wait_connack(self, one):
        deadline = time.monotonic() + clients.WAIT_S
        while one.connack is None and not one.eof and one._read(deadline):
            pass
        if one.connack is None:
            raise random_parts.Diverged(f"{one.client_id} got no CONNACK")

    def ping_probes(self):
        for probe in self.driver.probes:
            probe.send(PINGREQ)
        for probe in self.driver.probes:
            if len(probe.recv(2)) != 2:
                raise random_parts.Diverged("a client that only pings was closed")

    def ping_clients(self):
        """True when anything but PINGRESP came."""
        live = [one for one in self.clients.values() if not one.eof]
        before = sum(len(one.inbox) for one in live)
        for one in live:
            one.send(PINGREQ)
        for one in live:
            self.wait_pong(one)
        return sum(len(one.inbox) for one in live) > before or any(one.eof for one in live)

    def wait_pong(self, one):
        deadline = time.monotonic() + clients.WAIT_S
        while not one.eof:
            for at, packet in enumerate(one.inbox):
                if packet.kind == "PINGRESP":
                    del one.inbox[at]
                    return
            if not one._read(deadline):
                raise random_parts.Diverged(f"{one.client_id} got no PINGRESP")

    # ----------------------------------------------------------------------------------- clearing

    def clean_up(self):
        """Leaves nothing behind: no session, no retained message."""
        with contextlib.suppress(AssertionError, OSError):
            for one in [*self.clients.values(), *self.strangers]:
                one.close()
            for name in list(self.model.sessions):
                clients.Client(self.broker.address, self.name + name, 4).disconnect()
            for _ in range(PROBE_ROUNDS):
                self.ping_probes()  # their wills are retained before they are cleared
            cleaner = clients.Client(self.broker.address, self.name + "cleaner", 4)
            for topic in TOPICS:
                cleaner.send(codec.publish(4, self.prefix + topic, b"", 0, retain=True))
            cleaner.ping()
            cleaner.disconnect()
