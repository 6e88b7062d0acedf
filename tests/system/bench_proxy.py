"""A proxy between clients and a broker that does what a broker should not, and knows how often it did."""

import collections
import socket
import threading
import time

DISCONNECT = b"\xe0\0"
EVERY = 10  # one in ten goes wrong


def take_packets(data):
    """Takes whole packets from the front of a bytearray."""
    while True:
        length, at = 0, 1
        while at < len(data):
            length |= (data[at] & 127) << 7 * (at - 1)
            at += 1
            if data[at - 1] < 128:
                break
        else:
            return
        if len(data) < at + length:
            return
        yield bytes(data[:at + length])
        del data[:at + length]


class Faulty:
    """Between clients and a broker. `fault` makes of every tenth packet of a kind what is sent on instead; from
    a list that it keeps, one for each connection, it may take what it held back. The end of a client reaches the
    broker `late`: in seconds."""

    def __init__(self, port, kind, fault, late=0):
        self.port, self.kind, self.fault, self.late = port, kind, fault, late
        self.seen = collections.Counter()
        self.done = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.forward, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.forward, args=(server, client, []), daemon=True).start()

    def forward(self, source, target, held):
        data = bytearray()
        try:
            while got := source.recv(65536):
                if held is None:
                    if got.endswith(DISCONNECT):
                        time.sleep(self.late)
                    target.sendall(got)
                    continue
                data += got
                target.sendall(b"".join(self.spoilt(p, held) for p in take_packets(data)))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def spoilt(self, packet, held):
        if packet[0] >> 4 != self.kind:
            return packet
        with self.lock:
            self.seen[self.kind] += 1
            if self.seen[self.kind] % EVERY and not held:
                return packet
            return self.fault(self, packet, held)

    def drop(self, _packet, _held):
        self.done += 1
        return b""

    def keep(self, packet, _held):
        self.done += 1
        return packet

    def double(self, packet, _held):
        self.done += 1
        return packet + packet

    def swap(self, packet, held):
        """Holds one back until the next has overtaken it."""
        if not held:
            held.append(packet)
            return b""
        self.done += 1
        return packet + held.pop()

    def alter(self, packet, _held):
        """Its first bytes say which run, publisher and number it is of."""
        self.done += 1
        return packet[:-64] + b"?" * 64
