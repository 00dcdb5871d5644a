"""Compares the template with Vision Agents: runs a plugin's suite against its releases.

    uv run python -m tools.fresh                      the releases, as the registry has them
    uv run python -m tools.fresh --core CHECKOUT      and a checkout of Vision Agents, such as main
    uv run python -m tools.fresh --accept             take the newest release's surface as covered

The releases that the plugin's bounds admit have to pass, and so has the checkout; the lower bound has to be
the oldest release that does. Where the newest release, a pre-release after it or the checkout has
another surface than surface.json, each name that is new, gone or changed is a finding. The results are
written to docs/compatibility.md.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cookiecutter.main import cookiecutter
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tools import surface

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tools" / "surface.json"
PAGE = ROOT / "docs" / "compatibility.md"
CORE = "vision-agents"
CHECKOUT = "a checkout"
HEADER = """\
# What passes where

Written by `uv run python -m tools.fresh`: the suite of a plugin with the default answers, run against
releases of Vision Agents. A plugin asks for `{bounds}`. The surface is that of `Realtime`, its output and
its events, compared with the one the template was written against ({covered}).

| Vision Agents | Admitted | Suite | Surface |
|---|---|---|---|
"""


@dataclass
class Trial:
    """One version of Vision Agents, and what came of it.

    Attributes:
        source: what to install: a requirement, or a checkout's agents-core.
        watched: its surface has to be the one that is covered.
    """

    name: str
    source: str
    admitted: bool
    watched: bool
    said: str = ""
    passed: bool = False
    surface: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def row(self) -> str:
        """A line of the page."""
        shown = f"{len(self.differences)} differences" if self.differences else "the same"
        admitted = "yes" if self.admitted else "no"
        suite = "passes" if self.passed else f"fails: {self.said}"
        return f"| {self.name} | {admitted} | {suite} | {shown if self.surface else '-'} |"


def releases() -> list[Version]:
    """All that the registry has, pre-releases too."""
    printed = _run("uvx", "pip", "index", "versions", "--pre", "--json", CORE)
    return [Version(each) for each in json.loads(printed)["versions"]]


def trials(available: Iterable[Version], bounds: SpecifierSet) -> list[Trial]:
    """What to try: the series of the lower bound, all that is admitted, and the newest of each kind."""
    versions = sorted(available)
    final = [version for version in versions if not version.is_prerelease]
    early = [version for version in versions if version > final[-1]]
    lowest = min(filter(bounds.contains, final))
    series = Version(f"{lowest.major}.{lowest.minor}")
    chosen = [version for version in final if version >= series or version == final[-1]]
    return [
        Trial(
            str(version),
            f"{CORE}=={version}",
            admitted=version in bounds,
            watched=version >= final[-1],
        )
        for version in [*chosen, *early[-1:]]
    ]


def attempt(trial: Trial, plugin: Path, folder: Path) -> None:
    """Install it, run the plugin's suite against it, and look at its surface."""
    work = folder / trial.name
    shutil.copytree(plugin, work)
    python = work / ".venv" / "bin" / "python"
    _run("uv", "venv", "--quiet", "--python", sys.executable, work / ".venv")
    install = ("uv", "pip", "install", "--quiet", "--prerelease=allow", "--python", python)
    _run(*install, *(["--editable"] if Path(trial.source).exists() else []), trial.source)
    installed = json.loads(_run("uv", "pip", "list", "--format=json", "--python", python))
    [version] = [each["version"] for each in installed if each["name"] == CORE]
    if trial.name == CHECKOUT:
        trial.name += f" of {Version(version).public}"
    # The plugin and the testkit have bounds of their own.
    override = work / "override.txt"
    override.write_text(f"{CORE}=={version}\n", encoding="utf-8")
    group = ("--group", f"{work / 'pyproject.toml'}:dev")
    _run(*install, "--override", override, *group, "--editable", work)
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--contract=strict"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    trial.passed = done.returncode == 0
    trial.said = _reason(done.stdout + done.stderr)
    print(f"{trial.name}: {'passes' if trial.passed else trial.said}", flush=True)
    seen = subprocess.run(
        [python, ROOT / "tools" / "surface.py"], capture_output=True, text=True, check=False
    )
    if seen.returncode == 0:
        trial.surface = json.loads(seen.stdout)
    shutil.rmtree(work)


def findings(tried: list[Trial]) -> list[str]:
    """What is wrong, and where to look."""
    found = [
        f"{each.name} is admitted and fails: {each.said}"
        for each in tried
        if each.admitted and not each.passed
    ]
    first = next(at for at, each in enumerate(tried) if each.admitted)
    if first and tried[first - 1].passed:
        found.append(
            f"{tried[first - 1].name} passes: lower the bound of {CORE} in the plugin's pyproject.toml"
        )
    for each in tried:
        if each.watched:
            found += [f"{each.name}: {difference}" for difference in each.differences]
    return found


def page(tried: list[Trial], bounds: SpecifierSet, covered: str) -> str:
    """The docs page."""
    requirement = f"{CORE}{','.join(sorted(map(str, bounds), reverse=True))}"
    header = HEADER.format(bounds=requirement, covered=covered)
    return header + "".join(f"{each.row()}\n" for each in reversed(tried))


def _reason(printed: str) -> str:
    errors = re.findall(r"^E\s+(\S.*)$", printed, re.MULTILINE)
    failed = re.findall(r"^(?:FAILED|ERROR) \S+", printed, re.MULTILINE)
    said = errors or failed or printed.strip().splitlines()[-1:]
    return re.sub(r" \(?/\S*", "", said[0]).replace("|", r"\|") if said else "it said nothing"


def _run(*command: str | Path) -> str:
    return subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> int:
    """Try them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", type=Path, help="a checkout of Vision Agents")
    parser.add_argument("--accept", action="store_true", help="take the newest surface as covered")
    arguments = parser.parse_args()

    snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = {"replay_dir": str(folder / "replays")}
        plugin = Path(
            cookiecutter(str(ROOT), no_input=True, output_dir=name, default_config=config)
        )
        project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        requirements = map(Requirement, project["dependencies"])
        [bounds] = [each.specifier for each in requirements if each.name == CORE]

        tried = trials(releases(), bounds)
        if arguments.core:
            core = arguments.core.resolve() / "agents-core"
            tried.append(Trial(CHECKOUT, str(core), admitted=True, watched=True))
        for each in tried:
            attempt(each, plugin, folder)
        if arguments.accept:
            newest = next(each for each in tried if each.watched)
            snapshot = {"release": newest.name, "surface": newest.surface}
            SNAPSHOT.write_text(json.dumps(snapshot, indent=2) + "\n", encoding="utf-8")
        [package] = plugin.glob("vision_agents/plugins/*")
        for each in tried:
            if each.surface:
                covered = snapshot["surface"]
                each.differences = surface.compare(covered, each.surface, package)
    PAGE.write_text(page(tried, bounds, snapshot["release"]), encoding="utf-8")
    found = findings(tried)
    print("\n".join(found))
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
