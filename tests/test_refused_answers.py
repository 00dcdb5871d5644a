"""A bad answer stops before anything is written, and one message names all of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException
from cookiecutter.main import cookiecutter

from tests.generated import ROOT, Generator

BAD = [
    # An identifier for the module and the folder.
    ("plugin_slug", ""),
    ("plugin_slug", "Acme"),
    ("plugin_slug", "acme-ai"),
    ("plugin_slug", "acme ai"),
    ("plugin_slug", "2acme"),
    ("plugin_slug", "_acme"),
    ("plugin_slug", "acme_"),
    ("plugin_slug", "acme__ai"),
    ("plugin_slug", "ácme"),
    ("plugin_slug", "acme\n"),
    ("plugin_slug", "a" * 31),
    ("plugin_slug", "../x"),
    ("plugin_slug", "a/b"),
    ("plugin_slug", "a\\b"),
    ("plugin_slug", "/tmp/acme"),
    ("plugin_slug", "C:acme"),
    ("plugin_slug", "."),
    ("plugin_slug", ".."),
    ("plugin_slug", "~"),
    ("plugin_slug", "acme."),
    ("plugin_slug", "{{ cookiecutter.plugin_name }}"),
    ("plugin_slug", "{{cookiecutter.plugin_slug}}"),
    ("plugin_slug", "class"),
    ("plugin_slug", "match"),
    ("plugin_slug", "json"),
    ("plugin_slug", "asyncio"),
    ("plugin_slug", "list"),
    ("plugin_slug", "core"),
    ("plugin_slug", "plugins"),
    ("plugin_slug", "vision_agents"),
    ("plugin_slug", "websockets"),
    ("plugin_slug", "msgspec"),
    ("plugin_slug", "loopback"),
    ("plugin_slug", "getstream"),
    ("plugin_slug", "openai"),
    ("plugin_slug", "smart_turn"),
    ("plugin_slug", "con"),
    ("plugin_slug", "nul"),
    ("plugin_slug", "com7"),
    # The provider's name stands in docstrings.
    ("plugin_name", ""),
    ("plugin_name", "   "),
    ("plugin_name", "123"),
    ("plugin_name", "-Acme"),
    ("plugin_name", 'Ac"me'),
    ("plugin_name", "Ac\\me"),
    ("plugin_name", "Ac{{me}}"),
    ("plugin_name", "Ac\nme"),
    ("plugin_name", "Ac#me"),
    ("plugin_name", "a" * 61),
    # Free text is one printable line.
    ("description", ""),
    ("description", " starts with a space"),
    ("description", "two\nlines"),
    ("description", "two\rlines"),
    ("description", "two\u2028lines"),
    ("description", "two\u2029lines"),
    ("description", "two\x85lines"),
    ("description", "tab\tbed"),
    ("description", "nul\0"),
    ("description", "esc\x1b[31m"),
    ("description", "del\x7f"),
    ("description", "half \ud83d of a pair"),
    ("description", "turned \u202e around"),
    ("description", "no character \uffff"),
    ("description", "x" * 301),
    ("author_name", ""),
    ("author_name", "two\nlines"),
    ("author_name", "x" * 101),
    ("author_email", ""),
    ("author_email", "you"),
    ("author_email", "you@localhost"),
    ("author_email", "you@@example.com"),
    ("author_email", "you@example..com"),
    ("author_email", "a b@example.com"),
    ("author_email", ".you@example.com"),
    ("author_email", 'you"@example.com'),
    ("author_email", "you@example.com\n"),
    ("source_url", ""),
    ("source_url", "example.com/acme"),
    ("source_url", "ftp://example.com/acme"),
    ("source_url", "https://"),
    ("source_url", "https:///acme"),
    ("source_url", "https://-example.com/"),
    ("source_url", "https://example.com/a b"),
    ("source_url", 'https://example.com/"'),
    ("source_url", "javascript:alert(1)"),
    ("default_model", ""),
    ("default_model", "a model"),
    ("default_model", 'model"'),
    ("default_model", "modèle"),
    ("default_model", "m" * 101),
    # A method's name, which hides nothing.
    ("native_method", ""),
    ("native_method", "Create"),
    ("native_method", "create-response"),
    ("native_method", "_create"),
    ("native_method", "__init__"),
    ("native_method", "async"),
    ("native_method", "l"),
    ("native_method", "type"),
    ("native_method", "connect"),
    ("native_method", "simple_response"),
    ("native_method", "interrupt"),
    ("native_method", "client"),
    ("native_method", "commit_audio"),
    ("native_method", "str"),
    ("native_method", "asyncio"),
    ("native_method", "events"),
    ("native_method", "m" * 41),
    ("input_sample_rate", ""),
    ("input_sample_rate", "7999"),
    ("input_sample_rate", "48001"),
    ("input_sample_rate", "24000.0"),
    ("input_sample_rate", "24k"),
    ("input_sample_rate", "-24000"),
    ("input_sample_rate", "024000"),
    ("output_sample_rate", "\u0662\u0664\u0660\u0660\u0660"),
    ("output_sample_rate", "1e4"),
]


def state_of(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("name", "answer"), BAD)
def test_is_refused_by_name_and_leaves_nothing(
    name: str, answer: str, generate: Generator, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()

    with pytest.raises(FailedHookException) as refusal:
        generate(output, **{name: answer})

    assert f"\n  {name}: " in str(refusal.value)
    assert repr(answer)[:70] in str(refusal.value)
    assert state_of(tmp_path) == {"output": None}


def test_names_every_bad_answer_at_once(generate: Generator, tmp_path: Path) -> None:
    answers = {
        "plugin_name": "\\",
        "plugin_slug": "class",
        "description": "\n",
        "author_name": "",
        "author_email": "you",
        "source_url": "here",
        "default_model": "?",
        "native_method": "close",
        "input_sample_rate": "1",
        "output_sample_rate": "one",
    }

    with pytest.raises(FailedHookException) as refusal:
        generate(tmp_path, **answers)

    for name, answer in answers.items():
        assert f"\n  {name}: {answer!r}\n" in str(refusal.value)
    assert state_of(tmp_path) == {}


@pytest.mark.parametrize("answer", [None, True, {"a": 1}])
def test_refuses_what_is_no_text(answer: object, generate: Generator, tmp_path: Path) -> None:
    with pytest.raises(FailedHookException, match=r"\n  author_name: "):
        generate(tmp_path, author_name=answer)
    assert state_of(tmp_path) == {}


def test_a_choice_that_is_none_is_refused_by_cookiecutter(
    generate: Generator, tmp_path: Path
) -> None:
    """It looks at the choices by itself, before it loads anything of a template."""
    with pytest.raises(ValueError, match="choice variable license"):
        generate(tmp_path, license="GPL-3.0")
    assert state_of(tmp_path) == {}


def test_a_rate_may_be_a_number(generate: Generator, tmp_path: Path) -> None:
    assert generate(tmp_path, input_sample_rate=16000).answers["input_sample_rate"] == "16000"


@pytest.mark.parametrize("slug", ["acme", "class"])
def test_leaves_an_existing_folder_alone(slug: str, generate: Generator, tmp_path: Path) -> None:
    (tmp_path / slug / "tests").mkdir(parents=True)
    (tmp_path / slug / "README.md").write_text("mine")
    before = state_of(tmp_path)

    with pytest.raises((OutputDirExistsException, FailedHookException)):
        generate(tmp_path, plugin_slug=slug)

    assert state_of(tmp_path) == before


def test_the_command_line_shows_a_message_and_no_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "plugin_slug=class"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert result.returncode == 1
    assert result.stdout.startswith("These answers cannot be used, and nothing was written:\n")
    assert "  plugin_slug: 'class'\n      This is a word of the Python language." in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert [p.name for p in tmp_path.iterdir()] in ([], ["home"])


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("plugin_slug", "../x"),
        ("description", "two\nlines"),
        ("license", "GPL-3.0"),
        ("transport", "pigeon"),
        ("author_name", None),
        ("__distribution", "vision-agents-plugins-other"),
    ],
)
def test_a_replayed_answer_is_checked_too(
    name: str, answer: object, generate: Generator, tmp_path: Path
) -> None:
    answers = {**generate(tmp_path / "good").answers, name: answer}
    replay = tmp_path / "replay.json"
    replay.write_text(json.dumps({"cookiecutter": answers}))
    output = tmp_path / "output"
    output.mkdir()

    with pytest.raises(FailedHookException, match=rf"\n  {name}: "):
        cookiecutter(
            str(ROOT),
            replay=str(replay),
            output_dir=str(output),
            default_config={"replay_dir": str(tmp_path / "replays")},
        )

    assert state_of(output) == {}
