"""Clients that others wrote: QoS 0/1/2, retained, will, shared, large payloads, sessions."""

import fcntl
import os
import pathlib
import queue
import secrets
import shutil
import subprocess

import pytest

import client as clients
from support import acknowledged

HERE = pathlib.Path(__file__).parent / "clients"
VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}
LARGE = 1_000_000
every_version = pytest.mark.parametrize("version", [3, 4, 5])


def wait_for_line(process, word):
    """Reads lines until one holds the word. `timeout` ends a process that never says it."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return line
    raise AssertionError(f"{process.args} never said {word!r}: {seen}")


@pytest.fixture
def spawn():
    """Starts processes that are ended with the test, whatever happens."""
    started = []

    def start(*command, **options):
        process = subprocess.Popen(
            ["timeout", "60", *map(str, command)], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)


def end(process, number=9):
    """Ends a process with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    process.wait(20)
    process.stdout.close()


# ------------------------------------------------------------------------------ mosquitto-clients

MOSQUITTO = "mosquitto_pub and mosquitto_sub"
needs_mosquitto = pytest.mark.skipif(not shutil.which("mosquitto_sub"),
                                     reason="mosquitto-clients is not installed")


@pytest.fixture
def sub(broker, spawn):
    """A mosquitto_sub that has its SUBACK; its lines are `MSG topic qos retain payload`."""
    def start(version, *arguments, ready="Subscribed"):
        process = spawn("stdbuf", "-oL", "mosquitto_sub", "-d", "-h", broker.host, "-p",
                        broker.port, "-V", VERSIONS[version], "-F", "MSG %t %q %r %p", *arguments)
        wait_for_line(process, ready)
        return process
    return start


@pytest.fixture
def pub(broker):
    def run(version, *arguments, **options):
        subprocess.run(["mosquitto_pub", "-h", broker.host, "-p", str(broker.port), "-V",
                        VERSIONS[version], *map(str, arguments)], check=True, timeout=30, **options)
    return run


@pytest.mark.shows(MOSQUITTO, "connect", "QoS {qos}")
@needs_mosquitto
@every_version
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquittos_clients_publish_and_subscribe(sub, pub, topic, version, qos):
    process = sub(version, "-t", topic("+"), "-q", qos)
    pub(version, "-t", topic("a"), "-q", qos, "-m", "hello")
    assert wait_for_line(process, "MSG ").strip() == f"MSG {topic('a')} {qos} 0 hello"


@pytest.mark.shows(MOSQUITTO, "retained")
@needs_mosquitto
@every_version
def test_mosquittos_clients_see_retained_messages(sub, pub, topic, version):
    pub(version, "-t", topic("a"), "-q", 1, "-r", "-m", "kept")
    process = sub(version, "-t", topic("a"), "-q", 1)
    assert wait_for_line(process, "MSG ").strip() == f"MSG {topic('a')} 1 1 kept"
    pub(version, "-t", topic("a"), "-r", "-n")


@pytest.mark.shows(MOSQUITTO, "will")
@needs_mosquitto
@every_version
def test_mosquittos_clients_have_wills(sub, connect, topic, version):
    watcher = connect("w")
    watcher.subscribe(topic("will"), qos=1)
    process = sub(version, "-t", topic("a"), "--will-topic", topic("will"), "--will-payload",
                  "gone", "--will-qos", 1)
    end(process)
    watcher.expect_publish(topic("will"), "gone", qos=1)


@pytest.mark.shows(MOSQUITTO, "shared")
@needs_mosquitto
@every_version
def test_mosquittos_clients_share(sub, pub, topic, version):
    some = [sub(version, "-t", f"$share/g/{topic('a')}", "-q", 1, "-C", 5) for _ in range(2)]
    # -C 5: each ends after five messages, so both end only when they have shared evenly, and a
    # broker may share otherwise; a second batch serves whoever is left
    pub(version, "-t", topic("a"), "-q", 1, "-l", input=b"x\n" * 10)
    pub(version, "-t", topic("a"), "-q", 1, "-l", input=b"x\n" * 10)
    for process in some:
        assert process.stdout.read().count("MSG ") == 5


