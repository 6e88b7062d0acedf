"""$SYS/broker/sessions/<client id>: who is connected, answered in MQTT itself."""

import json
import socket
import time

import pytest

import client as clients
import mqtt_codec as codec
from support import lasting

pytestmark = pytest.mark.ours

TOPIC = "$SYS/broker/sessions/"
FIELDS = {"client_id", "username", "address", "listener", "protocol", "connected",
          "connected_since_s", "disconnected_since_s", "closed_reason", "clean_start",
          "session_expiry_s", "keepalive_s", "idle_s", "will", "subscriptions", "queued_messages",
          "queued_bytes", "inflight_messages", "inflight_bytes", "unsent_messages", "unsent_bytes",
          "messages_in", "messages_out", "bytes_in", "bytes_out", "dropped", "memory_bytes", "reactor"}


def level(client_id):
    """The client id as a level of a topic."""
    return "".join(f"%{ord(c):02X}" if c in "%+#/" or ord(c) < 0x20 or ord(c) == 0x7F else c
                   for c in client_id)


def document(packet):
    return json.loads(packet.payload)


def ask(admin, client_id):
    """The document of one session, as of now."""
    admin.subscribe(TOPIC + client_id)
    packet = admin.expect_publish(TOPIC + client_id, retain=True)
    admin.unsubscribe(TOPIC + client_id)
    admin.sync()
    admin.inbox.clear()
    return document(packet)


def test_one_session_is_described_completely(connect, topic):
    c = connect("c", username="ada", keepalive=77, props={"session_expiry": 500},
                will={"topic": topic("w"), "qos": 1})
    c.subscribe(topic("a"), topic("b/+"), qos=1)
    said = ask(connect("admin"), c.client_id)
    assert FIELDS | {"subscription_list"} == set(said), FIELDS ^ set(said)
    assert said["client_id"] == c.client_id
    assert said["username"] == "ada"
    assert said["address"].startswith("127.0.0.1")
    assert str(c.sock.getsockname()[1]) in said["address"]
    assert said["connected"] is True
    assert said["keepalive_s"] == 77
    assert said["session_expiry_s"] == 500
    assert said["memory_bytes"] > 0
    assert said["will"] == {"topic": topic("w"), "qos": 1, "retain": False, "delay_s": 0,
                            "payload_bytes": 0}
    assert said["subscriptions"] == 2
    assert {"filter": topic("b/+"), "qos": 1, "no_local": False, "retain_as_published": False,
            "subscription_id": None} in said["subscription_list"]
    assert {s["filter"] for s in said["subscription_list"]} == {topic("a"), topic("b/+")}


def test_a_long_list_of_subscriptions_is_cut_and_says_so(connect, topic):
    c = connect("c")
    for n in range(0, 1500, 100):
        c.subscribe(*[topic(str(n + m)) for m in range(100)])
    said = ask(connect("admin"), c.client_id)
    assert said["subscriptions"] == 1500
    assert 100 < len(said["subscription_list"]) <= 1000
    assert len(said["subscription_list"]) + said["subscriptions_not_listed"] == 1500


@pytest.mark.parametrize("version", [3, 4, 5])
def test_the_protocol_version_is_told(connect, version):
    c = connect("c", version)
    assert str(ask(connect("admin"), c.client_id)["protocol"]) in {
        3: ("3", "3.1"), 4: ("4", "3.1.1"), 5: ("5", "5.0")}[version]


def test_counts_follow_what_happens(connect, topic):
    c = connect("c", **lasting(5))
    c.subscribe(topic("a"), qos=1)
    p = connect("p")
    admin = connect("admin")
    for n in range(3):
        p.publish(topic("a"), "x", 1)
        c.expect_publish(ack=False)
    assert ask(admin, c.client_id)["inflight_messages"] == 3
    assert ask(admin, p.client_id)["messages_in"] >= 3
    c.disconnect()
    for n in range(4):
        p.publish(topic("a"), "x", 1)
    said = ask(admin, c.client_id)
    assert said["connected"] is False
    assert said["queued_messages"] + said["inflight_messages"] == 7


