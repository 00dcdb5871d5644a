"""The template's own code is clean, and its rules agree with the code that they protect."""

import ast
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import pytest

from hooks import pre_gen_project
from tests.generated import DEFAULTS, ROOT, Plugin, run

HOOKS = sorted((ROOT / "hooks").glob("*.py"))
RULES = pre_gen_project.RULES


def test_hooks_are_the_two_that_cookiecutter_runs() -> None:
    assert [path.name for path in HOOKS] == ["post_gen_project.py", "pre_gen_project.py"]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in HOOKS) <= 500


def test_hooks_import_the_standard_library_only() -> None:
    for path in HOOKS:
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_hooks_have_jinja_in_one_string_only() -> None:
    for path in HOOKS:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"\{[{%#].*", text) == ['{{ cookiecutter | jsonify }}"""']


def test_the_template_loads_no_extension() -> None:
    assert "_extensions" not in DEFAULTS


def test_no_file_name_but_the_slugs_holds_jinja() -> None:
    for path in (ROOT / "{{cookiecutter.plugin_slug}}").rglob("*"):
        name = str(path.relative_to(ROOT)).replace("{{cookiecutter.plugin_slug}}", "slug")
        assert not re.search(r"\{[{%#]", name), name


def test_at_most_twelve_questions_are_asked_and_each_has_a_prompt() -> None:
    asked = [name for name in DEFAULTS if not name.startswith("_")]
    prompts = DEFAULTS["__prompts__"]
    assert len(asked) <= 12
    assert list(prompts) == asked
    for name in asked:
        if isinstance(prompts[name], dict):
            assert set(prompts[name]) == {"__prompt__", *DEFAULTS[name]}


def test_every_answer_that_is_text_has_a_rule() -> None:
    given = {name for name in DEFAULTS if not name.startswith("_")}
    given |= {"__author_name", "__author_email", "__source_url"}
    assert set(RULES) == {name for name in given if isinstance(DEFAULTS[name], str)}


def test_what_is_left_out_of_the_command_is_what_is_offered(plugins: dict[str, Plugin]) -> None:
    answers = plugins["default"].answers
    offered = pre_gen_project.defaults(answers)
    assert {name: answers[name] for name in offered} == offered
    assert {*offered, "plugin_name"} == {
        *(name for name in DEFAULTS if not name.startswith("_")),
        *("__author_name", "__author_email", "__source_url", "__register"),
    }


def test_every_plugin_of_vision_agents_is_a_name_taken() -> None:
    extras = importlib.metadata.metadata("vision-agents").get_all("Provides-Extra") or []
    plugins = {extra.replace("-", "_") for extra in extras} - {"dev", "all_plugins", "redis"}
    assert len(plugins) > 30
    assert plugins <= {*pre_gen_project.VISION_AGENTS_PLUGINS}


def test_a_plugin_installed_here_is_a_name_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vision_agents_plugins_some_one-1.0.dist-info").mkdir()
    assert pre_gen_project.installed("some_one") == ""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "A plugin of this name is installed" in pre_gen_project.installed("some_one")
    assert pre_gen_project.installed("some") == ""


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
    assert set(public) - {plugin.answers["native_method"]} <= {*pre_gen_project.METHODS_TAKEN}


def test_a_native_method_is_no_name_that_realtimes_body_uses(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["default"]
    module = ast.parse((plugin.package / f"{plugin.slug}_realtime.py").read_bytes())
    for body in (node for node in module.body if isinstance(node, ast.ClassDef)):
        for node in body.body:
            # Code inside a function does not see the class's names; other code does.
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.body = []
            for name in (n.id for n in ast.walk(node) if isinstance(n, ast.Name)):
                if name.islower():
                    assert RULES["native_method"](name), f"line {node.lineno}: {name}"


def test_a_slug_is_no_other_name_where_it_is_imported(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["default"]
    modules = {path.stem for path in plugin.package.glob("[a-z]*.py")}
    assert modules - {f"{plugin.slug}_realtime"} <= {*pre_gen_project.NAMES_TAKEN}
    importing = []
    for path in plugin.path.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
        aliases = {
            a.asname or a.name for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names
        }
        if plugin.slug in aliases and not {".venv", "build"} & {*path.parts}:
            importing.append(path)
            names = {n.id for n in nodes if isinstance(n, ast.Name)} | aliases
            names |= {n.arg for n in nodes if isinstance(n, ast.arg)}
            for name in names - {plugin.slug}:
                if name.islower() and not name.startswith("_"):
                    assert RULES["plugin_slug"](name), f"{path.name} calls something {name}"
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
        media = path.suffix in {".wav", ".png", ".gif", ".svg", ".pcm"}
        if media or path == Path(__file__) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found = re.search(r"/(home|Users|work|root)/\w+|\b(files\.pythonhosted|pypi)\.org\b", text)
        assert found is None, f"{name}: {found and found[0]}"
