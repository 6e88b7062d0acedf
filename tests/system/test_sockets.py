"""What a listener's directives say about its sockets, as the kernel sees it."""

import re
import shutil
import subprocess

import pytest

import broker as brokers

pytestmark = [pytest.mark.ours,
              pytest.mark.skipif(not shutil.which("ss"), reason="takes ss, of iproute2")]

COSTS = {"socket_receive_buffer": 20000, "socket_send_buffer": 30000, "tcp_keepalive": 50,
         "tcp_user_timeout": 45, "tcp_defer_accept": 5}


def accepted(broker):
    """What ss says of the broker's side of its only connection."""
    said = subprocess.run(["ss", "-tnmoOH", "state", "established", "sport", "=",
                           f":{broker.port}"], capture_output=True, text=True, check=True).stdout
    lines = said.splitlines()
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.config(fresh=True, **COSTS)
def test_connections_have_what_the_listener_says(broker, connect):
    connect("c")
    line = accepted(broker)
    assert "rb40000" in line and "tb60000" in line, line
    assert re.search(r"timer:\(keepalive,\d+sec", line), line


@pytest.mark.config(fresh=True)
def test_without_directives_nothing_is_set(broker, connect):
    connect("c")
    assert "keepalive" not in accepted(broker)


def test_a_buffer_that_the_kernel_cuts_is_told():
    target = brokers.Broker({"socket_send_buffer": 1 << 30})
    try:
        target.wait_log("raise net.core.wmem_max")
    finally:
        target.abandon()
