"""Maximum Packet Size, both ways. The test client itself refuses what exceeds its limit."""

import pytest

import mqtt_codec as codec
from support import every_qos, lasting


@every_qos
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_a_message_too_big_for_its_receiver_is_passed_over(connect, topic, qos):
    s = connect("s", props={"max_packet_size": 200, "receive_max": 1})
    s.subscribe(topic("a"), qos=qos)
    other = connect("o")
    other.subscribe(topic("a"), qos=qos)
    p = connect("p")
    for payload in (b"small", b"x" * 200, b"x" * 100_000, b"after"):
        p.publish(topic("a"), payload, qos)
    s.expect_publish(topic("a"), "small")
    s.expect_publish(topic("a"), "after")
    s.expect_nothing()
    for _ in range(4):
        other.expect_publish(topic("a"))


@every_qos
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_the_limit_is_exact(connect, topic, qos):
    whole = len(codec.publish(5, topic("a"), b"x" * 50, qos, 1 if qos else None))
    s = connect("s", props={"max_packet_size": whole})
    s.subscribe(topic("a"), qos=qos)
    p = connect("p")
    p.publish(topic("a"), b"y" * 51, qos)
    p.publish(topic("a"), b"x" * 50, qos)
    s.expect_publish(topic("a"), b"x" * 50)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-25")
