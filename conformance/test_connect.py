"""CONNECT and CONNACK: versions, client ids, flags, what the server announces, refusals."""

import time

import pytest

import client
import mqtt_codec as codec
from broker import IS_PEER
from support import before_5, versions


@versions
@pytest.mark.clause("MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-8",
                    "MQTT-4.2-1", "MQTT-4.12.0-6")
@pytest.mark.clause311("MQTT-3.1.4-4", "MQTT-3.2.0-1", "MQTT-3.2.2-1", "X3-01", "MQTT-7.1.1-1")
def test_a_clean_connect_is_accepted_without_session(connect, version):
    connack = connect(version=version).connack
    assert connack.code == 0 and not connack.session_present


@versions
@pytest.mark.clause("MQTT-3.12.4-1")
@pytest.mark.clause311("MQTT-3.12.4-1")
def test_each_pingreq_is_answered(connect, version):
    c = connect(version=version)
    c.send(codec.pingreq() * 3)
    for _ in range(3):
        c.expect("PINGRESP")
    c.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.1.3-5", "MQTT-3.1.3-4")
@pytest.mark.clause311("MQTT-3.1.3-5", "MQTT-3.1.3-4")
def test_client_ids_of_23_letters_and_digits_are_accepted(connect, prefix, version):
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for at in range(0, len(alphabet), 15):
        connect(version=version, client_id=prefix + (alphabet * 2)[at:at + 15])
    connect(version=version, client_id="Z")


@pytest.mark.parametrize("version", [4, 5])
def test_long_and_unusual_client_ids_are_accepted(connect, prefix, version):
    connect(version=version, client_id=prefix + "x" * 500)
    connect(version=version, client_id=prefix + " /ü#+€$\U0001f600")


