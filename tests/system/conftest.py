"""Fixtures of the system tests.

    broker    a running broker; one per worker is shared by all tests without a `config` marker
    topic     makes topic names of the test's own: topic("a/b") -> "<test>/a/b"
    connect   makes clients of the test's own, closed when it ends: connect("sub", version=4)

    @pytest.mark.config(max_inflight_messages=3)    the test gets a broker with these directives
    @pytest.mark.config(..., fresh=True)            ... of its own, that no other test has used
    @pytest.mark.clause("MQTT-3.1.2-3", "X5-01")    clauses of version 5 that the test shows
    @pytest.mark.clause311("MQTT-3.1.2-24")         clauses of version 3.1.1
    @pytest.mark.slow                               takes more than five seconds

Environment: DUNLIN_BIN (the binary), DUNLIN_TEST_TARGET=mosquitto (compare with that broker).
"""

import json
import os
import shutil
import sys
import uuid

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import broker as brokers  # noqa: E402
import client  # noqa: E402

KEPT = 3  # brokers with a configuration of their own that are kept for the next test with the same

running = {}  # configuration -> Broker


def pytest_addoption(parser):
    parser.addoption("--clauses", metavar="FILE", help="write which test shows which clause (JSON)")


def pytest_configure(config):
    config.addinivalue_line("markers", "clause(*ids): clauses of MQTT 5.0 that the test shows")
    config.addinivalue_line("markers", "clause311(*ids): clauses of MQTT 3.1.1 that the test shows")
    config.addinivalue_line("markers", "config(**directives): configuration of the broker")
    config.addinivalue_line("markers", "slow: takes more than five seconds")
    config.addinivalue_line("markers", "ours: shows what only this broker has")


def pytest_collection_modifyitems(config, items):
    target = config.getoption("--clauses")
    if target:
        found = {}
        for item in items:
            for version, marker in (("5.0", "clause"), ("3.1.1", "clause311")):
                for mark in item.iter_markers(marker):
                    for clause in mark.args:
                        found.setdefault(version, {}).setdefault(clause, []).append(item.nodeid)
        with open(target, "w") as out:
            json.dump(found, out, indent=1, sort_keys=True)
    if brokers.IS_PEER:
        with open(os.path.join(os.path.dirname(__file__), "mosquitto_differences.txt")) as known:
            lines = [line for line in known if not line.startswith("#")]
        reasons = dict(line.strip().split(": ", 1) for line in lines)
        for item in items:
            if item.originalname in reasons:
                item.add_marker(pytest.mark.xfail(reason=reasons[item.originalname], strict=False))
            if item.get_closest_marker("ours"):
                item.add_marker(pytest.mark.skip(reason="only Dunlin has this"))


def key_of(config):
    return json.dumps(config, sort_keys=True)


def stop(key):
    target = running.pop(key)
    try:
        target.stop()
    finally:
        shutil.rmtree(target.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def keeper():
    """Stops all brokers at the end of the worker's run, and lets none get away with a bad end."""
    yield
    errors = []
    for key in list(running):
        try:
            stop(key)
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def broker(request, keeper):
    marker = request.node.get_closest_marker("config")
    config = dict(getattr(request, "param", None) or (marker.kwargs if marker else {}))
    fresh = config.pop("fresh", False)
    key = key_of(config)
    if fresh:
        key += uuid.uuid4().hex
    elif key in running and not running[key].alive():
        stop(key)
    if key not in running:
        own = [other for other in running if other != "{}"]
        if len(own) >= KEPT:
            stop(own[0])
        running[key] = brokers.Broker(config)
    target = running[key]
    request.node.broker = target
    request.node.broker_log_start = len(target.log())
    yield target
    if not target.alive() and not fresh:
        code = target.process.returncode
        running.pop(key)
        target.abandon()
        raise AssertionError(f"the broker ended with {code}:\n{target.log()[-20000:]}")
    if fresh:
        stop(key)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    target = getattr(item, "broker", None)
    if report.failed and target is not None and call.when == "call":
        try:
            report.sections.append(("broker log", target.log()[item.broker_log_start:][-8000:]))
        except OSError:
            pass


@pytest.fixture
def prefix():
    return uuid.uuid4().hex[:8]


@pytest.fixture
def topic(prefix):
    def make(name):
        return f"{prefix}/{name}"
    return make


@pytest.fixture
def connect(broker, prefix):
    """connect(name, version=5, ...) -> Client; the same name is the same client id."""
    made = []

    def make(name="c", version=5, **options):
        options.setdefault("lenient", brokers.IS_PEER)
        client_id = options.pop("client_id", None)
        if client_id is None:
            client_id = prefix + name
        made.append(client.Client(broker.address, client_id, version, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def raw(connect):
    """raw(version) -> Client with an open socket that has sent nothing yet."""
    def make(version=5, **options):
        return connect(version=version, connect=False, **options)
    return make
