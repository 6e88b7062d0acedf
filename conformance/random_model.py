"""A naive model of a broker, for random scripts: what it may do, and what it has to.

Written from the standard, sharing nothing with any broker. It is told each step of a script (`apply`), then every packet that the
broker sent (`observe`) and every connection that it closed (`closed`), then asked whether something is missing
(`check`). Where the standard leaves a choice, the model holds all that may happen, and goes on from what is seen to have
happened: which member of a share group gets a message (a Token), whether a stray acknowledgement ends the connection,
in which order messages of different publishers arrive, which of several reason codes is sent.

Its time is the time that was turned. A broker's runs on meanwhile, and its timers are coarse, so nothing is asked closer
than SLACK_S to a moment at which something falls due: a turn stops SLACK_S after each of them, and a
turn in which two fall due together is Inconclusive.
"""

import dataclasses

import random_steps
from random_parts import (FOREVER, Answer, Connection, Inconclusive, Message, Owed, Session,
                          Subscription, Token, is_valid_filter, matches, merged, split_share)
from random_watch import SLACK_S, WINDOW, Watch

UNKNOWN_ID = 4711
ACK_OF = {("sent", 1): "PUBACK", ("sent", 2): "PUBREC", ("released", 2): "PUBCOMP"}


@dataclasses.dataclass
class Habits:
    """What the standard leaves to a server, and is the same each time."""
    merges: bool = False  # overlapping subscriptions: one copy for all, not one for each
    qos2_waits: bool = False  # a message at QoS 2 is passed on when it is released
    keeps_shared: bool = True  # what a member's end leaves behind goes to another member
    is_lenient: bool = False  # closes without a DISCONNECT


