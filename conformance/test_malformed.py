"""Bad input: every malformed packet, packets at the wrong time, in pieces, and in excess."""

import socket

import pytest

import client as clients
import mqtt_codec as codec
from broker import IS_PEER
from support import lasting, versions

BAD_STRINGS = {
    "overlong": b"a\xc0\x80", "surrogate": b"a\xed\xa0\x80", "cut short": b"a\xe2\x82",
    "stray continuation": b"\x80", "above U+10FFFF": b"\xf4\x90\x80\x80", "ff": b"\xff",
    "NUL": b"a\x00b", "CESU": b"\xed\xa0\xbd\xed\xb8\x80",
}
SAMPLES = {"byte": 1, "u16": 1, "u32": 1, "varint": 1, "string": "x", "binary": b"x",
           "pair": ("a", "b")}


def sample(number):
    return SAMPLES[codec.PROPERTIES[number][1]]


class Case:
    """`make(version)` gives the bytes. `codes` are those version 5 may answer with; `silent` when
    a close without a word is as good; `accepted` when the packet may also be taken."""

    def __init__(self, name, make, codes=(0x81,), only=(4, 5), clauses=(), clauses311=(),
                 silent=False, accepted=False):
        self.name, self.make, self.codes, self.only = name, make, codes, only
        self.clauses, self.clauses311 = clauses, clauses311
        self.silent, self.accepted = silent, accepted


def expand(cases):
    """One pytest parameter per case and version, with the clauses as markers."""
    for case in cases:
        for version in case.only:
            marks = []
            if version == 5 and case.clauses:
                marks.append(pytest.mark.clause(*case.clauses))
            if version == 4 and case.clauses311:
                marks.append(pytest.mark.clause311(*case.clauses311))
            yield pytest.param(case, version, id=f"{case.name}-v{version}", marks=marks)


def properties_cases(packet, make, repeat=True):
    """What can be wrong with the properties of a packet. `make(props)` builds it."""
    legal = codec.LEGAL_PROPERTIES[packet]
    for number, (name, _) in codec.PROPERTIES.items():
        if number not in legal:
            codes = (0x82, 0x81) if (packet, name) == ("PUBLISH", "subscription_id") else (0x81,)
            yield Case(f"{packet} with {name}",
                       lambda v, n=number: make([(n, sample(n))]), codes, (5,),
                       ("X5-01",) if name != "subscription_id" else ("X5-01", "MQTT-3.3.4-6"))
        elif name != "user" and (packet, name) != ("PUBLISH", "subscription_id"):
            yield Case(f"{packet} with {name} twice",
                       lambda v, n=number: make([(n, sample(n)), (n, sample(n))]), (0x82,), (5,),
                       ("X5-02",))
        if number in legal:
            codes = (0x82, 0x81) if (packet, name) == ("PUBLISH", "subscription_id") else (0x81,)
            yield Case(f"{packet} with {name} cut off",
                       lambda v, n=number: make(cut_property(n)), codes, (5,), ("X5-01",))
    for number in (0x00, 0x04, 0x0A, 0x2B, 0x7F, 0xFF, 0x4000):
        yield Case(f"{packet} with property {number:#x}",
                   lambda v, n=number: make([(n, b"\x00\x00")]), (0x81,), (5,), ("X5-01",))
    for name, text in BAD_STRINGS.items():
        yield Case(f"{packet} with {name} in a user property's name",
                   lambda v, t=text: make([("user", (t, "x"))]), (0x81,), (5,), ("MQTT-1.5.7-1",))
        yield Case(f"{packet} with {name} in a user property's value",
                   lambda v, t=text: make([("user", ("x", t))]), (0x81,), (5,), ("MQTT-1.5.7-1",))
        if 0x1F in legal:
            yield Case(f"{packet} with {name} in its reason string",
                       lambda v, t=text: make([("reason_string", t)]), (0x81,), (5,),
                       ("MQTT-1.5.4-1", "MQTT-1.5.4-2"))
    yield Case(f"{packet} with a padded property length",
               lambda v: make(b"\x80\x00"), (0x81,), (5,), ("MQTT-1.5.5-1",))
    yield Case(f"{packet} with a property length of five bytes",
               lambda v: make(b"\x80\x80\x80\x80\x00"), (0x81,), (5,), ("MQTT-1.5.5-1",))
    yield Case(f"{packet} with a property length beyond its end",
               lambda v: make(b"\xff\xff\x7f"), (0x81,), (5,), ("MQTT-2.2.2-1",))


def cut_property(number):
    whole = codec.prop(number, sample(number))[:-1]
    return codec.varint(len(whole)) + whole


# ---------------------------------------------------------------------------------------- CONNECT

WILL = {"topic": "w", "payload": b"x"}


def connect_flags(flags):
    return lambda v: codec.connect(v, "x", connect_flags=flags)


