"""The runner: what it takes, and how it writes down what it finds."""

import json
from pathlib import Path

import pytest
from realtime_testkit.conventions import RULES, NotAPlugin, as_json, as_text, check
from realtime_testkit.conventions.runner import rule_of

from .conftest import MakePlugin

PACKAGE = "vision_agents/plugins/nest"


class TestRules:
    def test_each_rule_says_what_it_asks_for_and_how_to_mend_it(self) -> None:
        for rule in RULES:
            assert rule.text.endswith("."), rule.id
            assert rule.fix, rule.id

    def test_each_rule_has_an_id_of_its_own(self) -> None:
        ids = [rule.id for rule in RULES]
        assert len(ids) == len(set(ids))

    @pytest.mark.parametrize(
        ("code", "rule"),
        [("S110", "C2"), ("D102", "C4"), ("DTZ001", "ruff"), ("G201", "C6"), ("G004", "ruff"),
         ("I001", "C10"), ("PGH003", "C8"), ("RUF100", "C8"), ("RUF005", "ruff"), ("C1", "C1"),
         ("TC001", "C10"), ("T201", "ruff"), ("TRY400", "C6"), ("TRY201", "ruff"), ("N802", "C12"),
         ("ANN401", "C9"), ("ANN001", "C13"), ("UP007", "C13"), ("LOG015", "C14")],
    )  # fmt: skip
    def test_a_code_of_ruffs_belongs_to_the_rule_that_it_enforces(
        self, code: str, rule: str
    ) -> None:
        assert rule_of(code) == rule


class TestFolder:
    def test_a_folder_without_a_package_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NotAPlugin, match="vision_agents/plugins/NAME"):
            check(tmp_path)

    def test_what_every_plugin_has_is_missed_in_an_empty_package(self, tmp_path: Path) -> None:
        package = tmp_path / "vision_agents" / "plugins" / "empty"
        package.mkdir(parents=True)
        (package / "empty.py").write_text('"""Empty."""\n', encoding="utf-8")
        found = {finding.rule for finding in check(tmp_path, use=["ruff"])}
        assert {"P1", "P3", "P4", "P5", "P6", "P9", "P12", "R1", "T3", "T7"} == found

    def test_files_that_do_not_parse_are_found(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        (plugin / "tests" / "broken.py").write_text("def broken(:\n", encoding="utf-8")
        (plugin / "tests" / "latin.py").write_bytes(b'NAME = "\xe9"\n')
        found = {(each.rule, each.path) for each in check(plugin)}
        assert {("ruff", "tests/broken.py"), ("ruff", "tests/latin.py")} <= found

    def test_other_environments_are_left_out(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        path = plugin / "tests" / ".venv" / "planted.py"
        path.parent.mkdir()
        path.write_text("from __future__ import annotations\n", encoding="utf-8")
        assert not check(plugin, use=[])

    def test_a_class_may_have_another_name_than_realtime(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        files = {"__init__.py": "Realtime\n", "nest_realtime.py": "class Realtime("}
        for name, before in files.items():
            path = plugin / PACKAGE / name
            text = path.read_text(encoding="utf-8")
            after = "NestRealtime as Realtime\n" if name == "__init__.py" else "class NestRealtime("
            path.write_text(text.replace(before, after, 1), encoding="utf-8")
        found = check(plugin, use=["ruff"])
        assert not found, as_text(found)

    def test_methods_may_be_inherited_from_a_class_of_the_package(
        self, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin("standalone")
        path = plugin / PACKAGE / "nest_realtime.py"
        text = path.read_text(encoding="utf-8")
        text = text.replace(
            "class Realtime(realtime.Realtime)", "class BaseRealtime(realtime.Realtime)"
        )
        text += (
            '\n\nclass Realtime(BaseRealtime):\n    """Nest."""\n\n    provider_name = "nest"\n\n'
            "    def __init__(\n        self,\n"
            '        model: str = "nest-1",\n        client: Client | None = None,\n        *,\n'
            "        api_key: str | None = None,\n        base_url: str | None = None,\n"
            "        voice: str | None = None,\n    ) -> None:\n"
            "        super().__init__(model, client, api_key=api_key)\n"
        )
        path.write_text(text, encoding="utf-8")
        found = check(plugin, use=["ruff"])
        assert not found, as_text(found)


class TestOutput:
    @pytest.fixture
    def planted(self, make_plugin: MakePlugin) -> Path:
        plugin = make_plugin("standalone")
        (plugin / "py.typed").unlink()
        text = '"""Planted."""\n\n# ---- names ----\nNAME = 1\n'
        (plugin / PACKAGE / "planted.py").write_text(text, encoding="utf-8")
        return plugin

    def test_text_has_rule_fix_and_place(self, planted: Path) -> None:
        printed = as_text(check(planted, use=["ruff"]))
        assert "P1  The folder has pyproject.toml" in printed
        assert "\n    py.typed\n" in printed
        assert "C5  No section-divider comments." in printed
        assert "\n    Fix: delete the divider" in printed
        assert f"\n    {PACKAGE}/planted.py:3\n" in printed
        assert printed.endswith("\nFindings: 2, rules: 2")

    def test_json_has_an_object_for_each_finding(self, planted: Path) -> None:
        first, second = json.loads(as_json(check(planted, use=["ruff"])))
        assert first == {
            "rule": "P1", "path": "py.typed", "line": 0, "detail": "",
            "fix": "add it: every plugin has it",
        }  # fmt: skip
        assert (second["rule"], second["path"], second["line"]) == (
            "C5",
            f"{PACKAGE}/planted.py",
            3,
        )
