"""What a container forbids: reactor_descriptors private, and the load tool's threads, without unshare()."""

import ctypes
import pathlib
import platform
import struct
import subprocess

import pytest

import broker as brokers

UNSHARE = {"x86_64": 272, "aarch64": 97}.get(platform.machine())
CLOSE_RANGE = 436
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
ALLOW, EPERM = 0x7FFF0000, 0x00050001
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06  # the call's number, a jump, the verdict

pytestmark = [pytest.mark.ours,
              pytest.mark.skipif(not UNSHARE, reason="its calls have other numbers here"),
              pytest.mark.skipif(brokers.IS_TSAN, reason="ThreadSanitizer knows one table only")]

BENCH = pathlib.Path(brokers.BINARY or "").parent / "dunlin-bench"
PRIVATE = "reactors 2\nreactor_descriptors private\nlistener 1 127.0.0.1\n"


class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("steps", ctypes.c_void_p)]


def forbid(*calls):
    """For preexec_fn: from then on these calls fail with EPERM."""
    steps = [(LOAD, 0, 0, 0)]
    steps += [(EQUALS, len(calls) - i, 0, call) for i, call in enumerate(calls)]
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = Program(len(steps), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def obey():
        if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
                prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")
        return code  # alive until here
    return obey


def run(command, forbidden, text=PRIVATE, folder=None):
    if folder:
        path = folder / "dunlin.conf"
        path.write_text(text)
        command = [*command, "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60,
                          preexec_fn=forbid(*forbidden))


@pytest.mark.parametrize("question", [[], ["--test-config"]])
def test_where_tables_are_forbidden_it_says_so_and_does_not_start(tmp_path, question):
    done = run([brokers.BINARY, *question], [UNSHARE, CLOSE_RANGE],
               folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("dunlin: ")
    for part in ("reactor_descriptors private", "unshare(CLONE_FILES): Operation not permitted",
                 "seccomp", "reactor_descriptors shared"):
        assert part in done.stderr


def test_check_host_says_that_tables_are_forbidden(tmp_path):
    forbidden = [UNSHARE, CLOSE_RANGE]
    done = run([brokers.BINARY, "--check-host", "10"], forbidden, folder=tmp_path)
    assert done.returncode == 1
    assert "the first wall is tables of their own for reactors (no)" in done.stdout
    shared = PRIVATE.replace("private", "shared")
    assert run([brokers.BINARY, "--check-host", "10"], forbidden, shared, tmp_path).returncode == 0


def test_close_range_does_where_unshare_alone_is_forbidden(tmp_path):
    done = run([brokers.BINARY, "--test-config"], [UNSHARE], folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("forbidden", [[], [CLOSE_RANGE]])
def test_the_load_tool_shares_a_table_that_is_large_enough(broker, forbidden):
    done = run([str(BENCH), "ping", "--clients", "20", "--rate", "100", "--threads", "2", "--seconds",
                "0.3", "--warmup", "0.1", "--port", str(broker.port)],
               [UNSHARE, *forbidden])
    assert done.returncode == 0, done.stderr


def test_the_load_tool_says_what_one_table_lacks():
    hard = "ulimit -n 60; exec \"$@\""
    done = run(["bash", "-c", hard, "x", str(BENCH), "ping", "--clients", "60", "--threads", "2", "--port",
                "1", "--witnesses", "0"], [UNSHARE, CLOSE_RANGE])
    assert done.returncode != 0
    assert "too many for one" in done.stderr and "60 connections" in done.stderr
