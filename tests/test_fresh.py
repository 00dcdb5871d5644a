"""What is new in a release of Vision Agents is named, with the files to look at."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from vision_agents import core

from tests.generated import ROOT, Plugin
from tools import fresh, surface

SNAPSHOT = json.loads(fresh.SNAPSHOT.read_text(encoding="utf-8"))

RENAMED = {
    "_emit_user_speech_ended": "_emit_user_speech_over",
    "RealtimeAudioOutputDone": "RealtimeAudioOutputOver",
    "capabilities": "abilities",
}


def surface_with(path: Path) -> dict[str, str]:
    """The surface of the modules in a folder, which come before the installed ones."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "surface.py"],
        env=os.environ | {"PYTHONPATH": str(path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory, plugins: dict[str, Plugin]) -> list[str]:
    """The report on a release with one more method and three changed names."""
    path = tmp_path_factory.mktemp("release")
    planted = path / "vision_agents" / "core"
    shutil.copytree(
        Path(core.__file__).parent, planted, ignore=shutil.ignore_patterns("__pycache__")
    )
    for file in planted.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for old, new in RENAMED.items():
            text = text.replace(old, new)
        file.write_text(text, encoding="utf-8")
    realtime = planted / "llm" / "realtime.py"
    text = realtime.read_text(encoding="utf-8")
    method = "    @abc.abstractmethod\n    async def mute(self): ...\n\n"
    realtime.write_text(
        text.replace("    @abc.abstractmethod\n", f"{method}    @abc.abstractmethod\n", 1)
    )
    return surface.compare(surface.surface(), surface_with(path), plugins["default"].package)


class TestSurface:
    def test_a_renamed_helper_is_gone_and_new(self, differences: list[str]) -> None:
        [gone] = [line for line in differences if line.startswith("gone: Realtime._emit_user")]
        assert gone == "gone: Realtime._emit_user_speech_ended: (self); look at acme_realtime.py"
        new = "new: Realtime._emit_user_speech_over: (self); look at acme_realtime.py"
        assert new in differences

    def test_a_new_abstract_method_is_named(self, differences: list[str]) -> None:
        assert "new: Realtime.mute: abstract async (self); look at acme_realtime.py" in differences

    def test_a_renamed_output_item_is_named_with_the_file_that_has_it(
        self, differences: list[str]
    ) -> None:
        [gone] = [line for line in differences if line.startswith("gone: RealtimeAudioOutputDone")]
        assert "_engine/output.py" in gone.partition("; look at ")[2].split(", ")

    def test_an_events_field_is_named(self, differences: list[str]) -> None:
        [line] = [
            each for each in differences if each.startswith("changed: RealtimeConnectedEvent")
        ]
        assert "capabilities: " in line.partition(", is ")[0]
        assert "abilities: " in line.partition(", is ")[2]

    def test_nothing_else_is_named(self, differences: list[str]) -> None:
        names = {line.split(": ")[1].split(" ")[0] for line in differences}
        assert names == {
            *("Realtime._emit_user_speech_ended", "Realtime._emit_user_speech_over"),
            *("Realtime.mute", "RealtimeAudioOutputDone", "RealtimeAudioOutputOver"),
            *("Realtime.output", "RealtimeConnectedEvent", "Realtime._on_connected"),
        }

    def test_what_is_installed_is_what_is_covered(self, plugins: dict[str, Plugin]) -> None:
        if metadata.version("vision-agents") != SNAPSHOT["release"]:
            pytest.skip(f"surface.json is that of {SNAPSHOT['release']}")
        covered = SNAPSHOT["surface"]
        assert surface.compare(covered, surface.surface(), plugins["default"].package) == []


class TestTrials:
    def test_tries_what_is_admitted_the_series_and_the_newest(self) -> None:
        available = ["0.5.9", "0.6.0", "0.6.1", "0.6.2", "0.7.0", "0.8.0rc1", "0.8.0rc2"]
        tried = fresh.trials(map(Version, available), SpecifierSet(">=0.6.1,<0.7"))
        assert [each.name for each in tried] == ["0.6.0", "0.6.1", "0.6.2", "0.7.0", "0.8.0rc2"]
        assert [each.name for each in tried if each.admitted] == ["0.6.1", "0.6.2"]
        assert [each.name for each in tried if each.watched] == ["0.7.0", "0.8.0rc2"]

    @pytest.mark.parametrize(
        ("passes", "finding"),
        [
            (("0.6.1", "0.6.2"), ""),
            (("0.6.1",), "0.6.2 is admitted and fails: an error"),
            (("0.6.0", "0.6.1", "0.6.2"), "0.6.0 passes: lower the bound"),
        ],
    )
    def test_the_bounds_are_what_passes(self, passes: tuple[str, ...], finding: str) -> None:
        tried = [
            fresh.Trial(name, "", admitted=name > "0.6.0", watched=False, passed=name in passes)
            for name in ("0.6.0", "0.6.1", "0.6.2")
        ]
        for each in tried:
            each.said = "an error"
        found = fresh.findings(tried)
        assert len(found) == bool(finding)
        assert all(line.startswith(finding) for line in found)

    def test_a_new_surface_is_a_finding_where_it_is_watched(self) -> None:
        tried = [
            fresh.Trial(
                "0.6.8", "", admitted=True, watched=False, passed=True, differences=["old"]
            ),
            fresh.Trial(
                "0.6.9", "", admitted=True, watched=True, passed=True, differences=["new: x"]
            ),
        ]
        assert fresh.findings(tried) == ["0.6.9: new: x"]


def test_the_page_is_that_of_the_plugins_bounds(plugins: dict[str, Plugin]) -> None:
    project = tomllib.loads(
        (plugins["default"].path / "pyproject.toml").read_text(encoding="utf-8")
    )
    requirements = map(Requirement, project["project"]["dependencies"])
    [bounds] = [each.specifier for each in requirements if each.name == fresh.CORE]
    written = fresh.PAGE.read_text(encoding="utf-8")
    assert written.startswith(fresh.page([], bounds, SNAPSHOT["release"]))
    rows = [
        row.strip("| ").split(" | ") for row in written.splitlines() if "." in row and "|" in row
    ]
    admitted = [name for name, yes, *_ in rows if yes == "yes" and fresh.CHECKOUT not in name]
    assert admitted
    assert all(Version(name) in bounds for name in admitted)
    assert all(suite == "passes" for _, yes, suite, _ in rows if yes == "yes")
