"""A plugin becomes a member of the checkout it goes into, and changes nothing else there."""

import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException

from hooks import post_gen_project
from tests.generated import ROOT as TEMPLATE
from tests.generated import Generator, run, small_checkout, state_of

ROOT = "pyproject.toml"
CORE = "agents-core/pyproject.toml"
LINES = {
    ROOT: {"vision-agents-plugins-nest = { workspace = true }", '    "plugins/nest",'},
    CORE: {'nest = ["vision-agents-plugins-nest"]'},
}
"""The lines that make a plugin a member, by file; besides the testkit's source."""
TESTKIT = "vision-agents-realtime-testkit = { "


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = small_checkout(tmp_path / "checkout")
    run("git", "init", "--quiet", cwd=folder)
    return folder


def join(generate: Generator, checkout: Path, **answers: str) -> None:
    answers = {"plugin_name": "Nest", "layout": "workspace", **answers}
    generate(checkout / "plugins", **answers)


def added(before: dict[str, bytes | None], checkout: Path) -> dict[str, set[str]]:
    """Lines added to each file, without the testkit's; fails on any other change."""
    found = {}
    for name, old in before.items():
        new = state_of(checkout)[name]
        if new == old or old is None or new is None:
            assert new == old
            continue
        lines, rest = old.splitlines(), new.splitlines()
        more = [line for line in rest if line not in lines]
        assert [line for line in rest if line not in more] == lines
        found[name] = {line.decode() for line in more if not line.startswith(TESTKIT.encode())}
    return found


def test_registers_in_three_places_and_touches_nothing_else(
    generate: Generator, checkout: Path
) -> None:
    before = state_of(checkout)
    join(generate, checkout, __register="yes")
    assert added(before, checkout) == LINES
    new = {Path(name).parts[:2] for name in state_of(checkout).keys() - before.keys()}
    assert new == {("plugins", "nest")}


def test_the_root_says_where_the_testkit_is(generate: Generator, checkout: Path) -> None:
    join(generate, checkout, __register="yes")
    sources = tomllib.loads((checkout / ROOT).read_text(encoding="utf-8"))["tool"]["uv"]["sources"]
    testkit = {"path": (TEMPLATE / "testkit").as_posix(), "editable": True}
    assert sources["vision-agents-realtime-testkit"] == testkit
    member = (checkout / "plugins/nest/pyproject.toml").read_text(encoding="utf-8")
    assert TESTKIT not in member


def test_the_new_lines_are_in_alphabetical_order(generate: Generator, checkout: Path) -> None:
    join(generate, checkout, __register="yes")
    for name, lines in LINES.items():
        text = (checkout / name).read_text(encoding="utf-8").splitlines()
        for line in lines:
            assert "second" in text[text.index(line) + 1]
            assert any(word in text[text.index(line) - 1] for word in ("first", "redis"))