@pytest.mark.config(max_queued_messages=300, fresh=True)
def test_what_a_client_that_does_not_read_was_sent_is_told_as_unsent(broker, connect, topic):
    slow, p, admin = connect("slow", receive_buffer=4096), connect("p"), connect("admin")
    slow.subscribe(topic("a"))
    assert ask(admin, slow.client_id)["unsent_messages"] == 0
    for _ in range(2000):
        p.send(codec.publish(5, topic("a"), b"y" * 20_000))
    p.sync()
    broker.settle()
    said = ask(admin, slow.client_id)
    assert said["queued_messages"] == 0
    assert said["unsent_messages"] == 300
    assert 0 < said["unsent_bytes"] <= 300 * 20_100
    assert said["messages_out"] + said["dropped"]["slow_qos0"] == 2000
    for _ in range(said["messages_out"]):
        slow.expect_publish(topic("a"))
    slow.ping()
    said = ask(admin, slow.client_id)
    assert said["unsent_messages"] == said["unsent_bytes"] == 0
    slow.disconnect()


def test_a_session_that_does_not_exist_has_no_document(connect):
    admin = connect("admin")
    admin.subscribe(TOPIC + "nobody-" + admin.client_id)
    admin.expect_nothing()


def test_a_wildcard_gives_a_document_for_each_session(connect, prefix):
    ids = {connect(f"c{n}").client_id for n in range(30)}
    ids.add(connect("away", **lasting(5)).client_id)
    connect("away", **lasting(5)).disconnect()
    admin = connect("admin")
    admin.subscribe(TOPIC + "#")
    seen = {}
    while not ids <= set(seen):
        packet = admin.expect_publish(retain=True)
        seen[packet.topic[len(TOPIC):]] = document(packet)
    assert seen[prefix + "away"]["connected"] is False
    assert seen[prefix + "c0"]["connected"] is True
    # with a wildcard the subscriptions are only counted
    assert isinstance(seen[prefix + "c0"]["subscriptions"], int)


def test_changes_come_as_they_happen(broker, connect):
    admin = connect("admin")
    c = connect("c", props={"session_expiry": 50})
    admin.subscribe(TOPIC + c.client_id)
    assert document(admin.expect_publish(retain=True))["connected"] is True
    c.disconnect(0x04)
    said = document(admin.expect_publish(retain=False))
    assert said["connected"] is False
    assert any("disconnect" in str(value) for value in said.values()), said
    connect("c", clean=False, props={"session_expiry": 50})
    assert document(admin.expect_publish(retain=False))["connected"] is True


def test_the_end_of_a_session_is_told(broker, connect):
    c = connect("c", props={"session_expiry": 50})
    admin = connect("admin")
    admin.subscribe(TOPIC + c.client_id)
    admin.expect_publish()
    c.disconnect()
    assert document(admin.expect_publish())["connected"] is False
    broker.turn(52_000)
    packet = admin.expect_publish(timeout=clients.WAIT_S)
    assert document(packet)["ended"] is True
    assert document(packet)["ended_reason"] == "expired"


def test_a_session_that_ends_with_its_connection_is_told_once(connect):
    c = connect("c")
    admin = connect("admin")
    admin.subscribe(TOPIC + c.client_id)
    admin.expect_publish()
    c.disconnect()
    said = document(admin.expect_publish(retain=False))
    assert said["ended"] is True and said["ended_reason"] == "disconnected"
    assert said["closed_reason"] == "client_disconnect"
    admin.expect_nothing()


def test_a_client_that_starts_anew_is_not_told_as_ended(connect):
    c = connect("c", **lasting(5))
    admin = connect("admin")
    admin.subscribe(TOPIC + c.client_id)
    admin.expect_publish()
    for _ in range(10):
        connect("c", props={"session_expiry": 100})
    admin.sync()
    last = None
    while last is None or not last["connected"]:
        last = document(admin.expect_publish(retain=False))
        assert not last.get("ended")


