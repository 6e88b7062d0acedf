"""Grids: every combination of what single tests show in one form or two."""

import random

import pytest

import mqtt_codec as codec
from support import FOREVER, acknowledged, every_qos, lasting, not_31

either = [False, True]


# ------------------------------------------------------------------- sessions and their expiry

AT_DISCONNECT = [None, 0, 10, 1000, FOREVER]


@pytest.mark.parametrize("clean", either, ids=["resume", "clean"])
@pytest.mark.parametrize("wait_s", [0, 500])
@pytest.mark.parametrize("at_disconnect", AT_DISCONNECT)
@pytest.mark.parametrize("expiry", [0, 10, FOREVER])
@pytest.mark.clause("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.1.2-23",
                    "MQTT-3.1.4-4", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-4.1.0-2", "X5-18")
def test_clean_start_by_session_by_expiry_at_disconnect(
        broker, connect, topic, expiry, at_disconnect, wait_s, clean):
    c = connect("s", props={"session_expiry": expiry})
    c.subscribe(topic("a"), qos=1)
    props = None if at_disconnect is None else {"session_expiry": at_disconnect}
    c.send(codec.disconnect(5, 0 if props else None, props))
    if expiry == 0 and at_disconnect:
        c.expect_close(0x82)  # none cannot be made into some
        lives_s = 0
    else:
        c.expect_close()
        assert c.last_disconnect is None
        lives_s = expiry if at_disconnect is None else at_disconnect
    lives = lives_s > wait_s
    broker.turn(wait_s * 1000)
    broker.settle()
    p = connect("p")
    p.publish(topic("a"), "meanwhile", 1)
    s = connect("s", clean=clean, props={"session_expiry": 10})
    assert s.connack.session_present == (lives and not clean)
    if lives and not clean:
        s.expect_publish(topic("a"), "meanwhile", qos=1, dup=False)
    p.publish(topic("a"), "now", 1)
    if lives and not clean:
        s.expect_publish(topic("a"), "now", qos=1)
    s.expect_nothing()


# ------------------------------------------------------------------------------------- overlaps


@pytest.mark.parametrize("rap", either, ids=["rap_0", "rap_1"])
@pytest.mark.parametrize("shared", either, ids=["plain", "shared"])
@pytest.mark.parametrize("second", [None, 0, 1, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
@every_qos
@pytest.mark.clause("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5", "MQTT-3.8.4-8",
                    "MQTT-4.8.2-3", "MQTT-3.3.1-12", "MQTT-3.3.1-13")
def test_qos_by_two_filters_by_shared_by_retain_as_published(
        connect, topic, qos, first, second, shared, rap):
    """Copies may be one for each subscription, or one for both: its identifiers tell which."""
    granted = {1: first}
    s = connect("s")
    s.subscribe((f"$share/g/{topic('+')}" if shared else topic("+"), codec.options(first, rap=rap)),
                props={"subscription_id": 1})
    if second is not None:
        granted[2] = second
        s.subscribe((topic("a"), codec.options(second, rap=rap)), props={"subscription_id": 2})
    p = connect("p")
    for retain in (False, True):
        p.publish(topic("a"), f"retain {retain}", qos, retain=retain)
        s.sync()
        copies = [s.expect_publish(topic("a"), f"retain {retain}", retain=retain and rap)
                  for _ in range(sum(x.kind == "PUBLISH" for x in s.inbox))]
        s.expect_nothing()
        identifiers = sorted(sum((copy.props["subscription_id"] for copy in copies), []))
        assert identifiers == sorted(granted)
        for copy in copies:
            assert copy.qos == min(qos, max(granted[n] for n in copy.props["subscription_id"]))
    p.publish(topic("a"), "", 1, retain=True)


# -------------------------------------------------------------------------------------- retained

SHOWS_NO_LOCAL = pytest.mark.clause("MQTT-3.8.3-3")
SHOWS_HANDLING = pytest.mark.clause("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11",
                                    "MQTT-3.8.4-4", "X5-27")

@pytest.mark.parametrize("own, no_local", [
    pytest.param(own, no_local, id=f"{'own' if own else 'of_another'}-no_local_{no_local:d}",
                 marks=SHOWS_NO_LOCAL if own and no_local else SHOWS_HANDLING)
    for own in either for no_local in either])
@pytest.mark.parametrize("before", ["new", "same", "other options", "unsubscribed", "resumed"])
@pytest.mark.parametrize("handling", [0, 1, 2])
@every_qos
def test_retain_handling_by_what_was_subscribed_by_no_local(
        connect, topic, qos, handling, before, own, no_local):
    s, p = connect("s", **lasting(5)), connect("p")
    (s if own else p).publish(topic("a"), "kept", 1, retain=True)
    options = codec.options(qos, no_local=no_local, retain_handling=handling)
    if before in ("same", "unsubscribed", "resumed"):
        s.subscribe((topic("a"), codec.options(qos, no_local=no_local, retain_handling=2)))
    elif before == "other options":
        s.subscribe((topic("a"), codec.options(2 - qos, no_local=not no_local, retain_handling=2)))
    if before == "unsubscribed":
        s.unsubscribe(topic("a"))
    elif before == "resumed":
        s.disconnect()
        s = connect("s", **lasting(5))
    s.subscribe((topic("a"), options))
    is_new = before in ("new", "unsubscribed")
    if (handling == 0 or (handling == 1 and is_new)) and not (own and no_local):
        s.expect_publish(topic("a"), "kept", qos=min(qos, 1), retain=True)
    s.expect_nothing()
    p.publish(topic("a"), "", 1, retain=True)
    s.expect_publish(topic("a"), "", retain=False)


# --------------------------------------------------------------------------------------- windows


class Receiver:
    """A client that acknowledges in any order, and now and then is cut off and comes back."""

    def __init__(self, chance, come_back):
        self.chance, self.come_back = chance, come_back
        self.c = come_back()
        self.open = {}  # id -> PUBLISH (to be acknowledged), PUBREL (to be completed)
        self.waiting = set()  # ids with PUBREC sent and no PUBREL yet: a repeat is no new message
        self.got = []

    def take_in(self):
        self.c.sync()
        while self.c.inbox:
            packet = self.c.inbox.pop(0)
            if packet.kind == "PUBREL":
                self.waiting.discard(packet.id)
                self.open[packet.id] = packet
            elif packet.qos == 2 and packet.id in self.waiting:
                raise AssertionError(f"{packet} again, although its PUBREC was taken in")
            else:
                self.open[packet.id] = packet
                if not (packet.dup and packet.payload in self.got):
                    self.got.append(packet.payload)

    def step(self):
        """Acknowledges one of those that are open, or loses the connection."""
        self.take_in()
        if self.chance.random() < 0.15:
            self.c.drop()
            self.open.clear()
            self.c = self.come_back()
            assert self.c.connack.session_present
        elif self.open:
            packet = self.open.pop(self.chance.choice(sorted(self.open)))
            if packet.kind == "PUBREL":
                self.c.pubcomp(packet.id)
            elif packet.qos == 1:
                self.c.puback(packet.id)
            else:
                self.c.pubrec(packet.id)
                self.waiting.add(packet.id)
                self.c.sync()  # it has been taken in, so the message must not come again


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.clause("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_small_windows_with_qos_1_and_2_in_any_order_of_acknowledgement(
        connect, topic, window, seed):
    chance = random.Random(seed)
    s = Receiver(chance, lambda: connect("s", clean=False, props={
        "session_expiry": 1000, "receive_max": window}))
    s.c.subscribe(topic("a"), qos=2)
    p = connect("p")
    sent = []
    for number in range(30):
        qos = chance.choice([1, 2])
        sent.append((qos, b"%d" % number))
        p.publish(topic("a"), sent[-1][1], qos)
        if chance.random() < 0.6:
            s.step()
    s.take_in()
    for _ in range(600):
        if len(s.got) == len(sent) and not s.open and not s.waiting:
            break
        s.step()
        s.take_in()
    s.c.expect_nothing()
    for qos in (1, 2):
        mine = [payload for its, payload in sent if its == qos]
        assert [payload for payload in s.got if payload in mine] == mine
    assert len(s.got) == len(sent)


@pytest.mark.parametrize("wrong", [False, pytest.param(True, marks=pytest.mark.ours)],
                         ids=["repeated", "of_the_wrong_kind"])
@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.clause("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_an_acknowledgement_opens_the_window_once_and_only_for_its_own_step(
        connect, topic, window, wrong, seed):
    """The client itself sees when more come than its window allows, and by an id that is in use."""
    chance = random.Random(seed)
    s, p = connect("s", props={"receive_max": window}), connect("p")
    s.subscribe(topic("a"), qos=2)
    sent = [chance.choice([1, 2]) for _ in range(24)]
    for number, qos in enumerate(sent):
        p.publish(topic("a"), b"%d" % number, qos)
    got, held = [], []
    while len(got) < len(sent) or held:
        s.sync()
        arrived = [s.take("PUBLISH") for packet in list(s.inbox)]
        assert len(held) + len(arrived) == min(window, len(sent) - len(got) + len(held))
        got += arrived
        held += arrived
        packet = held.pop(chance.randrange(len(held)))
        if wrong:
            kinds = [codec.PUBCOMP] if packet.qos == 1 else [codec.PUBCOMP, codec.PUBACK]
            s.send(b"".join(codec.ack(kind, 5, packet.id) for kind in kinds))
            s.expect_nothing()
        if packet.qos == 2:
            s.pubrec(packet.id)
            s.expect("PUBREL", id=packet.id, code=0)
            if wrong:
                s.send(codec.ack(codec.PUBACK, 5, packet.id))
                s.expect_nothing()
        s.inflight.pop(packet.id)
        done = codec.ack(codec.PUBACK if packet.qos == 1 else codec.PUBCOMP, 5, packet.id)
        s.send(done * (1 if wrong else chance.choice([1, 2, 3])))
    assert [int(packet.payload) for packet in got] == list(range(len(sent)))
    s.expect_nothing()


# ---------------------------------------------------------------------------- maximum packet size


def exchange_publish(c, topic):
    c.subscribe(topic, qos=1)
    c.send(codec.publish(5, topic, b"x" * 1000, 1, 500))  # too big to come back
    c.send(codec.publish(5, topic, b"", 0))
    if len(codec.publish(5, topic, b"")) <= c.connect_props["max_packet_size"]:
        c.expect_publish(topic, "")
    c.expect("PUBACK", id=500)


def exchange_pubrel(c, topic):
    c.connack.session_present = True  # the id is none of the server's, and that is the point
    c.pubrec(4711)
    c.expect("PUBREL", id=4711, code={0, 0x92})


def exchange_disconnect(c, topic):
    c.send(codec.connect(5, c.client_id))
    c.expect_close(0x82)


def sent(packet, kind, **expected):
    """An exchange of one packet and its answer."""
    def exchange(c, topic):
        c.send(packet(topic))
        c.expect(kind, **expected)
    return exchange


EXCHANGES = {
    "PINGRESP": sent(lambda t: codec.pingreq(), "PINGRESP"),
    "PUBLISH": exchange_publish,
    "PUBACK": sent(lambda t: codec.publish(5, t, "x", 1, 9), "PUBACK", id=9, code={0, 0x10}),
    "PUBREC": sent(lambda t: codec.publish(5, t, "x", 2, 9), "PUBREC", id=9, code={0, 0x10}),
    "PUBREL": exchange_pubrel,
    "PUBCOMP": sent(lambda t: codec.ack(codec.PUBREL, 5, 9), "PUBCOMP", id=9, code={0, 0x92}),
    "SUBACK": sent(lambda t: codec.subscribe(5, 9, [(t, 1)]), "SUBACK", codes=[1]),
    "UNSUBACK": sent(lambda t: codec.unsubscribe(5, 9, [t]), "UNSUBACK", codes=[0x11]),
    "DISCONNECT": exchange_disconnect,
}
MINE = {
    "PUBACK refused": sent(lambda t: codec.publish(5, "$SYS/x", "x", 1, 9), "PUBACK", code=0x87),
    "PUBREC refused": sent(lambda t: codec.publish(5, "$SYS/x", "x", 2, 9), "PUBREC", code=0x87),
    "SUBACK refused": sent(lambda t: codec.subscribe(5, 9, [("a/#/b", 0)]), "SUBACK", codes=[0x8F]),
    "UNSUBACK refused": sent(lambda t: codec.unsubscribe(5, 9, ["a/#/b"]), "UNSUBACK", id=9),
}


SHOWN = {"PUBLISH": ["3.1.2-25"], "PUBACK": ["3.4.2-2", "3.4.2-3"], "PUBREC": ["3.5.2-2", "3.5.2-3"],
         "PUBREL": ["3.6.2-2", "3.6.2-3"], "PUBCOMP": ["3.7.2-2", "3.7.2-3"],
         "SUBACK": ["3.9.2-1", "3.9.2-2"], "UNSUBACK": ["3.11.2-1", "3.11.2-2"],
         "DISCONNECT": ["3.14.2-3", "3.14.2-4"], "PINGRESP": ["3.2.2-19", "3.2.2-20"]}


def exchanges():
    for name in [*EXCHANGES, *MINE]:
        marks = [pytest.mark.clause(*(f"MQTT-{clause}" for clause in SHOWN[name.split()[0]]))]
        yield pytest.param(name, marks=marks + [pytest.mark.ours] * (name in MINE))


@pytest.mark.parametrize("name", exchanges())
@pytest.mark.parametrize("more", [0, 1, 5, 20, 40, 80])
@pytest.mark.clause("MQTT-3.1.2-24")
def test_every_answer_comes_within_a_limit_that_just_lets_connack_through(
        connect, topic, name, more):
    """The client itself refuses what is too big; here, what can be made to fit has to come."""
    plain = connect("c").connack.size
    limit = max(plain, 12) + more
    c = connect("c", props={"max_packet_size": limit})
    {**EXCHANGES, **MINE}[name](c, topic("a"))
    if name != "DISCONNECT":
        c.ping()


REASONED = {
    "CONNACK": lambda c, props: codec.connect(5, c.client_id, props=props, username=b"\xff"),
    "DISCONNECT": lambda c, props: codec.connect(5, c.client_id),
    "PUBACK": lambda c, props: codec.publish(5, "$SYS/x", "x", 1, 9),
    "PUBREC": lambda c, props: codec.publish(5, "$SYS/x", "x", 2, 9),
}


@pytest.mark.ours
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.clause(
    *(f"MQTT-{clause}" for clause in SHOWN.get(kind, ["3.2.2-19"])[:1]))) for kind in REASONED])
