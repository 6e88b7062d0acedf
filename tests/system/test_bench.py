"""dunlin-bench: every scenario for a moment, figures that add up, and errors that say what to do."""

import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

import broker as brokers
from bench_tool import END_S, LOSSLESS, TOOL, check_latency, check_sums, fails, run, run_tool

pytestmark = pytest.mark.ours

SCENARIOS = {  # arguments, main step's unit, connections
    "connect": ("--clients 20 --rate 200", "connection", 20),
    "telemetry": ("--clients 30 --dashboards 3 --rate 300", "message", 33),
    "pairs": ("--clients 5", "message", 10),
    "fanin": ("--clients 10 --own-topics", "message", 11),
    "fanout": ("--clients 10", "message", 11),
    "shared": ("--clients 3 --members 4 --groups 2", "message", 14),
    "ping": ("--clients 10 --rate 200", "ping", 10),
    "churn": ("--clients 4", "cycle", 4),
    "storm": ("--clients 50 --witnesses 2", "connection", 54),
    "scale": ("--clients 50 --rate 500", "message", 50),
    "retained": ("--clients 3 --topics 500", "message", 4),
    "subscribe": ("--clients 5 --filters 1003", "filter", 5),
}
STEPS = {"connect": ["connect", "rest"], "churn": ["run"], "storm": ["connect", "calm", "storm"],
         "scale": ["connect", "rest", "messages", "return"],
         "retained": ["connect", "set", "replay", "clear"],
         "subscribe": ["connect", "subscribe", "prove"]}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("options", ["", "--qos 1 --threads 2", "--qos 2 --version 5 --payload 500"])
@pytest.mark.config(**LOSSLESS)
def test_every_scenario_loses_nothing_and_its_figures_add_up(broker, name, options):
    arguments, unit, connections = SCENARIOS[name]
    result = run(broker, f"{name} {arguments} {options}")
    check_sums(result)
    connections += name == "retained" and "threads" in options  # a setter for each thread
    assert (result["scenario"], result["unit"], result["connections"]) == (name, unit, connections)
    assert list(result["steps"]) == STEPS.get(name, ["connect", "run"])
    if "connect" in result["steps"]:
        witnesses = 2 * result["witnesses"]
        assert result["steps"]["connect"]["count"] == connections - witnesses
    assert result["per_second"] > 0
    assert result["latency_us"]["count"] > 0


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("options", ["", "--qos 2 --version 5 --threads 2"])
@pytest.mark.config(**LOSSLESS, protocol="websockets")
def test_every_scenario_runs_over_websocket_too(broker, name, options):
    arguments, _, connections = SCENARIOS[name]
    result = run(broker, f"{name} {arguments} {options} --websocket")
    check_sums(result)
    assert result["websocket"] is True and result["per_second"] > 0
    assert result["connections"] == connections + (name == "retained" and "threads" in options)


@pytest.mark.config(**LOSSLESS, protocol="websockets")
def test_messages_longer_than_64_kib_travel_over_websocket_too(broker):
    result = run(broker, "pairs --clients 1 --window 1 --qos 2 --version 5 --payload 70000 --websocket")
    check_sums(result)
    assert result["sent"] == result["delivered"] > 0


@pytest.mark.config(**LOSSLESS)
def test_a_message_of_a_fanout_arrives_everywhere(broker):
    result = run(broker, "fanout --clients 7 --groups 2 --threads 2")
    assert result["delivered"] == 7 * result["sent"] > 0


