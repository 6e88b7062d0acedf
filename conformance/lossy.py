"""Two ends that keep their session by the standard while packets are lost and repeated.

TCP loses a packet only together with its connection, so that is how one is lost here: of the end's own packets,
half or all is sent and the connection cut; one of the server's is not looked at and the connection cut. Then the
end comes back to its session and goes on as the standard says. What happens to a packet is its fate, which is
asked for each: fate(kind) -> None (it arrives), "cut", "repeat" or "both". faults_of() judges what arrived.
"""

import collections
import random

import mqtt_codec as codec

CUTS_OF_MINE = ("half", "drop", "reset", "left open")
CUTS_OF_THEIRS = ("drop", "reset", "left open")


def faults_of(sent, got, once):
    """What is wrong with what arrived; `once`: exactly once, else at least once."""
    counts = collections.Counter(got)
    faults = [f"{one!r} never arrived" for one in sent if not counts[one]]
    faults += [f"{one!r} was never sent" for one in counts if one not in sent]
    if once:
        faults += [f"{one!r} arrived {count} times" for one, count in counts.items() if count > 1]
    first = [one for one in dict.fromkeys(got) if one in sent]
    if first != [one for one in sent if counts[one]]:
        faults.append(f"out of order: {first}")
    return faults


def nothing_is_lost(kind):
    return None


class Script:
    """The fate of the next `left` packets of one kind."""

    def __init__(self, step, fault):
        self.step, self.fault, self.left = step, fault, 0

    def __call__(self, kind):
        if kind != self.step or not self.left:
            return None
        self.left -= 1
        return self.fault


class Chance:
    """Each packet is lost with the same probability."""

    def __init__(self, seed, loss):
        self.random, self.loss = random.Random(seed), loss

    def __call__(self, kind):
        return "cut" if self.random.random() < self.loss else None


