"""SUBSCRIBE and UNSUBSCRIBE: matching, options, identifiers, overlaps, what is refused."""

import pytest

import mqtt_codec as codec
from support import before_5, every_qos, lasting, not_31, offline, versions

MATCHES = [
    # filter, topics that match, topics that do not
    ("a", ["a"], ["A", "a/", "/a", "b", "aa", "a/b"]),
    ("a/b", ["a/b"], ["a", "a/b/", "a//b", "a/B", "a/b/c"]),
    ("a/#", ["a", "a/", "a/b", "a/b/c", "a//"], ["A/b", "b", "ab", "/a"]),
    ("a/+", ["a/b", "a/", "a/ "], ["a", "a/b/c", "a//", "b/a"]),
    ("+/b", ["a/b", "/b"], ["b", "a/b/", "a/a/b", "//b"]),
    ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/b/c", "a/b/c/"]),
    ("a/+/#", ["a/b", "a/", "a/b/c", "a//c"], ["a", "b/b"]),
    ("+/+", ["a/b", "/b", "a/", "/"], ["a", "a/b/c"]),
    ("/+", ["/b", "/"], ["a/b", "//", "b"]),
    ("/", ["/"], ["//", "a/"]),
    ("//", ["//"], ["/", "///"]),
    ("/#", ["/", "/a", "//a", "/a/b"], ["a", "a/b"]),
    ("ä/+", ["ä/x"], ["a\u0308/x", "Ä/x"]),
]


@pytest.mark.parametrize("text, yes, no", MATCHES, ids=lambda v: str(v)[:12])
@pytest.mark.clause("MQTT-4.7.3-4", "MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.3.2-3")
@pytest.mark.clause311("MQTT-4.7.3-4", "MQTT-3.3.2-3")
@not_31
def test_filters_match_what_the_standard_says(connect, prefix, text, yes, no, version):
    c = connect(version=version)
    p = connect("p", version)
    c.subscribe(f"{prefix}/{text}", qos=0)
    for name in yes + no:
        p.send(codec.publish(version, f"{prefix}/{name}", name))
    p.ping()
    c.sync()
    got = [c.expect_publish().topic for _ in range(len(c.inbox))]
    assert got == [f"{prefix}/{name}" for name in yes]


@pytest.mark.config(sys_interval=0)
@pytest.mark.clause("MQTT-4.7.3-4", "MQTT-4.7.2-1")
@pytest.mark.parametrize("text, yes, no", [
    ("#", ["a", "/", "a/b", "/a"], []),
    ("+", ["a", "b"], ["/a", "a/", "a/b", "/"]),
    ("+/#", ["a", "a/b", "/", "/a/b"], []),
    ("+/+", ["a/b", "/", "/b", "a/"], ["a", "a/b/c"]),
])
def test_filters_that_begin_with_a_wildcard(connect, text, yes, no):
    c = connect()
    p = connect("p")
    c.subscribe(text)
    for name in yes + no:
        p.send(codec.publish(5, name, name))
    p.ping()
    c.sync()
    assert [c.expect_publish().topic for _ in range(len(c.inbox))] == yes


@pytest.mark.clause("MQTT-4.7.2-1")
@pytest.mark.clause311("MQTT-4.7.2-1")
@not_31
def test_leading_wildcards_do_not_see_dollar_topics(connect, broker, version):
    c = connect(version=version)
    c.subscribe("#", "+/broker/version", "+/#", "+/+/version")
    c.sync()
    assert not [p for p in c.inbox if p.kind == "PUBLISH" and p.topic.startswith("$")]
    d = connect("d", version)
    d.subscribe("$SYS/+/version")
    d.expect_publish("$SYS/broker/version", retain=True)


@pytest.mark.clause("MQTT-4.7.2-1")
@pytest.mark.clause311("MQTT-4.7.2-1")
@not_31
def test_leading_wildcards_do_not_see_dollar_topics_when_they_change(connect, broker, version):
    c, d = connect("c", version), connect("d", version)
    c.subscribe("#", "+/#", "+/+/+", "+/+/+/+", "+/broker/#")
    d.subscribe("$SYS/#")
    d.sync()
    d.inbox.clear()
    while d.take("PUBLISH").retain:
        broker.turn(1100)
    broker.turn(1100)
    broker.settle()
    c.sync()
    assert not [p for p in c.inbox if p.kind == "PUBLISH" and p.topic.startswith("$")]


