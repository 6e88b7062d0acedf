"""tests/bench/cost.py: figures of a profile are of the broker's messages and of nothing else."""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
import cost  # noqa: E402  # pylint: disable=wrong-import-position

PROGRAM = "/usr/sbin/dunlin"
FILE = f"""version: 1
positions: instr
events: Ir D1mr D1mw

ob={PROGRAM}
fl=a.c
fn=on_publish
0x1000 70 1 2
0x1004 10 0 0
cob=/lib/libc.so
cfn=malloc
calls=5 0x9000
0x1008 400 9 9
ob=/lib/libc.so
fn=malloc
0x9000 200 4 0
0x1004 7 0 0
"""


def counts(folder, text, units):
    path = folder / "callgrind.out"
    path.write_text(text, encoding="ascii")
    return cost.read_callgrind(path, PROGRAM, {0x1004}, units)


def test_functions_have_their_own_cost_and_calls_are_counted(tmp_path):
    found = counts(tmp_path, FILE, 10)
    assert found.functions["on_publish"]["Ir"] == 80
    assert found.functions["malloc"]["Ir"] == 207
    assert found.totals["Ir"] == 287
    assert found.totals["allocations"] == 5
    assert found.totals["atomics"] == 10  # of the broker, not of the library at the same place


def test_starting_and_connecting_are_not_part_of_a_message(tmp_path):
    long_file = FILE.replace("0x1000 70", "0x1000 370").replace("calls=5", "calls=11")
    totals, functions = counts(tmp_path, long_file, 13).per_unit_beyond(counts(tmp_path, FILE, 10))
    assert totals["Ir"] == 100
    assert totals["allocations"] == 2
    assert functions["malloc"]["Ir"] == 0


def test_scenarios_are_named_and_a_wrong_name_is_said():
    def run(*arguments):
        return subprocess.run([sys.executable, cost.__file__, *arguments], capture_output=True, text=True)
    listed = run("--list").stdout.split()
    assert "pairs-qos0" in listed and len(listed) == len(set(listed))
    wrong = run("--only", "nonsense")
    assert wrong.returncode == 2 and "--list" in wrong.stderr


def test_scenarios_that_end_by_themselves_are_made_longer_by_their_size():
    sized = cost.Scenario("s", "subscribe", "subscribe", size=("--filters", 100))
    assert sized.length(cost.SHORT_S)[-2:] == ["--filters", "100"]
    assert sized.length(cost.SHORT_S * 4)[-2:] == ["--filters", "400"]
    assert cost.Scenario("p", "pairs").length(5) == ["--seconds", "5"]


def test_what_is_counted_is_a_figure_of_the_run_or_of_a_step():
    result = {"delivered": 7, "steps": {"storm": {"count": 9}}}
    assert cost.Scenario("p", "pairs").count(result) == 7
    assert cost.Scenario("s", "storm", "storm").count(result) == 9
