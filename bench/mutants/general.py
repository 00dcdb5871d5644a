"""What does the contract suite miss of mistakes nobody thought of?

uv run --group mutation python -m bench.mutants.general --sample 200 --seed 1 [--file client.py]

mutmut's operators make the mistakes: an argument left out, a condition turned round, None for
a value. Its own runner cannot serve here: it imports the core anew for each mutant, and wants
the package apart from the namespace it lives in. So the mutants run as those of the list do.

Each mutant meets the tests that run its line, the ones first that were quick to kill others of its
function, until one fails. One that all pass is shown to mypy, which the plugin's own checks run
as well. A survivor is killed by a better contract, or it is no mistake: then it stands in
equivalent.toml, with the reason.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import libcst as cst
from coverage import CoverageData
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

from bench.mutants import suite

FILES = (
    "acme_realtime.py",
    "client.py",
    "wire.py",
    "turns.py",
    "held_output.py",
    "messages.py",
)
"""What is mutated, in the package; events.py has no code to speak of, the rest is the test double."""

DOUBLE = {"ServerCodec", "Natural", "_config", "_object_in", "_part", "_client_decoder"}
"""What of wire.py is the test double's, and so is every class the strict decoder reads."""

STRICT = "Strict"
"""The class in wire.py all those derive from."""

LIMIT_S = 120.0
"""How long one run of the suite may take: a mutant that hangs is killed, too."""


@dataclass(frozen=True)
class Change:
    """A file as a mutant has it, and the lines that make the difference."""

    file: str
    line: int
    was: str
    becomes: str
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by, wherever in its file it stands."""
        return self.file, self.was, self.becomes


@dataclass(frozen=True)
class Mutant:
    """One mistake in a file."""

    file: str
    tree: cst.Module
    line: int
    lines: range  # of the statement, up to where it changes
    function: str
    mutation: Mutation

    def change(self) -> Change:
        """Make it."""
        changed = self.tree.deep_replace(self.mutation.original_node, self.mutation.mutated_node)
        assert isinstance(changed, cst.Module)
        was, becomes = _difference(self.tree.code, changed.code)
        return Change(self.file, self.line, was, becomes, changed.code)


class Guide:
    """Which tests a mutant has to meet, and in what order."""

    def __init__(self, tests: Iterable[str], coverage: CoverageData) -> None:
        self._tests = [*tests]
        self._runs: dict[str, dict[int, set[str]]] = {}
        for path in coverage.measured_files():
            lines = coverage.contexts_by_lineno(path)
            self._runs[Path(path).name] = {
                line: {context.rpartition("|")[0] for context in contexts}
                for line, contexts in lines.items()
            }
        self._killers: dict[tuple[str, str], dict[str, float]] = {}

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that run its lines; all where those run on import, or in no test."""
        runs = self._runs.get(mutant.file, {})
        contexts = [runs[line] for line in mutant.lines if line in runs]
        reached = set[str]().union(*contexts)
        if "" in reached or not reached:
            reached = set(self._tests)
        killers = self._killers.get((mutant.file, mutant.function), {})
        first = [test for test in sorted(killers, key=killers.__getitem__) if test in reached]
        return [*first, *(test for test in self._tests if test in reached - set(first))]

    def learn(self, mutant: Mutant, report: suite.Report) -> None:
        """Remember what killed it, and how soon."""
        killers = self._killers.setdefault((mutant.file, mutant.function), {})
        for test in report.failures:
            killers[test] = min(report.seconds, killers.get(test, report.seconds))