@versions
@pytest.mark.parametrize("asked", [0, 1, 2])
@every_qos
@pytest.mark.clause("MQTT-3.8.4-8", "MQTT-3.8.4-7", "MQTT-3.8.4-1", "MQTT-3.8.4-2")
@pytest.mark.clause311("MQTT-3.8.4-6", "MQTT-3.8.4-5", "MQTT-3.8.4-1", "MQTT-3.8.4-2",
                       "MQTT-2.3.1-7")
def test_delivery_is_at_the_lower_of_both_qos(connect, topic, version, asked, qos):
    s = connect("s", version)
    s.subscribe(topic("a"), qos=asked)
    connect("p").publish(topic("a"), "x", qos)
    s.expect_publish(topic("a"), "x", qos=min(asked, qos))


@versions
@pytest.mark.clause("MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.9.3-1", "MQTT-2.2.1-6")
@pytest.mark.clause311("MQTT-3.8.4-4", "MQTT-3.9.3-1", "MQTT-2.3.1-7")
def test_many_filters_in_one_subscribe_get_one_suback_in_their_order(connect, topic, version):
    s = connect("s", version)
    filters = [(topic(str(n)), n % 3) for n in range(50)]
    s.subscribe(*filters)
    p = connect("p", version)
    for n in range(10):
        p.publish(topic(str(n)), str(n), 2)
        s.expect_publish(topic(str(n)), str(n), qos=n % 3)
    s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.8.4-3")
@pytest.mark.clause311("MQTT-3.8.4-3")
def test_subscribing_again_replaces_the_subscription(connect, topic, version):
    s = connect("s", version)
    p = connect("p", version)
    for qos in (0, 2, 1):
        s.subscribe(topic("a"), qos=qos)
        p.publish(topic("a"), "x", 2)
        s.expect_publish(topic("a"), "x", qos=qos)
        s.expect_nothing()


@not_31
@pytest.mark.clause("MQTT-3.8.4-4")
@pytest.mark.clause311("MQTT-3.8.4-3")
def test_subscribing_again_loses_no_message(connect, topic, version):
    s = connect("s", version)
    p = connect("p", version)
    s.subscribe(topic("a"), qos=0)
    for n in range(200):
        p.send(codec.publish(version, topic("a"), str(n)))
        if n % 10 == 0:
            s.send(codec.subscribe(version, n + 100, [(topic("a"), 0)]))
    p.ping()
    s.sync()
    got = [int(x.payload) for x in s.inbox if x.kind == "PUBLISH"]
    assert got == list(range(200))


# ---------------------------------------------------------------------------------------- overlap


@not_31
@pytest.mark.clause("MQTT-3.3.4-2")
@pytest.mark.clause311("MQTT-3.3.5-1")
def test_overlapping_subscriptions_give_at_least_one_copy_at_the_highest_qos(
        connect, topic, version):
    s = connect("s", version)
    s.subscribe((topic("a/b"), 0), (topic("a/+"), 2), (topic("#"), 1))
    connect("p").publish(topic("a/b"), "x", 2)
    s.sync()
    got = [s.expect_publish(topic("a/b"), "x") for _ in range(sum(
        x.kind == "PUBLISH" for x in s.inbox))]
    assert max(x.qos for x in got) == 2
    assert len(got) in (1, 3)


@pytest.mark.ours
@pytest.mark.clause("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-5")
def test_overlapping_subscriptions_give_a_copy_each_with_its_own_identifier(connect, topic):
    s = connect("s")
    s.subscribe(topic("a/b"), qos=0, props={"subscription_id": 1})
    s.subscribe(topic("a/+"), qos=1, props={"subscription_id": 268435455})
    s.subscribe(topic("#"), qos=2)
    connect("p").publish(topic("a/b"), "x", 2)
    got = [s.expect_publish(topic("a/b"), "x") for _ in range(3)]
    s.expect_nothing()
    seen = sorted((x.qos, x.props.get("subscription_id")) for x in got)
    assert seen == [(0, [1]), (1, [268435455]), (2, None)]


