"""PUBLISH at QoS 0, 1 and 2, both ways: handshakes, packet ids, windows, order, redelivery."""

import pytest

import mqtt_codec as codec
from support import (acknowledged, before_5, every_qos, lasting, not_31, offline, payloads,
                     versions)


# ------------------------------------------------------------------------- towards the server


@versions
@every_qos
@pytest.mark.clause("MQTT-3.3.4-1", "MQTT-2.2.1-5", "MQTT-4.3.2-4", "MQTT-4.3.3-8",
                    "MQTT-4.3.3-11", "MQTT-4.5.0-1", "MQTT-3.3.2-3", "MQTT-4.3.1-1",
                    "MQTT-4.3.2-2", "MQTT-4.3.3-2", "MQTT-4.3.3-4", "MQTT-2.2.1-2", "MQTT-2.2.2-1")
@pytest.mark.clause311("MQTT-3.3.4-1", "MQTT-2.3.1-6", "MQTT-4.3.1-1", "MQTT-4.3.2-1",
                       "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.5.0-1", "MQTT-3.3.2-3",
                       "MQTT-2.3.1-5")
def test_a_message_arrives_with_its_handshake_on_both_sides(connect, topic, version, qos):
    subscriber = connect("s", version)
    publisher = connect("p", version)
    subscriber.subscribe(topic("a"), qos=2)
    publisher.publish(topic("a"), b"\x00\xff data", qos)
    subscriber.expect_publish(topic("a"), b"\x00\xff data", qos=qos, dup=False, retain=False)
    subscriber.expect_nothing()
    publisher.expect_nothing()


@pytest.mark.parametrize("inward", [3, 4, 5])
@pytest.mark.parametrize("outward", [3, 4, 5])
def test_versions_talk_to_each_other(connect, topic, inward, outward):
    subscriber = connect("s", outward)
    subscriber.subscribe(topic("a"), qos=1)
    props = {"content_type": "text/plain", "user": ("a", "b")} if inward == 5 else None
    connect("p", inward).publish(topic("a"), "x", 1, props=props)
    packet = subscriber.expect_publish(topic("a"), "x", qos=1)
    assert bool(packet.props) == (inward == outward == 5)


@versions
@acknowledged
@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16384, 200000])
def test_payloads_of_any_size_arrive_whole(connect, topic, version, qos, size):
    subscriber = connect("s", version)
    subscriber.subscribe(topic("a"), qos=qos)
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    connect("p", version).publish(topic("a"), data, qos)
    assert subscriber.expect_publish(topic("a"), qos=qos).payload == data


