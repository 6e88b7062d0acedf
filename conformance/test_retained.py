"""Retained messages: stored, replaced, cleared, replayed."""

import pytest

import mqtt_codec as codec
from support import every_qos, lasting, not_31, payloads, versions


@pytest.fixture
def retain(connect, topic):
    """retain("a", "x") keeps a message, and all of them are cleared when the test ends."""
    used = set()
    publisher = connect("retainer")

    def keep(name, payload, qos=1, **fields):
        used.add(name)
        publisher.publish(topic(name), payload, qos, retain=True, **fields)

    yield keep
    for name in used:
        if not publisher.eof:
            publisher.publish(topic(name), "", 1, retain=True)


@versions
@every_qos
@pytest.mark.parametrize("asked", [0, 1, 2])
@pytest.mark.clause("MQTT-3.3.1-5", "X5-27")
@pytest.mark.clause311("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8")
def test_a_retained_message_meets_new_subscribers(connect, topic, retain, version, qos, asked):
    retain("a", "kept", qos)
    s = connect("s", version)
    s.subscribe(topic("a"), qos=asked)
    s.expect_publish(topic("a"), "kept", qos=min(qos, asked), retain=True, dup=False)
    s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.3.1-5", "MQTT-3.3.1-8")
@pytest.mark.clause311("MQTT-3.3.1-7", "MQTT-3.3.1-12")
def test_only_a_retained_message_replaces_a_retained_message(connect, topic, retain, version):
    p = connect("p", version)
    for qos in (1, 0, 2):
        retain("a", f"kept {qos}", qos)
        p.publish(topic("a"), "passing", 1)
        s = connect("s", version)
        s.subscribe(topic("a"), qos=2)
        s.expect_publish(topic("a"), f"kept {qos}", retain=True)
        s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.3.1-6", "MQTT-3.3.1-7", "MQTT-3.3.1-12")
@pytest.mark.clause311("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11")
def test_an_empty_retained_message_is_delivered_and_clears(connect, topic, retain, version):
    live = connect("live", version)
    live.subscribe(topic("a"), qos=1)
    retain("a", "kept")
    live.expect_publish(topic("a"), "kept", retain=False)
    retain("a", "")
    live.expect_publish(topic("a"), "", retain=False)
    s = connect("s", version)
    s.subscribe(topic("a"))
    s.expect_nothing()


@not_31
@pytest.mark.clause311("MQTT-3.1.2-7")
def test_retained_messages_outlive_the_publishers_session(connect, topic, retain, version):
    p = connect("p", version)
    p.publish(topic("a"), "kept", 1, retain=True)
    p.disconnect()
    retain("b", "")
    s = connect("s", version)
    s.subscribe(topic("a"))
    s.expect_publish(topic("a"), "kept", retain=True)
    s.publish(topic("a"), "", 1, retain=True)


@pytest.mark.parametrize("text, found", [
    ("#", {"a", "a/b", "a/b/c", "x//y", "x/y"}), ("+", {"a"}), ("a/#", {"a", "a/b", "a/b/c"}),
    ("+/+", {"a/b", "x/y"}), ("a/+/c", {"a/b/c"}), ("x/+/y", {"x//y"}), ("x//y", {"x//y"}),
    ("+/b/#", {"a/b", "a/b/c"}), ("b", set())])
@pytest.mark.clause311("MQTT-3.3.1-6")
def test_a_wildcard_subscription_gets_every_matching_retained_message(
        connect, topic, retain, text, found):
    for name in ("a", "a/b", "a/b/c", "x//y", "x/y"):
        retain(name, name)
    s = connect("s")
    s.subscribe(topic(text), qos=1)
    got = {s.expect_publish(retain=True).topic for _ in found}
    assert got == {topic(name) for name in found}
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.8.4-4")
@pytest.mark.parametrize("handling, first, again", [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(connect, topic, retain, handling, first, again):
    retain("a", "kept")
    s = connect("s")
    for expected in (first, again, again):
        s.subscribe(topic("a"), qos=1, retain_handling=handling)
        s.sync()
        assert len(s.inbox) == expected
        for _ in range(expected):
            s.expect_publish(topic("a"), "kept", retain=True)
    s.unsubscribe(topic("a"))
    s.subscribe(topic("a"), qos=1, retain_handling=handling)
    s.sync()
    assert len(s.inbox) == first


@pytest.mark.clause("MQTT-3.3.1-10")
def test_retain_handling_1_knows_subscriptions_of_a_resumed_session(connect, topic, retain):
    retain("a", "kept")
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1, retain_handling=2)
    s.disconnect()
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1, retain_handling=1)
    s.expect_nothing()


