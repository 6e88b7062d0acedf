"""The broker that is tested: started with a configuration, its clock turned, stopped; or a remote one.

CONFORMANCE_TARGET says which: the path of a program that takes mosquitto's configuration files (by default
build/dunlin), or HOST:PORT of a broker that runs already. A broker other than Dunlin is a "peer": where the
standard leaves a server free to close without a word, it may.
"""

import atexit
import contextlib
import fcntl
import mmap
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid

import pytest

import client

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
TARGET = os.environ.get("CONFORMANCE_TARGET") or str(REPOSITORY / "build" / "dunlin")
REMOTE = TARGET if ":" in TARGET and "/" not in TARGET else None
BINARY = None if REMOTE else TARGET
IS_PEER = bool(REMOTE) or "dunlin" not in pathlib.Path(TARGET).name
PROGRAM = pathlib.Path(BINARY).read_bytes() if BINARY and os.path.exists(BINARY) else b""
IS_TSAN = b"__tsan_init" in PROGRAM
SANITIZED = IS_TSAN or b"__asan_init" in PROGRAM
del PROGRAM
# A peer's clock is turned with Debian's libfaketime. Where there is none, or the broker is a remote one,
# the time is waited for, but for no longer than this.
SLEEP_MS_MAX = int(os.environ.get("CONFORMANCE_SLEEP_MS", "0"))
FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
START_S = 20
PROBES = 12
CLOCK_AT_REST = b"+%019.3f" % 0 if IS_PEER else struct.pack("=q", 0)  # libfaketime's text, or milliseconds
PEER_TICK_S = 0.3  # mosquitto looks for what is due ten times a second
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
ONLY_OURS = {"reactors", "memory_limit_policy"}
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


class Target:
    """What can be done with every broker that has an `address`."""

    probes = ()

    def sleep(self, ms):
        if ms > SLEEP_MS_MAX:
            pytest.skip("needs a broker whose clock can be turned")
        time.sleep(ms / 1000)

    def settle(self):
        """Every reactor has gone round at least twice (to within 1 in 2^11: the kernel spreads the
        probes over the reactors by chance), so timers that were due have run and mail has
        arrived."""
        for _ in range(4):  # a turned clock may have ended the probes' own connections
            try:
                while len(self.probes) < PROBES:
                    name = f"probe{uuid.uuid4().hex[:12]}"
                    self.probes = [*self.probes, client.Client(self.address, name, 5)]
                for _ in range(3):
                    for probe in self.probes:
                        probe.ping()
                if IS_PEER:
                    time.sleep(PEER_TICK_S)
                return
            except client.Closed:
                self.probes = ()
        raise AssertionError("the probes are closed again and again")

    def forget(self):
        for probe in self.probes:
            probe.close()


class Remote(Target):
    """A broker that somebody else runs. It cannot be configured, looked into, or stopped."""

    def __init__(self, target):
        host, _, port = target.rpartition(":")
        self.host, self.port = socket.gethostbyname(host), int(port)
        self.address = (self.host, self.port)
        self.turn = self.sleep

    def log(self):
        return ""

    def __getattr__(self, name):
        pytest.skip(f"needs a broker started for it: {name}")


class Broker(Target):
    def __init__(self, config=None, text=None, arguments=(), wait=True):
        """`config` adds to DEFAULTS (a value None takes one away); `text` replaces the file."""
        self.claim = PortClaim()
        self.port = self.claim.number
        self.host = "127.0.0.1"
        self.address = (self.host, self.port)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dunlin-test-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)  # its log may be wanted till then
        self.config_path = self.folder / "dunlin.conf"
        self.log_path = self.folder / "log"
        self.clock_path = self.folder / "clock"
        self.clock_path.write_bytes(CLOCK_AT_REST)
        with open(self.clock_path, "r+b") as clock:
            self.clock = mmap.mmap(clock.fileno(), len(CLOCK_AT_REST))
        self.config = dict(config or {})
        self.text = text
        self.write_config()
        environment = dict(os.environ, **self.clock_environment())
        command = [BINARY, "-c", str(self.config_path), *arguments]
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=self.log_file, env=environment, cwd=self.folder)
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
        more = head.pop("listener", [])  # listeners beside the one of the tests
        return {**head, "listener": [*more, f"{self.port} 127.0.0.1"], **tail}

    def write_config(self):
        text = self.text if self.text is not None else render(self.directives())
        if self.text is not None and "user" in DEFAULTS:
            text = f"user {DEFAULTS['user']}\n{text}"
        if IS_PEER and self.config.get("protocol") == "websockets":
            text += f"listener 0 {self.folder}/plain\n"  # mosquitto 2.0.11 does not start without one
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
        unknown = re.search('Unknown configuration variable "(\\w+)"', self.log())
        if IS_PEER and unknown:
            pytest.skip(f"needs a broker that has {unknown[1]}")
        raise RuntimeError(f"{BINARY} did not start listening:\n{self.log()}")

    # ------------------------------------------------------------------------------------- time

    def clock_environment(self):
        if not IS_PEER:
            return {"DUNLIN_TEST_CLOCK": str(self.clock_path)}
        if not FAKETIME:
            return {}
        return {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.clock_path),
                "FAKETIME_NO_CACHE": "1"}

    def turn(self, ms):
        """Turns the broker's clock forward. What becomes due is to be waited for by the test, or
        settle() when nothing is to come."""
        if IS_PEER and not FAKETIME:
            self.sleep(ms)
        elif IS_PEER:
            now = float(self.clock[:].decode()) + ms / 1000
            self.clock[:] = b"+%019.3f" % now
        else:
            now = struct.unpack("=q", self.clock[:])[0]
            self.clock[:] = struct.pack("=q", now + ms)

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
        self.forget()
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the broker:\n{self.log()[-5000:]}") from None
        finally:
            self.abandon()
        self.check_log()
        assert code == 0 or IS_PEER, f"the broker ended with {code}:\n{self.log()[-20000:]}"

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()
        self.claim.free()
