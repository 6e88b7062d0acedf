"""Seeded faults: what shows that the tests can fail. The list, how one is put in, and docs/MUTANTS.md.

mutants/*.txt have the faults of one part of the broker each:

    == name-of-the-fault              free of blanks, the only one of that name
    what: what the broker then does wrong
    5.0: MQTT-3.1.2-8 X5-18           clauses that it breaks, in either standard or both
    3.1.1: MQTT-3.1.2-8
    test: test_will.py::test_x        (if need be) a test that is to catch it; else those of the clauses
    in: broker/conn/ending.c
    @@                                lines of that file: "-" goes, "+" comes, " " says where
     as it is
    -before
    +after

The lines of a "@@" without those that come are found once in the file: neither never nor twice. There may be several
"@@". Nothing of the repository is changed: the file as it becomes is put into a folder of its own (a header before
the one it replaces), what depends on it is compiled, and linked before the library, which gives the rest.

mutants/caught.tsv says which test caught what in the last run that was recorded: `mutate --record`.
"""

import csv
import dataclasses
import pathlib
import re
import shlex
import subprocess
import sys

import clauses

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent
FOLDER = HERE / "mutants"
CAUGHT = FOLDER / "caught.tsv"
PAGE = REPOSITORY / "docs" / "MUTANTS.md"
COLUMNS = ["mutant", "test"]
KEYS = ("what", *clauses.TABLES, "test", "in")
ROOTS = ("include", "broker", "")  # where the compiler looks for headers, as in the Makefile
COMPILE_S = 120


class Fault(Exception):
    """A mutant that is not one: its text is not in the file, or it does not build."""


@dataclasses.dataclass
class Mutant:
    name: str
    part: str  # the file that it stands in: "conn"
    fields: dict
    changes: list  # (text before, text after)

    @property
    def path(self):
        return self.fields["in"]

    def clauses(self, standard):
        return self.fields.get(standard, "").split()

    def apply(self, text):
        """The file's text with the fault in it."""
        text = "\n" + text
        for before, after in self.changes:
            count = text.count(before)
            if count != 1:
                found = "is not in" if count == 0 else f"is {count} times in"
                raise Fault(f"{self.name}: this {found} {self.path}:{before}")
            text = text.replace(before, after)
        return text[1:]


# ------------------------------------------------------------------------------------- the list


def change_of(lines):
    """(before, after), each with the newline before its first line, so that lines are found whole."""
    before = [line[1:] for line in lines if line[:1] != "+"]
    after = [line[1:] for line in lines if line[:1] != "-"]
    if before == after or not before:
        raise Fault(f"changes nothing: {lines}")
    return tuple("".join(f"\n{line}" for line in side) + "\n" for side in (before, after))


def parse(name, part, block):
    head, *changes = re.split(r"^@@\n", block, flags=re.M)
    fields = {}
    for line in head.splitlines():
        key, _, value = line.partition(": ")
        if key not in KEYS or key in fields or not value:
            raise Fault(f"{name}: {line}")
        fields[key] = value
    if not {"what", "in"} <= set(fields) or not changes:
        raise Fault(f"{name}: says not what it does, or not where")
    if not any(standard in fields for standard in clauses.TABLES):
        raise Fault(f"{name}: breaks no clause")
    return Mutant(name, part, fields, [change_of(c.strip("\n").split("\n")) for c in changes])


def read_all():
    """Every mutant; a list that cannot be read ends the program."""
    found = {}
    for path in sorted(FOLDER.glob("*.txt")):
        parts = re.split(r"^== (\S+)\n", path.read_text(), flags=re.M)
        for name, block in zip(parts[1::2], parts[2::2]):
            try:
                if name in found:
                    raise Fault(f"{name}: there are two of that name")
                found[name] = parse(name, path.stem, block)
            except Fault as fault:
                sys.exit(f"{path}: {fault}")
    return list(found.values())


# ------------------------------------------------------------------------------------ building


def sources_of(path, build):
    """The .c files that have to be compiled when the file `path` changes."""
    if path.endswith(".c"):
        return [path]
    found = []
    for listed in (build / "obj").rglob("*.d"):
        first = listed.read_text().replace("\\\n", " ").split("\n", 1)[0]
        needs = first.partition(":")[2].split()
        if path in needs and needs[0].startswith(("protocol/", "broker/")):
            found.append(needs[0])
    return sorted(found)


def run(command, name):
    try:
        done = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, timeout=COMPILE_S,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        raise Fault(f"{name}: {shlex.join(command)} takes too long") from None
    if done.returncode:
        raise Fault(f"{name}: does not build:\n{done.stdout.decode(errors='replace')}")


