"""Free text is in every file exactly as it was given."""

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
from cookiecutter.prompt import prompt_for_config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hooks import pre_gen_project
from tests.generated import DEFAULTS, ROOT, Generator, Plugin

MARKUP = ["{", "}", "}}", "%}", "#}", '"""', "'''", "\\", "${", "&amp;", "](", "<!--", "1. ", "\\u"]
TEXT = st.one_of(
    st.text(string.punctuation + string.ascii_letters + " ", min_size=1, max_size=300),
    st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), min_size=1).map("".join),
    st.text(min_size=1, max_size=120),
)
RULE = pre_gen_project.RULES["description"]
USABLE = TEXT.filter(lambda text: not RULE(text) and len(text) <= 100)


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
@example("12) x. y")
@example("1. x")
@example("=")
@example("# x")
@example("2nd. x)")
def test_quoted_and_markdown_read_back(text: str) -> None:
    """The private variables of cookiecutter.json, rendered by Cookiecutter itself."""
    offered = {"cookiecutter": DEFAULTS | {"description": text, "__author_name": text}}
    answers = prompt_for_config(json.loads(json.dumps(offered)), no_input=True)
    for literal in (answers["__description_quoted"], answers["__author_name_quoted"]):
        assert tomllib.loads(f"x = {literal}")["x"] == text
        assert yaml.safe_load(f"x: {literal}")["x"] == text
        assert json.loads(literal) == text
        assert ast.literal_eval(literal) == text
    assert read_markdown(answers["__description_markdown"]) == text


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(description=USABLE, author_name=USABLE)
def test_usable_text_lands_as_it_is(
    generate: Generator, description: str, author_name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plugin = generate(Path(folder), description=description, __author_name=author_name)
        assert_says(plugin, description, author_name)


def test_what_is_typed_at_the_prompts_lands_as_it_is(tmp_path: Path) -> None:
    typed = {"plugin_name": "Zap", "description": "A { 7*7 }} \"plugin\" \\ of 'mine'"}
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
    assert_says(plugin, typed["description"], "Your Name")


def test_jinja_syntax_typed_at_a_prompt_is_refused(tmp_path: Path) -> None:
    names = [name for name in DEFAULTS if not name.startswith("_")]
    result = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(ROOT), "--output-dir", str(tmp_path / "out")],
        env=os.environ | {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
        input="".join(("{{ 7*7 }}" if name == "description" else "") + "\n" for name in names),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 1
    assert "  description: '{{ 7*7 }}'\n      Leave out the opening brace" in result.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_hostile_text_lands_as_it_is(plugins: dict[str, Plugin]) -> None:
    plugin = plugins["hostile_text"]
    assert_says(plugin, plugin.answers["description"], plugin.answers["__author_name"])


@pytest.mark.parametrize("text", ["'''", '"""', "\\", "\\'", '\\"', '\\\\"""', "\\u0022", "}"])
def test_no_answer_ends_the_literal_that_a_hook_reads_it_from(text: str) -> None:
    for answer in (text, f"x{text}", f"{text}x", text * 3):
        rendered = json.dumps({"answer": answer, "empty": "", text: text}, indent=4)
        source = pre_gen_project.ANSWERS.replace("{{ cookiecutter | jsonify }}", rendered)
        assert json.loads(ast.literal_eval(f'r"""{source}"""'))["answer"] == answer


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