@versions
@acknowledged
@pytest.mark.clause("MQTT-4.6.0-2", "MQTT-4.6.0-3")
@pytest.mark.clause311("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_acknowledgements_come_in_the_order_of_the_messages(connect, topic, version, qos):
    c = connect("p", version)
    count = min(c.connack.props.get("receive_max", 20), 20)
    ids = [300 - 7 * n for n in range(count)]
    c.send(b"".join(codec.publish(version, topic("a"), b"x", qos, n) for n in ids))
    kind = "PUBACK" if qos == 1 else "PUBREC"
    assert [c.expect(kind).id for _ in ids] == ids
    if qos == 2:
        for number in ids:
            c.pubrel(number)
        assert [c.expect("PUBCOMP").id for _ in ids] == ids


@versions
@pytest.mark.clause("MQTT-4.3.3-10", "MQTT-4.3.3-12")
@pytest.mark.clause311("MQTT-4.3.3-2", "MQTT-2.3.1-3")
def test_a_repeated_qos_2_message_is_delivered_once_until_its_pubrel(connect, topic, version):
    subscriber = connect("s", version)
    subscriber.subscribe(topic("a"), qos=2)
    p = connect("p", version)
    for dup in (False, True, True):
        p.send(codec.publish(version, topic("a"), b"one", 2, 9, dup=dup))
        p.expect("PUBREC", id=9)
    p.pubrel(9)
    p.expect("PUBCOMP", id=9)
    subscriber.expect_publish(topic("a"), "one")
    subscriber.expect_nothing()
    p.send(codec.publish(version, topic("a"), b"two", 2, 9))
    p.expect("PUBREC", id=9)
    p.pubrel(9)
    p.expect("PUBCOMP", id=9)
    subscriber.expect_publish(topic("a"), "two")


@pytest.mark.clause("MQTT-4.3.3-10")
def test_a_qos_2_message_is_remembered_over_a_reconnect(connect, topic):
    subscriber = connect("s")
    subscriber.subscribe(topic("a"), qos=2)
    p = connect("p", **lasting(5))
    p.send(codec.publish(5, topic("a"), b"x", 2, 9))
    p.expect("PUBREC", id=9)
    p.drop()
    p = connect("p", **lasting(5))
    p.send(codec.publish(5, topic("a"), b"x", 2, 9, dup=True))
    p.expect("PUBREC", id=9)
    p.pubrel(9)
    p.expect("PUBCOMP", id=9, code=0)
    subscriber.expect_publish(topic("a"), "x")
    subscriber.expect_nothing()


@versions
@pytest.mark.clause("MQTT-4.3.2-5")
@pytest.mark.clause311("MQTT-4.3.2-2", "MQTT-2.3.1-3")
def test_an_acknowledged_qos_1_id_means_a_new_message(connect, topic, version):
    subscriber = connect("s", version)
    subscriber.subscribe(topic("a"), qos=1)
    p = connect("p", version)
    for dup in (False, True):
        p.send(codec.publish(version, topic("a"), b"x", 1, 5, dup=dup))
        p.expect("PUBACK", id=5)
    for _ in range(2):
        subscriber.expect_publish(topic("a"), "x", dup=False)
    subscriber.expect_nothing()


@versions
@acknowledged
@pytest.mark.clause("MQTT-3.3.1-3")
@pytest.mark.clause311("MQTT-3.3.1-3")
def test_dup_of_the_publisher_is_not_passed_on(connect, topic, version, qos):
    subscriber = connect("s", version)
    subscriber.subscribe(topic("a"), qos=2)
    p = connect("p", version)
    p.send(codec.publish(version, topic("a"), b"x", qos, 3, dup=True))
    p.expect("PUBACK" if qos == 1 else "PUBREC", id=3)
    if qos == 2:
        p.pubrel(3)
    subscriber.expect_publish(topic("a"), "x", qos=qos, dup=False)


@pytest.mark.clause("X5-20", "MQTT-4.3.3-11", "MQTT-2.2.1-5", "MQTT-3.7.2-1")
def test_a_pubrel_of_an_unknown_id_gets_pubcomp_not_found(connect):
    c = connect()
    c.pubrel(4711)
    c.expect("PUBCOMP", id=4711, code=0x92)
    c.ping()


@before_5
@pytest.mark.clause311("MQTT-4.3.3-2")
def test_a_pubrel_of_an_unknown_id_gets_a_plain_pubcomp_before_version_5(connect, version):
    c = connect(version=version)
    c.pubrel(4711)
    c.expect("PUBCOMP", id=4711)


@pytest.mark.clause("MQTT-2.2.1-5", "MQTT-3.6.2-1")
def test_a_pubrec_of_an_unknown_id_gets_pubrel_not_found(connect):
    c = connect()
    c.connack.session_present = True  # the client cannot know this id, and that is the point
    c.pubrec(4711)
    c.expect("PUBREL", id=4711, code=0x92)
    c.ping()


@pytest.mark.parametrize("kind", [codec.PUBACK, codec.PUBCOMP])
@versions
def test_stray_acknowledgements_are_ignored_or_end_the_connection(connect, kind, version):
    c = connect(version=version)
    c.send(codec.ack(kind, version, 4711) + codec.pingreq())
    packet = c.next()
    if packet is not None and packet.kind == "DISCONNECT":
        assert packet.code == 0x82
    else:
        assert packet is None or packet.kind == "PINGRESP"


def test_error_acknowledgements_of_unknown_ids_do_no_harm(connect):
    c = connect()
    c.send(codec.ack(codec.PUBCOMP, 5, 99, 0x92) + codec.ack(codec.PUBACK, 5, 98, 0x80)
           + codec.ack(codec.PUBREC, 5, 97, 0x80) + codec.ack(codec.PUBREL, 5, 96, 0x92)
           + codec.pingreq())
    while True:
        packet = c.next()
        if packet is None or packet.kind == "PINGRESP":
            break
        assert packet.kind in ("PUBCOMP", "DISCONNECT"), packet


@pytest.mark.parametrize("data", [
    "4003 000100", "4004 00010000", "4003 000110", "4003 000180",
    "400b 000100 07 26 0001 61 0001 62", "4008 000100 04 1f 0001 78"])
def test_every_legal_form_of_a_puback_is_taken(connect, topic, data):
    c = connect(props={"receive_max": 1})
    c.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(2):
        p.publish(topic("a"), str(n), 1)
    first = c.expect_publish(topic("a"), "0", ack=False)
    data = bytearray.fromhex(data.replace(" ", ""))
    data[2:4] = first.id.to_bytes(2, "big")
    c.inflight.clear()
    c.send(bytes(data))
    c.expect_publish(topic("a"), "1")


@every_qos
@pytest.mark.ours
@pytest.mark.clause("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-4.3.3-9")
@pytest.mark.parametrize("name", ["$SYS/broker/version", "$SYS/x", "$other/x", "$", "$share/g/t"])
def test_topics_that_begin_with_a_dollar_are_refused_to_clients(connect, topic, qos, name):
    watcher = connect("w")
    watcher.subscribe("$other/#")
    c = connect()
    c.publish(name, topic("x"), qos, code=0x87 if qos else None)
    if qos == 2:
        c.publish(topic("t"), "x", 2)  # the id of a refused QoS 2 message is free again
    c.ping()
    watcher.expect_nothing()


@before_5
@every_qos
@pytest.mark.ours
@pytest.mark.clause311("MQTT-3.3.5-2")
def test_topics_that_begin_with_a_dollar_are_swallowed_before_version_5(connect, version, qos):
    watcher = connect("w")
    watcher.subscribe("$other/#")
    c = connect(version=version)
    c.publish("$other/x", "x", qos)
    c.ping()
    watcher.expect_nothing()


@pytest.mark.clause("MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17",
                    "MQTT-3.3.2-18", "MQTT-3.3.2-20")
@every_qos
def test_properties_are_passed_on_unchanged(connect, topic, qos):
    user = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("ü", "\U0001f600")]
    props = [("payload_format", 1), ("content_type", "text/x; ä"), ("response_topic", "re/ply"),
             ("correlation_data", bytes(range(256)))] + [("user", pair) for pair in user]
    subscriber = connect("s")
    subscriber.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "text", qos, props=props)
    got = subscriber.expect_publish(topic("a"), "text").props
    assert got == {"payload_format": 1, "content_type": "text/x; ä", "response_topic": "re/ply",
                   "correlation_data": bytes(range(256)), "user": user}


