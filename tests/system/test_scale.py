"""make scale: small fleets, and machines that cannot hold a large one. tests/bench/scale.py does the work."""

import json
import pathlib
import subprocess
import sys

import pytest

import broker as brokers

pytestmark = pytest.mark.ours

SCALE = pathlib.Path(__file__).resolve().parents[1] / "bench" / "scale.py"
TOOL = pathlib.Path(brokers.BINARY).parent / "dunlin-bench"
SHORT = ["--rest", "3", "--still", "0.2", "--rate", "1000", "--build", str(pathlib.Path(brokers.BINARY).parent)]

sys.path.insert(0, str(SCALE.parent))
import scale  # noqa: E402


def run_scale(*arguments):
    return subprocess.run([sys.executable, SCALE, *SHORT, *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=240)


PRIVATE = pytest.param(["--private"], marks=pytest.mark.skipif(
    brokers.IS_TSAN, reason="ThreadSanitizer knows one table only"))


@pytest.mark.parametrize("tables", [[], PRIVATE])
def test_a_small_fleet_is_measured_from_end_to_end(tmp_path, tables):
    path = tmp_path / "scale.json"
    done = run_scale("1000", "--ping-every", "2", "--markdown", "--json", str(path), *tables)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(path.read_text())
    figures = told["figures"]
    assert figures["connected"] == told["load"]["ready"] == told["load"]["delivered"] == 1000
    assert figures["message_us"]["count"] == 1000 and figures["returned"] == 100
    assert figures["rest_pings"] > 0
    assert figures["rss_start"] < figures["rss_connected"]
    assert figures["user_bytes"] > 0 and figures["load_bytes"] > 0
    assert "| sessions connected, each with a subscription of its own" in done.stdout
    assert ("of each reactor" if tables else "of the process") in done.stderr


@pytest.mark.skipif(brokers.SANITIZED, reason="sanitizers keep what is freed")
@pytest.mark.config(reactors=1, connection_messages="false", fresh=True)
def test_a_burst_of_connects_and_disconnects_takes_no_more_memory_than_the_one_before(broker):
    def burst():
        done = subprocess.run([TOOL, "connect",
                               "--clients", "3000", "--port", str(broker.port), "--pid",
                               str(broker.process.pid), "--seconds", "0.1", "--warmup", "0", "--json"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        broker.settle()
        return json.loads(done.stdout)["broker"]
    first = burst()
    assert first["rss_connected"] > first["rss_start"] + 3000 * 200
    for _ in range(4):
        last = burst()
    assert last["rss_connected"] < first["rss_connected"] * 1.1
    assert scale.rss_bytes(broker.process.pid) < first["rss_connected"] * 1.1


@pytest.mark.skipif(brokers.SANITIZED, reason="sanitizers have an allocator of their own")
@pytest.mark.config(reactors=1, fresh=True)
@pytest.mark.parametrize("payload", [100000, 300000, 1000000, 1900000])
def test_large_messages_find_the_memory_of_those_before(broker, connect, payload):
    """Each of their pages (250 in a megabyte) was taken back by the kernel after each message, and given again."""
    def page_faults():
        return int(pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[7])

    def exchange():
        for _ in range(20):
            client.publish("large", bytes(payload))
            client.expect_publish("large", bytes(payload))
    client = connect()
    client.subscribe("large")
    exchange()
    before = page_faults()
    exchange()
    assert page_faults() - before < 20 * 20


def test_what_a_machine_does_not_have_is_said_with_the_command_that_sets_it():
    done = run_scale("15000000")
    assert done.returncode == 1 and done.stdout == ""
    assert "do not fit" in done.stderr
    assert "memory available" in done.stderr


def test_only_ceilings_are_set():
    def setting(command):
        return scale.Missing("a name", "1", ">= 2", command).setting()
    assert setting("sysctl -w fs.file-max=2000000") == ("fs.file-max", "2000000")
    assert setting('sysctl -w net.ipv4.tcp_mem="1 2 3"') == ("net.ipv4.tcp_mem", "1 2 3")
    assert setting("sysctl -w net.ipv4.ip_forward=1") is None
    assert setting("MemoryMax=infinity in the unit") is None


def test_settings_are_put_back(tmp_path):
    file = tmp_path / "net" / "core" / "somaxconn"
    file.parent.mkdir(parents=True)
    file.write_text("128\n")
    with scale.Settings(tmp_path) as settings:
        settings.set("net.core.somaxconn", "65535")
        assert file.read_text() == "65535"
    assert file.read_text() == "128"
