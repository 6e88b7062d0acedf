"""SIGTERM drains, SIGHUP reloads."""

import re
import signal
import time

import pytest

import broker as brokers
import client as clients
from support import versions

pytestmark = pytest.mark.ours


def start(**config):
    return brokers.Broker(config)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_broker_tells_its_clients_and_ends_with_0(number):
    target = start()
    everyone = {v: clients.Client(target.address, f"c{v}", v) for v in (3, 4, 5)}
    silent = clients.Client(target.address, "none", connect=False)
    target.signal(number)
    everyone[5].expect_close(0x8B)
    everyone[4].expect_close()
    everyone[3].expect_close()
    assert silent.next() is None
    target.stop()


def test_a_second_signal_does_no_harm():
    target = start()
    c = clients.Client(target.address, "c")
    target.signal(signal.SIGTERM)
    target.signal(signal.SIGTERM)
    c.expect_close(0x8B)
    target.stop()


def test_a_broker_without_clients_stops_too():
    start().stop()


def test_stopping_with_clients_that_do_not_read():
    target = start(max_queued_messages=100)
    slow = clients.Client(target.address, "slow", receive_buffer=4096)
    slow.subscribe("a")
    p = clients.Client(target.address, "p")
    for _ in range(200):
        p.send(clients.codec.publish(5, "a", b"x" * 20_000))
    p.ping()
    target.stop()
    slow.close()


@versions
def test_nobody_new_is_taken_in_after_the_signal(version):
    target = start()
    c = clients.Client(target.address, "c", version)
    target.signal(signal.SIGTERM)
    c.expect_close(0x8B)
    target.process.wait(20)
    with pytest.raises(OSError):
        clients.Client(target.address, "late")
    target.stop()


def reload(target, **config):
    since = len(target.log())
    target.config.update(config)
    target.write_config()
    target.signal(signal.SIGHUP)
    return since


def test_a_reload_applies_and_logs_what_changed():
    target = start(max_keepalive=100, log_type="all")
    c = clients.Client(target.address, "before", keepalive=600)
    assert c.connack.props["server_keep_alive"] == 100
    since = reload(target, max_keepalive=50)
    said = target.wait_log("max_keepalive", since)
    assert "100" in said and "50" in said
    for _ in range(200):
        d = clients.Client(target.address, "after", keepalive=600)
        if d.connack.props["server_keep_alive"] == 50:
            break
        d.disconnect()
    assert d.connack.props["server_keep_alive"] == 50
    c.ping()
    target.stop()


def test_a_reload_of_what_needs_a_restart_says_so():
    target = start(log_type="all")
    since = reload(target, reactors=1)
    said = target.wait_log("reactors", since)
    assert "restart" in said
    clients.Client(target.address, "c").ping()
    target.stop()


def test_a_reload_counts_apart_what_changed_and_what_needs_a_restart():
    target = start(log_type="all", max_keepalive=100)
    since = reload(target, max_keepalive=90, reactors=1)
    said = target.wait_log("Reload: done", since)
    assert "Reload: done, 1 change, 1 more after a restart." in said
    target.stop()


def test_a_bad_file_at_reload_changes_nothing():
    target = start(log_type="all", max_keepalive=100)
    c = clients.Client(target.address, "c")
    since = reload(target, max_keepalive="nonsense", max_inflight_mesages=3)
    target.wait_log("dunlin.conf:", since)
    c.ping()
    d = clients.Client(target.address, "d", keepalive=600)
    assert d.connack.props["server_keep_alive"] == 100
    target.stop()


def test_each_error_of_a_bad_reload_has_its_own_line():
    target = start()
    since = reload(target, max_keepalive="nonsense", max_inflight_mesages=3)
    said = target.wait_log("Reload: nothing changed.", since)
    assert "\\x0a" not in said
    lines = [line for line in said.splitlines() if "dunlin.conf:" in line]
    assert len(lines) == 2 and all("Reload: " in line for line in lines)
    target.stop()


def test_a_reload_shows_what_was_unset():
    target = start()
    since = reload(target, clientid_prefixes="sensor-")
    target.wait_log("Reload: clientid_prefixes: unset -> sensor-.", since)
    target.stop()


def test_reloads_that_change_something_have_no_end():
    target = start(max_keepalive=100)
    for n in range(300):
        reload(target, max_keepalive=101 + n)
        deadline = time.monotonic() + clients.WAIT_S
        told = 0
        while told != 101 + n and time.monotonic() < deadline:
            c = clients.Client(target.address, "c", keepalive=600)
            told = c.connack.props["server_keep_alive"]
            c.disconnect()
        assert told == 101 + n
    target.stop()


