"""What once went wrong with a clause, each reduced to the shortest way to it."""

import itertools

import pytest

import mqtt_codec as codec
from support import FOREVER, lasting, offline, payloads


@pytest.mark.config(queue_qos0_messages="true")
@pytest.mark.clause("MQTT-4.6.0-6")
def test_new_qos0_message_waits_behind_those_kept_while_away(connect, topic):
    sub = connect("sub", **lasting(5))
    sub.subscribe(topic("t"), qos=1)
    pub = connect("pub")
    for number in range(2):
        pub.publish(topic("t"), f"acknowledged {number}", qos=1)
        sub.expect_publish(topic("t"), ack=False)
    sub.drop()
    pub.publish(topic("t"), "kept")
    # A window of one: of the two that were in flight, the second waits.
    sub = connect("sub", clean=False, props={"session_expiry": FOREVER, "receive_max": 1})
    sub.expect_publish(topic("t"), "acknowledged 0", ack=False)
    pub.publish(topic("t"), "new")
    assert payloads(sub.take("PUBLISH") for _ in range(2)) == [b"kept", b"new"]


@pytest.mark.config(queue_qos0_messages="true", max_queued_messages=0)
@pytest.mark.clause("MQTT-4.6.0-6")
def test_slow_reader_gets_qos0_messages_in_order_after_coming_back(connect, topic):
    offline(connect, "sub", topic("t"), qos=0)
    pub = connect("pub")
    block = bytes(50000)
    for number in range(200):
        pub.send(codec.publish(5, topic("t"), b"%04d" % number + block))
    pub.ping()
    sub = connect("sub", **lasting(5), receive_buffer=4096)
    for number in range(200, 210):
        pub.publish(topic("t"), b"%04d" % number)
    got = [int(sub.take("PUBLISH").payload[:4]) for _ in range(210)]
    assert got == list(range(210))


@pytest.mark.config(queue_policy="disconnect", max_queued_messages=1, max_inflight_messages=1)
@pytest.mark.clause("MQTT-4.3.3-10")
def test_qos2_message_whose_delivery_closed_its_own_publisher_is_not_routed_twice(connect, topic):
    other = connect("other")
    other.subscribe(topic("t"), qos=0)
    both = connect("both", **lasting(5))
    both.subscribe(topic("t"), qos=1)
    for number in range(2):  # fill its window and its queue: the next one is one too many
        both.send(codec.publish(5, topic("t"), f"{number}", 1, number + 1))
    both.send(codec.publish(5, topic("t"), "once", 2, 7))
    both.expect_close()
    both = connect("both", **lasting(5))
    both.unsubscribe(topic("t"))
    both.send(codec.publish(5, topic("t"), "once", 2, 7, dup=True))
    both.take("PUBREC", packet_id=7)
    for payload in ("0", "1", "once"):
        other.expect_publish(topic("t"), payload)
    other.expect_nothing()


@pytest.mark.config(reactors=1)
@pytest.mark.clause("MQTT-4.6.0-6")
def test_flood_to_many_filters_lets_others_in_and_keeps_its_order(connect):
    """What one read of a publisher may bring is more than a turn spreads: the rest waits its turn."""
    levels = "abcdef"
    shapes = list(itertools.product((False, True), repeat=len(levels)))[:40]
    filters = ["/".join("+" if wild else level for wild, level in zip(shape, levels))
               for shape in shapes]
    sub, pub, other = connect("sub"), connect("pub"), connect("other")
    sub.subscribe(*filters)
    for qos in (0, 1):
        pub.send(b"".join(codec.publish(5, "/".join(levels), f"{n}", qos, n + 1 if qos else None)
                          for n in range(400)))
        other.ping()
        got = [int(sub.take("PUBLISH").payload) for _ in range(400 * len(filters))]
        assert got == [n for n in range(400) for _ in filters]
        pub.ping()
        assert len(pub.inbox) == 400 * qos


@pytest.mark.clause("MQTT-3.8.3-3", "MQTT-3.3.1-9")
def test_no_local_does_not_keep_back_what_others_retained_whose_session_is_gone(connect, topic):
    for number in range(4):
        gone = connect(f"gone{number}")
        gone.publish(topic(str(number)), "kept", retain=True)
        gone.disconnect()
        sub = connect(f"sub{number}")  # its session may have the place of the one that went
        sub.subscribe(topic(str(number)), no_local=True)
        sub.expect_publish(topic(str(number)), "kept", retain=True)
        again = connect(f"gone{number}")  # the same client id is the same publisher
        again.subscribe(topic(str(number)), no_local=True)
        again.expect_nothing()