@pytest.mark.clause("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
@pytest.mark.parametrize("clean", [True, False])
def test_an_empty_client_id_gets_one_of_its_own(connect, clean):
    clients = [connect(client_id="", clean=clean) for _ in range(5)]
    ids = [c.connack.props["assigned_client_id"] for c in clients]
    assert all(ids) and len(set(ids)) == 5
    for c in clients:
        c.ping()


@pytest.mark.clause("MQTT-3.1.3-7")
def test_an_assigned_client_id_can_be_used_to_resume(connect):
    first = connect(client_id="", props={"session_expiry": 100})
    name = first.client_id
    first.disconnect()
    assert connect(client_id=name, clean=False).connack.session_present


@pytest.mark.clause311("MQTT-3.1.3-6", "MQTT-3.1.3-7")
def test_311_takes_an_empty_client_id_with_clean_session(connect):
    connect(version=4, client_id="").ping()
    connect(version=4, client_id="").ping()


@pytest.mark.clause311("MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
def test_311_refuses_an_empty_client_id_without_clean_session(connect):
    connect(version=4, client_id="", clean=False, code=2)


def test_31_refuses_an_empty_client_id(connect):
    connect(version=3, client_id="", code=2)


@pytest.mark.config(allow_zero_length_clientid="false")
@pytest.mark.clause("MQTT-3.1.3-8", "MQTT-3.2.2-7", "MQTT-3.2.2-6", "MQTT-3.14.0-1")
@pytest.mark.clause311("MQTT-3.1.3-9")
def test_empty_client_ids_can_be_refused(connect):
    connect(version=5, client_id="", code={0x80, 0x85} if IS_PEER else 0x85)
    connect(version=4, client_id="", code=2)


@pytest.mark.config(auto_id_prefix="sensor-")
@pytest.mark.clause("MQTT-3.2.2-16")
def test_assigned_client_ids_begin_with_the_configured_prefix(connect):
    assert connect(client_id="").client_id.startswith("sensor-")


@pytest.mark.config(clientid_prefixes="good-")
@pytest.mark.clause("MQTT-3.1.3-8")
@pytest.mark.clause311("MQTT-3.1.3-9")
def test_client_ids_without_the_configured_prefix_are_refused(connect, prefix):
    connect(client_id="good-" + prefix)
    connect(client_id="bad-" + prefix, code={0x85, 0x87})
    refused = connect(client_id="bad-" + prefix, version=4, code={2, 5})
    assert refused.eof


@pytest.mark.config(allow_anonymous="false")
@pytest.mark.clause("MQTT-3.1.4-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8", "MQTT-4.13.2-1")
@pytest.mark.clause311("X3-02", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
@versions
def test_anonymous_clients_are_refused_when_not_allowed(connect, version):
    connect(version=version, code={0x86, 0x87} if version == 5 else {4, 5})


@pytest.mark.config(allow_anonymous="false")
@pytest.mark.clause("MQTT-3.1.4-6")
@pytest.mark.clause311("MQTT-3.1.4-5")
@pytest.mark.parametrize("version", [4, 5])
def test_packets_after_a_refused_connect_have_no_effect(raw, version, topic):
    c = raw(version)
    c.send(codec.connect(version, "x") + codec.subscribe(version, 1, [(topic("a"), 0)])
           + codec.publish(version, topic("a"), b"x", 1, 2))
    assert c.expect("CONNACK").code != 0
    assert c.next() is None


@pytest.mark.clause("MQTT-3.1.4-6")
@pytest.mark.clause311("MQTT-3.1.4-5")
@versions
def test_what_follows_a_refused_connect_reaches_nobody(broker, raw, connect, topic, version):
    """Neither those who wait for it nor, retained, those who come later."""
    watcher = connect("w")
    watcher.subscribe(topic("a"), qos=1)
    c = raw(version)
    refused = (codec.connect(5, "x", props={"auth_method": "no-such"}) if version == 5
               else codec.connect(version, "", clean=False))
    c.connect_props = {"auth_method": "no-such"}
    c.send(refused + codec.publish(version, topic("a"), b"x", 1, 2, retain=True))
    assert c.expect("CONNACK").code != 0
    assert c.next() is None
    broker.settle()
    watcher.expect_nothing()
    late = connect("late")
    late.subscribe(topic("a"), qos=1)
    late.expect_nothing()


@pytest.mark.clause("MQTT-3.1.2-1", "MQTT-3.14.0-1")
@pytest.mark.clause311("MQTT-3.1.2-1")
@pytest.mark.parametrize("name", ["", "M", "MQTTX", "mqtt", "MQISDP", "HTTP", "MQT\xff"])
@pytest.mark.parametrize("version", [4, 5])
def test_an_unknown_protocol_name_is_refused(raw, name, version):
    c = raw(version)
    c.send(codec.connect(version, "x", name=name))
    refused_in_any_form(c)


@pytest.mark.clause("MQTT-3.1.2-2")
@pytest.mark.clause311("MQTT-3.1.2-2")
@pytest.mark.parametrize("name, level", [
    ("MQTT", 0), ("MQTT", 1), ("MQTT", 2), ("MQTT", 3), ("MQTT", 6), ("MQTT", 7), ("MQTT", 255),
    ("MQIsdp", 0), ("MQIsdp", 2), ("MQIsdp", 4), ("MQIsdp", 5)])
def test_an_unsupported_protocol_level_is_refused(raw, name, level):
    c = raw(5 if level > 5 else 4)
    c.send(codec.connect(4, "x", name=name, level=level))
    refused_in_any_form(c)


def refused_in_any_form(c):
    """A CONNACK of 3.1.1 (code 1) or of 5 (code 0x84) or none, then the end."""
    got = b""
    while True:
        try:
            data = c.sock.recv(1000)
        except ConnectionResetError:
            break
        if not data:
            break
        got += data
    assert got in (b"", b"\x20\x02\x00\x01") or (
        got[0] == 0x20 and got[2:4] in (b"\x00\x84", b"\x00\x81") and got[1] == len(got) - 2), got


@pytest.mark.clause311("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [1, 2, 3])
def test_levels_before_311_get_code_1(raw, level):
    c = raw(4)
    c.send(codec.connect(4, "x", level=level))
    c.expect("CONNACK", code=1)
    c.expect_close()


@pytest.mark.clause("MQTT-3.1.2-2")
@pytest.mark.parametrize("level", [6, 100])
def test_levels_above_5_get_a_connack_of_some_version(raw, level):
    c = raw(5)
    c.send(codec.connect(5, "x", level=level))
    data = c.sock.recv(100)
    assert data in (b"\x20\x02\x00\x01",) or data[2:4] == b"\x00\x84", data
    assert c.sock.recv(100) == b""


@versions
@pytest.mark.clause("MQTT-3.1.0-2", "MQTT-3.2.0-2")
@pytest.mark.clause311("MQTT-3.1.0-2", "MQTT-4.8.0-1")
def test_a_second_connect_ends_the_connection_and_sends_the_will(connect, topic, version):
    watcher = connect("watch")
    watcher.subscribe(topic("will"))
    c = connect(version=version, will={"topic": topic("will"), "payload": "bye"})
    c.send(codec.connect(version, c.client_id))
    c.expect_close(0x82)
    watcher.expect_publish(topic("will"), "bye")


@versions
@pytest.mark.clause("X5-23")
@pytest.mark.clause311("X3-04", "MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_the_server_closes_after_a_clients_disconnect(connect, version):
    c = connect(version=version)
    c.send(codec.disconnect(version))
    c.expect_close()
    assert c.last_disconnect is None


@versions
@pytest.mark.clause("MQTT-3.14.4-1")
@pytest.mark.clause311("MQTT-3.14.4-2")
def test_what_follows_a_disconnect_is_ignored(connect, topic, version):
    watcher = connect("watch")
    watcher.subscribe(topic("#"))
    c = connect(version=version)
    c.send(codec.disconnect(version) + codec.publish(version, topic("late"), b"x"))
    c.expect_close()
    watcher.expect_nothing()


@versions
@pytest.mark.clause("MQTT-3.2.0-1")
def test_packets_sent_before_connack_are_served_after_it(raw, prefix, topic, version):
    c = raw(version)
    c.send(codec.connect(version, prefix + "p") + codec.subscribe(version, 1, [(topic("a"), 1)])
           + codec.publish(version, topic("a"), b"x", 1, 2) + codec.pingreq())
    assert c.next().kind == "CONNACK"
    c.expect("SUBACK", id=1)
    c.expect("PUBACK", id=2)
    c.expect_publish(topic("a"), "x")
    c.expect("PINGRESP")


def test_a_client_that_half_closes_is_answered_before_the_end(raw, prefix):
    c = raw(5)
    c.send(codec.connect(5, prefix + "h") + codec.pingreq())
    c.shut()
    c.expect("CONNACK")
    c.expect_close()


@pytest.mark.clause("MQTT-3.1.2-19")
def test_a_password_needs_no_user_name_in_version_5(connect):
    connect(password=b"\x00secret")


@versions
def test_user_name_and_password_are_accepted_where_anonymous_is(connect, version):
    connect(version=version, username="u", password=b"\xff\x00p")
    connect("d", version=version, username="u")


@pytest.mark.parametrize("flags, username", [(0x80, None), (0xC0, None), (0xC0, "u")])
def test_31_tolerates_flags_without_the_fields(raw, prefix, flags, username):
    c = raw(3)
    c.send(codec.connect(3, prefix + "t", username=username, connect_flags=2 | flags))
    c.expect("CONNACK", code=0)
    c.ping()


@pytest.mark.parametrize("name, version", [("MQIsdp", 3), ("MQTT", 4)])
def test_the_level_of_a_bridge_is_taken_as_that_of_a_client_or_refused(raw, prefix, name, version):
    """Other brokers' bridges set its highest bit."""
    c = raw(version)
    c.send(codec.connect(version, prefix + "b", level=0x80 | version, name=name))
    packet = c.expect("CONNACK", code={0, 1})
    if packet.code:
        c.expect_close()
    else:
        c.ping()


@pytest.mark.clause("MQTT-3.1.2-28")
def test_response_information_is_given_only_when_asked(connect):
    assert "response_info" not in connect("a").connack.props
    assert "response_info" not in connect("b", props={"request_response_info": 0}).connack.props
    connect("c", props={"request_response_info": 1})


@pytest.mark.clause("MQTT-4.12.0-1", "MQTT-4.12.0-4")
def test_an_unknown_authentication_method_is_refused(connect):
    connect(props={"auth_method": "no-such"}, code={0x8C, 0x87})
    connect(props={"auth_method": "no-such", "auth_data": b"x"}, code={0x8C, 0x87})


@pytest.mark.clause("MQTT-4.12.0-6", "MQTT-4.12.0-7", "X5-19")
@pytest.mark.parametrize("code", [0x18, 0x19])
def test_auth_on_a_connection_without_method_is_a_protocol_error(connect, code):
    c = connect()
    c.send(codec.auth(code, {"auth_method": "x"}))
    c.expect_close(0x82)


def test_the_connack_announces_limits_that_make_sense(connect):
    props = connect().connack.props
    assert props.get("receive_max", 65535) >= 1
    for name in ("retain_available", "wildcard_available", "subscription_id_available",
                 "shared_available"):
        assert props.get(name, 1) == 1
    assert "max_qos" not in props
    assert "server_keep_alive" not in props
    assert "session_expiry" not in props


@pytest.mark.config(max_keepalive=60)
@pytest.mark.clause("MQTT-3.1.2-21", "MQTT-3.2.2-21")
def test_a_keepalive_above_the_limit_is_replaced(connect):
    assert connect("a", keepalive=600).connack.props["server_keep_alive"] == 60
    assert connect("b", keepalive=0).connack.props["server_keep_alive"] == 60
    assert connect("c", keepalive=30).connack.props.get("server_keep_alive", 30) == 30


@pytest.mark.config(max_keepalive=60)
@before_5
@pytest.mark.ours
def test_older_clients_cannot_be_told_a_keepalive_and_are_refused(connect, version):
    connect("a", version=version, keepalive=600, code=2)
    connect("b", version=version, keepalive=0, code=2)
    connect("c", version=version, keepalive=60)


@pytest.mark.config(max_qos=1)
@pytest.mark.clause("MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-11", "MQTT-3.2.2-12", "X5-11")
def test_a_server_limited_to_qos_1_says_so_and_refuses_qos_2(connect, topic):
    c = connect("a")
    assert c.connack.props["max_qos"] == 1
    c.subscribe(topic("a"), qos=2, codes=[1])
    c.publish(topic("a"), "x", 1)
    c.expect_publish(topic("a"), "x", qos=1)
    c.send(codec.publish(5, topic("a"), b"x", 2, 7))
    c.expect_close(0x9B)
    connect("b", will={"topic": topic("w"), "qos": 2}, code=0x9B)
    connect("c", will={"topic": topic("w"), "qos": 1})


@pytest.mark.config(max_qos=0)
@pytest.mark.clause("MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-11")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_server_limited_to_qos_0_refuses_more(connect, topic, qos):
    c = connect("a")
    assert c.connack.props["max_qos"] == 0
    c.subscribe(topic("a"), qos=qos, codes=[0])
    c.send(codec.publish(5, topic("a"), b"x", qos, 7))
    c.expect_close(0x9B)


@pytest.mark.config(retain_available="false")
@pytest.mark.clause("MQTT-3.2.2-13", "MQTT-3.2.2-14", "X5-12")
def test_a_server_without_retain_says_so_and_refuses_it(connect, topic):
    c = connect("a")
    assert c.connack.props["retain_available"] == 0
    c.send(codec.publish(5, topic("a"), b"x", 1, 1, retain=True))
    c.expect_close(0x9A)
    connect("b", will={"topic": topic("w"), "retain": True}, code=0x9A)


@pytest.mark.config(max_connections=3, fresh=True)
@pytest.mark.clause("MQTT-3.1.4-2")
def test_connections_above_the_limit_are_refused_and_room_comes_back(connect, raw, prefix):
    clients = [connect(str(n)) for n in range(3)]
    extra = raw(5)
    extra.send(codec.connect(5, prefix + "x"))
    packet = extra.next()
    assert packet is None or packet.code in (0x88, 0x89, 0x97, 0x9F)
    for c in clients:
        c.ping()
    clients[0].disconnect()
    deadline = time.monotonic() + client.WAIT_S
    while True:  # the place is free a moment after the end was seen
        late = raw(5)
        late.send(codec.connect(5, prefix + "new"))
        packet = late.next()
        if packet is not None and packet.code == 0:
            break
        assert time.monotonic() < deadline, "no room came back"
    late.ping()


@pytest.mark.config(accept_protocol_versions="4,5", fresh=True)
@pytest.mark.ours
def test_versions_can_be_excluded(connect):
    connect("a", version=4)
    connect("b", version=5)
    connect("c", version=3, code=1)


@pytest.mark.config(persistent_client_expiration="1h", fresh=True)
@pytest.mark.ours
def test_a_session_expiry_that_is_cut_down_is_announced(connect):
    props = connect("a", props={"session_expiry": 0xFFFFFFFF}).connack.props
    assert props.get("session_expiry", 3600) in (3600,)
