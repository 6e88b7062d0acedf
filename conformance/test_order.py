"""The messages of each publisher stay in order, per topic and QoS, whatever becomes of the connections."""

import collections
import random

import pytest

import lossy
import mqtt_codec as codec
from support import lasting, not_31

QUEUES = pytest.mark.config(queue_qos0_messages="true")
windows = pytest.mark.parametrize("window", [1, 2, 3])


class Source:
    """A publisher of numbered messages, several at once: it waits for the answers afterwards."""

    def __init__(self, c, topic, name):
        self.c, self.topic, self.name = c, topic, name
        self.sent, self.open = [], {}  # of what has been sent; packet id -> PUBLISH without an answer
        self.number = 0

    def send(self, *qualities):
        """One message of each QoS that is named, in one write."""
        data = b""
        for qos in qualities:
            self.number += 1
            payload = b"%s %d %d" % (self.name.encode(), qos, self.number)
            self.sent.append(payload)
            number = self.number if qos else None
            data += codec.publish(self.c.version, self.topic, payload, qos, number)
            if qos:
                self.open[number] = (payload, qos)
        self.c.send(data)

    def finish(self):
        for number, (_, qos) in list(self.open.items()):
            self.c.take("PUBACK" if qos == 1 else "PUBREC", packet_id=number)
            if qos == 2:
                self.c.pubrel(number)
                self.c.take("PUBCOMP", packet_id=number)
        self.open.clear()
        self.c.ping()

    def go_on(self, c):
        """On another connection, where it sends again what has no answer."""
        self.c = c
        self.c.send(b"".join(codec.publish(c.version, self.topic, payload, qos, number, dup=True)
                             for number, (payload, qos) in self.open.items()))


def streams(payloads):
    """What each publisher sent with each QoS: {(name, QoS): payloads}."""
    found = collections.defaultdict(list)
    for payload in payloads:
        found[tuple(payload.split()[:2])].append(payload)
    return found


def faults_of(sources, got, once=(1, 2), losable=()):
    """What is wrong with `got`; QoS 0 once at most, the others at least once, those of `once` not twice."""
    sent = streams(payload for source in sources for payload in source.sent)
    faults = []
    for key in set(sent) | set(streams(got)):
        qos = int(key[1])
        found = lossy.faults_of(sent[key], streams(got)[key], qos == 0 or qos in once)
        faults += [one for one in found if qos not in losable or "never arrived" not in one]
    return faults


def collect(receivers, sources, losable=()):
    """Lets them take in all that was sent, each something or everything."""
    wanted = {one for source in sources for one in source.sent if int(one.split()[1]) not in losable}
    for _ in range(1000):
        for receiver in receivers:
            receiver.step()
        got = set(sum((receiver.got for receiver in receivers), []))
        if wanted <= got and not any(receiver.held for receiver in receivers):
            break


@pytest.fixture
def sources(connect, landing, topic):
    """sources(count, version) -> publishers, on the reactors in turn."""
    def make(count=3, version=5, name="p", at="a"):
        return [Source(connect(f"{name}{n}", version, source=landing.on(n % 2)), topic(at), f"{name}{n}")
                for n in range(count)]
    return make


def kept(version, window=None):
    """Arguments of a session that is kept, with a window for what is sent to it."""
    keep = lasting(version)
    if version == 5 and window:
        keep["props"] = {**keep["props"], "receive_max": window}
    return keep


@pytest.fixture
def subscriber(connect):
    """subscriber(name, filter, ...) -> lossy.Receiver of a kept session; `source()` tells where from."""
    def make(name, text, version=5, window=None, qos=2, source=lambda: None, seed=0,
             unique=True):
        s = connect(name, version, **kept(version, window))
        s.subscribe(text, qos=qos)
        receiver = lossy.Receiver(lambda: connect(name, version, source=source(), **kept(version, window)),
                                  lossy.nothing_is_lost, seed, unique)
        receiver.left_open = s
        return receiver
    return make


# ----------------------------------------------------------------------------------- the judge


class Sent:
    def __init__(self, *payloads):
        self.sent = list(payloads)


