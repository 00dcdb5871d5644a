"""A bad answer stops the run before anything is rendered, and one message names all bad answers."""

import shlex
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException, OutputDirExistsException
from cookiecutter.main import cookiecutter

from hooks import pre_gen_project
from tests.generated import ROOT, Generator, state_of

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
    ("plugin_slug", "a" * 400),
    ("plugin_slug", "../x"),
    ("plugin_slug", "a/b"),
    ("plugin_slug", "a\\b"),
    ("plugin_slug", "/tmp/acme"),
    ("plugin_slug", "C:acme"),
    ("plugin_slug", "."),
    ("plugin_slug", ".."),
    ("plugin_slug", "~"),
    ("plugin_slug", "acme."),
    ("plugin_slug", "nul\0"),
    ("plugin_slug", "class"),
    ("plugin_slug", "match"),
    ("plugin_slug", "json"),
    ("plugin_slug", "asyncio"),
    ("plugin_slug", "list"),
    ("plugin_slug", "core"),
    ("plugin_slug", "plugins"),
    ("plugin_slug", "vision_agents"),
    ("plugin_slug", "websockets"),
    ("plugin_slug", "realtime_testkit"),
    ("plugin_slug", "provider_double"),
    ("plugin_slug", "getstream"),
    ("plugin_slug", "openai"),
    ("plugin_slug", "smart_turn"),
    ("plugin_slug", "con"),
    ("plugin_slug", "nul"),
    ("plugin_slug", "com7"),
    # Its key would be another service's, or no secret on GitHub.
    ("plugin_slug", "stream"),
    ("plugin_slug", "google"),
    ("plugin_slug", "dashscope"),
    ("plugin_slug", "github"),
    ("plugin_slug", "github_models"),
    # The provider's name stands in docstrings.
    ("plugin_name", ""),
    ("plugin_name", "   "),
    ("plugin_name", "123"),
    ("plugin_name", "-Acme"),
    ("plugin_name", 'Ac"me'),
    ("plugin_name", "Ac\\me"),
    ("plugin_name", "Ac\nme"),
    ("plugin_name", "Ac#me"),
    ("plugin_name", "a" * 61),
    # Free text is one printable line.
    ("description", ""),
    ("description", " starts with a space"),
    ("description", "two\nlines"),
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
    ("__author_name", ""),
    ("__author_name", "two\nlines"),
    ("__author_name", "x" * 101),
    ("__author_email", ""),
    ("__author_email", "you"),
    ("__author_email", "you@localhost"),
    ("__author_email", "you@@example.com"),
    ("__author_email", "you@example..com"),
    ("__author_email", "a b@example.com"),
    ("__author_email", ".you@example.com"),
    ("__author_email", 'you"@example.com'),
    ("__author_email", "you@example.com\n"),
    ("__source_url", ""),
    ("__source_url", "example.com/acme"),
    ("__source_url", "ftp://example.com/acme"),
    ("__source_url", "https://"),
    ("__source_url", "https:///acme"),
    ("__source_url", "https://-example.com/"),
    ("__source_url", "https://example.com/a b"),
    ("__source_url", 'https://example.com/"'),
    ("__source_url", "javascript:alert(1)"),
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
ASKS_AGAIN = "This asks again, with the other answers filled in:\n  "


def refusal(
    generate: Generator, output: Path, capfd: pytest.CaptureFixture[str], **answers: object
) -> str:
    """Return the message of a run that is refused."""
    with pytest.raises(FailedHookException):
        generate(output, **answers)
    return capfd.readouterr().err


