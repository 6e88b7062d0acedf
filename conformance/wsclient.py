"""The client's side of WebSocket (RFC 6455), which distrusts the server.

A WebSocket stands in for a Client's socket: connect("name", wrap=WebSocket). What is sent goes out
as one masked binary frame, unless `frames` makes others of it.
"""

import base64
import hashlib
import os
import socket
import struct

from mqtt_codec import rule

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OFFER = "Sec-WebSocket-Protocol: mqtt"


def request(value, offer=OFFER, **changed):
    """The bytes of an upgrade request; `changed` replaces lines by name, None leaves one out.
    `value` is that of the key."""
    lines = {"line": "GET /mqtt HTTP/1.1", "host": "Host: localhost", "upgrade":
             "Upgrade: websocket", "connection": "Connection: Upgrade", "version":
             "Sec-WebSocket-Version: 13", "key": f"Sec-WebSocket-Key: {value}", "offer": offer}
    lines.update(changed)
    return "".join(f"{line}\r\n" for line in lines.values() if line is not None).encode() + b"\r\n"


def frame(opcode, payload=b"", fin=True, mask=None, reserved=0, length=None):
    """A frame as a client sends it; `mask` b"" leaves it unmasked, `length` lies about it."""
    mask = os.urandom(4) if mask is None else mask
    length = len(payload) if length is None else length
    masked = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 65536:
        head += struct.pack(">BH", masked | 126, length)
    else:
        head += struct.pack(">BQ", masked | 127, length)
    if mask:
        payload = bytes(b ^ mask[i & 3] for i, b in enumerate(payload))
    return head + mask + payload


def pieces(data, size):
    """One message in frames of at most `size` bytes each."""
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    last = len(parts) - 1
    return b"".join(frame(BINARY if i == 0 else CONTINUATION, part, fin=i == last)
                    for i, part in enumerate(parts))


class WebSocket:
    def __init__(self, sock, offer=OFFER, selected="mqtt", frames=lambda data: frame(BINARY, data)):
        self.sock, self.frames = sock, frames
        self.buffer, self.pongs, self.close_code, self.count = bytearray(), [], None, 0
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(request(key, offer))
        head = self.read_head()
        rule(head[0] == "HTTP/1.1 101 Switching Protocols", head)
        fields = dict(line.lower().split(": ", 1) for line in head[1:])
        digest = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        rule(fields["sec-websocket-accept"] == digest.lower(), head)
        rule(any(line.endswith(digest) for line in head), head)
        rule(fields["upgrade"] == "websocket" and fields["connection"] == "upgrade", head)
        rule(fields.get("sec-websocket-protocol") == selected, head)
        rule("sec-websocket-extensions" not in fields, head)

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(4096)
            rule(data, f"closed within the answer: {bytes(self.buffer)!r}")
            self.buffer += data
        head, self.buffer = bytes(self.buffer).split(b"\r\n\r\n", 1)
        self.buffer = bytearray(self.buffer)
        return head.decode().split("\r\n")

    # ------------------------------------------------------------- what a Client wants of a socket

    def fileno(self):
        return self.sock.fileno()

    def sendall(self, data):
        self.sock.sendall(self.frames(bytes(data)))

    def recv(self, _size):
        """Payload of all whole frames, of at least one; b"" at the end."""
        payload = self.take_frames()
        while not payload:
            data = self.sock.recv(1 << 20)
            if not data:
                rule(not self.buffer, f"the end within a frame: {bytes(self.buffer[:20])!r}")
                return b""
            self.buffer += data
            payload = self.take_frames()
        return payload

    def shutdown(self, how):
        if how == socket.SHUT_WR and self.close_code is None:
            self.raw(frame(CLOSE, struct.pack(">H", 1000)))
        self.sock.shutdown(how)

    def setsockopt(self, *arguments):
        self.sock.setsockopt(*arguments)

    def close(self):
        self.sock.close()

    # -------------------------------------------------------------------------------------- frames

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def take_frames(self):
        payload = b""
        while len(self.buffer) >= 2:
            opcode, length = self.buffer[0], self.buffer[1]
            rule(not length & 0x80, "the server masks")
            skip = {126: 4, 127: 10}.get(length, 2)
            if len(self.buffer) < skip:
                break
            if skip > 2:
                length = int.from_bytes(self.buffer[2:skip], "big")
                rule(length >= (126 if skip == 4 else 65536), "a padded length")
            if len(self.buffer) < skip + length:
                break
            data = bytes(self.buffer[skip:skip + length])
            del self.buffer[:skip + length]
            payload += self.take_frame(opcode, data)
        return payload

    def take_frame(self, first, data):
        rule(self.close_code is None, "a frame after the close frame")
        rule(first in (0x80 | BINARY, 0x80 | CLOSE, 0x80 | PONG), f"first byte 0x{first:02x}")
        if first == 0x80 | BINARY:
            rule(data, "an empty frame")
            self.count += 1
            return data
        rule(len(data) <= 125, "a long control frame")
        if first == 0x80 | PONG:
            self.pongs.append(data)
        else:
            self.close_code = struct.unpack(">H", data[:2])[0]
        return b""