@pytest.mark.config(**LOSSLESS, sys_interval=1, fresh=True)
@pytest.mark.parametrize("option, subscriptions", [("", 3), ("--commands", 33)])
def test_sensors_that_are_held_stay_with_a_subscription_of_their_own_each(broker, connect, option, subscriptions):
    command = f"{TOOL} telemetry --clients 30 --dashboards 3 --rate 300 --hold {option} --port {broker.port} --json"
    process = subprocess.Popen([*command.split(), "--seconds", "0.2", "--warmup", "0", "--keepalive", "3600"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        check_sums(json.loads(process.stdout.readline()))
        c = connect("looks")
        c.subscribe("$SYS/broker/subscriptions/count")
        broker.settle()
        broker.turn(1100)
        while c.expect_publish().payload != str(subscriptions + 1).encode():
            pass  # what was retained may be older
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(END_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_what_is_held(broker, number):
    command = f"{TOOL} connect --clients 3 --hold --port {broker.port} --json --seconds 0.1 --warmup 0"
    process = subprocess.Popen(command.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(END_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.config(**LOSSLESS)
def test_cycles_of_churn_are_connections_and_messages(broker):
    result = run(broker, "churn --clients 3")
    assert result["connected"] == result["sent"] == result["cycles"] > 0
    result = run(broker, "churn --clients 3 --no-publish")
    assert result["connected"] == result["cycles"] > 0 and result["sent"] == 0


@pytest.mark.config(**LOSSLESS)
def test_a_storm_brings_everyone_back_and_witnesses_go_on(broker):
    result = run(broker, "storm --clients 40 --witnesses 2")
    assert result["steps"]["storm"]["count"] == 40
    assert result["connected"] == 2 * 40 + 4
    assert result["ready"] == 44
    assert result["steps"]["calm"]["witness_us"]["count"] > 0
    assert result["witnesses_first"] in (True, False)  # as the kernel allows


@pytest.mark.config(**LOSSLESS)
@pytest.mark.parametrize("cut", [10, 100])
def test_at_scale_each_client_hears_another_and_those_that_are_cut_come_back(broker, cut):
    result = run(broker, f"scale --clients 200 --threads 3 --rate 0 --cut {cut}")
    assert result["sent"] == result["delivered"] == result["latency_us"]["count"] == 200
    returned = result["steps"]["return"]
    assert returned["count"] == returned["latency_us"]["count"] == 200 * cut // 100
    assert result["connected"] == 200 + returned["count"] and result["ready"] == 200


def test_clients_that_rest_are_heard_of(broker):
    result = run(broker, "scale --clients 20 --keepalive 1 --ping-every 1000", moment="--seconds 2 --warmup 0")
    assert result["steps"]["rest"]["count"] >= 20
    rest = run(broker, "scale --clients 40 --ping-every 0.5", moment="--seconds 1 --warmup 0")["steps"]["rest"]
    assert rest["count"] == pytest.approx(80, rel=0.5) and rest["latency_us"]["count"] > 0


@pytest.mark.config(**LOSSLESS)
def test_retained_messages_are_replayed_to_all_and_cleared(broker, connect):
    result = run(broker, "retained --clients 4 --topics 300")
    assert result["delivered"] == 4 * 300
    assert result["steps"]["set"]["count"] == result["steps"]["clear"]["count"] == 300
    c = connect("after")
    c.subscribe("bench/#")
    c.sync()
    assert not c.inbox


def test_all_filters_are_proved(broker):
    result = run(broker, "subscribe --clients 7 --filters 1500 --threads 3")
    assert result["filters"] == result["sent"] == result["delivered"] == 1500


@pytest.mark.config(**LOSSLESS)
def test_an_open_loop_keeps_its_pace(broker):
    result = run(broker, "pairs --clients 4 --rate 400", moment="--seconds 1 --warmup 0.2")
    assert result["window"] == 0 and result["rate"] == 400
    assert result["sent"] == pytest.approx(1.2 * 400, rel=0.5)  # the machine may be busy
    check_latency(result["late_us"])


@pytest.mark.config(**LOSSLESS, fresh=True)
def test_a_broker_that_stops_for_a_moment_has_all_of_that_moment_against_it(broker):
    """Free of coordinated omission: what was due while nobody answered counts as late."""
    def stop():
        while broker.log().count(" connected: ") < 2:
            time.sleep(0.01)
        time.sleep(0.6)  # in the middle of what is measured
        broker.signal(signal.SIGSTOP)
        time.sleep(1)
        broker.signal(signal.SIGCONT)
    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    result = run(broker, "pairs --clients 1 --rate 100", moment="--seconds 3 --warmup 0.2")
    stopper.join()
    # A third of the messages was due in that second; nine tenths of them waited over 100 ms.
    assert result["latency_us"]["count"] > 200
    assert result["latency_us"]["p90"] > 300_000


@pytest.mark.skipif(brokers.IS_TSAN, reason="ThreadSanitizer knows one table only")
def test_several_threads_hold_more_connections_than_one_descriptor_table(broker):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    command = f"connect --clients 200 --port {broker.port} --seconds 0.1 --warmup 0 --json "
    done = run_tool(command + "--threads 4", preexec_fn=few)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ready"] == 200
    done = run_tool(command + "--threads 2", preexec_fn=few)
    assert done.returncode == 1
    assert "too few descriptors" in done.stderr and "--threads 3" in done.stderr


@pytest.mark.config(fresh=True)  # lines of the log are held back where many tests share a broker
def test_source_addresses_are_used(broker):
    start = len(broker.log())
    run(broker, "connect --clients 6 --source 127.0.0.2-127.0.0.4")
    used = set(re.findall(r"Client bench\S+ \((127\.0\.0\.\d+):", broker.log()[start:]))
    assert used == {"127.0.0.2", "127.0.0.3", "127.0.0.4"}


def test_the_table_has_the_steps_and_nothing_goes_to_stderr(broker):
    done = run_tool(f"pairs --clients 2 --port {broker.port} --seconds 0.1 --warmup 0")
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"^run +[\d,]+ messages", done.stdout, re.M)
    assert "lost 0, duplicate 0, out of order 0" in done.stdout


@pytest.mark.parametrize("quiet", ["", "--quiet"])
def test_progress_is_for_terminals(broker, quiet):
    ours, theirs = pty.openpty()
    command = f"connect --clients 5 --port {broker.port} --seconds 1 --warmup 0 {quiet}"
    process = subprocess.Popen([TOOL, *command.split()], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    assert process.wait(END_S) == 0
    said = os.read(ours, 10000).decode() if select.select([ours], [], [], 0)[0] else ""
    os.close(theirs)
    os.close(ours)
    assert ("rest: " in said) == (quiet == "")


def test_interrupt_ends_early_with_a_report(broker, connect):
    watcher = connect("watches")
    watcher.subscribe("bench/#")
    process = subprocess.Popen([TOOL, *f"pairs --clients 2 --port {broker.port} --seconds 100 --json".split()],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    watcher.expect_publish()
    watcher.close()
    process.send_signal(signal.SIGINT)
    result = json.loads(process.communicate(timeout=END_S)[0])
    assert result["stopped"] and result["lost"] == 0 and result["sent"] > 0


@pytest.mark.config(max_queued_messages=1, max_inflight_messages=1, fresh=True)
def test_what_a_broker_drops_is_counted_as_lost(broker):
    """With room for one message in flight and one in the queue, most of a burst is dropped."""
    result = run(broker, "fanin --clients 20 --window 50 --qos 1", status=3)
    assert result["lost"] > 0
    assert result["lost"] == result["expected"] - result["delivered"]


@pytest.mark.skipif(brokers.SANITIZED, reason="its own memory would be most of it")
@pytest.mark.config(**LOSSLESS)
@pytest.mark.parametrize("scenario", ["subscribe --filters 500", "retained --topics 500"])
def test_a_window_of_large_messages_is_not_all_in_memory(broker, scenario):
    """100 MB in flight: what the socket does not take is made when it does."""
    command = f"{scenario} --clients 1 --window 500 --payload 200000 --port {broker.port} --json"
    process = subprocess.Popen([TOOL, *command.split()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        told = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())
        most = max(most, int(told[1])) if told else most
        time.sleep(0.01)
    assert process.returncode == 0 and 0 < most < 50_000


# ---- errors ----

def test_nobody_listens():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        said = fails(f"pairs --port {s.getsockname()[1]}")
    assert "Connection refused" in said and "--host" in said and "--port" in said


def test_somebody_listens_who_never_answers():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(100)
        said = fails(f"pairs --clients 1 --timeout 0.3 --port {s.getsockname()[1]}")
        assert "no answer" in said and "--timeout" in said


def test_somebody_answers_who_does_not_speak_mqtt():
    with socket.create_server(("127.0.0.1", 0)) as s:
        def refuse():
            peer = s.accept()[0]
            peer.recv(100)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100)
            time.sleep(1)
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        said = fails(f"connect --clients 1 --timeout 2 --port {s.getsockname()[1]}")
        assert "MQTT" in said
        thread.join()


@pytest.mark.config(allow_anonymous="false")
def test_the_broker_wants_a_login(broker):
    said = fails(f"pairs --clients 1 --port {broker.port}")
    assert "not authorized" in said and "--username" in said
    assert "0x87" in fails(f"pairs --clients 1 --version 5 --port {broker.port}")


@pytest.mark.parametrize("version, code, words, others", [
    ("3.1.1", 1, ["0x01", "--version"], ["--username"]),
    ("3.1.1", 3, ["not available"], ["--username", "--version"]),
    ("3.1.1", 4, ["--username"], ["--version"]),
    ("5", 0x87, ["not authorized", "--username"], ["--version"]),
    ("5", 0x97, ["quota exceeded"], ["--username", "--version"]),
])
def test_advice_is_of_the_reason_of_a_refusal(version, code, words, others):
    with socket.create_server(("127.0.0.1", 0)) as s:
        def refuse():
            peer = s.accept()[0]
            peer.recv(100)
            peer.sendall(bytes([0x20, 3, 0, code, 0] if version == "5" else [0x20, 2, 0, code]))
            peer.recv(100)
        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        said = fails(f"connect --clients 1 --version {version} --port {s.getsockname()[1]}")
        thread.join()
    assert all(word in said for word in words) and not any(word in said for word in others), said


@pytest.mark.parametrize("arguments", ["", "--json", "--help"])
def test_a_report_that_cannot_be_written_is_a_failure(broker, arguments):
    command = f"connect --clients 1 --port {broker.port} --seconds 0.1 --warmup 0 {arguments}"
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([TOOL, *command.split()], stdin=subprocess.DEVNULL, stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=END_S)
    assert done.returncode == 1 and "No space left" in done.stderr


def test_a_limit_of_descriptors_that_leaves_room_for_no_connection():
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
    done = run_tool("connect --clients 2", preexec_fn=few)
    assert done.returncode == 1 and "too few descriptors" in done.stderr and "is 20 " in done.stderr


def test_the_listener_is_not_for_websocket(broker):
    said = fails(f"pairs --clients 1 --websocket --port {broker.port}")
    assert "WebSocket listener" in said and "without --websocket" in said


@pytest.mark.config(protocol="websockets")
def test_the_listener_is_for_websocket_only(broker):
    assert "wants --websocket" in fails(f"pairs --clients 1 --port {broker.port}")


@pytest.mark.config(max_connections=5)
def test_not_everyone_gets_in(broker):
    said = fails(f"connect --clients 10 --timeout 0.5 --port {broker.port}")
    assert re.search(r"only \d of 10 clients are connected", said)


@pytest.mark.parametrize("arguments, words", [
    ("", ["scenario", "--help"]),
    ("nonsense", ["nonsense"]),
    ("pairs fanin", ["one scenario"]),
    ("pairs --nonsense", ["nonsense"]),
    ("pairs --qos 3", ["--qos", "0 to 2"]),
    ("pairs --payload 10", ["--payload", "24"]),
    ("pairs --clients 1.5", ["whole"]),
    ("pairs --version 6", ["3.1, 3.1.1 and 5"]),
    ("pairs --dashboards 3", ["--dashboards", "telemetry"]),
    ("pairs --rate 10 --window 3", ["--rate", "--window"]),
    ("pairs --source 127.0.0.x", ["--source", "127.0.0.x"]),
    ("pairs --source 127.0.0.5-127.0.0.2", ["--source"]),
])
def test_a_command_line_that_is_wrong(arguments, words):
    said = fails(arguments, status=2)
    assert all(word in said for word in words), said


def test_a_limit_of_this_machine(broker):
    port = f"--port {broker.port}"
    assert "--source 127.0.0.2-127.0.0." in fails(f"connect --clients 200000 --threads 200 {port}")
    said = fails(f"fanin --clients 2000000 {port}")
    assert "too few descriptors" in said and "belongs to one thread" in said
    assert "no such process" in fails(f"pairs --pid 999999999 {port}")
    assert "cannot connect from" in fails(f"pairs --source 192.0.2.1 {port}")


def test_half_of_the_ports_of_an_address_are_taken_quickly():
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        first, last = map(int, f.read().split())
    half = (last - first + 1) // 2
    with socket.socket() as s:  # nobody listens: what is said of ports comes before
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        command = f"connect --clients %d --threads 9 --source 127.0.0.2-127.0.0.3 --port {port}"
        assert "Much faster: --source 127.0.0.2-127.0.0." in fails(command % (2 * half + 2))
        assert "ports" not in fails(command % (2 * half))


def test_help_and_manual_page_name_every_scenario_and_option():
    help_text = run_tool("--help").stdout
    page = run_tool("--print-man1").stdout
    for name in SCENARIOS:
        assert f"\n  {name} " in help_text and f"\n.B {name}\n" in page
    for name in re.findall(r"^  --([a-z-]+)", help_text, re.M):
        assert "\\-\\-" + name.replace("-", "\\-") in page
