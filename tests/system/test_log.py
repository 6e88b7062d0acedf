"""What the log says: every limit that is hit, every packet when that is asked for, and who did what."""

import json
import re
import signal
import socket
import time

import pytest

import broker as brokers
import client as clients
from support import not_31, offline

pytestmark = pytest.mark.ours

codec = clients.codec


def ends(pattern, text):
    assert re.search(pattern, text, re.M), text


# ------------------------------------------------------------------------------ dropped messages


@pytest.mark.config(max_queued_messages=3, fresh=True)
def test_a_full_queue_is_told_once_with_the_client_and_what_to_raise(broker, connect, topic, prefix):
    offline(connect, "away", topic("a"))
    p = connect("p")
    for n in range(60):
        p.publish(topic("a"), str(n), 1)
    said = broker.wait_log("are dropped")
    assert f"Messages for client {prefix}away (not connected) are dropped: queue_messages" in said
    assert "max_queued_messages" in said
    broker.settle()  # the queue may be another reactor's, and its mail still under way
    assert broker.log().count("are dropped") == 1
    broker.turn(11_000)
    p = connect("p2")
    p.publish(topic("a"), "more", 1)
    broker.wait_log("(58 so far)")


@pytest.mark.config(max_queued_bytes=100, fresh=True)
def test_the_limit_in_bytes_is_told_as_such(broker, connect, topic):
    offline(connect, "away", topic("a"))
    connect("p").publish(topic("a"), "x" * 200, 1)
    assert "max_queued_bytes" in broker.wait_log("queue_bytes")


@pytest.mark.config(message_size_limit=10, fresh=True)
def test_messages_that_are_refused_are_told_with_the_limit(broker, connect, topic, prefix):
    c = connect("c")
    c.publish(topic("a"), "x" * 11, 0)
    said = broker.wait_log("are dropped")
    ends(rf"Messages of client {prefix}c \(127\.0\.0\.1:\d+\) are dropped: message_size: .*"
         r"message_size_limit", said)
    since = len(broker.log())
    c.publish("$topic", "x", 0)
    ends(r"are dropped: not_authorized: .*'\$'", broker.wait_log("are dropped", since))


@pytest.mark.config(message_size_limit=10, fresh=True)
def test_who_publishes_too_much_reads_which_limit_it_was(connect, topic):
    c = connect("c")
    c.send(codec.publish(5, topic("a"), b"x" * 11, qos=1, packet_id=7))
    ack = c.next()
    assert ack.code == 0x97 and "message_size_limit" in ack.props["reason_string"]


@pytest.mark.config(fresh=True)
def test_what_a_client_cannot_take_is_told(broker, connect, topic, prefix):
    c = connect("small", props={"max_packet_size": 50})
    c.subscribe(topic("a"), qos=1)
    connect("p").publish(topic("a"), "x" * 100, 1)
    said = broker.wait_log("are dropped")
    assert f"client {prefix}small" in said and "Maximum Packet Size" in said


@pytest.mark.config(log_type="all", fresh=True)
def test_what_goes_by_the_rules_is_told_as_debug(broker, connect, topic):
    offline(connect, "away", topic("a"))
    connect("p").publish(topic("a"), "x", 0)
    broker.wait_log("are dropped: offline_qos0")


# What is sent is more than 15/16 of the limit, and less than the limit.
@pytest.mark.config(memory_limit=16_000_000, max_queued_messages=0, fresh=True)
def test_memory_that_gets_short_is_told_when_it_begins_and_ends(broker, connect, topic):
    away = offline(connect, "away", topic("a"))
    p = connect("p", 4)
    for _ in range(253):
        p.send(codec.publish(4, topic("a"), b"x" * 60_000, qos=1, packet_id=1))
    broker.turn(1000)
    said = broker.wait_log("Memory is short")
    assert "16000000" in said and "memory_limit" in said
    p.close()
    away = connect("away", clean=True)
    for _ in range(100):
        broker.turn(1000)
        if "Memory is no longer short" in broker.log():
            break
        away.ping()
    broker.wait_log("Memory is no longer short")
    assert broker.log().count("Memory is short") == 1


@pytest.mark.config(admin_users="ada", fresh=True)
def test_a_subscription_that_finds_no_memory_is_told_with_client_and_address(broker, connect, topic, prefix):
    c, p = connect("c"), connect("p")
    for n in range(20):
        p.publish(topic(str(n)), "x" * 60_000, 1, retain=True)
    broker.config["memory_limit"] = "1048576"
    broker.write_config()
    broker.signal(signal.SIGHUP)
    broker.wait_log("Reload: done")
    c.subscribe("a", codes=[0x97])
    ends(rf"Subscription of client {prefix}c \(127\.0\.0\.1:\d+\) to \S+ refused: memory_limit",
         broker.wait_log("refused: memory_limit"))


