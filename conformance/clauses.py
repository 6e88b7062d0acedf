"""The tables of clauses, and what a run says about them.

mqtt5.tsv and mqtt311.tsv have a line for each clause:

    clause       as the standard numbers it; X5-.. and X3-.. are rules that it states without a number
    kind         server: the server has to do it. client: clients have to; tests show what the server does
                 when one does not, where the standard says. unseen: nothing on the wire can show it
    what         what it asks, in short
    dunlin       pass, fail, skip (no test ran), unit (shown in process only), or - (not shown)
    mosquitto    the same for mosquitto
    tests        those that show it: written by ./tables
    in process   a unit test of Dunlin's, FILE:FUNCTION, where no client from outside can show it
    why          where there is no test: why there is none

clients.tsv has a line for each thing that programs which others wrote have been shown to do.
"""

import csv
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
TABLES = {"5.0": HERE / "mqtt5.tsv", "3.1.1": HERE / "mqtt311.tsv"}
CLIENTS = HERE / "clients.tsv"
COLUMNS = ["clause", "kind", "what", "dunlin", "mosquitto", "tests", "in process", "why"]
CLIENT_COLUMNS = ["client", "ability", "versions"]
KINDS = ("server", "client", "unseen")
VERSIONS = {3: "3.1", 4: "3.1.1", 5: "5.0"}


def read(path):
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def write(path, columns, rows):
    with open(path, "w", newline="") as out:
        out.write("\t".join(columns) + "\n")
        for row in rows:
            out.write("\t".join(row[column] for column in columns) + "\n")


def read_all():
    return {standard: read(path) for standard, path in TABLES.items()}


def write_all(tables):
    for standard, rows in tables.items():
        write(TABLES[standard], COLUMNS, rows)


def short(clause):
    return clause.removeprefix("MQTT-")


def function_of(test):
    """"test_will.py::test_x[5-clean]" -> "test_will.py::test_x" """
    return test.partition("[")[0]


def tests_of(collected, standard):
    """{clause: [function ...]} of what pytest collected (see --clauses in harness.py)."""
    found = {}
    for test, shown in collected.items():
        for clause in shown.get(standard, ()):
            found.setdefault(clause, set()).add(function_of(test))
    return {clause: sorted(functions) for clause, functions in found.items()}


def outcomes_of(result, standard):
    """[(clause, outcome)]. Where a test ended with a packet that breaks a clause it is not about, that clause has
    failed; those of the test are left "open", as what it is about was not seen."""
    broken, shown = result.get("broken"), result.get(standard, ())
    if not broken or broken in result.get("5.0", [broken]):
        return [(clause, result["outcome"]) for clause in shown]
    return [(clause, "open") for clause in shown] + [(broken, "failed")] * (standard == "5.0")


def verdicts_of(results, standard):
    """{clause: "pass", "fail" or "skip"}: one test that fails is enough to fail, or if nothing else is known
    one that is left open."""
    found = {}
    for result in results.values():
        for clause, outcome in outcomes_of(result, standard):
            found.setdefault(clause, set()).add(outcome)
    ranks = (("failed", "fail"), ("passed", "pass"), ("open", "fail"), ("skipped", "skip"))
    return {clause: next(verdict for outcome, verdict in ranks if outcome in outcomes)
            for clause, outcomes in found.items()}


def clients_of(results):
    """Rows of clients.tsv: each ability of a client in the versions for which all its tests passed."""
    found = {}
    for result in results.values():
        for client, ability, version in result.get("clients", ()):
            found.setdefault((client, ability), {}).setdefault(version, set()).add(result["outcome"])
    rows = []
    for (client, ability), versions in sorted(found.items()):
        passed = [VERSIONS[v] for v, outcomes in sorted(versions.items()) if outcomes == {"passed"}]
        rows.append({"client": client, "ability": ability, "versions": ", ".join(passed) or "-"})
    return rows