def build_mutant(mutant, build, folder, compiler, linker):
    """Makes the broker with the fault in `folder`, from the objects in `build`; gives the program's path."""
    changed = folder / mutant.path
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text(mutant.apply((REPOSITORY / mutant.path).read_text()))
    includes = [f"-I{folder / root}" for root in ROOTS]
    objects = []
    for source in sources_of(mutant.path, build):
        objects.append(str(folder / pathlib.Path(source).with_suffix(".o")))
        pathlib.Path(objects[-1]).parent.mkdir(parents=True, exist_ok=True)
        where = str(changed) if source == mutant.path else source
        # What is not used any more is no fault here, nor does anybody look into it with a debugger.
        run([*compiler[:1], *includes, *compiler[1:], "-w", "-g0", "-c", "-o", objects[-1], where], mutant.name)
    if not objects:
        raise Fault(f"{mutant.name}: nothing that is built includes {mutant.path}")
    program = folder / "dunlin"
    if "broker/main.c" not in sources_of(mutant.path, build):
        objects.append(str(build / "obj/broker/main.o"))
    run([*compiler, "-o", str(program), *objects, str(build / "libdunlin.a"), *linker], mutant.name)
    return program


# ------------------------------------------------------------------------------------- the page


HEAD = """# Faults that the conformance tests catch

<!-- Made by conformance/tables from conformance/mutants/. -->

A test that cannot fail shows nothing. `make conformance-mutants` builds the broker {count} times, each time with
another small fault, and lets the conformance tests loose on it: first those of the clauses that it breaks, then, if
none of them fails, all. In the last run that was recorded (`conformance/mutate --record`) each was caught by the test
beside it, which passes without the fault. The faults are in [conformance/mutants/](../conformance/mutants/), line by
line; {lines}.
"""

TITLES = {"conn": "Where packets and sessions meet: broker/conn", "protocol": "Bytes and packets: protocol/",
          "route": "Who gets a message: broker/route", "session": "What is remembered: broker/session"}


def caught():
    if not CAUGHT.exists():
        return {}
    return {row["mutant"]: row["test"] for row in clauses.read(CAUGHT)}


def record(mutants, results):
    """Notes who caught what: {mutant: test, or "" when none did}. Of mutants not among them it stays as it was."""
    by = {**caught(), **results}
    with open(CAUGHT, "w", newline="") as out:
        lines = csv.writer(out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        lines.writerow(COLUMNS)
        lines.writerows((mutant.name, by[mutant.name]) for mutant in mutants if by.get(mutant.name))
    PAGE.write_text(page(mutants))


def page(mutants):
    by = caught()
    numbers = ", ".join(f"{sum(bool(m.clauses(standard)) for m in mutants)} break a clause of MQTT {standard}"
                        for standard in clauses.TABLES)
    parts = [HEAD.format(count=len(mutants), lines=numbers)]
    for part in sorted({mutant.part for mutant in mutants}):
        parts.append(f"## {TITLES[part]}\n\n| the fault | 5.0 | 3.1.1 | caught by |\n"
                     "| --- | --- | --- | --- |")
        for mutant in mutants:
            if mutant.part == part:
                short = [" ".join(clauses.short(c) for c in mutant.clauses(s)) or "-" for s in clauses.TABLES]
                parts[-1] += (f"\n| `{mutant.name}`: {mutant.fields['what']} | {short[0]} | {short[1]} "
                              f"| {by.get(mutant.name, '-')} |")
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def faults(mutants, tables, collected):
    """What is wrong with them, or with what was recorded of them: a line each. Nothing is built."""
    known = {standard: {row["clause"] for row in rows} for standard, rows in tables.items()}
    functions = {clauses.function_of(test) for test in collected}
    by = caught()
    for mutant in mutants:
        try:
            mutant.apply((REPOSITORY / mutant.path).read_text())
        except (OSError, Fault) as fault:
            yield f"conformance/mutants: {fault}"
        for standard in clauses.TABLES:
            for clause in set(mutant.clauses(standard)) - known[standard]:
                yield f"{mutant.name}: there is no clause {standard} {clause}"
        for test in {mutant.fields.get("test"), by.get(mutant.name)} - {None}:
            if clauses.function_of(test) not in functions:
                yield f"{mutant.name}: there is no test {test}"
        if mutant.name not in by:
            yield f"{mutant.name}: no test is recorded that catches it: make conformance-mutants ARGS=--record"
    for name in set(by) - {mutant.name for mutant in mutants}:
        yield f"{name}: caught, and not in conformance/mutants"
