"""Sequences nobody thought of: scripts made by chance, with a model of a broker beside the broker.

`make conformance-random SEEDS=1-1000` runs more of them. Scripts in random/ once differed, and are run again here.
"""

import contextlib
import hashlib
import pathlib

import pytest

import broker as brokers
import random_driver
import random_habits
import random_model
import random_parts
import random_run
import random_steps
from mqtt_codec import Packet
from random_steps import Step
from support import peer_fails

SCRIPTS = sorted((pathlib.Path(__file__).parent / "random").glob("*.txt"))
CHUNK, CHUNKS = 10, 12
SEEDS_OF_MUTANTS = range(1, 301)  # most are noticed within ten, what expires in one of twenty


@pytest.fixture(scope="module")
def driver():
    """With a broker of its own, as the scripts subscribe to everything there is."""
    target = brokers.Remote(brokers.REMOTE) if brokers.REMOTE else brokers.Broker()
    made = random_habits.driver_for(target)
    yield made
    made.close()
    if not brokers.REMOTE:
        target.stop()


def differs(driver, steps):
    try:
        return driver.run(steps)
    except random_parts.Inconclusive:
        return None


@pytest.mark.parametrize("first", range(1, CHUNK * CHUNKS, CHUNK))
@peer_fails("it differs in what other tests show one by one")
def test_whatever_clients_do_the_broker_does_what_the_model_allows(driver, first):
    for seed in range(first, first + CHUNK):
        said = differs(driver, random_steps.of_seed(seed))
        assert not said, f"{said}\nmake conformance-random SEEDS={seed} makes it shorter"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
@peer_fails("it differs in what other tests show one by one")
def test_scripts_that_once_differed_agree(driver, path):
    assert not differs(driver, random_steps.from_text(path.read_text()))


# ------------------------------------------------------------------- the model would notice


class Forgets(random_model.Model):
    """Every fifth message goes to nobody."""
    count = 0

    def publish(self, message, dying=None):
        self.count += 1
        return self.count % 5 and super().publish(message, dying)


class Invents(random_model.Model):
    """A session that loses its connection is owed a message that nobody has published."""

    def lose(self, session):
        super().lose(session)
        message = random_parts.Message("c0", "a", b"never sent", 1)
        session.owed.append(random_parts.Owed(message, (1, frozenset([False]), ()), True))


class ResendsNothing(random_model.Model):
    """What was sent once is settled with the connection."""

    def lose(self, session):
        session.inflight.clear()
        super().lose(session)


class KeepsSessions(random_model.Model):
    """Sessions outlive their connections whatever was agreed."""

    def lose(self, session):
        session.expiry = random_parts.FOREVER
        super().lose(session)


class SendsNoWill(random_model.Model):
    def send_will(self, session, dying=None):
        session.will = session.will_due = None


class RetainsNothing(random_model.Model):
    def retain(self, message):
        pass


class IgnoresNoLocal(random_model.Model):
    def do_subscribe(self, session, connection, fields):
        operations = super().do_subscribe(session, connection, fields)
        for sub in session.subscriptions.values():
            sub.no_local = False
        return operations


class IgnoresExpiry(random_model.Model):
    def is_over(self, message):
        return False


class SharesWithAll(random_model.Model):
    """Every member of a group gets each message."""

    def share(self, message, text, members):
        for session in members:
            self.owe(session, message, session.subscriptions[text].form(message), text, True)
        return random_parts.Token(message, text, {}, True, False)


class ForgetsIds(random_model.Model):
    """A repeated PUBLISH at QoS 2 is a new message."""

    def do_publish(self, session, connection, fields):
        session.received.clear()
        return super().do_publish(session, connection, fields)


MUTANTS = [Forgets, Invents, ResendsNothing, KeepsSessions, SendsNoWill, RetainsNothing,
           IgnoresNoLocal, IgnoresExpiry, SharesWithAll, ForgetsIds]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_model_of_another_broker_differs(driver, mutant):
    if not driver.can_turn and mutant is IgnoresExpiry:
        pytest.skip("needs a broker whose clock can be turned")
    wrong = random_driver.Driver(driver.broker, driver.probes, driver.habits, driver.prefix,
                                 driver.can_turn, mutant)
    assert any(differs(wrong, random_steps.of_seed(seed)) for seed in SEEDS_OF_MUTANTS)


# -------------------------------------------------------------------------------- the model alone


def publish(topic, payload, qos=0, number=None, **fields):
    return Packet("PUBLISH", 0, **{"topic": topic, "payload": payload, "qos": qos, "id": number, "dup": False,
                                   "retain": False, "props": {}, **fields})


@pytest.fixture
def alone():
    """A model with a subscriber c0 and a publisher c1, without any broker; and its two connections."""
    model = random_model.Model()
    for name in ("c0", "c1"):
        ((_, connection, _),) = model.apply(Step("connect", name, {"version": 5, "clean": True,
                                                                   "expiry": 100}))
        model.observe(connection, Packet("CONNACK", 0, code=0, session_present=False, props={}))
    model.apply(Step("subscribe", "c0", {"id": 1, "filters": [["a", 1, 0, 0, 0]]}))
    model.observe(model.sessions["c0"].connection, Packet("SUBACK", 0, id=1, codes=[1]))
    model.check()
    return model, *model.connections


def say(model, number, payload="x"):
    model.apply(Step("publish", "c1", {"topic": "a", "payload": payload, "qos": 1, "id": number}))
    model.observe(model.sessions["c1"].connection, Packet("PUBACK", 0, id=number, code=0))


