#!/usr/bin/python3
"""random_run: scripts that chance wrote, run against a broker and against a model of one beside it.

    conformance/random_run.py --seeds 1-1000            against build/dunlin
    conformance/random_run.py --start PROGRAM           another one, with mosquitto's configuration files
    conformance/random_run.py --host H [--port P]       one that runs already; without turning its clock
    conformance/random_run.py --script FILE             a script instead of seeds

Where they differ, one of them is wrong: the script is made as short as it can be and still differ, and printed; put it
into conformance/random/ and it is a test. The last line is `N agreed, N differ[, N undecided]`. A script is undecided where
two things fell due at one moment, or the machine was too slow: it was looked at up to there.
The exit status is 0 when none differ.
"""

import argparse
import os
import pathlib
import re
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SHRINK_S = 120
SHOWN_EVERY_S = 10


def parse_seeds(text):
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=parse_seeds, default=parse_seeds("1-100"))
    parser.add_argument("--script", metavar="FILE")
    parser.add_argument("--start", metavar="PROGRAM", default=str(HERE.parent / "build" / "dunlin"))
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--keep", metavar="FOLDER", help="write the short scripts there")
    parser.add_argument("--stop", type=int, default=10, help="give up after so many that differ")
    return parser.parse_args()


# ------------------------------------------------------------------------------------- shrinking


def shrunk(steps, differs):
    """The shortest that still differs: leaves out ever smaller parts, then simplifies what is left."""
    end = time.monotonic() + SHRINK_S
    size = len(steps) // 2
    while size and time.monotonic() < end:
        at, smaller = 0, False
        while at < len(steps) and time.monotonic() < end:
            candidate = steps[:at] + steps[at + size:]
            if candidate and differs(candidate):
                steps, smaller = candidate, True
            else:
                at += size
        if not smaller or size > 1:
            size //= 2
    return simplified(steps, differs, end)


def simplified(steps, differs, end):
    for at in range(len(steps)):
        for simpler in simpler_than(steps[at]):
            if time.monotonic() > end:
                return steps
            candidate = [*steps[:at], simpler(steps[at]), *steps[at + 1:]]
            if candidate[at] != steps[at] and differs(candidate):
                steps = candidate
    return steps


def simpler_than(step):
    """Functions that make a step simpler: without one of its optional fields, or one of its filters."""
    needed = {"connect": ("version", "clean"), "publish": ("topic", "payload", "qos", "id"),
              "subscribe": ("id",), "unsubscribe": ("id",), "pubrel": ("id",), "ack": ("which",)}
    for key in step.fields:
        if key not in needed.get(step.verb, step.fields if step.verb not in ("disconnect", "drop") else ()):
            if key != "filters":
                yield lambda s, k=key: s._replace(
                    fields={name: value for name, value in s.fields.items() if name != k})
    for text in step.fields.get("filters", ())[::-1]:
        yield lambda s, t=text: s._replace(fields={
            **s.fields, "filters": [f for f in s.fields["filters"] if f != t] or [t]})


# ----------------------------------------------------------------------------------------- brokers


class Bench:
    """A broker with a driver; started again when a script has hurt it."""

    def __init__(self, options):
        import broker  # reads CONFORMANCE_TARGET
        self.module, self.options, self.driver = broker, options, None

    def start(self):
        import random_habits
        if self.module.REMOTE:
            target = self.module.Remote(self.module.REMOTE)
        else:
            target = self.module.Broker()
        self.driver = random_habits.driver_for(target)

    def run(self, steps):
        if not self.driver:
            self.start()
        said = self.driver.run(steps)
        if said and not self.module.REMOTE and not self.driver.broker.alive():
            said = f"the broker is gone. {said}\n{self.driver.broker.log()[-5000:]}"
            self.driver = None
        return said

    def stop(self):
        if self.driver:
            self.driver.close()
            if not self.module.REMOTE:
                self.driver.broker.stop()


def run_all(bench, options, scripts):
    import random_parts
    counts, shown = {"agreed": 0, "differ": 0, "undecided": 0}, time.monotonic()
    start = time.monotonic()
    for name, steps in scripts:
        try:
            said = bench.run(steps)
            counts["differ" if said else "agreed"] += 1
        except random_parts.Inconclusive:
            said = None
            counts["undecided"] += 1
        if said:
            report(bench, options, name, steps, said)
        if counts["differ"] >= options.stop:
            break
        if time.monotonic() > shown + SHOWN_EVERY_S:
            shown = time.monotonic()
            print(f"{name}: {sum(counts.values()) / (shown - start):.1f} a second; "
                  + ", ".join(f"{count} {word}" for word, count in counts.items()), flush=True)
    return counts


def kind_of(said):
    """What a divergence is about, without step, names and numbers; so that one does not shrink to another."""
    said = re.sub(r"^step .*?: |\([^()]*\)|b?'[^']*'|\bc\d\b|; owed.*|\d+", "", said or "", flags=re.S)
    return " ".join(re.findall("[A-Za-z]+", said))


def report(bench, options, name, steps, said):
    import random_parts
    import random_steps

    def differs(candidate):
        try:
            return kind_of(bench.run(candidate)) == kind_of(said)
        except random_parts.Inconclusive:
            return False

    print(f"\n{name} differs at {said}", flush=True)
    if not differs(steps):
        print("once more, it does not: that depends on more than the script\n", flush=True)
        return
    short = shrunk(steps, differs)
    said = bench.run(short) or said
    text = f"# {name}: {' '.join(said.split())}\n{random_steps.to_text(short)}"
    print(text, flush=True)
    if options.keep:
        path = pathlib.Path(options.keep) / f"{name.replace(' ', '_')}.txt"
        path.write_text(text)


def main():
    options = arguments()
    os.environ["CONFORMANCE_TARGET"] = f"{options.host}:{options.port}" if options.host \
        else os.path.abspath(options.start)
    import random_steps
    if options.script:
        scripts = [(options.script, random_steps.from_text(pathlib.Path(options.script).read_text()))]
    else:
        scripts = ((f"seed {seed}", random_steps.of_seed(seed)) for seed in options.seeds)
    bench = Bench(options)
    try:
        counts = run_all(bench, options, scripts)
    finally:
        bench.stop()
    undecided = f", {counts['undecided']} undecided" if counts["undecided"] else ""
    print(f"{counts['agreed']} agreed, {counts['differ']} differ{undecided}")
    sys.exit(counts["differ"] != 0 or not counts["agreed"])


if __name__ == "__main__":
    main()