@pytest.mark.parametrize("got, expected", [
    ([b"a 1 1", b"a 1 2", b"b 1 1", b"a 2 3"], 0), ([b"b 1 1", b"a 2 3", b"a 1 1", b"a 1 2"], 0),
    ([b"a 1 2", b"a 1 1", b"b 1 1", b"a 2 3"], 1), ([b"a 1 1", b"a 1 2", b"a 2 3"], 1),
    ([b"a 1 1", b"a 1 2", b"b 1 1", b"a 2 3", b"a 2 3"], 1), ([b"a 1 1", b"b 1 1"], 2)])
def test_each_stream_is_judged_by_itself(got, expected):
    assert len(faults_of([Sent(b"a 1 1", b"a 1 2", b"a 2 3"), Sent(b"b 1 1")], got)) == expected


@pytest.mark.ours
def test_a_connection_lands_on_the_reactor_that_was_chosen(connect, landing):
    for number, reactor in enumerate([0, 1, 1, 0, 1]):
        c = connect(f"c{number}", source=landing.on(reactor))
        assert landing.reactor_of(c.client_id) == reactor


# -------------------------------------------------------------------------------------- queues


@QUEUES
@not_31
@pytest.mark.parametrize("window", [None, 1, 2, 3])
@pytest.mark.clause("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-3.3.4-9")
@pytest.mark.clause311("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_a_queue_of_an_absent_session_keeps_each_publishers_order(
        broker, topic, subscriber, sources, version, window):
    receiver = subscriber("s", topic("a"), version, window)
    receiver.left_open.disconnect()
    receiver.left_open = None
    publishers = sources(3, version)
    for turn in range(4):
        for p in publishers:
            p.send(0, 1, 2, 1, 2)
        for p in publishers:
            p.finish()
    broker.settle()
    collect([receiver], publishers)
    receiver.c.expect_nothing()
    assert faults_of(publishers, receiver.got) == []


@windows
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.clause("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-3.3.4-9", "MQTT-4.9.0-2")
def test_a_queue_behind_a_full_window_keeps_each_publishers_order(connect, topic, sources, window, seed):
    """Acknowledgements come in any order, while more messages come."""
    chance = random.Random(seed)
    s = connect("s", props={"receive_max": window})
    s.subscribe(topic("a"), qos=2)
    publishers = sources(3)
    got, held = [], []
    for turn in range(60):
        if turn < 12:
            p = publishers[turn % 3]
            p.send(*(chance.choice([0, 1, 2]) for _ in range(4)))
            p.finish()
        s.sync()
        arrived = [s.inbox.pop(0) for _ in range(len(s.inbox))]
        got += [packet.payload for packet in arrived]
        held += [packet for packet in arrived if packet.qos]
        chance.shuffle(held)
        if turn % 2 or turn >= 12:
            for packet in held:
                s.acknowledge(packet)
            held.clear()
    assert faults_of(publishers, got) == []


@pytest.mark.config(max_queued_messages=0, max_inflight_messages=0)
@pytest.mark.clause("MQTT-4.6.0-6")
def test_what_is_published_while_a_long_queue_is_sent_waits_behind_it(connect, topic):
    """It takes several turns, and the publisher has one in each."""
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    s.disconnect()
    p = connect("p", 4)
    count = 0
    for _ in range(10):
        p.send(b"".join(codec.publish(4, topic("a"), b"%d" % (count + n), 1, 1 + count + n)
                        for n in range(300)))
        count += 300
    for _ in range(count):
        p.expect("PUBACK")
    s = connect("s", connect=False)
    s.send(codec.connect(5, s.client_id, clean=False, props={"session_expiry": 1000}))
    for _ in range(30):
        p.publish(topic("a"), b"%d" % count, 1)
        count += 1
    assert s.expect("CONNACK").session_present
    assert [int(s.take("PUBLISH").payload) for _ in range(count)] == list(range(count))


# ------------------------------------------------------------------------------------ takeovers