def test_the_model_takes_what_is_right(alone):
    model, c0, _ = alone
    say(model, 1)
    model.observe(c0, publish("a", b"x", 1, 7))
    model.check()
    assert model.apply(Step("ack", "c0", {"which": 0})) == [
        ("ack", c0, {"kind": "PUBACK", "id": 7, "code": None})]
    model.check_drained()


@pytest.mark.parametrize("wrong", [
    publish("b", b"x", 1, 7), publish("a", b"y", 1, 7), publish("a", b"x"), publish("a", b"x", 2, 7),
    publish("a", b"x", 1, 7, retain=True), publish("a", b"x", 1, 7, dup=True),
    publish("a", b"x", 1, 7, props={"subscription_id": [1]}),
    publish("a", b"x", 1, 7, props={"message_expiry": 10})], ids=str)
def test_the_model_sees_a_message_that_is_not_what_was_published(alone, wrong):
    model, c0, _ = alone
    say(model, 1)
    with pytest.raises(random_parts.Diverged):
        model.observe(c0, wrong)


def test_the_model_misses_a_message_that_does_not_come(alone):
    model, _, _ = alone
    say(model, 1)
    with pytest.raises(random_parts.Diverged, match="did not get"):
        model.check()


def test_the_model_sees_messages_out_of_order(alone):
    model, c0, _ = alone
    say(model, 1, "one")
    say(model, 2, "two")
    with pytest.raises(random_parts.Diverged, match="before"):
        model.observe(c0, publish("a", b"two", 1, 7))


def test_the_model_sees_an_end_without_a_reason(alone):
    model, c0, _ = alone
    with pytest.raises(random_parts.Diverged, match="no reason"):
        model.closed(c0, None)


def come_back(model, name, **fields):
    """Connects anew; the connection, on which the session has been found."""
    ((_, connection, _),) = model.apply(Step("connect", name, {"version": 5, "clean": False, "expiry": 100,
                                                               **fields}))
    model.observe(connection, Packet("CONNACK", 0, code=0, session_present=True, props={}))
    return connection


def join_group(model, name, qos):
    model.apply(Step("subscribe", name, {"id": 2, "filters": [["$share/g/a", qos, 0, 0, 0]]}))
    model.observe(model.sessions[name].connection, Packet("SUBACK", 0, id=2, codes=[qos]))


def drop(model, name):
    connection = model.sessions[name].connection
    model.apply(Step("drop", name, {}))
    model.closed(connection, None)


AGAIN, ANEW = publish("a", b"x", 1, 7, dup=True), publish("a", b"x", 1, 8)


@pytest.mark.parametrize("came, said", [
    ([AGAIN], None), ([ANEW], None), ([], "did not get"), ([AGAIN, ANEW], "no reason"),
    ([ANEW, AGAIN], "not to be sent again")], ids=["again", "anew", "lost", "twice", "twice, the other way"])
def test_one_of_two_equal_copies_comes_where_another_member_has_got_the_groups(alone, came, said):
    """Which of the two was in flight nobody knows: it comes again, or the one that waited comes."""
    model, _, c1 = alone
    drop(model, "c0")
    come_back(model, "c0", receive_max=1)
    join_group(model, "c0", 1)
    say(model, 1)
    model.observe(model.sessions["c0"].connection, publish("a", b"x", 1, 7))
    model.check()
    join_group(model, "c1", 0)
    drop(model, "c0")
    model.observe(c1, publish("a", b"x"))
    model.check()
    c0 = come_back(model, "c0")
    with pytest.raises(random_parts.Diverged, match=said) if said else contextlib.nullcontext():
        for packet in came:
            model.observe(c0, packet)
        model.check()


def test_the_model_stops_after_each_thing_that_falls_due(alone):
    model, _, _ = alone
    model.apply(Step("drop", "c0", {}))
    assert list(model.turns(40)) == [40]
    model.apply(Step("drop", "c1", {}))
    seen = [(amount, sorted(model.sessions)) for amount in model.turns(200)]
    assert seen == [(60 + random_model.SLACK_S, ["c1"]), (40, []), (100 - random_model.SLACK_S, [])]


def test_two_things_that_fall_due_together_are_left_undecided(alone):
    model, _, _ = alone
    for name in ("c0", "c1"):
        model.apply(Step("drop", name, {}))
    with pytest.raises(random_parts.Inconclusive):
        list(model.turns(200))


# ----------------------------------------------------------------------------- steps and shrinking


def test_a_seed_makes_the_same_steps_everywhere():
    text = "".join(random_steps.to_text(random_steps.of_seed(seed)) for seed in range(20))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "3962cae279899dde"


@pytest.mark.parametrize("seed", range(20))
def test_steps_come_back_from_their_text(seed):
    steps = random_steps.of_seed(seed)
    assert random_steps.from_text(random_steps.to_text(steps)) == steps


def test_what_differs_is_made_as_short_as_it_can_be():
    steps = [Step("publish", "c0", {"topic": "a", "payload": str(n), "qos": 0, "retain": True})
             for n in range(50)]

    def has_both(some):
        return {"7", "31"} <= {step.fields["payload"] for step in some}

    short = random_run.shrunk(steps, has_both)
    assert random_steps.to_text(short) == (
        'publish c0 topic="a" payload="7" qos=0\npublish c0 topic="a" payload="31" qos=0\n')
