"""A codec of the tests' own, sharing nothing with the broker's.

Building is permissive: every field can be overridden, so every malformed packet can be made.
Parsing is strict: whatever a server sends is held against the standard, and a Malformed (an
AssertionError) says which rule it broke.

Versions are 3 (MQTT 3.1), 4 (3.1.1) and 5 (5.0). Strings are given as str or bytes.
"""

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE = range(1, 9)
SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(9, 16)

NAMES = {
    1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL",
    7: "PUBCOMP", 8: "SUBSCRIBE", 9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK",
    12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT", 15: "AUTH",
}
FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

# name, wire type; by property id
PROPERTIES = {
    0x01: ("payload_format", "byte"),
    0x02: ("message_expiry", "u32"),
    0x03: ("content_type", "string"),
    0x08: ("response_topic", "string"),
    0x09: ("correlation_data", "binary"),
    0x0B: ("subscription_id", "varint"),
    0x11: ("session_expiry", "u32"),
    0x12: ("assigned_client_id", "string"),
    0x13: ("server_keep_alive", "u16"),
    0x15: ("auth_method", "string"),
    0x16: ("auth_data", "binary"),
    0x17: ("request_problem_info", "byte"),
    0x18: ("will_delay", "u32"),
    0x19: ("request_response_info", "byte"),
    0x1A: ("response_info", "string"),
    0x1C: ("server_reference", "string"),
    0x1F: ("reason_string", "string"),
    0x21: ("receive_max", "u16"),
    0x22: ("topic_alias_max", "u16"),
    0x23: ("topic_alias", "u16"),
    0x24: ("max_qos", "byte"),
    0x25: ("retain_available", "byte"),
    0x26: ("user", "pair"),
    0x27: ("max_packet_size", "u32"),
    0x28: ("wildcard_available", "byte"),
    0x29: ("subscription_id_available", "byte"),
    0x2A: ("shared_available", "byte"),
}
PROPERTY_IDS = {name: number for number, (name, _) in PROPERTIES.items()}

LEGAL_PROPERTIES = {
    "CONNECT": {0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27},
    "WILL": {0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26},
    "CONNACK": {0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26,
                0x27, 0x28, 0x29, 0x2A},
    "PUBLISH": {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26},
    "PUBACK": {0x1F, 0x26}, "PUBREC": {0x1F, 0x26}, "PUBREL": {0x1F, 0x26},
    "PUBCOMP": {0x1F, 0x26}, "SUBACK": {0x1F, 0x26}, "UNSUBACK": {0x1F, 0x26},
    "SUBSCRIBE": {0x0B, 0x26}, "UNSUBSCRIBE": {0x26},
    "DISCONNECT": {0x11, 0x1C, 0x1F, 0x26},
    "AUTH": {0x15, 0x16, 0x1F, 0x26},
}

