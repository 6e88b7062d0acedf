"""Sessions: clean start, resume, expiry, takeover, queues and their limits."""

import threading

import pytest

import client as clients
import mqtt_codec as codec
from broker import IS_PEER
from support import FOREVER, lasting, not_31, offline, payloads, versions


@not_31
@pytest.mark.clause("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.2.2-2", "MQTT-3.2.2-3",
                    "MQTT-3.1.4-4", "MQTT-3.1.3-2")
@pytest.mark.clause311("MQTT-3.1.2-4", "MQTT-3.1.2-6", "MQTT-3.2.2-1", "MQTT-3.2.2-2",
                       "MQTT-3.2.2-3", "MQTT-3.1.4-3", "MQTT-3.1.3-2", "MQTT-4.1.0-1")
def test_session_present_tells_the_truth(connect, version):
    keep = lasting(version)
    assert not connect("s", version, **keep).connack.session_present
    for _ in range(3):
        c = connect("s", version, **keep)
        assert c.connack.session_present
    c.disconnect()
    assert not connect("other", version, **keep).connack.session_present
    assert connect("s", version, **keep).connack.session_present
    connect("s", version, clean=True).disconnect()
    assert not connect("s", version, **keep).connack.session_present


@versions
@pytest.mark.clause("MQTT-3.1.2-4", "MQTT-4.5.0-1")
@pytest.mark.clause311("MQTT-3.1.2-6", "MQTT-3.1.2-5", "MQTT-4.5.0-1")
def test_clean_start_throws_subscriptions_and_messages_away(connect, topic, version):
    offline(connect, "s", topic("a"), version=version)
    p = connect("p")
    p.publish(topic("a"), "lost", 1)
    s = connect("s", version, clean=True, props={"session_expiry": 100} if version == 5 else None)
    s.expect_nothing()
    p.publish(topic("a"), "unheard", 1)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-23", "MQTT-4.1.0-2")
@pytest.mark.parametrize("expiry", [1, 60, 100_000])
def test_a_session_lives_as_long_as_its_expiry(broker, connect, topic, expiry):
    for wait, present in ((expiry * 1000 - 900, True), (expiry * 1000 + 1500, False)):
        c = connect("s", clean=True, props={"session_expiry": expiry})
        c.subscribe(topic("a"), qos=1)
        c.disconnect()
        broker.turn(wait)
        broker.settle()
        c = connect("s", clean=False, props={"session_expiry": expiry})
        assert c.connack.session_present == present


@pytest.mark.clause("MQTT-4.1.0-2")
def test_without_an_expiry_a_session_ends_with_its_connection(connect, topic):
    c = connect("s", clean=False)
    c.subscribe(topic("a"), qos=1)
    c.disconnect()
    assert not connect("s", clean=False).connack.session_present


@pytest.mark.clause("MQTT-3.1.2-23")
def test_an_expiry_of_all_ones_means_never(broker, connect):
    connect("s", **lasting(5)).disconnect()
    broker.turn(10 * 365 * 86400 * 1000)
    broker.settle()
    assert connect("s", **lasting(5)).connack.session_present


@pytest.mark.clause("MQTT-4.1.0-1")
@pytest.mark.clause311("MQTT-4.1.0-2")
@versions
def test_a_session_does_not_end_while_connected(broker, connect, topic, version):
    c = connect("s", version, **lasting(version, 1))
    c.subscribe(topic("a"), qos=1)
    broker.turn(3600_000)
    broker.settle()
    connect("p").publish(topic("a"), "x", 1)
    c.expect_publish(topic("a"), "x")


@pytest.mark.clause("MQTT-3.1.2-23")
def test_coming_back_stops_the_expiry(broker, connect):
    for _ in range(3):
        c = connect("s", clean=False, props={"session_expiry": 100})
        broker.turn(60_000)
        c.disconnect()
        broker.turn(60_000)
        broker.settle()
    c = connect("s", clean=False, props={"session_expiry": 100})
    assert c.connack.session_present
    broker.turn(200_000)
    broker.settle()
    c.ping()


