"""What shows only with many: subscribers, messages under way, packet ids; and what must not be forgotten at rest."""

import itertools

import pytest

import mqtt_codec as codec
from support import lasting, not_31, payloads

BATCH = 500
LAST_ID = 65535


@not_31
@pytest.mark.clause("MQTT-4.5.0-1")
@pytest.mark.clause311("MQTT-4.5.0-1")
def test_a_message_reaches_all_of_many_subscribers_of_a_filter(connect, topic, version):
    p, subscribers = connect("p", version), []
    for n in range(150):
        subscribers.append(connect(f"s{n}", version))
        subscribers[-1].subscribe(topic("a"), qos=1)
        if n < 6 or n % 48 == 0:
            p.publish(topic("a"), str(n), 1)
            for s in subscribers:
                s.expect_publish(topic("a"), str(n))
    p.publish(topic("a"), "all", 1)
    for s in subscribers:
        s.expect_publish(topic("a"), "all")


@pytest.mark.clause("MQTT-4.6.0-1", "MQTT-2.2.1-4")
@pytest.mark.clause311("MQTT-4.6.0-1", "MQTT-2.3.1-4")
@pytest.mark.parametrize("version", [4])
@pytest.mark.config(max_inflight_messages=0, max_queued_messages=0)
def test_messages_are_resent_in_order_when_the_packet_ids_begin_again(connect, topic, version):
    s, p = connect("s", version, **lasting(version)), connect("p", version)
    s.subscribe(topic("a"), qos=1)
    sent = 0
    while sent < LAST_ID - 3:
        count = min(BATCH, LAST_ID - 3 - sent)
        p.send(b"".join(codec.publish(version, topic("a"), b"", 1, n + 1) for n in range(count)))
        for n in range(count):
            p.expect("PUBACK", id=n + 1)
            s.expect_publish(topic("a"))
        sent += count
    words = [str(n).encode() for n in range(8)]
    for word in words:
        p.publish(topic("a"), word, 1)
    first = [s.expect_publish(ack=False) for _ in words]
    assert payloads(first) == words
    s.drop()
    s = connect("s", version, **lasting(version))
    again = [s.expect_publish(dup=True) for _ in words]
    assert [(p.payload, p.id) for p in again] == [(p.payload, p.id) for p in first]


@not_31
@pytest.mark.clause("MQTT-4.3.2-3")
@pytest.mark.clause311("MQTT-4.3.2-1")
@pytest.mark.config(max_inflight_messages=0, max_queued_messages=0)
def test_a_message_is_settled_by_its_own_packet_id_only(connect, topic, version):
    s, p = connect("s", version, **lasting(version)), connect("p", version)
    s.subscribe(topic("a"), qos=1)
    p.publish(topic("a"), "x", 1)
    held = s.expect_publish(ack=False)
    for power in range(16):
        s.send(codec.ack(codec.PUBACK, version, held.id ^ 1 << power or 77))
    s.sync()
    s.drop()
    s = connect("s", version, **lasting(version))
    s.expect_publish(topic("a"), "x", dup=True, id=held.id)
    s.expect_nothing()


@not_31
@pytest.mark.clause("MQTT-4.3.3-5", "MQTT-4.4.0-1")
@pytest.mark.clause311("MQTT-4.3.3-1", "MQTT-4.4.0-1")
@pytest.mark.config(max_inflight_messages=0, max_queued_messages=0)
def test_a_released_message_is_kept_while_many_others_are_sent(connect, topic, version):
    s, p = connect("s", version, **lasting(version)), connect("p", version)
    s.subscribe(topic("a"), qos=2)
    p.publish(topic("a"), "released", 2)
    released = s.expect_publish(topic("a"), "released", ack=False)
    s.pubrec(released.id)
    s.expect("PUBREL", id=released.id)
    for n in range(70):
        p.publish(topic("a"), str(n), 2)
    held = [s.expect_publish(ack=False).id for _ in range(70)]
    s.drop()
    s = connect("s", version, **lasting(version))
    assert s.take("PUBREL").id == released.id
    s.pubcomp(released.id)
    assert [s.expect_publish(dup=True, ack=False).id for _ in held] == held


