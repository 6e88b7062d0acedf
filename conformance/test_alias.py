"""Topic aliases, both ways."""

import pytest

import mqtt_codec as codec
from support import lasting, offline


ZERO = (0x94, 0x81, 0x82)  # for alias 0 the standard names no code [3.3.2-8]


def limit(c):
    return c.connack.props.get("topic_alias_max", 0)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.clause("MQTT-3.3.2-12")
def test_the_whole_offered_range_works(connect, topic, qos):
    s = connect("s")
    s.subscribe(topic("#"), qos=2)
    p = connect("p")
    assert limit(p) >= 1
    for alias in {1, limit(p) // 2 + 1, limit(p)}:
        p.publish(topic(f"t{alias}"), "set", qos, props={"topic_alias": alias})
        p.publish("", "used", qos, props={"topic_alias": alias})
        for payload in ("set", "used"):
            packet = s.expect_publish(topic(f"t{alias}"), payload, qos=qos)
            assert "topic_alias" not in packet.props


def test_an_alias_can_be_set_anew(connect, topic):
    s = connect("s")
    s.subscribe(topic("#"))
    p = connect("p")
    for name in ("a", "b", "a"):
        p.publish(topic(name), "set", 1, props={"topic_alias": 1})
        p.publish("", "used", 1, props={"topic_alias": 1})
        s.expect_publish(topic(name), "set")
        s.expect_publish(topic(name), "used")


@pytest.mark.clause("MQTT-3.3.2-7", "X5-09")
def test_aliases_end_with_their_connection(connect, topic):
    p = connect("p", **lasting(5))
    p.publish(topic("a"), "set", 1, props={"topic_alias": 1})
    p.disconnect()
    p = connect("p", **lasting(5))
    p.send(codec.publish(5, "", b"x", 1, 1, props={"topic_alias": 1}))
    p.expect_close(0x82)


def test_aliases_of_two_clients_do_not_meet(connect, topic):
    s = connect("s")
    s.subscribe(topic("#"))
    a, b = connect("a"), connect("b")
    a.publish(topic("a"), "", 1, props={"topic_alias": 1})
    b.publish(topic("b"), "", 1, props={"topic_alias": 1})
    a.publish("", "from a", 1, props={"topic_alias": 1})
    got = [s.expect_publish() for _ in range(3)]  # what two clients publish has no order
    assert sorted((packet.topic, packet.payload) for packet in got) == [
        (topic("a"), b""), (topic("a"), b"from a"), (topic("b"), b"")]


@pytest.mark.clause("X5-09", "MQTT-4.7.3-1")
@pytest.mark.parametrize("props", [None, {"topic_alias": 1}])
def test_no_topic_without_a_known_alias_is_a_protocol_error(connect, props):
    c = connect()
    c.send(codec.publish(5, "", b"x", 1, 1, props=props))
    c.expect_close(0x82)


@pytest.mark.clause("X5-10", "MQTT-3.3.2-8", "MQTT-3.3.2-9", "MQTT-3.2.2-17")
@pytest.mark.parametrize("alias", [0, "above", 65535])
def test_an_alias_out_of_range_is_refused(connect, topic, alias):
    c = connect()
    if alias == "above":
        alias = limit(c) + 1
    if alias > 65535 or 0 < alias <= limit(c):
        pytest.skip("every alias is in range")
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": alias}))
    c.expect_close(*(ZERO if alias == 0 else (0x94,)))


@pytest.mark.config(max_topic_alias=0)
@pytest.mark.clause("MQTT-3.2.2-18", "X5-10")
def test_without_an_alias_budget_none_is_taken(connect, topic):
    c = connect()
    assert limit(c) == 0
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": 1}))
    c.expect_close(0x94)


@pytest.mark.config(max_topic_alias=3)
@pytest.mark.clause("MQTT-3.3.2-12", "MQTT-3.3.2-9")
def test_the_configured_alias_budget_is_announced_and_kept(connect, topic):
    c = connect()
    assert limit(c) == 3
    c.publish(topic("a"), "x", 1, props={"topic_alias": 3})
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, props={"topic_alias": 4}))
    c.expect_close(0x94)