# ---------------------------------------------------------------------------------------- packets


@not_31
@pytest.mark.config(log_type="all", fresh=True)
def test_debug_shows_every_packet(broker, connect, topic, prefix, version):
    c = connect("c", version)
    c.subscribe(topic("a"), qos=1)
    c.publish(topic("a"), "hello", 1)
    c.expect_publish(topic("a"), "hello")
    c.ping()
    c.disconnect()
    said = broker.wait_log(f"Received DISCONNECT from {prefix}c")
    for line in (rf"Received CONNECT from 127\.0\.0\.1:\d+$",
                 rf"Sending CONNACK to {prefix}c \(0, 0\)$",
                 rf"Received SUBSCRIBE from {prefix}c \(m\d+\)$",
                 rf"Sending SUBACK to {prefix}c \(m\d+\)$",
                 rf"Received PUBLISH from {prefix}c \(d0, q1, r0, m\d+, '{topic('a')}', "
                 r"\.\.\. \(5 bytes\)\)$",
                 rf"Sending PUBACK to {prefix}c \(m\d+, rc0\)$",
                 rf"Sending PUBLISH to {prefix}c \(d0, q1, r0, m1, '{topic('a')}', "
                 r"\.\.\. \(5 bytes\)\)$",
                 rf"Received PUBACK from {prefix}c \(m1, rc0\)$",
                 rf"Received PINGREQ from {prefix}c$",
                 rf"Sending PINGRESP to {prefix}c$"):
        ends(line, said)


@pytest.mark.config(log_type="debug", fresh=True)
def test_debug_is_not_held_back(broker, connect, topic):
    p = connect("p")
    for n in range(300):
        p.publish(topic("a"), str(n), 0)
    p.ping()
    broker.wait_log("Sending PINGRESP")
    assert broker.log().count("Received PUBLISH") == 300


def test_verbose_on_the_command_line_shows_packets_too():
    target = brokers.Broker({"log_type": "error"}, arguments=["-v"])
    clients.Client(target.address, "c").ping()
    target.wait_log("Received PINGREQ from c")
    target.stop()


@pytest.mark.config(log_type="all", fresh=True)
def test_the_last_word_is_shown_too(broker, connect, prefix):
    c = connect("c")
    connect("c")
    c.expect_close(0x8E)
    broker.wait_log(f"Sending DISCONNECT to {prefix}c (rc142)")


# ------------------------------------------------------------------------------ refused CONNECTs


@pytest.mark.parametrize("config, options, code, words", [
    ({"clientid_prefixes": "sensor-"}, {}, 0x85, "clientid_prefixes"),
    ({"allow_anonymous": "false"}, {}, 0x87, "allow_anonymous true"),
    ({"allow_anonymous": "false"}, {"username": "ada", "password": b"x"}, 0x87,
     "allow_anonymous true"),
    ({"accept_protocol_versions": "4"}, {}, 0x84, "protocol version"),
    ({"max_keepalive": "100"}, {"version": 4, "keepalive": 200}, 2, "max_keepalive"),
    ({"retain_available": "false"}, {"will": {"topic": "a", "payload": b"", "retain": True}}, 0x9A,
     "retain"),
])
def test_a_refused_client_is_named_with_the_reason(config, options, code, words):
    target = brokers.Broker(config)
    options = dict({"version": 5}, **options)
    c = clients.Client(target.address, "pump-1", code=code, **options)
    said = target.wait_log("disconnected")
    ends(rf"Client pump-1 \(127\.0\.0\.1:\d+\) disconnected: refused: .*{words}", said)
    if options["version"] == 5:
        assert words in c.connack.props["reason_string"]
    target.stop()


@pytest.mark.config(clientid_prefixes="sensor-", fresh=True)
def test_ids_of_our_making_are_no_way_round_the_prefixes(connect):
    connect(client_id="", code=0x85)


@pytest.mark.config(clientid_prefixes="sensor-", auto_id_prefix="sensor-", fresh=True)
def test_ids_of_our_making_may_have_the_prefix(connect):
    seen = set()
    for _ in range(40):
        props = connect(client_id="").connack.props
        assert re.fullmatch(r"sensor-[0-9a-f]{32}", props["assigned_client_id"])
        seen.add(props["assigned_client_id"])
    assert len(seen) == 40


LONGEST = "ö" * 25


@pytest.mark.config(auto_id_prefix=LONGEST, fresh=True)
def test_the_longest_prefix_of_ids_is_used_whole(connect):
    assert connect(client_id="").connack.props["assigned_client_id"].startswith(LONGEST)


