"""What the model makes of what it sees: packets that came, connections that ended, and what did not come.

Everything that a client gets has to have a reason: an answer to what it sent, a message it is owed, one of its group, one that
is sent again. Where several reasons would do, one is taken that leaves most possible for what comes later.
"""

from random_parts import Diverged, Inflight, describe

SLACK_S = 5
WINDOW = 20  # a server that sends less than this unacknowledged, and less than it is allowed, holds back

NO_FORM = (0, (), ())


class Watch:
    """One half of the model; the other is in random_model."""

    # ------------------------------------------------------------------------------- what is seen

    def observe(self, connection, packet):
        if packet.kind == "PUBLISH":
            if self.sessions.get(connection.name) is connection.session:
                self.observe_publish(connection.session, connection, packet)
            return
        if packet.kind == "DISCONNECT":
            return  # see closed()
        if packet.kind == "CONNACK":
            self.observe_connack(connection, packet)
        if packet.kind == "PUBREL" and self.is_resent(connection, packet):
            return
        for answer in connection.expected:
            if (answer.kind, answer.id) == (packet.kind, getattr(packet, "id", None)):
                codes = getattr(packet, "codes", [getattr(packet, "code", 0)])
                wanted = answer.codes if answer.codes is not None else [{0}]
                if len(codes) != len(wanted) or any(c not in w for c, w in zip(codes, wanted)):
                    raise Diverged(f"{packet}: its codes may be {wanted}")
                connection.expected.remove(answer)
                return
            if answer.required and answer.kind == packet.kind:
                raise Diverged(f"{packet}: first comes that of {answer.id} [4.6]")
        raise Diverged(f"{packet}, for which there is no reason")

    def observe_connack(self, connection, packet):
        if packet.code == 0 and packet.session_present != connection.present:
            raise Diverged(f"{packet}: session present is to be {connection.present} [3.2.2-2]")
        connection.alias_max = packet.props.get("topic_alias_max", 0)

    def is_resent(self, connection, packet):
        entry = connection.session.inflight.get(packet.id)
        if not entry or entry.state != "released" or entry.connection is connection:
            return False
        if packet.code:
            raise Diverged(f"{packet}: the code is to be 0")
        entry.connection = connection
        return True

    def observe_publish(self, session, connection, packet):
        if packet.dup:
            self.observe_resent(session, connection, packet)
            return
        if packet.qos and packet.id in session.inflight:
            if not session.inflight[packet.id].optional:
                raise Diverged(f"{packet}: its id is in use [2.2.1-4]")
            del session.inflight[packet.id]  # another member of the group has got it
        found = next((o for o in sorted(session.owed, key=lambda o: not o.required)
                      if self.fits(connection, packet, o.message, o.form)), None)
        loose = [token for token in self.tokens_for(session, connection, packet) if token.state == "loose"]
        spare = None
        if found and not found.required and not {id(token) for token in loose} <= self.sent_elsewhere():
            spare, found = found, None  # what need not come is rather not what came
        elif found and not found.required:
            for token in loose:  # or that was it, and is not sent again
                token.required = token.at_once = False
        if found:
            self.take(session, packet, found)
            entry = Inflight(found.message, packet.qos, found, connection)
        else:
            token = self.token_of(session, connection, packet)
            token.spare = spare
            entry = Inflight(token.message, packet.qos, None, connection, token)
        if connection.version < 5:
            entry.message.blind.add(session.name)
        if packet.qos:
            session.inflight[packet.id] = entry

    def fits(self, connection, packet, message, form):
        same = (packet.topic, packet.payload, packet.qos) == (message.topic, message.payload, form[0])
        if not same or packet.retain not in form[1]:
            return False
        is_5 = connection.version == 5
        numbers = tuple(sorted(packet.props.get("subscription_id", ())))
        user = [list(pair) for pair in packet.props.get("user", [])]
        seen = numbers == form[2] or connection.name in message.blind
        return not is_5 or (seen and user == message.user and self.has_expiry_of(packet, message))

    def has_expiry_of(self, packet, message):
        """Whether what is left of its expiry is right [3.3.2-6]."""
        left = packet.props.get("message_expiry")
        if left is None or message.expires is None:
            return left is message.expires
        return -SLACK_S <= left - (message.expires - self.now) <= 1

    def tokens_for(self, session, connection, packet):
        """Those that may have come with it; not what the client has already, and would get with DUP."""
        own = {id(entry.token) for entry in session.inflight.values() if not entry.doubtful}
        return [token for token in self.tokens if id(token) not in own and any(
            self.fits(connection, packet, token.message, form)
            for form in token.forms.get(session.name, ()))]

    def token_of(self, session, connection, packet):
        """The token that came with the packet. Of those that may have, the one that is due, or that nobody else is
        to be sent again, or could have gone to the fewest; and if none may have, another client's is taken to have been
        one of another group, or not to have been of a group."""
        def form_of(token):
            return next((form for form in token.forms.get(session.name, ())
                         if self.fits(connection, packet, token.message, form)), None)

        sent = self.sent_elsewhere()
        tokens = sorted(self.tokens_for(session, connection, packet),
                        key=lambda t: (not t.at_once, id(t) in sent, not t.required, len(t.forms)))
        loose = [token for token in tokens if token.state == "loose"]
        for token in loose or tokens:
            if token.state == "loose" or self.swap(token) or self.was_spare(token):
                self.move(token, session)
                token.state, token.at_once = "held" if packet.qos else "done", False
                token.holder, token.seen = session.name, form_of(token)
                token.been_at.add(session.name)
                session.inflight = {n: e for n, e in session.inflight.items() if e.token is not token}
                return token
        owed = "; ".join(f"{o}{self.said_of_expiry(o.message)}" for o in session.owed) or "nothing"
        raise Diverged(f"{session.name} got {packet}, for which there is no reason; owed to it: {owed}")

    def sent_elsewhere(self):
        """Tokens that a session may be sent again."""
        return {id(entry.token) for session in self.sessions.values() for entry in session.inflight.values()}

    def said_of_expiry(self, message):
        return "" if message.expires is None else f", {message.expires - self.now} s left"

    def swap(self, token):
        """Makes it loose, when what was taken for it can have been another one."""
        for other in self.tokens:
            if describe(other.message, NO_FORM) == describe(token.message, NO_FORM) and other.state == "loose" \
                    and token.seen in other.forms.get(token.holder, ()):
                other.state, other.holder, other.seen = token.state, token.holder, token.seen
                other.at_once, token.state = False, "loose"
                other.been_at, token.been_at = token.been_at, other.been_at
                for session in self.sessions.values():
                    for entry in session.inflight.values():
                        if entry.token is token:
                            entry.token = other
                return True
        return False

    def was_spare(self, token):
        """Makes it loose, when what was taken for it can have been something that need not come."""
        spare, token.spare = token.spare, None
        for session in self.sessions.values() if spare else ():
            session.owed = [owed for owed in session.owed if owed is not spare]
            for entry in session.inflight.values():
                if entry.token is token:
                    entry.token, entry.owed = None, spare
        token.state = "loose" if spare else token.state
        return bool(spare)

    def move(self, token, session):
        """Another member has it now, so it will not be sent again to the one that had it."""
        for other in self.sessions.values():
            for number, entry in list(other.inflight.items()):
                if entry.token is not token:
                    continue
                if other.connection and entry.connection is other.connection:
                    raise Diverged(f"{token} is with {other.name}, and {session.name} got it too")
                twins = [e for e in other.inflight.values() if e.message is token.message]
                waiting = self.twins_waiting(other, entry) if entry.doubtful else ()
                entry.token = next(iter(waiting), None)  # then what it got was of that group
                if len(twins) == 1 and not entry.token:
                    del other.inflight[number]

    def take(self, session, packet, found):
        """Removes it, and what was to come before it and now will not."""
        for owed in session.owed[:session.owed.index(found)]:
            if found.order and owed.order == found.order:
                if owed.required:
                    raise Diverged(f"{session.name} got {packet} before {owed} [4.6.0-6]")
                session.owed.remove(owed)
        for entry in session.inflight.values():
            if found.order and entry.order == found.order and entry.state == "sent" \
                    and entry.connection is not session.connection and not entry.optional:
                raise Diverged(f"{session.name} got {packet} before {entry.message.payload!r} again")
        session.owed.remove(found)
        for number, entry in list(session.inflight.items()):
            if entry.owed is found:  # that had been the group's, and another member has it now
                del session.inflight[number]

    def observe_resent(self, session, connection, packet):
        entry = session.inflight.get(packet.id)
        if not entry or entry.connection is connection or entry.state != "sent":
            raise Diverged(f"{session.name} got {packet}, which is not to be sent again [4.4.0-1]")
        same = (entry.message.topic, entry.message.payload, entry.qos)
        if (packet.topic, packet.payload, packet.qos) != same:
            raise Diverged(f"{session.name} got {packet}: that id was {same}")
        for number, other in session.inflight.items():
            if other is entry:
                break
            if other.state == "sent" and other.connection is not connection and not other.optional:
                raise Diverged(f"{session.name} got {packet} again before that with id {number} [4.6]")
        entry.connection, entry.optional, entry.doubtful = connection, False, False
        if entry.owed in session.owed:
            session.owed.remove(entry.owed)
        if entry.token and entry.token.state == "loose":
            entry.token.state = "held"
            entry.token.been_at.add(session.name)

    def closed(self, connection, code):
        """The connection ended, after a DISCONNECT with `code` or without one (None)."""
        connection.is_open = False
        self.connections.remove(connection)
        self.quit(connection)
        codes = connection.close_codes
        if not codes and not connection.may_close:
            raise Diverged(f"{connection.name} was closed for no reason, with {code}")
        if connection.version == 5 and codes and code not in codes \
                and not (code is None and self.habits.is_lenient):
            raise Diverged(f"{connection.name} was closed with {code}, not one of {codes}")
        session = connection.session
        if session.connection is connection:
            self.lose(session)

    # --------------------------------------------------------------------------- what is missing

    def check(self):
        """All that was due has been seen."""
        for connection in self.connections:
            if connection.close_codes:
                raise Diverged(f"{connection.name} was not closed with one of {connection.close_codes}")
            for answer in connection.expected:
                if answer.required:
                    raise Diverged(f"{connection.name} got no {answer.kind} of {answer.id}")
            connection.expected.clear()
            connection.seen, connection.may_close = self.now, False
        for session in self.sessions.values():
            if session.connection:
                self.check_session(session)
        for token in self.tokens:
            if token.at_once and token.state == "loose":
                members = self.members(token.text)
                if all(self.is_ready(session) for session in members):
                    raise Diverged(f"{token}: no member got it")
                token.at_once = False
                token.required &= all(min(s.subscriptions[token.text].qos, token.message.qos)
                                      for s in members)

    def check_session(self, session):
        connection, name = session.connection, session.name
        is_open = self.has_window(session)
        for number, entry in session.inflight.items():
            if entry.connection is connection or entry.optional:
                continue
            if entry.state == "released":
                raise Diverged(f"{name} got no PUBREL of {number} again [4.4.0-1]")
            if is_open:
                raise Diverged(f"{name} got {entry.message.payload!r}, id {number}, not again [4.4.0-1]")
        missing = [owed for owed in session.owed if owed.required]
        if is_open and missing:
            raise Diverged(f"{name} did not get {'; '.join(map(str, missing))}")
        if is_open:
            session.replays.clear()
            session.owed = [owed for owed in session.owed if not owed.is_replay]

    def check_drained(self):
        """All clients came back and acknowledged everything: nothing may be left over."""
        for token in self.tokens:
            if token.required and token.state == "loose":
                raise Diverged(f"{token}: lost")
