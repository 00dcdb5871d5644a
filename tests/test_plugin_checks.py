"""A generated plugin is clean and passes its own tests from the start, whatever the answers.

The conventions of Vision Agents are checked in test_conventions.py.
"""

import json
import os
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
from filelock import FileLock
from realtime_testkit import Facts
from realtime_testkit.account import contract_of

from testkit.tests.providers.checked import FOLDER
from testkit.tests.providers.published import CLIENT, SERVER, faults
from tests.generated import ROOT, Generator, Plugin, run

SLUG = "{{cookiecutter.plugin_slug}}"
ENGINE = ROOT / SLUG / "vision_agents" / "plugins" / SLUG / "_engine"

WHOLE = ("other_rates", "video", "workspace")
"""Plugins that the whole suite is run for; for the default one, as documented."""

NAMED = {
    "hostile_text": "Construct or Session",
    "long_names": "Construct or Session or Native",
    "short_names": "Construct or Session or Native",
}
"""Plugins that differ from the default one in their names only, and what may depend on these."""

BROKEN_ON_PURPOSE = "rb1 or rb2 or bd1 or Conventions or Packaging"
"""Tests that send what is not as published, or more than can be validated in time, or that read
the plugin's files."""

OVER_WEBRTC = {
    "webrtc": "Lifecycle or Session or AudioIn or AudioOut or Responses or WebRTC or Frames",
    "webrtc_video": "Lifecycle or Video",
}
"""Plugins over WebRTC, whose tests take minutes, and the groups in which they differ most."""


def run_suite(plugin: Plugin, python: Path, *options: str) -> str:
    command = (python, "-m", "pytest", "-p", "no:cacheprovider", *options)
    return run(*command, cwd=plugin.path)


class TestTools:
    def test_files_are_formatted(self, plugin: Plugin, python: Path) -> None:
        run(python, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=plugin.path)

    def test_ruff_finds_nothing_by_the_plugins_own_settings(
        self, plugin: Plugin, python: Path
    ) -> None:
        if not plugin.standalone:
            pytest.skip("a member of a checkout has no settings: see test_conventions.py")
        run(python, "-m", "ruff", "check", "--no-cache", ".", cwd=plugin.path)

    def test_types_are_right_by_the_plugins_own_settings(
        self, plugin: Plugin, python: Path, shared_folder: Path
    ) -> None:
        if not plugin.standalone:
            pytest.skip("a member of a checkout has no settings: see test_conventions.py")
        with FileLock(shared_folder / "mypy.lock"):
            cache = str(shared_folder / "mypy_cache")  # what all import is analysed once
            run(python, "-m", "mypy", cwd=plugin.path, MYPY_CACHE_DIR=cache)

    def test_types_of_the_engine_are_right_where_it_stands(self, shared_folder: Path) -> None:
        """The folder has no Jinja, so tools read it in the template, too."""
        settings = f"--config-file={ROOT / 'pyproject.toml'}"
        cache = str(shared_folder / "mypy_cache_of_the_engine")
        run(
            *(sys.executable, "-m", "mypy", settings, "-p", "_engine"),
            cwd=ENGINE.parent,
            MYPY_CACHE_DIR=cache,
        )