@pytest.mark.config(allow_duplicate_messages="false")
@pytest.mark.clause("MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4")
def test_overlaps_can_be_merged_into_one_copy_with_all_identifiers(connect, topic):
    s = connect("s")
    s.subscribe(topic("a/b"), qos=0, props={"subscription_id": 1})
    s.subscribe(topic("a/+"), qos=1, props={"subscription_id": 5000})
    s.subscribe(topic("#"), qos=2)
    connect("p").publish(topic("a/b"), "x", 2)
    packet = s.expect_publish(topic("a/b"), "x", qos=2)
    assert sorted(packet.props["subscription_id"]) == [1, 5000]
    s.expect_nothing()


@pytest.mark.config(allow_duplicate_messages="false")
@pytest.mark.clause311("MQTT-3.3.5-1")
def test_merged_copies_for_311_have_the_highest_qos(connect, topic):
    s = connect("s", 4)
    s.subscribe((topic("a/b"), 0), (topic("a/+"), 1))
    connect("p").publish(topic("a/b"), "x", 2)
    s.expect_publish(topic("a/b"), "x", qos=1)
    s.expect_nothing()


# ------------------------------------------------------------------------------------ identifiers


@pytest.mark.clause("MQTT-3.3.4-3", "X5-28")
@pytest.mark.parametrize("number", [1, 127, 128, 16384, 2097152, 268435455])
def test_a_subscription_identifier_comes_with_the_message(connect, topic, number):
    s = connect("s")
    s.subscribe(topic("a"), topic("b"), props={"subscription_id": number})
    p = connect("p")
    for name in ("a", "b"):
        p.publish(topic(name), "x")
        assert s.expect_publish(topic(name)).props["subscription_id"] == [number]


@pytest.mark.clause("X5-28", "MQTT-3.8.4-3")
def test_subscribing_again_replaces_or_drops_the_identifier(connect, topic):
    s = connect("s")
    p = connect("p")
    for number in (7, 9, None, 3):
        s.subscribe(topic("a"), props={"subscription_id": number} if number else None)
        p.publish(topic("a"), "x")
        expected = [number] if number else None
        assert s.expect_publish(topic("a")).props.get("subscription_id") == expected


@pytest.mark.clause("MQTT-3.1.2-5", "MQTT-3.3.4-3")
def test_an_identifier_belongs_to_the_session(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1, props={"subscription_id": 12})
    s.disconnect()
    p = connect("p")
    p.publish(topic("a"), "offline", 1)
    s = connect("s", **lasting(5))
    assert s.expect_publish(payload="offline").props["subscription_id"] == [12]
    p.publish(topic("a"), "online", 1)
    assert s.expect_publish(payload="online").props["subscription_id"] == [12]


def test_an_identifier_comes_with_retained_messages_too(connect, topic):
    connect("p").publish(topic("a"), "x", 1, retain=True)
    s = connect("s")
    s.subscribe(topic("a"), props={"subscription_id": 12})
    assert s.expect_publish(retain=True).props["subscription_id"] == [12]
    connect("q").publish(topic("a"), "", 1, retain=True)


# ---------------------------------------------------------------------------------------- options


@pytest.mark.clause("MQTT-3.8.3-3")
def test_no_local_keeps_a_clients_own_messages_from_it(connect, topic):
    s = connect("s")
    other = connect("o")
    s.subscribe(topic("a"), no_local=True)
    other.subscribe(topic("a"), no_local=True)
    s.publish(topic("a"), "mine", 1)
    s.expect_nothing()
    other.expect_publish(topic("a"), "mine")
    other.publish(topic("a"), "theirs", 1)
    s.expect_publish(topic("a"), "theirs")
    s.subscribe(topic("a"), no_local=False)
    s.publish(topic("a"), "mine", 1)
    s.expect_publish(topic("a"), "mine")