@pytest.mark.parametrize(("name", "answer"), BAD)
def test_a_bad_answer_is_named_and_nothing_is_left(
    name: str, answer: str, generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    message = refusal(generate, output, capfd, **{name: answer})
    assert f"\n  {name}: {repr(answer)[:70]}" in message
    assert state_of(tmp_path) == {"output": None}


def test_every_bad_answer_is_named_at_once(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = {
        "plugin_name": "\\",
        "plugin_slug": "class",
        "description": "\n",
        "__author_name": "",
        "__author_email": "you",
        "__source_url": "here",
        "default_model": "?",
        "native_method": "close",
        "input_sample_rate": "1",
        "output_sample_rate": "one",
        "layout": "workspace",
    }
    message = refusal(generate, tmp_path, capfd, **answers)
    for name, answer in answers.items():
        assert f"\n  {name}: {answer!r}\n" in message
    assert state_of(tmp_path) == {}


def test_the_refusal_ends_with_a_command_that_has_the_good_answers(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = {
        "plugin_name": "Great & Sons' +1",
        "description": '"$(x)" it\'s 100 % \\ `safe`',
        "transport": "webrtc",
        "__author_name": 'O\'Brïan "Q"',
    }
    message = refusal(generate, tmp_path, capfd, **good, plugin_slug="stream", default_model="?")
    command = shlex.split(message.partition(ASKS_AGAIN)[2].splitlines()[0])
    place = command.index("cookiecutter")
    assert command[place + 1 : place + 4] == [str(ROOT), "--output-dir", str(tmp_path)]
    assert dict(word.split("=", 1) for word in command[place + 4 :]) == good


def test_the_commands_good_answers_are_accepted(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(
        generate, tmp_path, capfd, plugin_name="Zap", native_method="close", video="yes"
    )
    command = shlex.split(message.partition(ASKS_AGAIN)[2].splitlines()[0])
    answers = dict(word.split("=", 1) for word in command if "=" in word)
    plugin = generate(tmp_path, **answers)
    assert plugin.answers["video"] == "yes"
    assert plugin.slug == "zap"


def test_a_bad_name_is_not_held_against_the_description_made_from_it(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(generate, tmp_path, capfd, plugin_name="two\nlines")
    assert "plugin_name" in message
    assert "description" not in message


def test_the_command_leaves_out_what_was_made_from_a_bad_answer(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The slug is offered from the name, model and address from the slug: they are offered again."""
    for bad in ({"plugin_name": "Some/Thing"}, {"plugin_slug": "Some Thing"}):
        message = refusal(generate, tmp_path, capfd, **bad)
        command = shlex.split(message.partition(ASKS_AGAIN)[2].splitlines()[0])
        assert {word for word in command if "=" in word} <= {"plugin_name=Acme"}


@pytest.mark.parametrize("syntax", ["{{ 7*7 }}", "{% raw %}", "{# no #}", "{{"])
@pytest.mark.parametrize("name", ["description", "__author_name"])
def test_an_answer_typed_with_jinja_syntax_is_refused(name: str, syntax: str) -> None:
    """Cookiecutter would render it when the plugin is updated."""
    assert "the opening brace" in pre_gen_project.RULES[name](f"x {syntax} x")


@pytest.mark.parametrize("answer", [None, True])
def test_an_answer_that_is_no_text_is_refused(
    answer: object, generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("__author_name", "plugin_slug", "plugin_name"):
        assert f"\n  {name}: " in refusal(generate, tmp_path, capfd, **{name: answer})
    assert state_of(tmp_path) == {}


def test_a_choice_that_is_none_is_refused_by_cookiecutter(
    generate: Generator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="choice variable license"):
        generate(tmp_path, license="GPL-3.0")
    assert state_of(tmp_path) == {}


def test_a_rate_may_be_a_number(generate: Generator, tmp_path: Path) -> None:
    assert generate(tmp_path, input_sample_rate=16000).answers["input_sample_rate"] == "16000"


def test_an_existing_folder_is_left_alone(generate: Generator, tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mine.txt").write_text("mine")
    before = state_of(tmp_path)
    with pytest.raises(OutputDirExistsException):
        generate(tmp_path)
    assert state_of(tmp_path) == before


def test_a_refusal_leaves_the_folder_it_was_told_to_overwrite(
    generate: Generator, tmp_path: Path
) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "mine.txt").write_text("mine")
    before = state_of(tmp_path)
    with pytest.raises(FailedHookException):
        generate(tmp_path, overwrite=True, default_model="?")
    assert state_of(tmp_path) == before


def test_a_replayed_file_is_checked_too(
    generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "first")
    replay = generate.replays / f"{ROOT.name}.json"
    edited = tmp_path / "edited.json"
    edited.write_text(replay.read_text().replace("create_response", "close"))
    with pytest.raises(FailedHookException):
        cookiecutter(str(ROOT), replay=str(edited), output_dir=str(tmp_path / "second"))
    assert "\n  native_method: 'close'\n" in capfd.readouterr().err
    assert list((tmp_path / "second").iterdir()) == []