@pytest.mark.clause("MQTT-3.1.2-23")
@pytest.mark.parametrize("before, at_disconnect, wait, present", [
    (1000, 10, 12_000, False), (10, 1000, 500_000, True), (1000, 0, 0, False),
    (10, FOREVER, 10_000_000, True)])
def test_disconnect_changes_the_expiry(broker, connect, before, at_disconnect, wait, present):
    c = connect("s", props={"session_expiry": before})
    c.disconnect(0, {"session_expiry": at_disconnect})
    broker.turn(wait)
    broker.settle()
    assert connect("s", clean=False).connack.session_present == present


def test_a_resumed_session_takes_the_new_expiry(broker, connect):
    connect("s", props={"session_expiry": 1000}).disconnect()
    connect("s", clean=False).disconnect()
    assert not connect("s", clean=False).connack.session_present


@not_31
def test_messages_of_an_expired_session_are_gone(broker, connect, topic, version):
    if version == 4:
        offline(connect, "s", topic("a"), version=4)
        connect("s", 4, clean=True).disconnect()
    else:
        offline(connect, "s", topic("a"), expiry=10)
        connect("p").publish(topic("a"), "x", 1)
        broker.turn(12_000)
        broker.settle()
    s = connect("s", version, **lasting(version))
    assert not s.connack.session_present
    s.expect_nothing()


@pytest.mark.config(persistent_client_expiration="1h")
def test_the_configured_expiration_ends_forgotten_sessions(broker, connect):
    offline(connect, "s", "x", version=4)
    offline(connect, "t", "x", version=4)
    broker.turn(3500_000)
    broker.settle()
    assert connect("s", 4, clean=False).connack.session_present
    broker.turn(200_000)
    broker.settle()
    assert not connect("t", 4, clean=False).connack.session_present


# --------------------------------------------------------------------------------------- takeover


@versions
@pytest.mark.parametrize("second", [3, 4, 5])
@pytest.mark.clause("MQTT-3.1.4-3", "MQTT-3.14.2-2", "MQTT-3.14.4-2")
@pytest.mark.clause311("MQTT-3.1.4-2")
def test_a_second_connection_with_the_id_displaces_the_first(connect, version, second):
    first = connect("s", version)
    new = connect("s", second)
    first.expect_close(0x8E)
    new.ping()


@versions
@pytest.mark.clause("MQTT-3.1.4-3", "MQTT-3.1.2-5", "MQTT-4.4.0-1")
def test_a_takeover_goes_on_with_what_was_in_flight(connect, topic, version):
    keep = lasting(version)
    s = connect("s", version, **keep)
    s.subscribe(topic("a"), qos=2)
    p = connect("p")
    for n in range(4):
        p.publish(topic("a"), str(n), 1 + n % 2)
    sent = [s.expect_publish(ack=False) for _ in range(4)]
    s.pubrec(sent[1].id)
    s.expect("PUBREL", id=sent[1].id)
    new = connect("s", version, **keep)
    s.expect_close(0x8E)
    again = [new.expect_publish(dup=True) for _ in range(3)]
    assert [(x.id, x.payload) for x in again] == [(x.id, x.payload) for x in sent if x != sent[1]]
    new.expect("PUBREL", id=sent[1].id)
    new.pubcomp(sent[1].id)
    new.expect_nothing()