class TestSuite:
    def test_default_plugin_passes_as_documented(self, generate: Generator, tmp_path: Path) -> None:
        """The documented command needs nothing installed by hand: the testkit is found by path."""
        path = generate(tmp_path).path
        assert "\nuv run pytest\n" in (path / "CONTRIBUTING.md").read_text(encoding="utf-8")
        printed = run("uv", "run", "pytest", "--contract=strict", cwd=path)
        assert ", 0 to do" in printed

    @pytest.mark.parametrize("name", WHOLE)
    def test_every_contract_is_kept(
        self, name: str, plugins: dict[str, Plugin], python: Path
    ) -> None:
        """The whole suite of a plugin passes, and nothing is left to do."""
        printed = run_suite(plugins[name], python, "-n0", "--contract=strict")
        assert ", 0 to do" in printed

    def test_every_frame_is_as_published(self, generate: Generator, tmp_path: Path) -> None:
        """In the whole suite the SDK's models take all that is sent and received, as it is."""
        path = generate(tmp_path).path
        double = path / "tests" / "provider_double.py"
        text = double.read_text(encoding="utf-8")
        checked = text.replace("Provider(openai.Provider)", "Provider(Checked, openai.Provider)")
        assert checked != text
        imported = "from testkit.tests.providers.checked import Checked\n"
        double.write_text(
            checked.replace("from realtime_testkit", imported + "from realtime_testkit", 1)
        )
        found_at = os.pathsep.join(map(str, (path, ROOT)))
        command = (sys.executable, "-m", "pytest", "-n0", "-k", f"not ({BROKEN_ON_PURPOSE})")
        folder = tmp_path / "frames"
        folder.mkdir()
        printed = run(*command, cwd=path, PYTHONPATH=found_at, **{FOLDER: str(folder)})
        assert " passed" in printed
        found: set[str] = set()
        kinds = {"sent": SERVER, "heard": CLIENT}
        for written in folder.iterdir():
            frames = json.loads(written.read_text(encoding="utf-8"))
            for way, schema in kinds.items():
                found.update(fault for frame in frames[way] for fault in faults(frame, schema))
        assert not found
        assert len(list(folder.iterdir())) > 300

    @pytest.mark.parametrize("name", NAMED)
    def test_names_make_no_difference(
        self, name: str, plugins: dict[str, Plugin], python: Path
    ) -> None:
        printed = run_suite(plugins[name], python, "-n0", "-k", NAMED[name])
        assert " passed" in printed

    @pytest.mark.parametrize("name", OVER_WEBRTC)
    def test_contracts_are_kept_over_webrtc(
        self, name: str, plugins: dict[str, Plugin], python: Path
    ) -> None:
        # These tests wait for speech more than they compute.
        printed = run_suite(plugins[name], python, "-n4", "-k", OVER_WEBRTC[name])
        assert " passed" in printed

    def test_every_set_of_answers_is_tested(self, plugins: dict[str, Plugin]) -> None:
        """The plain wire has its test in test_other_providers.py."""
        assert {"default", "plain_wire", *WHOLE, *NAMED, *OVER_WEBRTC} == set(plugins)


def test_report_of_the_contract_is_written(
    plugins: dict[str, Plugin], python: Path, tmp_path: Path
) -> None:
    """`--contract-report` saves the account of a generated plugin."""
    report = tmp_path / "contract.json"
    run_suite(plugins["default"], python, "-n0", "-k", "ct1", f"--contract-report={report}")
    [account] = json.loads(report.read_text(encoding="utf-8"))
    assert account["contracts"]["CT1"]["status"] == "met"


def test_contract_is_met_only_by_a_test_that_passed(
    generate: Generator, python: Path, tmp_path: Path
) -> None:
    """With every fact false, the account calls no contract met of which no test passed."""
    plugin = generate(tmp_path / "plugin")
    page = plugin.path / "tests" / "contract.toml"
    text = page.read_text(encoding="utf-8")
    stated = {line.partition(" = ")[0] for line in text.splitlines()}
    off = [f"{each.name} = false" for each in fields(Facts) if each.default is True]
    off = [line for line in off if line.partition(" = ")[0] not in stated]
    text = text.replace("= true", "= false").replace("[provider]", "\n".join(["[provider]", *off]))
    page.write_text(text, encoding="utf-8")
    report, results = tmp_path / "contract.json", tmp_path / "results.xml"
    # Some tests fail: the double does what the facts deny.
    options = (f"--contract-report={report}", f"--junitxml={results}")
    with suppress(pytest.fail.Exception):
        run_suite(plugin, python, "-n0", "-k", "Settings or Gaps or Text", *options)
    cases = ElementTree.parse(results).getroot().iter("testcase")
    not_passed = {"failure", "error", "skipped"}
    passed = {
        contract_of(case.get("name", ""))
        for case in cases
        if not_passed.isdisjoint(part.tag for part in case)
    }
    [account] = json.loads(report.read_text(encoding="utf-8"))
    contracts = account["contracts"]
    met = {name for name, each in contracts.items() if each["status"] == "met"}
    by_frames = {name for name in met if contracts[name]["frames"]}
    assert met - by_frames <= passed
    assert len(met) < len(contracts)
