"""MQTT over WebSocket: the request that begins it, frames of every shape, and how it ends."""

import base64
import contextlib
import functools
import os
import re
import socket
import struct

import pytest

import client as clients
import mqtt_codec as codec
from broker import Broker
from client import WAIT_S
from support import every_qos, versions
from wsclient import BINARY, CLOSE, CONTINUATION, OFFER, PING, PONG, TEXT, WebSocket, frame
from wsclient import pieces, request

pytestmark = pytest.mark.config(protocol="websockets")
KEY = base64.b64encode(bytes(range(16))).decode()


@pytest.fixture
def ws(connect):
    """ws("name", version) -> Client over WebSocket; `offer`, `selected`, `frames` are its own."""
    def make(name="c", version=5, offer=OFFER, selected="mqtt", frames=None, **options):
        more = {"frames": frames} if frames else {}
        return connect(name, version, **options,
                       wrap=functools.partial(WebSocket, offer=offer, selected=selected, **more))
    return make


@pytest.fixture
def sock(broker):
    """A bare socket to the broker."""
    with socket.create_connection(broker.address, WAIT_S) as one:
        yield one


def answer(sock):
    """All that comes until the server closes."""
    said = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            return said
        if not data:
            return said
        said += data


# ---------------------------------------------------------------------------------------- messages


@pytest.mark.ours
@versions
@every_qos
def test_messages_of_every_qos_go_both_ways(ws, topic, version, qos):
    sub, pub = ws("sub", version), ws("pub", version)
    sub.subscribe(topic("a"), qos=qos)
    for payload in (b"", b"x", b"y" * 125, b"z" * 126, b"w" * 70000):
        pub.publish(topic("a"), payload, qos)
        sub.expect_publish(topic("a"), payload, qos=qos)
    pub.disconnect()
    sub.disconnect()


@pytest.mark.clause("MQTT-6.0.0-2")
@pytest.mark.clause311("MQTT-6.0.0-2")
@pytest.mark.parametrize("size", [1, 2, 3, 7, 125, 126])
def test_packets_may_come_in_fragments(ws, topic, size):
    c = ws(frames=lambda data: pieces(data, size))
    c.subscribe(topic("a"), qos=2)
    for qos in (0, 1, 2):
        c.publish(topic("a"), b"p" * 300, qos)
        c.expect_publish(topic("a"), b"p" * 300, qos=qos)


@pytest.mark.clause("MQTT-6.0.0-2")
@pytest.mark.clause311("MQTT-6.0.0-2")
def test_borders_of_frames_mean_nothing(ws, topic):
    c = ws()
    c.subscribe(topic("a"))
    packets = [codec.publish(5, topic("a"), f"{i}".encode() * 50) for i in range(4)]
    c.sock.raw(frame(BINARY, packets[0] + packets[1]))  # two packets in one frame
    third = packets[2]  # one packet over three frames, each a message of its own
    c.sock.raw(frame(BINARY, third[:3]) + frame(BINARY, third[3:20]))
    c.sock.raw(frame(BINARY, third[20:] + packets[3][:1]) + frame(BINARY, packets[3][1:]))
    for i in range(4):
        c.expect_publish(topic("a"), f"{i}" * 50)


@pytest.mark.ours
def test_each_byte_of_a_frame_may_come_alone(ws, topic):
    c = ws()
    c.subscribe(topic("a"))
    whole = frame(BINARY, codec.publish(5, topic("a"), b"slow"))
    whole += frame(PING, b"between") + frame(BINARY, codec.publish(5, topic("a"), b"v" * 200))
    for i in range(len(whole)):
        c.sock.raw(whole[i:i + 1])
    c.expect_publish(topic("a"), "slow")
    c.expect_publish(topic("a"), "v" * 200)
    assert c.sock.pongs == [b"between"]


@pytest.mark.ours
def test_empty_frames_are_nothing(ws, topic):
    c = ws()
    c.sock.raw(frame(BINARY) + frame(BINARY, fin=False) + frame(CONTINUATION))
    c.publish(topic("a"), b"x", 1)