@pytest.mark.parametrize(("name", "place"), [("aaa", 0), ("nest", 1), ("zzz", 2)])
def test_a_line_goes_before_the_first_that_sorts_after_it(name: str, place: int) -> None:
    text = "[a]\nfirst = 1\nsecond = 2\n\n[b]\nx = 1\n"
    after = post_gen_project.insert(text, r"(first|second) = \d", name, f"{name} = 0")
    assert after.splitlines().index(f"{name} = 0") == place + 1
    assert tomllib.loads(after)["b"] == {"x": 1}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_printed_patch_does_the_same(
    end: str, generate: Generator, checkout: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name in LINES:
        (checkout / name).write_text((checkout / name).read_text(), newline=end)
    before = state_of(checkout)
    join(generate, checkout)
    assert added(before, checkout) == {}
    printed = capfdbinary.readouterr().out
    subprocess.run(["git", "apply"], cwd=checkout, input=printed, check=True)
    assert added(before, checkout) == LINES
    for name in LINES:
        data = (checkout / name).read_bytes()
        assert data.count(b"\r\n") == (data.count(b"\n") if end == "\r\n" else 0)


def test_an_entry_for_the_changelog_is_printed(
    generate: Generator, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    join(generate, checkout, __register="yes")
    printed = capfd.readouterr().out
    assert "### `nest` plugin: Nest realtime voice for Vision Agents\n" in printed
    assert "Install with `vision-agents[nest]`." in printed


def test_registering_again_changes_nothing(
    generate: Generator, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    join(generate, checkout, __register="yes")
    for register in ("yes", "no"):
        shutil.rmtree(checkout / "plugins" / "nest")
        before = state_of(checkout)
        capfd.readouterr()
        join(generate, checkout, __register=register)
        assert added(before, checkout) == {}
        assert "It is registered in pyproject.toml" in capfd.readouterr().out


def test_what_is_registered_in_part_is_completed(generate: Generator, checkout: Path) -> None:
    text = (checkout / ROOT).read_text(encoding="utf-8")
    member = '    "plugins/nest",\n'
    (checkout / ROOT).write_text(
        text.replace('    "plugins/second"', f'{member}    "plugins/second"')
    )
    before = state_of(checkout)
    join(generate, checkout, __register="yes")
    assert added(before, checkout) == LINES | {ROOT: LINES[ROOT] - {member.rstrip()}}


def test_a_linked_file_stays_a_link(generate: Generator, checkout: Path) -> None:
    for name in LINES:
        (checkout / name).rename(checkout / f"{name}.real")
        (checkout / name).symlink_to((checkout / f"{name}.real").resolve())
    join(generate, checkout, __register="yes")
    for name, lines in LINES.items():
        assert (checkout / name).is_symlink()
        text = (checkout / f"{name}.real").read_text(encoding="utf-8")
        assert lines <= set(text.splitlines())


def test_plugins_that_register_at_the_same_time_are_all_members(checkout: Path) -> None:
    command = (
        sys.executable,
        "-m",
        "cookiecutter",
        TEMPLATE,
        "--no-input",
        "--output-dir",
        "plugins",
    )

    def scaffold(number: int) -> None:
        answers = (f"plugin_slug=new_{number}", "layout=workspace", "__register=yes")
        run(*command, *answers, cwd=checkout, HOME=str(checkout.parent))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(scaffold, range(6)))
    root = tomllib.loads((checkout / ROOT).read_text(encoding="utf-8"))["tool"]["uv"]
    core = tomllib.loads((checkout / CORE).read_text(encoding="utf-8"))["project"]
    for number in range(6):
        assert f"vision-agents-plugins-new-{number}" in root["sources"]
        assert f"plugins/new_{number}" in root["workspace"]["members"]
        assert f"new-{number}" in core["optional-dependencies"]
    assert not list(checkout.rglob(".*.new"))


def test_what_an_editor_saves_meanwhile_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("")

    def add(text: str) -> str:
        if "saved" not in text:  # the editor is faster than the first attempt
            file.write_text(f"{text}saved\n")
        return f"{text}added\n"

    post_gen_project.write(file, add)
    assert file.read_text() == "saved\nadded\n"


def test_a_run_waits_for_another_that_is_writing(tmp_path: Path) -> None:
    file, other = tmp_path / "pyproject.toml", tmp_path / ".pyproject.toml.new"
    file.write_text("")
    other.write_text("other\n")
    timer = threading.Timer(0.3, other.replace, [file])
    timer.start()
    post_gen_project.write(file, lambda text: f"{text}added\n")
    timer.join()
    assert file.read_text() == "other\nadded\n"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / CORE).unlink(),
        lambda folder: (folder / CORE).write_text("not TOML"),
        lambda folder: (folder / CORE).write_text('[project]\nname = "other"\n'),
    ],
    ids=["no core", "broken", "another project"],
)
@pytest.mark.parametrize("register", ["yes", "no"])
def test_what_is_no_checkout_is_refused_before_anything_is_written(
    spoil: Callable[[Path], object],
    register: str,
    generate: Generator,
    checkout: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(checkout)
    before = state_of(checkout)
    with pytest.raises(FailedHookException):
        join(generate, checkout, __register=register)
    assert "\n  layout: 'workspace'\n" in capfd.readouterr().err
    assert state_of(checkout) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / ROOT).write_text("[tool.ruff]\n"),
        lambda folder: (folder / ROOT).write_text("not TOML"),
        lambda folder: (folder / ROOT).write_text((folder / ROOT).read_text().replace('",', '" ,')),
    ],
    ids=["no workspace", "broken", "written otherwise"],
)
@pytest.mark.parametrize("register", ["yes", "no"])
def test_a_file_in_an_unknown_form_is_left_and_the_plugin_stays(
    spoil: Callable[[Path], object],
    register: str,
    generate: Generator,
    checkout: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(checkout)
    before = state_of(checkout)
    join(generate, checkout, __register=register)
    assert added(before, checkout) == {}
    printed = capfd.readouterr().out
    assert "It is not registered in" in printed
    assert (checkout / "plugins/nest/README.md").exists()


def test_another_folder_than_plugins_is_refused(
    generate: Generator, checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = state_of(checkout)
    with pytest.raises(FailedHookException):
        generate(checkout, layout="workspace")
    assert "Add --output-dir CHECKOUT/plugins." in capfd.readouterr().err
    assert state_of(checkout) == before