@QUEUES
@not_31
@windows
@pytest.mark.clause("MQTT-4.6.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.4.0-1", "MQTT-3.1.4-3")
@pytest.mark.clause311("MQTT-4.6.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.4.0-1", "MQTT-3.1.4-2")
def test_takeovers_of_a_subscriber_between_reactors_keep_each_publishers_order(
        broker, topic, subscriber, sources, landing, version, window):
    """With messages unacknowledged, queued and under way at each."""
    chance = random.Random(window)
    turns = iter(range(1000))
    receiver = subscriber("s", topic("a"), version, window,
                          source=lambda: landing.on(next(turns) % 2), seed=window)
    receiver.fate = lambda kind: "cut" if chance.random() < 0.1 else None
    publishers = sources(3, version)
    for turn in range(10):
        for p in publishers:
            p.send(1, 0, 2, 1)
        receiver.go_online()
        receiver.left_open, receiver.c = receiver.c, None
        for p in publishers:
            p.send(2, 0, 1)
        for p in publishers:
            p.finish()
        receiver.step()
    receiver.fate = lossy.nothing_is_lost
    broker.settle()
    collect([receiver], publishers, losable=(0,))
    receiver.c.expect_nothing()
    assert next(turns) > 10
    assert faults_of(publishers, receiver.got, once=(2,), losable=(0,)) == []


@not_31
@pytest.mark.clause("MQTT-4.6.0-6", "MQTT-3.1.4-3")
@pytest.mark.clause311("MQTT-4.6.0-6", "MQTT-3.1.4-2")
def test_what_is_published_while_a_session_moves_arrives_in_order(connect, topic, sources, landing, version):
    """To the other reactor at each turn, with publishers on both."""
    publishers = sources(4, version)
    old = connect("s", version, source=landing.on(1), **lasting(version))
    old.subscribe(topic("a"), qos=1)
    got = []
    for turn in range(20):
        s = connect("s", version, connect=False, source=landing.on(turn % 2))
        s.send(codec.connect(version, s.client_id, clean=False, props=lasting(version).get("props")))
        for _ in range(4):
            for p in publishers:
                p.send(1, 1)
        assert s.expect("CONNACK").session_present
        for p in publishers:
            p.finish()
        wanted = sum(len(p.sent) for p in publishers)
        while len(set(got)) < wanted:
            got.append(s.expect_publish(topic("a")).payload)
        old.close()
        old = s
    assert faults_of(publishers, got, once=()) == []


@not_31
@pytest.mark.parametrize("way", ["same", "other"])
@pytest.mark.clause("MQTT-4.6.0-6", "MQTT-4.5.0-1", "MQTT-3.1.4-3")
@pytest.mark.clause311("MQTT-4.6.0-6", "MQTT-4.5.0-1", "MQTT-3.1.4-2")
def test_takeovers_of_a_publisher_between_reactors_keep_its_order(
        broker, connect, topic, subscriber, landing, version, way):
    """It changes its connection in the middle of what it sends, and does not wait."""
    receivers = [subscriber(f"s{n}", topic("a"), source=lambda n=n: landing.on(n), unique=False)
                 for n in range(2)]
    for receiver in receivers:
        receiver.go_online()
    keep = kept(version)
    source = Source(connect("p", version, source=landing.on(0), **keep), topic("a"), "p")
    old = []
    for turn in range(12):
        source.send(0, 1, 2, 0, 1, 2)
        old.append(source.c)
        reactor = (turn + 1) % 2 if way == "other" else 0
        source.go_on(connect("p", version, source=landing.on(reactor), **keep))
        source.send(1, 0, 2)
        source.finish()
    for c in old:
        c.close()
    broker.settle()
    for receiver in receivers:
        collect([receiver], [source], losable=(0,))
        assert faults_of([source], receiver.got, once=(2,), losable=(0,)) == []


# ----------------------------------------------------------------------- many at once, shared