@pytest.mark.parametrize("odd", ["/a b/ü\"\\", "+#", "%41", "100%", "tab\there", "日本語😀"])
def test_odd_client_ids_are_one_level_of_the_topic(connect, prefix, odd):
    c = connect(client_id=prefix + odd)
    said = ask(connect("admin"), level(c.client_id))
    assert said["client_id"] == c.client_id
    watch = connect("watch")
    watch.subscribe(TOPIC + "#")
    packet = watch.expect_publish()
    while document(packet)["client_id"] != c.client_id:
        packet = watch.expect_publish()
    assert packet.topic == TOPIC + level(c.client_id)


def test_an_id_that_is_encoded_in_another_way_does_not_exist(connect, prefix):
    connect(client_id=prefix + "A/b")
    admin = connect("admin")
    admin.subscribe(TOPIC + prefix + "A%2fb", TOPIC + prefix + "%41%2Fb", TOPIC + prefix + "A/b")
    admin.expect_nothing()


@pytest.mark.parametrize("filter_", ["$SYS/#", "$SYS/broker/#", "$SYS/broker/+/#", "#",
                                     "$share/g/$SYS/broker/sessions/#"])
def test_wide_filters_get_no_documents(connect, filter_):
    admin = connect("admin")
    admin.subscribe(filter_)
    connect("c").disconnect()
    connect("c", **lasting(5)).disconnect()
    admin.sync()
    assert not [p for p in admin.inbox if p.topic.startswith(TOPIC)]


def test_retain_handling_holds_for_documents(connect):
    c = connect("c")
    admin = connect("admin")
    admin.subscribe(TOPIC + c.client_id, retain_handling=2)
    admin.expect_nothing()
    admin.subscribe(TOPIC + c.client_id, retain_handling=1)  # it is there already
    admin.expect_nothing()
    admin.subscribe(TOPIC + c.client_id, retain_handling=0)
    admin.expect_publish(TOPIC + c.client_id)


def test_311_admins_can_look_too(connect):
    c = connect("c", 4)
    admin = connect("admin", 4)
    admin.subscribe(TOPIC + c.client_id)
    assert document(admin.expect_publish(retain=True))["client_id"] == c.client_id


def test_the_window_of_the_admin_is_kept_while_documents_stream(connect):
    some = [connect(f"c{n}") for n in range(10)]
    admin = connect("admin", props={"receive_max": 2})
    admin.subscribe(TOPIC + "#", qos=1)
    seen = set()
    while not {c.client_id for c in some} <= seen:
        seen.add(document(admin.expect_publish())["client_id"])


@pytest.mark.config(admin_users="ada grace", fresh=True)
def test_others_than_admins_see_nothing(connect):
    c = connect("c")
    for name, allowed in (("grace", True), ("bob", False), (None, False)):
        admin = connect(f"admin{name}", username=name)
        admin.send(codec.subscribe(5, 1, [(TOPIC + c.client_id, 0)]))
        codes = admin.expect("SUBACK").codes
        if allowed:
            assert codes == [0]
            admin.expect_publish(TOPIC + c.client_id)
        else:
            admin.expect_nothing()
            c.disconnect()
            admin.expect_nothing()
            c = connect("c")


def is_for_admins(packet):
    return packet.kind == "PUBLISH" and packet.topic.startswith(("$SYS/broker/s", "$CONTROL"))


@pytest.mark.config(admin_users="ada", queue_qos0_messages="true", fresh=True)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_who_takes_an_admins_session_over_gets_nothing_that_was_queued_for_the_admin(
        connect, topic, qos):
    ada = connect("panel", username="ada", **lasting(5))
    ada.subscribe(TOPIC + "+", "$CONTROL/sessions/v1/response", topic("a"), qos=qos)
    ada.sync()
    ada.disconnect()
    connect("victim", username="secret").publish(topic("a"), "plain", qos)
    bob = connect("panel", username="bob", **lasting(5))
    bob.expect_publish(topic("a"), b"plain")  # no ACL forbids it
    bob.sync()
    assert not [p for p in bob.inbox if is_for_admins(p)]
    watcher = connect("watcher", username="ada")
    said = ask(watcher, bob.client_id)
    assert said["dropped"]["not_authorized"] >= 1
    assert said["queued_messages"] == said["inflight_messages"] == 0


