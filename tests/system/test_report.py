"""make bench-report: pictures and table from a file of figures, what is wrong with a command line, a small run."""

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import broker as brokers

pytestmark = pytest.mark.ours

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"
BUILD = pathlib.Path(brokers.BINARY).parent

sys.path.insert(0, str(BENCH))
import curves  # noqa: E402

ONE, MANY = "Dunlin, 1 reactor", "Dunlin, 64 reactors, a table each"
PAGE = f"# Benchmarks\n\nbefore\n\n{curves.BEGIN}old figures\n{curves.END}\nafter\n"
SVG = "{http://www.w3.org/2000/svg}"


def row(line, sessions, number, **figures):
    return {"line": line, "sessions": sessions, "round": number, **dict.fromkeys(curves.FIGURES, 1), "trouble": 0,
            **figures}


ROWS = [row(ONE, 100, 1, cpu_us=20.25), row(ONE, 100, 2, cpu_us=22.5), row(ONE, 100, 3, cpu_us=40),
        row(MANY, 1000000, 1, cpu_us=77.75, session_bytes=405, p50_us=1234, p99_us=5678)]


def run_report(*arguments, path=None, **options):
    environment = dict(os.environ, PATH=path or os.environ["PATH"])
    return subprocess.run([sys.executable, BENCH / "report.py", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=240, env=environment, **options)


@pytest.fixture
def echo(tmp_path):
    """A PATH on which gnuplot is a program that draws what it is told."""
    program = tmp_path / "bin" / "gnuplot"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\ncat\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.fixture
def folder(tmp_path):
    """As docs/ is after a run."""
    path = tmp_path / "docs"
    path.mkdir()
    (path / "BENCHMARKS.md").write_text(PAGE)
    curves.write(path / "bench-report.tsv", {"machine": "a test's", "rate": "2,000"}, ROWS)
    return path


def redraw(folder, path):
    done = run_report("--redraw", "--folder", str(folder), "--build", "/nowhere", path=path)
    assert done.returncode == 0, done.stderr
    return {file: (folder / file).read_text() for file in map(os.path.basename, done.stdout.split())}


def test_figures_are_read_as_they_were_written(folder):
    assert curves.read(folder / "bench-report.tsv") == ({"machine": "a test's", "rate": "2,000"}, ROWS)


def test_pictures_have_each_point_of_each_line_with_its_lowest_and_highest(folder, echo):
    made = redraw(folder, echo)
    assert set(made) == {"BENCHMARKS.md", "bench-memory.svg", "bench-cost.svg", "bench-flat-out.svg",
                         "bench-latency.svg"}
    assert "\n100\t22.5000\t20.2500\t40.0000\nEOD" in made["bench-cost.svg"]
    assert "\n1000000\t77.7500\t77.7500\t77.7500\nEOD" in made["bench-cost.svg"]
    assert "2,000 messages a second" in made["bench-cost.svg"]
    for line in (ONE, MANY):
        assert f"title '{line}'" in made["bench-memory.svg"] and f"title '{line}: p99'" in made["bench-latency.svg"]


def test_the_page_changes_between_its_marks_only_and_not_when_nothing_is_new(folder, echo):
    page = redraw(folder, echo)["BENCHMARKS.md"]
    head, tail = PAGE.split(f"{curves.BEGIN}old figures\n{curves.END}")
    assert page.startswith(head + curves.BEGIN) and page.endswith(curves.END + tail)
    assert "old figures" not in page and "- machine: `a test's`" in page
    assert "](bench-cost.svg)" in page and "lost" not in page
    cells = [[cell.strip() for cell in line.split("|")[1:4]] + [line.split("|")[4].strip(), line.split("|")[5].strip()]
             for line in page.split("\n") if line.startswith("| Dunlin")]
    assert cells == [[ONE, "100", "1 (1-1)", "22.5 (20.2-40.0)", "1 / 1"],
                     [MANY, "1,000,000", "405", "77.8", "1,234 / 5,678"]]
    assert redraw(folder, echo)["BENCHMARKS.md"] == page


def test_what_went_wrong_stands_below_the_table(folder, echo):
    curves.write(folder / "bench-report.tsv", {"rate": "1"}, ROWS + [row(MANY, 5000, 2, trouble=17)])
    page = redraw(folder, echo)["BENCHMARKS.md"]
    assert f"- {MANY}, 5,000 sessions, round 2: 17 messages or connections lost" in page


@pytest.mark.skipif(not shutil.which("gnuplot"), reason="gnuplot is not installed")
def test_gnuplot_draws_them(folder):
    for name, text in redraw(folder, None).items():
        if name.endswith(".svg"):
            picture = xml.etree.ElementTree.fromstring(text)
            words = " ".join(picture.itertext())
            assert picture.tag == SVG + "svg" and ONE in words and MANY in words and "1M" in words


@pytest.mark.parametrize("arguments, words", [
    ("--sessions 1000,many", ["--sessions", "1000,many"]),
    ("--sessions 10", ["--sessions", "64 sessions at least"]),
    ("--sessions 1000,,2000", ["--sessions"]),
    ("--rounds 0", ["--rounds", "above 0"]),
    ("--rate -5", ["--rate", "above 0"]),
    ("--seconds soon", ["--seconds", "float"]),
    ("--nonsense", ["nonsense"]),
])
def test_a_command_line_that_is_wrong(arguments, words, echo):
    done = run_report(*arguments.split(), path=echo)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(word in done.stderr.split("\n")[-2] for word in words), done.stderr


def fails(words, *arguments, path):
    """It says in a line what is wrong, and measures nothing."""
    done = run_report(*arguments, path=path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("report: ") and done.stderr.count("\n") == 1 and words in done.stderr


def test_what_is_missing_is_said_before_anything_is_measured(folder, echo, tmp_path):
    fails("no program at /nowhere/dunlin: make", "--build", "/nowhere", path=echo)
    fails("no gnuplot: ", "--redraw", "--folder", str(folder), path="/nowhere")
    (folder / "BENCHMARKS.md").write_text("# Benchmarks\n")
    fails("the marks", "--build", str(BUILD), "--folder", str(folder), path=echo)
    fails("no figures at", "--redraw", "--folder", str(tmp_path), path=echo)


@pytest.mark.parametrize("old, new, words", [
    ("cpu_us", "gpu_us", "not a file of make bench-report"),
    ("# rate: 2,000\n", "", "not a file of make bench-report"),
    ("\t77.75\t", "\t", "bench-report.tsv:7: not a row"),
    ("\t77.75\t", "\tmuch\t", "bench-report.tsv:7: not a row"),
])
def test_a_file_that_is_no_file_of_figures_is_not_drawn(folder, echo, old, new, words):
    data = folder / "bench-report.tsv"
    data.write_text(data.read_text().replace(old, new, 1))
    fails(words, "--redraw", "--folder", str(folder), path=echo)
    assert (folder / "BENCHMARKS.md").read_text() == PAGE and not list(folder.glob("*.svg"))


def few():
    resource.setrlimit(resource.RLIMIT_NOFILE, (900, 900))


def limits_hold():
    """Whether a limit of open files, once lowered, stays: some users may raise it again."""
    raises = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))"
    return subprocess.run([sys.executable, "-c", raises], preexec_fn=few, stderr=subprocess.DEVNULL).returncode != 0


