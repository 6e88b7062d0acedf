"""Fixtures and options, for these tests and for those of tests/system: a plugin of pytest.

    broker    a running broker; one per worker is shared by all tests without a `config` marker
    topic     makes topic names of the test's own: topic("a/b") -> "<test>/a/b"
    connect   makes clients of the test's own, closed when it ends: connect("sub", version=4)
    landing   chooses the reactor of a connection: connect("sub", source=landing.on(1))

    @pytest.mark.config(max_inflight_messages=3)    the test gets a broker with these directives
    @pytest.mark.config(..., fresh=True)            ... of its own, that no other test has used
    @pytest.mark.clause("MQTT-3.1.2-3", "X5-01")    clauses of version 5 that the test shows
    @pytest.mark.clause311("MQTT-3.1.2-24")         clauses of version 3.1.1
    @pytest.mark.shows("Paho C", "will")            what the test shows of a client that others wrote
    @pytest.mark.ours                               shows what only Dunlin has
    @pytest.mark.slow                               takes more than five seconds

A test that runs for several versions shows a clause only where its parameter `version` is one of
that standard's. One of a client without that parameter is one with 5.0. Which broker is tested: see
CONFORMANCE_TARGET in broker.py.
"""

import json
import os
import re
import shutil
import uuid

import pytest

import broker as brokers
import client
from landing import Landing

KEPT = 3  # brokers with a configuration of their own that are kept for the next test with the same
STANDARDS = {"5.0": ("clause", (5,)), "3.1.1": ("clause311", (3, 4))}

running = {}  # configuration -> Broker
results = {}  # test -> what became of it: see pytest_sessionfinish()


def pytest_addoption(parser):
    parser.addoption("--only", metavar="CLAUSE", action="append", default=[],
                     help="run only tests that show this clause")
    parser.addoption("--clauses", metavar="FILE", help="write which test shows what (JSON)")
    parser.addoption("--results", metavar="FILE", help="write what became of each test (JSON)")


def pytest_configure(config):
    config.addinivalue_line("markers", "clause(*ids): clauses of MQTT 5.0 that the test shows")
    config.addinivalue_line("markers", "clause311(*ids): clauses of MQTT 3.1.1 that the test shows")
    config.addinivalue_line("markers", "shows(client, *abilities): a client that others wrote")
    config.addinivalue_line("markers", "config(**directives): configuration of the broker")
    config.addinivalue_line("markers", "slow: takes more than five seconds")
    config.addinivalue_line("markers", "ours: shows what only this broker has")


# ---------------------------------------------------------------------- which test shows what


def shown(item):
    """{"5.0": [clause ...], "3.1.1": [...], "clients": [[client, ability, version] ...]}"""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    version = parameters.get("version")
    found = {}
    for standard, (marker, versions) in STANDARDS.items():
        if version is None or version in versions:
            clauses = {clause for mark in item.iter_markers(marker) for clause in mark.args}
            if clauses:
                found[standard] = sorted(clauses)
    clients = [[mark.args[0].format(**parameters), ability.format(**parameters), version or 5]
               for mark in item.iter_markers("shows") for ability in mark.args[1:]]
    if clients:
        found["clients"] = clients
    return found


def is_wanted(item, only):
    clauses = sum((item.shown.get(standard, []) for standard in STANDARDS), [])
    return any(clause in only or clause.removeprefix("MQTT-") in only for clause in clauses)


def pytest_collection_modifyitems(config, items):
    for item in items:
        item.shown = shown(item)
        item.user_properties.append(("shown", json.dumps(item.shown)))
        if brokers.IS_PEER and item.get_closest_marker("ours"):
            item.add_marker(pytest.mark.skip(reason="only Dunlin has this"))
    if config.option.only:
        config.hook.pytest_deselected(items=[i for i in items if not is_wanted(i, config.option.only)])
        items[:] = [item for item in items if is_wanted(item, config.option.only)]
    if config.option.clauses:
        with open(config.option.clauses, "w") as out:
            json.dump({name_of(item.nodeid): item.shown for item in items}, out, indent=1)


def name_of(nodeid):
    """A test's name wherever pytest was started: "test_will.py::test_x[5-clean]"."""
    path, _, rest = nodeid.partition("::")
    return os.path.basename(path) + "::" + rest


def broken_by(report):
    """The clause that a packet of the server broke, if that is what ended the test: see rule() in mqtt_codec.py."""
    message = getattr(getattr(report.longrepr, "reprcrash", None), "message", "")
    found = re.match(r"mqtt_codec\.Malformed: .*\[(\d+\.\d+\.\d+-\d+)\]", message, re.S)
    return f"MQTT-{found[1]}" if found else ""


def pytest_runtest_logreport(report):
    name = name_of(report.nodeid)
    if report.outcome == "failed":
        results[name] = ("failed", "", dict(report.user_properties).get("shown"), broken_by(report))
    elif report.outcome == "skipped" and name not in results:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", "")
        results[name] = ("skipped", reason.removeprefix("Skipped: "),
                         dict(report.user_properties).get("shown"), "")
    elif report.when == "call":
        results.setdefault(name, ("passed", "", dict(report.user_properties).get("shown"), ""))


def pytest_sessionfinish(session):
    """With xdist only the one that hands out the work writes: it has the reports of all."""
    path = session.config.option.results
    if path and not hasattr(session.config, "workerinput"):
        with open(path, "w") as out:
            json.dump({name: {"outcome": outcome, "reason": reason, "broken": broken, **json.loads(what or "{}")}
                       for name, (outcome, reason, what, broken) in sorted(results.items())}, out, indent=1)


# ------------------------------------------------------------------------------------- brokers


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


def remote(config):
    """The broker somebody else runs; it has the configuration that it has."""
    if config:
        wanted = " ".join(f"{name}={value}" for name, value in config.items())
        pytest.skip(f"needs a broker started for it: {wanted}")
    return brokers.Remote(brokers.REMOTE)


@pytest.fixture
def broker(request, keeper):
    marker = request.node.get_closest_marker("config")
    config = dict(getattr(request, "param", None) or (marker.kwargs if marker else {}))
    if brokers.REMOTE:
        target = remote(config)
        yield target
        target.forget()
        return
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


# ------------------------------------------------------------------------------------- clients


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
def landing(broker):
    """landing.on(1): a `source` for connect() with which it lands on that reactor."""
    if "landing" not in vars(broker):
        broker.landing = Landing(broker.address)
    return broker.landing


@pytest.fixture
def raw(connect):
    """raw(version) -> Client with an open socket that has sent nothing yet."""
    def make(version=5, **options):
        return connect(version=version, connect=False, **options)
    return make
