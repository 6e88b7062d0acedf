"""tests/bench/peers.py: whose CPU is counted, when a peer has no figure, what is said of one that is not there."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import pytest

import broker as brokers

pytestmark = pytest.mark.ours

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"
BUILD = pathlib.Path(brokers.BINARY).parent
MOSQUITTO = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")

sys.path.insert(0, str(BENCH))
import peers  # noqa: E402
import run  # noqa: E402

MESSAGES, IDLE = peers.SCENARIOS[0], peers.SCENARIOS[-1]

# A peer that answers the first client as a broker would, but grants QoS 0 to all, and closes all others.
POOR = """#!/usr/bin/python3
import socket, sys
port = int(open(sys.argv[2]).readline().split()[1])
listener = socket.create_server(("127.0.0.1", port))
listener.accept()[0].close()
while True:
    client = listener.accept()[0]
    if client.recv(100):
        client.sendall(b"\\x20\\x02\\x00\\x00")
        client.recv(100)
        client.sendall(b"\\x90\\x03\\x00\\x01\\x00")
    client.close()
"""


def run_peers(*arguments, path=None):
    environment = dict(os.environ, PATH=path or os.environ["PATH"])
    return subprocess.run([sys.executable, BENCH / "peers.py", "--build", str(BUILD), "--quick", *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200, env=environment)


def cells(text, first):
    """Of the lines of the tables whose first cell begins so, without it."""
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in text.split("\n")
            if line.startswith("| " + first)]


def program(folder, text):
    path = folder / "mosquitto"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def message_result(**figures):
    return {"steps": {"run": {"count": 9}}, "broker": {"cpu_us": 4.0, "session_bytes": None}, **figures}


def test_cpu_of_processes_beside_the_broker_is_a_share_of_its_own():
    result = message_result()
    peers.add_others(result, {1: (1000, 0), 2: (500, 0)}, {1: (3000, 0), 2: (1000, 0), 3: (500, 0)}, 1, 10)
    assert result["broker"]["cpu_us"] == 4.0 * (1 + (500 + 500) / 2000)


def test_memory_of_processes_beside_the_broker_is_spread_over_the_sessions():
    result = {"broker": {"cpu_us": None, "session_bytes": 100.0}}
    peers.add_others(result, {1: (0, 50), 2: (0, 4000)}, {1: (9, 99), 2: (9, 5000), 3: (9, 200)}, 1, 10)
    assert result["broker"]["session_bytes"] == 100.0 + (1000 + 200) / 10


def test_a_tree_is_the_process_and_all_below_it_and_ends_as_a_whole():
    process = run.spawn(["/bin/sh", "-c", "sh -c 'sleep 100 & echo; wait' & wait"], None, stdout=subprocess.PIPE)
    process.stdout.readline()
    below = peers.tree(process.pid)
    assert len(below) == 3 and process.pid in below
    peers.end_tree(process)
    process.communicate(timeout=20)  # what they write has an end only when all have ended
    assert process.returncode is not None


@pytest.mark.parametrize("key", peers.SPOILS)
def test_a_run_in_which_something_went_wrong_has_no_figure(key):
    assert peers.figure(MESSAGES, message_result(**{key: 0})) == 4.0
    assert peers.figure(MESSAGES, message_result(**{key: 1234})) is None
    assert peers.reason(MESSAGES, message_result(**{key: 1234})) == f"{key} 1,234"


def test_a_run_without_deliveries_or_without_all_clients_has_no_figure():
    assert peers.figure(MESSAGES, message_result(steps={"run": {"count": 0}})) is None
    idle = {"broker": {"session_bytes": 405.0}, "clients": 5000, "connected": 5000}
    assert peers.figure(IDLE, idle) == 405.0
    assert peers.figure(IDLE, {**idle, "connected": 4999}) is None
    assert "4,999 of 5,000" in peers.reason(IDLE, {**idle, "connected": 4999})


def test_what_is_not_installed_is_said_with_how_to_get_it():
    done = run_peers("--list", "--peers", "mosquitto,aedes,nats-server", "--mosquitto", "/nowhere/mosquitto",
                     "--node-modules", "/nowhere", path="/nowhere")
    assert done.returncode == 0
    assert "without mosquitto: apt-get install mosquitto" in done.stderr
    assert "without aedes: npm install aedes" in done.stderr
    assert done.stdout.split() == [s.name for s in peers.SCENARIOS] + (
        ["nats-server"] if os.path.exists("/usr/sbin/nats-server") else [])


@pytest.mark.parametrize("arguments, words", [
    (["--peers", "nonsense"], "no nonsense; there are mosquitto, rabbitmq"),
    (["--only", "nonsense"], "no such scenario; there are pairs-qos0"),
])
def test_a_wrong_name_is_said_with_those_there_are(arguments, words):
    done = run_peers(*arguments)
    assert (done.returncode, done.stdout) == (2, "") and words in done.stderr


def test_the_grant_of_a_subscription_is_asked_of_the_broker(broker):
    there = types.SimpleNamespace(port=broker.port)
    assert [peers.granted(there, qos) for qos in (0, 1, 2)] == [0, 1, 2]


@pytest.mark.parametrize("text, only, words", [
    ("#!/bin/sh\necho no such thing\nexit 1\n", "pairs-qos0", "does not listen; it said: no such thing"),
    (POOR, "pairs-qos2", "no QoS 2: a subscription to it is granted 0"),
])
def test_a_peer_that_cannot_has_a_dash_and_a_reason_below(tmp_path, text, only, words):
    done = run_peers("--peers", "mosquitto", "--mosquitto", program(tmp_path, text), "--only", only,
                     "--seconds", "0.5", "--markdown")
    assert done.returncode == 0, done.stdout + done.stderr
    figures, ratios = cells(done.stdout, only)
    assert float(figures[0]) > 0 and figures[1] == "-" and ratios == ["-"]
    assert f"- mosquitto, {only}, 1 of 1 rounds: " in done.stdout and words in done.stdout


@pytest.mark.skipif(not MOSQUITTO, reason="mosquitto is not installed")
def test_a_short_run_beside_mosquitto_has_a_figure_of_both_and_their_ratio(tmp_path):
    done = run_peers("--peers", "mosquitto", "--mosquitto", MOSQUITTO, "--only", "pairs-qos1,idle", "--seconds",
                     "1", "--markdown", "--json", str(tmp_path / "all.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads((tmp_path / "all.json").read_text())["scenarios"]
    for scenario, first in zip(measured, ("pairs-qos1", "idle-5k")):
        ours, other = (scenario["results"][name][0] for name in ("dunlin", "mosquitto"))
        assert scenario["name"] == first and ours["clients"] == other["clients"]
        key = "session_bytes" if first == "idle-5k" else "cpu_us"
        figures, ratios = cells(done.stdout, first)
        assert float(ratios[0]) == pytest.approx(ours["broker"][key] / other["broker"][key], abs=0.001)
        assert all(float(text.replace(",", "")) > 0 for text in figures)