CONNECT_CASES = [
    Case("reserved connect flag", connect_flags(3), only=(4, 5), clauses=["MQTT-3.1.2-3"],
         clauses311=["MQTT-3.1.2-3", "MQTT-3.1.4-1"]),
    Case("will QoS 3", lambda v: codec.connect(v, "x", will=WILL, connect_flags=2 | 4 | 0x18),
         only=(3, 4, 5), clauses=["MQTT-3.1.2-12"], clauses311=["MQTT-3.1.2-14"]),
    Case("will QoS without will", connect_flags(2 | 8), clauses=["MQTT-3.1.2-11"],
         clauses311=["MQTT-3.1.2-13", "MQTT-3.1.2-11"]),
    Case("will retain without will", connect_flags(2 | 0x20), clauses=["MQTT-3.1.2-13"],
         clauses311=["MQTT-3.1.2-15", "MQTT-3.1.2-11"]),
    Case("will flag without fields", connect_flags(2 | 4), only=(3, 4, 5),
         clauses=["MQTT-3.1.2-9"], clauses311=["MQTT-3.1.2-9"]),
    Case("user name flag without field", connect_flags(2 | 0x80), clauses=["MQTT-3.1.2-17"],
         clauses311=["MQTT-3.1.2-19"]),
    Case("password flag without field", lambda v: codec.connect(
        v, "x", username="u", connect_flags=2 | 0xC0), clauses=["MQTT-3.1.2-19"],
        clauses311=["MQTT-3.1.2-21"]),
    Case("user name without flag", lambda v: codec.connect(
        v, "x", username="u", connect_flags=2), clauses=["MQTT-3.1.2-16"],
        clauses311=["MQTT-3.1.2-18"]),
    Case("password without flag", lambda v: codec.connect(
        v, "x", username="u", password="p", connect_flags=2 | 0x80), clauses=["MQTT-3.1.2-18"],
        clauses311=["MQTT-3.1.2-20"]),
    Case("password without user name", lambda v: codec.connect(v, "x", password="p"), only=(4,),
         clauses311=["MQTT-3.1.2-22"]),
    Case("surplus bytes", lambda v: codec.connect(v, "x", tail=b"\x00")),
    Case("no client id", lambda v: codec.connect(v, None), only=(3, 4, 5),
         clauses=["MQTT-3.1.3-3"], clauses311=["MQTT-3.1.3-3"]),
    Case("client id beyond the end", lambda v: codec.connect(v, None, tail=b"\x00\x05abc"),
         only=(3, 4, 5), clauses=["MQTT-3.1.3-1"], clauses311=["MQTT-3.1.3-1"]),
    Case("half a keepalive", lambda v: codec.packet(codec.CONNECT, codec.string("MQTT")
                                                    + bytes([v, 2, 0])), silent=True),
    Case("no connect flags", lambda v: codec.packet(codec.CONNECT, codec.string("MQTT")
                                                    + bytes([v])), silent=True),
    Case("no level", lambda v: codec.packet(codec.CONNECT, codec.string("MQTT")), silent=True),
    Case("nothing", lambda v: codec.packet(codec.CONNECT), silent=True),
    Case("name beyond the end", lambda v: codec.packet(codec.CONNECT, b"\xff\xffMQTT"),
         silent=True),
    Case("wildcard in the will topic", lambda v: codec.connect(v, "x", will={"topic": "a/+"}),
         (0x81, 0x82, 0x90), clauses=["MQTT-4.7.0-1"], clauses311=["MQTT-4.7.1-1"]),
    Case("# as the will topic", lambda v: codec.connect(v, "x", will={"topic": "#"}),
         (0x81, 0x82, 0x90), clauses=["MQTT-4.7.0-1"], clauses311=["MQTT-4.7.1-1"]),
    Case("empty will topic", lambda v: codec.connect(v, "x", will={"topic": ""}),
         (0x81, 0x82, 0x90), clauses=["MQTT-4.7.3-1"], clauses311=["MQTT-4.7.3-1"]),
    Case("will payload beyond the end", lambda v: codec.connect(
        v, "x", connect_flags=6, tail=(b"\x00" if v == 5 else b"") + b"\x00\x01w\x00\x09abc"),
        only=(3, 4, 5), clauses=["MQTT-3.1.2-9"], clauses311=["MQTT-3.1.2-9"]),
    Case("receive maximum 0", lambda v: codec.connect(v, "x", props={"receive_max": 0}), (0x82,),
         (5,), ["X5-03", "MQTT-3.1.4-1"]),
    Case("maximum packet size 0", lambda v: codec.connect(v, "x", props={"max_packet_size": 0}),
         (0x82,), (5,), ["X5-04"]),
    Case("request problem information 2", lambda v: codec.connect(
        v, "x", props={"request_problem_info": 2}), (0x82,), (5,), ["X5-05"]),
    Case("request response information 2", lambda v: codec.connect(
        v, "x", props={"request_response_info": 2}), (0x82,), (5,), ["X5-05"]),
    Case("authentication data without method", lambda v: codec.connect(
        v, "x", props={"auth_data": b"x"}), (0x82,), (5,), ["X5-06"]),
    Case("will payload format 2", lambda v: codec.connect(
        v, "x", will=dict(WILL, props={"payload_format": 2})), (0x82, 0x81), (5,), ["X5-01"]),
    Case("will payload contradicts its format", lambda v: codec.connect(
        v, "x", will={"topic": "w", "payload": b"\xff", "props": {"payload_format": 1}}),
        (0x99,), (5,), ["X5-07"], accepted=True),
    Case("wildcard in the will's response topic", lambda v: codec.connect(
        v, "x", will=dict(WILL, props={"response_topic": "a/#"})), (0x81, 0x82, 0x90), (5,),
        ["MQTT-3.3.2-14"]),
]
CONNECT_CASES += [Case(f"{name} in the client id", lambda v, t=text: codec.connect(v, t),
                       (0x81, 0x85), clauses=["MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.1.3-4"],
                       clauses311=["MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.1.3-4"])
                  for name, text in BAD_STRINGS.items()]