def test_a_reason_is_left_out_where_it_is_one_byte_too_many_and_not_before(raw, kind):
    def answer(limit=None):
        c, props = raw(), {"max_packet_size": limit} if limit else {}
        c.connect_props = props
        if kind != "CONNACK":
            c.send(codec.connect(5, c.client_id, props=props))
            c.expect("CONNACK", code=0)
        c.send(REASONED[kind](c, props))
        packet = c.expect(kind)
        if kind in ("CONNACK", "DISCONNECT"):
            c.expect_close()
        else:
            c.ping()
        return packet

    whole = answer()
    assert whole.props.get("reason_string")
    for fits, limit in ((True, whole.size), (False, whole.size - 1)):
        packet = answer(limit)
        assert packet.code == whole.code
        assert packet.props == (whole.props if fits else {})


# ------------------------------------------------------------------------------ all ids in flight

ALL = 65535
BATCH = 2000


@not_31
@acknowledged
@pytest.mark.config(max_inflight_messages=0, max_queued_messages=0)
@pytest.mark.clause("MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-4.9.0-1")
@pytest.mark.clause311("MQTT-2.3.1-4")
@pytest.mark.slow
def test_every_packet_id_can_be_in_flight_to_a_client(connect, topic, version, qos):
    """Before version 5 no Receive Maximum says so: more would come, were there more ids."""
    s, p = connect("s", version), connect("p", 4)
    s.subscribe(topic("a"), qos=qos)
    batch = b"".join(codec.publish(4, topic("a"), b"", 1 if qos == 1 else 2, n + 1)
                     for n in range(BATCH))
    release = b"".join(codec.ack(codec.PUBREL, 4, n + 1) for n in range(BATCH))
    for _ in range(0, ALL + 5, BATCH):
        p.send(batch)
        for n in range(BATCH):
            p.expect("PUBACK" if qos == 1 else "PUBREC", id=n + 1)
        if qos == 2:
            p.send(release)
            for n in range(BATCH):
                p.expect("PUBCOMP", id=n + 1)
    ids = {s.expect_publish(ack=False).id for _ in range(ALL)}
    assert ids == set(range(1, ALL + 1))
    s.expect_nothing()
    for number in (1, 4711, ALL):  # only what is acknowledged comes free
        if qos == 1:
            s.puback(number)
        elif version == 5 and number != 4711:
            s.pubrec(number, 0x80)
        else:
            s.pubrec(number)
            s.expect("PUBREL", id=number)
            s.expect_nothing()  # which the first half does not do
            s.pubcomp(number)
        assert s.expect_publish(ack=False).id == number
    s.expect_nothing()


@pytest.mark.config(max_inflight_messages=0, receive_maximum=ALL)
@pytest.mark.clause("MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-3.3.4-7")
@pytest.mark.slow
def test_every_packet_id_can_be_in_flight_from_a_client(connect, topic):
    c = connect("c")
    assert c.connack.props.get("receive_max", ALL) == ALL
    for at in range(1, ALL + 1, BATCH):
        ids = range(at, min(at + BATCH, ALL + 1))
        c.send(b"".join(codec.publish(5, topic("a"), b"", 2, n) for n in ids))
        for number in ids:
            c.expect("PUBREC", id=number, code={0, 0x10})
    c.send(codec.publish(5, topic("a"), b"", 2, 4711, dup=True))  # a repeat is no excess
    c.expect("PUBREC", id=4711)
    for at in range(1, ALL + 1, BATCH):
        ids = range(at, min(at + BATCH, ALL + 1))
        c.send(b"".join(codec.ack(codec.PUBREL, 5, n) for n in ids))
        for number in ids:
            c.expect("PUBCOMP", id=number, code=0)