@not_31
@pytest.mark.clause311("MQTT-3.8.4-3")
def test_subscribing_again_brings_retained_messages_again(connect, topic, retain, version):
    retain("a", "kept")
    s = connect("s", version)
    for _ in range(3):
        s.subscribe(topic("a"), qos=1)
        s.expect_publish(topic("a"), "kept", retain=True)


@pytest.mark.clause("X5-27")
@pytest.mark.parametrize("rap", [False, True])
def test_replayed_messages_have_retain_set_whatever_the_option(connect, topic, retain, rap):
    retain("a", "kept")
    s = connect("s")
    s.subscribe(topic("a"), rap=rap)
    s.expect_publish(topic("a"), "kept", retain=True)


def test_a_resumed_session_gets_no_retained_messages_by_itself(connect, topic, retain):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    s.disconnect()
    s = connect("s", **lasting(5))
    s.expect_nothing()
    retain("a", "kept")
    s.expect_publish(topic("a"), "kept", retain=False)


def test_a_retained_message_published_while_offline_is_queued_as_a_live_one(
        connect, topic, retain):
    s = connect("s", **lasting(5))
    s.subscribe((topic("a"), codec.options(1)), (topic("b"), codec.options(1, rap=True)))
    s.disconnect()
    retain("a", "kept")
    retain("b", "kept")
    s = connect("s", **lasting(5))
    s.expect_publish(topic("a"), retain=False)
    s.expect_publish(topic("b"), retain=True)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-15", "MQTT-3.3.2-16")
def test_retained_messages_keep_their_properties(connect, topic, retain):
    user = [("b", "1"), ("a", "2"), ("b", "1")]
    retain("a", "kept", props=[("content_type", "t"), ("response_topic", "r"),
                               ("correlation_data", b"\x00c"), ("payload_format", 1)]
           + [("user", pair) for pair in user])
    s = connect("s")
    s.subscribe(topic("a"))
    assert s.expect_publish(topic("a"), "kept").props == {
        "content_type": "t", "response_topic": "r", "correlation_data": b"\x00c",
        "payload_format": 1, "user": user}


def test_overlapping_filters_in_one_subscribe_each_bring_retained_messages(connect, topic, retain):
    retain("a/b", "kept")
    s = connect("s")
    s.subscribe(topic("a/b"), topic("a/+"), qos=1)
    s.sync()
    assert payloads(s.inbox) in ([b"kept"], [b"kept"] * 2)


def test_many_retained_messages_are_replayed_completely(connect, topic):
    p = connect("p")
    names = [topic(f"m/{n % 50}/{n}") for n in range(5000)]
    for name in names:
        p.send(codec.publish(5, name, name, retain=True))
    p.ping()
    s = connect("s")
    s.subscribe(topic("m/#"))
    got = [s.expect_publish(retain=True) for _ in names]
    assert sorted(x.topic for x in got) == sorted(names)
    assert all(x.payload == x.topic.encode() for x in got)
    s.expect_nothing()
    for name in names:
        p.send(codec.publish(5, name, b"", retain=True))
    p.ping()
    late = connect("late")
    late.subscribe(topic("m/#"))
    late.expect_nothing()


@pytest.mark.clause("MQTT-3.3.4-9")
def test_a_replay_keeps_to_the_receive_maximum(connect, topic, retain):
    for n in range(20):
        retain(f"m/{n}", str(n))
    s = connect("s", props={"receive_max": 3})
    s.subscribe(topic("m/#"), qos=1)
    held = [s.expect_publish(ack=False) for _ in range(3)]
    s.expect_nothing()
    for packet in held:
        s.acknowledge(packet)
    for _ in range(17):
        s.expect_publish(retain=True)
    s.expect_nothing()


