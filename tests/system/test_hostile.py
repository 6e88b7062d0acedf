"""Peers that want to harm: they must cost little, and nobody else may notice them."""

import json
import random
import resource
import select
import socket
import time

import pytest

import client as clients
import mqtt_codec as codec
from broker import IS_PEER
from support import peer_fails


def open_sockets(broker, count, data=b""):
    """As many sockets as the limit of descriptors allows, at most `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = []
    for _ in range(min(count, hard - 500)):
        s = socket.socket()
        s.connect(broker.address)
        if data:
            s.sendall(data)
        sockets.append(s)
    return sockets


def wait_accepted(broker, connect, sockets):
    """A client that connects after all of them, on each reactor, has been served after them."""
    broker.settle()
    for n in range(8):
        connect(f"after{n}").ping()


@pytest.mark.config(fresh=True, sys_interval=0)
@pytest.mark.parametrize("data", [
    b"\x10\xff\xff\xff\x7f", b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\x02\x00\x00",
    b"\x30\xff\xff\xff\x7f"], ids=["CONNECT", "CONNECT begun", "PUBLISH"])
@peer_fails("4.7 kB per socket")
def test_announcing_256_megabytes_before_connect_costs_no_memory(broker, connect, data):
    connect("warm").ping()
    before = broker.rss_kb()
    sockets = open_sockets(broker, 10_000, data)
    wait_accepted(broker, connect, sockets)
    grown = broker.rss_kb() - before
    for s in sockets:
        s.close()
    assert grown < 8000, f"{grown} kB for 10,000 sockets"


@pytest.mark.config(fresh=True, sys_interval=0)
def test_announcing_256_megabytes_after_connect_costs_no_memory(broker, connect):
    connect("warm").ping()
    before = broker.rss_kb()
    sockets = open_sockets(broker, 500)
    for n, s in enumerate(sockets):
        s.sendall(codec.connect(5, f"big{n}") + b"\x30\xff\xff\xff\x7f\x00\x01t\x00")
    wait_accepted(broker, connect, sockets)
    grown = broker.rss_kb() - before
    for s in sockets:
        s.close()
    assert grown < 8000, f"{grown} kB for 500 clients"


@pytest.mark.config(fresh=True, sys_interval=0)
@peer_fails("a backlog of 100 makes connecting slow")
def test_thousands_of_silent_sockets_cost_no_time(broker, connect):
    sockets = open_sockets(broker, 10_000)
    wait_accepted(broker, connect, sockets)
    before = broker.cpu_s()
    time.sleep(1)  # a stretch of time in which nothing happens is what is measured
    spent = broker.cpu_s() - before
    for s in sockets:
        s.close()
    # with a clock that can be turned each reactor wakes 100 times a second; a spinning one takes 1 s
    assert spent < 0.3, f"{spent} s of CPU in one idle second"
    connect("other").ping()


@pytest.mark.config(fresh=True, sys_interval=0)
def test_silent_sockets_are_closed_in_time_and_leave_nothing(broker, connect):
    connect("warm").ping()
    before = broker.descriptors()
    sockets = open_sockets(broker, 500)
    wait_accepted(broker, connect, sockets)
    broker.turn(300_000)
    for s in sockets:
        s.settimeout(clients.WAIT_S)
        assert s.recv(10) == b""
        s.close()
    broker.settle()
    assert broker.descriptors() < before + 100


@pytest.mark.config(fresh=True)
def test_connections_that_come_and_go_leave_nothing_behind(broker, connect, prefix):
    connect("warm").ping()
    broker.settle()
    descriptors = broker.descriptors()
    for round_ in range(3):
        for n in range(300):
            s = socket.create_connection(broker.address)
            s.sendall(codec.connect(5, f"{prefix}{n}") + codec.subscribe(5, 1, [(f"x/{n}", 1)]))
            if n % 3:
                s.recv(5)
            s.close()
        broker.settle()
        if round_ == 0:
            memory = broker.rss_kb()
    deadline = time.monotonic() + clients.WAIT_S
    while broker.descriptors() > descriptors + 5 and time.monotonic() < deadline:
        broker.settle()
    assert broker.descriptors() <= descriptors + 5
    assert broker.rss_kb() - memory < 3000


SLOW = {"max_queued_messages": 200, "max_inflight_messages": 20, "sys_interval": 1}


@pytest.mark.config(**SLOW, fresh=True)
@pytest.mark.parametrize("qos", [0, 1])
@peer_fails("answers late")
def test_a_subscriber_that_does_not_read_harms_nobody(broker, connect, topic, qos):
    slow = connect("slow", receive_buffer=4096)
    quick = connect("quick")
    for c in (slow, quick):
        c.subscribe(topic("a"), qos=qos)
    p = connect("p")
    before = broker.rss_kb()
    payload = b"x" * 4096
    got = 0
    for _ in range(600):
        p.send(b"".join(codec.publish(5, topic("a"), payload, qos, n + 1 if qos else None)
                        for n in range(10)))
        if qos:
            for _ in range(10):
                p.expect("PUBACK")
        for _ in range(10):
            quick.expect_publish(topic("a"))
            got += 1
    assert got == 6000
    grown = broker.rss_kb() - before
    assert grown < 16_000, f"{grown} kB after 24 MB towards one that does not read"
    connect("other").ping()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    slow.ping()  # it has begun to read again, and gets what was kept for it


@pytest.mark.config(**SLOW, fresh=True)
@pytest.mark.ours
@pytest.mark.parametrize("qos, reason", [(0, "slow_qos0"), (1, "queue_messages")])
def test_what_is_dropped_for_a_slow_reader_is_counted(broker, connect, topic, qos, reason):
    slow = connect("slow", receive_buffer=4096)
    slow.subscribe(topic("a"), qos=qos)
    p = connect("p")
    for _ in range(300):
        p.send(b"".join(codec.publish(5, topic("a"), b"x" * 8192, qos, n + 1 if qos else None)
                        for n in range(10)))
        if qos:
            for _ in range(10):
                p.expect("PUBACK")
    p.ping()
    watcher = connect("w")
    watcher.subscribe("$SYS/broker/publish/messages/dropped", "$SYS/broker/publish/dropped/#",
                      "$SYS/broker/messages/dropped/#", "$SYS/broker/dropped/#")
    seen = {}
    deadline = time.monotonic() + clients.WAIT_S
    while time.monotonic() < deadline:
        broker.turn(1100)
        broker.settle()
        watcher.sync()
        for packet in watcher.inbox:
            seen[packet.topic.rsplit("/", 1)[1]] = int(packet.payload)
        watcher.inbox.clear()
        if seen.get("dropped", 0) > 0 and seen.get(reason, 0) > 0:
            return
    raise AssertionError(f"no drops were counted as {reason}: {seen}")


@pytest.mark.config(fresh=True, sys_interval=0)
def test_a_client_that_floods_and_never_reads_answers_harms_nobody(broker, connect, topic):
    """Each PINGREQ asks for an answer nobody fetches: the broker must stop reading, not buffer."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(broker.address)
    s.sendall(codec.connect(5, "flood"))
    before = broker.rss_kb()
    s.setblocking(False)
    flood = codec.pingreq() * 30_000
    sent, blocked = 0, False
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    for _ in range(2000):
        try:
            sent += s.send(flood)
        except BlockingIOError:
            if not poll.poll(300):
                blocked = True
                break
        except (BrokenPipeError, ConnectionResetError):
            blocked = True
            break
    connect("other").ping()
    s.close()
    assert blocked or sent > 60_000_000
    assert broker.rss_kb() - before < 16_000