@pytest.mark.parametrize("budget", [None, 0, 1, 2, 65535])
@pytest.mark.clause("MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-11")
def test_the_server_keeps_to_the_clients_alias_budget(connect, topic, budget):
    """The client resolves whatever aliases it is given, within its budget."""
    s = connect("s", props=None if budget is None else {"topic_alias_max": budget})
    s.subscribe(topic("#"), qos=1)
    p = connect("p")
    names = ["a", "b", "c", "a", "a", "b", "c", "c", "a"] * 3
    for n, name in enumerate(names):
        p.publish(topic(name), str(n), n % 2)
    got = [s.expect_publish() for _ in names]
    assert sorted((int(x.payload), x.topic) for x in got) == [
        (n, topic(name)) for n, name in enumerate(names)]


@pytest.mark.clause("MQTT-3.3.2-7")
def test_redelivery_uses_no_alias_of_the_former_connection(connect, topic):
    keep = {"clean": False, "props": {"session_expiry": 1000, "topic_alias_max": 5}}
    s = connect("s", **keep)
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    for n in range(4):
        p.publish(topic("a"), str(n), 1)
        s.expect_publish(topic("a"), ack=False)
    s.drop()
    s = connect("s", **keep)
    for n in range(4):
        s.expect_publish(topic("a"), str(n), dup=True)


def test_a_full_topic_with_dup_sets_the_alias_as_well(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), qos=1)
    p = connect("p")
    p.send(codec.publish(5, topic("a"), b"one", 1, 1, dup=True, props={"topic_alias": 1}))
    p.expect("PUBACK", id=1)
    p.publish("", "two", 1, props={"topic_alias": 1})
    s.expect_publish(topic("a"), "one")
    s.expect_publish(topic("a"), "two")


# ------------------------------------------------------------------ towards the server, at limits


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("alias", ["first", "last"])
@pytest.mark.clause("MQTT-3.3.2-7", "X5-09")
def test_a_kept_session_keeps_no_alias(connect, topic, landing, qos, alias):
    """On whichever reactor it goes on; and the alias can be set anew there."""
    s = connect("s")
    s.subscribe(topic("#"), qos=2)
    for reactor in (0, 1):
        p = connect("p", source=landing.on(0), **lasting(5))
        number = 1 if alias == "first" else limit(p)
        p.publish(topic("a"), "set", qos, props={"topic_alias": number})
        s.expect_publish(topic("a"), "set")
        p.drop()
        p = connect("p", source=landing.on(reactor), **lasting(5))
        assert p.connack.session_present
        p.publish(topic("b"), "again", qos, props={"topic_alias": number})
        p.publish("", "used", qos, props={"topic_alias": number})
        s.expect_publish(topic("b"), "again")
        s.expect_publish(topic("b"), "used")
        p.drop()
        p = connect("p", source=landing.on(reactor), **lasting(5))
        p.send(codec.publish(5, "", b"lost", qos, 9 if qos else None, props={"topic_alias": number}))
        p.expect_close(0x82)
    s.expect_nothing()


@pytest.mark.parametrize("name, alias, codes", [
    ("", 0, ZERO), ("", 4, [0x94]), ("", 65535, [0x94]), ("", 2, [0x82]), ("a", 0, ZERO),
    ("a", 4, [0x94]), ("a", 65535, [0x94])])
@pytest.mark.config(max_topic_alias=3)
@pytest.mark.clause("X5-09", "X5-10", "MQTT-3.3.2-8", "MQTT-3.3.2-9")
def test_a_bad_alias_takes_nothing_with_it(connect, topic, name, alias, codes):
    """Neither is its message routed nor kept, nor is an alias that is known another's."""
    s, p = connect("s"), connect("p")
    s.subscribe(topic("#"), qos=1)
    p.publish(topic("b"), "good", 1, props={"topic_alias": 1})
    p.send(codec.publish(5, topic(name) if name else "", b"bad", 1, 9, retain=True,
                         props={"topic_alias": alias}))
    p.send(codec.publish(5, "", b"after", 1, 10, props={"topic_alias": 1}))
    p.expect_close(*codes)
    s.expect_publish(topic("b"), "good")
    s.expect_nothing()
    s.subscribe(topic("#"), qos=1)
    s.expect_nothing()


