"""Wills: when they go out, when not, and as what."""

import signal

import pytest

import mqtt_codec as codec
from broker import IS_PEER
from support import FOREVER, every_qos, not_31, versions

N = 100  # a session expiry; the delays around it are shorter and longer


@pytest.fixture
def watch(connect, topic):
    watcher = connect("watch")
    watcher.subscribe(topic("will"), qos=2)
    return watcher


def ends(connect, broker, c, version, how):
    """Ends the connection of `c` in one of the ways there are."""
    if how == "clean":
        c.disconnect()
    elif how == "0x04":
        c.disconnect(0x04)
    elif how == "dropped":
        c.drop()
    elif how == "keepalive":
        broker.turn(4500)
        c.expect_close(0x8D)
    elif how == "protocol error":
        c.send(codec.connect(version, c.client_id))
        c.expect_close(0x82)
    else:
        clean = how == "taken over, clean start"
        props = {"session_expiry": FOREVER} if version == 5 else None
        connect("c", version, clean=clean, props=props).ping()
        c.expect_close(0x8E)


def shows(how, *clauses):
    return pytest.param(how, marks=pytest.mark.clause(*(f"MQTT-{clause}" for clause in clauses)))


@pytest.mark.parametrize("how", [
    shows("clean", "3.14.4-3", "3.1.2-10"), shows("0x04", "3.14.4-3"),
    shows("dropped", "3.1.2-8"), shows("keepalive", "3.1.2-22"),
    shows("protocol error", "3.1.2-8"), shows("taken over, resumed", "3.1.3-9"),
    shows("taken over, clean start", "3.1.2-8")])
@pytest.mark.parametrize("expiry", [0, N, FOREVER], ids=["expires_0", "expires_N", "expires_never"])
@pytest.mark.parametrize("delay", [0, N // 2, N * 2, FOREVER],
                         ids=["delay_0", "delay_short", "delay_long", "delay_never"])
@pytest.mark.clause("MQTT-3.1.2-8")
def test_a_will_goes_out_at_the_earlier_of_its_delay_and_the_sessions_end(
        broker, connect, topic, watch, delay, expiry, how):
    c = connect("c", clean=False, keepalive=2, props={"session_expiry": expiry},
                will={"topic": topic("will"), "payload": "gone", "qos": 1,
                      "props": {"will_delay": delay}})
    c.ping()
    ends(connect, broker, c, 5, how)
    wait = min(delay, expiry)
    if how == "clean" or (how == "taken over, resumed" and wait > 0):
        wait = FOREVER
    elif how.startswith("taken over"):
        wait = 0
    if wait == FOREVER:
        broker.turn(4 * N * 1000)
        broker.settle()
    elif wait:
        watch.expect_nothing()
        broker.turn((wait - 3) * 1000)
        broker.settle()
        watch.expect_nothing()
        broker.turn(5000)
    if wait != FOREVER:
        watch.expect_publish(topic("will"), "gone", qos=1, retain=False)
    broker.turn(1000)
    broker.settle()
    watch.expect_nothing()


def shows311(how, *clauses):
    return pytest.param(how, marks=pytest.mark.clause311(*(f"MQTT-{clause}" for clause in clauses)))


@pytest.mark.parametrize("how", [
    shows311("clean", "3.1.2-10", "3.14.4-3"), shows311("dropped", "3.1.2-10"),
    shows311("keepalive", "3.1.2-24"), shows311("protocol error", "3.1.0-2"),
    shows311("taken over, resumed", "3.1.4-2"), shows311("taken over, clean start", "3.1.4-2")])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.clause311("MQTT-3.1.2-8")
def test_a_will_goes_out_at_once_before_version_5(
        broker, connect, topic, watch, version, clean, how):
    c = connect("c", version, clean=clean, keepalive=2,
                will={"topic": topic("will"), "payload": "gone"})
    c.ping()
    ends(connect, broker, c, version, how)
    if how != "clean":
        watch.expect_publish(topic("will"), "gone")
    broker.settle()
    watch.expect_nothing()


@versions
@every_qos
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.clause("MQTT-3.1.2-7", "MQTT-3.1.2-14", "MQTT-3.1.2-15")
@pytest.mark.clause311("MQTT-3.1.2-16", "MQTT-3.1.2-17")
def test_a_will_has_its_own_qos_and_retain(connect, topic, watch, version, qos, retain):
    c = connect("c", version, will={"topic": topic("will"), "payload": "gone", "qos": qos,
                                    "retain": retain})
    c.drop()
    watch.expect_publish(topic("will"), "gone", qos=qos, retain=False)
    late = connect("late")
    late.subscribe(topic("will"), qos=2)
    if retain:
        late.expect_publish(topic("will"), "gone", qos=qos, retain=True)
        late.publish(topic("will"), "", 1, retain=True)
    else:
        late.expect_nothing()


@pytest.mark.clause("MQTT-3.1.3-10")
def test_a_will_carries_its_properties_but_not_its_delay(connect, topic, watch):
    user = [("b", "1"), ("a", "2"), ("b", "1")]
    props = [("will_delay", 0), ("payload_format", 1), ("content_type", "t"),
             ("response_topic", "r"), ("correlation_data", b"c"), ("message_expiry", 77)]
    props += [("user", pair) for pair in user]
    c = connect("c", will={"topic": topic("will"), "payload": "gone", "props": props})
    c.drop()
    assert watch.expect_publish(topic("will"), "gone").props == {
        "payload_format": 1, "content_type": "t", "response_topic": "r", "correlation_data": b"c",
        "message_expiry": 77, "user": user}


def test_the_expiry_of_a_will_counts_from_its_publication(broker, connect, topic, watch):
    c = connect("c", props={"session_expiry": 1000},
                will={"topic": topic("will"), "payload": "gone",
                      "props": {"will_delay": 50, "message_expiry": 20}})
    c.drop()
    broker.turn(52_000)
    assert watch.expect_publish(topic("will")).props["message_expiry"] in (19, 20)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"x" * 65535])