@pytest.mark.config(max_connections=1, fresh=True)
def test_a_connection_too_many_is_told_with_its_address_and_the_port(broker, connect):
    for _ in range(1000):
        try:
            connect("one")
            break
        except (clients.Closed, OSError):  # the last probe of the start still counts
            time.sleep(0.01)
    with socket.create_connection(broker.address) as two:
        port = two.getsockname()[1]
        broker.wait_log(f"Connection from 127.0.0.1:{port} refused on listener {broker.port}: "
                        "max_connections (1) is reached")


@pytest.mark.parametrize("first, name", [
    (b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4", "a TLS handshake"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 55555 1883\r\n", "a PROXY header;"),
    (b"PROXY TCP4 10.0.0.1 10.0.0.2 55555 1883\r\n" + codec.connect(5, "x" * 60), "a PROXY header;"),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12), "a PROXY header (version 2)"),
])
@pytest.mark.config(fresh=True)
def test_what_speaks_another_protocol_is_told_apart(broker, first, name):
    with socket.create_connection(broker.address) as sock:
        sock.sendall(first)
        broker.wait_log(f"disconnected: malformed: {name}")


# ----------------------------------------------------------------------------- ends of sessions


def test_a_client_of_a_unix_socket_is_named_by_its_path():
    target = brokers.Broker(text="log_dest stderr\nallow_anonymous true\n"
                                 "listener @PORT@ 127.0.0.1\nlistener 0 mqtt.sock\nmax_connections 1\n")
    admin = clients.Client(target.address, "admin")
    path = str(target.folder / "mqtt.sock")
    target.wait_log("Listening on mqtt.sock.")
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as second:
        sock.connect(path)
        sock.sendall(codec.connect(5, "near"))
        target.wait_log("Client near (local) connected")
        second.connect(path)
        target.wait_log("Connection from local refused on listener mqtt.sock")
        admin.subscribe("$SYS/broker/sessions/near")
        document = json.loads(admin.expect("PUBLISH").payload)
        assert document["address"] == "local" and document["listener"] == "mqtt.sock"
    target.stop()


@pytest.mark.config(fresh=True)
def test_a_session_that_expires_is_told(broker, connect, topic, prefix):
    offline(connect, "away", topic("a"), expiry=30)
    broker.turn(40_000)
    broker.wait_log(f"Session of client {prefix}away ended: expired")


@pytest.mark.config(fresh=True)
def test_what_admins_do_is_told_with_their_name(broker, connect, topic, prefix):
    offline(connect, "away", topic("a"))
    connect("here")
    admin = connect("admin", username="ada", password=b"x")
    admin.publish("$CONTROL/sessions/v1", '{"commands":[{"command":"deleteSession","clientId":"%s"},'
                  '{"command":"disconnectSession","clientId":"%s","reason":"new firmware"}]}'
                  % (prefix + "away", prefix + "here"), 1)
    for said in (f"Session of client {prefix}away ended: deleted by an admin",
                 f"Client {prefix}here (127.0.0.1", "disconnected: admin: new firmware",
                 "deleteSession", "disconnectSession"):
        broker.wait_log(said)  # each may be told by another reactor, in any order
    ends(rf"Admin {prefix}admin \(127\.0\.0\.1:\d+\), user ada: deleteSession {prefix}away\.",
         broker.log())
    ends(rf"Admin {prefix}admin \(127\.0\.0\.1:\d+\), user ada: disconnectSession {prefix}here: "
         r"new firmware\.", broker.log())


@pytest.mark.config(mount_point="site/", fresh=True)
def test_nobody_is_an_admin_behind_a_mount_point(broker, connect):
    c = connect("c")
    c.publish("$CONTROL/sessions/v1", '{"commands":[{"command":"countSessions"}]}', 1, code=0x87)
    broker.wait_log("are dropped: not_authorized")


# ----------------------------------------------------------------------------------- shutting down


def test_what_a_burst_still_holds_back_is_told_before_the_end():
    target = brokers.Broker()
    everyone = [clients.Client(target.address, f"c{n}") for n in range(120)]
    target.stop()
    told, end, _ = target.log().partition("stopped.")
    assert end
    ends(r"Client c\d+ \(127\.0\.0\.1:\d+\) connected: .* \(19 more like this were held back\)$", told)
    ends(r"Client c\d+ \(127\.0\.0\.1:\d+\) disconnected: .* \(19 more like this were held back\)$", told)
    for one in everyone:
        one.close()


@pytest.mark.parametrize("reference", ["b.example.org:1883", "x" * 1024])
def test_clients_are_pointed_to_the_other_server_at_shutdown(reference):
    target = brokers.Broker({"server_reference": reference})
    everyone = {v: clients.Client(target.address, f"c{v}", v) for v in (4, 5)}
    target.signal(signal.SIGTERM)
    last = everyone[5].expect_close(0x9C)
    assert last.props["server_reference"] == reference
    everyone[4].expect_close()
    target.stop()