@pytest.mark.shows(MOSQUITTO, "large")
@needs_mosquitto
@every_version
@acknowledged
def test_mosquittos_clients_pass_large_payloads(sub, pub, topic, tmp_path, version, qos):
    path = tmp_path / "large"
    path.write_text(secrets.token_hex(LARGE // 2))
    process = sub(version, "-t", topic("a"), "-q", qos)
    pub(version, "-t", topic("a"), "-q", qos, "-f", path)
    line = wait_for_line(process, "MSG ")
    assert line.strip() == f"MSG {topic('a')} {qos} 0 {path.read_text()}"


@pytest.mark.shows(MOSQUITTO, "session")
@needs_mosquitto
@every_version
def test_mosquittos_clients_come_back_to_their_session(sub, pub, topic, prefix, version):
    lasting = ["-c", "-i", prefix, "-t", topic("a"), "-q", 1, *(["-x", 1000] if version == 5 else [])]
    process = sub(version, *lasting)
    end(process)
    for text in ("one", "two"):
        pub(version, "-t", topic("a"), "-q", 1, "-m", text)
    process = sub(version, *lasting, "-C", 2, ready="MSG ")
    assert f"MSG {topic('a')} 1 0 two" in process.stdout.read()


@pytest.mark.shows("mosquitto_rr", "connect", "QoS 1")
@needs_mosquitto
def test_mosquittos_request_and_response_work(broker, connect, topic, spawn):
    c = connect("responder")
    c.subscribe(topic("ask"), qos=1)
    process = spawn("mosquitto_rr", "-h", broker.host, "-p", broker.port, "-V", "mqttv5", "-t",
                    topic("ask"), "-e", topic("answer"), "-q", 1, "-m", "question")
    packet = c.expect_publish(topic("ask"), "question")
    assert packet.props["response_topic"] == topic("answer")
    props = {k: v for k, v in packet.props.items() if k == "correlation_data"}
    c.publish(topic("answer"), "42", 1, props=props)
    assert "42" in process.stdout.read()


@needs_mosquitto
def test_mosquittos_publisher_sends_many_lines(connect, pub, topic):
    c = connect("c")
    c.subscribe(topic("a"), qos=2)
    lines = [f"line {n}" for n in range(300)]
    pub(5, "-t", topic("a"), "-q", 2, "-l", input="\n".join(lines).encode())
    assert [c.expect_publish().payload.decode() for _ in lines] == lines


# -------------------------------------------------------------------------------------- Paho Python


@pytest.fixture
def paho(broker, prefix):
    mqtt = pytest.importorskip("paho.mqtt.client", reason="python3-paho-mqtt is not installed")
    from paho.mqtt import properties
    from paho.mqtt.packettypes import PacketTypes
    made = []

    def make(name, version, will=None, transport="tcp", lasting=False):
        newer = getattr(mqtt, "CallbackAPIVersion", None)  # from 2.0 on
        api = [newer.VERSION2] if newer else []
        more = {} if version == 5 else {"clean_session": not lasting}
        c = mqtt.Client(*api, client_id=prefix + name, protocol=version, transport=transport, **more)
        c.events = queue.Queue()
        c.on_connect = lambda *a: c.events.put("connected")
        c.on_subscribe = lambda *a: c.events.put("subscribed")
        c.on_message = lambda _c, _u, m: c.events.put((m.topic, m.payload, m.qos, bool(m.retain)))
        if will:
            c.will_set(will, "paho is gone", 1)
        more = {}
        if version == 5 and lasting:
            more = {"clean_start": False, "properties": properties.Properties(PacketTypes.CONNECT)}
            more["properties"].SessionExpiryInterval = 1000
        c.connect(broker.host, broker.port, **more)
        c.loop_start()
        assert c.events.get(timeout=clients.WAIT_S) == "connected"
        made.append(c)
        return c

    yield make
    for c in made:
        c.disconnect()
        c.loop_stop()


@pytest.mark.shows("Paho Python", "connect", "QoS 0", "QoS 1", "QoS 2", "retained", "shared")
@every_version
def test_paho_python_publishes_and_subscribes(paho, topic, version):
    use_paho(paho("c", version), topic)


@pytest.mark.shows("Paho Python over WebSocket", "connect", "QoS 0", "QoS 1", "QoS 2", "retained", "shared")
@pytest.mark.config(protocol="websockets")
@every_version
def test_paho_python_publishes_and_subscribes_over_websocket(paho, topic, version):
    use_paho(paho("c", version, transport="websockets"), topic)


def use_paho(c, topic):
    def event():
        return c.events.get(timeout=clients.WAIT_S)
    c.subscribe(topic("a/+"), 2)
    assert event() == "subscribed"
    for qos in (0, 1, 2):
        c.publish(topic("a/b"), f"qos {qos}", qos).wait_for_publish(clients.WAIT_S)
        assert event() == (topic("a/b"), f"qos {qos}".encode(), qos, False)
    c.publish(topic("kept"), "kept", 1, retain=True).wait_for_publish(clients.WAIT_S)
    c.subscribe(topic("kept"), 1)
    assert {event(), event()} == {"subscribed", (topic("kept"), b"kept", 1, True)}
    c.publish(topic("kept"), b"", 1, retain=True)
    assert event() == (topic("kept"), b"", 1, False)
    c.subscribe(f"$share/g/{topic('work')}", 1)
    assert event() == "subscribed"
    c.publish(topic("work"), "shared", 1)
    assert event() == (topic("work"), b"shared", 1, False)


@pytest.mark.shows("Paho Python", "large")
@every_version
@acknowledged
def test_paho_python_passes_large_payloads(paho, topic, version, qos):
    c, payload = paho("c", version), secrets.token_bytes(LARGE)
    c.subscribe(topic("a"), qos)
    assert c.events.get(timeout=clients.WAIT_S) == "subscribed"
    c.publish(topic("a"), payload, qos).wait_for_publish(clients.WAIT_S)
    assert c.events.get(timeout=clients.WAIT_S) == (topic("a"), payload, qos, False)


@pytest.mark.shows("Paho Python", "session")
@every_version
def test_paho_python_comes_back_to_its_session(paho, topic, version):
    c = paho("c", version, lasting=True)
    c.subscribe(topic("a"), 1)
    assert c.events.get(timeout=clients.WAIT_S) == "subscribed"
    c.disconnect()
    c.loop_stop()
    paho("p", version).publish(topic("a"), "meanwhile", 1).wait_for_publish(clients.WAIT_S)
    c = paho("c", version, lasting=True)
    assert c.events.get(timeout=clients.WAIT_S) == (topic("a"), b"meanwhile", 1, False)


@pytest.mark.shows("Paho Python", "will")
@every_version
def test_paho_python_has_a_will(paho, connect, topic, version):
    watcher = connect("w")
    watcher.subscribe(topic("will"), qos=1)
    c = paho("c", version, topic("will"))
    c.loop_stop()
    c._sock_close()  # as a crash would
    watcher.expect_publish(topic("will"), "paho is gone", qos=1)


# ------------------------------------------------------------------------------------------- Paho C


@pytest.fixture(params=["sync", "async"])
def paho_c(request, tmp_path):
    if not pathlib.Path("/usr/include/MQTTAsync.h").exists():
        pytest.skip("libpaho-mqtt-dev is not installed")
    library = "-lpaho-mqtt3a" if request.param == "async" else "-lpaho-mqtt3c"
    binary = tmp_path / "paho"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-o", binary, HERE / "paho_c_client.c",
                    *(["-DASYNC"] if request.param == "async" else []), library, "-lpthread"],
                   check=True, timeout=60)
    return binary


