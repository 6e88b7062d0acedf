"""dunlin-bench --pid: CPU, memory and loop delay of the broker, and no figure where nothing is known."""

import contextlib
import json
import re
import subprocess
import threading

import pytest

import broker as brokers
import client
from bench_proxy import Faulty
from bench_tool import END_S, LOSSLESS, TOOL, check_sums, run, run_tool

pytestmark = pytest.mark.ours

OURS = dict(LOSSLESS, sys_interval=1, fresh=True)
PUBLISH = 3
MOMENT = "--seconds 2 --warmup 0.2"
DELAY = b"$SYS/broker/reactors/0/loop_delay_us_max"
LONG_S = 1000  # a sys_interval that passes when the test turns the clock, and not before


@contextlib.contextmanager
def turning(broker):
    """$SYS is published meanwhile: the broker's seconds are ours to give."""
    end = threading.Event()

    def turn():
        while not end.wait(0.05):
            broker.turn(300)
    turner = threading.Thread(target=turn)
    turner.start()
    try:
        yield
    finally:
        end.set()
        turner.join()


@pytest.mark.parametrize("transport", [
    pytest.param("", marks=pytest.mark.config(**OURS)),
    pytest.param("--websocket", marks=pytest.mark.config(**OURS, protocol="websockets")),
])
def test_a_pid_gives_cpu_memory_and_loop_delay(broker, transport):
    with turning(broker):
        result = run(broker, f"telemetry --clients 50 --rate 500 --pid {broker.process.pid} {transport}", moment=MOMENT)
    check_sums(result)
    told = result["broker"]
    assert told["cpu_us"] > 0 and told["cpu_percent"] > 0 and told["connect_cpu_us"] > 0
    assert told["rss_start"] > 0 and told["rss_connected"] > 0 and told["rss_end"] > 0
    assert told["loop_delay_us"] >= 0
    assert {"cpu_us", "cpu_percent", "user_percent", "rss"} == set(result["steps"]["run"]["broker"])


class Telling(Faulty):
    """Tells delays of its own in $SYS, after each uptime; none where `delays` has None, as when it has not changed."""

    def __init__(self, port, delays):
        super().__init__(port, PUBLISH, None)
        self.delays = list(delays)

    def spoilt(self, packet, held):
        is_live = packet[0] == PUBLISH << 4
        if b"loop_delay_us_max" in packet:
            return b""
        if b"$SYS/broker/uptime" in packet and is_live and self.delays:
            delay = self.delays.pop(0)
            return packet if delay is None else packet + self.publish(DELAY, b"%d" % delay)
        return packet

    @staticmethod
    def publish(topic, payload):
        return bytes([PUBLISH << 4, 2 + len(topic) + len(payload), 0, len(topic)]) + topic + payload


@pytest.mark.config(**OURS)
@pytest.mark.parametrize("delays, told", [
    ([5000, 8, 7], 8),       # the first round is of a time before the run
    ([5000, None, 9], 5000)  # but the same may be true of the second
])
def test_the_loop_delay_is_that_of_rounds_that_began_during_the_run(broker, delays, told):
    proxy = Telling(broker.port, delays)
    try:
        with turning(broker):
            done = run_tool(f"telemetry --clients 10 --rate 100 --pid {broker.process.pid} --json {MOMENT} "
                            f"--port {proxy.listener.getsockname()[1]}")
    finally:
        proxy.listener.close()
    assert done.returncode == 0 and len(proxy.delays) <= 1
    assert json.loads(done.stdout)["broker"]["loop_delay_us"] == told


@pytest.mark.config(**dict(OURS, sys_interval=LONG_S))
def test_a_run_shorter_than_the_interval_says_what_to_set(broker):
    arguments = f"connect --clients 3 --pid {broker.process.pid} --port {broker.port} --seconds 0.1 --warmup 0"
    said = run_tool(arguments).stdout
    assert "loop delay unknown" in said and "sys_interval" in said and "--seconds" in said
    assert json.loads(run_tool(arguments + " --json").stdout)["broker"]["loop_delay_us"] is None


@pytest.mark.config(**dict(OURS, sys_interval=LONG_S))
def test_the_last_round_is_waited_for(broker):
    """One began during the run, the next comes when all else has ended: $SYS is waited for then."""
    command = f"pairs --clients 1 --rate 100 --keepalive 0 --pid {broker.process.pid} --port {broker.port} --json"
    with subprocess.Popen([TOOL, *command.split(), "--seconds", "1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True) as tool:
        broker.wait_log("-000001 (")  # both clients, so its own for $SYS is connected
        broker.turn(LONG_S * 1000 + 100)
        broker.settle()
        with pytest.raises(subprocess.TimeoutExpired):
            tool.wait(3)
        broker.turn(LONG_S * 1000 + 100)
        assert json.loads(tool.communicate(timeout=END_S)[0])["broker"]["loop_delay_us"] >= 0


@pytest.mark.config(**OURS)
def test_two_runs_at_once_do_not_end_each_others_look_at_sys(broker):
    arguments = f"connect --clients 3 --pid {broker.process.pid} --port {broker.port} --json --seconds 0.1 --warmup 0"
    with subprocess.Popen([TOOL, *arguments.split(), "--hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        one.stdout.readline()
        assert run_tool(arguments).returncode == 0
        one.stdin.close()
        assert one.wait(END_S) == 0
    assert len(set(re.findall(r"Client (bench\S+-sys) ", broker.log()))) == 2
    assert "taken over" not in broker.log()


@pytest.mark.config(**OURS)
def test_a_broker_that_had_clients_before_is_known(broker):
    arguments = f"connect --clients 3 --pid {broker.process.pid}"
    assert run(broker, arguments)["broker"]["clients_before"] == 0
    broker.settle()
    broker.turn(1100)
    broker.settle()
    assert run(broker, arguments)["broker"]["clients_before"] >= 4
    said = run_tool(f"{arguments} --port {broker.port} --seconds 0.1 --warmup 0").stdout
    assert "just been started" in said


@pytest.mark.parametrize("option", ["", "--json"])
def test_a_broker_that_died_has_no_figures(option):
    broker = brokers.Broker(LOSSLESS)
    try:
        watcher = client.Client(broker.address, "watches", 5)
        watcher.subscribe("bench/#")
        command = f"telemetry --clients 3 --rate 300 --pid {broker.process.pid} --port {broker.port} --seconds 1 --warmup 0"
        with subprocess.Popen([TOOL, *command.split(), *option.split()], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True) as tool:
            watcher.expect_publish()
            broker.process.kill()
            out = tool.communicate(timeout=END_S)[0]
        assert tool.returncode == 3
    finally:
        broker.abandon()
    if option:
        result = json.loads(out)
        assert {result["steps"]["run"]["broker"][name] for name in ("cpu_us", "cpu_percent", "rss")} == {None}
        assert result["broker"]["cpu_us"] is None and result["broker"]["rss_end"] is None
        assert result["unsent"] > 0
    else:
        assert re.search(r"RSS [\d.]+ MiB at first, \S+ connected, - at last", out) and "has ended" in out
        assert re.search(r"^run .* - +-$", out, re.M)
