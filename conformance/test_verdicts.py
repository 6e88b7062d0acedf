"""What a run says of a clause: one test that fails is enough, but only against what it has seen."""

import types

import pytest

import clauses
import harness

WINDOW, ORDER = "MQTT-3.3.4-9", "MQTT-4.6.0-6"


def result(outcome, shown, broken=""):
    return {"outcome": outcome, "broken": broken, **shown}


def verdicts(*results, standard="5.0"):
    return clauses.verdicts_of({str(number): one for number, one in enumerate(results)}, standard)


PASSED = result("passed", {"5.0": [ORDER], "3.1.1": [ORDER]})
SKIPPED = result("skipped", {"5.0": [ORDER]})
FAILED = result("failed", {"5.0": [ORDER]})
BROKEN = result("failed", {"5.0": [ORDER]}, WINDOW)  # a test of order, ended by a packet beyond the window
ABOUT_IT = result("failed", {"5.0": [ORDER, WINDOW]}, WINDOW)


@pytest.mark.parametrize("results, order", [
    ([PASSED], "pass"), ([SKIPPED], "skip"), ([PASSED, SKIPPED], "pass"), ([PASSED, FAILED], "fail"),
    ([PASSED, BROKEN], "pass"), ([SKIPPED, BROKEN], "fail"), ([PASSED, ABOUT_IT], "fail")])
def test_a_clause_fails_by_tests_that_saw_it_fail_or_by_none_that_saw_it_kept(results, order):
    assert verdicts(*results)[ORDER] == order


def test_a_packet_that_breaks_a_clause_counts_against_that_clause():
    assert verdicts(PASSED, BROKEN)[WINDOW] == "fail"
    assert WINDOW not in verdicts(PASSED, BROKEN, standard="3.1.1")


def test_a_test_of_an_older_version_counts_as_it_ended():
    assert verdicts(result("failed", {"3.1.1": [ORDER]}, WINDOW), standard="3.1.1") == {ORDER: "fail"}


@pytest.mark.parametrize("message, clause", [
    ("mqtt_codec.Malformed: 3 in flight, allowed are 2 [3.3.4-9]", WINDOW),
    ("mqtt_codec.Malformed: SUBACK: no codes", ""), ("AssertionError: out of order [4.6.0-6]", "")])
def test_the_clause_that_a_packet_broke_is_read_from_what_ended_the_test(message, clause):
    crash = types.SimpleNamespace(message=message)
    report = types.SimpleNamespace(longrepr=types.SimpleNamespace(reprcrash=crash))
    assert harness.broken_by(report) == clause