def test_each_alias_of_the_offered_range_can_mean_another_topic(connect, topic):
    s, p = connect("s"), connect("p")
    s.subscribe(topic("#"))
    most = min(limit(p), 200)
    for turn in range(2):
        p.send(b"".join(codec.publish(5, topic(f"{turn}/{n}"), b"", props={"topic_alias": n})
                        for n in range(1, most + 1)))
    for n in range(most, 0, -1):
        p.send(codec.publish(5, "", b"%d" % n, props={"topic_alias": n}))
    names = [topic(f"{turn}/{n}") for turn in range(2) for n in range(1, most + 1)]
    assert [s.expect_publish().topic for _ in names] == names
    for n in range(most, 0, -1):
        s.expect_publish(topic(f"1/{n}"), str(n))


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.clause("MQTT-3.3.2-7", "MQTT-4.3.3-10")
def test_a_message_first_sent_with_an_alias_can_be_sent_again_with_its_topic(connect, topic, qos):
    """The client may send it again with its topic, or with an alias that it has set anew."""
    s = connect("s")
    s.subscribe(topic("#"), qos=2)
    for number, props in enumerate([None, {"topic_alias": 2}]):
        p = connect("p", **lasting(5))
        p.publish(topic("a"), "set", qos, props={"topic_alias": 1})
        p.send(codec.publish(5, "", b"again", qos, 7 + number, props={"topic_alias": 1}))
        p.drop()
        p = connect("p", **lasting(5))
        p.publish(topic("other"), "between", qos, props={"topic_alias": 1})
        p.send(codec.publish(5, topic("a"), b"again", qos, 7 + number, dup=True, props=props))
        p.expect("PUBACK" if qos == 1 else "PUBREC", id=7 + number)
        if qos == 2:
            p.pubrel(7 + number)
            p.expect("PUBCOMP", id=7 + number)
        wanted = [(topic("a"), b"set")] + [(topic("a"), b"again")] * (2 if qos == 1 else 1)
        wanted.append((topic("other"), b"between"))  # of another topic, so at any time
        got = [s.expect_publish() for _ in wanted]
        assert sorted((x.topic, x.payload) for x in got) == sorted(wanted)
        assert got[0].payload == b"set"
        s.expect_nothing()


def test_what_is_kept_of_a_message_with_an_alias_has_its_topic(connect, topic):
    """Retained messages, queued ones, and wills of clients that have used one."""
    offline(connect, "away", topic("#"))
    w = connect("w")
    w.subscribe(topic("will"))
    p = connect("p", will={"topic": topic("will"), "payload": b"gone"})
    p.publish(topic("a"), "set", 1, props={"topic_alias": 1})
    p.publish("", "kept", 1, retain=True, props={"topic_alias": 1})
    p.publish(topic("b"), "other", 1, props={"topic_alias": 1})
    p.drop()
    w.expect_publish(topic("will"), "gone")
    s = connect("s")
    s.subscribe(topic("+"), qos=1)
    s.expect_publish(topic("a"), "kept", retain=True)
    s.expect_nothing()
    away = connect("away", **lasting(5))
    for name, payload in (("a", "set"), ("a", "kept"), ("b", "other")):
        assert "topic_alias" not in away.expect_publish(topic(name), payload).props
    connect("p").publish(topic("a"), "", 1, retain=True)


def test_an_alias_is_no_property_of_a_will(raw, topic):
    c = raw()
    c.send(codec.connect(5, "c", will={"topic": topic("w"), "props": {"topic_alias": 1}}))
    packet = c.next()
    assert packet is None or packet.code in (0x81, 0x82)


# ------------------------------------------------------------------------- towards the client