CONNECT_CASES += [Case(f"{name} in the will topic", lambda v, t=text: codec.connect(
    v, "x", will={"topic": t}), clauses=["MQTT-3.1.3-11"], clauses311=["MQTT-3.1.3-10"])
    for name, text in BAD_STRINGS.items()]
CONNECT_CASES += [Case(f"{name} in the user name", lambda v, t=text: codec.connect(
    v, "x", username=t), clauses=["MQTT-3.1.3-12"], clauses311=["MQTT-3.1.3-11"])
    for name, text in BAD_STRINGS.items()]
CONNECT_CASES += [Case(f"fixed header flags {flags}",
                       lambda v, f=flags: codec.connect(v, "x", flags=f), silent=True,
                       only=(4, 5), clauses=["MQTT-2.1.3-1"],
                       clauses311=["MQTT-2.2.2-1", "MQTT-2.2.2-2"]) for flags in (1, 2, 8, 15)]
CONNECT_CASES += properties_cases(
    "CONNECT", lambda props: codec.connect(5, "x", props=props))
CONNECT_CASES += properties_cases(
    "WILL", lambda props: codec.connect(5, "x", will=dict(WILL, props=props)))
# An authentication method that nobody knows is refused for that, before or after being repeated.
for case in CONNECT_CASES:
    if case.name == "CONNECT with auth_data twice":
        case.codes = (0x82, 0x8C, 0x87)
    if case.name == "CONNECT with auth_data cut off":
        case.codes = (0x81, 0x82)


@pytest.mark.parametrize("case, version", expand(CONNECT_CASES))
@pytest.mark.clause("MQTT-4.13.1-1", "MQTT-3.1.4-1")
@pytest.mark.clause311("MQTT-3.1.4-1", "MQTT-3.2.2-6")
def test_a_malformed_connect_is_refused(raw, case, version):
    c = raw(version)
    c.send(case.make(version))
    packet = c.next()
    if case.accepted and packet is not None and packet.code == 0:
        return
    if version == 5:
        if packet is None:
            assert case.silent or c.lenient, "closed without a CONNACK"
        else:
            assert packet.kind == "CONNACK" and packet.code in case.codes, packet
            assert c.next() is None
    else:
        assert packet is None, packet


@versions
@pytest.mark.parametrize("length", ["five bytes", "padded"])
@pytest.mark.clause("MQTT-1.5.5-1")
@pytest.mark.clause311("X3-05")
def test_a_connect_with_a_bad_remaining_length_is_refused(raw, version, length):
    c = raw(version)
    whole = codec.connect(version, "x")
    size = whole[1]
    c.send(whole[:1] + codec.varint(size, 5 if length == "five bytes" else 3) + whole[2:])
    packet = c.next()
    if length == "padded" and version < 5 and packet is not None and packet.code == 0:
        return  # 3.1.1 does not ask for the shortest form
    assert packet is None or (version == 5 and packet.code == 0x81), packet


# --------------------------------------------------------------------------------- other packets


def pub(flags=0, topic=b"t", packet_id=None, props=None, payload=b"x"):
    return lambda v: codec.publish(v, topic, payload, 0, packet_id, props=props, flags=flags)


def of(kind, body, flags=None, length=None):
    return lambda v: codec.packet(kind, body, flags, length)


def sub(options, text="t", packet_id=1, props=None, flags=None):
    return lambda v: codec.subscribe(v, packet_id, [(text, options)], props, flags=flags)


