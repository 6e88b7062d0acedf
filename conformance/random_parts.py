"""What the model of a broker is made of: messages, subscriptions, what a session is owed, topics that match.

Written from the standard, for plainness: lists and loops, no index of anything.
"""

import dataclasses

FOREVER = 0xFFFFFFFF


class Diverged(AssertionError):
    """The broker did what the model does not allow, or left out what it has to do."""


class Inconclusive(Exception):
    """What happens next depends on more than the script: two things are due at the same time."""


def matches(text, topic):
    """Whether the filter `text` matches `topic` [MQTT-4.7]."""
    if topic[:1] == "$" and text[:1] in ("+", "#"):
        return False
    levels, names = text.split("/"), topic.split("/")
    for n, level in enumerate(levels):
        if level == "#":
            return True
        if n == len(names):
            return False
        if level not in ("+", names[n]):
            return False
    return len(levels) == len(names)


def is_valid_filter(text):
    """Whether it is one, with or without $share/NAME/ before it [MQTT-4.7.1] [MQTT-4.8.2]."""
    if text.startswith("$share/"):
        name, _, text = text[7:].partition("/")
        if not name or set(name) & set("+#"):
            return False
    levels = text.split("/")
    return bool(text) and all(level in ("+", "#") or not set(level) & set("+#") for level in levels) \
        and "#" not in levels[:-1]


def split_share(text):
    """("name", "filter") of a shared subscription, (None, text) of another."""
    if not text.startswith("$share/"):
        return None, text
    name, _, rest = text[7:].partition("/")
    return name, rest


@dataclasses.dataclass(eq=False)
class Message:
    publisher: str
    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    user: list = dataclasses.field(default_factory=list)
    expires: float = None  # the model's time at which it expires, None: never
    is_will: bool = False
    blind: set = dataclasses.field(default_factory=set)  # who got a copy in 3.1.1, which shows no identifier


@dataclasses.dataclass(eq=False)
class Subscription:
    text: str  # as subscribed, with $share/NAME/
    qos: int
    no_local: bool
    rap: bool
    handling: int
    identifier: int  # 0: none

    def form(self, message, retain=None):
        """How a message comes by this subscription: (qos, retain flags that may be, identifiers)."""
        flag = message.retain and self.rap if retain is None else retain
        return (min(self.qos, message.qos), frozenset([flag]),
                (self.identifier,) if self.identifier else ())


def merged(forms):
    """The one copy that stands for several subscriptions [MQTT-3.3.4-2] [MQTT-3.3.4-4]."""
    return (max(form[0] for form in forms), frozenset().union(*(form[1] for form in forms)),
            tuple(sorted(number for form in forms for number in form[2])))


@dataclasses.dataclass(eq=False)
class Owed:
    """A copy of a message that a session has not got yet."""
    message: Message
    form: tuple
    required: bool  # else it may also never come
    order: tuple = None  # those with the same come in their order; None: at any time
    text: str = None  # the filter it is for
    is_replay: bool = False  # of a retained message

    def __str__(self):
        return describe(self.message, self.form)


@dataclasses.dataclass(eq=False)
class Token:
    """A message on its way to one member of a share group, nobody can know to which [4.8.2]."""
    message: Message
    text: str
    forms: dict  # client -> forms in which it may come to that member
    required: bool
    at_once: bool  # all members can take it, so one of them gets it now
    state: str = "loose"  # held: a member has it. done
    holder: str = None
    seen: tuple = None  # the form in which it came
    been_at: set = dataclasses.field(default_factory=set)  # clients that have had it
    spare: Owed = None  # what need not come, and may have come in its place

    def __str__(self):
        return f"{self.message.payload!r} to {self.message.topic!r} for one of {self.text!r}"


@dataclasses.dataclass(eq=False)
class Inflight:
    """A message that was sent to a client at QoS 1 or 2 and is not settled."""
    message: Message
    qos: int
    owed: Owed  # what it is taken for; None: for its token
    connection: object  # that it was last sent on
    token: Token = None
    state: str = "sent"  # then "released", at QoS 2: PUBREC was sent, PUBCOMP is awaited
    optional: bool = False  # another member of its group may have got it meanwhile
    doubtful: bool = False  # the group's copy of another token; then that of its own is still to come

    @property
    def order(self):
        return self.owed and self.owed.order


@dataclasses.dataclass(eq=False)
class Connection:
    name: str
    version: int
    window: int
    keepalive: float
    seen: float
    aliases: dict = dataclasses.field(default_factory=dict)
    expected: list = dataclasses.field(default_factory=list)
    is_open: bool = True
    close_codes: tuple = ()  # the server has to close, with one of these (5.0)
    may_close: bool = False  # the standard leaves open whether it does
    last_ack: tuple = None


@dataclasses.dataclass(eq=False)
class Answer:
    """A packet that the server has to send on a connection, or may."""
    kind: str
    id: int = None
    codes: list = None  # a set for each code there is
    required: bool = True


class Session:
    def __init__(self, name):
        self.name = name
        self.connection = None
        self.subscriptions = {}
        self.owed = []
        self.replays = {}  # filters whose retained messages are perhaps not all sent -> Subscription
        self.inflight = {}  # packet id -> Inflight, in the order of sending
        self.received = {}  # packet ids at QoS 2 that are not released
        self.expiry = 0
        self.ends = None  # when it ends if nobody comes back; None: never, or connected
        self.will = None
        self.will_due = None


def describe(message, form):
    flags = " retain" if True in form[1] else ""
    numbers = f" identifiers {list(form[2])}" if form[2] else ""
    return f"{message.payload!r} to {message.topic!r} qos {form[0]}{flags}{numbers}"
