"""Shared subscriptions: one member per message, groups, caps, members that go away."""

import collections

import pytest

import mqtt_codec as codec
from support import lasting, not_31, offline, versions


def drain(members):
    """Everything that has arrived: a list of payloads for each member."""
    got = []
    for member in members:
        member.sync()
        mine = []
        while member.inbox:
            mine.append(member.expect_publish().payload)
            if not member.inbox:
                member.sync()
        got.append(mine)
    return got


def numbers(count):
    return [str(n).encode() for n in range(count)]


@versions
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.clause("MQTT-4.8.2-3")
def test_each_message_goes_to_one_member_and_every_member_gets_some(connect, topic, version, qos):
    members = [connect(f"m{n}", version) for n in range(4)]
    for m in members:
        m.subscribe(f"$share/g/{topic('+')}", qos=qos)
    p = connect("p")
    for payload in numbers(40):
        p.publish(topic("a"), payload, qos)
    got = drain(members)
    assert sorted(sum(got, [])) == sorted(numbers(40))
    assert all(got)


def test_groups_and_plain_subscriptions_are_independent(connect, topic):
    first = [connect(f"a{n}") for n in range(2)]
    second = [connect(f"b{n}") for n in range(2)]
    plain = connect("plain")
    for m in first:
        m.subscribe(f"$share/one/{topic('a')}", qos=1)
    for m in second:
        m.subscribe(f"$share/two/{topic('a')}", qos=1)
    plain.subscribe(topic("a"), qos=1)
    p = connect("p")
    for payload in numbers(10):
        p.publish(topic("a"), payload, 1)
    for group in (first, second, [plain]):
        assert sorted(sum(drain(group), [])) == sorted(numbers(10))


def test_the_same_share_name_with_another_filter_is_another_group(connect, topic):
    a, b = connect("a"), connect("b")
    a.subscribe(f"$share/g/{topic('x')}", qos=1)
    b.subscribe(f"$share/g/{topic('+')}", qos=1)
    connect("p").publish(topic("x"), "x", 1)
    assert drain([a, b]) == [[b"x"], [b"x"]]


@pytest.mark.ours
def test_a_client_with_a_plain_and_a_shared_subscription_gets_both_copies(connect, topic):
    c = connect("c")
    c.subscribe(topic("a"), qos=1, props={"subscription_id": 1})
    c.subscribe(f"$share/g/{topic('a')}", qos=1, props={"subscription_id": 2})
    connect("p").publish(topic("a"), "x", 1)
    got = [c.expect_publish(topic("a"), "x") for _ in range(2)]
    assert sorted(x.props["subscription_id"] for x in got) == [[1], [2]]
    c.expect_nothing()


@pytest.mark.clause("MQTT-3.3.4-3")
def test_only_the_receivers_own_identifier_is_shown(connect, topic):
    members = [connect(f"m{n}") for n in range(3)]
    for number, m in enumerate(members):
        m.subscribe(f"$share/g/{topic('a')}", qos=1, props={"subscription_id": number + 1})
    p = connect("p")
    for payload in numbers(12):
        p.publish(topic("a"), payload, 1)
    count = 0
    for number, m in enumerate(members):
        m.sync()
        for packet in m.inbox:
            assert packet.props["subscription_id"] == [number + 1]
            count += 1
    assert count == 12


@pytest.mark.clause("MQTT-4.8.2-3")
def test_each_member_has_its_own_qos_cap(connect, topic):
    members = [connect(f"m{n}") for n in range(3)]
    for qos, m in enumerate(members):
        m.subscribe(f"$share/g/{topic('a')}", qos=qos)
    p = connect("p")
    for payload in numbers(12):
        p.publish(topic("a"), payload, 2)
    for qos, m in enumerate(members):
        m.sync()
        assert all(packet.qos == qos for packet in m.inbox)


@pytest.mark.clause("X5-21")
@pytest.mark.parametrize("handling", [0, 1, 2])
def test_shared_subscriptions_get_no_retained_messages(connect, topic, handling):
    p = connect("p")
    p.publish(topic("a"), "kept", 1, retain=True)
    s = connect("s")
    s.subscribe(f"$share/g/{topic('a')}", qos=1, retain_handling=handling)
    s.expect_nothing()
    p.publish(topic("a"), "", 1, retain=True)


