#!/usr/bin/python3
"""session_seeds.py: writes the seeds of fuzz_session, tests/fuzz/corpus/session/, from the plays below.

Numbers of steps, topics, filters and client ids are read from the target's own tables, so seeds can be made
anew when rows move. Inputs that once broke something stand beside the seeds, as `bug_*`, and are left alone:
they are bytes, and mean what the tables said then, so new rows go to the end or into free places.
"""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = (HERE / "fuzz_session.c").read_text()


def table(name):
    body = re.search(rf"{name}\[[^]]*\] = \{{(.*?)\}};", SOURCE, re.S)[1]
    return re.findall(r'"((?:[^"\\]|\\.)*)"', body) or re.findall(r"\bstep_(\w+)", body)


STEPS, TOPICS, FILTERS, IDS = (table(name) for name in ("steps", "topics", "filters", "client_ids"))
EAGER, ADMIN, DRAIN = 16, 4, 8


class Play:
    def __init__(self, name, reactors=2, flags=EAGER, config=0):
        self.name = name
        self.data = bytearray([reactors - 1 | flags, config])

    def step(self, name, peer, *values):
        self.data += bytes([STEPS.index(name) | peer << 5, *values])
        return self

    def __getattr__(self, name):
        if name not in STEPS:
            raise AttributeError(name)
        return lambda peer=0, *values: self.step(name, peer, *values)

    def comes(self, peer, client_id, version=5, clean=True, will=None, expiry=2, user=False, auth=False,
              how=0, keepalive=0):
        what = {5: 0, 4: 2, 3: 3}[version] | clean << 2 | (will is not None) << 3
        what |= keepalive << 4 | user << 6 | auth << 7
        values = [IDS.index(client_id), what, *([will] if will is not None else []), how | expiry << 6]
        return self.connect(peer, *values)

    def subscribes(self, peer, *pairs, subscription_id=0):
        values = [len(pairs) - 1 | subscription_id << 4, 0]
        for text, options in pairs:
            values += [FILTERS.index(text), options]
        return self.subscribe(peer, *values)

    def publishes(self, peer, topic, qos=0, packet_id=1, retain=False, size=2, dup=False):
        how = qos | retain << 2 | dup << 3 | size << 4
        return self.publish(peer, TOPICS.index(topic), how, packet_id)

    def write(self):
        (HERE / "corpus" / "session" / self.name).write_bytes(self.data)


def all_kinds(name, version, **more):
    """A subscriber of each QoS on each reactor, and a message of each QoS, acknowledged."""
    play = Play(name, **more).comes(0, "a", version).comes(1, "b", version).comes(2, "c", version)
    play.subscribes(0, ("t", 0), ("t/+", 1), ("#", 2)).subscribes(1, ("t/#", 2))
    for qos in range(3):
        play.publishes(2, "t", qos, qos + 1).publishes(2, "t/1", qos, qos + 4, size=4)
    play.answer_all().answer_all().ping(0).unsubscribe(0, 1, 0, 0, 1).disconnect(0).disconnect(1)
    return play.answer_all()