def test_properties_count_towards_the_size(connect, topic):
    s = connect("s", props={"max_packet_size": 100})
    s.subscribe(topic("a"), qos=1, props={"subscription_id": 1})
    p = connect("p")
    p.publish(topic("a"), "x", 1, props=[("user", ("k", "v" * 100))])
    p.publish(topic("a"), "y", 1)
    s.expect_publish(topic("a"), "y")
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-25")
def test_an_oversized_message_is_passed_over_on_resume(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    s.disconnect()
    p = connect("p")
    for payload in (b"1", b"x" * 1000, b"2"):
        p.publish(topic("a"), payload, 1)
    s = connect("s", clean=False, props={"session_expiry": 100, "max_packet_size": 100})
    s.expect_publish(topic("a"), "1")
    s.expect_publish(topic("a"), "2")
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-25")
def test_oversized_retained_messages_are_passed_over(connect, topic):
    p = connect("p")
    p.publish(topic("a"), b"x" * 1000, 1, retain=True)
    p.publish(topic("b"), b"small", 1, retain=True)
    s = connect("s", props={"max_packet_size": 100})
    s.subscribe(topic("#"), qos=1)
    s.expect_publish(topic("b"), "small", retain=True)
    s.expect_nothing()
    for name in "ab":
        p.publish(topic(name), "", 1, retain=True)


@pytest.mark.clause("MQTT-3.1.2-25")
def test_a_redelivery_too_big_for_the_new_connection_does_not_block(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.publish(topic("a"), b"x" * 1000, 1)
    s.expect_publish(ack=False)
    s.drop()
    p.publish(topic("a"), b"small", 1)
    s = connect("s", clean=False,
                props={"session_expiry": 100, "max_packet_size": 100, "receive_max": 1})
    s.expect_publish(topic("a"), "small")
    s.expect_nothing()


@pytest.mark.parametrize("limit", [1, 2, 5, 8, 12, 20, 40])
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.2.2-19", "MQTT-3.2.2-20")
def test_a_connack_that_cannot_fit_is_not_sent(raw, limit, prefix):
    """Within the limit, whole, or not at all and closed."""
    c = raw(5)
    c.connect_props = {"max_packet_size": limit}
    c.send(codec.connect(5, prefix, props={"max_packet_size": limit}))
    packet = c.next()
    if packet is not None and packet.code == 0:
        c.send(codec.pingreq())
        c.next()


@pytest.mark.parametrize("kind", ["suback", "unsuback"])
@pytest.mark.clause("MQTT-3.1.2-24")
def test_the_limit_is_exact_for_acknowledgements(connect, topic, kind):
    """What does not fit ends the connection: the codes have to be there, each."""
    for count, fits in ((55, True), (56, False)):
        c = connect("c", props={"max_packet_size": 2 + 2 + 1 + 55})
        filters = [topic(str(n)) for n in range(count)]
        if kind == "suback":
            c.send(codec.subscribe(5, 7, [(f, 0) for f in filters]))
        else:
            c.send(codec.unsubscribe(5, 7, filters))
        packet = c.next()
        assert (packet is not None and packet.kind == kind.upper()) == fits


@pytest.mark.parametrize("kind", ["suback", "unsuback"])
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.9.2-1", "MQTT-3.11.2-1", "MQTT-3.9.2-2",
                    "MQTT-3.11.2-2")
def test_an_acknowledgement_that_cannot_fit_ends_the_connection(connect, topic, kind):
    c = connect("c", props={"max_packet_size": 60})
    c.subscribe(topic("a"))
    filters = [topic(str(n)) for n in range(200)]
    if kind == "suback":
        c.send(codec.subscribe(5, 7, [(f, 0) for f in filters]))
    else:
        c.send(codec.unsubscribe(5, 7, filters))
    packet = c.next()
    assert packet is None or packet.kind == "DISCONNECT"


@pytest.mark.ours
@pytest.mark.parametrize("limit", [60, 100, 200])
@pytest.mark.clause("MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3", "MQTT-3.9.2-1",
                    "MQTT-3.11.2-1", "MQTT-3.7.2-2", "MQTT-3.7.2-3", "MQTT-3.6.2-2",
                    "MQTT-3.6.2-3")
def test_refusals_fit_the_limit_with_or_without_a_reason(connect, topic, limit):
    c = connect("c", props={"max_packet_size": limit})
    c.publish("$SYS/x", "x", 1, code=0x87)
    c.publish("$SYS/x", "x", 2, code=0x87)
    c.subscribe("a#", codes=[0x8F])
    c.send(codec.unsubscribe(5, 90, ["a#"]))
    c.expect("UNSUBACK", id=90)
    c.pubrel(555)
    c.expect("PUBCOMP", id=555, code=0x92)


@pytest.mark.ours
@pytest.mark.clause("MQTT-3.1.2-29")
def test_problem_information_can_be_declined(connect, topic):
    c = connect("c", props={"request_problem_info": 0})
    c.publish("$SYS/x", "x", 1, code=0x87)
    c.publish("$SYS/x", "x", 2, code=0x87)
    c.subscribe("a#", codes=[0x8F])
    c.pubrel(555)
    c.expect("PUBCOMP", id=555, code=0x92)


@pytest.mark.parametrize("limit", [60, 80, 100])
@pytest.mark.clause("MQTT-3.14.2-2", "MQTT-3.14.2-3", "MQTT-3.14.2-4")
def test_a_disconnect_fits_the_limit(connect, limit):
    c = connect("c", props={"max_packet_size": limit})
    c.send(codec.connect(5, c.client_id))
    c.expect_close(0x82)


@pytest.mark.config(max_packet_size=1000)
@every_qos
@pytest.mark.clause("X5-13", "MQTT-3.2.2-15")
def test_a_packet_above_the_servers_limit_is_refused(connect, topic, qos):
    c = connect("c")
    assert c.connack.props["max_packet_size"] == 1000
    empty = len(codec.publish(5, topic("a"), b"", qos, 1 if qos else None)) + 1
    c.subscribe(topic("a"), qos=2)
    c.publish(topic("a"), b"x" * (1000 - empty), qos)
    c.expect_publish(topic("a"))
    c.send(codec.publish(5, topic("a"), b"x" * (1001 - empty), qos, 9 if qos else None))
    c.expect_close(0x95)


@pytest.mark.config(max_packet_size=1000)
@pytest.mark.clause("X5-13")
@pytest.mark.parametrize("length", [1001, 100_000, 268_435_455])
def test_the_announced_length_alone_is_refused(connect, length):
    c = connect("c")
    c.send(codec.packet(codec.PUBLISH, b"\x00\x01a", length=length))
    c.expect_close(0x95)


@pytest.mark.config(max_packet_size=1000)
@pytest.mark.parametrize("version", [3, 4])
def test_a_packet_above_the_servers_limit_closes_before_version_5(connect, topic, version):
    c = connect("c", version)
    c.send(codec.publish(version, topic("a"), b"x" * 2000, 0))
    c.expect_close()


@pytest.mark.ours
@pytest.mark.clause("MQTT-4.3.3-9")
@pytest.mark.config(message_size_limit=100)
def test_the_id_of_a_refused_qos_2_message_means_a_new_one(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for _ in range(2):
        p.send(codec.publish(5, topic("a"), b"x" * 101, 2, 9))
        assert p.expect("PUBREC").code == 0x97
    p.send(codec.publish(5, topic("a"), b"new", 2, 9))
    assert p.expect("PUBREC").code == 0
    s.expect_publish(topic("a"), "new")
    s.expect_nothing()


@pytest.mark.config(message_size_limit=100)
@every_qos
def test_payloads_above_the_size_limit_are_not_delivered(connect, topic, qos):
    s = connect("s")
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    p.publish(topic("a"), b"x" * 100, qos)
    s.expect_publish(topic("a"))
    p.send(codec.publish(5, topic("a"), b"x" * 101, qos, 9 if qos else None) + codec.pingreq())
    packet = p.next()
    assert packet is None or packet.kind in ("PUBACK", "PUBREC", "PINGRESP", "DISCONNECT")
    s.expect_nothing()