@pytest.mark.config(admin_users="ada", fresh=True)
@pytest.mark.parametrize("qos", [1, 2])
def test_who_takes_an_admins_session_over_gets_nothing_that_was_in_flight_to_the_admin(
        connect, broker, qos):
    ada = connect("panel", username="ada", **lasting(5))
    ada.subscribe(TOPIC + "+", "$CONTROL/sessions/v1/response", qos=qos)
    ada.send(codec.publish(5, "$CONTROL/sessions/v1",
                           json.dumps({"commands": [{"command": "listSessions"}]})))
    broker.settle()
    bob = connect("panel", username="bob", **lasting(5))
    bob.sync()
    assert not [p for p in bob.inbox if is_for_admins(p)]
    said = ask(connect("watcher", username="ada"), bob.client_id)
    assert said["dropped"]["not_authorized"] >= 2 and said["inflight_messages"] == 0
    bob.disconnect()
    back = connect("panel", username="ada", **lasting(5))  # its subscriptions are still there
    connect("newcomer")
    back.expect_publish()


def make_sessions(broker, prefix, count):
    """Sessions that are away, made quickly."""
    for start in range(0, count, 200):
        sockets = []
        for n in range(start, min(start + 200, count)):
            s = socket.create_connection(broker.address)
            s.sendall(codec.connect(4, f"{prefix}x{n}", clean=False) + codec.disconnect(4))
            sockets.append(s)
        for s in sockets:
            while s.recv(100):
                pass
            s.close()
    broker.settle()  # who watches from now on is not told that they went


def slowest_ping(one, count=50):
    slowest = 0
    for _ in range(count):
        start = time.monotonic()
        one.ping()
        slowest = max(slowest, time.monotonic() - start)
    return slowest


def take_all(admin, prefix, count):
    seen = set()
    while len(seen) < count:
        name = admin.expect_publish().topic[len(TOPIC):]
        if name.startswith(prefix + "x"):
            seen.add(name)
    return seen


@pytest.mark.slow
@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
@pytest.mark.parametrize("qos", [0, 1])
def test_thousands_of_documents_slow_nobody(broker, connect, prefix, qos):
    make_sessions(broker, prefix, 5000)
    admin, other = connect("admin"), connect("other")
    admin.send(codec.subscribe(5, 1, [(TOPIC + "#", qos)]))
    assert slowest_ping(other) < 0.5
    take_all(admin, prefix, 5000)


@pytest.mark.slow
@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
def test_a_reader_that_stops_is_waited_for(broker, connect, prefix):
    make_sessions(broker, prefix, 5000)
    before = broker.rss_kb()
    many = [connect(f"admin{n}") for n in range(20)]
    for admin in many:
        admin.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        admin.send(codec.subscribe(5, 1, [(TOPIC + "#", 0)]))
    other = connect("other")
    assert slowest_ping(other, 200) < 0.5
    assert broker.rss_kb() - before < 40_000, "20 x 5000 documents are some 50 MB"
    for admin in many[:2]:
        admin.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        take_all(admin, prefix, 5000)


@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("per_packet", [1, 300])
def test_however_many_single_sessions_are_asked_for_each_is_given(
        broker, connect, prefix, qos, per_packet):
    make_sessions(broker, prefix, 300)
    admin = connect("admin")
    wanted = [(f"{TOPIC}{prefix}x{n}", qos) for n in range(300)]
    admin.send(b"".join(codec.subscribe(5, 1 + at, wanted[at:at + per_packet])
                        for at in range(0, 300, per_packet)))
    take_all(admin, prefix, 300)
    admin.sync()
    assert {packet.kind for packet in admin.inbox} == {"SUBACK"}


@pytest.mark.config(sys_interval=0)
def test_sessions_that_do_not_exist_hold_up_none_that_does(connect, prefix):
    c, admin = connect("c"), connect("admin")
    admin.send(codec.subscribe(5, 1, [(f"{TOPIC}{prefix}nobody{n}", 0) for n in range(1000)] +
                               [(TOPIC + c.client_id, 0)]))
    admin.expect("SUBACK")
    assert document(admin.expect_publish(retain=True))["client_id"] == c.client_id
    admin.expect_nothing()


