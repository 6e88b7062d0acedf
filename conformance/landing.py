"""Choosing the reactor on which a connection lands.

The kernel picks one of the reactors' listening sockets by a hash of the connection's two addresses, so an address
and port that have led to a reactor lead there again. Probes find out: $SYS tells where their sessions are. They
go with a RST, and no TIME_WAIT keeps their ports.
"""

import contextlib
import itertools
import json
import random
import uuid

import client
from broker import IS_PEER

SESSIONS = "$SYS/broker/sessions/"
PROBES = 24


class Landing:
    def __init__(self, address):
        self.address = address
        self.host = "127." + ".".join(str(random.randrange(1, 255)) for _ in range(3))
        self.ports = itertools.count(2000)
        self.found = {}  # reactor -> ports

    def on(self, reactor):
        """A source for a connection to that reactor, to be used once. None where there are no reactors."""
        if IS_PEER:
            return None
        while not self.found.get(reactor):
            self.probe()
        return self.host, self.found[reactor].pop()

    def probe(self):
        probes = {}  # client id -> Client
        while len(probes) < PROBES:
            name = f"land{uuid.uuid4().hex[:12]}"
            with contextlib.suppress(OSError):  # a port that somebody has on all addresses
                probes[name] = client.Client(self.address, name, source=(self.host, next(self.ports)))
        asker = client.Client(self.address)
        asker.subscribe(*(SESSIONS + name for name in probes))
        for _ in probes:
            said = json.loads(asker.expect("PUBLISH").payload)
            port = probes[said["client_id"]].sock.getsockname()[1]
            self.found.setdefault(said["reactor"], []).append(port)
        for probe in probes.values():
            probe.reset()
        asker.disconnect()

    def reactor_of(self, client_id):
        """The reactor of a session, as it says itself."""
        asker = client.Client(self.address)
        asker.subscribe(SESSIONS + client_id)
        said = json.loads(asker.expect("PUBLISH").payload)
        asker.disconnect()
        return said["reactor"]