@not_31
@pytest.mark.clause("MQTT-4.3.3-10", "MQTT-4.3.3-12")
@pytest.mark.clause311("MQTT-4.3.3-2")
@pytest.mark.parametrize("order", list(itertools.permutations((5, 6, 7))), ids=str)
def test_each_of_several_messages_is_remembered_until_its_own_release(connect, topic, version, order):
    """Whether the server passes a message on at once, or when it is released."""
    s, p = connect("s", version), connect("p", version)
    s.subscribe(topic("+"), qos=0)
    waiting = [5, 6, 7]
    for number in waiting:
        p.send(codec.publish(version, topic(str(number)), "first", 2, number))
        p.expect("PUBREC", id=number, code=0)
    for released in order:
        for number in waiting:
            p.send(codec.publish(version, topic(str(number)), "first", 2, number, dup=True))
            p.expect("PUBREC", id=number)
        p.pubrel(released)
        p.expect("PUBCOMP", id=released)
        waiting.remove(released)
    got = [s.expect_publish(payload="first").topic for _ in order]
    assert sorted(got) == [topic(str(number)) for number in sorted(order)]
    s.expect_nothing()
    for number in order:
        p.send(codec.publish(version, topic(str(number)), "next", 2, number))
        p.expect("PUBREC", id=number, code=0)
        p.pubrel(number)
        p.expect("PUBCOMP", id=number, code=0)
        s.expect_publish(topic(str(number)), "next")


def rest(broker, *clients):
    """Lets some keepalives of 10 seconds go by in which nothing but PINGREQ comes."""
    for _ in range(6):
        broker.turn(8_000)
        for c in clients:
            c.ping()
    broker.settle()


@not_31
@pytest.mark.clause("MQTT-4.3.3-10")
@pytest.mark.clause311("MQTT-4.3.3-2")
def test_at_rest_an_unreleased_message_is_remembered(broker, connect, topic, version):
    s, p = connect("s", version), connect("p", version, keepalive=10)
    s.subscribe(topic("a"), qos=0)
    p.send(codec.publish(version, topic("a"), "x", 2, 7))
    p.expect("PUBREC", id=7, code=0)
    rest(broker, p)
    p.send(codec.publish(version, topic("a"), "x", 2, 7, dup=True))
    p.expect("PUBREC", id=7)
    p.pubrel(7)
    p.expect("PUBCOMP", id=7, code=0)
    s.expect_publish(topic("a"), "x")
    s.expect_nothing()


@not_31
@pytest.mark.clause("MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.4.0-1")
@pytest.mark.clause311("MQTT-4.3.2-1", "MQTT-4.4.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_at_rest_an_unacknowledged_message_is_remembered(broker, connect, topic, version, qos):
    s = connect("s", version, keepalive=10, **lasting(version))
    s.subscribe(topic("a"), qos=qos)
    connect("p", version).publish(topic("a"), "x", qos)
    held = s.expect_publish(topic("a"), "x", ack=False)
    rest(broker, s)
    s.drop()
    s = connect("s", version, **lasting(version))
    s.expect_publish(topic("a"), "x", dup=True, id=held.id)
    s.expect_nothing()


@not_31
@pytest.mark.clause("MQTT-3.1.3-2", "MQTT-3.1.3-5")
@pytest.mark.clause311("MQTT-3.1.3-2", "MQTT-3.1.3-5")
@pytest.mark.parametrize("length", [23, 24, 100])
def test_all_of_a_long_client_id_counts(connect, topic, prefix, version, length):
    long = prefix.ljust(length - 1, "x")
    one = connect(client_id=long + "1", version=version, **lasting(version))
    two = connect(client_id=long + "2", version=version, **lasting(version))
    assert not one.connack.session_present and not two.connack.session_present
    one.subscribe(topic("a"), qos=1)
    one.disconnect()
    assert connect(client_id=long + "1", version=version, **lasting(version)).connack.session_present
    two.ping()
