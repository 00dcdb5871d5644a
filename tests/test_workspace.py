"""A plugin becomes a member of the monorepo it goes into, and changes nothing else there."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException

from tests.generated import Generator, run, small_house
from tests.test_refused_answers import state_of

ROOT = "pyproject.toml"
CORE = "agents-core/pyproject.toml"
LINES = {
    ROOT: {"vision-agents-plugins-nest = { workspace = true }", '    "plugins/nest",'},
    CORE: {'nest = ["vision-agents-plugins-nest"]'},
}
"""What makes a plugin a member, by file."""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    folder = small_house(tmp_path / "house")
    run("git", "init", "--quiet", cwd=folder)
    return folder


def join(generate: Generator, house: Path, **answers: str) -> None:
    answers = {"plugin_name": "Nest", "layout": "workspace", **answers}
    generate(house / "plugins", **answers)


def added(before: dict[str, bytes | None], house: Path) -> dict[str, set[str]]:
    """Lines that files got; fails where anything else happened to one."""
    found = {}
    for name, old in before.items():
        new = state_of(house)[name]
        if new == old or old is None or new is None:
            assert new == old
            continue
        lines, rest = old.splitlines(), new.splitlines()
        more = [line for line in rest if line not in lines]
        assert [line for line in rest if line not in more] == lines
        found[name] = {line.decode() for line in more}
    return found


def test_registers_in_three_places_and_touches_nothing_else(
    generate: Generator, house: Path
) -> None:
    before = state_of(house)
    join(generate, house, register="yes")
    assert added(before, house) == LINES
    new = {Path(name).parts[:2] for name in state_of(house).keys() - before.keys()}
    assert new == {("plugins", "nest")}


def test_the_new_lines_follow_the_last_of_their_kind(generate: Generator, house: Path) -> None:
    join(generate, house, register="yes")
    for name, lines in LINES.items():
        text = (house / name).read_text().splitlines()
        for line in lines:
            assert "second" in text[text.index(line) - 1]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_prints_a_patch_that_does_the_same(
    end: str, generate: Generator, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in LINES:
        (house / name).write_text((house / name).read_text(), newline=end)
    before = state_of(house)
    join(generate, house)
    assert added(before, house) == {}
    printed = capsys.readouterr().out
    subprocess.run(["git", "apply"], cwd=house, input=printed.encode(), check=True)
    assert added(before, house) == LINES
    for name in LINES:
        assert (house / name).read_bytes().count(b"\r\n") == (
            (house / name).read_bytes().count(b"\n") if end == "\r\n" else 0
        )


def test_registering_again_changes_nothing(
    generate: Generator, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    join(generate, house, register="yes")
    shutil.rmtree(house / "plugins" / "nest")
    before = state_of(house)
    capsys.readouterr()
    join(generate, house, register="yes")
    assert added(before, house) == {}
    assert capsys.readouterr().out == "nest is registered already.\n"


def test_what_is_registered_in_part_is_completed(generate: Generator, house: Path) -> None:
    text = (house / ROOT).read_text().replace('"plugins/first"', '"plugins/*"')
    (house / ROOT).write_text(text)
    before = state_of(house)
    join(generate, house, register="yes")
    source = "vision-agents-plugins-nest = { workspace = true }"
    assert added(before, house) == LINES | {ROOT: {source}}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda house: (house / CORE).unlink(),
        lambda house: (house / ROOT).write_text("[tool.ruff]\n"),
        lambda house: (house / ROOT).write_text("not TOML"),
        lambda house: (house / CORE).write_text('[project]\nname = "other"\n'),
        lambda house: (house / ROOT).write_text((house / ROOT).read_text().replace('",', '" ,')),
    ],
    ids=["no core", "no workspace", "broken", "another project", "written otherwise"],
)  # fmt: skip
@pytest.mark.parametrize("register", ["yes", "no"])
def test_refuses_what_is_no_checkout_before_it_writes(
    spoil: Callable[[Path], object], register: str, generate: Generator, house: Path
) -> None:
    spoil(house)
    before = state_of(house)
    with pytest.raises(FailedHookException, match=r"\n  layout: 'workspace'\n"):
        join(generate, house, register=register)
    assert state_of(house) == before


def test_refuses_another_folder_than_plugins(generate: Generator, house: Path) -> None:
    before = state_of(house)
    with pytest.raises(FailedHookException, match="--output-dir path/to/Vision-Agents/plugins"):
        generate(house, layout="workspace")
    assert state_of(house) == before


def test_one_message_names_the_folder_and_the_other_bad_answers(
    generate: Generator, tmp_path: Path
) -> None:
    with pytest.raises(FailedHookException) as refusal:
        generate(tmp_path, layout="workspace", plugin_slug="class", default_model="?")
    for name in ("layout", "plugin_slug", "default_model"):
        assert f"\n  {name}: " in str(refusal.value)
    assert state_of(tmp_path) == {}


def test_a_registration_that_fails_undoes_all(generate: Generator, house: Path) -> None:
    (house / "agents-core" / "pyproject.new").mkdir()  # the second file cannot be written
    before = state_of(house)
    with pytest.raises(OSError, match=r"pyproject\.new"):
        join(generate, house, register="yes")
    assert state_of(house) == before