ANY = (3, 4, 5)
PACKET_CASES = [
    Case("PUBLISH QoS 3", pub(6, packet_id=1), only=ANY, clauses=["MQTT-3.3.1-4"],
         clauses311=["MQTT-3.3.1-4"]),
    Case("PUBLISH QoS 3 with DUP", pub(14, packet_id=1), only=ANY, clauses=["MQTT-3.3.1-4"]),
    Case("PUBLISH QoS 0 with DUP", pub(8), (0x81, 0x82), clauses=["MQTT-3.3.1-2"],
         clauses311=["MQTT-3.3.1-2"], accepted=True),
    Case("PUBLISH QoS 1 with id 0", pub(2, packet_id=0), (0x81, 0x82), ANY,
         clauses=["MQTT-2.2.1-3"], clauses311=["MQTT-2.3.1-1"]),
    Case("PUBLISH QoS 2 with id 0", pub(4, packet_id=0), (0x81, 0x82), ANY,
         clauses=["MQTT-2.2.1-3"], clauses311=["MQTT-2.3.1-1"]),
    Case("PUBLISH to a/+", pub(topic="a/+"), (0x81, 0x82, 0x90), ANY,
         ["MQTT-3.3.2-2", "MQTT-4.7.0-1"], ["MQTT-3.3.2-2", "MQTT-4.7.1-1"]),
    Case("PUBLISH to #", pub(2, "#", 1), (0x81, 0x82, 0x90), ANY,
         ["MQTT-3.3.2-2", "MQTT-4.7.0-1"], ["MQTT-3.3.2-2", "MQTT-4.7.1-1"]),
    Case("PUBLISH to a+b", pub(topic="a+b"), (0x81, 0x82, 0x90), ANY, ["MQTT-3.3.2-2"],
         ["MQTT-3.3.2-2"]),
    Case("PUBLISH without topic", pub(topic=""), (0x82,), ANY, ["X5-09", "MQTT-4.7.3-1"],
         ["MQTT-4.7.3-1"]),
    Case("PUBLISH of nothing", of(codec.PUBLISH, b""), only=ANY),
    Case("PUBLISH of one byte", of(codec.PUBLISH, b"\x00"), only=ANY),
    Case("PUBLISH with its topic beyond the end", of(codec.PUBLISH, b"\x00\x09abc"), only=ANY,
         clauses=["MQTT-3.3.2-1"], clauses311=["MQTT-3.3.2-1"]),
    Case("PUBLISH QoS 1 without id", of(codec.PUBLISH, b"\x00\x01a", 2), only=ANY),
    Case("PUBLISH QoS 1 with half an id", of(codec.PUBLISH, b"\x00\x01a\x00", 2), only=ANY),
    Case("PUBLISH without property length", of(codec.PUBLISH, b"\x00\x01a"), only=(5,),
         clauses=["MQTT-2.2.2-1"]),
    Case("PUBLISH with payload format 2", pub(props={"payload_format": 2}), (0x82, 0x81), (5,),
         ["X5-01"]),
    Case("PUBLISH whose payload contradicts its format",
         pub(2, packet_id=1, props={"payload_format": 1}, payload=b"\xff"), (0x99,), (5,),
         ["X5-08"], accepted=True),
    Case("PUBLISH with a wildcard in its response topic", pub(props={"response_topic": "a/+"}),
         (0x81, 0x82, 0x90), (5,), ["MQTT-3.3.2-14"]),
    Case("PUBLISH with a subscription's identifier", pub(props={"subscription_id": 1}),
         (0x82, 0x81), (5,), ["MQTT-3.3.4-6"]),
    Case("PUBLISH with subscription id 0", pub(props={"subscription_id": 0}), (0x81, 0x82), (5,),
         ["MQTT-3.3.4-6"]),
    Case("SUBSCRIBE without filter", of(codec.SUBSCRIBE, b"\x00\x01\x00"), (0x82, 0x81), (5,),
         ["MQTT-3.8.3-2"]),
    Case("SUBSCRIBE without filter", of(codec.SUBSCRIBE, b"\x00\x01"), only=(3, 4),
         clauses311=["MQTT-3.8.3-3"]),
    Case("SUBSCRIBE of nothing", of(codec.SUBSCRIBE, b""), only=ANY),
    Case("SUBSCRIBE with half an id", of(codec.SUBSCRIBE, b"\x01"), only=ANY),
    Case("SUBSCRIBE with id 0", sub(0, packet_id=0), (0x81, 0x82), ANY, ["MQTT-2.2.1-3"],
         ["MQTT-2.3.1-1"]),
    Case("SUBSCRIBE without options", lambda v: codec.packet(
        codec.SUBSCRIBE, b"\x00\x01" + (b"\x00" if v == 5 else b"") + b"\x00\x01a"), only=ANY,
        clauses=["MQTT-3.8.3-2"]),
    Case("SUBSCRIBE with its filter beyond the end", lambda v: codec.packet(
        codec.SUBSCRIBE, b"\x00\x01" + (b"\x00" if v == 5 else b"") + b"\x00\x09a\x00"), only=ANY),
    Case("SUBSCRIBE with QoS 3", sub(3), (0x82, 0x81), ANY, ["X5-16"], ["MQTT-3.8.3-4"]),
    Case("SUBSCRIBE with retain handling 3", sub(0x30), (0x82, 0x81), (5,), ["X5-16"]),
    Case("SUBSCRIBE with reserved bit 6", sub(0x40), (0x81,), (4, 5), ["MQTT-3.8.3-5"],
         ["MQTT-3.8.3-4"]),
    Case("SUBSCRIBE with reserved bit 7", sub(0x80), (0x81,), (4, 5), ["MQTT-3.8.3-5"],
         ["MQTT-3.8.3-4"]),
    Case("SUBSCRIBE with no-local before version 5", sub(4), only=(4,),
         clauses311=["MQTT-3.8.3-4"]),
    Case("SUBSCRIBE with no-local on a shared filter", sub(4, "$share/g/t"), (0x82,), (5,),
         ["MQTT-3.8.3-4"]),
    Case("SUBSCRIBE with identifier 0", sub(0, props={"subscription_id": 0}), (0x82,), (5,),
         ["X5-15"]),
    Case("SUBSCRIBE with identifier too large",
         sub(0, props=[("subscription_id", b"\x80\x80\x80\x80\x01")]), (0x81,), (5,), ["X5-15"]),
    Case("SUBSCRIBE with a padded identifier", sub(0, props=[("subscription_id", b"\x81\x00")]),
         (0x81,), (5,), ["MQTT-1.5.5-1"]),
    Case("UNSUBSCRIBE without filter", of(codec.UNSUBSCRIBE, b"\x00\x01\x00"), (0x82, 0x81), (5,),
         ["MQTT-3.10.3-2"]),
    Case("UNSUBSCRIBE without filter", of(codec.UNSUBSCRIBE, b"\x00\x01"), only=(3, 4),
         clauses311=["MQTT-3.10.3-2"]),
    Case("UNSUBSCRIBE of nothing", of(codec.UNSUBSCRIBE, b""), only=ANY),
    Case("UNSUBSCRIBE with id 0", lambda v: codec.unsubscribe(v, 0, ["t"]), (0x81, 0x82), ANY,
         ["MQTT-2.2.1-3"], ["MQTT-2.3.1-1"]),
    Case("UNSUBSCRIBE with its filter beyond the end", lambda v: codec.packet(
        codec.UNSUBSCRIBE, b"\x00\x01" + (b"\x00" if v == 5 else b"") + b"\x00\x09a"), only=ANY),
    Case("PINGREQ with a body", of(codec.PINGREQ, b"x"), only=(4, 5)),
    Case("DISCONNECT with a body before version 5", of(codec.DISCONNECT, b"\x00"), only=(4,)),
    Case("DISCONNECT with surplus bytes", of(codec.DISCONNECT, b"\x00\x00x"), only=(5,)),
    Case("AUTH without method", of(codec.AUTH, b""), (0x82,), (5,), ["X5-19"]),
    Case("AUTH with code 0x18 without method", of(codec.AUTH, b"\x18\x00"), (0x82,), (5,),
         ["X5-19"]),
    Case("AUTH before version 5", of(codec.AUTH, b""), only=(3, 4)),
    Case("packet type 0", of(0, b""), (0x81, 0x82), ANY),
    Case("packet type 0 with a body", of(0, b"abc"), (0x81, 0x82), ANY),
    Case("Remaining Length of five bytes", of(codec.PINGREQ, b"", length=b"\x80\x80\x80\x80\x00"),
         only=ANY, clauses=["MQTT-1.5.5-1"], clauses311=["X3-05"]),
    Case("Remaining Length of endless bytes", of(codec.PUBLISH, b"", length=b"\xff" * 20),
         only=ANY, clauses=["MQTT-1.5.5-1"], clauses311=["X3-05"]),
    Case("padded Remaining Length", of(codec.PINGREQ, b"", length=b"\x80\x00"), only=(5,),
         clauses=["MQTT-1.5.5-1"]),
    Case("padded Remaining Length of a PUBLISH", lambda v: codec.publish(
        v, "t", length=codec.varint(4, 4)), only=(5,), clauses=["MQTT-1.5.5-1"]),
]
for kind in (codec.CONNACK, codec.SUBACK, codec.UNSUBACK, codec.PINGRESP):
    body = {codec.CONNACK: b"\x00\x00", codec.PINGRESP: b""}.get(kind, b"\x00\x01")
    PACKET_CASES.append(Case(f"{codec.NAMES[kind]} from a client", lambda v, k=kind, b=body:
                             codec.packet(k, b + (b"\x00" if v == 5 and b else b"")),
                             (0x82, 0x81), ANY))
