"""What once went wrong, each reduced to the shortest way to it."""

import itertools
import signal
import time

import pytest

import broker as brokers
import client
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


@pytest.mark.config(reactors=2)
def test_shared_message_for_a_member_that_just_ended_reaches_another(connect, topic):
    """Members that come and go are chosen by the publisher's reactor when theirs has ended them."""
    stays = connect("stays")
    stays.subscribe(f"$share/g/{topic('t')}", qos=1)
    pub = connect("pub")
    sent, got = 0, set()
    for _ in range(40):
        goes = [connect(f"goes{number}") for number in range(4)]
        for c in goes:
            c.send(codec.subscribe(5, 1, [(f"$share/g/{topic('t')}", 1)]))
        for c in goes:
            c.take("SUBACK")
        burst = b"".join(codec.publish(5, topic("t"), f"{sent + n}", 1, n + 1) for n in range(40))
        sent += 40
        pub.send(burst[:len(burst) // 2])
        for c in goes:
            c.send(codec.disconnect(5))
        pub.send(burst[len(burst) // 2:])
        for _ in range(40):
            pub.take("PUBACK")
        for c in goes:  # what it never acknowledged goes to others, so it counts for nobody here
            c.close()
        stays.sync()
        while stays.inbox:
            packet = stays.inbox.pop(0)
            got.add(int(packet.payload))
            stays.puback(packet.id)
    stays.sync()
    while len(got) < sent:
        packet = stays.take("PUBLISH")
        got.add(int(packet.payload))
        stays.puback(packet.id)


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


@pytest.mark.ours
def test_log_is_opened_anew_however_often_it_was_rotated(tmp_path):
    path = tmp_path / "log"
    target = brokers.Broker({"log_dest": f"file {path}"})
    for _ in range(300):  # daily, for most of a year
        path.unlink()
        target.signal(signal.SIGHUP)
        deadline = time.monotonic() + client.WAIT_S
        while not path.exists():
            assert time.monotonic() < deadline, "the log was not opened anew"
            time.sleep(0.0005)
    target.stop()
