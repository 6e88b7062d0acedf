"""How tests run dunlin-bench, and what is true of its figures when all went well."""

import json
import pathlib
import subprocess

import pytest

import broker as brokers

TOOL = pathlib.Path(brokers.BINARY).parent / "dunlin-bench"
END_S = 120
LATENCY = {"count", "p50", "p90", "p99", "p999", "max"}
COUNTERS = """ready connected sent acked expected delivered duplicate disordered foreign pings pongs cycles filters
replays refused closed retried timeouts timeouts_again stalled unanswered unsent lost unacked""".split()
# Not "stalled", a second without progress: that may well be the machine's.
TROUBLE = """duplicate disordered foreign refused closed retried timeouts timeouts_again unanswered unsent
lost unacked""".split()
LOSSLESS = {"max_queued_messages": 0, "max_inflight_messages": 0}


def run_tool(arguments, **options):
    return subprocess.run([TOOL, *arguments.split()], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=END_S, **options)


def run(broker, arguments, status=0, moment="--seconds 0.3 --warmup 0.1"):
    """The JSON of a run against this broker."""
    done = run_tool(f"{arguments} --port {broker.port} --json {moment}")
    assert done.returncode == status, done.stderr + done.stdout
    assert done.stderr == ""
    return json.loads(done.stdout)


def fails(arguments, status=1):
    """What the tool says when it cannot do this: one line, or two where --help is named."""
    done = run_tool(arguments)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.startswith("dunlin-bench: ") or "unrecognized" in done.stderr
    return done.stderr


def check_latency(latency):
    assert set(latency) == LATENCY
    if latency["count"]:
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"]
        assert latency["p999"] <= latency["max"]


def check_sums(result):
    """Everything is there, nothing is wrong, and the numbers agree with each other."""
    assert set(COUNTERS) <= set(result)
    assert {name: result[name] for name in TROUBLE} == dict.fromkeys(TROUBLE, 0)
    assert result["delivered"] == result["expected"]
    if result["qos"] and not result["witnesses"]:  # theirs are QoS 0
        assert result["acked"] == result["sent"]
    check_latency(result["latency_us"])
    for step in result["steps"].values():
        assert step["complete"]
        check_latency(step["latency_us"])
        assert step["per_second"] == pytest.approx(step["count"] / step["seconds"], rel=0.01, abs=1)