@pytest.mark.config(allow_duplicate_messages="false")
@pytest.mark.clause("MQTT-3.8.3-3", "MQTT-3.3.4-2")
def test_no_local_subscription_lends_nothing_to_one_that_overlaps(connect, topic):
    c = connect("c")
    c.subscribe(topic("#"), qos=2, no_local=True, rap=True, props={"subscription_id": 1})
    c.subscribe(topic("a"), qos=0, props={"subscription_id": 2})
    c.publish(topic("a"), "x", qos=2, retain=True)
    got = c.expect_publish(topic("a"), "x", qos=0, retain=False)
    assert got.props["subscription_id"] in (2, [2])


@pytest.mark.clause("MQTT-3.3.4-10", "MQTT-4.9.0-2", "MQTT-4.9.0-3", "MQTT-4.3.3-6")
def test_pubrel_of_an_earlier_connection_waits_for_no_window_and_takes_none(connect, topic):
    sub = connect("sub", **lasting(5))
    sub.subscribe(topic("1"), qos=1)
    sub.subscribe(topic("2"), qos=2)
    pub = connect("pub")
    pub.publish(topic("1"), "one", qos=1)
    pub.publish(topic("2"), "two", qos=2)
    one = sub.expect_publish(topic("1"), ack=False)
    two = sub.expect_publish(topic("2"), ack=False)
    sub.pubrec(two.id)
    sub.take("PUBREL")
    sub.drop()
    sub = connect("sub", clean=False, props={"session_expiry": FOREVER, "receive_max": 1})
    assert sub.take("PUBREL").id == two.id  # although the window of one is full:
    assert sub.expect_publish(topic("1"), "one", ack=False, dup=True).id == one.id
    sub.puback(one.id)
    pub.publish(topic("1"), "three", qos=1)
    sub.expect_publish(topic("1"), "three")  # and although PUBCOMP has not come
    sub.pubcomp(two.id)


@pytest.mark.config(max_qos=1)
@pytest.mark.clause("MQTT-3.2.2-9", "MQTT-3.2.2-12")
def test_a_refusal_tells_the_maximum_qos_that_is_in_force(connect):
    c = connect("c", will={"topic": "w", "payload": b"x", "qos": 2}, code=0x9B)
    assert c.connack.props["max_qos"] == 1


@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.2.2-19")
def test_refusal_of_a_connect_with_a_fault_keeps_to_the_clients_maximum_packet_size(raw):
    c = raw()
    c.connect_props = {"max_packet_size": 20}
    c.send(codec.connect(5, "c", props={"max_packet_size": 20}, username=b"\xff\xff"))
    c.expect_close()


@pytest.mark.config(receive_maximum=3)
@pytest.mark.clause("MQTT-3.3.4-7")
def test_qos1_counts_against_a_receive_maximum_that_qos2_has_used_up(connect, topic):
    c = connect("c")
    for number in range(1, 4):
        c.send(codec.publish(5, topic("t"), b"x", 2, number))
        c.take("PUBREC", packet_id=number)
    c.send(codec.publish(5, topic("t"), b"x", 1, 4))
    c.expect_close(0x93)


@pytest.mark.clause("MQTT-3.3.2-6")
@pytest.mark.parametrize("expiry", [0x3FFFFFFF, 0x7F000000])
def test_expiry_of_many_years_is_forwarded_as_it_came(connect, topic, expiry):
    sub, pub = connect("sub"), connect("pub")
    sub.subscribe(topic("t"))
    pub.publish(topic("t"), "x", props={"message_expiry": expiry})
    assert expiry - 1 <= sub.expect_publish(topic("t")).props["message_expiry"] <= expiry


@pytest.mark.config(max_queued_messages=0)
@pytest.mark.clause("MQTT-3.14.4-3", "MQTT-3.1.2-8", "MQTT-3.1.2-10")
@pytest.mark.clause311("MQTT-3.14.4-3", "MQTT-3.1.2-10")
def test_disconnect_of_a_client_that_does_not_read_is_still_heard(connect, topic):
    watcher = connect("watcher")
    watcher.subscribe(topic("will"), topic("last"))
    pub = connect("pub")
    slow = connect("slow", receive_buffer=4096,
                   will={"topic": topic("will"), "payload": b"gone"})
    slow.subscribe(topic("t"))
    block = bytes(50000)
    for _ in range(160):
        pub.send(codec.publish(5, topic("t"), block))
    pub.ping()
    slow.send(codec.pingreq())  # answered into a full output: it is not read from here on
    pub.ping()
    slow.send(codec.publish(5, topic("last"), "word") + codec.disconnect(5))
    slow.close()  # with unread bytes: a RST
    watcher.expect_publish(topic("last"), "word")
    watcher.expect_nothing()
