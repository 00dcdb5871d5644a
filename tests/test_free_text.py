"""Free text says in every file exactly what was given."""

import ast
import json
import os
import string
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hooks.answers import markdown, quoted
from hooks.rules import DEFAULTS, RULES
from tests.generated import ROOT, Generator, Plugin

MARKUP = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    '"""',
    "'''",
    "\\",
    "${",
    "&amp;",
    "](",
    "<!--",
    "1. ",
]
TEXT = st.one_of(
    st.text(string.punctuation + string.ascii_letters + " ", min_size=1, max_size=300),
    st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), min_size=1).map("".join),
    st.text(min_size=1, max_size=120),
)
USABLE = TEXT.filter(lambda text: not RULES["description"](text))


def read_markdown(source: str) -> str | None:
    """The text of a Markdown source that is one paragraph without markup, else None."""
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    if [token.type for token in tokens] != ["paragraph_open", "inline", "paragraph_close"]:
        return None
    children = tokens[1].children or []
    if any(child.type not in {"text", "text_special"} for child in children):
        return None
    return "".join(child.content for child in children)


@settings(deadline=None)
@given(USABLE)
@example("\\")
@example("-")
@example("12) x")
@example("=")
def test_quoted_and_markdown_read_back(text: str) -> None:
    literal = quoted(text)
    assert tomllib.loads(f"x = {literal}")["x"] == text
    assert yaml.safe_load(f"x: {literal}")["x"] == text
    assert json.loads(literal) == text
    assert ast.literal_eval(literal) == text
    assert read_markdown(markdown(text)) == text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(description=TEXT, author_name=TEXT)
def test_an_answer_is_refused_or_lands_as_it_is(
    generate: Generator, description: str, author_name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            plugin = generate(Path(folder), description=description, author_name=author_name)
        except FailedHookException:
            assert RULES["description"](description) or RULES["author_name"](author_name)
            assert list(Path(folder).iterdir()) == []
        else:
            assert_says(plugin, description, author_name)


def test_what_is_typed_at_the_prompts_lands_as_it_is(tmp_path: Path) -> None:
    typed = {"plugin_name": "Zap", "description": 'A {{ 7*7 }} "plugin"', "author_name": "{% raw"}
    names = [name for name in DEFAULTS if not name.startswith("_")]
    subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(ROOT), "--output-dir", str(tmp_path)],
        env=os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
        input="".join(typed.get(name, "") + "\n" for name in names),
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
        check=True,
    )
    plugin = Plugin(tmp_path / "zap", {"license": "MIT"})
    assert_says(plugin, typed["description"], typed["author_name"])


def test_hostile_text_lands_as_it_is(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["hostile_text"]
    assert "{{ 7*7 }}" in plugin.answers["description"]
    assert_says(plugin, plugin.answers["description"], plugin.answers["author_name"])


def assert_says(plugin: Plugin, description: str, author_name: str) -> None:
    project = tomllib.loads((plugin.path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == description
    assert project["authors"][0]["name"] == author_name
    if plugin.answers["license"] != "Apache-2.0":
        assert author_name in (plugin.path / "LICENSE").read_text(encoding="utf-8")
    paragraphs = (plugin.path / "README.md").read_text(encoding="utf-8").split("\n\n")
    assert read_markdown(paragraphs[1]) == description
    for path in plugin.path.rglob("*.py"):
        ast.parse(path.read_bytes())


@pytest.mark.parametrize("license", ["MIT", "Apache-2.0", "BSD-3-Clause"])
def test_the_license_is_the_one_chosen(license: str, generate: Generator, tmp_path: Path) -> None:
    plugin = generate(tmp_path, license=license)
    first = {
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "BSD-3-Clause": "BSD 3-Clause License",
    }
    text = (plugin.path / "LICENSE").read_text(encoding="utf-8")
    assert text.strip().splitlines()[0].strip() == first[license]
    assert f'license = "{license}"' in (plugin.path / "pyproject.toml").read_text(encoding="utf-8")