for kind in (codec.PUBACK, codec.PUBREC, codec.PUBREL, codec.PUBCOMP):
    name = codec.NAMES[kind]
    PACKET_CASES += [
        Case(f"{name} of nothing", of(kind, b""), only=ANY),
        Case(f"{name} with half an id", of(kind, b"\x01"), only=ANY),
        Case(f"{name} with id 0", of(kind, b"\x00\x00"), (0x81, 0x82), ANY,
             accepted=kind in (codec.PUBACK, codec.PUBCOMP)),
        Case(f"{name} with surplus bytes", of(kind, b"\x00\x01\x00\x00x"), only=(5,)),
        Case(f"{name} with surplus bytes before version 5", of(kind, b"\x00\x01\x00"), only=(4,)),
    ]
    bad = sorted(set(range(256)) - codec.CLIENT_CODES[name])
    for code in [bad[0], bad[1], 0x04, 0x18, 0x8B, 0xA3, 0xFF]:
        if code in codec.CLIENT_CODES[name]:
            continue
        PACKET_CASES.append(Case(
            f"{name} with code {code:#x}", lambda v, k=kind, c=code: codec.ack(k, v, 1, c),
            (0x81, 0x82), (5,), [{"PUBACK": "MQTT-3.4.2-1", "PUBREC": "MQTT-3.5.2-1",
                                  "PUBREL": "MQTT-3.6.2-1", "PUBCOMP": "MQTT-3.7.2-1"}[name]]))
    PACKET_CASES += properties_cases(name, lambda props, k=kind: codec.ack(k, 5, 1, 0, props))
for code in sorted(set(range(256)) - codec.CLIENT_CODES["DISCONNECT"]):
    if code < 6 or code in (0x10, 0x87, 0x8B, 0x8D, 0x8E, 0x9A, 0xA2, 0xA3, 0xFF):
        PACKET_CASES.append(Case(f"DISCONNECT with code {code:#x}", lambda v, c=code:
                                 codec.disconnect(5, c), (0x81, 0x82), (5,), ["MQTT-3.14.2-1"]))
for code in (0x00, 0x01, 0x17, 0x1A, 0x80):
    PACKET_CASES.append(Case(f"AUTH with code {code:#x}", lambda v, c=code: codec.auth(
        c, {"auth_method": "x"}), (0x81, 0x82), (5,), ["MQTT-3.15.2-1", "MQTT-4.12.0-7"]))