@pytest.mark.clause("MQTT-3.3.1-12", "MQTT-3.3.1-13")
@pytest.mark.parametrize("rap", [False, True])
def test_retain_as_published_holds_for_shared_subscriptions(connect, topic, rap):
    s = connect("s")
    s.subscribe(f"$share/g/{topic('a')}", qos=1, rap=rap)
    p = connect("p")
    p.publish(topic("a"), "kept", 1, retain=True)
    s.expect_publish(topic("a"), "kept", retain=rap)
    p.publish(topic("a"), "", 1, retain=True)


@pytest.mark.clause("MQTT-3.10.4-1")
def test_unsubscribe_needs_the_full_filter(connect, topic):
    s = connect("s")
    s.subscribe(f"$share/g/{topic('t')}", qos=1)
    s.unsubscribe(topic("t"), f"$share/h/{topic('t')}", codes=[0x11, 0x11])
    p = connect("p")
    p.publish(topic("t"), "x", 1)
    s.expect_publish(topic("t"), "x")
    s.unsubscribe(f"$share/g/{topic('t')}", codes=[0])
    p.publish(topic("t"), "y", 1)
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.10.4-1")
def test_unsubscribing_the_plain_filter_leaves_the_shared_one(connect, topic):
    s = connect("s")
    s.subscribe(topic("t"), f"$share/g/{topic('t')}", qos=1)
    s.unsubscribe(topic("t"), codes=[0])
    connect("p").publish(topic("t"), "x", 1)
    s.expect_publish(topic("t"), "x")
    s.expect_nothing()


@pytest.mark.clause("MQTT-3.8.3-4")
def test_no_local_on_a_shared_subscription_is_a_protocol_error(connect, topic):
    s = connect("s")
    s.send(codec.subscribe(5, 1, [(f"$share/g/{topic('a')}", codec.options(1, no_local=True))]))
    s.expect_close(0x82)


def test_a_filter_after_two_slashes_begins_with_a_slash(connect, prefix):
    s = connect("s")
    s.subscribe(f"$share/g//{prefix}/a", qos=1)
    p = connect("p")
    p.publish(f"{prefix}/a", "no", 1)
    p.publish(f"/{prefix}/a", "yes", 1)
    s.expect_publish(f"/{prefix}/a", "yes")
    s.expect_nothing()


@pytest.mark.parametrize("text, name, hit", [
    ("+/x", "a/x", True), ("#", "a/x", True), ("a/#", "a", True), ("+/x", "a/y", False)])
def test_shared_filters_take_wildcards(connect, topic, text, name, hit):
    s = connect("s")
    s.subscribe(f"$share/g/{topic(text)}", qos=1)
    connect("p").publish(topic(name), "x", 1)
    assert drain([s]) == [[b"x"] if hit else []]


def test_subscribing_again_replaces_the_shared_subscription(connect, topic):
    s = connect("s")
    s.subscribe(f"$share/g/{topic('a')}", qos=1, props={"subscription_id": 5})
    s.subscribe(f"$share/g/{topic('a')}", qos=0)
    connect("p").publish(topic("a"), "x", 1)
    packet = s.expect_publish(topic("a"), "x", qos=0)
    assert "subscription_id" not in packet.props
    s.expect_nothing()


@pytest.mark.ours
@pytest.mark.clause("X5-26")
@pytest.mark.parametrize("end", ["disconnect", "drop", "clean start"])
def test_unacknowledged_qos_1_messages_move_to_another_member_when_the_session_ends(
        connect, topic, end):
    first = connect("m0")
    first.subscribe(f"$share/g/{topic('a')}", qos=1)
    p = connect("p")
    for payload in numbers(4):
        p.publish(topic("a"), payload, 1)
    for _ in range(4):
        first.expect_publish(ack=False)
    second = connect("m1")
    second.subscribe(f"$share/g/{topic('a')}", qos=1)
    if end == "disconnect":
        first.disconnect()
    elif end == "drop":
        first.drop()
    else:
        connect("m0")
    got = [second.expect_publish(topic("a")) for _ in range(4)]
    assert sorted(x.payload for x in got) == numbers(4)
    second.expect_nothing()