@pytest.mark.clause("MQTT-1.5.4-3")
@pytest.mark.clause311("MQTT-1.5.3-3")
@not_31
def test_a_byte_order_mark_is_an_ordinary_character(connect, topic, version):
    c = connect(version=version)
    c.subscribe("\ufeff" + topic("a\ufeff"), qos=1)
    c.publish(topic("a\ufeff"), "without", 1)
    c.publish("\ufeff" + topic("a\ufeff"), "with", 1)
    c.expect_publish("\ufeff" + topic("a\ufeff"), "with")
    c.expect_nothing()


@pytest.mark.clause("MQTT-4.7.3-3")
@pytest.mark.clause311("MQTT-4.7.3-3")
@not_31
def test_a_topic_of_65535_bytes_works(connect, topic, version):
    c = connect(version=version)
    name = topic("")
    name += "x" * (65535 - len(name))
    c.subscribe(name, qos=1)
    c.publish(name, "far", 1)
    c.expect_publish(name, "far")


@versions
@pytest.mark.clause("X5-25")
@pytest.mark.parametrize("odd", ["\u0001", "\u001f", "\u007f", "\u009f", "\ufffe", "\uffff", "\U0010ffff",
                                 "\ufdd0"], ids=ascii)
def test_control_and_non_characters_are_refused_or_come_through_whole(connect, topic, version, odd):
    c, other = connect("c", version), connect("other", version)
    other.subscribe(topic("+"), qos=1)
    c.send(codec.subscribe(version, 1, [(topic(f"a{odd}"), 1)]))
    c.send(codec.publish(version, topic(f"a{odd}"), "x", 1, 2) + codec.pingreq())
    packet = c.next()
    if packet is None or packet.kind == "DISCONNECT":
        assert packet is None or packet.code == 0x81
        other.expect_nothing()
    else:
        c.expect_publish(topic(f"a{odd}"), "x")
        other.expect_publish(topic(f"a{odd}"), "x")


