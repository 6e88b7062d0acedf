"""Message expiry."""

import pytest

from support import FOREVER, lasting, offline


@pytest.mark.clause("MQTT-3.3.2-5", "MQTT-3.3.2-6")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_queued_message_expires_or_arrives_with_what_is_left(broker, connect, topic, qos):
    offline(connect, "s", topic("a"), qos=qos)
    p = connect("p")
    for seconds in (10, 100, None):
        props = {"message_expiry": seconds} if seconds else None
        p.publish(topic("a"), str(seconds), qos, props=props)
    broker.turn(30_000)
    broker.settle()
    s = connect("s", **lasting(5))
    left = s.expect_publish(topic("a"), "100").props["message_expiry"]
    assert left in (69, 70)
    assert "message_expiry" not in s.expect_publish(topic("a"), "None").props
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.2-6")
@pytest.mark.parametrize("seconds", [1, 60, FOREVER])
def test_a_message_that_did_not_wait_keeps_its_expiry(connect, topic, seconds):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    connect("p").publish(topic("a"), "x", 1, props={"message_expiry": seconds})
    assert s.expect_publish(topic("a")).props["message_expiry"] in (seconds, seconds - 1)


@pytest.mark.clause("X5-22", "MQTT-3.3.2-5", "MQTT-3.3.2-6")
def test_a_retained_message_expires(broker, connect, topic):
    connect("p").publish(topic("a"), "kept", 1, retain=True, props={"message_expiry": 100})
    broker.turn(40_000)
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    assert s.expect_publish(topic("a"), retain=True).props["message_expiry"] in (59, 60)
    broker.turn(61_000)
    broker.settle()
    t = connect("t")
    t.subscribe(topic("a"), qos=1)
    t.expect_nothing()


def test_an_expired_retained_message_can_be_replaced(broker, connect, topic):
    p = connect("p")
    p.publish(topic("a"), "old", 1, retain=True, props={"message_expiry": 10})
    broker.turn(20_000)
    p.publish(topic("a"), "new", 1, retain=True)
    broker.turn(3600_000)
    s = connect("s")
    s.subscribe(topic("a"))
    s.expect_publish(topic("a"), "new", retain=True)
    p.publish(topic("a"), "", 1, retain=True)


@pytest.mark.parametrize("qos", [1, pytest.param(2, marks=pytest.mark.clause("MQTT-4.3.3-7"))])
def test_once_sent_a_message_no_longer_expires(broker, connect, topic, qos):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "x", qos, props={"message_expiry": 10})
    first = s.expect_publish(ack=False)
    broker.turn(20_000)
    s.drop()
    s = connect("s", **lasting(5))
    again = s.expect_publish(topic("a"), "x", dup=True, id=first.id)
    assert again.props.get("message_expiry", 1) > 0
    s.expect_nothing()


@pytest.mark.clause("MQTT-4.3.3-13")
def test_a_handshake_goes_on_after_the_messages_expiry(broker, connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "x", 2, props={"message_expiry": 10})
    packet = s.expect_publish(ack=False)
    broker.turn(20_000)
    s.acknowledge(packet)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.2-5")
def test_a_message_behind_a_closed_window_expires(broker, connect, topic):
    s = connect("s", props={"receive_max": 1})
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.publish(topic("a"), "held", 1)
    p.publish(topic("a"), "short", 1, props={"message_expiry": 10})
    p.publish(topic("a"), "long", 1, props={"message_expiry": 100})
    held = s.expect_publish(payload="held", ack=False)
    broker.turn(20_000)
    broker.settle()
    s.acknowledge(held)
    assert s.expect_publish(payload="long").props["message_expiry"] in (79, 80)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.2-5")
def test_messages_expire_for_311_clients_too(broker, connect, topic):
    offline(connect, "s", topic("a"), version=4)
    p = connect("p")
    p.publish(topic("a"), "short", 1, props={"message_expiry": 10})
    p.publish(topic("a"), "long", 1, props={"message_expiry": 100})
    broker.turn(20_000)
    broker.settle()
    s = connect("s", 4, clean=False)
    s.expect_publish(topic("a"), "long")
    s.expect_nothing()


@pytest.mark.config(retain_expiry_interval=1)
@pytest.mark.ours
def test_expired_retained_messages_are_swept_out(broker, connect, topic):
    """They are not only hidden: the count of retained messages goes down again."""
    watcher = connect("w")
    watcher.subscribe("$SYS/broker/retained messages/count")
    before = int(watcher.expect_publish().payload)  # perhaps without the $SYS topics themselves
    p = connect("p")
    for n in range(500):
        p.publish(topic(str(n)), "x", 1, retain=True, props={"message_expiry": 10})
    broker.turn(1500)
    while int(watcher.expect_publish().payload) < before + 450:
        broker.turn(1500)
    broker.turn(61_000)
    while int(watcher.expect_publish().payload) > before + 250:
        broker.turn(61_000)
