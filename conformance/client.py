"""A small blocking MQTT client on a raw socket, which distrusts the server.

Every packet that arrives is parsed strictly (mqtt_codec) and then held against what this
connection has announced: packet size, receive maximum, topic aliases, problem information.
Waiting is always for an event with a bounded time, never a sleep.
"""

import itertools
import os
import select
import socket
import struct
import time

import mqtt_codec as codec
from mqtt_codec import options, rule

# How long an event that must come may take; generous, for sanitizers on a busy machine.
WAIT_S = float(os.environ.get("CONFORMANCE_WAIT_S", "15"))


def readable(sock, seconds):
    """True when there is something to read, or the end. poll, as descriptors go past 1,023."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(0, seconds) * 1000))


class Closed(AssertionError):
    """The server closed the connection where a packet was expected."""


class Client:
    def __init__(self, address, client_id="", version=5, *, clean=True, keepalive=0, props=None,
                 will=None, username=None, password=None, connect=True, code=0, lenient=False,
                 receive_buffer=None, source=None, wrap=None):
        """Connects, and expects a CONNACK with `code`; with connect=False only opens the socket.
        `wrap` is given the socket and returns what stands in for it."""
        self.version, self.client_id, self.lenient = version, client_id, lenient
        self.buffer, self.inbox, self.eof = bytearray(), [], False
        self.clean, self.connack, self.last_disconnect = clean, None, None
        self.connect_props = dict(props or {}) if not isinstance(props, bytes) else {}
        self.ids = itertools.cycle(range(1, 65536))
        self.inflight = {}  # deliveries of the server: packet id -> "PUBLISH", "PUBREC", "RESUMED"
        self.aliases = {}
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind(source if isinstance(source, tuple) else (source, 0))
        self.sock.settimeout(WAIT_S)
        self.sock.connect(address)
        if wrap:
            self.sock = wrap(self.sock)
        if connect:
            self.send(codec.connect(version, client_id, clean, keepalive, props, will, username,
                                    password))
            self.connack = self.expect("CONNACK", code=code)
            if clean or version == 3:
                rule(not self.connack.session_present, "session present with clean start")
            if "assigned_client_id" in self.connack.props:
                rule(client_id == "", "an id was assigned to a client that has one")
                self.client_id = self.connack.props["assigned_client_id"]
            if self.connack.code:
                self.expect_close()

    # ------------------------------------------------------------------------------- raw bytes

    def send(self, data):
        """Sends bytes; a server that has closed already is noticed when reading."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def close(self):
        self.sock.close()

    def reset(self):
        """Ends the connection with a RST, as a crashed machine's kernel does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def drop(self):
        """Ends the connection without DISCONNECT and waits until the server has noticed."""
        self.shut()
        deadline = time.monotonic() + WAIT_S
        while not self.eof:
            self._read(deadline)
        self.close()

    def shut(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _read(self, deadline):
        """Waits for bytes and turns whole packets into the inbox. False on time-out."""
        left = deadline - time.monotonic()
        if left <= 0 or not readable(self.sock, left):
            return False
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            self.eof = True
            rule(not self.buffer, f"the connection ended inside a packet: {bytes(self.buffer)!r}")
            return True
        self.buffer += data
        while True:
            found = codec.header(self.buffer)
            if not found:
                return True
            kind, flags, skip, length = found
            if len(self.buffer) < skip + length:
                return True
            body = bytes(self.buffer[skip:skip + length])
            del self.buffer[:skip + length]
            packet = codec.parse(self.version, kind, flags, body, skip + length)
            self._check(packet)
            self.inbox.append(packet)

    # ------------------------------------------------------------- what this connection is owed

    def may_go_on(self):
        """The session may be one of before. 3.1 does not tell, so there it may whenever it was asked for."""
        return self.connack.session_present or (self.version == 3 and not self.clean)

    def _check(self, packet):
        rule(not self.last_disconnect, f"{packet} after DISCONNECT [3.14.4-1]")
        limit = self.connect_props.get("max_packet_size")
        if limit and isinstance(limit, int):
            rule(packet.size <= limit, f"{packet.kind} of {packet.size} > {limit} [3.1.2-24]")
        rule(packet.kind != "AUTH" or "auth_method" in self.connect_props,
             "AUTH to a client that named no method [4.12.0-6]")
        if packet.kind == "CONNACK":
            rule(self.connack is None, "a second CONNACK [3.2.0-2]")
            self._check_connack(packet)
            self.connack = packet
        elif packet.kind != "AUTH":
            rule(self.connack is not None, f"{packet.kind} before CONNACK [3.2.0-1]")
            rule(self.connack.code == 0, f"{packet.kind} after a refusal")
        if packet.kind == "PUBLISH":
            self._check_publish(packet)
        elif packet.kind == "PUBREL":
            known = self.inflight.get(packet.id) == "PUBREC"
            rule(known or self.may_go_on(), f"{packet} without a PUBREC")
            if not known:
                self.inflight[packet.id] = "RESUMED"  # takes nothing from this connection's quota
        elif packet.kind == "DISCONNECT":
            self.last_disconnect = packet
        if self.connect_props.get("request_problem_info") == 0:
            if packet.kind not in ("PUBLISH", "CONNACK", "DISCONNECT"):
                rule(not {"reason_string", "user"} & set(getattr(packet, "props", {})),
                     f"{packet} although problem information was refused [3.1.2-29]")

    def _check_connack(self, packet):
        asked = self.connect_props.get("request_response_info") == 1
        rule(asked or "response_info" not in packet.props,
             "response information unasked [3.1.2-28]")
        rule("auth_method" in self.connect_props or "auth_method" not in packet.props,
             "an authentication method unasked [4.12.0-6]")

    def _check_publish(self, packet):
        alias = packet.props.get("topic_alias")
        if alias is not None:
            limit = self.connect_props.get("topic_alias_max", 0)
            rule(alias <= limit, f"alias {alias} > {limit} [3.1.2-26] [3.1.2-27]")
            packet.sent_topic = packet.topic
            if packet.topic:
                self.aliases[alias] = packet.topic
            else:
                rule(alias in self.aliases, f"alias {alias} was never set")
                packet.topic = self.aliases[alias]
        if packet.qos:
            rule(packet.id not in self.inflight, f"{packet}: the packet id is in use [2.2.1-4]")
            self.inflight[packet.id] = "PUBLISH"
            limit = self.connect_props.get("receive_max", 65535)
            if isinstance(limit, int) and len(self.inflight) > limit:
                count = sum(1 for state in self.inflight.values() if state != "RESUMED")
                rule(count <= limit, f"{count} in flight, allowed are {limit} [3.3.4-9]")
            rule(not packet.dup or self.may_go_on(),
                 f"{packet}: DUP on a first transmission [3.3.1-3]")

    # --------------------------------------------------------------------------------- expecting

    def next(self, timeout=WAIT_S):
        """The next packet of any kind, in order of arrival; None at the end of the connection."""
        deadline = time.monotonic() + timeout
        while not self.inbox:
            if self.eof:
                return None
            if not self._read(deadline):
                raise AssertionError(f"nothing came within {timeout} s")
        return self.inbox.pop(0)

    def take(self, kind, timeout=WAIT_S, packet_id=None):
        """The next packet of that kind (and id); what comes before it waits in the inbox."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for index in range(seen, len(self.inbox)):
                packet = self.inbox[index]
                if packet.kind == kind and packet_id in (None, getattr(packet, "id", None)):
                    return self.inbox.pop(index)
            seen = len(self.inbox)
            if self.eof:
                raise Closed(f"expected {kind}, but the connection was closed; {self.inbox}")
            if not self._read(deadline):
                raise AssertionError(f"expected {kind} within {timeout} s; there is {self.inbox}")

    def expect(self, kind, timeout=WAIT_S, **fields):
        packet = self.take(kind, timeout)
        for key, value in fields.items():
            got = getattr(packet, key)
            if isinstance(value, (set, frozenset, range)):
                assert got in value, f"{key} is {got!r}, not one of {value}: {packet}"
            else:
                assert got == value, f"{key} is {got!r}, not {value!r}: {packet}"
        return packet

    def expect_publish(self, topic=None, payload=None, *, ack=True, timeout=WAIT_S, **fields):
        """The next PUBLISH; unless told otherwise its handshake is completed."""
        if topic is not None:
            fields["topic"] = topic
        if payload is not None:
            fields["payload"] = codec.raw(payload)
        packet = self.expect("PUBLISH", timeout, **fields)
        if ack:
            self.acknowledge(packet)
        return packet

    def acknowledge(self, packet):
        if packet.qos == 1:
            self.puback(packet.id)
        elif packet.qos == 2:
            self.pubrec(packet.id)
            self.take("PUBREL", packet_id=packet.id)
            self.pubcomp(packet.id)

    def ping(self):
        self.send(codec.pingreq())
        self.take("PINGRESP")

    def sync(self):
        """Two round trips: whatever the server had for this client before is in the inbox then.

        One is not enough with several reactors: mail from another one may be taken in just after
        the first answer was made.
        """
        self.ping()
        self.ping()

    def expect_nothing(self):
        self.sync()
        assert not self.inbox, f"unexpected: {self.inbox}"

    def expect_close(self, *codes, timeout=WAIT_S):
        """The server closes. Version 5 with DISCONNECT of one of `codes`; none given: in any way."""
        deadline = time.monotonic() + timeout
        while not self.eof:
            if not self._read(deadline):
                raise AssertionError(f"the connection was not closed; {self.inbox}")
        rest, self.inbox = self.inbox, []
        self.close()
        if self.version < 5:
            assert self.last_disconnect is None
            return None
        if codes:
            if self.last_disconnect is None and self.lenient:
                return None
            expected = " or ".join(f"0x{code:02x}" for code in codes)
            assert self.last_disconnect, f"closed without DISCONNECT {expected}; {rest}"
            assert self.last_disconnect.code in codes, \
                f"{self.last_disconnect} instead of {expected}"
        return self.last_disconnect

    # ------------------------------------------------------------------------------------ asking

    def packet_id(self):
        return next(self.ids)

    def subscribe(self, *filters, qos=0, codes=None, props=None, **option):
        """Subscribes to filters (each text, or (text, options byte)); the SUBACK's codes must be
        the granted QoS unless given."""
        pairs = [(f, options(qos, **option)) if isinstance(f, (str, bytes)) else f for f in filters]
        number = self.packet_id()
        self.send(codec.subscribe(self.version, number, pairs, props))
        expected = [pair[1] & 3 for pair in pairs] if codes is None else codes
        return self.expect("SUBACK", id=number, codes=expected)

    def unsubscribe(self, *filters, codes=None, props=None):
        number = self.packet_id()
        self.send(codec.unsubscribe(self.version, number, filters, props))
        packet = self.expect("UNSUBACK", id=number)
        if self.version == 5:
            expected = [0] * len(filters) if codes is None else codes
            assert packet.codes == expected, packet
        return packet

    def publish(self, topic, payload=b"", qos=0, retain=False, props=None, code=None):
        """Publishes and completes the handshake; QoS 0 is followed by a PINGREQ so that it has
        been taken in. `code` is the reason code expected; by default any success."""
        number = self.packet_id() if qos else None
        self.send(codec.publish(self.version, topic, payload, qos, number, retain, False, props))
        if qos == 0:
            self.ping()
            return
        good = {0, 0x10} if code is None else {code}
        if qos == 1:
            self.expect("PUBACK", id=number, code=good)
            return
        self.expect("PUBREC", id=number, code=good)
        if code is None or code < 0x80:
            self.pubrel(number)
            self.expect("PUBCOMP", id=number, code=0)

    def puback(self, number, code=None, props=None):
        self.inflight.pop(number, None)
        self.send(codec.ack(codec.PUBACK, self.version, number, code, props))

    def pubrec(self, number, code=None, props=None):
        if code is not None and code >= 0x80:
            self.inflight.pop(number, None)
        else:
            self.inflight[number] = "PUBREC"
        self.send(codec.ack(codec.PUBREC, self.version, number, code, props))

    def pubrel(self, number, code=None, props=None):
        self.send(codec.ack(codec.PUBREL, self.version, number, code, props))

    def pubcomp(self, number, code=None, props=None):
        self.inflight.pop(number, None)
        self.send(codec.ack(codec.PUBCOMP, self.version, number, code, props))

    def disconnect(self, code=None, props=None):
        """Says goodbye and waits until the server has closed."""
        self.send(codec.disconnect(self.version, code, props))
        self.shut()
        deadline = time.monotonic() + WAIT_S
        while not self.eof:
            if not self._read(deadline):
                raise AssertionError("the server did not close after DISCONNECT")
        self.close()
        assert self.last_disconnect is None, f"{self.last_disconnect} after a client's DISCONNECT"