@versions
def test_wills_of_any_size(connect, topic, watch, version, payload):
    connect("c", version, will={"topic": topic("will"), "payload": payload}).drop()
    watch.expect_publish(topic("will"), payload)


def test_an_empty_retained_will_clears_the_retained_message(connect, topic, watch):
    watch.publish(topic("will"), "kept", 1, retain=True)
    watch.expect_publish(topic("will"), "kept")
    connect("c", will={"topic": topic("will"), "retain": True}).drop()
    watch.expect_publish(topic("will"), "")
    late = connect("late")
    late.subscribe(topic("will"))
    late.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-10", "MQTT-3.1.3-9")
def test_coming_back_in_time_replaces_the_will_by_the_new_one(broker, connect, topic, watch):
    def go(payload):
        return connect("c", clean=False, props={"session_expiry": 1000},
                       will={"topic": topic("will"), "payload": payload,
                             "props": {"will_delay": 50}})
    go("one").drop()
    broker.turn(40_000)
    c = go("two")
    broker.turn(40_000)
    broker.settle()
    watch.expect_nothing()
    c.drop()
    broker.turn(40_000)
    broker.settle()
    watch.expect_nothing()
    broker.turn(12_000)
    watch.expect_publish(topic("will"), "two")
    broker.settle()
    watch.expect_nothing()


@pytest.mark.clause("MQTT-3.1.3-9", "MQTT-3.1.2-4")
def test_coming_back_with_clean_start_sends_the_waiting_will(broker, connect, topic, watch):
    c = connect("c", props={"session_expiry": 1000},
                will={"topic": topic("will"), "payload": "gone", "props": {"will_delay": 500}})
    c.drop()
    broker.settle()
    watch.expect_nothing()
    connect("c", clean=True)
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.clause("MQTT-3.1.2-8")
def test_a_will_may_be_sent_to_its_own_returning_session(broker, connect, topic):
    c = connect("c", props={"session_expiry": 1000}, will={"topic": topic("will"), "qos": 1,
                                                           "payload": "gone"})
    c.subscribe(topic("will"), qos=1)
    c.drop()
    broker.settle()
    c = connect("c", clean=False, props={"session_expiry": 1000})
    c.expect_publish(topic("will"), "gone", qos=1)


@pytest.mark.parametrize("code", [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                                  0x98, 0x99])
@pytest.mark.clause("MQTT-3.14.4-3", "MQTT-3.1.2-8")
def test_a_client_that_leaves_with_an_error_has_its_will_sent(connect, topic, watch, code):
    c = connect("c", will={"topic": topic("will"), "payload": "gone"})
    c.disconnect(code, {"reason_string": "oh", "user": ("a", "b")})
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.parametrize("data", ["e000", "e00100", "e0020000", "e007000511 00000000",
                                  "e009000726 0001610001 62"])
@pytest.mark.clause("MQTT-3.14.4-3")
def test_every_form_of_a_normal_disconnect_cancels_the_will(broker, connect, topic, watch, data):
    c = connect("c", will={"topic": topic("will"), "payload": "gone"})
    c.send(bytes.fromhex(data.replace(" ", "")))
    c.expect_close()
    assert c.last_disconnect is None
    broker.settle()
    watch.expect_nothing()