@pytest.mark.config(fresh=True, sys_interval=0, max_queued_messages=100)
def test_many_slow_readers_do_not_slow_the_others(broker, connect, topic):
    slow = [connect(f"slow{n}", receive_buffer=4096) for n in range(50)]
    quick = connect("quick")
    for c in (*slow, quick):
        c.subscribe(topic("a"))
    p = connect("p")
    for n in range(300):
        p.send(codec.publish(5, topic("a"), n.to_bytes(2, "big") + b"x" * 20_000))
        assert quick.expect_publish(topic("a")).payload[:2] == n.to_bytes(2, "big")
    for c in slow:
        c.reset()
    connect("other").ping()


@pytest.mark.config(fresh=True, sys_interval=0, memory_limit=30_000_000, max_queued_messages=0)
@pytest.mark.ours
def test_the_memory_limit_is_a_ceiling(broker, connect, topic):
    """100 MB for a session that is away: publishers are slowed or refused before memory runs out."""
    sleeper = connect("sleeper", clean=False, props={"session_expiry": 1000})
    sleeper.subscribe(topic("a"), qos=1)
    sleeper.disconnect()
    other = connect("other")
    p = connect("p")
    before = broker.rss_kb()
    p.sock.setblocking(False)
    poll = select.poll()
    poll.register(p.sock, select.POLLIN | select.POLLOUT)
    data = memoryview(codec.publish(5, topic("a"), b"x" * 50_000, 1, 1) * 2000)
    while data:
        events = poll.poll(500)
        if not events or events[0][1] & (select.POLLERR | select.POLLHUP):
            break  # not read any more, or closed
        if events[0][1] & select.POLLIN and not p.sock.recv(1 << 16):
            break
        if events[0][1] & select.POLLOUT:
            try:
                data = data[p.sock.send(data[:1 << 20]):]
            except OSError:
                break
    grown = broker.rss_kb() - before
    assert grown < 60_000, f"{grown} kB with a limit of 30 MB"
    other.ping()
    p.reset()


