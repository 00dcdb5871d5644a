"""An interrupted run registers nothing, and leaves a file that says what to do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException, UndefinedVariableInTemplate

from tests.generated import Generator, small_checkout, state_of, template_copy

LATE = "{{cookiecutter.plugin_slug}}/vision_agents/plugins/{{cookiecutter.plugin_slug}}/zzz.txt"
FOR_EVER = "{% for _ in range(99999) %}{% for _ in range(99999) %}{% endfor %}{% endfor %}"
MARK = "UNFINISHED.txt"

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A copy of this template, to be broken."""
    return template_copy(tmp_path / "template")


@pytest.fixture
def broken(template: Path, tmp_path: Path) -> Generator:
    return Generator(tmp_path / "cookiecutter", template)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


@pytest.fixture
def endless(template: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that is stuck at the last folder."""
    (template / LATE).write_text(FOR_EVER)
    config = output.with_name("config.json")
    config.write_text(json.dumps({"replay_dir": str(output.with_name("replays"))}))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cookiecutter", str(template), "--no-input"),
            *("--config-file", str(config), "--output-dir", str(output)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # Where the tests are a job in a shell's background, they and their children ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 60
        while not any((output / "acme/vision_agents/plugins").glob("acme/*")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_finished_plugin_has_no_mark(generate: Generator, tmp_path: Path) -> None:
    assert not (generate(tmp_path).path / MARK).exists()


def test_a_file_that_cannot_be_rendered_leaves_a_folder_that_says_what_to_do(
    broken: Generator, template: Path, output: Path
) -> None:
    (template / LATE).write_text("{{ 1 // 0 }}")
    with pytest.raises(ZeroDivisionError):
        broken(output)
    assert "Delete the folder and run it again." in (output / "acme" / MARK).read_text()


def test_a_run_over_what_is_left_completes_it(
    broken: Generator, template: Path, output: Path, tmp_path: Path
) -> None:
    (template / LATE).write_text("{{ 1 // 0 }}")
    with pytest.raises(ZeroDivisionError):
        broken(output)
    (template / LATE).unlink()
    broken(output, overwrite=True)
    assert state_of(output) == state_of(broken(tmp_path / "afresh").path.parent)


def test_an_undefined_name_leaves_nothing(broken: Generator, template: Path, output: Path) -> None:
    (template / LATE).write_text("{{ missing.name }}")
    with pytest.raises(UndefinedVariableInTemplate):
        broken(output)
    assert state_of(output) == {}


def test_a_template_without_a_variant_says_which_and_leaves_nothing(
    broken: Generator, template: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout = small_checkout(tmp_path / "checkout")
    before = state_of(checkout)
    (template / "{{cookiecutter.plugin_slug}}" / "LICENSE_MIT").unlink()
    with pytest.raises(FailedHookException):
        broken(checkout / "plugins", layout="workspace", __register="yes")
    assert "the template has no LICENSE_MIT" in capfd.readouterr().err
    assert state_of(checkout) == before


def test_a_failure_registers_nothing(broken: Generator, template: Path, tmp_path: Path) -> None:
    checkout = small_checkout(tmp_path / "checkout")
    before = state_of(checkout)
    (template / LATE).write_text("{{ 1 // 0 }}")
    with pytest.raises(ZeroDivisionError):
        broken(checkout / "plugins", layout="workspace", __register="yes")
    after = state_of(checkout)
    assert {name: after[name] for name in before} == before


@posix
def test_an_interrupt_leaves_a_folder_that_says_what_to_do(
    endless: subprocess.Popen[str], output: Path
) -> None:
    endless.send_signal(signal.SIGINT)
    printed, _ = endless.communicate()
    assert endless.returncode == 1
    assert "Aborted!" in printed
    assert "Traceback" not in printed
    assert "Delete the folder" in (output / "acme" / MARK).read_text()


@posix
def test_a_killed_run_leaves_a_folder_that_says_what_to_do(
    endless: subprocess.Popen[str], output: Path
) -> None:
    endless.kill()
    endless.wait()
    assert "Delete the folder" in (output / "acme" / MARK).read_text()


@posix
@pytest.mark.parametrize("closed", ["pipe", "file", "full"])
def test_a_plugin_is_finished_where_nothing_can_be_printed(
    closed: str, template: Path, output: Path
) -> None:
    redirected = {"pipe": "| true", "file": ">&-", "full": "> /dev/full"}[closed]
    if closed == "full" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    command = '"$0" -m cookiecutter "$1" --no-input --output-dir "$2" ' + redirected
    subprocess.run(
        ["sh", "-c", command, sys.executable, str(template), str(output)],
        env=os.environ | {"HOME": str(output.parent)},
        stderr=subprocess.DEVNULL,
        check=False,
    )
    until = time.monotonic() + 30  # the shell does not wait for both ends of a pipe
    while (output / "acme" / MARK).exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert (output / "acme" / "LICENSE").exists()
    assert not (output / "acme" / MARK).exists()
