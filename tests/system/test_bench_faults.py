"""dunlin-bench sees what a broker does wrong: a proxy does it, and knows how often it did."""

import json
import subprocess
import time

import pytest

from bench_proxy import EVERY, Faulty
from bench_tool import TOOL

pytestmark = [pytest.mark.ours, pytest.mark.config(max_queued_messages=0, max_inflight_messages=0)]

PUBLISH, PUBACK, PINGRESP = 3, 4, 13


@pytest.fixture
def spoil(broker):
    """Runs the tool against this broker with a fault between them: its JSON, and how often it happened."""
    made = []

    def run(kind, fault, arguments, *, status=3, seconds=0.5, late=0):
        proxy = Faulty(broker.port, kind, fault, late)
        made.append(proxy)
        port = proxy.listener.getsockname()[1]
        done = subprocess.run([TOOL, *arguments.split(), "--port", str(port), "--json", "--seconds", str(seconds),
                               "--warmup", "0.1"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout), proxy.done
    yield run
    for proxy in made:
        proxy.listener.close()


def wrong(result):
    names = "lost duplicate disordered foreign unacked unanswered unsent refused closed".split()
    return {name: result[name] for name in names if result[name]}


# Shared at QoS 0: at QoS 1 what one member did not get goes to another when it leaves, also at the tool's end.
FLOWS = ["pairs --clients 3 --rate 600", "fanout --clients 4 --rate 100", "telemetry --clients 6 --dashboards 2 --rate 600",
         "shared --clients 2 --members 3 --rate 600", "fanin --clients 3 --rate 600 --qos 2 --version 5"]


@pytest.mark.parametrize("arguments", FLOWS)
def test_messages_that_never_arrive_are_lost(spoil, arguments):
    result, dropped = spoil(PUBLISH, Faulty.drop, arguments)
    assert wrong(result) == {"lost": dropped} and dropped > 0
    assert result["delivered"] == result["expected"] - dropped


@pytest.mark.parametrize("arguments", FLOWS)
def test_messages_that_arrive_twice_are_duplicates_and_count_as_delivered_once(spoil, arguments):
    result, doubled = spoil(PUBLISH, Faulty.double, arguments)
    assert wrong(result) == {"duplicate": doubled} and doubled > 0
    assert result["delivered"] == result["expected"]
    run = result["steps"]["run"]
    assert run["count"] <= result["delivered"] and run["latency_us"]["count"] <= result["delivered"]


def test_messages_that_are_overtaken_are_out_of_order(spoil):
    result, swapped = spoil(PUBLISH, Faulty.swap, "pairs --clients 1 --rate 600")
    assert swapped > 0 and result["disordered"] == swapped
    assert set(wrong(result)) <= {"disordered", "lost"} and result["lost"] <= 1  # the last may be held back


def test_messages_that_are_altered_are_foreign_and_lost(spoil):
    result, altered = spoil(PUBLISH, Faulty.alter, "pairs --clients 2 --rate 600")
    assert wrong(result) == {"lost": altered, "foreign": altered} and altered > 0


def test_messages_that_are_never_acknowledged_are_told(spoil):
    result, dropped = spoil(PUBACK, Faulty.drop, "pairs --clients 2 --rate 600 --qos 1")
    assert wrong(result) == {"unacked": dropped} and dropped > 0
    assert result["acked"] == result["sent"] - dropped


def test_pings_that_are_never_answered_are_told(spoil):
    result, dropped = spoil(PINGRESP, Faulty.drop, "ping --clients 50 --rate 400")
    assert wrong(result) == {"unanswered": dropped} and dropped > 0
    assert result["pongs"] == result["pings"] - dropped


@pytest.mark.parametrize("options", ["", "--qos 1 --version 5"])
def test_cycles_whose_message_is_lost_are_given_up_and_others_follow(spoil, options):
    result, dropped = spoil(PUBLISH, Faulty.drop, f"churn --clients 2 --timeout 1 {options}", seconds=3)
    assert wrong(result) == {"lost": dropped} and dropped > 0
    assert result["cycles"] == result["delivered"] > EVERY
    assert dropped - 2 <= result["stalled"] <= dropped  # those of the last moment are not given up


def test_a_cycle_does_not_reach_the_one_before_it_that_the_broker_has_not_seen_end(spoil):
    result, tenths = spoil(PUBLISH, Faulty.keep, "churn --clients 2", status=0, late=0.05)
    # At the end each of the two may send one more that is not counted.
    assert not wrong(result) and tenths in (result["sent"] // EVERY, (result["sent"] + 2) // EVERY)


@pytest.mark.parametrize("arguments, step", [("scale --clients 100 --rate 0", "messages"),
                                             ("retained --clients 2 --topics 100", "replay"),
                                             ("subscribe --clients 2 --filters 100", "prove")])
def test_a_step_is_not_complete_because_others_came_twice(spoil, arguments, step):
    def fault(proxy, packet, held):
        if proxy.seen[PUBLISH] % (2 * EVERY):
            return packet + packet
        return Faulty.drop(proxy, packet, held)
    result, dropped = spoil(PUBLISH, fault, arguments + " --timeout 2")
    assert 0 < result["lost"] <= dropped and result["duplicate"] > 0  # some that clear what is retained, too
    assert not result["steps"][step]["complete"]


# ---- an open loop that is held up across its step's end ----

SECONDS, WARMUP, HELD = 0.6, 0.1, 3


def held_at(number):
    """A fault that lets nothing of its kind through for a while, from this packet on."""
    def fault(proxy, packet, _held):
        if proxy.seen[proxy.kind] == number:
            proxy.done += 1
            time.sleep(HELD)  # and everyone waits who has such a packet
        return packet
    return fault


def check_held(latency, rate):
    """Everything that was due in the step has its latency, and what was held up its seconds: more than half of it."""
    assert latency["count"] == pytest.approx(rate * SECONDS, abs=1)
    assert latency["p50"] > 1_000_000 and latency["max"] > (HELD - SECONDS) * 1_000_000


@pytest.mark.parametrize("kind, rate, arguments", [
    (PUBLISH, 400, "telemetry --clients 10 --dashboards 2"),
    (PUBLISH, 400, "pairs --clients 5 --qos 1"),
    (PUBLISH, 400, "pairs --clients 5 --qos 2 --version 5"),
    (PINGRESP, 400, "ping --clients 20"),
    (PUBLISH, 100, "churn --clients 8 --qos 1"),
])
def test_what_was_due_in_an_open_loop_has_its_latency_when_it_is_held_up_across_the_end(spoil, kind, rate, arguments):
    number = int(rate * SECONDS / 2 // EVERY * EVERY)  # before the middle of what is measured
    result, held = spoil(kind, held_at(number), f"{arguments} --rate {rate}", status=0, seconds=SECONDS)
    assert held == 1 and not wrong(result)
    run = result["steps"]["run"]
    check_held(run["latency_us"], rate)
    # What came while it drained is none of what the broker did in the step.
    assert run["count"] <= number or run["seconds"] > HELD


@pytest.mark.config(max_queued_messages=0, max_inflight_messages=0, receive_maximum=20)
def test_what_the_receive_maximum_held_back_is_sent_while_it_drains(spoil):
    arguments = "pairs --clients 2 --rate 400 --qos 1 --version 5"
    result, held = spoil(PUBACK, held_at(120), arguments, status=0, seconds=SECONDS)
    assert held == 1 and not wrong(result)
    assert result["steps"]["run"]["latency_us"]["count"] == pytest.approx(400 * SECONDS, abs=1)
    assert result["late_us"]["max"] > (HELD - SECONDS) * 1_000_000


def test_witnesses_have_what_was_due_in_a_step_counted_there(spoil):
    result, held = spoil(PUBLISH, held_at(60), "storm --clients 20 --witnesses 2", status=0, seconds=SECONDS)
    assert held == 1 and not wrong(result)
    check_held(result["steps"]["calm"]["witness_us"], 200)


@pytest.mark.parametrize("kind, arguments", [(PINGRESP, "ping --clients 5 --rate 400"),
                                             (PUBLISH, "churn --clients 5 --rate 100")])
def test_what_was_due_and_never_sent_is_told(spoil, kind, arguments):
    def fault(proxy, packet, held):
        return Faulty.drop(proxy, packet, held) if proxy.seen[kind] >= EVERY else packet
    result, _ = spoil(kind, fault, arguments + " --timeout 30", seconds=1)
    assert result["unsent"] > 0
    begun = result["pings"] if kind == PINGRESP else result["sent"]
    assert begun + result["unsent"] == pytest.approx((400 if kind == PINGRESP else 100) * 1.1, rel=0.2)
