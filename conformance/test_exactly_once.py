"""QoS 2 exactly once and QoS 1 at least once, in order, through packets that are lost and repeated."""

import pytest

import lossy
from support import lasting, not_31

STEPS_MAX = 2000
FAULTS = ["cut", "repeat", "both"]
WAYS = ["same", "other"]  # the reactor to which a lost connection comes back


@pytest.fixture
def sessions(connect, landing):
    """sessions(name, version, way) -> come_back() for lossy.End: connects again and again to a session."""
    def make(name, version, way="any", filters=(), **props):
        keep = lasting(version)
        if version == 5:
            keep["props"] = {**keep["props"], **props}
        first = connect(name, version, **keep)
        if filters:
            first.subscribe(*filters, qos=2)
        first.disconnect()
        count = 0

        def come_back():
            nonlocal count
            reactor = {"same": 0, "other": count % 2, "any": None}[way]
            count += 1
            source = None if reactor is None else landing.on(reactor)
            return connect(name, version, source=source, **keep)
        return come_back
    return make


# ----------------------------------------------------------------------------------- the judge


@pytest.mark.parametrize("got, once, faults", [
    ("abc", True, []), ("abc", False, []), ("aabbcc", False, []), ("abcabc", False, []),
    ("abbc", True, ["'b' arrived 2 times"]), ("ac", True, ["'b' never arrived"]),
    ("ac", False, ["'b' never arrived"]), ("acb", True, ["out of order: ['a', 'c', 'b']"]),
    ("acbc", False, ["out of order: ['a', 'c', 'b']"]), ("abcx", True, ["'x' was never sent"]),
    ("", True, ["'a' never arrived", "'b' never arrived", "'c' never arrived"])])
def test_what_is_lost_repeated_or_out_of_order_is_noticed(got, once, faults):
    assert lossy.faults_of(list("abc"), list(got), once) == faults


# ------------------------------------------------------------------- one step, one kind of fault


@not_31
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("qos, step", [(2, "PUBLISH"), (2, "PUBREC"), (2, "PUBREL"), (2, "PUBCOMP"),
                                       (1, "PUBLISH"), (1, "PUBACK")])
@pytest.mark.clause("MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-4.3.3-12", "MQTT-4.3.2-4",
                    "MQTT-4.3.2-5", "MQTT-4.6.0-5")
@pytest.mark.clause311("MQTT-4.3.3-2", "MQTT-4.3.2-2", "MQTT-4.6.0-5")
def test_what_a_publisher_loses_or_repeats_is_routed_by_its_qos(
        connect, topic, sessions, version, qos, step, fault, way):
    """Each message has one fault more than the one before."""
    watcher = connect("w")
    watcher.subscribe(topic("a"), qos=2)
    fate = lossy.Script(step, fault)
    publisher = lossy.Publisher(sessions("p", version, way), fate, topic("a"), [])
    sent = [b"%d" % number for number in range(4)]
    for number, payload in enumerate(sent):
        publisher.todo.append(lossy.Message(payload, qos))
        fate.left = number
        publisher.finish()
    assert publisher.cuts == (0 if fault == "repeat" else 6)
    got = [watcher.expect_publish(topic("a"), sent[0]).payload]
    while got[-1] != sent[-1]:
        got.append(watcher.expect_publish(topic("a"), dup=False).payload)
    watcher.sync()
    got += [packet.payload for packet in watcher.inbox]
    assert lossy.faults_of(sent, got, once=qos == 2) == []


@not_31
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("qos, step, fault", [
    (2, step, fault) for step in ("PUBREC", "PUBREL", "PUBCOMP") for fault in FAULTS
] + [(1, "PUBACK", fault) for fault in FAULTS] + [(2, "PUBLISH", "cut"), (1, "PUBLISH", "cut")])
@pytest.mark.clause("MQTT-4.3.3-1", "MQTT-4.3.3-3", "MQTT-4.3.3-4", "MQTT-4.3.3-5", "MQTT-4.3.3-6",
                    "MQTT-4.3.2-1", "MQTT-4.3.2-3", "MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-4.6.0-1")
@pytest.mark.clause311("MQTT-4.3.3-1", "MQTT-4.3.2-1", "MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-4.6.0-1")
def test_what_a_subscriber_loses_or_repeats_reaches_it_by_its_qos(
        broker, connect, topic, sessions, version, qos, step, fault, way):
    fate = lossy.Script(step, fault)
    receiver = lossy.Receiver(sessions("s", version, way, [topic("a")], receive_max=2), fate)
    publisher = connect("p")
    receiver.go_online()
    sent = [b"%d" % number for number in range(8)]
    for number in range(4):
        fate.left = number
        for payload in sent[2 * number:2 * number + 2]:
            publisher.publish(topic("a"), payload, qos)
        for _ in range(STEPS_MAX):
            receiver.step()
            if sent[2 * number + 1] in receiver.got and not receiver.held:
                break
    fate.left = 0
    broker.settle()
    receiver.step()
    assert receiver.cuts in ([0] if fault == "repeat" else [5, 6])
    assert lossy.faults_of(sent, receiver.got, once=qos == 2) == []
    receiver.c.expect_nothing()


# ------------------------------------------------------------------------------- losses by chance

MESSAGES = 20
LOSS = 0.3


@pytest.mark.parametrize("qos, seed", [(2, seed) for seed in range(30)]
                         + [(1, seed) for seed in range(10)])
@pytest.mark.clause("MQTT-4.3.3-10", "MQTT-4.3.3-12", "MQTT-4.4.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-1",
                    "MQTT-4.3.2-3", "MQTT-3.3.1-1")
@pytest.mark.clause311("MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.4.0-1", "MQTT-4.6.0-5", "MQTT-3.3.1-1")
def test_messages_come_through_connections_that_lose_a_third_of_all_packets(
        broker, topic, sessions, qos, seed):
    version = 4 + seed % 2
    is_publisher_lossy = qos == 2 or seed % 3
    sent = [b"%d" % number for number in range(MESSAGES)]
    receiver = lossy.Receiver(sessions("s", version, filters=[topic("a")]),
                              lossy.Chance(seed, LOSS), seed, unique=qos == 2 or not is_publisher_lossy)
    fate = lossy.Chance(-1 - seed, LOSS) if is_publisher_lossy else lossy.nothing_is_lost
    publisher = lossy.Publisher(sessions("p", version), fate, topic("a"),
                                [(payload, qos) for payload in sent], window=1 + seed % 4, seed=seed)
    for _ in range(STEPS_MAX):
        publisher.step()
        receiver.step()
        if publisher.is_done() and set(sent) <= set(receiver.got) and not receiver.held:
            break
    publisher.fate = receiver.fate = lossy.nothing_is_lost
    broker.settle()
    receiver.step()
    assert lossy.faults_of(sent, receiver.got, once=qos == 2) == []
    assert not receiver.held
    assert receiver.cuts > 5 and (publisher.cuts > 5 or not is_publisher_lossy)
    receiver.c.expect_nothing()