def test_disconnect_may_bring_the_will_forward_by_a_shorter_expiry(broker, connect, topic, watch):
    c = connect("c", props={"session_expiry": FOREVER},
                will={"topic": topic("will"), "payload": "gone", "props": {"will_delay": 5000}})
    c.disconnect(0x04, {"session_expiry": 20})
    broker.turn(17_000)
    broker.settle()
    watch.expect_nothing()
    broker.turn(5000)
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.clause("X5-18", "MQTT-3.1.2-8")
def test_disconnect_may_not_make_an_expiry_out_of_none(connect, topic, watch):
    c = connect("c", will={"topic": topic("will"), "payload": "gone"})
    c.send(codec.disconnect(5, 0, {"session_expiry": 10}))
    c.expect_close(0x82)
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.clause("MQTT-3.14.1-1", "MQTT-2.1.3-1")
@pytest.mark.clause311("MQTT-3.14.1-1", "MQTT-2.2.2-2")
@versions
def test_a_disconnect_with_wrong_flags_is_none(connect, topic, watch, version):
    c = connect("c", version, will={"topic": topic("will"), "payload": "gone"})
    c.send(codec.disconnect(version, flags=1))
    c.expect_close(0x81)
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.clause311("MQTT-3.1.2-12")
@not_31
def test_without_a_will_nothing_is_sent(broker, connect, topic, version):
    watcher = connect("w")
    watcher.subscribe(topic("#"))
    connect("c", version).drop()
    broker.settle()
    watcher.expect_nothing()


def test_a_reset_connection_has_its_will_sent(connect, topic, watch):
    connect("c", will={"topic": topic("will"), "payload": "gone"}).reset()
    watch.expect_publish(topic("will"), "gone")


@pytest.mark.ours
@pytest.mark.clause("MQTT-3.1.3-11")
def test_a_will_to_a_topic_of_the_broker_is_refused_or_swallowed(broker, connect, topic):
    watcher = connect("w")
    watcher.subscribe("$other/#")
    c = connect("c", will={"topic": "$other/" + topic("x"), "payload": "gone"},
                code={0, 0x87, 0x90})
    if not c.connack.code:
        c.drop()
    broker.settle()
    watcher.expect_nothing()


def test_many_wills_at_once_all_arrive(broker, connect, topic, watch):
    clients = [connect(f"c{n}", will={"topic": topic("will"), "payload": str(n), "qos": 1})
               for n in range(100)]
    for c in clients:
        c.shut()
    got = {watch.expect_publish(topic("will")).payload for _ in clients}
    assert got == {str(n).encode() for n in range(100)}


@pytest.mark.config(fresh=True)
@pytest.mark.clause("MQTT-3.1.2-8", "MQTT-3.1.2-10", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-3.14.2-2")
def test_a_server_that_stops_sends_no_will_twice_and_says_goodbye(broker, connect, topic, landing):
    """Whether wills go out when the server ends, or wait for its return, is left to it. Who sees those of Dunlin
    is left to chance, as all are disconnected: so there are several to see them, on each reactor."""
    leavers = [connect(f"x{n}", source=landing.on(n % 2)) for n in range(24)]
    watchers = [connect(f"w{n}", source=landing.on(n % 2)) for n in range(8)]
    for watcher in watchers:
        watcher.subscribe(topic("will"), qos=2)
    for leaver in leavers:  # those that come now have their places, and may be ended before the watchers
        leaver.disconnect()
    cases = [(expiry, delay) for expiry in (0, N, FOREVER) for delay in (0, N // 2, N * 2, FOREVER)]
    clients = [connect(f"c{expiry}-{delay}", clean=False, source=landing.on(n // 2 % 2),
                       props={"session_expiry": expiry},
                       will={"topic": topic("will"), "payload": f"{expiry} {delay}", "qos": 1,
                             "props": {"will_delay": delay}})
               for n, (expiry, delay) in enumerate(cases)]
    for c in clients:
        c.ping()
    broker.signal(signal.SIGTERM)
    due = {f"{expiry} {delay}".encode() for expiry, delay in cases if IS_PEER or min(expiry, delay) == 0}
    for watcher in watchers:
        seen = []
        while (packet := watcher.next()) is not None:
            if packet.kind == "PUBLISH":
                seen.append(packet.payload)
        assert len(set(seen)) == len(seen)
        assert set(seen) <= due
    for c in clients:
        c.expect_close(0x8B)


@pytest.mark.config(fresh=True)
@pytest.mark.clause311("MQTT-3.1.2-8", "MQTT-3.1.2-10")
@pytest.mark.parametrize("version", [3, 4])
def test_a_server_that_stops_sends_no_will_twice_before_version_5(
        broker, connect, topic, watch, version):
    clients = [connect(f"c{n}", version, clean=n % 2 == 0,
                       will={"topic": topic("will"), "payload": str(n)}) for n in range(4)]
    for c in clients:
        c.ping()
    broker.signal(signal.SIGTERM)
    seen = []
    while (packet := watch.next()) is not None:
        if packet.kind == "PUBLISH":
            seen.append(packet.payload)
    assert len(set(seen)) == len(seen)
    for c in clients:
        c.expect_close()