@pytest.mark.clause("MQTT-3.8.3-3")
def test_no_local_goes_by_client_id_over_connections(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), qos=1, no_local=True)
    s.disconnect()
    s = connect("s", **lasting(5))
    s.publish(topic("a"), "mine", 1)
    s.expect_nothing()


def test_no_local_concerns_only_its_own_subscription(connect, topic):
    s = connect("s")
    s.subscribe(topic("a"), no_local=True)
    s.subscribe(topic("+"))
    s.publish(topic("a"), "mine", 1)
    s.expect_publish(topic("a"), "mine")
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.3.1-12", "MQTT-3.3.1-13", "MQTT-3.3.1-5")
@pytest.mark.parametrize("rap", [False, True])
def test_retain_as_published(connect, topic, rap):
    s = connect("s")
    s.subscribe(topic("a"), rap=rap)
    p = connect("p")
    p.publish(topic("a"), "kept", 1, retain=True)
    s.expect_publish(topic("a"), "kept", retain=rap)
    p.publish(topic("a"), "live", 1)
    s.expect_publish(topic("a"), "live", retain=False)
    p.publish(topic("a"), "", 1, retain=True)
    s.expect_publish(topic("a"), "", retain=rap)


def test_options_hold_for_each_filter_of_a_subscribe(connect, topic):
    s = connect("s")
    s.subscribe((topic("a"), codec.options(0, rap=True)), (topic("b"), codec.options(1)),
                (topic("c"), codec.options(2, no_local=True)))
    for name in "abc":
        s.publish(topic(name), name, 2, retain=True)
    s.expect_publish(topic("a"), qos=0, retain=True)
    s.expect_publish(topic("b"), qos=1, retain=False)
    s.expect_nothing()
    for name in "abc":
        s.publish(topic(name), "", 1, retain=True)


KINDS = {"wildcard_available": ("+", {}, 0xA2), "shared_available": ("$share/g/{}", {}, 0x9E),
         "subscription_id_available": ("{}", {"subscription_id": 1}, 0xA1)}


@pytest.mark.clause("X5-17")
@pytest.mark.parametrize("announced", KINDS)
def test_what_a_server_announces_of_subscriptions_is_so(connect, topic, announced):
    text, props, code = KINDS[announced]
    c = connect("c")
    text = topic(text) if announced == "wildcard_available" else text.format(topic("a"))
    if c.connack.props.get(announced, 1):
        c.subscribe(text, qos=1, props=props)
        connect("p").publish(topic("a"), "x", 1)
        c.expect_publish(topic("a"), "x")
    else:
        c.send(codec.subscribe(5, 1, [(text, 1)], props))
        packet = c.next()
        assert packet is None or code in (packet.codes if packet.kind == "SUBACK" else [packet.code]), packet


@before_5
@pytest.mark.clause311("MQTT-3.8.3-2")
@pytest.mark.parametrize("text", ["+", "#"])
def test_a_wildcard_is_taken_and_works_or_is_refused(connect, topic, version, text):
    c = connect("c", version)
    c.send(codec.subscribe(version, 1, [(topic(text), 1)]))
    packet = c.expect("SUBACK", id=1)
    connect("p", version).publish(topic("a"), "x", 1)
    if packet.codes == [0x80]:
        c.expect_nothing()
    else:
        c.expect_publish(topic("a"), "x")


# --------------------------------------------------------------------------------- invalid filters

BAD_FILTERS = ["", "a/#/b", "#/a", "a#", "#a", "a/b#", "##", "+a", "a+", "a/+b/c", "a/b+", "++",
               "$share", "$share/", "$share/g", "$share/g/", "$share//t", "$share/a+b/t",
               "$share/a#/t", "$share/#/t", "$share/+/t", "$share/g/a#", "$share/g/#/a",
               "$share/g/+a"]