def test_many_reloads_in_a_row_do_no_harm():
    target = start()
    c = clients.Client(target.address, "c")
    c.subscribe("a", qos=1)
    for n in range(30):
        target.signal(signal.SIGHUP)
        c.publish("a", str(n), 1)
        c.expect_publish("a", str(n))
    target.stop()


def reload_done(target, **config):
    target.wait_log("Reload: done", reload(target, **config))


def test_a_reload_shortens_an_interval_that_has_begun():
    target = start(sys_interval=300)
    c = clients.Client(target.address, "c")
    c.subscribe("$SYS/broker/uptime")
    first = c.expect_publish("$SYS/broker/uptime")
    target.turn(5000)
    c.expect_nothing()
    reload_done(target, sys_interval=2)
    target.turn(1000)
    assert c.expect_publish("$SYS/broker/uptime").payload != first.payload
    target.stop()


def retained_count(target):
    """As $SYS tells it anew."""
    target.turn(1100)
    target.settle()
    c = clients.Client(target.address, "count")
    c.subscribe("$SYS/broker/retained messages/count")
    count = int(c.expect_publish("$SYS/broker/retained messages/count").payload)
    c.disconnect()
    return count


def test_a_reload_shortens_the_time_to_the_next_sweep_of_retained_messages():
    target = start(retain_expiry_interval=1000)
    c = clients.Client(target.address, "c")
    for n in range(20):
        c.publish(f"r/{n}", "x", 1, retain=True, props={"message_expiry": 9})
    before = retained_count(target)
    target.turn(30_000)
    assert retained_count(target) == before
    reload_done(target, retain_expiry_interval=1)
    target.turn(61_000)
    target.settle()
    assert retained_count(target) == before - 20
    target.stop()


PUBLISH = clients.codec.publish


@versions
def test_a_lower_packet_size_does_not_end_who_was_told_a_higher_one(version):
    target = start(max_packet_size=10_000)
    before = clients.Client(target.address, "before", version)
    half = PUBLISH(version, "a", b"x" * 9000, 1, 1)
    before.send(half[:100])
    reload_done(target, max_packet_size=1000)
    before.send(half[100:])
    before.expect("PUBACK")
    before.publish("a", "x" * 9000, 1)
    after = clients.Client(target.address, "after", version)
    if version == 5:
        assert before.connack.props["max_packet_size"] == 10_000
        assert after.connack.props["max_packet_size"] == 1000
    after.send(PUBLISH(version, "a", b"x" * 9000))
    after.expect_close(0x95)
    before.send(PUBLISH(version, "a", b"x" * 10_000))
    before.expect_close(0x95)
    target.stop()


def test_a_lower_receive_maximum_does_not_end_who_was_told_a_higher_one():
    target = start(receive_maximum=20)
    before = clients.Client(target.address, "before")
    reload_done(target, receive_maximum=3)
    for n in range(1, 21):
        before.send(PUBLISH(5, "a", b"x", 2, n))
        before.expect("PUBREC")
    after = clients.Client(target.address, "after")
    assert after.connack.props["receive_max"] == 3
    for n in range(1, 5):
        after.send(PUBLISH(5, "a", b"x", 2, n))
    for n in range(1, 4):
        after.expect("PUBREC")
    after.expect_close(0x93)
    before.send(PUBLISH(5, "a", b"x", 2, 21))
    before.expect_close(0x93)
    target.stop()


@versions
def test_without_retained_messages_from_now_on_who_was_told_of_them_has_them(version):
    target = start()
    before = clients.Client(target.address, "before", version)
    before.publish("r", "1", 1, retain=True)
    reload_done(target, retain_available="false")
    before.publish("r", "2", 1, retain=True)
    before.subscribe("r")
    assert before.expect_publish("r", "2").retain
    after = clients.Client(target.address, "after", version)
    after.subscribe("r")
    after.expect_nothing()
    after.send(PUBLISH(version, "r", b"3", retain=True))
    after.expect_close(0x9A)
    before.ping()
    target.stop()


def test_higher_limits_hold_for_who_is_told_them():
    target = start(max_packet_size=1000, retain_available="false")
    before = clients.Client(target.address, "before")
    reload_done(target, max_packet_size=10_000, retain_available="true")
    after = clients.Client(target.address, "after")
    assert after.connack.props["max_packet_size"] == 10_000
    assert after.connack.props.get("retain_available", 1) == 1
    after.publish("r", "x" * 9000, 1, retain=True)
    before.send(PUBLISH(5, "r", b"x" * 9000))
    before.expect_close(0x95)
    target.stop()


def receive_maximum_of_a_newcomer(target):
    c = clients.Client(target.address, "c")
    c.disconnect()
    return c.connack.props["receive_max"]


