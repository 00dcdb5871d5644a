"""What does the contract suite miss of the mistakes that a general mutation tool makes?

uv run --group mutation python -m bench.mutants.general --sample 400 [--seed 1] [--file wire.py]
uv run --group mutation python -m bench.mutants.general --only NAME...   # some of these again

The generated plugin's _engine/, wire.py and client.py are plain Python, so mutmut runs on them as
on any package, by its command line: it generates the mutants, notes which test runs which
function, and has each mutant of the sample meet these tests. One that they all pass is shown to
mypy, which the plugin's own checks run as well.

A survivor is killed by a better contract, or its code is deleted, or it is no mistake: then it
stands in equivalent.toml, with the reason.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.mutants import suite

FILES = ("_engine/*", "wire.py", "client.py")
"""What is mutated, in the package."""

FOR_PEOPLE = (r"logger\.", r"\braise \w*(Error|Frame)\(", r"^\s*f?\"[^\"]*\"$")
"""Lines whose words are for people, which a test could only repeat."""

WORDS = re.compile(r"f?\"[^\"]*\"")
"""What such a line may say otherwise."""

MODULE = ".".join(suite.PACKAGE.parts)
SMALLEST = f"{MODULE}._engine.bounded.*"
"""A few mutants: with them mutmut generates all and notes which tests run which function."""

NOT_OF_CODE = ("TestConventions", "TestPackaging")
"""Tests that judge the text of the files, or start a Python that knows nothing of mutmut."""

_RESULT = re.compile(r"^\s+(\S+): (.+)$", re.MULTILINE)


class MutationRun:
    """mutmut in a plugin's folder.

    Args:
        plugin: the folder; its pyproject.toml gets a section more.
        left_out: tests that are not run, such as those that fail anyway.
        jobs: how many mutants at a time.
    """

    def __init__(self, plugin: Path, left_out: Iterable[str], jobs: int) -> None:
        self._plugin = plugin
        self._jobs = str(jobs)
        # Python remembers of a folder on its path that it is not there.
        (plugin / "mutants").mkdir(exist_ok=True)
        page = plugin / "pyproject.toml"
        judges = [f"{suite.TESTS}::{name}" for name in NOT_OF_CODE]
        settings = _settings([f"--deselect={test}" for test in [*judges, *left_out]])
        page.write_text(f"{page.read_text('utf-8')}\n{settings}", encoding="utf-8")

    def run(self, *names: str) -> None:
        """Try mutants, by name or pattern.

        Raises:
            subprocess.CalledProcessError: mutmut could not, most likely because a test fails
                without any mutant; it says which.
        """
        command = ["mutmut", "run", "--max-children", self._jobs, *names]
        subprocess.run(command, cwd=self._plugin, env=self._environment(), check=True)

    def outcomes(self) -> dict[str, str]:
        """Return what is known of each mutant, by its name."""
        return dict(_RESULT.findall(self._said("results", "--all", "true")))

    def difference(self, name: str) -> tuple[str, str]:
        """Return the lines that a mutant takes out, and what it puts there."""
        lines = [line for line in self._said("show", name).splitlines() if line[:3] not in _HEADERS]
        gone = [line[1:].strip() for line in lines if line.startswith("-")]
        come = [line[1:].strip() for line in lines if line.startswith("+")]
        return "\n".join(gone), "\n".join(come)

    def type_checks(self, name: str) -> bool:
        """Whether mypy, as the plugin has it set up, finds nothing in a mutant."""
        package = self._plugin / suite.PACKAGE
        before = {path: path.read_bytes() for path in package.rglob("*.py")}
        self._said("apply", name)
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "vision_agents"],
            cwd=self._plugin,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            check=False,
        )
        for path, source in before.items():
            path.write_bytes(source)
        return not done.returncode

    def _said(self, *arguments: str) -> str:
        return subprocess.run(
            ["mutmut", *arguments],
            cwd=self._plugin,
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def _environment(self) -> dict[str, str]:
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        mutated = suite.environment(self._plugin / "mutants")
        return os.environ | mutated | {"PATH": tools}


_HEADERS = ("---", "+++")


def main() -> int:
    """Run; returns the exit code: 1 where something survived without a reason."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=400, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("--only", nargs="*", help="mutants by the names that a run printed")
    parser.add_argument("--file", default="*", help="only of files of this name, such as wire.py")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--plugin", type=Path, help="a plugin to copy instead of generating one")
    parser.add_argument("--leave-out", nargs="*", default=[], help="tests that are not run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.plugin is None:
            plugin = suite.generate(folder)
        else:
            plugin = suite.copy(arguments.plugin, folder / suite.SLUG)
        mutation = MutationRun(plugin, arguments.leave_out, arguments.jobs)
        mutation.run(SMALLEST)
        module = Path(arguments.file).stem
        every = sorted(each for each in mutation.outcomes() if module in ("*", _module_of(each)))
        chosen = every
        if arguments.only:
            chosen = [each for each in every if each.endswith(tuple(arguments.only))]
        elif arguments.sample:
            chosen = random.Random(arguments.seed).sample(every, min(arguments.sample, len(every)))
        print(f"{len(chosen)} of {len(every)} mutants", flush=True)
        mutation.run(*chosen)
        outcomes = mutation.outcomes()
        reasons = _reasons()
        counts: Counter[str] = Counter()
        for mutant in sorted(chosen):
            outcome = outcomes[mutant]
            if outcome in ("survived", "no tests"):
                was, becomes = mutation.difference(mutant)
                if (_module_of(mutant), was, becomes) in reasons:
                    outcome = "equivalent"
                elif _is_for_people(was, becomes):
                    outcome = "other words for people"
                elif not mutation.type_checks(mutant):
                    outcome = "refused by mypy"
                else:
                    print(
                        f"{outcome}: {mutant}\n{_shown('-', was)}\n{_shown('+', becomes)}",
                        flush=True,
                    )
            counts[outcome] += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    return 1 if counts["survived"] + counts["no tests"] else 0


def _is_for_people(was: str, becomes: str) -> bool:
    """Whether an error says what it says in other words, and nothing else."""
    said, says = (WORDS.sub('""', lines) for lines in (was, becomes))
    return said == says and re.search(r"(Error|End)\(|\berror\(", was) is not None


def _settings(left_out: list[str]) -> str:
    """Return the section of pyproject.toml; its values are of JSON's form, which TOML reads, too."""
    values = {
        "source_paths": ["vision_agents"],
        "only_mutate": [f"*/{suite.SLUG}/{pattern}" for pattern in FILES],
        "also_copy": [".github", "example", "README.md", "py.typed"],
        "do_not_mutate_patterns": list(FOR_PEOPLE),
        "pytest_add_cli_args": ["-n0", "-p", "no:cacheprovider", *suite.plugin_options()],
        "pytest_add_cli_args_test_selection": [suite.TESTS, *left_out],
        # What the tests leave in a process, such as the watchdog's thread, is not forked.
        "process_isolation": "forkserver",
        "use_git_change_detection": False,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["[tool.mutmut]", *lines, ""])


def _module_of(mutant: str) -> str:
    """Return the name of the module that a mutant is in: what is before `x_function__mutmut_1`."""
    return mutant.rpartition(".")[0].rpartition(".")[2]


def _reasons() -> set[tuple[str, str, str]]:
    """Return the mutants that are no mistakes: the module, the lines and what becomes of them."""
    return set(_entries(Path(__file__).with_name("equivalent.toml")))


def _entries(path: Path) -> Iterator[tuple[str, str, str]]:
    for group in tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []):
        for entry in group["mutants"]:
            module = Path(entry["file"]).stem
            yield module, entry["was"].strip("\n"), entry["becomes"].strip("\n")


def _shown(sign: str, lines: str) -> str:
    return "\n".join(f"  {sign} {line}" for line in lines.splitlines())


if __name__ == "__main__":
    sys.exit(main())