@versions
@pytest.mark.clause("MQTT-2.2.1-3")
@pytest.mark.clause311("MQTT-2.3.1-2")
@pytest.mark.parametrize("second", ["publish", "subscribe", "unsubscribe"])
def test_an_id_in_use_for_something_else_harms_nobody(connect, topic, version, second):
    """The standards leave open what comes: an answer, an error, or the end of that connection."""
    watcher, c = connect("w", version), connect("c", version)
    watcher.subscribe(topic("a"), qos=2)
    c.send(codec.publish(version, topic("a"), "one", 2, 7))
    c.expect("PUBREC", id=7)
    c.send({"publish": codec.publish(version, topic("b"), "other", 1, 7),
            "subscribe": codec.subscribe(version, 7, [(topic("b"), 1)]),
            "unsubscribe": codec.unsubscribe(version, 7, [topic("b")])}[second])
    packet = c.next()
    if packet is not None and packet.kind != "DISCONNECT":
        assert packet.kind in ("PUBACK", "SUBACK", "UNSUBACK") and packet.id == 7
        c.pubrel(7)
        c.expect("PUBCOMP", id=7)
    watcher.expect_publish(topic("a"), "one")
    watcher.expect_nothing()


# ------------------------------------------------------------------------- towards the client


@versions
@every_qos
@pytest.mark.clause("MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.clause311("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_messages_of_one_publisher_arrive_in_order(connect, topic, version, qos):
    subscribers = [connect(f"s{n}", version) for n in range(4)]
    for s in subscribers:
        s.subscribe(topic("a"), qos=qos)
    p = connect("p", version)
    numbers = [str(n).encode() for n in range(60)]
    for at in range(0, len(numbers), 10):
        for offset, payload in enumerate(numbers[at:at + 10]):
            p.send(codec.publish(version, topic("a"), payload, qos, at + offset + 1 if qos else None))
        for offset in range(10):
            if qos == 1:
                p.expect("PUBACK")
            elif qos == 2:
                p.pubrel(p.expect("PUBREC").id)
                p.expect("PUBCOMP")
    for s in subscribers:
        assert payloads(s.expect_publish(topic("a")) for _ in numbers) == numbers
        s.expect_nothing()


@acknowledged
@pytest.mark.parametrize("window", [1, 2, 7])
@pytest.mark.clause("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
def test_deliveries_stay_within_the_clients_receive_maximum(connect, topic, qos, window):
    s = connect("s", props={"receive_max": window})
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(20):
        p.publish(topic("a"), str(n), qos)
    outstanding = [s.expect_publish(ack=False) for _ in range(window)]
    s.expect_nothing()
    got = list(payloads(outstanding))
    while len(got) < 20:
        s.acknowledge(outstanding.pop(0))
        outstanding.append(s.expect_publish(topic("a"), ack=False))
        got.append(outstanding[-1].payload)
        s.expect_nothing()
    assert got == [str(n).encode() for n in range(20)]


@pytest.mark.clause("MQTT-4.9.0-2")
def test_a_qos_2_delivery_holds_its_place_in_the_window_until_pubcomp(connect, topic):
    s = connect("s", props={"receive_max": 1})
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(2):
        p.publish(topic("a"), str(n), 2)
    first = s.expect_publish(ack=False)
    s.pubrec(first.id)
    s.expect("PUBREL", id=first.id)
    s.expect_nothing()
    s.pubcomp(first.id)
    s.expect_publish(topic("a"), "1")


@pytest.mark.clause("MQTT-4.9.0-2", "MQTT-4.3.3-4", "MQTT-4.4.0-2")
def test_an_error_pubrec_opens_the_window_and_gets_no_pubrel(connect, topic):
    s = connect("s", props={"receive_max": 1})
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(2):
        p.publish(topic("a"), str(n), 2)
    s.pubrec(s.expect_publish(ack=False, payload="0").id, 0x80)
    s.expect_publish(topic("a"), "1")
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_a_full_window_holds_up_nothing_but_publications(connect, topic):
    s = connect("s", props={"receive_max": 1})
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.publish(topic("a"), "0", 1)
    p.publish(topic("a"), "1", 1)
    held = s.expect_publish(topic("a"), "0", ack=False)
    s.ping()
    s.subscribe(topic("b"), qos=1)
    s.unsubscribe(topic("b"))
    s.publish(topic("c"), "x", 1)
    s.publish(topic("c"), "x", 2)
    s.expect_nothing()
    s.acknowledge(held)
    s.expect_publish(topic("a"), "1")


def test_qos_2_duplicates_are_recognised_while_the_receivers_window_is_closed(connect, topic):
    s = connect("s", props={"receive_max": 1})
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    p.publish(topic("a"), "first", 2)
    held = s.expect_publish(topic("a"), "first", ack=False)
    for dup in (False, True, True):
        p.send(codec.publish(5, topic("a"), b"second", 2, 77, dup=dup))
        p.expect("PUBREC", id=77)
    p.pubrel(77)
    p.expect("PUBCOMP", id=77)
    p.publish(topic("a"), "third", 2)
    s.acknowledge(held)
    s.expect_publish(topic("a"), "second")
    s.expect_publish(topic("a"), "third")
    s.expect_nothing()


@pytest.mark.config(max_inflight_messages=5)
@pytest.mark.clause("X5-14", "MQTT-3.3.4-7")
def test_a_client_that_exceeds_the_servers_receive_maximum_is_disconnected(connect, topic):
    c = connect()
    window = c.connack.props.get("receive_max", 65535)
    c.send(b"".join(codec.publish(5, topic("a"), b"", 2, n + 1) for n in range(window)))
    for n in range(window):
        c.expect("PUBREC", id=n + 1)
    c.send(codec.publish(5, topic("a"), b"", 2, window + 1))
    c.expect_close(0x93)


@pytest.mark.config(max_inflight_messages=5)
@pytest.mark.clause("X5-14", "MQTT-4.9.0-2")
def test_a_qos_2_duplicate_in_a_full_window_is_no_excess(connect, topic):
    c = connect()
    window = c.connack.props.get("receive_max", 65535)
    c.send(b"".join(codec.publish(5, topic("a"), b"", 2, n + 1) for n in range(window)))
    for n in range(window):
        c.expect("PUBREC", id=n + 1)
    c.send(codec.publish(5, topic("a"), b"", 2, 1, dup=True))
    c.expect("PUBREC", id=1)
    c.pubrel(1)
    c.expect("PUBCOMP", id=1)
    c.publish(topic("a"), "", 1)


@pytest.mark.config(max_inflight_messages=3)
@before_5
def test_the_configured_window_holds_for_clients_that_cannot_name_one(connect, topic, version):
    s = connect("s", version)
    s.subscribe(topic("a"), qos=1)
    p = connect("p", version)
    for n in range(5):
        p.publish(topic("a"), str(n), 1)
    held = [s.expect_publish(ack=False) for _ in range(3)]
    s.expect_nothing()
    for packet in held:
        s.acknowledge(packet)
    s.expect_publish(payload="3")
    s.expect_publish(payload="4")


# ----------------------------------------------------------------------------------- redelivery


@versions
@pytest.mark.clause("MQTT-4.4.0-1", "MQTT-4.3.2-3", "MQTT-3.3.1-1", "MQTT-4.6.0-1", "MQTT-3.1.2-5")
@pytest.mark.clause311("MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-4.3.2-1", "MQTT-4.6.0-1",
                       "MQTT-2.3.1-4")
def test_unacknowledged_qos_1_messages_are_resent_in_order_on_resume(connect, topic, version):
    s = connect("s", version, **lasting(version))
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(6):
        p.publish(topic("a"), str(n), 1)
    sent = [s.expect_publish(ack=False, dup=False) for _ in range(6)]
    s.puback(sent[0].id)
    s.puback(sent[3].id)
    s.sync()
    s.drop()
    s = connect("s", version, **lasting(version))
    again = [s.expect_publish(topic("a"), dup=True, qos=1) for _ in range(4)]
    kept = [sent[n] for n in (1, 2, 4, 5)]
    assert payloads(again) == payloads(kept)
    assert [x.id for x in again] == [x.id for x in kept]
    s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-4.4.0-1", "MQTT-4.3.3-3", "MQTT-4.3.3-5", "MQTT-4.3.3-6")
@pytest.mark.clause311("MQTT-4.4.0-1", "MQTT-4.3.3-1")
def test_qos_2_is_resumed_at_the_step_it_had_reached(connect, topic, version):
    s = connect("s", version, **lasting(version))
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(3):
        p.publish(topic("a"), str(n), 2)
    sent = [s.expect_publish(ack=False, dup=False) for _ in range(3)]
    s.pubrec(sent[0].id)
    s.expect("PUBREL", id=sent[0].id)
    s.drop()
    s = connect("s", version, **lasting(version))
    first = [s.next() for _ in range(3)]
    assert sorted(x.kind for x in first) == ["PUBLISH", "PUBLISH", "PUBREL"]
    assert [x.id for x in first if x.kind == "PUBREL"] == [sent[0].id]
    again = [x for x in first if x.kind == "PUBLISH"]
    assert [(x.id, x.payload, x.dup) for x in again] == [(x.id, x.payload, True) for x in sent[1:]]
    s.pubcomp(sent[0].id)
    for packet in again:
        s.acknowledge(packet)
    s.expect_nothing()
    s.drop()
    s = connect("s", version, **lasting(version))
    s.expect_nothing()


@acknowledged
@pytest.mark.clause("MQTT-4.4.0-1")
def test_nothing_is_resent_while_the_connection_lives(broker, connect, topic, qos):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "x", qos)
    packet = s.expect_publish(ack=False)
    if qos == 2:
        s.pubrec(packet.id)
        s.expect("PUBREL")
    for _ in range(3):
        broker.turn(100_000)
        broker.settle()
        s.expect_nothing()


@acknowledged
@pytest.mark.clause("MQTT-4.4.0-2", "MQTT-4.3.3-4")
def test_a_negative_acknowledgement_settles_a_message_for_good(connect, topic, qos):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "x", qos)
    packet = s.expect_publish(ack=False)
    if qos == 1:
        s.puback(packet.id, 0x97)
    else:
        s.pubrec(packet.id, 0x97)
    s.expect_nothing()
    s.drop()
    connect("s", **lasting(5)).expect_nothing()