def subscribe_bad(c, version, text):
    """(code of the bad filter, None) or (None, code of the DISCONNECT)."""
    c.send(codec.subscribe(version, 10, [("good", 1), (text, 1)]))
    packet = c.next()
    if packet is None or packet.kind == "DISCONNECT":
        return None, packet and packet.code
    assert packet.kind == "SUBACK" and packet.codes[0] == 1 and len(packet.codes) == 2
    return packet.codes[1], None


@pytest.mark.parametrize("text", BAD_FILTERS)
@pytest.mark.clause("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-4.7.3-1", "MQTT-4.8.2-1", "MQTT-4.8.2-2",
                    "MQTT-3.9.3-1", "MQTT-3.9.3-2")
def test_an_invalid_filter_is_refused_alone(connect, text):
    c = connect(lenient=False)
    # "$share" alone does not begin with "$share/": it may be taken as an ordinary filter
    good = [(0x8F, None)] + ([(1, None)] if text == "$share" else [])
    assert subscribe_bad(c, 5, text) in good
    c.ping()


@pytest.mark.parametrize("text", BAD_FILTERS)
@pytest.mark.clause311("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.3-1", "MQTT-3.9.3-1",
                       "MQTT-3.9.3-2")
def test_an_invalid_filter_is_refused_alone_in_311(connect, text):
    c = connect(version=4)
    good = [(0x80, None)] + ([(1, None)] if text == "$share" else [])
    assert subscribe_bad(c, 4, text) in good
    c.ping()


@pytest.mark.parametrize("text", ["a/#/b", "+a", "$share/g/"])
def test_an_invalid_filter_gets_nothing_in_31(connect, text):
    c = connect(version=3)
    code, _ = subscribe_bad(c, 3, text)
    assert code in (None, 0, 1, 2)


@pytest.mark.parametrize("text", [t for t in BAD_FILTERS if t])
@pytest.mark.clause("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.11.3-2", "MQTT-4.8.2-2")
def test_an_invalid_filter_in_unsubscribe_is_refused_alone(connect, topic, text):
    c = connect()
    c.subscribe(topic("a"))
    c.send(codec.unsubscribe(5, 11, [text, topic("a")]))
    packet = c.expect("UNSUBACK", id=11)
    assert packet.codes[0] in (0x8F, 0x11) and packet.codes[1] == 0


def test_65535_slashes_in_a_filter_are_refused_and_harm_nothing(connect):
    c = connect()
    c.send(codec.subscribe(5, 10, [("/" * 65535, 0)]))
    packet = c.next()
    if packet is not None and packet.kind == "SUBACK":
        assert packet.codes in ([0x8F], [0x97], [0x80])
        c.ping()
    else:
        assert packet is None or packet.code in (0x81, 0x82, 0x8F)
    connect("other").ping()


@versions
def test_a_filter_with_200_levels_works(connect, prefix, version):
    c = connect(version=version)
    deep = prefix + "/x" * 199
    c.subscribe(deep, qos=1)
    c.publish(deep, "deep", 1)
    c.expect_publish(deep, "deep")
    c.unsubscribe(deep)
    c.subscribe(prefix + "/+" * 199, qos=1)
    c.publish(deep, "deep", 1)
    c.expect_publish(deep, "deep")


def test_dollar_topics_other_than_the_brokers_can_be_subscribed(connect, topic):
    c = connect()
    c.subscribe("$" + topic("a"), "$" + topic("#"))
    c.ping()


# -------------------------------------------------------------------------------------- unsubscribe


@versions
@pytest.mark.clause("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5",
                    "MQTT-3.11.3-1", "MQTT-3.10.4-6", "MQTT-2.2.1-6")
@pytest.mark.clause311("MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5",
                       "MQTT-3.10.4-6", "MQTT-2.3.1-7")
def test_unsubscribe_takes_filters_literally(connect, topic, version):
    s = connect("s", version)
    p = connect("p", version)
    s.subscribe(topic("a/b"), topic("a/+"), topic("c"), qos=1)
    s.unsubscribe(topic("a/#"), topic("a/b"), topic("C"), topic("c"), codes=[0x11, 0, 0x11, 0])
    p.publish(topic("c"), "x", 1)
    p.publish(topic("a/b"), "x", 1)
    s.expect_publish(topic("a/b"), "x")
    s.expect_nothing()
    s.unsubscribe(topic("a/+"), topic("a/+"), codes=[0, 0x11])
    p.publish(topic("a/b"), "x", 1)
    s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.10.4-3")