for name, text in BAD_STRINGS.items():
    PACKET_CASES += [
        Case(f"PUBLISH with {name} in its topic", pub(topic=text),
             clauses=["MQTT-3.3.2-1", "MQTT-1.5.4-1", "MQTT-4.7.3-2"],
             clauses311=["MQTT-3.3.2-1", "MQTT-1.5.3-1", "MQTT-4.7.3-2"]),
        Case(f"SUBSCRIBE with {name} in its filter", sub(0, text),
             clauses=["MQTT-3.8.3-1", "MQTT-4.7.3-2"], clauses311=["MQTT-3.8.3-1"]),
        Case(f"UNSUBSCRIBE with {name} in its filter", lambda v, t=text: codec.unsubscribe(
            v, 1, [t]), clauses=["MQTT-3.10.3-1"], clauses311=["MQTT-3.10.3-1"]),
        Case(f"PUBLISH with {name} in its response topic", pub(props={"response_topic": text}),
             only=(5,), clauses=["MQTT-3.3.2-13"]),
        Case(f"PUBLISH with {name} in its content type", pub(props={"content_type": text}),
             only=(5,), clauses=["MQTT-3.3.2-19"]),
    ]
PACKET_CASES += properties_cases("PUBLISH", lambda props: codec.publish(5, "t", "x", props=props))
PACKET_CASES += properties_cases(
    "SUBSCRIBE", lambda props: codec.subscribe(5, 1, [("t", 0)], props))
PACKET_CASES += properties_cases(
    "UNSUBSCRIBE", lambda props: codec.unsubscribe(5, 1, ["t"], props))
PACKET_CASES += properties_cases("DISCONNECT", lambda props: codec.disconnect(5, 0, props))
PACKET_CASES += properties_cases("AUTH", lambda props: codec.auth(0x18, props))

FLAG_CASES = {
    codec.PUBACK: b"\x00\x01", codec.PUBREC: b"\x00\x01", codec.PUBREL: b"\x00\x01",
    codec.PUBCOMP: b"\x00\x01", codec.PINGREQ: b"", codec.DISCONNECT: b"",
}
FLAG_CLAUSES = {codec.PUBREL: "MQTT-3.6.1-1", codec.SUBSCRIBE: "MQTT-3.8.1-1",
                codec.UNSUBSCRIBE: "MQTT-3.10.1-1", codec.DISCONNECT: "MQTT-3.14.1-1",
                codec.AUTH: "MQTT-3.15.1-1"}
for kind in (*FLAG_CASES, codec.SUBSCRIBE, codec.UNSUBSCRIBE, codec.AUTH):
    for flags in range(16):
        if flags == codec.FLAGS.get(kind, 0) or (flags not in (0, 1, 2, 8, 10, 15)):
            continue

        def make(v, kind=kind, flags=flags):
            if kind == codec.SUBSCRIBE:
                return codec.subscribe(v, 1, [("t", 0)], flags=flags)
            if kind == codec.UNSUBSCRIBE:
                return codec.unsubscribe(v, 1, ["t"], flags=flags)
            if kind == codec.AUTH:
                return codec.auth(0x19, {"auth_method": "x"}, flags=flags)
            return codec.packet(kind, FLAG_CASES[kind], flags)

        # 3.1 had DUP and QoS bits on every packet, so it is left out here
        clause = FLAG_CLAUSES.get(kind)
        PACKET_CASES.append(Case(
            f"{codec.NAMES[kind]} with flags {flags:04b}", make,
            (0x81, 0x82) if kind == codec.AUTH else (0x81,),
            (5,) if kind == codec.AUTH else (4, 5),
            ["MQTT-2.1.3-1"] + ([clause] if clause else []),
            ["MQTT-2.2.2-1", "MQTT-2.2.2-2"]
            + ([clause] if clause and kind != codec.AUTH else [])))
# A DISCONNECT that names an expiry on a session without one is a protocol error by itself, and
# AUTH on a connection without a method is one whatever it holds.
for case in PACKET_CASES:
    if case.name.startswith(("AUTH with", "DISCONNECT with session_expiry twice",
                             "DISCONNECT with server_reference")):
        case.codes = (0x81, 0x82)


@pytest.mark.parametrize("case, version", expand(PACKET_CASES))
@pytest.mark.clause("MQTT-4.13.1-1")
@pytest.mark.clause311("MQTT-4.8.0-1")
def test_a_malformed_packet_ends_the_connection(connect, case, version):
    c = connect(version=version)
    if case.accepted:
        c.send(case.make(version) + codec.pingreq())
        while True:
            packet = c.next()
            if packet is not None and packet.kind == "PINGRESP":
                return
            if packet is None or packet.kind == "DISCONNECT":
                assert packet is None or packet.code in case.codes, packet
                return
            assert getattr(packet, "code", 0) in (0, *case.codes, 0x10), packet
    c.send(case.make(version))
    c.expect_close(*case.codes)


@pytest.mark.parametrize("flags", [0b1010])
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe", "pubrel"])
def test_31_clients_may_repeat_requests_with_dup(connect, topic, kind, flags):
    c = connect(version=3)
    if kind == "subscribe":
        c.send(codec.subscribe(3, 9, [(topic("a"), 1)], flags=flags))
        c.expect("SUBACK", id=9)
    elif kind == "unsubscribe":
        c.send(codec.unsubscribe(3, 9, [topic("a")], flags=flags))
        c.expect("UNSUBACK", id=9)
    else:
        c.send(codec.ack(codec.PUBREL, 3, 9, flags=flags))
        c.expect("PUBCOMP", id=9)


