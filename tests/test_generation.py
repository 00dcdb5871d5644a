"""What is generated: these files and no others, with every name filled in."""

import ast
import re
from pathlib import Path

import pytest
from jinja2 import Environment, StrictUndefined
from slugify import slugify

from hooks.answers import Filled, markdown, quoted
from hooks.rules import STANDALONE_ONLY
from tests.generated import ROOT, Plugin

EXPECTED = (ROOT / "tests" / "generated_paths.txt").read_text(encoding="utf-8")


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def without_tools_files(paths: list[str]) -> list[str]:
    """Other tests may be at work in the same folder."""
    return [
        p for p in paths if not re.search(r"\.venv/|\w_cache/|__pycache__|uv\.lock|dist/|/out/", p)
    ]


def test_generates_these_files_and_no_others(plugin: Plugin) -> None:
    expected = EXPECTED.replace("SLUG", plugin.slug).split()
    package = f"vision_agents/plugins/{plugin.slug}"
    if plugin.answers["transport"] == "webrtc":
        expected += [f"{package}/peer.py", "tests/frames/client/ClearOutput.json"]
        expected += ["tests/contract/lossy.py", "tests/contract/test_call.py"]
    if plugin.answers["video"] == "yes":
        expected += [f"{package}/video.py", "tests/contract/test_seeing.py"]
        expected += ["tests/frames/client/AppendImage.json"]
    if not plugin.standalone:
        house = tuple(name.format(slug=plugin.slug) for name in STANDALONE_ONLY)
        expected = [path for path in expected if not path.startswith(house)]
    assert without_tools_files(files_in(plugin.path)) == sorted(expected)


@pytest.mark.parametrize("name", ["default", "short_names", "long_names", "other_rates"])
def test_leaves_no_template_syntax(plugins: dict[str, Plugin], name: str) -> None:
    plugin = plugins[name]
    for path in without_tools_files(files_in(plugin.path)):
        assert "cookiecutter" not in path
        if path.endswith(".wav"):
            continue
        text = (plugin.path / path).read_text(encoding="utf-8")
        found = re.search(r"cookiecutter|\{%|%\}|\{#|#\}|(?<!\$)\{\{ ", text)
        assert found is None, f"{path}: {text[found.start() - 40 : found.end() + 40]!r}"


def test_files_end_with_one_newline_and_no_line_with_spaces(plugin: Plugin) -> None:
    for path in without_tools_files(files_in(plugin.path)):
        if path.endswith((".py", ".toml", ".md", ".yml", ".yaml", "LICENSE", ".gitignore")):
            text = (plugin.path / path).read_text(encoding="utf-8")
            assert not text or re.search(r"\S\n\Z", text), path
            assert not re.search(r"[ \t]+$", text, re.MULTILINE), path


def test_what_is_filled_in_is_what_jinja_would_render(plugin: Plugin) -> None:
    jinja = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    jinja.filters |= {"quoted": quoted, "markdown": markdown, "slugify": slugify}
    compared = 0
    for path in (ROOT / "{{cookiecutter.plugin_slug}}").rglob("*"):
        if path.is_file() and path.suffix not in (".wav", ".pyc") and ".github" not in path.parts:
            source = path.read_text(encoding="utf-8")
            filled = Filled(source, jinja.filters)
            if filled.suffices:
                rendered = jinja.from_string(source).render(cookiecutter=plugin.answers)
                assert filled.render(cookiecutter=plugin.answers) == rendered, path
                compared += 1
    assert compared > 10


@pytest.mark.parametrize(("file", "name"), [("{}_realtime", "Realtime"), ("client", "Client")])
def test_the_readme_names_every_parameter_and_its_default(
    plugin: Plugin, file: str, name: str
) -> None:
    module = ast.parse((plugin.package / f"{file.format(plugin.slug)}.py").read_bytes())
    constants = {
        node.targets[0].id: ast.unparse(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    [cls] = [n for n in module.body if isinstance(n, ast.ClassDef) and n.name == name]
    [init] = [n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    positional = init.args.args[1:]
    defaults = [None] * (len(positional) - len(init.args.defaults)) + init.args.defaults
    parameters = list(zip(positional, defaults, strict=True))
    parameters += zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)

    readme = (plugin.path / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"`{plugin.slug}.{name}(...)`", 1)[1].split("\n\n", 2)[1]
    rows = [
        [cell.strip().strip("`") for cell in row.split("|")[1:3]] for row in section.splitlines()
    ]
    assert [row[0] for row in rows[2:]] == [argument.arg for argument, _ in parameters]
    for (argument, default), (_, shown) in zip(parameters, rows[2:], strict=True):
        code = ast.unparse(default) if default else ""
        # The model is shown, whatever the constant's name; a long address is not.
        accepted = {code, constants.get(code, code)}
        assert shown.replace('"', "'") in accepted, argument.arg


def test_no_file_needs_jinja_itself() -> None:
    """Each that does makes scaffolding a hundredth slower; write `if` and `else` as tags."""
    for path in (ROOT / "{{cookiecutter.plugin_slug}}").rglob("*"):
        if path.is_file() and path.suffix != ".wav":
            assert Filled(path.read_text(encoding="utf-8"), {}).suffices, path