def plays():
    for version in (3, 4, 5):
        yield all_kinds(f"all_kinds_v{version}", version)
    for config in range(8):
        yield all_kinds(f"all_kinds_config_{config}", 5, config=config, reactors=1 + config % 3)
    yield all_kinds("all_kinds_drained", 5, flags=EAGER | DRAIN)
    yield all_kinds("all_kinds_in_pieces_by_hand", 5, flags=0)

    yield Play("retained_set_replayed_cleared").comes(0, "a").publishes(0, "kept/1", 1, 1, retain=True) \
        .publishes(0, "kept/2", retain=True).comes(1, "b").subscribes(1, ("kept/#", 1), ("kept/+", 0)) \
        .answer_all().publishes(0, "kept/1", 0, retain=True, size=0).publish_properties(
            0, TOPICS.index("kept/3"), 4 | 0x20, 0, 4).step("pass", 0, 2).answer_all().step("pass", 0, 4)
    yield Play("wills").comes(0, "a").subscribes(0, ("t/#", 2)).comes(1, "b", will=1).comes(
        2, "c", 4, will=0x84 | 2).comes(3, "d", will=8 | 1).drop(1).drop(2).drop(3).answer_all() \
        .step("pass", 0, 2).answer_all().step("pass", 0, 6).answer_all()
    yield Play("shared_members_leave").comes(0, "a").comes(1, "b").comes(2, "c") \
        .subscribes(0, ("$share/g/#", 1)).subscribes(1, ("$share/g/#", 2)) \
        .subscribes(2, ("$share/h/t", 1), ("$share/g/t/+", 0)) \
        .publish_many(2, 1 | 0x20, 40).drop(0).answer_all().publish_many(2, 2 | 0x80, 30).drop(1) \
        .answer_all().come_back(3, 0).answer_all()
    yield Play("taken_over_across_reactors").come_back(0, 0).subscribes(0, ("t", 1), ("t/#", 2)) \
        .comes(1, "b").publishes(1, "t", 1, 1).publishes(1, "t/1", 2, 2).read(0).come_back(1, 0) \
        .publishes(1, "t", 1, 3).come_back(2, 0).turn(0, 1).turn(1, 1).answer_all().come_back(0, 0) \
        .answer_all().answer_all()
    yield Play("away_queued_back").come_back(0, 1).subscribes(0, ("#", 2)).drop(0).comes(1, "c") \
        .publish_many(1, 1, 60).publish_many(1, 2 | 0x10, 50).come_back(2, 1).answer_all().answer_all() \
        .answer_all()
    yield Play("acknowledged_wrongly").comes(0, "a", how=2).subscribes(0, ("t", 2)).comes(1, "b") \
        .publish_many(1, 2, 9).read(0).ack(0, 0 | 1 << 2).ack(0, 1 | 1 << 2).ack(0, 3 | 1 << 2) \
        .ack(0, 0x80 | 1 | 2 << 2).ack(1, 2 | 0x40, 3).ack(0, 2 | 7 << 2).answer_all()
    yield Play("slow_reader", config=1).open(0, 8).comes(0, "a").subscribes(0, ("t", 1), ("t/#", 0)) \
        .comes(1, "b").publish_many(1, 0x50, 30).publish_many(1, 0x51, 30).step("pass", 0, 1) \
        .publish_many(1, 0xD0, 200).answer_all().answer_all().drop(0)
    yield Play("websocket_in_pieces").open(0, 4).cut(0, 7).comes(0, "a").subscribes(0, ("#", 1)) \
        .open(1, 5).comes(1, "b", 4).publishes(1, "t", 1, 1, size=4).answer_all().ping(0).disconnect(0) \
        .raw(1, 3, 1, 2, 3).answer_all()
    yield Play("every_byte_alone").cut(0, 1).cut(1, 1).comes(0, "a", 5, will=0x2A).comes(1, "b", 3) \
        .subscribes(0, ("t/+", 1)).publishes(1, "t/1", 2, 4).answer_all().disconnect(0, 5)
    yield Play("authentication").comes(0, "a", auth=True).answer_all().auth(0, 4).answer_all() \
        .auth(0, 1).answer_all().auth(0, 12).answer_all().comes(1, "b", auth=True).auth(1, 12).answer_all()
    yield Play("aliases_and_properties").comes(0, "a", how=0x0B).subscribes(0, ("t/#", 1),
                                                                           subscription_id=3) \
        .comes(1, "b").publish_properties(1, 1, 1, 1, 0x7D).publish_properties(1, 10, 1, 2, 1) \
        .publish_properties(1, 10, 0, 0, 3).answer_all()
    yield Play("keepalive_and_connect_timeout").open(0, 0).open(1, 5).comes(2, "a", keepalive=1) \
        .comes(3, "b", keepalive=2, will=1).step("pass", 0, 3).answer_all().step("pass", 0, 4) \
        .step("pass", 0, 4).step("pass", 0, 5).answer_all()
    yield Play("sessions_end_in_time").comes(0, "a", expiry=1, clean=False).subscribes(0, ("#", 1)) \
        .comes(1, "b", expiry=3).subscribes(1, ("$share/g/#", 1)).drop(0).drop(1).step("pass", 0, 3) \
        .step("pass", 0, 7).come_back(2, 1).disconnect(2, 1)
    yield Play("many_filters").comes(0, "a", expiry=2).subscribe_many(0, 15 | 64, 0).answer_all() \
        .publish_many(0, 0x81, 20).come_back(1, 0).unsubscribe_many(1, 7, 0).subscribe_many(1, 9 | 16, 0) \
        .come_back(2, 0).subscribe_many(2, 5 | 32, 0).answer_all()
    yield Play("slow_machine").slow_machine(0, 2).comes(0, "a").subscribe_many(0, 12 | 64, 0).comes(1, "b") \
        .subscribes(1, ("t/#", 1)).publish_many(0, 0x81, 100).come_back(2, 0).slow_machine(0, 3) \
        .publish_many(1, 0x82, 50).answer_all().answer_all()
    yield Play("admin_requests", flags=EAGER | ADMIN).comes(0, "a").subscribes(
        0, ("$SYS/broker/sessions/#", 1), ("$SYS/#", 0)).comes(1, "b", user=True).subscribes(
        1, ("t/1", 1) if "t/1" in FILTERS else ("t/+", 1)) \
        .control(1, 2 | 12, 0, 1, 2, 6).answer_all().control(1, 3, 4).answer_all().control(0, 0, 5) \
        .control(0, 1, 7).answer_all().step("pass", 0, 3).answer_all()
    yield Play("admin_watches_many", flags=EAGER | ADMIN, config=0).comes(0, "a", how=1).subscribes(
        0, ("$SYS/broker/sessions/#", 2), ("$SYS/broker/sessions/a", 1)).come_back(1, 1).come_back(2, 2) \
        .come_back(3, 3).drop(1).come_back(1, 1).read(0).subscribes(0, ("$SYS/broker/sessions/#", 1)) \
        .answer_all().unsubscribe(0, 0, 0, FILTERS.index("$SYS/broker/sessions/#")).control(2, 3, 5)
    yield Play("memory_fails").comes(0, "a").subscribes(0, ("#", 2), ("$share/g/#", 1)).memory_fails(0, 0, 3) \
        .comes(1, "b").publishes(1, "kept/1", 2, 1, retain=True).memory_fails(0, 0x85, 2).come_back(2, 0) \
        .publish_many(1, 1, 20).memory_fails(0, 0x8F, 0).drop(1).answer_all()
    yield Play("memory_limit", config=3).comes(0, "a").subscribes(0, ("#", 1)).drop(0).comes(1, "b") \
        .publish_many(1, 0x61, 30).publish_many(1, 0x71, 20).step("pass", 0, 2).comes(2, "c").answer_all() \
        .come_back(0, 0).answer_all()
    yield Play("reloads").comes(0, "a").subscribes(0, ("#", 1)).reload(0, 3).comes(1, "b").publish_many(
        1, 0x51, 20).reload(0, 5).publish_many(1, 0x52, 20).reload(0, 7).comes(2, "c").answer_all()
    yield Play("malformed").comes(0, "a").mangle(0, 0, 0x40).publishes(0, "t").comes(1, "b").truncate(1, 5) \
        .publishes(1, "t", 1).ping(1).comes(2, "c", 4).mangle(2, 1, 0x80).subscribes(2, ("t", 0)) \
        .raw(3, 0x83, 0, 1, 0x74, 0x30).raw(4, 4, 0x10, 0x80, 0x80, 0).answer_all()
    yield Play("half_closed").comes(0, "a", will=1).publishes(0, "t").shut(0).answer_all() \
        .comes(1, "b", 4).shut(1).check(1).drop(1)


def main():
    folder = HERE / "corpus" / "session"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.name.startswith("bug_"):
            old.unlink()
    for play in plays():
        play.write()


if __name__ == "__main__":
    main()
