"""$SYS/broker/...: mosquitto's names, with values that are true."""

import pathlib
import re
import resource
import signal
import socket
import time

import pytest

import client as clients
from broker import IS_PEER

NAMES = """version uptime
clients/total clients/connected clients/disconnected clients/maximum clients/expired
clients/inactive clients/active
messages/received messages/sent messages/stored store/messages/count store/messages/bytes
bytes/received bytes/sent
publish/messages/received publish/messages/sent publish/messages/dropped
publish/bytes/received publish/bytes/sent
subscriptions/count shared_subscriptions/count retained messages/count
load/messages/received/1min load/messages/received/5min load/messages/received/15min
load/messages/sent/1min load/publish/received/1min load/publish/sent/1min
load/bytes/received/1min load/bytes/sent/1min load/sockets/1min load/connections/1min"""
NAMES = [n for n in re.split(r"\n| (?!messages/count)", NAMES) if n]


def tick(broker):
    broker.turn(1100)
    broker.settle()


def value_of(broker, connect, name, good, what="value"):
    """Waits until the topic shows a value that is `good`."""
    c = connect(f"sys{time.monotonic_ns()}")
    c.subscribe("$SYS/broker/" + name)
    deadline = time.monotonic() + clients.WAIT_S
    last = None
    while time.monotonic() < deadline:
        c.sync()
        for packet in c.inbox:
            last = packet.payload.decode()
        c.inbox.clear()
        if last is not None and good(last):
            c.disconnect()
            return last
        tick(broker)
    raise AssertionError(f"$SYS/broker/{name}: {what} is {last}")


@pytest.mark.parametrize("name", NAMES)
def test_mosquittos_topics_are_there(broker, connect, name):
    value = value_of(broker, connect, name, lambda v: True)
    if name == "version":
        assert "version" in value or IS_PEER or "unlin" in value
    elif name == "uptime":
        assert re.fullmatch(r"\d+ seconds", value)
    else:
        float(value)


def test_they_are_retained_and_come_to_wildcards(broker, connect):
    tick(broker)
    c = connect("c")
    c.subscribe("$SYS/broker/clients/#")
    c.expect_publish(retain=True)


@pytest.mark.skipif(IS_PEER, reason="a topic of Dunlin's own")
@pytest.mark.config(sys_interval=1, fresh=True)
def test_each_connection_is_counted_once_when_accepted(broker, connect):
    broker.settle()
    tick(broker)  # so that what is read next includes the connections of settle()
    before = int(value_of(broker, connect, "connections/accepted", lambda v: int(v) > 0))
    for n in range(20):
        connect(f"c{n}")
    after = value_of(broker, connect, "connections/accepted", lambda v: int(v) >= before + 20)
    assert int(after) < before + 30


@pytest.mark.config(sys_interval=1, fresh=True)
def test_the_number_of_clients_is_true(broker, connect):
    def shown(n):
        # the client that looks counts itself, and the probes that settle() keeps
        return lambda v: int(v) == n + 1 + len(broker.probes)
    broker.settle()
    some = [connect(f"c{n}") for n in range(7)]
    value_of(broker, connect, "clients/connected", shown(7))
    for c in some[:3]:
        c.disconnect()
    value_of(broker, connect, "clients/connected", shown(4))


@pytest.mark.config(sys_interval=1, fresh=True)
def test_sessions_that_are_away_are_counted(broker, connect):
    broker.settle()
    for n in range(3):
        connect(f"c{n}", clean=False, props={"session_expiry": 100}).disconnect()
    value_of(broker, connect, "clients/disconnected", lambda v: int(v) == 3)
    broker.turn(102_000)
    value_of(broker, connect, "clients/disconnected", lambda v: int(v) == 0)


@pytest.mark.config(sys_interval=1, fresh=True)
def test_subscriptions_and_retained_messages_are_counted(broker, connect, topic):
    c = connect("c")
    c.subscribe(*[topic(str(n)) for n in range(10)])
    value_of(broker, connect, "subscriptions/count", lambda v: int(v) in (10, 11))
    c.unsubscribe(*[topic(str(n)) for n in range(10)])
    value_of(broker, connect, "subscriptions/count", lambda v: int(v) in (0, 1))


@pytest.mark.config(sys_interval=1, fresh=True)
def test_messages_and_bytes_are_counted(broker, connect, topic):
    s = connect("s")
    s.subscribe(topic("a"))
    p = connect("p")
    for _ in range(50):
        p.publish(topic("a"), b"x" * 1000, 1)
        s.expect_publish()
    value_of(broker, connect, "publish/messages/received", lambda v: int(v) >= 50)
    value_of(broker, connect, "publish/messages/sent", lambda v: int(v) >= 50)
    value_of(broker, connect, "publish/bytes/received", lambda v: int(v) >= 50_000)
    value_of(broker, connect, "bytes/received", lambda v: int(v) > 50_000)
    value_of(broker, connect, "bytes/sent", lambda v: int(v) > 50_000)


@pytest.mark.config(sys_interval=1, fresh=True)
def test_uptime_moves_with_the_clock(broker, connect):
    broker.turn(1000_000)
    value_of(broker, connect, "uptime", lambda v: int(v.split()[0]) >= 1000)


@pytest.mark.config(sys_interval=0, fresh=True)
def test_they_can_be_switched_off(broker, connect):
    broker.turn(20_000)
    c = connect("c")
    c.subscribe("$SYS/broker/clients/#", "$SYS/broker/load/#", "$SYS/broker/messages/#")
    broker.turn(20_000)
    broker.settle()
    c.expect_nothing()