def test_a_takeover_with_clean_start_begins_anew(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    new = connect("s", clean=True, props={"session_expiry": FOREVER})
    s.expect_close(0x8E)
    connect("p").publish(topic("a"), "x", 1)
    new.expect_nothing()


@not_31
def test_sessions_are_resumed_on_whichever_reactor_the_client_lands(connect, topic, version):
    """The kernel picks the reactor; 24 connects miss one of two only once in 8 million runs."""
    keep = lasting(version)
    offline(connect, "s", topic("a"), version=version)
    p = connect("p")
    for n in range(24):
        p.publish(topic("a"), f"offline {n}", 1)
        s = connect("s", version, **keep)
        assert s.connack.session_present
        s.expect_publish(topic("a"), f"offline {n}")
        p.publish(topic("a"), f"online {n}", 1)
        s.expect_publish(topic("a"), f"online {n}")
        s.disconnect()


def test_takeovers_across_reactors_lose_no_message(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    got = []
    for n in range(40):
        p.send(codec.publish(5, topic("a"), str(2 * n), 1, 1))
        new = connect("s", **lasting(5))
        assert new.connack.session_present
        p.send(codec.publish(5, topic("a"), str(2 * n + 1), 1, 2))
        p.expect("PUBACK")
        p.expect("PUBACK")
        while f"{2 * n + 1}".encode() not in got:
            got.append(new.expect_publish(topic("a")).payload)
        s.expect_close(0x8E)
        s = new
    assert [int(x) for x in dict.fromkeys(got)] == list(range(80))


@pytest.mark.parametrize("keep", [False, True])
def test_many_sockets_with_one_client_id_at_once_leave_one(broker, connect, prefix, topic, keep):
    """Whatever the order in which the reactors see them: one stays, the others are told."""
    props = {"session_expiry": 1000} if keep else None
    sockets = [clients.Client(broker.address, prefix + "same", 5, connect=False, lenient=IS_PEER)
               for _ in range(60)]
    barrier = threading.Barrier(4)

    def rush(some):
        barrier.wait()
        for c in some:
            c.send(codec.connect(5, prefix + "same", clean=not keep, props=props))

    threads = [threading.Thread(target=rush, args=(sockets[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for c in sockets:
        c.expect("CONNACK", code=0)
    broker.settle()
    for c in sockets:
        c.send(codec.pingreq())
    alive = []
    for c in sockets:
        packet = c.next()
        if packet is not None and packet.kind == "PINGRESP":
            alive.append(c)
        else:
            assert packet is None and IS_PEER or packet.code == 0x8E
            assert c.next() is None
    assert len(alive) == 1
    alive[0].subscribe(topic("a"), qos=1)
    alive[0].publish(topic("a"), "x", 1)
    alive[0].expect_publish(topic("a"), "x")
    for c in sockets:
        c.close()


# ----------------------------------------------------------------------------------------- queues


@versions
@pytest.mark.clause("MQTT-4.5.0-1", "MQTT-4.6.0-5")
@pytest.mark.clause311("MQTT-3.1.2-5", "MQTT-4.6.0-6")
def test_queued_messages_arrive_in_order(connect, topic, version):
    offline(connect, "s", topic("#"), version=version, qos=2)
    p = connect("p")
    for n in range(90):
        p.publish(topic(f"{n % 3}"), str(n), 1)
    s = connect("s", version, **lasting(version))
    assert [int(s.expect_publish().payload) for _ in range(90)] == list(range(90))
    s.expect_nothing()


@pytest.mark.config(queue_qos0_messages="false")
def test_qos_0_is_not_queued_unless_wanted(connect, topic):
    offline(connect, "s", topic("a"), qos=2)
    offline(connect, "t", topic("a"), qos=0)
    p = connect("p")
    p.publish(topic("a"), "zero", 0)
    p.publish(topic("a"), "one", 1)
    s = connect("s", **lasting(5))
    s.expect_publish(topic("a"), "one")
    s.expect_nothing()
    connect("t", **lasting(5)).expect_nothing()


@pytest.mark.config(queue_qos0_messages="true")
def test_qos_0_is_queued_when_wanted(connect, topic):
    offline(connect, "s", topic("a"), qos=2)
    p = connect("p")
    p.publish(topic("a"), "zero", 0)
    p.publish(topic("a"), "one", 1)
    s = connect("s", **lasting(5))
    s.expect_publish(topic("a"), "zero", qos=0)
    s.expect_publish(topic("a"), "one", qos=1)
    s.expect_nothing()


@pytest.mark.config(max_queued_messages=5, max_inflight_messages=1)
def test_an_offline_queue_ends_at_the_configured_number(connect, topic):
    offline(connect, "s", topic("a"))
    p = connect("p")
    for n in range(20):
        p.publish(topic("a"), str(n), 1)
    s = connect("s", **lasting(5))
    got = []
    s.sync()
    while s.inbox:
        got.append(int(s.expect_publish().payload))
        s.sync()
    assert 5 <= len(got) <= 6 and got == sorted(got)


@pytest.mark.config(max_queued_messages=5, max_inflight_messages=2)
def test_a_queue_behind_a_closed_window_ends_at_the_configured_number(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(30):
        p.publish(topic("a"), str(n), 1)
    held = [s.expect_publish(ack=False) for _ in range(2)]
    s.expect_nothing()
    for packet in held:
        s.acknowledge(packet)
    got = []
    s.sync()
    while s.inbox:
        got.append(int(s.expect_publish().payload))
        s.sync()
    assert 3 <= len(got) <= 6 and got == sorted(got)
    p.publish(topic("a"), "after", 1)
    s.expect_publish(topic("a"), "after")


@pytest.mark.config(max_queued_bytes=3000, max_queued_messages=0)
def test_an_offline_queue_ends_at_the_configured_bytes(connect, topic):
    offline(connect, "s", topic("a"))
    p = connect("p")
    for n in range(20):
        p.publish(topic("a"), bytes([n]) * 500, 1)
    s = connect("s", **lasting(5))
    s.sync()
    assert 3 <= len(s.inbox) <= 7


@pytest.mark.config(max_queued_messages=0)
def test_no_limit_of_the_queue_is_written_as_0(connect, topic):
    offline(connect, "s", topic("a"))
    p = connect("p")
    for at in range(0, 3000, 10):
        p.send(b"".join(codec.publish(5, topic("a"), str(at + n), 1, n + 1) for n in range(10)))
        for _ in range(10):
            p.expect("PUBACK")
    s = connect("s", **lasting(5))
    assert [int(s.expect_publish().payload) for _ in range(3000)] == list(range(3000))
    s.expect_nothing()


@pytest.mark.config(max_inflight_messages=0)
def test_no_limit_of_the_window_is_written_as_0(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(200):
        p.publish(topic("a"), str(n), 1)
    held = [s.expect_publish(ack=False) for _ in range(200)]
    assert payloads(held) == [str(n).encode() for n in range(200)]


@versions
def test_a_long_queue_is_resumed_in_pieces(connect, topic, version):
    """Dropped while the queue is drained, again and again: nothing is lost or out of order."""
    keep = lasting(version)
    offline(connect, "s", topic("a"), version=version)
    p = connect("p")
    for n in range(100):
        p.publish(topic("a"), str(n), 1)
    got = []
    for _ in range(10):
        s = connect("s", version, **keep)
        for _ in range(10):
            got.append(int(s.expect_publish().payload))
        s.sync()
        s.drop()
    assert got == list(range(100))


@not_31
def test_one_session_per_client_id_and_no_more(connect, topic, prefix, version):
    """Ids that differ only in case, blanks or length are different clients."""
    prefix += "c"  # else it may be digits only, which have no case
    ids = [prefix, prefix + " ", prefix.upper() + "X", prefix + "x", prefix + "X", prefix + "xx"]
    all_of_them = [connect(client_id=name, version=version) for name in ids]
    for c in all_of_them:
        c.ping()


def test_a_message_reaches_sessions_online_and_offline(connect, topic):
    """A fan-out over all reactors, online and offline mixed."""
    for n in range(0, 60, 2):
        offline(connect, f"s{n}", topic("a"))
    online = [connect(f"s{n}", **lasting(5)) for n in range(1, 60, 2)]
    for s in online:
        s.subscribe(topic("a"), qos=1)
    connect("p").publish(topic("a"), "x", 1)
    for s in online:
        s.expect_publish(topic("a"), "x")
    for n in range(0, 60, 2):
        connect(f"s{n}", **lasting(5)).expect_publish(topic("a"), "x")