def test_more_sets_of_limits_than_there_is_room_for_need_a_restart():
    target = start(receive_maximum=1000)
    before = clients.Client(target.address, "before")
    for n in range(255):
        reload(target, receive_maximum=n + 1)
        deadline = time.monotonic() + clients.WAIT_S
        while receive_maximum_of_a_newcomer(target) != n + 1 and time.monotonic() < deadline:
            pass
        target.turn(1000)
    since = reload(target, receive_maximum=256, max_keepalive=100)
    said = target.wait_log("Reload: done, 1 change, 1 more after a restart.", since)
    assert "a new one needs a restart, and they stay as they were." in said
    assert receive_maximum_of_a_newcomer(target) == 255
    reload_done(target, receive_maximum=7)
    assert receive_maximum_of_a_newcomer(target) == 7
    before.ping()
    target.stop()


CONTROL = "$CONTROL/sessions/v1"
COUNT = '{"commands":[{"command":"countSessions"}]}'


def lookout(target, name, **options):
    """Somebody who wants to see what admins see, of the session "x"."""
    c = clients.Client(target.address, name, username=name, **options)
    c.subscribe("$SYS/broker/sessions/x", CONTROL + "/response", qos=1)
    return c


def test_a_reload_of_admin_users_holds_for_who_is_connected():
    target = start(admin_users="ada")
    ada, grace = lookout(target, "ada"), lookout(target, "grace")
    since = reload(target, admin_users="grace")
    said = target.wait_log("is no longer an admin", since)
    assert re.search(r"Client ada \(127\.0\.0\.1:\d+\) is no longer an admin: admin_users has changed\.", said)
    said = target.wait_log("is an admin now", since)
    assert re.search(r"Client grace \(127\.0\.0\.1:\d+\) is an admin now: admin_users has changed\.", said)
    ada.publish(CONTROL, COUNT, 1, code=0x87)
    grace.publish(CONTROL, COUNT, 1)
    assert b"count" in grace.expect_publish(CONTROL + "/response").payload
    clients.Client(target.address, "x")
    assert b'"x"' in grace.expect_publish("$SYS/broker/sessions/x").payload
    target.settle()
    ada.expect_nothing()
    target.stop()


def test_nothing_is_kept_for_an_admin_of_old_who_is_away():
    target = start(admin_users="ada")
    ada = lookout(target, "ada", clean=False, props={"session_expiry": 1000})
    ada.disconnect()
    target.settle()
    reload_done(target, admin_users="grace")
    target.settle()
    clients.Client(target.address, "x").disconnect()
    target.settle()
    reload_done(target, admin_users="ada")
    target.settle()
    ada = clients.Client(target.address, "ada", username="ada", clean=False)
    assert ada.connack.session_present
    ada.expect_nothing()
    clients.Client(target.address, "x")
    ada.expect_publish("$SYS/broker/sessions/x")
    target.stop()


def test_a_reload_of_the_expiration_holds_for_who_is_away():
    target = start()
    for name, version in (("three", 4), ("five", 5)):
        props = {"session_expiry": 0xFFFFFFFF} if version == 5 else None
        clients.Client(target.address, name, version, clean=False, props=props).disconnect()
    target.settle()
    reload_done(target, persistent_client_expiration="1h")
    target.settle()
    target.turn(3_590_000)
    target.settle()
    assert "ended" not in target.log()
    since = len(target.log())
    target.turn(20_000)
    target.wait_log("Session of client three ended: expired", since)
    target.wait_log("Session of client five ended: expired", since)
    target.stop()


def test_a_reload_of_who_may_connect_sends_nobody_away():
    target = start()
    before = clients.Client(target.address, "before")
    reload_done(target, allow_anonymous="false", clientid_prefixes="sensor-",
                accept_protocol_versions="4", global_max_clients=1, global_max_connections=2)
    after = clients.Client(target.address, "after", connect=False)
    after.send(clients.codec.connect(5, "after"))
    after.expect("CONNACK", code=0x84)
    before.publish("a", "x", 1)
    target.stop()


def test_limits_of_queues_that_a_reload_lowers_take_nothing_from_who_is_here():
    target = start(max_inflight_messages=10, max_queued_messages=100)
    c = clients.Client(target.address, "c")
    c.subscribe("a", qos=1)
    p = clients.Client(target.address, "p")
    for n in range(30):
        p.publish("a", str(n), 1)
    target.settle()
    reload_done(target, max_inflight_messages=1, max_queued_messages=5)
    p.publish("a", "too many", 1)
    target.settle()
    for n in range(30):
        c.expect_publish("a", str(n))
    c.expect_nothing()
    target.stop()