def main() -> int:
    """Run; returns the exit code: 1 where something survived without a reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("--file", choices=FILES, help="only of this file")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    arguments = parser.parse_args()
    reasons = _reasons()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = suite.generate(folder)
        files = FILES if arguments.file is None else (arguments.file,)
        every = [each for file in files for each in mutants(plugin / suite.PACKAGE / file)]
        chosen = every
        if arguments.sample:
            chosen = random.Random(arguments.seed).sample(every, min(arguments.sample, len(every)))
        plain, coverage = _covered(plugin, folder)
        print(f"{len(chosen)} of {len(every)} mutants; unmutated: {plain}", flush=True)
        if plain.failures or plain.uncollected or not plain.tests:
            return 2
        if not _type_checks(plugin, folder / "mypy"):
            print("mypy refuses the unmutated plugin")
            return 2
        guide = Guide(plain.tests, coverage)
        started = time.perf_counter()

        def examine(number: int) -> tuple[Change, str]:
            mutant = chosen[number]
            change = mutant.change()
            if change.key in reasons:
                return change, "equivalent"
            copy = suite.copy(plugin, folder / f"general_{number}")
            (copy / suite.PACKAGE / change.file).write_text(change.text, encoding="utf-8")
            report = suite.run(copy, "--exitfirst", limit_s=LIMIT_S, tests=guide.tests(mutant))
            guide.learn(mutant, report)
            if report.uncollected or not report.tests:
                fate = "no program"
            elif report.failures:
                fate = "killed"
            else:
                fate = "survived" if _type_checks(copy, folder / "mypy") else "refused by mypy"
            suite.remove(copy)
            return change, fate

        counts: Counter[str] = Counter()
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for change, fate in pool.map(examine, range(len(chosen))):
                counts[fate] += 1
                if fate == "survived":
                    print(f"survived: {change.file}:{change.line}", flush=True)
                    print("  - " + change.was.replace("\n", "\n    "))
                    print("  + " + change.becomes.replace("\n", "\n    "), flush=True)
    figures = ", ".join(f"{count} {fate}" for fate, count in sorted(counts.items()))
    print(f"{figures}; {time.perf_counter() - started:.0f} s")
    return 1 if counts["survived"] else 0


def _covered(plugin: Path, folder: Path) -> tuple[suite.Report, CoverageData]:
    """Run the plugin's suite as it is; which test runs which line."""
    data, settings = folder / "coverage", folder / "coverage.ini"
    settings.write_text(f"[run]\ndata_file = {data}\n")
    arguments = [
        f"--cov={suite.PACKAGE}",
        f"--cov-config={settings}",
        "--cov-context=test",
        "--cov-report=",
    ]
    plain = suite.run(plugin, *arguments, limit_s=LIMIT_S)
    coverage = CoverageData(str(data))
    coverage.read()
    return plain, coverage


_checking = threading.Lock()


def _type_checks(plugin: Path, cache: Path) -> bool:
    """Whether mypy, as the plugin has it set up, finds nothing."""
    command = [sys.executable, "-m", "mypy", f"--cache-dir={cache}"]
    with _checking:  # two would write one cache
        done = subprocess.run(command, cwd=plugin, stdout=subprocess.DEVNULL, check=False)
    return not done.returncode


def mutants(path: Path) -> list[Mutant]:
    """Every mutant of a file.

    Left out: the test double's half of wire.py; and what a test could only repeat, which is
    constants in capitals, numbers that are defaults, and words for people in logs,
    docstrings and errors.
    """
    module = MetadataWrapper(cst.parse_module(path.read_text(encoding="utf-8")))
    visitor = MutationVisitor(mutation_operators, IgnoredCode(set(), set(), set()))
    tree = module.visit(visitor)
    parents = module.resolve(ParentNodeProvider)
    positions = module.resolve(PositionProvider)
    double = _double(tree) if path.name == "wire.py" else set()
    found: list[Mutant] = []
    for mutation in visitor.mutations:
        node = mutation.original_node
        around = [node, *_above(node, parents)]
        left_out = any(each in double or _is_for_people(each) for each in around)
        if not left_out and not _is_a_choice(around):
            place = positions[node]
            start = next(positions[each].start.line for each in around if _is_a_statement(each))
            found.append(
                Mutant(
                    path.name,
                    tree,
                    place.start.line,
                    range(start, place.end.line + 1),
                    _function(around),
                    mutation,
                )
            )
    return found