@pytest.mark.shows("Paho C, {paho_c}", "connect", "QoS 0", "QoS 1", "QoS 2", "retained", "shared", "large")
@every_version
def test_paho_c_publishes_and_subscribes(broker, spawn, prefix, paho_c, version):
    process = spawn(paho_c, f"tcp://{broker.host}:{broker.port}", version, prefix)
    said = process.stdout.read()
    assert process.wait(30) == 0 and said.endswith("done\n"), said


@pytest.mark.shows("Paho C, {paho_c}", "session")
@every_version
def test_paho_c_comes_back_to_its_session(broker, spawn, prefix, paho_c, version):
    process = spawn(paho_c, f"tcp://{broker.host}:{broker.port}", version, prefix, "session")
    said = process.stdout.read()
    assert process.wait(30) == 0 and said.endswith("done\n"), said


@pytest.mark.shows("Paho C, {paho_c}", "will")
@every_version
def test_paho_c_has_a_will(broker, connect, spawn, prefix, topic, paho_c, version):
    watcher = connect("w")
    watcher.subscribe(topic("will"), qos=1)
    process = spawn(paho_c, f"tcp://{broker.host}:{broker.port}", version, prefix, "will")
    wait_for_line(process, "ready")
    end(process)
    watcher.expect_publish(topic("will"), "paho is gone", qos=1)