@pytest.mark.config(sys_interval=0)
def test_a_single_session_that_waits_for_the_window_is_forgotten_when_unsubscribed(
        broker, connect, prefix):
    make_sessions(broker, prefix, 4)
    admin = connect("admin", props={"receive_max": 1})
    names = [f"{TOPIC}{prefix}x{n}" for n in range(4)]
    admin.subscribe(*names, qos=1)
    first = admin.take("PUBLISH")
    admin.unsubscribe(names[1], names[3])
    admin.subscribe(names[2], qos=1)  # waits already: is given once
    admin.acknowledge(first)
    admin.expect_publish(names[2], retain=True)
    admin.expect_nothing()


@pytest.mark.config(sys_interval=0, reactors=1, fresh=True)
def test_watchers_who_do_not_acknowledge_keep_nobody_else_from_watching(connect, prefix, broker):
    make_sessions(broker, prefix, 10)
    many = [connect(f"idle{n}", props={"receive_max": 1}) for n in range(300)]
    for n, admin in enumerate(many):
        admin.subscribe(TOPIC + "+", TOPIC + "#", f"{TOPIC}{prefix}x{n % 10}", qos=1)
    fresh = connect("newcomer")
    fresh.subscribe(TOPIC + "#", qos=1)
    take_all(fresh, prefix, 10)
    for admin in many[::50]:
        take_all(admin, prefix, 10)


@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
def test_unsubscribing_ends_a_walk(broker, connect, prefix):
    make_sessions(broker, prefix, 300)
    admin = connect("admin", props={"receive_max": 1})
    admin.send(codec.subscribe(5, 1, [(TOPIC + "#", 1)]))
    first = admin.take("PUBLISH")
    admin.unsubscribe(TOPIC + "#")
    admin.inbox.clear()
    admin.acknowledge(first)
    admin.expect_nothing()


@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
def test_leaving_in_the_middle_of_a_walk_does_no_harm(broker, connect, prefix):
    make_sessions(broker, prefix, 300)
    for n in range(20):
        admin = connect(f"admin{n}")
        admin.send(codec.subscribe(5, 1, [(TOPIC + "#", n % 3), (TOPIC + "+", 0)]))
        if n % 2:
            admin.take("PUBLISH")
        admin.close()
    take = connect("take")
    take.subscribe(TOPIC + "#")
    take_all(take, prefix, 300)


@pytest.mark.config(sys_interval=0, max_inflight_messages=7)
def test_sessions_that_move_and_end_while_they_are_looked_at(broker, connect, prefix):
    admin, lister = connect("admin"), connect("lister")
    lister.subscribe("$CONTROL/sessions/v1/response")
    admin.subscribe(TOPIC + "#")
    for turn in range(30):
        sockets = []
        for n in range(20):
            s = socket.create_connection(broker.address)
            s.sendall(codec.connect(4, f"{prefix}m{n}", clean=bool((turn + n) % 3 == 0)))
            sockets.append(s)
        admin.send(codec.subscribe(5, 1, [(TOPIC + "#", 0), (f"{TOPIC}{prefix}m{turn % 20}", 1)]))
        lister.send(codec.publish(5, "$CONTROL/sessions/v1", json.dumps({"commands": [
            {"command": "listSessions", "prefix": prefix},
            {"command": "getSession", "clientId": f"{prefix}m{turn % 20}"},
            {"command": "disconnectSession", "clientId": f"{prefix}m{(turn + 1) % 20}"},
            {"command": "deleteSession", "clientId": f"{prefix}m{(turn + 2) % 20}"},
        ]})))
        for s in sockets:
            s.close()
        answers = json.loads(lister.expect_publish().payload)["responses"]
        assert len(answers) == 4 and "data" in answers[0]
    admin.sync()
    for packet in admin.inbox:
        if packet.kind == "PUBLISH":
            assert document(packet)["client_id"]