@pytest.mark.clause("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.6.0-1")
def test_a_smaller_window_after_resume_is_kept_by_redelivery_too(connect, topic):
    s = connect("s", clean=False, props={"session_expiry": 1000, "receive_max": 10})
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(8):
        p.publish(topic("a"), str(n), 1)
    sent = [s.expect_publish(ack=False) for _ in range(8)]
    s.drop()
    s = connect("s", clean=False, props={"session_expiry": 1000, "receive_max": 2})
    s.sync()
    assert len(s.inbox) == 2
    again = [s.expect_publish() for _ in range(8)]
    assert [(x.id, x.payload) for x in again] == [(x.id, x.payload) for x in sent]


@acknowledged
@pytest.mark.clause("MQTT-4.6.0-1")
def test_new_messages_follow_the_resent_ones(connect, topic, qos):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(3):
        p.publish(topic("a"), str(n), qos)
    for _ in range(3):
        s.expect_publish(ack=False)
    s.drop()
    for n in range(3, 6):
        p.publish(topic("a"), str(n), qos)
    s = connect("s", **lasting(5))
    got = [s.expect_publish() for _ in range(6)]
    assert payloads(got) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [x.dup for x in got] == [True] * 3 + [False] * 3


@versions
@pytest.mark.clause("MQTT-4.6.0-4")
@pytest.mark.clause311("MQTT-4.6.0-4")
def test_pubrels_follow_the_order_of_the_pubrecs(connect, topic, version):
    s = connect("s", version)
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(5):
        p.publish(topic("a"), str(n), 2)
    ids = [s.expect_publish(ack=False).id for _ in range(5)]
    order = [ids[n] for n in (3, 0, 4, 1, 2)]
    for number in order:
        s.pubrec(number)
    assert [s.expect("PUBREL").id for _ in order] == order


