"""The template's own code: clean, quick to load, and in agreement with what it was written for."""

import ast
import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hooks import rules
from tests.generated import ROOT, Plugin, run


def test_hooks_import_the_standard_library_and_cookiecutters_own_only() -> None:
    cookiecutters = {"cookiecutter", "cookiecutter.exceptions", "cookiecutter.utils"}
    allowed = {*sys.stdlib_module_names, *cookiecutters, "hooks", "jinja2", "jinja2.ext"}
    for path in (ROOT / "hooks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Import(names):
                    modules = {alias.name.split(".")[0] for alias in names}
                case ast.ImportFrom(str(module)):
                    known = module.split(".")[0] in sys.stdlib_module_names
                    modules = set() if known else {module}
                case _:
                    continue
            assert modules <= allowed, f"{path.name} imports {modules - allowed}"


def test_every_answer_has_a_prompt_and_a_rule() -> None:
    asked = [name for name in rules.DEFAULTS if not name.startswith("_")]
    prompts = rules.DEFAULTS["__prompts__"]
    assert list(prompts) == asked
    for name in asked:
        choices = rules.DEFAULTS[name]
        if isinstance(choices, list):
            assert name not in rules.RULES
            if isinstance(prompts[name], dict):
                assert set(prompts[name]) == {"__prompt__", *choices}
        else:
            assert name in rules.RULES


def test_every_plugin_of_the_house_is_a_name_taken() -> None:
    extras = metadata.metadata("vision-agents").get_all("Provides-Extra") or []
    plugins = {extra.replace("-", "_") for extra in extras} - {"dev", "all_plugins", "redis"}
    assert len(plugins) > 30
    assert plugins <= rules.HOUSE_PLUGINS


def test_a_plugin_installed_here_is_a_name_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "vision_agents_plugins_some_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vision-agents-plugins-some-one\nVersion: 1.0\n"
    )
    rule = rules.RULES["plugin_slug"]
    assert rule("some_one") == ""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "vision-agents-plugins-some-one is installed here" in rule("some_one")


def test_a_native_method_can_hide_nothing_of_realtime(
    plugins: dict[str, Plugin], python: Path
) -> None:
    plugin = plugins["default"]
    code = f"""
import json
from vision_agents.plugins import {plugin.slug}
names = set(dir({plugin.slug}.Realtime(api_key="key")))
print(json.dumps(sorted(n for n in names if not n.startswith("_"))))
"""
    public = json.loads(run(python, "-c", code, cwd=plugin.path).splitlines()[-1])
    assert set(public) - {plugin.answers["native_method"]} <= rules.METHODS_TAKEN


def test_a_native_method_is_no_name_that_realtimes_body_uses(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["default"]
    module = ast.parse((plugin.package / f"{plugin.slug}_realtime.py").read_bytes())
    for body in (node for node in module.body if isinstance(node, ast.ClassDef)):
        for node in body.body:
            # What is inside a function does not see the class's names; all else does.
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = []
            for name in (n.id for n in ast.walk(node) if isinstance(n, ast.Name)):
                if name.islower():
                    assert rules.RULES["native_method"](name), f"line {node.lineno}: {name}"


def test_a_slug_is_no_other_name_where_it_is_imported(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["default"]
    assert {path.stem for path in plugin.package.glob("[a-z]*.py")} - {
        f"{plugin.slug}_realtime"
    } <= rules.TAKEN
    importing = []
    for path in plugin.path.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
        aliases = {
            a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
        }
        if plugin.slug in aliases and "_cache" not in str(path):
            importing.append(path)
            names = {n.id for n in nodes if isinstance(n, ast.Name)}
            names |= {n.arg for n in nodes if isinstance(n, ast.arg)}
            for name in names - {plugin.slug}:
                assert rules.RULES["plugin_slug"](name), f"{path.name} calls something {name}"
    assert importing


def test_the_templates_own_code_is_clean() -> None:
    run(sys.executable, "-m", "ruff", "check", cwd=ROOT)
    run(sys.executable, "-m", "ruff", "format", "--check", cwd=ROOT)
    run(sys.executable, "-m", "mypy", cwd=ROOT)


def test_the_readmes_test_command_is_what_ci_runs() -> None:
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```bash\n{command}\n```" in readme


def test_no_file_names_a_machine_or_a_registrys_host() -> None:
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in listed.splitlines():
        path = ROOT / name
        media = path.suffix in {".wav", ".png", ".gif", ".svg"}
        if media or path == Path(__file__) or not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        found = re.search(r"/(home|Users|work|root)/\w+|\b(files\.pythonhosted|pypi)\.org\b", text)
        assert found is None, f"{name}: {found and found[0]}"