@pytest.fixture
def takes(connect, topic):
    """takes(aliases) -> a connection to a kept session that has subscribed to all."""
    def make(aliases=2, window=65535, size=None):
        props = {"session_expiry": 1000, "topic_alias_max": aliases, "receive_max": window}
        c = connect("s", clean=False, props={**props, "max_packet_size": size} if size else props)
        if not c.connack.session_present:
            c.subscribe(topic("#"), qos=2)
        return c
    return make


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("end", ["drop", "taken over"])
@pytest.mark.clause("MQTT-3.3.2-7", "MQTT-3.1.2-26")
def test_after_a_reconnect_topics_come_whole_before_an_alias_stands_for_them(
        connect, topic, takes, end, qos):
    """The client forgets what it was told, as it must; it would not know an alias of before."""
    s, p = takes(), connect("p")
    for turn in range(4):
        for n in range(3):
            p.publish(topic("a"), f"{turn} {n}", qos)
            packet = s.expect_publish(topic("a"), f"{turn} {n}")
            if n == 0 and "topic_alias" in packet.props:
                assert packet.sent_topic == topic("a")
        if end == "drop":
            s.drop()
        s = takes()
        s.expect_nothing()


@pytest.mark.config(max_topic_alias_broker=65535, max_queued_messages=0)
@pytest.mark.parametrize("aliases", [0, 1, 2, 65535])
@pytest.mark.clause("MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-7")
def test_a_queue_of_more_topics_than_aliases_comes_with_the_topics_it_was_sent_to(
        connect, topic, takes, aliases):
    """The client resolves the aliases; in flight before, and new, with each budget in turn."""
    s, p = takes(aliases=aliases), connect("p")
    names = [topic(str(n % 7)) for n in range(40)]
    for n, name in enumerate(names[:10]):
        p.publish(name, str(n), 1 + n % 2)
    for n in range(10):
        s.expect_publish(names[n], str(n), ack=False)
    s.drop()
    for n, name in enumerate(names[10:], 10):
        p.publish(name, str(n), 1 + n % 2)
    s = takes(aliases=aliases, window=3)
    got = [s.expect_publish() for _ in names]
    assert sorted((int(x.payload), x.topic) for x in got) == list(enumerate(names))
    used = {packet.props["topic_alias"] for packet in got if "topic_alias" in packet.props}
    assert len(used) <= min(aliases, 7)


@pytest.mark.ours
@pytest.mark.config(max_topic_alias_broker=3)
@pytest.mark.parametrize("aliases", [0, 1, 2, 3, 4, 65535])
@pytest.mark.clause("MQTT-3.1.2-26", "MQTT-3.1.2-27")
def test_the_server_uses_the_aliases_that_it_may(connect, topic, takes, aliases):
    """Up to its own limit or the client's; each topic that has one is sent once."""
    s, p = takes(aliases=aliases), connect("p")
    for turn in range(2):
        for n in range(5):
            p.publish(topic(str(n)), "x", 1)
    got = [s.expect_publish(topic(str(n))) for _ in range(2) for n in range(5)]
    most = min(aliases, 3)
    assert [packet.props.get("topic_alias") for packet in got[5:]] == [
        n + 1 if n < most else None for n in range(5)]
    assert [bool(getattr(packet, "sent_topic", True)) for packet in got] == [True] * 5 + [
        n >= most for n in range(5)]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("over", range(-6, 8))
@pytest.mark.clause("MQTT-3.1.2-24", "MQTT-3.1.2-25")
def test_a_message_that_is_too_big_defines_no_alias(connect, topic, takes, qos, over):
    """Whatever the first message exceeds the limit by, what follows has a topic that the client knows."""
    fits = len(codec.publish(5, topic("a"), b"x" * 200, qos, 1 if qos else None))
    s = takes(size=fits, window=1)
    p = connect("p")
    p.publish(topic("a"), b"y" * (200 + over), qos)
    p.publish(topic("a"), b"one", qos)
    p.publish(topic("a"), b"z" * 5000, qos)
    p.publish(topic("a"), b"two", qos)
    got = [s.expect_publish(topic("a"))]
    while got[-1].payload != b"two":
        got.append(s.expect_publish(topic("a")))
    assert [packet.payload for packet in got[-2:]] == [b"one", b"two"]
    assert len(got) == (3 if over <= 0 else 2)
    s.expect_nothing()