@pytest.mark.clause("MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@pytest.mark.clause311("MQTT-2.3.1-4")
@pytest.mark.config(max_inflight_messages=1000, max_queued_messages=5000)
@pytest.mark.slow
def test_packet_ids_wrap_around_past_those_still_in_flight(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.publish(topic("a"), "held", 1)
    held = s.expect_publish(payload="held", ack=False)
    batch, seen = 500, set()
    for _ in range(65536 // batch + 2):
        p.send(b"".join(codec.publish(5, topic("a"), b"", 1, n + 1) for n in range(batch)))
        for _ in range(batch):
            packet = s.expect_publish()  # the client sees to it that no id in flight is used
            seen.add(packet.id)
        for _ in range(batch):
            p.expect("PUBACK")
    assert held.id not in seen and 0 not in seen
    s.acknowledge(held)
    s.expect_nothing()


@versions
def test_messages_wait_for_an_offline_session(connect, topic, version):
    offline(connect, "s", topic("a"), version=version, qos=2)
    p = connect("p")
    for qos in (1, 2):
        p.publish(topic("a"), str(qos), qos)
    s = connect("s", version, **lasting(version))
    s.expect_publish(topic("a"), "1", qos=1, dup=False)
    s.expect_publish(topic("a"), "2", qos=2, dup=False)
    s.expect_nothing()