class Model(Watch):
    def __init__(self, habits=None):
        self.habits = habits or Habits()
        self.now = 0
        self.sessions = {}  # client -> Session, also those without a connection
        self.connections = []  # those whose end was not seen
        self.retained = {}  # topic -> Message
        self.tokens = []

    # ---------------------------------------------------------------------------------- the steps

    def apply(self, step):
        """What the client has to send or do: a list of (verb, connection, fields). Empty when the step
        makes no sense now."""
        session = self.sessions.get(step.client)
        connection = session.connection if session else None
        if step.verb == "connect":
            return self.do_connect(step)
        if step.verb == "badconnect":
            return [("badconnect", None, {"client": step.client, **step.fields})]
        if not connection:
            return []
        return getattr(self, f"do_{step.verb}")(session, connection, dict(step.fields))

    def do_connect(self, step):
        fields, name = dict(step.fields), step.client
        is_5 = fields["version"] == 5
        if not is_5:
            for key in ("expiry", "receive_max", "topic_alias_max"):
                fields.pop(key, None)
        session = self.sessions.get(name)
        if session and session.connection:
            self.must_close(session.connection, 0x8E)
            self.lose(session)
        session = self.sessions.get(name)
        if session and fields["clean"]:
            self.end(session)
        present = name in self.sessions
        session = self.sessions.setdefault(name, Session(name))
        session.ends = session.will_due = None
        session.will = fields.get("will")
        session.expiry = fields.get("expiry", 0) if is_5 else 0 if fields["clean"] else FOREVER
        connection = Connection(name, fields["version"], fields.get("receive_max", 65535),
                                fields.get("keepalive", 0), self.now)
        connection.session, connection.present = session, present
        connection.expected = [Answer("CONNACK")]
        connection.alias_max = 0
        session.connection = connection
        self.connections.append(connection)
        return [("connect", connection, {"client": name, **fields})]

    def do_drop(self, session, connection, fields):
        connection.may_close = True
        self.quit(connection)
        self.lose(session)
        return [("drop", connection, fields)]

    def do_disconnect(self, session, connection, fields):
        code, expiry = fields.get("code", 0), fields.get("expiry")
        if connection.version < 5:
            code, expiry, fields = 0, None, {}
        if expiry and session.expiry == 0:
            return self.refuse(session, connection, 0x82, "disconnect", fields)  # X5-18
        if expiry is not None:
            session.expiry = expiry
        if code == 0:
            session.will = None
        connection.may_close = True
        self.quit(connection)
        self.lose(session)
        return [("disconnect", connection, fields)]

    def do_illegal(self, session, connection, fields):
        if fields["what"] in random_steps.ONLY_5 and connection.version < 5:
            return []
        codes = random_steps.ILLEGAL[fields["what"]]
        return self.refuse(session, connection, codes, "illegal", fields)

    def refuse(self, session, connection, codes, verb, fields):
        """The server has to close because of this packet [4.13.1]."""
        self.must_close(connection, *(codes if isinstance(codes, tuple) else (codes,)))
        self.lose(session)
        return [(verb, connection, fields)]

    def do_publish(self, session, connection, fields):
        is_5 = connection.version == 5
        if not is_5:
            for key in ("expiry", "user", "alias"):
                fields.pop(key, None)
        topic, alias = fields["topic"], fields.get("alias")
        if alias and alias > connection.alias_max:
            return self.refuse(session, connection, 0x94, "publish", fields)
        if alias and topic:
            connection.aliases[alias] = topic
        topic = topic or connection.aliases.get(alias)
        if not topic:
            return self.refuse(session, connection, 0x82, "publish", fields)
        message = Message(session.name, topic, fields["payload"].encode(), fields["qos"],
                          fields.get("retain", False), fields.get("user", []),
                          self.now + fields["expiry"] if "expiry" in fields else None)
        number = fields.get("id")
        if message.qos == 2 and number in session.received:  # [MQTT-4.3.3-10]
            connection.expected.append(Answer("PUBREC", number, [{0, 0x10}]))
            return [("publish", connection, fields)]
        waits = message.qos == 2 and self.habits.qos2_waits
        matched = not waits and self.publish(message)
        if message.qos == 2:
            session.received[number] = message if waits else None
        if message.qos:
            codes = {0} if matched or not is_5 else {0, 0x10}
            kind = "PUBACK" if message.qos == 1 else "PUBREC"
            connection.expected.append(Answer(kind, number, [codes]))
        return [("publish", connection, fields)]

    def do_pubrel(self, session, connection, fields):
        number = fields["id"]
        known = number in session.received
        message = session.received.pop(number, None)
        if message:
            self.publish(message)
        connection.expected.append(Answer("PUBCOMP", number, [{0} if known else {0, 0x92}]))
        return [("ack", connection, {"kind": "PUBREL", "id": number})]

    def outstanding(self, session):
        """What was sent to the client on this connection and waits for it: [(packet id, Inflight)]."""
        return [(number, entry) for number, entry in session.inflight.items()
                if entry.connection is session.connection]

    def do_ack(self, session, connection, fields):
        entries = self.outstanding(session)
        if not entries:
            return []
        first = fields["which"] % len(entries)
        chosen = entries[first:] + entries[:first] if fields.get("all") else [entries[first]]
        code = fields.get("code") if connection.version == 5 else None
        return [self.acknowledge(session, connection, number, code) for number, _ in chosen]

    def acknowledge(self, session, connection, number, code=None):
        entry = session.inflight[number]
        kind = ACK_OF[entry.state, entry.qos]
        if kind == "PUBCOMP":
            code = None
        if kind == "PUBREC" and (code or 0) < 0x80:
            entry.state = "released"
            connection.expected.append(Answer("PUBREL", number, [{0}]))
        else:
            del session.inflight[number]
        self.settle_token(session, entry)
        connection.last_ack = (kind, number)
        return "ack", connection, {"kind": kind, "id": number, "code": code}

    def settle_token(self, session, entry):
        """It has been acknowledged; unless the client has another copy, and that is the group's."""
        twins = [e for e in session.inflight.values() if e.message is entry.message and e is not entry]
        for token in self.twins_waiting(session, entry):
            token.required = token.at_once = False
        if not twins:
            if entry.token:
                entry.token.state = "done"
            return
        for twin in (entry, *twins):
            if twin.token:
                twin.token.required = False
        if entry.token:
            entry.token.state = "loose"
            for twin in twins:
                if not twin.token:
                    twin.token, entry.token.state = entry.token, "held"
                    break

    def do_stray(self, session, connection, fields):
        """An acknowledgement of nothing, of the wrong kind, or once more."""
        kind, which, entries = fields["kind"], fields["which"], self.outstanding(session)
        if kind == "PUBREL" and which != "unknown":
            return []
        if which == "unknown":
            number = UNKNOWN_ID
        elif which == "last":
            kind, number = connection.last_ack or (None, None)
        else:
            number = entries[which % len(entries)][0] if entries else None
        if number is None:
            return []
        if kind == "PUBREL":
            return self.do_pubrel(session, connection, {"id": number})
        entry = session.inflight.get(number)
        if entry and (entry.connection is not connection or ACK_OF[entry.state, entry.qos] == kind):
            return []
        if kind == "PUBREC":
            again = bool(entry) and entry.state == "released"
            connection.expected.append(Answer("PUBREL", number, [{0} if again else {0, 0x92}], again))
        connection.may_close = True
        return [("ack", connection, {"kind": kind, "id": number, "code": None})]

    def do_subscribe(self, session, connection, fields):
        is_5 = connection.version == 5
        if not is_5:
            fields.pop("subscription_id", None)
        codes, seen = [], []
        for text, qos, no_local, rap, handling in fields["filters"]:
            if not is_valid_filter(text):
                codes.append({0x80, 0x8F} if is_5 else {0x80})
                continue
            options = (bool(no_local), bool(rap), handling) if is_5 else (False, False, 0)
            sub = Subscription(text, qos, *options, fields.get("subscription_id", 0))
            codes.append({qos})
            is_new = text not in session.subscriptions
            session.subscriptions[text] = sub
            if split_share(text)[0] is not None:
                self.refresh_tokens(text)
            elif sub.handling == 0 or (sub.handling == 1 and is_new):
                self.replay(session, sub, seen)
                seen.append(text)
        connection.expected.append(Answer("SUBACK", fields["id"], codes))
        return [("subscribe", connection, fields)]

    def do_unsubscribe(self, session, connection, fields):
        codes = []
        for text in fields["filters"]:
            if not is_valid_filter(text):
                codes.append({0x8F, 0x80, 0x11})
                continue
            codes.append({0} if session.subscriptions.pop(text, None) else {0x11})
            for owed in [*session.owed, *(e.owed for e in session.inflight.values() if e.owed)]:
                if owed.text == text:
                    owed.required = False  # [MQTT-3.10.4-2] [MQTT-3.10.4-3]
            for token in self.tokens:
                if token.text == text and (token.state == "loose" or token.holder == session.name):
                    token.required = token.at_once = False
        codes = codes if connection.version == 5 else []
        connection.expected.append(Answer("UNSUBACK", fields["id"], codes))
        return [("unsubscribe", connection, fields)]

    # ------------------------------------------------------------------------------- passing on

    def publish(self, message, dying=None):
        """True when somebody gets it for certain. `dying` is a session whose end it tells."""
        if message.retain:
            self.retain(message)
        matched = False
        groups = {}
        for session in self.sessions.values():
            forms = []
            for sub in session.subscriptions.values():
                name, text = split_share(sub.text)
                if not matches(text, message.topic):
                    continue
                if name is not None:
                    groups.setdefault(sub.text, []).append(session)
                    continue
                is_own = sub.no_local and message.publisher == session.name
                if not is_own or message.is_will:
                    forms.append((sub.form(message), sub.text, not is_own))
            if self.habits.merges and len(forms) > 1:
                forms = [(merged([form for form, _, _ in forms]), forms[0][1], True)]
            for form, text, is_sure in forms:
                matched |= self.owe(session, message, form, text, is_sure)
        for text, members in groups.items():
            token = self.share(message, text, members)
            if dying and text in dying.subscriptions:
                token.required = token.at_once = False
            matched |= token.required
        return matched

    def owe(self, session, message, form, text, is_sure):
        order = (message.publisher, message.topic, message.qos, form[0], text)
        required = is_sure and (form[0] > 0 or session.connection is not None)
        session.owed.append(Owed(message, form, required, None if message.is_will else order, text))
        return required

    def share(self, message, text, members):
        forms = {s.name: [s.subscriptions[text].form(message)] for s in members}
        at_once = all(self.is_ready(session) for session in members)
        keeps = all(form[0] > 0 for some in forms.values() for form in some)
        self.tokens.append(Token(message, text, forms, at_once or keeps, at_once))
        return self.tokens[-1]

    def is_ready(self, session):
        """Whether the server has to send it what it has for it now."""
        return session.connection is not None and self.has_window(session) \
            and not any(owed.required for owed in session.owed)

    def has_window(self, session):
        return len(self.outstanding(session)) < min(session.connection.window, WINDOW)

    def members(self, text):
        return [session for session in self.sessions.values() if text in session.subscriptions]

    def refresh_tokens(self, text):
        """Somebody joined the group, or subscribed anew: what waits may come to it; also what is taken to be with
        another member, as that may turn out to have been another one."""
        for token in self.tokens:
            if token.text == text and token.state != "done":
                for session in self.members(text):
                    token.forms.setdefault(session.name, []).append(
                        session.subscriptions[text].form(token.message))

    def replay(self, session, sub, seen):
        """Retained messages for a new subscription. Of those that an earlier filter of the same SUBSCRIBE
        has brought, one copy may be enough."""
        for owed in session.owed:
            was = session.replays.get(sub.text)  # a copy for another filter may have been taken for its own
            if owed.is_replay and (owed.text == sub.text
                                   or was and owed.form == was.form(owed.message, True)):
                owed.required = False
        session.replays[sub.text] = sub
        for topic, message in self.retained.items():
            if matches(sub.text, topic):
                is_own = sub.no_local and message.publisher == session.name
                is_again = self.habits.merges and any(matches(text, topic) for text in seen)
                session.owed.append(Owed(message, sub.form(message, True), not is_own and not is_again,
                                         None, sub.text, True))

    def retain(self, message):
        """Sets or clears. A replay that is under way may find the old one or the new one, or both."""
        if message.payload:
            self.retained[message.topic] = message
        else:
            self.retained.pop(message.topic, None)
        for session in self.sessions.values():
            for owed in session.owed:
                if owed.is_replay and owed.message.topic == message.topic:
                    owed.required = False
            for text, sub in session.replays.items():
                if message.payload and matches(text, message.topic):
                    session.owed.append(Owed(message, sub.form(message, True), False, None, text, True))

    # -------------------------------------------------------------------------- ends of connections

    def must_close(self, connection, *codes):
        connection.close_codes = codes
        self.quit(connection)

    def quit(self, connection):
        """What the server had to answer it need not any more."""
        for answer in connection.expected:
            answer.required = False

    def lose(self, session):
        """The session has no connection any more."""
        session.connection = None
        for owed in session.owed:
            if owed.form[0] == 0 or owed.is_replay:
                owed.required = False
        for entry in session.inflight.values():
            self.loosen(session, entry)
        self.doubt(session)
        session.ends = None if session.expiry == FOREVER else self.now + session.expiry
        if session.expiry == 0:
            self.end(session)
        elif session.will and min(session.will.get("delay", 0), session.expiry) == 0:
            self.send_will(session)
        elif session.will:
            session.will_due = self.now + min(session.will["delay"], session.expiry)

    def loosen(self, session, entry):
        """What a member of a group has not acknowledged may go to another one [4.8.2]; where the client has
        two copies of it, nobody can tell which of them was the group's."""
        token = entry.token
        if not token or entry.qos != 1 or token.state == "done":
            return
        token.state = "loose"
        texts = {t.text for t in self.tokens if t.message is entry.message}
        others = [s for text in texts for s in self.members(text) if s is not session]
        for other in session.inflight.values():
            if other.message is entry.message and other.qos == 1 and others:
                other.optional = True
        self.refresh_tokens(token.text)

    def doubt(self, session):
        """Of two equal copies the first was taken for the client's own, or for that of one group, and another group's
        still waits. If it was the other way round another member may get what is in flight, and the one that waits is
        the client's."""
        again = []
        for entry in session.inflight.values():
            twins = self.twins_waiting(session, entry) if entry.qos == 1 else []
            texts = {token.text for token in (*twins, entry.token) if token}
            if twins and any(set(self.members(text)) - {session} for text in texts):
                entry.optional, entry.doubtful = True, bool(entry.token)
                if entry.owed and entry.owed not in session.owed:
                    again.append(entry.owed)
        session.owed[:0] = again

    def twins_waiting(self, session, entry):
        """Tokens of the same message that nobody has and this session was not seen to get; or what it got was one."""
        return [token for token in self.tokens if token.message is entry.message
                and token.state == "loose" and session.name not in token.been_at and any(
                    form[0] == entry.qos for form in token.forms.get(session.name, ()))]

    def send_will(self, session, dying=None):
        will, session.will, session.will_due = session.will, None, None
        expires = self.now + will["expiry"] if "expiry" in will else None
        self.publish(Message(session.name, will["topic"], will["payload"].encode(), will["qos"],
                             will.get("retain", False), [], expires, True), dying)

    def end(self, session):
        """The session is over, and all that it knew."""
        del self.sessions[session.name]
        session.ends = None
        for entry in session.inflight.values():
            if entry.token and entry.token.state != "done":
                entry.token.state = "loose" if entry.qos == 1 else "done"  # [MQTT-4.8.2-5]
            if entry.qos == 2:
                for token in self.twins_waiting(session, entry):
                    token.required = token.at_once = False
        for token in self.tokens:
            if token.state == "loose" and token.forms.pop(session.name, None):
                others = self.members(token.text)
                token.at_once = False
                token.required &= bool(others) and self.habits.keeps_shared and all(
                    min(other.subscriptions[token.text].qos, token.message.qos) for other in others)
        for text in session.subscriptions:
            self.refresh_tokens(text)
        if session.will:
            self.send_will(session, session)

    # ---------------------------------------------------------------------------------------- time

    def deadlines(self):
        """[(when, what, session)] of all that happens by itself."""
        found = []
        for session in self.sessions.values():
            connection = session.connection
            if connection and connection.keepalive:
                found.append((connection.seen + connection.keepalive * 1.5, self.silence, session))
            if session.ends is not None:
                found.append((session.ends, self.end, session))
            if session.will_due is not None and session.will_due != session.ends:
                found.append((session.will_due, self.send_will, session))
        return sorted(found, key=lambda deadline: deadline[0])

    def silence(self, session):
        self.must_close(session.connection, 0x8D)
        self.lose(session)

    def expiries(self):
        """When messages expire."""
        some = [owed.message for session in self.sessions.values() for owed in session.owed]
        some += [*self.retained.values(), *(token.message for token in self.tokens)]
        return [message.expires for message in some if message.expires is not None]

    def turns(self, seconds):
        """Yields by how much to turn the clock; after each, what became due then has to be looked at."""
        end = self.now + seconds
        while True:
            due = self.deadlines()
            event = due[0] if due and due[0][0] - SLACK_S <= end else None
            if event and len(due) > 1 and due[1][0] - due[0][0] <= 2 * SLACK_S:
                raise Inconclusive(f"two things are due at {due[0][0]}")
            target = event[0] + SLACK_S if event else max(end, self.now)
            while not event and any(abs(target - when) <= SLACK_S for when in self.expiries()):
                target += 1
            if target > end:
                end = target
                if not event:
                    continue  # something else may be due until then
            amount, self.now = target - self.now, target
            if event:
                event[1](event[2])
            else:
                self.expire()
            yield amount
            if not event:
                return

    def expire(self):
        for session in self.sessions.values():
            session.owed = [o for o in session.owed if not self.is_over(o.message)]
        for token in self.tokens:
            token.required &= not self.is_over(token.message)
        self.tokens = [t for t in self.tokens if t.state != "loose" or not self.is_over(t.message)]
        self.retained = {t: m for t, m in self.retained.items() if not self.is_over(m)}

    def is_over(self, message):
        return message.expires is not None and message.expires <= self.now
