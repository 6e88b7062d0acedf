"""Steps of random scripts: how one is written down, and a generator that makes them from a seed.

A script is a list of steps, one thing that one client does, or time that passes. As text it has one on each line:

    connect c0 version=5 clean=false expiry=120
    subscribe c0 id=21 filters=[["a/+",1,0,0,0]]
    publish c1 topic="a/b" payload="m3" qos=1 id=2
    turn - seconds=45

Values are JSON. Steps say what a client does, never what comes of it, so any step can be left out of a script and the rest
still means something: what cannot be done (a PUBLISH of a client that is not connected) is passed over.

The same seed makes the same steps on every machine: all chance comes from Random.random(), which Python
keeps as it is, and from nothing else.
"""

import collections
import json
import random

Step = collections.namedtuple("Step", "verb client fields")

CLIENTS = ["c0", "c1", "c2", "c3", "c4"]
TOPICS = ["a", "a/b", "a/c", "a/b/c", "b", "b/", "/b"]
FILTERS = [*TOPICS, "#", "+", "a/#", "a/+", "+/b", "a/+/c", "+/+", "b/#"]
BAD_FILTERS = ["a/#/b", "a+", "$share/g", "$share/g+/a"]
SHARED = ["$share/g/a/#", "$share/g/a/b", "$share/h/+/b", "$share/g/#"]
SECONDS = [20, 45, 90, 130, 200, 333, 600]  # all longer than the uncertainty of the clock, see random_model
PUBLISH_IDS, SUBSCRIBE_IDS = {1: [1, 2, 3, 4], 2: [11, 12, 13, 14]}, [21, 22]

# What a connected client may do against the rules: see ILLEGAL in random_run for the bytes, and below
# for the codes with which a server may close.
ILLEGAL = {
    "second connect": (0x82,), "qos 3": (0x81,), "wildcard in topic": (0x81, 0x82, 0x90),
    "no topic": (0x82,), "subscribe flags": (0x81,), "packet type 0": (0x81, 0x82),
    "suback": (0x81, 0x82), "id 0": (0x81, 0x82), "no filter": (0x81, 0x82),
    "no-local on shared": (0x82,), "alias 0": (0x94,), "alias too large": (0x94,),
    "nul in topic": (0x81,), "retain handling 3": (0x81, 0x82), "subscription id 0": (0x82,),
    "auth": (0x82,),
}
ONLY_5 = {"no-local on shared", "alias 0", "alias too large", "retain handling 3",
          "subscription id 0", "auth"}
BAD_CONNECTS = ["reserved flag", "not connect", "level 9", "cut off", "will qos 3"]


def to_text(steps):
    lines = []
    for step in steps:
        fields = "".join(f" {key}={json.dumps(value, separators=(',', ':'))}"
                         for key, value in step.fields.items())
        lines.append(f"{step.verb} {step.client}{fields}\n")
    return "".join(lines)


def from_text(text):
    """Lines that begin with # are comments."""
    return [step_of(line) for line in text.splitlines() if line.strip() and line[0] != "#"]


def step_of(line):
    verb, client, *rest = line.split(maxsplit=2)
    fields, rest = {}, rest[0].rstrip() if rest else ""
    while rest:
        key, _, rest = rest.partition("=")
        fields[key], end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()
    return Step(verb, client, fields)


