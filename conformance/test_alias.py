"""Topic aliases, both ways."""

import pytest

import mqtt_codec as codec
from support import lasting


def limit(c):
    return c.connack.props.get("topic_alias_max", 0)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.clause("MQTT-3.3.2-12")
def test_the_whole_offered_range_works(connect, topic, qos):
    s = connect("s")
    s.subscribe(topic("#"), qos=2)
    p = connect("p")
    assert limit(p) >= 1
    for alias in {1, limit(p) // 2 + 1, limit(p)}:
        p.publish(topic(f"t{alias}"), "set", qos, props={"topic_alias": alias})
        p.publish("", "used", qos, props={"topic_alias": alias})
        for payload in ("set", "used"):
            packet = s.expect_publish(topic(f"t{alias}"), payload, qos=qos)
            assert "topic_alias" not in packet.props


def test_an_alias_can_be_set_anew(connect, topic):
    s = connect("s")
    s.subscribe(topic("#"))
    p = connect("p")
    for name in ("a", "b", "a"):
        p.publish(topic(name), "set", 1, props={"topic_alias": 1})
        p.publish("", "used", 1, props={"topic_alias": 1})
        s.expect_publish(topic(name), "set")
        s.expect_publish(topic(name), "used")


@pytest.mark.clause("MQTT-3.3.2-7", "X5-09")
def test_aliases_end_with_their_connection(connect, topic):
    p = connect("p", **lasting(5))
    p.publish(topic("a"), "set", 1, props={"topic_alias": 1})
    p.disconnect()
    p = connect("p", **lasting(5))
    p.send(codec.publish(5, "", b"x", 1, 1, props={"topic_alias": 1}))
    p.expect_close(0x82)


def test_aliases_of_two_clients_do_not_meet(connect, topic):
    s = connect("s")
    s.subscribe(topic("#"))
    a, b = connect("a"), connect("b")
    a.publish(topic("a"), "", 1, props={"topic_alias": 1})
    b.publish(topic("b"), "", 1, props={"topic_alias": 1})
    a.publish("", "from a", 1, props={"topic_alias": 1})
    got = [s.expect_publish() for _ in range(3)]  # what two clients publish has no order
    assert sorted((packet.topic, packet.payload) for packet in got) == [
        (topic("a"), b""), (topic("a"), b"from a"), (topic("b"), b"")]


@pytest.mark.clause("X5-09", "MQTT-4.7.3-1")
@pytest.mark.parametrize("props", [None, {"topic_alias": 1}])
def test_no_topic_without_a_known_alias_is_a_protocol_error(connect, props):
    c = connect()
    c.send(codec.publish(5, "", b"x", 1, 1, props=props))
    c.expect_close(0x82)


@pytest.mark.clause("X5-10", "MQTT-3.3.2-8", "MQTT-3.3.2-9", "MQTT-3.2.2-17")
@pytest.mark.parametrize("alias", [0, "above", 65535])
def test_an_alias_out_of_range_is_refused(connect, topic, alias):
    c = connect()
    if alias == "above":
        alias = limit(c) + 1
    if alias > 65535 or 0 < alias <= limit(c):
        pytest.skip("every alias is in range")
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": alias}))
    c.expect_close(0x94)


@pytest.mark.config(max_topic_alias=0)
@pytest.mark.clause("MQTT-3.2.2-18", "X5-10")
def test_without_an_alias_budget_none_is_taken(connect, topic):
    c = connect()
    assert limit(c) == 0
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": 1}))
    c.expect_close(0x94)


@pytest.mark.config(max_topic_alias=3)
@pytest.mark.clause("MQTT-3.3.2-12", "MQTT-3.3.2-9")
def test_the_configured_alias_budget_is_announced_and_kept(connect, topic):
    c = connect()
    assert limit(c) == 3
    c.publish(topic("a"), "x", 1, props={"topic_alias": 3})
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": 4}))
    c.expect_close(0x94)


@pytest.mark.parametrize("budget", [None, 0, 1, 2, 65535])
@pytest.mark.clause("MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-11")
def test_the_server_keeps_to_the_clients_alias_budget(connect, topic, budget):
    """The client resolves whatever aliases it is given, within its budget."""
    s = connect("s", props=None if budget is None else {"topic_alias_max": budget})
    s.subscribe(topic("#"), qos=1)
    p = connect("p")
    names = ["a", "b", "c", "a", "a", "b", "c", "c", "a"] * 3
    for n, name in enumerate(names):
        p.publish(topic(name), str(n), n % 2)
    got = [s.expect_publish() for _ in names]
    assert sorted((int(x.payload), x.topic) for x in got) == [
        (n, topic(name)) for n, name in enumerate(names)]


@pytest.mark.clause("MQTT-3.3.2-7")
def test_redelivery_uses_no_alias_of_the_former_connection(connect, topic):
    keep = {"clean": False, "props": {"session_expiry": 1000, "topic_alias_max": 5}}
    s = connect("s", **keep)
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(4):
        p.publish(topic("a"), str(n), 1)
        s.expect_publish(topic("a"), ack=False)
    s.drop()
    s = connect("s", **keep)
    for n in range(4):
        s.expect_publish(topic("a"), str(n), dup=True)


def test_a_full_topic_with_dup_sets_the_alias_as_well(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.send(codec.publish(5, topic("a"), b"one", 1, 1, dup=True, props={"topic_alias": 1}))
    p.expect("PUBACK", id=1)
    p.publish("", "two", 1, props={"topic_alias": 1})
    s.expect_publish(topic("a"), "one")
    s.expect_publish(topic("a"), "two")
