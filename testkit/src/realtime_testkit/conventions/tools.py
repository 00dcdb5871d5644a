"""Ruff and mypy, whose findings get the ids of the rules."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from .folder import PluginFolder, read_toml
from .source import Place

PACKAGE_ONLY = {"C6", "C7", "C9", "C19", "C22"}
"""Rules whose banned names are banned in the package, not in tests and examples."""


def run_ruff(plugin: PluginFolder) -> Iterator[tuple[str, Place]]:
    """Lint with the testkit's settings; each finding with ruff's code, or a rule's id for a ban."""
    with as_file(files(__package__) / "ruff_settings.toml") as settings:
        options = (f"--config={settings}", f"--config=line-length={line_length(plugin)}")
        printed = _run(plugin.root, "ruff", "check", *options, "--output-format=json")
    own = re.compile(rf"vision_agents\.plugins\.{plugin.name}\b")  # tests may use its own engine
    for finding in json.loads(printed):
        code, message = str(finding["code"] or "syntax"), str(finding["message"])
        path = Path(finding["filename"]).relative_to(plugin.root).as_posix()
        in_package = path.startswith("vision_agents/")
        place = Place(path, int(finding["location"]["row"]), f"{code}: {message}")
        if code == "TID251":
            rule = "".join(re.findall(r": ([A-Z]\d+): ", message)[:1]) or code
            if in_package or rule not in PACKAGE_ONLY:
                yield rule, place
        elif code != "PLC2701" or in_package or not own.search(message):
            yield code, place


def line_length(plugin: PluginFolder) -> int:
    """The length of a line by the settings of the plugin or its monorepo, else ruff's own."""
    for folder in (plugin.root, plugin.workspace or plugin.root):
        for name in (".ruff.toml", "ruff.toml", "pyproject.toml"):
            match read_toml(folder / name):
                case {"tool": {"ruff": {"line-length": int(length)}}}:
                    return length
                case {"line-length": int(length)} if name != "pyproject.toml":
                    return length
    return 88


def run_format(plugin: PluginFolder) -> Iterator[Place]:
    """Find files that `ruff format` would change, by the settings of the plugin or its monorepo."""
    printed = _run(plugin.root, "ruff", "format", "--diff")  # older versions have no JSON here
    for name in sorted(re.findall(r"^--- (.+)\n\+\+\+ ", printed, re.MULTILINE)):
        yield Place((plugin.root / name).relative_to(plugin.root).as_posix())


def run_mypy(plugin: PluginFolder) -> Iterator[Place]:
    """Check types by the plugin's settings, its monorepo's, or the testkit's if there are none."""
    with as_file(files(__package__) / "mypy_settings.ini") as strict:
        printed = _run(
            plugin.root,
            *("mypy", "--no-error-summary", "--no-pretty", "--no-color-output"),
            *_mypy_settings(plugin, strict),
        )
    for line in printed.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            yield Place(match[1].replace("\\", "/"), int(match[2]), match[3])


def _mypy_settings(plugin: PluginFolder, strict: Path) -> list[str]:
    """Options for mypy: none where the plugin's own settings say which files to check."""
    match read_toml(plugin.root / "pyproject.toml"):
        case {"tool": {"mypy": {"files": _}}}:
            return []
        case {"tool": {"mypy": _}}:
            return ["vision_agents"]
    for path in (plugin.root / "mypy.ini", plugin.root / ".mypy.ini"):
        if path.exists():
            says_files = re.search(r"^files\s*=", path.read_text(encoding="utf-8"), re.MULTILINE)
            return [] if says_files else ["vision_agents"]
    settings = plugin.workspace / "pyproject.toml" if plugin.workspace else strict
    return [f"--config-file={settings}", "vision_agents"]


def _run(folder: Path, *command: str) -> str:
    """Run a tool that reports findings with exit status 1.

    Raises:
        RuntimeError: it failed otherwise; with what it printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}".strip())
    return done.stdout
