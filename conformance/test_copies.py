"""One message and many receivers: a server may make one packet for several of them, and each gets what is its own."""

import pytest

import mqtt_codec as codec
from support import acknowledged, every_qos

EACH = 8  # clients of each kind, so that on every thread of a server both kinds meet


def receivers(connect, kinds, name="s"):
    """[(client, kind) ...], the kinds by turns; `kinds` are arguments of connect()."""
    return [(connect(f"{name}{n}", **kinds[n % len(kinds)]), n % len(kinds))
            for n in range(EACH * len(kinds))]


@every_qos
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_of_many_receivers_only_those_with_too_small_a_limit_are_passed_over(connect, topic, qos):
    whole = len(codec.publish(5, topic("a"), b"x" * 50, qos, 1 if qos else None))
    clients = receivers(connect, [{"props": {"max_packet_size": whole}},
                                  {"props": {"max_packet_size": whole - 1}}, {}])
    for s, _ in clients:
        s.subscribe(topic("a"), qos=qos)
    p = connect("p")
    p.publish(topic("a"), b"x" * 50, qos)
    p.publish(topic("a"), "small", qos)
    for s, kind in clients:
        if kind != 1:
            s.expect_publish(topic("a"), b"x" * 50)
        s.expect_publish(topic("a"), "small")


@acknowledged
@pytest.mark.clause("MQTT-3.3.1-12", "MQTT-3.3.1-13")
def test_of_many_receivers_each_gets_the_retain_that_it_asked_for(connect, topic, qos):
    clients = receivers(connect, [{}, {}])
    for s, as_published in clients:
        s.subscribe(topic("a"), qos=qos, rap=bool(as_published))
    p = connect("p")
    p.publish(topic("a"), "kept", qos, retain=True)
    p.publish(topic("a"), "", qos, retain=True)
    for s, as_published in clients:
        s.expect_publish(topic("a"), "kept", retain=bool(as_published))
        s.expect_publish(topic("a"), "", retain=bool(as_published))


@every_qos
@pytest.mark.clause("MQTT-3.3.4-3")
def test_of_many_receivers_each_gets_the_identifier_of_its_own_subscription(connect, topic, qos):
    clients = receivers(connect, [{}, {}, {}])
    for s, number in clients:
        s.subscribe(topic("a"), qos=qos, props={"subscription_id": number} if number else None)
    connect("p").publish(topic("a"), "x", qos)
    for s, number in clients:
        found = s.expect_publish(topic("a"), "x").props.get("subscription_id")
        assert found == ([number] if number else None)


@every_qos
@pytest.mark.clause("MQTT-3.8.4-8")
@pytest.mark.clause311("MQTT-3.8.4-6")
@pytest.mark.parametrize("version", [4, 5])
def test_of_many_receivers_each_gets_its_version_and_its_qos(connect, topic, qos, version):
    clients = receivers(connect, [{"version": 3}, {"version": 4}, {"version": 5}])
    wanted = [(s, number // 3 % 3) for number, (s, _) in enumerate(clients)]
    for s, granted in wanted:
        s.subscribe(topic("a"), qos=granted)
    connect("p", version).publish(topic("a"), "x", qos)
    for s, granted in wanted:
        s.expect_publish(topic("a"), "x", qos=min(qos, granted))