@pytest.mark.ours
@pytest.mark.config(protocol="websockets", max_packet_size=0)
def test_large_messages_pass(ws, topic):
    c, payload = ws(), os.urandom(3_000_000)
    c.subscribe(topic("a"), qos=1)
    c.publish(topic("a"), payload, 1)
    assert c.expect_publish(topic("a")).payload == payload


@pytest.mark.ours
def test_what_piles_up_goes_out_in_few_frames(ws, topic):
    c = ws()
    c.subscribe(topic("a"))
    c.sock.count = 0
    c.sock.raw(frame(BINARY, b"".join(codec.publish(5, topic("a"), b"m") for _ in range(500))))
    for _ in range(500):
        c.expect_publish(topic("a"), "m")
    assert c.sock.count < 50


@pytest.mark.ours
def test_a_slow_reader_gets_whole_frames_and_its_pong(ws, topic):
    """The socket takes frames in parts; pings in between are answered between frames."""
    slow, pub = ws("slow", receive_buffer=4096), ws("pub")
    slow.subscribe(topic("a"), qos=1)
    for i in range(20):
        pub.publish(topic("a"), bytes([i]) * 200_000, 1)
        slow.sock.raw(frame(PING, b"%d" % i))
    for i in range(20):
        assert slow.expect_publish(topic("a")).payload == bytes([i]) * 200_000
    slow.ping()
    assert slow.sock.pongs[-1] == b"19"


# ---------------------------------------------------------------------------------- control frames


@pytest.mark.ours
def test_pings_are_answered_also_within_a_message(ws, topic):
    c = ws()
    c.subscribe(topic("a"))
    packet = codec.publish(5, topic("a"), b"hello")
    c.sock.raw(frame(BINARY, packet[:4], fin=False) + frame(PING, b"1"))
    c.sock.raw(frame(PONG, b"unasked") + frame(CONTINUATION, packet[4:]))
    c.expect_publish(topic("a"), "hello")
    c.sock.raw(frame(PING, b"p" * 125))
    c.ping()
    c.sock.raw(frame(PING))
    c.ping()
    assert c.sock.pongs == [b"1", b"p" * 125, b""]


@pytest.mark.ours
def test_pings_do_not_count_as_life(broker, ws):
    c = ws(keepalive=10)
    broker.turn(9000)
    c.sock.raw(frame(PING, b"alive"))
    broker.turn(7000)
    c.expect_close(0x8D)
    assert c.sock.close_code == 1008


@pytest.mark.ours
@pytest.mark.parametrize("payload, code", [(b"", 1000), (struct.pack(">H", 1000), 1000),
                                           (struct.pack(">H", 1001) + b"leaving", 1001),
                                           (struct.pack(">H", 4999), 4999)])
def test_close_is_answered_and_the_will_is_sent(ws, topic, payload, code):
    watcher = ws("watcher")
    watcher.subscribe(topic("will"))
    c = ws("c", will={"topic": topic("will"), "payload": b"gone"})
    c.sock.raw(frame(CLOSE, payload))
    c.expect_close()
    assert c.sock.close_code == code
    watcher.expect_publish(topic("will"), "gone")


@pytest.mark.ours
@versions
def test_disconnect_ends_with_a_close_frame(ws, version):
    c = ws(version=version)
    c.send(codec.disconnect(version))
    c.expect_close()
    assert c.sock.close_code == 1000


@pytest.mark.ours
def test_mqtt_errors_end_with_a_close_frame(ws, topic):
    c = ws()
    c.sock.raw(frame(BINARY, b"\x00\x00"))
    c.expect_close(0x81)
    assert c.sock.close_code == 1008


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.clause("MQTT-6.0.0-1")
@pytest.mark.clause311("MQTT-6.0.0-1")
@versions
def test_a_text_frame_ends_the_connection(ws, version):
    c = ws(version=version)
    c.sock.raw(frame(TEXT, codec.pingreq()))
    c.expect_close()
    assert c.sock.close_code != 1000