# ---------------------------------------------------------------------------- at the wrong time

VALID = {
    "PUBLISH 0": lambda v, t: codec.publish(v, t, "x"),
    "PUBLISH 1": lambda v, t: codec.publish(v, t, "x", 1, 1),
    "PUBLISH 2": lambda v, t: codec.publish(v, t, "x", 2, 1),
    "PUBACK": lambda v, t: codec.ack(codec.PUBACK, v, 1),
    "PUBREC": lambda v, t: codec.ack(codec.PUBREC, v, 1),
    "PUBREL": lambda v, t: codec.ack(codec.PUBREL, v, 1),
    "PUBCOMP": lambda v, t: codec.ack(codec.PUBCOMP, v, 1),
    "SUBSCRIBE": lambda v, t: codec.subscribe(v, 1, [(t, 1)]),
    "UNSUBSCRIBE": lambda v, t: codec.unsubscribe(v, 1, [t]),
    "PINGREQ": lambda v, t: codec.pingreq(),
    "DISCONNECT": lambda v, t: codec.disconnect(v),
    "CONNACK": lambda v, t: codec.packet(codec.CONNACK, b"\x00\x00" + (b"\x00" if v == 5 else b"")),
    "SUBACK": lambda v, t: codec.packet(codec.SUBACK, b"\x00\x01" + (b"\x00\x00" if v == 5
                                                                     else b"\x00")),
    "UNSUBACK": lambda v, t: codec.packet(codec.UNSUBACK, b"\x00\x01"),
    "PINGRESP": lambda v, t: codec.packet(codec.PINGRESP),
    "AUTH": lambda v, t: codec.auth(0x18, {"auth_method": "x"}),
    "type 0": lambda v, t: codec.packet(0),
}


@versions
@pytest.mark.parametrize("name", VALID)
@pytest.mark.clause("MQTT-3.1.0-1", "MQTT-3.14.0-1")
@pytest.mark.clause311("MQTT-3.1.0-1")
def test_any_packet_before_connect_closes_in_silence(raw, connect, topic, name, version):
    c = raw(version)
    c.send(VALID[name](version, topic("a")) + codec.connect(version, "late"))
    assert c.next() is None


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00",
                                  b"\x00" * 100, b"\xff" * 100, b"SSH-2.0-x\r\n", b"\r\n\r\n"])
def test_other_protocols_are_closed_in_silence(raw, data):
    c = raw(5)
    c.send(data)
    assert c.next() is None


@pytest.mark.clause("MQTT-3.1.2-30")
def test_packets_during_authentication_are_refused(raw, prefix):
    c = raw(5)
    c.connect_props = {"auth_method": "x"}
    c.send(codec.connect(5, prefix, props={"auth_method": "x"}) + codec.publish(5, "a", "x"))
    packet = c.next()
    assert packet is None or packet.code in (0x8C, 0x87, 0x82)
    assert c.next() is None


# ------------------------------------------------------------------------------------- in pieces


def whole_packets(version, topic, client_id):
    props = {"content_type": "t", "user": ("a", "b")} if version == 5 else None
    will = {"topic": topic, "payload": "will", "qos": 1, "retain": False}
    if version == 5:
        will["props"] = {"will_delay": 0, "user": ("w", "x")}
    user = {"user": ("a", "b")} if version == 5 else None
    return {
        "CONNECT": codec.connect(version, client_id, props=user, will=will, username="u",
                                 password="p"),
        "PUBLISH 0": codec.publish(version, topic, "x" * 5, props=props),
        "PUBLISH 1": codec.publish(version, topic, "x" * 5, 1, 1, props=props),
        "PUBLISH 2": codec.publish(version, topic, "x" * 5, 2, 1, props=props),
        "long PUBLISH": codec.publish(version, topic, "x" * 130),
        "PUBACK": codec.ack(codec.PUBACK, version, 1, 0, user),
        "PUBREC": codec.ack(codec.PUBREC, version, 1, 0, user),
        "PUBREL": codec.ack(codec.PUBREL, version, 1, 0, user),
        "PUBCOMP": codec.ack(codec.PUBCOMP, version, 1, 0, user),
        "SUBSCRIBE": codec.subscribe(version, 1, [(topic, 1), (topic + "x", 2)], user),
        "UNSUBSCRIBE": codec.unsubscribe(version, 1, [topic, topic + "x"], user),
        "PINGREQ": codec.pingreq(),
        "DISCONNECT": codec.disconnect(version, 0, user),
    }


@versions
@pytest.mark.parametrize("name", whole_packets(4, "t", "c"))
def test_a_packet_cut_at_any_byte_has_no_effect(broker, connect, prefix, topic, version, name):
    watcher = connect("w")
    watcher.subscribe(topic("a"), qos=2)
    whole = whole_packets(version, topic("a"), prefix + "cut")[name]
    start = b"" if name == "CONNECT" else codec.connect(version, prefix + "cut")
    for cut in range(len(whole)):
        with socket.create_connection(broker.address) as s:
            s.settimeout(clients.WAIT_S)
            s.sendall(start + whole[:cut])
            s.shutdown(socket.SHUT_WR)
            while s.recv(1000):
                pass
    watcher.expect_nothing()