# Codes a server may send, by packet.
LEGAL_CODES = {
    "CONNACK": {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C,
                0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F},
    "PUBACK": {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    "PUBREC": {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99},
    "PUBREL": {0x00, 0x92},
    "PUBCOMP": {0x00, 0x92},
    "SUBACK": {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2},
    "UNSUBACK": {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    "DISCONNECT": {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
                   0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0,
                   0xA1, 0xA2},
    "AUTH": {0x00, 0x18},
}
# Codes a client may send, for the tests of what a server must refuse.
CLIENT_CODES = {
    "PUBACK": LEGAL_CODES["PUBACK"], "PUBREC": LEGAL_CODES["PUBREC"],
    "PUBREL": LEGAL_CODES["PUBREL"], "PUBCOMP": LEGAL_CODES["PUBCOMP"],
    "DISCONNECT": {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
                   0x99},
    "AUTH": {0x18, 0x19},
}


class Malformed(AssertionError):
    """A server sent what the standard forbids."""


def rule(holds, text):
    if not holds:
        raise Malformed(text)


# ------------------------------------------------------------------------------------- building


def u8(value):
    return bytes([value])


def u16(value):
    return value.to_bytes(2, "big")


def u32(value):
    return value.to_bytes(4, "big")


def varint(value, width=0):
    """The shortest form, or padded with continuation bytes to `width` (also an illegal 5)."""
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if value or len(out) + 1 < width:
            out.append(low | 0x80)
        else:
            out.append(low)
            return bytes(out)


def raw(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def string(text, length=None):
    data = raw(text)
    return u16(len(data) if length is None else length) + data


def prop(key, value):
    """One property. `key` is a name or a number; an unknown number takes its value as bytes."""
    number = PROPERTY_IDS[key] if isinstance(key, str) else key
    kind = PROPERTIES.get(number, (None, "raw"))[1]
    if isinstance(value, bytes) and kind not in ("string", "binary"):
        return varint(number) + value
    encoded = {
        "byte": lambda: u8(value),
        "u16": lambda: u16(value),
        "u32": lambda: u32(value),
        "varint": lambda: varint(value),
        "string": lambda: string(value),
        "binary": lambda: string(value),
        "pair": lambda: string(value[0]) + string(value[1]),
    }[kind]()
    return varint(number) + encoded


def properties(props=None, length=None):
    """A property set with its length.

    `props` is None, raw bytes (taken whole, with their own length), a dict, or a list of pairs.
    A dict value that is a list stands for the property repeated.
    """
    if isinstance(props, (bytes, bytearray)):
        return bytes(props)
    body = b""
    pairs = props.items() if isinstance(props, dict) else props or []
    for key, value in pairs:
        for one in value if isinstance(value, list) else [value]:
            body += prop(key, one)
    return varint(len(body) if length is None else length) + body


def packet(kind, body=b"", flags=None, length=None):
    """`length` overrides the Remaining Length: a number, or the bytes themselves."""
    if flags is None:
        flags = FLAGS.get(kind, 0)
    if length is None:
        length = len(body)
    if not isinstance(length, bytes):
        length = varint(length)
    return u8(kind << 4 | flags) + length + body


def connect(version=5, client_id="", clean=True, keepalive=0, props=None, will=None,
            username=None, password=None, *, name=None, level=None, connect_flags=None,
            flags=None, length=None, tail=b""):
    """`will` is a dict of topic, payload, qos, retain, props."""
    if connect_flags is None:
        connect_flags = 2 if clean else 0
        if will is not None:
            connect_flags |= 4 | will.get("qos", 0) << 3 | bool(will.get("retain")) << 5
        if password is not None:
            connect_flags |= 0x40
        if username is not None:
            connect_flags |= 0x80
    body = string(name if name is not None else "MQIsdp" if version == 3 else "MQTT")
    body += u8(version if level is None else level) + u8(connect_flags) + u16(keepalive)
    if version == 5:
        body += properties(props)
    body += string(client_id) if client_id is not None else b""
    if will is not None:
        if version == 5:
            body += properties(will.get("props"))
        body += string(will["topic"]) + string(will.get("payload", b""))
    if username is not None:
        body += string(username)
    if password is not None:
        body += string(password)
    return packet(CONNECT, body + tail, flags, length)


def publish(version, topic, payload=b"", qos=0, packet_id=None, retain=False, dup=False,
            props=None, *, flags=None, length=None):
    if flags is None:
        flags = bool(dup) << 3 | qos << 1 | bool(retain)
    body = string(topic)
    if packet_id is not None:
        body += u16(packet_id)
    if version == 5:
        body += properties(props)
    return packet(PUBLISH, body + raw(payload), flags, length)


def ack(kind, version, packet_id, code=None, props=None, *, flags=None, length=None):
    """PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form that holds what is given."""
    body = u16(packet_id)
    if version == 5 and (code is not None or props is not None):
        body += u8(code or 0)
        if props is not None:
            body += properties(props)
    return packet(kind, body, flags, length)


def subscribe(version, packet_id, filters, props=None, *, flags=None, length=None):
    """`filters` is a list of (filter, options byte)."""
    body = u16(packet_id)
    if version == 5:
        body += properties(props)
    for text, options in filters:
        body += string(text) + u8(options)
    return packet(SUBSCRIBE, body, flags, length)


def options(qos=0, no_local=False, rap=False, retain_handling=0):
    return qos | bool(no_local) << 2 | bool(rap) << 3 | retain_handling << 4


def unsubscribe(version, packet_id, filters, props=None, *, flags=None, length=None):
    body = u16(packet_id)
    if version == 5:
        body += properties(props)
    for text in filters:
        body += string(text)
    return packet(UNSUBSCRIBE, body, flags, length)


def pingreq():
    return packet(PINGREQ)


def disconnect(version=5, code=None, props=None, *, flags=None, length=None):
    body = b""
    if version == 5 and (code is not None or props is not None):
        body = u8(code or 0)
        if props is not None:
            body += properties(props)
    return packet(DISCONNECT, body, flags, length)


def auth(code=None, props=None, *, flags=None, length=None):
    body = b""
    if code is not None or props is not None:
        body = u8(code or 0)
        if props is not None:
            body += properties(props)
    return packet(AUTH, body, flags, length)


# -------------------------------------------------------------------------------------- parsing


class Packet:
    """What a server sent: `kind` is the packet's name, the rest depends on it."""

    def __init__(self, kind, size, **fields):
        self.kind = kind
        self.size = size
        self.__dict__.update(fields)

    def __repr__(self):
        fields = []
        for key, value in self.__dict__.items():
            if key in ("kind", "size"):
                continue
            if isinstance(value, bytes) and len(value) > 60:
                value = value[:60] + b"..."
            if key in ("code",):
                value = f"0x{value:02x}"
            fields.append(f"{key}={value}")
        return f"{self.kind}({', '.join(fields)})"


class Reader:
    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        rule(self.left() >= count, f"{self.what}: needs {count} bytes more, has {self.left()}")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, width):
        return int.from_bytes(self.take(width), "big")

    def varint(self):
        value = 0
        for shift in range(0, 28, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                rule(byte or not shift, f"{self.what}: padded variable byte integer [1.5.5-1]")
                return value
        raise Malformed(f"{self.what}: variable byte integer of more than four bytes")

    def string(self):
        data = self.take(self.number(2))
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"{self.what}: ill-formed UTF-8 [1.5.4-1]: {error}") from None
        rule("\0" not in text, f"{self.what}: NUL in a string [1.5.4-2]")
        return text

    def properties(self):
        end = self.varint()
        rule(end <= self.left(), f"{self.what}: properties longer than the packet")
        end += self.at
        found = {}
        while self.at < end:
            number = self.varint()
            rule(number in LEGAL_PROPERTIES[self.what],
                 f"{self.what}: property 0x{number:02x} is not legal here")
            name, kind = PROPERTIES[number]
            if kind == "byte":
                value = self.number(1)
                rule(value in (0, 1), f"{self.what}: {name} is {value}")
            elif kind == "u16":
                value = self.number(2)
            elif kind == "u32":
                value = self.number(4)
            elif kind == "varint":
                value = self.varint()
            elif kind == "string":
                value = self.string()
            elif kind == "binary":
                value = self.take(self.number(2))
            else:
                value = (self.string(), self.string())
            rule(self.at <= end, f"{self.what}: {name} crosses the end of the properties")
            if name == "user" or (name == "subscription_id" and self.what == "PUBLISH"):
                found.setdefault(name, []).append(value)
            else:
                rule(name not in found, f"{self.what}: {name} twice")
                found[name] = value
        for name in ("receive_max", "max_packet_size", "topic_alias"):
            rule(found.get(name) != 0, f"{self.what}: {name} is 0")
        rule(0 not in found.get("subscription_id", []), f"{self.what}: subscription id 0")
        if "response_topic" in found:
            rule(not set("+#") & set(found["response_topic"]), f"{self.what}: wildcard in response")
        return found

    def finish(self):
        rule(self.left() == 0, f"{self.what}: {self.left()} surplus bytes")


def header(data):
    """(type, flags, header length, remaining length) of a packet's beginning, None when short."""
    if len(data) < 2:
        return None
    value = 0
    for index in range(1, 5):
        if len(data) <= index:
            return None
        value |= (data[index] & 0x7F) << 7 * (index - 1)
        if not data[index] & 0x80:
            rule(index == 1 or data[index], "padded Remaining Length [1.5.5-1]")
            return data[0] >> 4, data[0] & 15, index + 1, value
    raise Malformed("Remaining Length of more than four bytes")


def parse(version, kind, flags, body, size):
    """One packet from a server. `body` is what follows the Remaining Length."""
    rule(kind in NAMES, f"packet type {kind}")
    name = NAMES[kind]
    rule(name not in ("CONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ"), f"a server sent {name}")
    if kind != PUBLISH:
        rule(flags == FLAGS.get(kind, 0), f"{name}: flags {flags:04b} [2.1.3-1]")
    if version < 5:
        rule(name not in ("DISCONNECT", "AUTH"), f"{name} from a server in version {version}")
    reader = Reader(body, name)
    fields = {}
    if kind == CONNACK:
        bits, code = reader.number(1), reader.number(1)
        rule(bits in (0, 1), f"CONNACK: acknowledge flags {bits:#x} [3.2.2-1]")
        rule(version != 3 or bits == 0, "CONNACK: session present in 3.1")
        legal = LEGAL_CODES["CONNACK"] if version == 5 else range(6)
        rule(code in legal, f"CONNACK: code {code:#x} [3.2.2-8]")
        rule(code == 0 or bits == 0, "CONNACK: session present on a refusal [3.2.2-6]")
        fields = {"session_present": bool(bits), "code": code}
        fields["props"] = reader.properties() if version == 5 else {}
    elif kind == PUBLISH:
        fields = parse_publish(version, flags, reader)
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        fields = {"id": reader.number(2), "code": 0, "props": {}}
        rule(fields["id"], f"{name}: packet id 0")
        if version == 5 and reader.left():
            fields["code"] = reader.number(1)
            rule(fields["code"] in LEGAL_CODES[name], f"{name}: code {fields['code']:#x}")
            if reader.left():
                fields["props"] = reader.properties()
    elif kind in (SUBACK, UNSUBACK):
        fields = {"id": reader.number(2)}
        rule(fields["id"], f"{name}: packet id 0")
        fields["props"] = reader.properties() if version == 5 else {}
        fields["codes"] = list(reader.take(reader.left()))
        if version == 5:
            legal = LEGAL_CODES[name]
        elif kind == UNSUBACK:
            legal = ()
        else:
            legal = (0, 1, 2, 0x80) if version == 4 else (0, 1, 2)
        for code in fields["codes"]:
            rule(code in legal, f"{name}: code {code:#x} [3.9.3-2] [3.11.3-2]")
        rule(fields["codes"] or not legal, f"{name}: no codes")
    elif kind in (DISCONNECT, AUTH):
        fields = {"code": 0, "props": {}}
        if reader.left():
            fields["code"] = reader.number(1)
            rule(fields["code"] in LEGAL_CODES[name], f"{name}: code {fields['code']:#x}")
            if reader.left():
                fields["props"] = reader.properties()
        rule("session_expiry" not in fields["props"], "session expiry from a server [3.14.2-2]")
        rule(kind != AUTH or "auth_method" in fields["props"], "AUTH without a method")
    reader.finish()
    return Packet(name, size, **fields)


def parse_publish(version, flags, reader):
    qos = flags >> 1 & 3
    rule(qos < 3, "PUBLISH: QoS 3 [3.3.1-4]")
    rule(qos or not flags & 8, "PUBLISH: DUP at QoS 0 [3.3.1-2]")
    fields = {"topic": reader.string(), "qos": qos, "dup": bool(flags & 8),
              "retain": bool(flags & 1), "id": reader.number(2) if qos else None}
    rule(fields["id"] != 0, "PUBLISH: packet id 0 [2.2.1-4]")
    rule(not set("+#") & set(fields["topic"]), "PUBLISH: wildcard in the topic [3.3.2-2]")
    fields["props"] = reader.properties() if version == 5 else {}
    rule(fields["topic"] or "topic_alias" in fields["props"], "PUBLISH: neither topic nor alias")
    fields["payload"] = reader.take(reader.left())
    return fields
