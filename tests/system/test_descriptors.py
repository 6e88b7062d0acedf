"""reactor_descriptors: whose limit of open files it is."""

import concurrent.futures
import glob
import os
import resource
import signal
import socket
import subprocess
import time

import pytest

import broker as brokers
import client as clients

pytestmark = pytest.mark.ours

LIMIT = 80
# It takes descriptors of one number for one thing, whichever table they stand in.
not_under_tsan = pytest.mark.skipif(brokers.IS_TSAN, reason="ThreadSanitizer knows one table only")


def test_reactors_that_the_limit_does_not_allow_are_refused_with_a_line(tmp_path):
    path = tmp_path / "dunlin.conf"
    path.write_text("reactors 32\nlistener 1 127.0.0.1\n")
    done = subprocess.run([brokers.BINARY, "-c", str(path)], capture_output=True, text=True, timeout=60,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "bug" not in done.stderr
    assert "32 reactors" in done.stderr and "64 descriptors" in done.stderr
    assert "the limit is 60" in done.stderr and "ulimit -n" in done.stderr


def start(**config):
    return brokers.Broker({"reactors": 4, **config})


def connect_many(target, count):
    """How many of them are let in with so few descriptors."""
    resource.prlimit(target.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    some = []
    for number in range(count):
        try:
            some.append(clients.Client(target.address, f"c{number}"))
        except (AssertionError, OSError):
            break
    return some


def test_shared_tables_hold_no_more_than_the_limit():
    target = start()
    assert len(connect_many(target, 120)) < LIMIT
    target.wait_log("ulimit -n")
    assert f"all {LIMIT} descriptors of this process are in use" in target.log()
    target.abandon()


def fill(target):
    """Connects until everybody is refused, whichever table they come to."""
    resource.prlimit(target.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    some, rounds = [], 0

    def connect(client_id):
        try:
            return clients.Client(target.address, client_id)
        except (AssertionError, OSError):
            return None
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        while True:
            rounds += 1
            more = [c for c in pool.map(connect, [f"r{rounds}-{i}" for i in range(40)]) if c]
            if not more:
                return some
            some += more


def is_closed(s):
    s.settimeout(clients.WAIT_S)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("tables", ["shared", pytest.param("private", marks=not_under_tsan)])
def test_with_full_tables_whoever_comes_is_refused_and_nobody_hangs(tables):
    target = start(reactor_descriptors=tables)
    some = fill(target)
    for _ in range(3):  # spares are used again and again
        late = [socket.create_connection(target.address) for _ in range(40)]
        assert [s for s in late if not is_closed(s)] == []
    some[0].subscribe("a")
    some[1].publish("a", "x", 1)
    some[0].expect_publish("a", "x")
    assert target.log().count("are refused") == 1
    target.abandon()


@not_under_tsan
def test_who_is_refused_by_a_full_private_table_is_told_whose_it_is():
    target = start(reactor_descriptors="private")
    assert len(connect_many(target, 4 * LIMIT)) < 4 * LIMIT
    target.wait_log("more reactors")
    assert f"all {LIMIT} descriptors of a reactor are in use" in target.log()
    target.abandon()


@not_under_tsan
def test_private_tables_hold_the_limit_each():
    target = start(reactor_descriptors="private")
    target.wait_log("for each reactor")
    some = connect_many(target, 120)
    assert len(some) == 120
    some[0].subscribe("a")
    for c in some[1:]:
        c.publish("a", "x", 1)
        some[0].expect_publish("a", "x")
    target.stop()


def tables_that_hold(target, path):
    """The threads of the broker in whose table of descriptors the file stands."""
    threads = []
    for fd in glob.glob(f"/proc/{target.process.pid}/task/*/fd/*"):
        try:
            if os.readlink(fd) == str(path):
                threads.append(fd)
        except OSError:  # closed in between
            pass
    return threads


@not_under_tsan
def test_private_tables_follow_a_log_that_was_rotated(tmp_path):
    path, old = tmp_path / "log", tmp_path / "old"
    target = start(reactor_descriptors="private", log_dest=f"file {path}")
    os.rename(path, old)
    target.signal(signal.SIGHUP)
    deadline = time.monotonic() + clients.WAIT_S
    while tables_that_hold(target, old) and time.monotonic() < deadline:
        target.turn(1100)  # the next tick of each reactor; the main thread has to be first
        time.sleep(0.01)
    assert not tables_that_hold(target, old)
    size = old.stat().st_size
    for number in range(40):
        clients.Client(target.address, f"late{number}").disconnect()
    target.settle()
    assert old.stat().st_size == size
    assert path.read_text().count("late") == 80
    target.stop()