class Generator:
    """Knows roughly who is connected, so that most steps make sense; it does not have to be right."""

    def __init__(self, seed):
        self.random = random.Random(seed).random
        self.connected = {}  # client -> version
        self.versions = {name: 4 if self.chance(0.3) else 5 for name in CLIENTS}
        self.serial = 0
        self.published = {}  # client -> fields of a PUBLISH at QoS 1 or 2, to be repeated
        self.released = {}  # client -> ids of QoS 2 that were published and perhaps not released

    def chance(self, share):
        return self.random() < share

    def pick(self, some):
        return some[int(self.random() * len(some))]

    def maybe(self, fields, share, key, make):
        """Adds a field with this probability. Chance is drawn whether it is used or not."""
        if self.chance(share):
            fields[key] = make()

    def steps(self):
        count = 30 + int(self.random() * 60)
        made = [self.connect(name) for name in CLIENTS[:4]]
        made += [self.subscribe(name) for name in CLIENTS[:3]]
        while len(made) < count:
            step = self.step()
            if step:
                made.append(step)
        return made

    def step(self):
        name = self.pick(CLIENTS)
        if name not in self.connected:
            if self.chance(0.08):
                return Step("badconnect", name, {"what": self.pick(BAD_CONNECTS),
                                                 "version": self.versions[name]})
            if self.chance(0.55):
                return self.connect(name)
            name = self.pick(sorted(self.connected) or CLIENTS)
        at = self.random()
        for share, make in ((0.30, self.publish), (0.14, self.subscribe), (0.17, self.ack),
                            (0.06, self.pubrel), (0.05, self.unsubscribe), (0.05, self.repeat),
                            (0.06, self.connect), (0.06, self.disconnect), (0.04, self.drop),
                            (0.03, self.turn), (0.02, self.stray), (0.02, self.illegal)):
            at -= share
            if at < 0:
                return make(name)
        return None

    def seconds(self):
        return self.pick(SECONDS)

    # ------------------------------------------------------------------------------- connections

    def connect(self, name):
        if self.chance(0.1):
            self.versions[name] = 9 - self.versions[name]
        version = self.versions[name]
        fields = {"version": version, "clean": self.chance(0.3)}
        self.maybe(fields, 0.15, "keepalive", lambda: self.pick([30, 60, 200]))
        if version == 5:
            self.maybe(fields, 0.75, "expiry", lambda: self.pick([0, *SECONDS, 0xFFFFFFFF]))
            self.maybe(fields, 0.4, "receive_max", lambda: self.pick([1, 1, 2, 3]))
            self.maybe(fields, 0.2, "topic_alias_max", lambda: 2)
        if self.chance(0.35):
            self.serial += 1
            will = {"topic": self.pick(TOPICS), "payload": f"will{self.serial}",
                    "qos": self.pick([0, 1, 2])}
            self.maybe(will, 0.3, "retain", lambda: True)
            if version == 5:
                self.maybe(will, 0.5, "delay", self.seconds)
                self.maybe(will, 0.2, "expiry", self.seconds)
            fields["will"] = will
        self.connected[name] = version
        return Step("connect", name, fields)

    def disconnect(self, name):
        fields = {}
        if self.connected.pop(name, 4) == 5:
            self.maybe(fields, 0.4, "code", lambda: self.pick([0, 4, 0x80]))
            self.maybe(fields, 0.3, "expiry", lambda: self.pick([0, *SECONDS]))
        return Step("disconnect", name, fields)

    def drop(self, name):
        self.connected.pop(name, None)
        return Step("drop", name, {"half": True} if self.chance(0.3) else {})

    def illegal(self, name):
        what = self.pick(list(ILLEGAL))
        if what in ONLY_5 and self.connected.get(name) != 5:
            return None
        self.connected.pop(name, None)
        return Step("illegal", name, {"what": what})

    def turn(self, name):
        return Step("turn", "-", {"seconds": self.seconds()})

    # ---------------------------------------------------------------------------------- messages

    def publish(self, name):
        qos = self.pick([0, 1, 1, 2])
        self.serial += 1
        fields = {"topic": self.pick(TOPICS), "payload": f"m{self.serial}", "qos": qos}
        if qos:
            fields["id"] = self.pick(PUBLISH_IDS[qos])
            self.published[name] = fields
        if qos == 2:
            self.released.setdefault(name, []).append(fields["id"])
        if self.chance(0.25):
            fields["retain"] = True
            if self.chance(0.25):
                fields["payload"] = ""
        if self.connected.get(name) == 5:
            self.maybe(fields, 0.2, "expiry", self.seconds)
            self.maybe(fields, 0.15, "user", lambda: [["k", str(self.serial)], ["k", ""]])
            self.maybe(fields, 0.15, "alias", lambda: self.pick([1, 2]))
            if "alias" in fields and self.chance(0.5):
                fields["topic"] = ""
        return Step("publish", name, fields)

    def repeat(self, name):
        """The same PUBLISH once more, with DUP: before or after it was acknowledged or released."""
        if name not in self.published:
            return None
        return Step("publish", name, {**self.published[name], "dup": True})

    def pubrel(self, name):
        if self.chance(0.1) or not self.released.get(name):
            return Step("pubrel", name, {"id": self.pick(PUBLISH_IDS[2])})
        return Step("pubrel", name, {"id": self.released[name].pop(0)})

    def ack(self, name):
        fields = {"which": self.pick([0, 0, 0, 1, 2, 5])}
        self.maybe(fields, 0.1, "code", lambda: self.pick([0x80, 0x97, 0x10]))
        self.maybe(fields, 0.3, "all", lambda: True)
        return Step("ack", name, fields)

    def stray(self, name):
        return Step("stray", name, {"kind": self.pick(["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"]),
                                    "which": self.pick(["unknown", "last", 0, 1])})

    # ----------------------------------------------------------------------------- subscriptions

    def filter(self):
        at = self.random()
        return self.pick(SHARED if at < 0.2 else BAD_FILTERS if at < 0.22 else FILTERS)

    def subscribe(self, name):
        filters = []
        while not filters or self.chance(0.4):
            text = self.filter()
            asked = [text, self.pick([0, 1, 2]), 0, 0, 0]
            if self.connected.get(name) == 5:
                asked[2] = int(self.chance(0.3) and not text.startswith("$share"))
                asked[3] = int(self.chance(0.3))
                asked[4] = self.pick([0, 0, 1, 2])
            filters.append(asked)
        fields = {"id": self.pick(SUBSCRIBE_IDS), "filters": filters}
        if self.connected.get(name) == 5:
            self.maybe(fields, 0.3, "subscription_id", lambda: self.pick([1, 127, 128, 268435455]))
        return Step("subscribe", name, fields)

    def unsubscribe(self, name):
        filters = [self.filter()]
        while self.chance(0.4):
            filters.append(self.filter())
        return Step("unsubscribe", name, {"id": self.pick(SUBSCRIBE_IDS), "filters": filters})


def of_seed(seed):
    return Generator(seed).steps()
