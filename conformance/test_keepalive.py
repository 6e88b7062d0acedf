"""Keep alive, and the time a connection has before its CONNECT."""

import time

import pytest

import mqtt_codec as codec
from client import readable
from support import versions


def untouched(broker, c):
    """Nothing came and the connection lives, found out without sending anything."""
    broker.settle()
    return not readable(c.sock, 0)


SLACK_MS = 450


def keep_silent(broker, make, ms, others=()):
    """A client of make() that is alive after it was silent for so many ms, less SLACK_MS; the others
    say something half way. Where the machine is slow, so that real time has used up the slack as
    well, another one tries."""
    for _ in range(5):
        c = make()
        c.ping()
        since = time.monotonic()
        broker.turn(ms // 2)
        for other in others:
            other.ping()
        broker.turn(ms - ms // 2 - SLACK_MS)
        is_alive = untouched(broker, c)
        if is_alive:
            return c
        assert time.monotonic() - since > SLACK_MS / 1000 - 0.1, "closed too early"
    pytest.skip("this machine is too slow for this test")


@versions
@pytest.mark.parametrize("seconds", [1, 10, 600, 65535])
@pytest.mark.clause("MQTT-3.1.2-22", "MQTT-3.2.2-22")
@pytest.mark.clause311("MQTT-3.1.2-24")
def test_silence_for_one_and_a_half_keepalives_ends_the_connection(
        broker, connect, topic, version, seconds):
    watcher = connect("w")
    watcher.subscribe(topic("will"))
    will = {"topic": topic("will"), "payload": "x"}
    c = keep_silent(broker, lambda: connect("c", version, keepalive=seconds, will=will),
                    int(seconds * 1500), [watcher])
    watcher.inbox.clear()
    broker.turn(1000 + SLACK_MS)
    c.expect_close(0x8D)
    watcher.expect_publish(topic("will"), "x")


@versions
def test_every_packet_counts_as_a_sign_of_life(broker, connect, topic, version):
    c = connect("c", version, keepalive=10)
    for act in (lambda: c.ping(), lambda: c.publish(topic("a"), "x", 1),
                lambda: c.send(codec.publish(version, topic("a"), b"x")),
                lambda: c.subscribe(topic("b")), lambda: c.unsubscribe(topic("b")),
                lambda: c.publish(topic("a"), "x", 2), lambda: c.pubrel(9)):
        broker.turn(12_000)
        broker.settle()
        act()
        c.inbox.clear()
    c.sync()
    broker.turn(16_000)
    c.expect_close(0x8D)


def test_what_the_server_sends_is_no_sign_of_life(broker, connect, topic):
    c = connect("c", keepalive=10)
    c.subscribe(topic("a"))
    p = connect("p")
    for _ in range(4):
        p.publish(topic("a"), "x")
        c.expect_publish(topic("a"))
        broker.turn(4000)
        broker.settle()
    c.expect_close(0x8D)


@pytest.mark.clause("MQTT-3.1.2-22")
def test_a_packet_that_never_ends_is_no_sign_of_life(broker, connect, topic):
    c = connect("c", keepalive=10)
    c.ping()
    for byte in codec.publish(5, topic("a"), b"x" * 30)[:6]:
        c.send(bytes([byte]))
        broker.settle()
        broker.turn(4000)
        broker.settle()
    c.expect_close(0x8D)


@versions
def test_a_keepalive_of_zero_means_none(broker, connect, version):
    c = connect("c", version, keepalive=0)
    broker.turn(30 * 86400 * 1000)
    assert untouched(broker, c)
    c.ping()


@pytest.mark.config(max_keepalive=20)
@pytest.mark.clause("MQTT-3.1.2-21", "MQTT-3.1.2-22")
@pytest.mark.parametrize("asked", [0, 600])
def test_the_servers_keepalive_is_the_one_that_counts(broker, connect, asked):
    c = keep_silent(broker, lambda: connect("c", keepalive=asked), 30_000)
    assert c.connack.props["server_keep_alive"] == 20
    broker.turn(1000 + SLACK_MS)
    c.expect_close(0x8D)


@pytest.mark.parametrize("first", [b"", b"\x10", codec.connect(5, "x")[:-1]])
@pytest.mark.clause("X5-24", "MQTT-3.14.0-1")
@pytest.mark.clause311("X3-03")
def test_a_connection_without_connect_is_closed_in_time(broker, raw, first):
    c = raw(5)
    c.send(first)
    assert untouched(broker, c)
    broker.turn(300_000)
    assert c.next() is None


def test_different_keepalives_end_at_their_own_times(broker, connect):
    clients = {seconds: connect(f"c{seconds}", keepalive=seconds) for seconds in (2, 4, 8, 16)}
    for c in clients.values():
        c.ping()
    broker.turn(4000)
    for seconds in (2, 4, 8, 16):
        clients.pop(seconds).expect_close(0x8D)
        for c in clients.values():
            assert untouched(broker, c)
        broker.turn(int(seconds * 1500))
