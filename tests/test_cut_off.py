"""A generation that does not come to its end leaves nothing, or what the next one recognises."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException, UndefinedVariableInTemplate
from cookiecutter.main import cookiecutter

from tests.generated import ROOT, small_house
from tests.test_refused_answers import state_of

LATE = "vision_agents/plugins/{{cookiecutter.plugin_slug}}/zzz.txt"
FOR_EVER = "{% for _ in range(99999) %}{% for _ in range(99999) %}{% endfor %}{% endfor %}"
CLI = "from cookiecutter.__main__ import main; main()"
NO_BYTECODE = "import sys; sys.dont_write_bytecode = True"  # cut short, it would fail every other
FULL_DISK = f"{NO_BYTECODE}; import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (9000, 9000)); {CLI}"

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits are POSIX's")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A smaller copy of this template, to be broken."""
    copy = tmp_path / "template"
    copy.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", copy)
    shutil.copytree(ROOT / "hooks", copy / "hooks")
    plugin = "{{cookiecutter.plugin_slug}}"
    shutil.copytree(
        ROOT / plugin, copy / plugin, ignore=shutil.ignore_patterns("*_cache*", "tests", "example")
    )
    return copy


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def add(template: Path, text: str) -> None:
    (template / "{{cookiecutter.plugin_slug}}" / LATE).write_text(text)


def generate(template: Path, output: Path, **options: object) -> None:
    cookiecutter(
        str(template),
        no_input=True,
        output_dir=str(output),
        default_config={"replay_dir": str(output.with_name("replays"))},
        **options,
    )


def start(template: Path, output: Path, code: str = CLI) -> subprocess.Popen[str]:
    config = output.with_name("config.json")
    config.write_text(json.dumps({"replay_dir": str(output.with_name("replays"))}))
    return subprocess.Popen(
        [
            *(sys.executable, "-c", code, str(template), "--no-input"),
            *("--config-file", str(config), "--output-dir", str(output)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


@pytest.fixture
def endless(template: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A generation that has got as far as the last folder, and gets no further."""
    add(template, FOR_EVER)
    process = start(template, output)
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


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ 1 // 0 }}", ZeroDivisionError),
        ("{{ missing.name }}", UndefinedVariableInTemplate),
        ("{% include 'missing' %}", Exception),
    ],
)
def test_a_file_that_cannot_be_rendered(
    text: str, error: type[Exception], template: Path, output: Path
) -> None:
    add(template, text)
    with pytest.raises(error):
        generate(template, output)
    assert list(output.iterdir()) == []
    add(template, "mended")
    generate(template, output)
    assert not (output / "acme" / ".unfinished").exists()


def test_a_failure_leaves_the_folder_it_was_told_to_overwrite(template: Path, output: Path) -> None:
    add(template, "{{ 1 // 0 }}")
    (output / "acme").mkdir()
    (output / "acme" / "mine.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError):
        generate(template, output, overwrite_if_exists=True)
    assert (output / "acme" / "mine.txt").read_text() == "mine"
    assert (output / "acme" / ".unfinished").exists()


def test_a_failure_registers_nothing(template: Path, tmp_path: Path) -> None:
    house = small_house(tmp_path / "house")
    before = state_of(house)
    add(template, "{{ 1 // 0 }}")
    answers = {"layout": "workspace", "register": "yes"}
    with pytest.raises(ZeroDivisionError):
        cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(house / "plugins"),
            default_config={"replay_dir": str(tmp_path / "replays")},
        )
    assert state_of(house) == before


def test_a_failed_plugin_is_kept_where_that_was_asked_for(template: Path, output: Path) -> None:
    add(template, "{{ 1 // 0 }}")
    with pytest.raises(ZeroDivisionError):
        generate(template, output, keep_project_on_failure=True)
    assert (output / "acme" / ".unfinished").exists()


@posix
def test_a_disk_that_is_full(template: Path, output: Path) -> None:
    process = start(template, output, FULL_DISK)
    printed, _ = process.communicate()
    assert process.returncode != 0
    assert "File too large" in printed
    assert list(output.iterdir()) == []


@posix
def test_an_interrupt_from_the_keyboard(endless: subprocess.Popen[str], output: Path) -> None:
    endless.send_signal(signal.SIGINT)
    printed, _ = endless.communicate()
    assert endless.returncode == 1
    assert "Aborted!" in printed
    assert "Traceback" not in printed
    assert list(output.iterdir()) == []


@posix
def test_what_a_killed_process_leaves_is_recognised(
    endless: subprocess.Popen[str], template: Path, output: Path
) -> None:
    endless.kill()
    endless.wait()
    left = sorted((output / "acme").rglob("*"))
    add(template, "mended")

    again = start(template, output)
    printed, _ = again.communicate()
    assert again.returncode == 1
    assert printed.startswith(f"{output / 'acme'} is unfinished: an earlier run was cut off")
    assert "Delete the folder" in printed
    assert "Traceback" not in printed
    with pytest.raises(FailedHookException, match="is unfinished"):
        generate(template, output, overwrite_if_exists=True)
    assert sorted((output / "acme").rglob("*")) == left

    shutil.rmtree(output / "acme")
    generate(template, output)