class End:
    """What both ends have in common. `come_back()` makes a connection to the session that is kept."""

    def __init__(self, come_back, fate, seed=0):
        self.come_back, self.fate = come_back, fate
        self.random = random.Random(seed)
        self.c, self.left_open, self.cuts = None, None, 0

    def go_online(self):
        """Connects unless it is. What is sent again then may be lost again: False."""
        if self.c is None:
            self.c = self.come_back()
            if self.left_open:
                self.left_open.close()
                self.left_open = None
            assert self.c.connack.session_present
            self.resume()
        return self.c is not None

    def resume(self):
        """Sends again what a new connection begins with."""

    def cut(self, how):
        c, self.c = self.c, None
        self.cuts += 1
        if how == "left open":  # the server notices when the next connection takes its place
            self.left_open = c
        elif how == "reset":
            c.reset()
        else:
            c.drop()
        for packet in c.inbox:
            self.witness(packet)

    def witness(self, packet):
        """Looks at a packet that arrived, whatever its fate."""

    def send(self, kind, data):
        """False: it was lost, and the connection with it."""
        fate = self.fate(kind)
        how = self.random.choice(CUTS_OF_MINE) if fate == "cut" else "drop"
        if fate in ("repeat", "both"):
            data += again(data)
        self.c.send(data[:len(data) // 2] if how == "half" else data)
        if fate in ("cut", "both"):
            self.cut(how)
            return False
        return True

    def receive(self, packet):
        """Looks at a packet, answers it, or loses it. One that repeats comes because what it
        answers is repeated."""
        self.witness(packet)
        fate = self.fate(packet.kind)
        if fate in ("repeat", "both"):
            self.ask_again(packet)
        if fate in ("cut", "both"):
            self.cut(self.random.choice(CUTS_OF_THEIRS) if fate == "cut" else "drop")
        else:
            self.take(packet)


def again(data):
    """The same packet once more; a PUBLISH says that it is."""
    return bytes([data[0] | 8]) + data[1:] if data[0] >> 4 == codec.PUBLISH else data


class Message:
    def __init__(self, payload, qos):
        self.payload, self.qos, self.state, self.transmissions = payload, qos, "PUBLISH", 0


class Publisher(End):
    """Publishes `messages` (payload, QoS) in their order, with up to `window` of them in flight."""

    def __init__(self, come_back, fate, topic, messages, window=1, seed=0):
        super().__init__(come_back, fate, seed)
        self.topic, self.window = topic, window
        self.todo = collections.deque(Message(*message) for message in messages)
        self.open = {}  # packet id -> Message, in the order of their first transmission

    def is_done(self):
        return not self.todo and not self.open

    def step(self):
        """One packet more, there or back."""
        if not self.go_online():
            return
        if self.todo and len(self.open) < self.window:
            number = min(set(range(1, self.window + 1)) - set(self.open))
            self.open[number] = self.todo.popleft()
            self.transmit(number)
        elif self.open:
            packet = self.c.next()
            assert packet and packet.id in self.open, packet
            self.receive(packet)

    def finish(self):
        """All of them, and whatever still comes of repetitions."""
        while not self.is_done():
            self.step()
        if self.go_online():
            self.c.sync()
            assert {packet.kind for packet in self.c.inbox} <= {"PUBACK", "PUBREC", "PUBCOMP"}
            self.c.inbox.clear()

    def resume(self):
        for number in list(self.open):
            if self.c:
                self.transmit(number)

    def packet(self, number, message):
        if message.state == "PUBREL":
            return codec.ack(codec.PUBREL, self.c.version, number)
        return codec.publish(self.c.version, self.topic, message.payload, message.qos, number,
                             dup=message.transmissions > 0)

    def transmit(self, number):
        message = self.open[number]
        data = self.packet(number, message)
        message.transmissions += 1
        self.send(message.state, data)

    def ask_again(self, packet):
        self.c.send(again(self.packet(packet.id, self.open[packet.id])))
        self.open[packet.id].transmissions += 1

    def take(self, packet):
        message = self.open[packet.id]
        if packet.kind == "PUBREC":
            assert message.qos == 2 and packet.code in (0, 0x10)
            if message.state == "PUBLISH":
                message.state, message.transmissions = "PUBREL", 0
                self.transmit(packet.id)
        elif packet.kind == "PUBCOMP":
            assert message.state == "PUBREL" and packet.code in (0, 0x92)
            assert packet.code == 0 or message.transmissions > 1
            del self.open[packet.id]
        else:
            assert packet.kind == "PUBACK" and message.qos == 1 and packet.code in (0, 0x10)
            del self.open[packet.id]


class Receiver(End):
    """Takes messages in: `got`. One of QoS 2 at its first PUBLISH; its packet id then is held until
    PUBREL, and a PUBLISH with it is no other message [MQTT-4.3.3-10]. `unique`: no two messages that
    the server has for it are alike, so that one that comes again is known to have come before."""

    def __init__(self, come_back, fate, seed=0, unique=True):
        super().__init__(come_back, fate, seed)
        self.unique, self.got, self.held = unique, [], set()
        self.ids, self.latest = {}, {}  # payload -> its packet id; packet id -> its last payload
        self.released = set()  # payloads whose PUBREL came

    def step(self):
        """All that is there, as far as it is not lost."""
        if not self.go_online():
            return
        self.c.ping()
        while self.c and self.c.inbox:
            self.receive(self.c.inbox.pop(0))

    def witness(self, packet):
        """What is sent again has its old id, says that it is, and comes no more after its PUBREL."""
        if packet.kind == "PUBREL":
            self.released.add(self.latest.get(packet.id))
        elif packet.kind == "PUBLISH" and packet.qos and self.unique:
            assert packet.payload not in self.released, packet
            if packet.payload in self.ids:
                assert packet.dup and packet.id == self.ids[packet.payload], packet
            self.ids[packet.payload] = packet.id
            self.latest[packet.id] = packet.payload

    def answer(self, kind, number):
        names = {"PUBACK": codec.PUBACK, "PUBREC": codec.PUBREC, "PUBCOMP": codec.PUBCOMP}
        if kind == "PUBREC":
            self.c.inflight[number] = "PUBREC"
        else:
            self.c.inflight.pop(number, None)
        self.send(kind, codec.ack(names[kind], self.c.version, number))

    def ask_again(self, packet):
        assert packet.kind == "PUBREL"
        self.c.send(codec.ack(codec.PUBREC, self.c.version, packet.id))

    def take(self, packet):
        if packet.kind == "PUBREL":
            self.held.discard(packet.id)
            self.answer("PUBCOMP", packet.id)
        elif packet.kind == "PUBLISH":
            if packet.qos < 2 or packet.id not in self.held:
                self.got.append(packet.payload)
            if packet.qos == 2:
                self.held.add(packet.id)
            if packet.qos:
                self.answer("PUBREC" if packet.qos == 2 else "PUBACK", packet.id)
        else:
            assert False, packet
