"""Starts, turns, reloads and stops a broker for the tests."""

import atexit
import contextlib
import fcntl
import mmap
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

import client

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TARGET = os.environ.get("DUNLIN_TEST_TARGET", "dunlin")
IS_PEER = TARGET != "dunlin"  # another broker, to compare with
BINARY = os.environ.get("DUNLIN_BIN") or (
    "/usr/sbin/mosquitto" if TARGET == "mosquitto" else str(REPOSITORY / "build" / "dunlin"))
SANITIZED = any(word in pathlib.Path(BINARY).read_bytes()
                for word in (b"__asan_init", b"__tsan_init")) if os.path.exists(BINARY) else False
IS_TSAN = os.path.exists(BINARY) and b"__tsan_init" in pathlib.Path(BINARY).read_bytes()
# A peer's clock cannot be turned; it may be slept instead, up to so many milliseconds.
PEER_SLEEP_MS = int(os.environ.get("DUNLIN_TEST_PEER_SLEEP_MS", "0"))
START_S = 20
TROUBLE = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "bug at")

DEFAULTS = {
    "allow_anonymous": "true",
    "log_dest": "stderr",
    "log_type": ["error", "warning", "notice", "information"],
    "connection_messages": "true",
    "set_tcp_nodelay": "true",
    "sys_interval": "1",
    "reactors": "2",
}
ONLY_OURS = {"reactors", "memory_limit_policy", "user"}
if os.geteuid() == 0:  # else it becomes somebody who may neither read nor write the test's folder
    DEFAULTS["user"] = "root"


class PortClaim:
    """A port nobody else uses: below the range the kernel hands out, and locked by file, because
    a broker that listens with SO_REUSEPORT would not notice another one."""

    def __init__(self):
        folder = pathlib.Path(tempfile.gettempdir()) / "mqtt-test-ports"
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            folder.chmod(0o1777)
        for _ in range(1000):
            self.number = random.randrange(20000, 31000)
            try:
                self.lock = open(folder / str(self.number), "w")
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.number))
                    return
                except OSError:
                    self.lock.close()
        raise RuntimeError("no free port")

    def free(self):
        self.lock.close()


def render(directives):
    """The text of a configuration file; a value that is a list repeats its directive."""
    lines = []
    for name, value in directives.items():
        if IS_PEER and name in ONLY_OURS:
            continue
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"{name} {one}".rstrip())
    return "\n".join(lines) + "\n"


class Broker:
    def __init__(self, config=None, text=None, arguments=(), wait=True):
        """`config` adds to DEFAULTS (a value None takes one away); `text` replaces the file."""
        self.claim = PortClaim()
        self.port = self.claim.number
        self.address = ("127.0.0.1", self.port)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dunlin-test-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)  # its log may be wanted till then
        self.config_path = self.folder / "dunlin.conf"
        self.log_path = self.folder / "log"
        self.clock_path = self.folder / "clock"
        self.clock_path.write_bytes(struct.pack("=q", 0))
        with open(self.clock_path, "r+b") as clock:
            self.clock = mmap.mmap(clock.fileno(), 8)
        self.config = dict(config or {})
        self.text = text
        self.write_config()
        environment = dict(os.environ, DUNLIN_TEST_CLOCK=str(self.clock_path))
        if IS_PEER:
            environment.pop("DUNLIN_TEST_CLOCK")
        command = [BINARY, "-c", str(self.config_path), *arguments]
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=self.log_file, env=environment, cwd=self.folder)
        self.probes = []
        if wait:
            self.wait_ready()

    def directives(self):
        # Global directives first: after `listener` comes the listener's own section.
        merged = {**DEFAULTS, **self.config}
        lines = {name: value for name, value in merged.items() if value is not None}
        listener_only = {"max_connections", "mount_point", "max_qos", "maximum_qos",
                         "max_topic_alias", "max_topic_alias_broker", "socket_domain",
                         "listener_allow_anonymous", "protocol", "listener_auto_id_prefix",
                         "accept_protocol_versions", "backlog", "socket_receive_buffer",
                         "socket_send_buffer", "tcp_keepalive", "tcp_user_timeout",
                         "tcp_defer_accept"}
        head = {n: v for n, v in lines.items() if n not in listener_only}
        tail = {n: v for n, v in lines.items() if n in listener_only}
        return {**head, "listener": f"{self.port} 127.0.0.1", **tail}

    def write_config(self):
        text = self.text if self.text is not None else render(self.directives())
        if self.text is not None and "user" in DEFAULTS:
            text = f"user {DEFAULTS['user']}\n{text}"
        self.config_path.write_text(text.replace("@PORT@", str(self.port)))

    def wait_ready(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(self.address, 1) as probe:
                    probe.shutdown(socket.SHUT_WR)
                    probe.settimeout(START_S)
                    probe.recv(1)  # until the end: it must not count as a connection any more
                return
            except OSError:
                time.sleep(0.01)
        self.abandon()
        raise RuntimeError(f"{BINARY} did not start listening:\n{self.log()}")

    # ------------------------------------------------------------------------------------- time

    def turn(self, ms):
        """Turns the broker's clock forward. What becomes due is to be waited for by the test, or
        settle() when nothing is to come."""
        if IS_PEER:
            if ms > PEER_SLEEP_MS:
                pytest.skip("the clock of this broker cannot be turned")
            time.sleep(ms / 1000)
            return
        now = struct.unpack("=q", self.clock[:8])[0]
        self.clock[:8] = struct.pack("=q", now + ms)

    def settle(self):
        """Every reactor has gone round at least twice (to within 1 in 2^11: the kernel spreads the
        probes over the reactors by chance), so timers that were due have run and mail has
        arrived."""
        for _ in range(4):  # a turned clock may have ended the probes' own connections
            try:
                while len(self.probes) < 12:
                    self.probes.append(client.Client(self.address, f"probe{len(self.probes)}", 5))
                for _ in range(3):
                    for probe in self.probes:
                        probe.ping()
                return
            except client.Closed:
                self.probes = []
        raise AssertionError("the probes are closed again and again")

    # ---------------------------------------------------------------------------------- looking

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text, since=0):
        """Waits until the log says `text` after position `since`; returns what came after it."""
        deadline = time.monotonic() + client.WAIT_S
        while time.monotonic() < deadline:
            log = self.log()[since:]
            if text in log:
                return log
            time.sleep(0.01)
        raise AssertionError(f"the log never said {text!r}; it says:\n{self.log()[since:]}")

    def rss_kb(self):
        """Resident memory. 0 with a sanitizer, whose own memory would be most of it: tests that
        set a ceiling then show the rest of what they show."""
        if SANITIZED:
            return 0
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def alive(self):
        return self.process.poll() is None

    # --------------------------------------------------------------------------------- stopping

    def signal(self, number):
        self.process.send_signal(number)

    def check_log(self):
        log = self.log()
        for word in TROUBLE:
            assert word not in log, f"the broker's output has {word!r}:\n{log[-20000:]}"

    def stop(self):
        """SIGTERM, and all that has to be true of a good end."""
        for probe in self.probes:
            probe.close()
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the broker:\n{self.log()[-5000:]}") from None
        finally:
            self.abandon()
        self.check_log()
        assert code == 0, f"the broker ended with {code}:\n{self.log()[-20000:]}"

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()
        self.claim.free()