@not_31
@pytest.mark.clause("MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.clause311("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_publishers_at_once_each_keep_their_order_with_every_subscriber(
        broker, topic, subscriber, sources, landing, version):
    receivers = [subscriber(f"s{n}", topic("a"), version, qos=n, source=lambda n=n: landing.on(n % 2))
                 for n in range(3)]
    for receiver in receivers:
        receiver.go_online()
    publishers = sources(6, version)
    for _ in range(6):
        for p in publishers:
            p.send(0, 1, 2, 2, 1, 0)
        for p in publishers:
            p.finish()
    broker.settle()
    for receiver in receivers:
        collect([receiver], publishers)
        assert faults_of(publishers, receiver.got) == []


@not_31
@windows
@pytest.mark.clause("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.8.2-3")
def test_members_of_a_share_each_get_every_publishers_messages_in_order(
        broker, topic, subscriber, sources, landing, version, window):
    """Members go, with what they have not acknowledged, and come back to it."""
    turns = iter(range(1000))
    receivers = [subscriber(f"m{n}", f"$share/g/{topic('a')}", version, window,
                            source=lambda: landing.on(next(turns) % 2), seed=n) for n in range(3)]
    publishers = sources(3, version)
    for turn in range(9):
        for p in publishers:
            p.send(1, 2, 1, 2)
        leaver = receivers[turn % 3]
        if leaver.c:
            leaver.cut("left open")  # it is taken over before others get what it has
        for p in publishers:
            p.finish()
        for receiver in receivers:
            receiver.step()
    collect(receivers, publishers)
    got = sum((receiver.got for receiver in receivers), [])
    assert sorted(got) == sorted(one for p in publishers for one in p.sent)
    for receiver in receivers:
        mine = set(receiver.got)
        theirs = [Sent(*(one for one in p.sent if one in mine)) for p in publishers]
        assert faults_of(theirs, receiver.got) == []


@not_31
@pytest.mark.ours
@pytest.mark.parametrize("reactor", [0, 1])
@pytest.mark.parametrize("window", [3, 20])
@pytest.mark.clause("MQTT-4.6.0-5", "X5-26")
def test_what_the_last_member_of_a_share_leaves_is_handed_on_in_order(
        broker, connect, topic, sources, landing, version, window, reactor):
    """Some of it was in flight, some waited; what is published afterwards comes afterwards."""
    leaver = connect("m0", version, source=landing.on(0),
                     **({"props": {"receive_max": window}} if version == 5 else {}))
    leaver.subscribe(f"$share/g/{topic('a')}", qos=1)
    publishers = sources(2, version)
    for _ in range(15):
        for p in publishers:
            p.send(1)
            p.finish()
    heir = connect("m1", version, source=landing.on(reactor))
    heir.subscribe(f"$share/g/{topic('a')}", qos=1)
    leaver.drop()
    broker.settle()
    for p in publishers:
        p.send(1, 1)
        p.finish()
    got = [heir.expect_publish().payload for p in publishers for _ in p.sent]
    assert faults_of(publishers, got) == []
    heir.expect_nothing()


LEVELS = "abcdef"
FILTERS = ["/".join("+" if shape >> level & 1 else name for level, name in enumerate(LEVELS))
           for shape in range(64)]


@pytest.mark.parametrize("reactor", [0, 1])
@pytest.mark.parametrize("end", ["taken over", "gone"])
@pytest.mark.clause("MQTT-4.6.0-6")
def test_a_publisher_that_comes_back_does_not_overtake_what_is_still_being_spread(
        broker, connect, topic, landing, reactor, end):
    """What it sent before goes to more subscriptions than are served in one turn."""
    subscribers = [connect(f"s{n}", source=landing.on(n % 2)) for n in range(33)]
    for s in subscribers:
        s.subscribe(*(f"{topic('')}{text}" for text in FILTERS))
    name = topic("") + "/".join(LEVELS)
    for turn in range(0, 9, 3):
        first = connect("p", source=landing.on(0), **lasting(5))
        first.send(b"".join(codec.publish(5, name, b"%d" % (turn + n)) for n in range(2)))
        if end == "gone":
            first.reset()
        connect("p", source=landing.on(reactor), **lasting(5)).publish(name, b"%d" % (turn + 2))
    broker.settle()
    for s in subscribers:
        s.sync()
        got = [int(packet.payload) for packet in s.inbox]
        assert got == sorted(got)
        assert got[-len(FILTERS):] == [8] * len(FILTERS)