@pytest.mark.clause("MQTT-4.8.2-4", "MQTT-4.8.2-5")
@pytest.mark.parametrize("expiry", [1000, 0])
def test_a_half_sent_qos_2_message_stays_with_its_member(connect, topic, expiry):
    first = connect("m0", clean=False, props={"session_expiry": expiry})
    first.subscribe(f"$share/g/{topic('a')}", qos=2)
    p = connect("p")
    p.publish(topic("a"), "one", 2)
    p.publish(topic("a"), "two", 2)
    one = first.expect_publish(payload="one", ack=False)
    first.expect_publish(payload="two", ack=False)
    first.pubrec(one.id)
    first.expect("PUBREL", id=one.id)
    second = connect("m1")
    second.subscribe(f"$share/g/{topic('a')}", qos=2)
    first.drop()
    second.expect_nothing()
    first = connect("m0", clean=False, props={"session_expiry": expiry})
    if expiry:
        packets = [first.next(), first.next()]
        assert sorted(x.kind for x in packets) == ["PUBLISH", "PUBREL"]
    else:
        first.expect_nothing()
    second.expect_nothing()


@pytest.mark.clause("MQTT-4.8.2-6")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_refused_by_its_member_goes_to_no_other(connect, topic, qos):
    members = [connect(f"m{n}") for n in range(2)]
    for m in members:
        m.subscribe(f"$share/g/{topic('a')}", qos=qos)
    connect("p").publish(topic("a"), "x", qos)
    for m in members:
        m.sync()
    holder = members[0] if members[0].inbox else members[1]
    packet = holder.expect_publish(ack=False)
    if qos == 1:
        holder.puback(packet.id, 0x80)
    else:
        holder.pubrec(packet.id, 0x80)
    assert drain(members) == [[], []]
    holder.drop()
    other = members[1] if holder is members[0] else members[0]
    other.expect_nothing()


@pytest.mark.ours
def test_members_that_are_away_are_passed_over(connect, topic):
    offline(connect, "away", f"$share/g/{topic('a')}")
    here = connect("here")
    here.subscribe(f"$share/g/{topic('a')}", qos=1)
    p = connect("p")
    for payload in numbers(6):
        p.publish(topic("a"), payload, 1)
    assert drain([here]) == [numbers(6)]
    connect("away", **lasting(5)).expect_nothing()


@pytest.mark.ours
def test_members_with_a_closed_window_are_passed_over(broker, connect, topic):
    slow = connect("slow", props={"receive_max": 1})
    fast = connect("fast")
    for m in (slow, fast):
        m.subscribe(f"$share/g/{topic('a')}", qos=1)
    p = connect("p")
    for payload in numbers(11):
        p.publish(topic("a"), payload, 1)
        fast.sync()
        for packet in fast.inbox:
            if not getattr(packet, "done", False):
                fast.acknowledge(packet)
                packet.done = True
    broker.settle()  # the last one may have gone to `slow` first, on another reactor, and on from there
    fast.sync()
    slow.sync()
    assert len(slow.inbox) == 1 and len(fast.inbox) == 10


@versions
def test_while_all_members_are_away_messages_wait_for_one_of_them(connect, topic, version):
    for n in range(2):
        offline(connect, f"m{n}", f"$share/g/{topic('a')}", version=version)
    p = connect("p")
    for payload in numbers(8):
        p.publish(topic("a"), payload, 1)
    members = [connect(f"m{n}", version, **lasting(version)) for n in range(2)]
    assert sorted(sum(drain(members), [])) == sorted(numbers(8))


def test_a_group_ends_with_its_last_session(connect, topic):
    offline(connect, "m", f"$share/g/{topic('a')}")
    connect("p").publish(topic("a"), "x", 1)
    connect("m", clean=True).disconnect()
    s = connect("n")
    s.subscribe(f"$share/g/{topic('a')}", qos=1)
    s.expect_nothing()


def test_members_come_and_go_without_loss(connect, topic):
    """A steady member and changing ones, all acknowledged: every message exactly once."""
    steady = connect("steady")
    steady.subscribe(f"$share/g/{topic('a')}", qos=1)
    p = connect("p")
    got = collections.Counter()
    sent = 0
    for turn in range(15):
        guest = connect(f"guest{turn}")
        guest.subscribe(f"$share/g/{topic('a')}", qos=1)
        for _ in range(6):
            p.publish(topic("a"), str(sent), 1)
            sent += 1
        for mine in drain([guest, steady]):
            got.update(mine)
        guest.unsubscribe(f"$share/g/{topic('a')}")
        guest.disconnect()
    assert got == collections.Counter(numbers(sent))


def test_a_publisher_may_be_a_member(connect, topic):
    c = connect("c")
    c.subscribe(f"$share/g/{topic('a')}", qos=1)
    c.publish(topic("a"), "x", 1)
    c.expect_publish(topic("a"), "x")