@pytest.mark.clause311("MQTT-3.10.4-3")
def test_deliveries_under_way_are_finished_after_unsubscribe(connect, topic, version):
    s = connect("s", version)
    s.subscribe(topic("a"), qos=2)
    connect("p").publish(topic("a"), "x", 2)
    packet = s.expect_publish(ack=False)
    s.unsubscribe(topic("a"))
    s.acknowledge(packet)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.10.4-2")
def test_unsubscribe_is_part_of_the_session(connect, topic):
    s = connect("s", **lasting(5))
    s.subscribe(topic("a"), topic("b"), qos=1)
    s.unsubscribe(topic("a"))
    s.disconnect()
    p = connect("p")
    p.publish(topic("a"), "x", 1)
    p.publish(topic("b"), "y", 1)
    s = connect("s", **lasting(5))
    s.expect_publish(topic("b"), "y")
    s.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.10.4-2", "MQTT-4.5.0-1")
@pytest.mark.clause311("MQTT-3.10.4-2", "MQTT-4.5.0-1")
def test_who_subscribes_or_leaves_between_messages_to_a_topic_counts_from_the_next(
        connect, topic, version):
    """A server may remember who gets a topic that comes again and again; not for too long."""
    p, here, there = (connect(name, version) for name in ("p", "here", "there"))
    here.subscribe(topic("a/b"), qos=1)
    for _ in range(4):
        p.publish(topic("a/b"), "often", 1)
        here.expect_publish(topic("a/b"), "often")
    there.subscribe(topic("a/+"), qos=1)
    for _ in range(4):
        p.publish(topic("a/b"), "both", 1)
        here.expect_publish(topic("a/b"), "both")
        there.expect_publish(topic("a/b"), "both")
    here.unsubscribe(topic("a/b"))
    p.publish(topic("a/b"), "one", 1)
    there.expect_publish(topic("a/b"), "one")
    here.expect_nothing()


def test_a_large_subscribe_and_unsubscribe_work(connect, topic):
    s = connect("s")
    filters = [topic(f"many/{n}/+/x") for n in range(5000)]
    s.send(codec.subscribe(5, 1, [(f, 0) for f in filters]))
    assert s.expect("SUBACK", id=1).codes == [0] * 5000
    p = connect("p")
    p.publish(topic("many/4999/a/x"), "hit")
    s.expect_publish(payload="hit")
    s.send(codec.unsubscribe(5, 2, filters))
    assert s.expect("UNSUBACK", id=2).codes == [0] * 5000
    p.publish(topic("many/4999/a/x"), "miss")
    s.expect_nothing()


@before_5
def test_no_local_and_retain_options_do_not_exist_before_version_5(connect, topic, version):
    s = connect("s", version)
    s.subscribe(topic("a"))
    s.publish(topic("a"), "echo", 1)
    s.expect_publish(topic("a"), "echo")


@versions
@pytest.mark.clause("MQTT-3.1.2-4", "MQTT-3.1.2-5")
@pytest.mark.clause311("MQTT-3.1.2-4")
def test_subscriptions_survive_with_the_session(connect, topic, version):
    offline(connect, "s", topic("a/#"), version=version, qos=1)
    s = connect("s", version, **lasting(version))
    connect("p").publish(topic("a/b"), "x", 2)
    s.expect_publish(topic("a/b"), "x", qos=1)


def test_subscribers_on_every_reactor_get_every_message(connect, topic):
    subscribers = [connect(f"s{n}") for n in range(16)]
    for s in subscribers:
        s.subscribe(topic("a"), qos=1)
    for n in range(8):
        connect(f"p{n}").publish(topic("a"), str(n), 1)
    for s in subscribers:
        assert sorted(s.expect_publish(topic("a")).payload for _ in range(8)) == [
            str(n).encode() for n in range(8)]
        s.expect_nothing()