@pytest.mark.ours
@pytest.mark.parametrize("bad, code", [
    pytest.param(frame(TEXT, b"\xc0\x00"), 1003, id="text"),
    pytest.param(frame(BINARY, b"\xc0\x00", mask=b""), 1002, id="unmasked"),
    pytest.param(frame(BINARY, b"\xc0\x00", reserved=4), 1002, id="reserved bit"),
    pytest.param(frame(3, b"\xc0\x00"), 1002, id="reserved data opcode"),
    pytest.param(frame(11), 1002, id="reserved control opcode"),
    pytest.param(frame(CONTINUATION, b"\xc0\x00"), 1002, id="stray continuation"),
    pytest.param(frame(BINARY, fin=False) + frame(BINARY), 1002, id="message in a message"),
    pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
    pytest.param(frame(PING, b"x", fin=False), 1002, id="ping in parts"),
    pytest.param(frame(CLOSE, b"x"), 1002, id="close of one byte"),
    pytest.param(frame(CLOSE, struct.pack(">H", 1005)), 1002, id="close with 1005"),
    pytest.param(b"\x82\xfe\x00\x05abcd", 1002, id="padded length"),
    pytest.param(frame(BINARY, length=1 << 31), 1009, id="2 GiB"),
    pytest.param(frame(BINARY, length=(1 << 64) - 1), 1009, id="64 bits"),
])
def test_bad_frames_end_the_connection(ws, bad, code):
    c = ws()
    c.sock.raw(frame(BINARY, codec.pingreq()) + bad)
    c.take("PINGRESP")  # what came before is handled
    c.expect_close(0x82)
    assert c.sock.close_code == code


@pytest.mark.ours
def test_announced_lengths_take_no_memory(broker, ws):
    before = broker.rss_kb()
    some = [ws(f"c{i}") for i in range(50)]
    for c in some:
        c.sock.raw(frame(BINARY, b"\x30\xff\xff\xff\x7f", length=250_000_000))
    some[0].close()
    ws("last").ping()
    assert broker.rss_kb() - before < 50_000


# ----------------------------------------------------------------------------------------- request