# ------------------------------------------------------------------------------------------ MQTT.js


@pytest.fixture(scope="session")
def mqttjs():
    """The path of the npm package, installed once into the user's cache."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = cache / "dunlin-tests" / "mqttjs"
    folder.mkdir(parents=True, exist_ok=True)
    module = folder / "node_modules" / "mqtt"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker installs, the others wait
        if not (folder / "installed").exists():
            if (folder / "refused").exists() and not os.environ.get("CONFORMANCE_NPM"):
                pytest.skip("npm could not install mqtt before; CONFORMANCE_NPM=1 tries again")
            try:
                subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", folder,
                                "mqtt@5"], check=True, timeout=90, capture_output=True)
            except (subprocess.SubprocessError, OSError) as error:
                (folder / "refused").touch()
                said = (getattr(error, "stderr", None) or b"").decode(errors="replace")[-300:]
                pytest.skip(f"npm could not install mqtt: {error} {said}")
            (folder / "refused").unlink(missing_ok=True)
            (folder / "installed").touch()
    return module


@pytest.mark.shows("MQTT.js", "connect", "QoS 0", "QoS 1", "QoS 2", "retained", "shared", "large")
@every_version
def test_mqttjs_publishes_and_subscribes(broker, spawn, prefix, mqttjs, version):
    process = spawn("node", HERE / "mqttjs_client.js", mqttjs, "mqtt", broker.host, broker.port, version,
                    prefix)
    said = process.stdout.read()
    assert process.wait(30) == 0 and said.endswith("done\n"), said


@pytest.mark.shows("MQTT.js", "session")
@every_version
def test_mqttjs_comes_back_to_its_session(broker, spawn, prefix, mqttjs, version):
    process = spawn("node", HERE / "mqttjs_client.js", mqttjs, "mqtt", broker.host, broker.port, version,
                    prefix, "session")
    said = process.stdout.read()
    assert process.wait(30) == 0 and said.endswith("done\n"), said


@pytest.mark.shows("MQTT.js", "will")
@every_version
def test_mqttjs_has_a_will(broker, connect, spawn, prefix, topic, mqttjs, version):
    watcher = connect("w")
    watcher.subscribe(topic("will"), qos=1)
    process = spawn("node", HERE / "mqttjs_client.js", mqttjs, "mqtt", broker.host, broker.port, version,
                    prefix,
                    "will")
    wait_for_line(process, "ready")
    end(process)
    watcher.expect_publish(topic("will"), "js is gone", qos=1)


@pytest.mark.shows("MQTT.js over WebSocket", "connect", "QoS 0", "QoS 1", "QoS 2", "retained", "shared",
                   "large")
@pytest.mark.config(protocol="websockets")
@every_version
def test_mqttjs_publishes_and_subscribes_over_websocket(broker, spawn, prefix, mqttjs, version):
    process = spawn("node", HERE / "mqttjs_client.js", mqttjs, "ws", broker.host, broker.port, version,
                    prefix)
    said = process.stdout.read()
    assert process.wait(30) == 0 and said.endswith("done\n"), said