def test_a_small_run_goes_beyond_what_one_table_of_descriptors_holds(folder, tmp_path, echo):
    for name in ("dunlin", "dunlin-bench"):
        (tmp_path / name).symlink_to(BUILD / name)
    done = run_report("--sessions", "300,64", "--rounds", "1", "--seconds", "2", "--build", str(tmp_path), "--folder",
                      str(folder), "--mosquitto", "/nowhere", path=echo, preexec_fn=few)
    assert done.returncode == 0, done.stdout + done.stderr
    about, rows = curves.read(folder / "bench-report.tsv")
    points = [(r["line"], r["sessions"]) for r in rows]
    many = f"Dunlin, {max(2, len(os.sched_getaffinity(0)))} reactors, a table each"
    if not limits_hold():
        many = ONE
    assert points == ([(ONE, 64), (ONE, 300)] if many == ONE else [(ONE, 64), (many, 64), (many, 300)])
    for r in rows:
        assert r["connected"] == r["sessions"] + 64 and r["session_bytes"] > 0
        assert 0 < r["p50_us"] <= r["p99_us"] and r["cpu_us"] > 0
        assert r["per_second"] > 0 and r["flat_per_second"] > 0 and r["flat_cpu_us"] > 0
    assert about["rate"] == "2,000" and "--dashboards 64" in about["load"]
    assert (folder / "bench-cost.svg").exists() and many in (folder / "BENCHMARKS.md").read_text()