def test_a_replay_can_be_cut_off_by_unsubscribe_or_disconnect(connect, topic):
    p = connect("p")
    names = [topic(f"m/{n}") for n in range(3000)]
    for name in names:
        p.send(codec.publish(5, name, b"x" * 500, retain=True))
    p.ping()
    s = connect("s")
    s.send(codec.subscribe(5, 1, [(topic("m/#"), 0)]) + codec.unsubscribe(5, 2, [topic("m/#")]))
    s.expect("UNSUBACK", id=2)
    s.sync()
    assert len([x for x in s.inbox if x.kind == "PUBLISH"]) <= 3000
    t = connect("t")
    t.send(codec.subscribe(5, 1, [(topic("m/#"), 0)]))
    t.reset()
    for name in names:
        p.send(codec.publish(5, name, b"", retain=True))
    p.ping()


LEVELS = ("x", "x!", "x0", "x0!", "x1", "y", "")  # "!" and "0" stand on both sides of "/"


@pytest.mark.clause("MQTT-3.3.1-9")
@pytest.mark.clause311("MQTT-3.3.1-6")
@not_31
@pytest.mark.parametrize("pattern", ["+/b", "+/+", "x/+", "x0/#", "+/c/#", "x0", "+", "#", "+/b/#", "x!/b"])
def test_no_retained_message_is_overlooked_between_others(connect, topic, pattern, version):
    p = connect("p", version)
    names = [f"{first}/{second}" for first in LEVELS for second in ("a", "b", "c")] + list(LEVELS[:-1])
    for name in names:
        p.publish(topic(name), name, 1, retain=True)
    s = connect("s", version)
    s.subscribe(topic(pattern))
    s.sync()
    found = sorted(packet.topic for packet in s.inbox if packet.kind == "PUBLISH")
    for name in names:
        p.publish(topic(name), "", 1, retain=True)
    assert found == sorted(topic(name) for name in names if matches(pattern.split("/"), name.split("/")))


@pytest.mark.clause("MQTT-3.3.1-9")
@pytest.mark.clause311("MQTT-3.3.1-6")
@not_31
def test_no_retained_message_is_overlooked_behind_many_that_do_not_match(connect, topic, version):
    """Wherever a server keeps them: some that match stand next behind one that does not."""
    p = connect("p", version)
    names = [topic(f"x/{n}{end}") for n in range(400) for end in ("/deeper", "0", "!")]
    for payload in (b"kept", b""):
        p.send(b"".join(codec.publish(version, name, payload, retain=True) for name in names))
        p.ping()
        s = connect(f"s{len(payload)}", version)
        s.subscribe(topic("x/+"))
        due = {name for name in names if not name.endswith("/deeper")} if payload else set()
        found = [s.expect("PUBLISH").topic for _ in due]  # a server may take its time for so many
        assert set(found) == due
        s.expect_nothing()


def matches(pattern, name):
    if pattern[:1] == ["#"]:
        return True
    if not pattern or not name:
        return not name and not pattern
    return pattern[0] in ("+", name[0]) and matches(pattern[1:], name[1:])


@pytest.mark.clause("MQTT-3.3.1-5", "X5-22")
@pytest.mark.config(retain_expiry_interval=1)
def test_a_retained_message_has_its_own_expiry_not_that_of_the_one_before(broker, connect, topic):
    p = connect("p")
    for n in range(50):
        p.publish(topic(str(n)), "old", 1, retain=True, props={"message_expiry": 10})
        p.publish(topic(str(n)), "new", 1, retain=True, props={"message_expiry": 100_000})
    for _ in range(10):
        broker.turn(61_000)
        broker.settle()
    s = connect("s")
    s.subscribe(topic("+"), qos=1)
    for _ in range(50):
        s.expect_publish(payload="new", retain=True)