@pytest.mark.clause("MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.clause311("MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.parametrize("offer, selected", [
    ("Sec-WebSocket-Protocol: mqtt", "mqtt"), ("sec-websocket-protocol:mqttv3.1,mqtt", "mqtt"),
    ("Sec-WebSocket-Protocol: chat, mqttv3.1", "mqttv3.1"),
    ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt", "mqtt")])
def test_the_subprotocol_is_selected(ws, offer, selected):
    ws(version=3 if selected == "mqttv3.1" else 5, offer=offer, selected=selected).ping()


@pytest.mark.ours
@pytest.mark.parametrize("changed, status", [
    ({"offer": None}, 400), ({"offer": "Sec-WebSocket-Protocol: chat"}, 400),
    ({"offer": "Sec-WebSocket-Protocol: MQTT"}, 400),
    ({"key": None}, 400), ({"key": "Sec-WebSocket-Key: short"}, 400),
    ({"key": f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Key: {KEY}"}, 400),
    ({"key": "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="}, 400),
    ({"version": "Sec-WebSocket-Version: 8"}, 426), ({"version": None}, 426),
    ({"upgrade": None}, 426), ({"upgrade": "Upgrade: h2c"}, 426),
    ({"connection": None}, 426), ({"connection": "Connection: keep-alive"}, 426),
    ({"host": None}, 400), ({"host": "Host: a\r\nHost: b"}, 400),
    ({"line": "GET /mqtt HTTP/1.0"}, 505), ({"line": "GET /mqtt"}, 400),
    ({"line": "POST /mqtt HTTP/1.1"}, 405), ({"line": "GET /a b HTTP/1.1"}, 400),
    ({"host": "Host: a\r\n folded"}, 400), ({"host": "Host : a"}, 400),
    ({"host": "Host: a\r\nX: \x01"}, 400), ({"host": "Host: a\r\nnonsense"}, 400),
    ({"host": "Host: a\nX: y"}, 400), ({"host": "Host: a\r\nX: " + "y" * 8192}, 431),
])
def test_bad_requests_are_refused_with_a_reason(sock, changed, status):
    sock.sendall(request(KEY, **changed))
    head, _, text = answer(sock).decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} "), head
    assert int(re.search(r"Content-Length: (\d+)", head)[1]) == len(text)
    if status == 426:
        assert "Sec-WebSocket-Version: 13" in head
    assert text.strip()


@pytest.mark.ours
def test_the_accept_key_is_that_of_the_standard(sock):
    sock.sendall(request("dGhlIHNhbXBsZSBub25jZQ=="))
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in sock.recv(4096)


@pytest.mark.ours
def test_a_request_may_come_byte_by_byte_with_frames_behind(sock):
    hello = codec.connect(5, "", True, 0)
    for byte in request(KEY) + frame(BINARY, hello):
        sock.sendall(bytes([byte]))
    said = b""
    while b"\r\n\r\n\x82" not in said:
        said += sock.recv(4096)


@pytest.mark.ours
def test_frames_may_follow_the_request_at_once(sock):
    sock.sendall(request(KEY) + frame(BINARY, codec.connect(5, "", True, 0)))
    said = b""
    while b"\r\n\r\n\x82" not in said:
        said += sock.recv(4096)


@pytest.mark.ours
def test_a_request_that_does_not_end_is_refused(sock):
    sock.sendall(b"GET / HTTP/1.1\r\n")
    for i in range(1000):
        try:
            sock.sendall(b"X: 123456789\r\n")
        except (BrokenPipeError, ConnectionResetError):
            break
    assert b" 431 " in answer(sock) or i < 999


@pytest.mark.ours
@pytest.mark.config(protocol="websockets", connect_timeout=10)
@pytest.mark.parametrize("said", [
    pytest.param(b"GET / HT", id="half a request"), pytest.param(request(KEY), id="no CONNECT"),
    pytest.param(request(KEY) + b"\x82", id="half a header"),
    pytest.param(request(KEY) + frame(PING, mask=b"1234"), id="pings only")])
def test_request_and_connect_together_have_their_time(broker, sock, said):
    sock.sendall(said)
    sock.settimeout(0.2)
    since = len(broker.log())
    for _ in range(int(WAIT_S * 5)):
        broker.turn(11000)  # more than once, as it may not be accepted yet
        with contextlib.suppress(socket.timeout):
            answer(sock)
            break
    broker.wait_log("disconnected: connect_timeout", since)


# ----------------------------------------------------------------------------- the wrong protocol


@pytest.mark.ours
@pytest.mark.config(protocol="websockets", fresh=True)
def test_what_is_wrong_is_in_the_log(broker, sock, ws):
    sock.sendall(codec.connect(5, "plain", True, 0))
    assert answer(sock) == b""
    broker.wait_log("disconnected: transport: no HTTP request; this listener has 'protocol websock")
    c = ws()
    c.sock.raw(frame(TEXT, b"hello"))
    c.expect_close(0x82)
    broker.wait_log("disconnected: transport: WebSocket text frame; MQTT is binary.")


@pytest.mark.ours
@pytest.mark.config(fresh=True)
def test_a_websocket_on_a_plain_listener_is_told_apart(broker, sock):
    sock.sendall(request(KEY))
    assert answer(sock) == b""
    broker.wait_log("malformed: an HTTP request; this listener lacks 'protocol websockets'")


@pytest.mark.ours
def test_both_kinds_of_listener_serve_one_session_table(topic, prefix):
    text = ("allow_anonymous true\nlistener @PORT@ 127.0.0.1\nlistener 0 ws.sock\n"
            "protocol websockets\n")
    target = Broker(text=text)
    try:
        plain = clients.Client(target.address, prefix + "plain")
        plain.subscribe(topic("a"), qos=1)
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(WAIT_S)
            one.connect(str(target.folder / "ws.sock"))
            web = WebSocket(one)
            web.sendall(codec.connect(5, prefix + "web", True, 0))
            web.sendall(codec.publish(5, topic("a"), b"from the web", 1, 1))
            plain.expect_publish(topic("a"), "from the web", qos=1)
        plain.close()
    finally:
        target.stop()


@pytest.mark.ours
def test_draining_says_going_away(prefix):
    target = Broker({"protocol": "websockets"})
    c = clients.Client(target.address, prefix + "c", wrap=WebSocket)
    target.stop()
    c.expect_close(0x8B)
    assert c.sock.close_code == 1001
