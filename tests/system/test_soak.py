"""A short soak (tests/soak/soak.py): what a minute of `make soak` does to a broker, in seconds."""

import pathlib
import subprocess
import sys

import pytest

from broker import BINARY, IS_PEER

SOAK = pathlib.Path(__file__).resolve().parents[1] / "soak" / "soak.py"


@pytest.mark.skipif(IS_PEER, reason="counts what only Dunlin tells")
def test_nothing_is_left_of_a_crowd_of_bad_company():
    done = subprocess.run([sys.executable, SOAK, "--minutes", "0.1", "--seed", "7", BINARY],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, text=True)
    assert done.returncode == 0, done.stdout