@pytest.mark.ours
def test_closed_connections_are_counted_by_reason(broker, connect):
    c = connect("c")
    c.subscribe("$SYS/broker/#")
    bad = connect("bad")
    bad.send(b"\xc1\x00")
    bad.expect_close(0x81)
    deadline = time.monotonic() + clients.WAIT_S
    while time.monotonic() < deadline:
        tick(broker)
        c.sync()
        for packet in c.inbox:
            if packet.topic.endswith("/malformed") and int(packet.payload) > 0:
                return
        c.inbox.clear()
    raise AssertionError("no topic ends with /malformed")


@pytest.mark.ours
@pytest.mark.config(sys_interval=1, fresh=True)
def test_every_topic_is_in_the_documentation_and_the_other_way_round(broker, connect):
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "ADMIN.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    patterns = {row: re.compile("\\$SYS/broker/" + re.sub(r"<\w+>", "[^/]+", row) + "$")
                for row in rows}
    tick(broker)
    c = connect("c")
    c.subscribe("$SYS/broker/#")
    for _ in range(5):
        tick(broker)
        c.sync()
    topics = {packet.topic for packet in c.inbox}
    for topic in topics:
        assert any(p.match(topic) for p in patterns.values()), f"{topic} is not in docs/ADMIN.md"
    for row, pattern in patterns.items():
        if not row.startswith(("log/", "sessions/")):
            assert any(pattern.match(t) for t in topics), f"{row} is never published"


@pytest.mark.ours
@pytest.mark.config(sys_interval=1, fresh=True)
def test_only_what_changed_is_published_again(broker, connect):
    tick(broker)
    broker.settle()
    c = connect("c")
    c.subscribe("$SYS/broker/#")
    c.sync()
    c.inbox.clear()
    for _ in range(4):
        tick(broker)
    c.sync()
    said = {packet.topic for packet in c.inbox}
    assert "$SYS/broker/uptime" in said
    assert not said & {"$SYS/broker/version", "$SYS/broker/closed/malformed",
                       "$SYS/broker/dropped/memory"}
    assert not any(packet.retain for packet in c.inbox)


@pytest.mark.ours
@pytest.mark.config(sys_interval=1, fresh=True)
def test_each_reactor_tells_its_delay_and_its_connections(broker, connect):
    some = [connect(f"c{n}") for n in range(10)]
    broker.settle()
    c = connect("c")
    c.subscribe("$SYS/broker/reactors/#")
    expected = len(some) + len(broker.probes) + 1
    deadline = time.monotonic() + clients.WAIT_S
    values = {}
    while time.monotonic() < deadline:
        tick(broker)
        c.sync()
        values.update({p.topic[len("$SYS/broker/reactors/"):]: int(p.payload) for p in c.inbox})
        c.inbox.clear()
        if len(values) == 6 and values["0/connections"] + values["1/connections"] == expected:
            return
    raise AssertionError(values)


@pytest.mark.ours
def test_a_wildcard_alone_does_not_show_them(broker, connect):
    c = connect("c")
    c.subscribe("#", "+/#")
    tick(broker)
    c.sync()
    assert not [p for p in c.inbox if p.topic.startswith("$")]


@pytest.mark.config(log_dest=["stderr", "topic"], log_type="all", fresh=True)
def test_the_log_can_be_read_as_messages(broker, connect):
    c = connect("c")
    c.subscribe("$SYS/broker/log/#")
    connect("seen").subscribe("x/y")
    seen = {}
    while not {"N", "M/subscribe"} <= set(seen):
        packet = c.expect_publish(retain=False)
        text = packet.payload.decode()
        if "seen" in text:
            seen[packet.topic[len("$SYS/broker/log/"):]] = text
    assert "connected" in seen["N"]
    assert "x/y" in seen["M/subscribe"]


def overflow(broker):
    """Connections of which a queue for one throws most away."""
    broker.signal(signal.SIGSTOP)
    sockets = []
    try:
        for _ in range(40):
            sockets.append(socket.socket())
            sockets[-1].setblocking(False)
            sockets[-1].connect_ex(broker.address)
    finally:
        broker.signal(signal.SIGCONT)
    return sockets


@pytest.mark.skipif(IS_PEER, reason="a topic of Dunlin's own")
@pytest.mark.config(sys_interval=1, fresh=True, backlog=1)
def test_connections_that_a_full_queue_throws_away_are_counted(broker, connect):
    before = int(value_of(broker, connect, "connections/listen_overflows", lambda v: True))
    sockets = overflow(broker)
    for topic in ("connections/listen_overflows", "connections/listen_drops"):
        value_of(broker, connect, topic, lambda v: int(v) > before)
    for one in sockets:
        one.close()


@pytest.mark.skipif(IS_PEER, reason="a topic of Dunlin's own")
@pytest.mark.config(sys_interval=1, fresh=True, backlog=1)
def test_they_are_counted_also_while_there_are_no_descriptors(broker, connect):
    c = connect("c")
    c.subscribe("$SYS/broker/connections/listen_overflows")
    before = int(c.expect_publish().payload)
    soft, hard = resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (1, hard))
    sockets = overflow(broker)
    deadline = time.monotonic() + clients.WAIT_S
    while time.monotonic() < deadline:
        broker.turn(1100)
        c.sync()
        if any(int(p.payload) > before for p in c.inbox):
            break
        c.inbox.clear()
    else:
        raise AssertionError("it stood still")
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (soft, hard))  # its end may need some
    for one in sockets:
        one.close()