def _reasons() -> dict[tuple[str, str, str], str]:
    """Why a mutant is no mistake, by its key."""
    page = tomllib.loads(Path(__file__).with_name("equivalent.toml").read_text(encoding="utf-8"))
    return {
        (entry["file"], entry["was"].strip("\n"), entry["becomes"].strip("\n")): group["why"]
        for group in page["equivalent"]
        for entry in group["mutants"]
    }


def _above(node: cst.CSTNode, parents: Mapping[cst.CSTNode, cst.CSTNode]) -> list[cst.CSTNode]:
    found: list[cst.CSTNode] = []
    parent = parents.get(node)
    while parent is not None:
        found.append(parent)
        parent = parents.get(parent)
    return found


def _is_a_statement(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.BaseStatement | cst.SimpleStatementLine | cst.MatchCase)


def _function(around: list[cst.CSTNode]) -> str:
    names = [each.name.value for each in around if isinstance(each, cst.FunctionDef)]
    return names[0] if names else ""


def _double(tree: cst.Module) -> set[cst.CSTNode]:
    """The parts of wire.py that only the embedded provider uses."""
    names, found = {STRICT, *DOUBLE}, set[cst.CSTNode]()
    for statement in tree.body:
        match statement:
            case cst.ClassDef(name=name, bases=bases):
                inherited = {base.value.value for base in bases if isinstance(base.value, cst.Name)}
                if name.value in names or inherited & (names - DOUBLE):
                    names.add(name.value)
                    found.add(statement)
            case cst.FunctionDef(name=name) if name.value in names:
                found.add(statement)
            case cst.SimpleStatementLine(body=[cst.Assign(targets=[target])]):
                if isinstance(target.target, cst.Name) and target.target.value in names:
                    found.add(statement)
    return found


def _is_a_choice(around: list[cst.CSTNode]) -> bool:
    """A constant of the module, or a number that is a default: its author's to set."""
    node, parent, statement = around[0], around[1], around[-2]
    if isinstance(node, cst.BaseNumber) and isinstance(parent, cst.Param):
        return True
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[target])]):
            name = target.target
            return isinstance(name, cst.Name) and name.value[0] != "_" and name.value.isupper()
    return False


def _is_for_people(node: cst.CSTNode) -> bool:
    match node:
        case cst.Call(func=cst.Attribute(value=cst.Name("logger"))):
            return True
        case cst.Call(func=cst.Name("log_task_exception")):
            return True
        case cst.Assign(value=cst.Call(func=cst.Name("TypeVar"))):
            return True
        case cst.Call(func=cst.Name(name)) if name.endswith(
            ("Error", "MalformedFrame", "SessionEnd")
        ):
            return True
        case cst.Call(func=cst.Attribute(attr=cst.Name(name))) if name.endswith("Error"):
            return True
        case cst.Assign(targets=[cst.AssignTarget(cst.Name("reason" | "logger"))]):
            return True
        case cst.SimpleStatementLine(body=[cst.Expr(cst.SimpleString())]):
            return True
    return False


def _difference(old: str, new: str) -> tuple[str, str]:
    """The lines that differ, without their indentation."""
    before, after = old.splitlines(), new.splitlines()
    start = sum(1 for _ in takewhile(_alike, zip(before, after, strict=False)))
    rest = zip(reversed(before[start:]), reversed(after[start:]), strict=False)
    end = sum(1 for _ in takewhile(_alike, rest))
    gone, come = before[start : len(before) - end], after[start : len(after) - end]
    return "\n".join(map(str.strip, gone)), "\n".join(map(str.strip, come))


def _alike(lines: tuple[str, str]) -> bool:
    return lines[0] == lines[1]


if __name__ == "__main__":
    sys.exit(main())