@pytest.mark.config(fresh=True, sys_interval=0, memory_limit=30_000_000, max_packet_size=0)
@peer_fails("half packets are not counted")
def test_halves_of_large_packets_stay_within_the_memory_limit(broker, connect, topic):
    before = broker.rss_kb()
    senders = [connect(f"s{n}") for n in range(4)]
    block = bytes(1 << 20)
    for sender in senders:
        sender.send(b"\x30\x80\x80\x80\x32" + codec.string(topic("t")) + b"\x00")  # of 100 MiB
    for _ in range(40):
        for sender in senders:
            sender.send(block)
    grown = broker.rss_kb() - before
    assert grown < 60_000, f"{grown} kB with a limit of 30 MB"
    broker.wait_log("disconnected: memory")
    connect("other").ping()
    for sender in senders:
        sender.close()


@pytest.mark.config(fresh=True, sys_interval=0, memory_limit=10_000_000, max_queued_messages=0)
@peer_fails("everybody is refused")
def test_the_owner_of_what_fills_the_memory_still_gets_in_and_so_does_an_admin(broker, connect, topic):
    owner = connect("owner", clean=False, props={"session_expiry": 1000})
    owner.subscribe(topic("a"), qos=1)
    owner.disconnect()
    p = connect("p")
    codes = [0]
    while 0x97 not in codes[-1:]:
        number = p.packet_id()
        p.send(codec.publish(5, topic("a"), b"x" * 50_000, 1, number))
        codes.append(p.expect("PUBACK", id=number).code)
        assert len(codes) < 400
    broker.settle()  # the session may be another reactor's: what was mailed to it counts there
    admin = connect("admin")  # as everybody on this machine is, while there are no users
    admin.subscribe(f"$SYS/broker/sessions/{owner.client_id}")
    there = json.loads(admin.expect("PUBLISH").payload)
    assert codes.count(0) - 1 == there["queued_messages"] + there["dropped"].get("memory", 0)
    owner = connect("owner", clean=False, props={"session_expiry": 1000})
    for _ in range(there["queued_messages"]):
        owner.expect_publish(topic("a"))
    p.publish(topic("a"), "there is room again", 1)
    owner.expect_publish(topic("a"), "there is room again")


@pytest.mark.config(fresh=True, sys_interval=0)
@pytest.mark.slow
def test_a_storm_of_connections_is_served(broker, connect, prefix):
    """2,000 clients connect at once, subscribe, and all get a message."""
    sockets = open_sockets(broker, 2000)
    for n, s in enumerate(sockets):
        s.sendall(codec.connect(5, f"{prefix}{n}") + codec.subscribe(5, 1, [(prefix, 0)]))
    for s in sockets:
        s.settimeout(clients.WAIT_S)
        data = b""
        while b"\x90" not in data:
            more = s.recv(1000)
            assert more, "closed"
            data += more
    connect("p").publish(prefix, "x", 1)
    expected = codec.publish(5, prefix, "x")
    for s in sockets:
        assert s.recv(1000).endswith(expected)
        s.close()


@pytest.mark.config(fresh=True)
def test_half_a_million_bytes_of_rubbish_are_survived(broker, connect):
    chance = random.Random(7)
    for n in range(200):
        with socket.create_connection(broker.address) as s:
            try:
                if n % 2:
                    s.sendall(codec.connect(4 + n // 2 % 2, f"r{n}"))
                s.sendall(chance.randbytes(2500))
            except OSError:
                pass
    connect("other").ping()
    if not IS_PEER:
        broker.check_log()