@versions
def test_a_conversation_may_arrive_one_byte_at_a_time(broker, connect, prefix, topic, version):
    c = connect("slow", version, connect=False)
    packets = whole_packets(version, topic("a"), prefix + "slow")
    order = ["CONNECT", "SUBSCRIBE", "PUBLISH 0", "PUBLISH 1", "PUBLISH 2", "PUBREL",
             "long PUBLISH", "PINGREQ", "UNSUBSCRIBE"]
    for byte in b"".join(packets[name] for name in order):
        c.send(bytes([byte]))
    assert c.expect("CONNACK").code == 0
    c.expect("SUBACK", codes=[1, 2])
    for payload, qos in ((b"xxxxx", 0), (b"xxxxx", 1), (b"xxxxx", 1), (b"x" * 130, 0)):
        c.expect_publish(topic("a"), payload, qos=qos, ack=False)
    c.expect("PUBACK", id=1)
    c.expect("PUBREC", id=1)
    c.expect("PUBCOMP", id=1)
    c.expect("PINGRESP")
    c.expect("UNSUBACK")
    for byte in packets["DISCONNECT"]:
        c.send(bytes([byte]))
    c.expect_close()
    assert c.last_disconnect is None


@versions
def test_many_packets_may_arrive_in_one_piece(connect, topic, version):
    c = connect("c", version)
    c.subscribe(topic("a"))
    c.send(codec.publish(version, topic("a"), "x") * 2000 + codec.pingreq())
    for _ in range(2000):
        c.expect_publish(topic("a"), "x")
    c.expect("PINGRESP")


def test_packets_may_be_split_anywhere(connect, topic):
    c = connect("c")
    c.subscribe(topic("a"), qos=1)
    data = b"".join(codec.publish(5, topic("a"), bytes([n]) * n * 3, 1, n + 1) for n in range(15))
    at = 0
    for size in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] * 20:
        c.send(data[at:at + size])
        at += size
        c.ping() if at >= len(data) else None
        if at >= len(data):
            break
    for n in range(15):
        c.expect_publish(topic("a"), bytes([n]) * n * 3)


# -------------------------------------------------------------------------------------- in excess


@pytest.mark.parametrize("where", ["CONNECT", "WILL", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE",
                                   "PUBACK", "DISCONNECT"])
def test_a_million_tiny_user_properties_do_no_harm(broker, connect, raw, prefix, topic, where):
    other = connect("o")
    body = b"\x26\x00\x00\x00\x00" * 1_000_000
    props = codec.varint(len(body)) + body
    if where in ("CONNECT", "WILL"):
        c = raw(5)
        if where == "CONNECT":
            data = codec.connect(5, prefix, props=props)
        else:
            data = codec.connect(5, prefix, will=dict(WILL, props=props))
    else:
        c = connect("c")
        data = {
            "PUBLISH": codec.publish(5, topic("a"), "x", 1, 1, props=props),
            "SUBSCRIBE": codec.subscribe(5, 1, [(topic("a"), 0)], props),
            "UNSUBSCRIBE": codec.unsubscribe(5, 1, [topic("a")], props),
            "PUBACK": codec.ack(codec.PUBACK, 5, 1, 0, props),
            "DISCONNECT": codec.disconnect(5, 0, props),
        }[where]
    before = broker.rss_kb()
    c.send(data)
    packet = c.next() if where != "PUBACK" else None
    if packet is not None and packet.kind == "DISCONNECT":
        assert packet.code in (0x81, 0x82, 0x95, 0x97)
    elif packet is not None and packet.kind == "CONNACK":
        assert packet.code in (0, 0x81, 0x82, 0x95, 0x97)
    other.ping()
    assert broker.rss_kb() - before < 60_000
    c.close()


def test_a_topic_of_65535_slashes_does_no_harm(broker, connect):
    c = connect("c")
    c.send(codec.publish(5, "/" * 65535, "x", 1, 1))
    packet = c.next()
    assert packet is None or packet.code in (0, 0x10, 0x90, 0x81, 0x82)
    connect("o").ping()


def test_subscribing_to_thousands_of_deep_filters_does_no_harm(broker, connect, prefix):
    c = connect("c")
    for n in range(20):
        filters = [(f"{prefix}{n}/{m}" + "/+" * 190, 0) for m in range(20)]
        c.send(codec.subscribe(5, n + 1, filters))
        c.expect("SUBACK", id=n + 1)
    connect("o").ping()


@pytest.mark.clause("MQTT-2.2.1-3")
def test_a_packet_id_in_use_may_be_refused_but_ends_nothing(connect, topic):
    c = connect("c", **lasting(5))
    c.send(codec.publish(5, topic("a"), "x", 2, 5))
    c.expect("PUBREC", id=5)
    c.send(codec.subscribe(5, 5, [(topic("a"), 0)]))
    assert c.expect("SUBACK", id=5).codes in ([0], [0x91])
    c.send(codec.unsubscribe(5, 5, [topic("a")]))
    assert c.expect("UNSUBACK", id=5).codes[0] in (0, 0x91, 0x11)
    c.ping()


def test_the_broker_is_well_after_all_this(broker, connect, topic):
    c = connect("c")
    c.subscribe(topic("a"), qos=2)
    c.publish(topic("a"), "x", 2)
    c.expect_publish(topic("a"), "x")
    if not IS_PEER:
        broker.check_log()
