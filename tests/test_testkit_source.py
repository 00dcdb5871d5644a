"""A plugin finds the testkit, its author's name and what to do next, wherever the template is."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

from hooks import post_gen_project
from tests.generated import ROOT, Generator, run, small_checkout, template_copy

TESTKIT = "vision-agents-realtime-testkit"
WHO = ("-c", "user.name=Someone", "-c", "user.email=someone@example.com")
PUBLISHED = {"subdirectory": "testkit"}


def sources(plugin: Path) -> list[Any]:
    """Where the plugin and its example take the testkit from."""
    found = []
    for project in (plugin / "pyproject.toml", plugin / "example" / "pyproject.toml"):
        uv = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["uv"]
        found.append(uv["sources"][TESTKIT])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a copy of this template, in a folder with a name in several scripts."""
    folder = template_copy(tmp_path_factory.mktemp("Ünï 世界") / "template")
    (folder / "testkit").mkdir()
    shutil.copy(ROOT / "testkit" / "pyproject.toml", folder / "testkit")
    run("git", "init", "--quiet", "--initial-branch=main", cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", *WHO, "commit", "--quiet", "--message", "One", cwd=folder)
    run("git", "tag", "v1", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def commit(folder: Path) -> str:
    return run("git", "rev-parse", "HEAD", cwd=folder).strip()


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The template's repository on 127.0.0.1, served over plain HTTP."""
    served = tmp_path_factory.mktemp("served")
    run("git", "clone", "--quiet", "--bare", folder, served / "template.git", cwd=served)
    run("git", "update-server-info", cwd=served / "template.git")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/template.git"
        server.shutdown()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, for Cookiecutter's clones and git's settings."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    return home


@pytest.mark.usefixtures("home")
class TestSource:
    def test_a_folder_is_named_by_its_path(self, folder: Path, tmp_path: Path) -> None:
        plugin = Path(cookiecutter(str(folder), no_input=True, output_dir=str(tmp_path)))
        testkit = {"path": (folder / "testkit").as_posix(), "editable": True}
        assert sources(plugin) == [testkit, testkit]

    @pytest.mark.parametrize("output", [".", "out", "../beside", "absolute"])
    def test_a_relative_folder_is_found_from_where_the_run_was_started(
        self, output: str, folder: Path, tmp_path: Path
    ) -> None:
        output = str(tmp_path / "elsewhere") if output == "absolute" else output
        for template, start in ((".", folder), ("../template", folder.parent / "cwd")):
            start.mkdir(exist_ok=True)
            name = f"p{len(template)}{len(output)}"
            options = ("--no-input", "--output-dir", output, f"plugin_slug={name}")
            command = (sys.executable, "-m", "cookiecutter", template, *options)
            run(*command, cwd=start, PWD=str(start))
            plugin = start / output / name
            testkit = {"path": (folder / "testkit").as_posix(), "editable": True}
            assert sources(plugin) == [testkit, testkit]
            shutil.rmtree(plugin)

    @pytest.mark.parametrize("checkout", [None, "v1", "main"])
    @pytest.mark.parametrize("prefix", ["", "git+"])
    def test_a_repository_is_named_by_url_and_revision(
        self, prefix: str, checkout: str | None, url: str, commit: str, tmp_path: Path
    ) -> None:
        plugin = Path(cookiecutter(prefix + url, checkout, no_input=True, output_dir=str(tmp_path)))
        assert sources(plugin) == [PUBLISHED | {"git": url, "rev": commit}] * 2

    def test_a_zip_names_the_published_repository(self, folder: Path, tmp_path: Path) -> None:
        packed = shutil.make_archive(str(tmp_path / "t"), "zip", folder.parent, "template")
        plugin = Path(cookiecutter(packed, no_input=True, output_dir=str(tmp_path)))
        published = json.loads((ROOT / "cookiecutter.json").read_text())["__testkit_url"]
        assert sources(plugin) == [PUBLISHED | {"git": published}] * 2

    def test_cruft_names_url_and_revision(self, url: str, commit: str, tmp_path: Path) -> None:
        command = (sys.executable, "-m", "cruft", "create", url, "--no-input", "--default-config")
        run(*command, cwd=tmp_path)
        assert sources(tmp_path / "acme") == [PUBLISHED | {"git": url, "rev": commit}] * 2

    def test_cruft_names_a_folder_by_its_path(self, folder: Path, tmp_path: Path) -> None:
        command = (sys.executable, "-m", "cruft", "create", folder, "--no-input")
        run(*command, "--default-config", cwd=tmp_path)
        testkit = {"path": (folder / "testkit").as_posix(), "editable": True}
        assert sources(tmp_path / "acme") == [testkit, testkit]

    @pytest.mark.parametrize(
        ("template", "named"),
        [
            ("https://example.com/a/b.git", "https://example.com/a/b.git"),
            ("https://user:secret@example.com/a/b", "https://example.com/a/b"),
            ("git@example.com:a/b.git", "ssh://git@example.com/a/b.git"),
            ("ssh://git@example.com/a/b.git", "ssh://git@example.com/a/b.git"),
        ],
    )
    def test_an_address_is_written_as_uv_reads_it(self, template: str, named: str) -> None:
        answers = {"_template": template, "__testkit_source": f"{TESTKIT} = published"}
        line = post_gen_project.testkit_source(answers)
        assert tomllib.loads(line)[TESTKIT] == PUBLISHED | {"git": named}

    def test_a_refused_run_of_cruft_says_how_to_run_it_again(
        self, url: str, tmp_path: Path
    ) -> None:
        answers = json.dumps({"default_model": "?", "plugin_name": "Zap"})
        command = (sys.executable, "-m", "cruft", "create", url, "--no-input", "--default-config")
        result = subprocess.run(
            [*command, "--extra-context", answers],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        assert result.returncode != 0
        assert f"cruft create {url} --extra-context '" in result.stdout
        assert list(tmp_path.glob("[az]*")) == []


class TestAuthor:
    def author(
        self, generate: Generator, folder: Path, **answers: str
    ) -> tuple[dict[str, str], str]:
        plugin = generate(folder, **answers)
        text = (plugin.path / "pyproject.toml").read_text(encoding="utf-8")
        [author] = tomllib.loads(text)["project"]["authors"]
        license_text = (plugin.path / "LICENSE").read_text(encoding="utf-8")
        assert re.search(rf" {re.escape(author['name'])}$", license_text, re.MULTILINE)
        return author, tomllib.loads(text)["project"]["urls"]["Source"]

    @pytest.fixture
    def generate(self, tmp_path: Path) -> Generator:
        return Generator(tmp_path / "cookiecutter")

    def test_is_who_git_says(self, generate: Generator, tmp_path: Path) -> None:
        (generate.home / ".gitconfig").write_text(
            '[core]\n\teditor = vi\n\tbare\n[user]\n\tname = "Ána O\'B"\n        email=ana@example.org\n'
            '[url "ssh://x"]\n\tinsteadOf = y\n[github]\n\tuser = ana-b\n',
            encoding="utf-8",
        )
        author, source = self.author(generate, tmp_path / "output")
        assert author == {"name": "Ána O'B", "email": "ana@example.org"}
        assert source == "https://github.com/ana-b/vision-agents-plugins-acme"

    def test_is_who_the_repository_around_says(self, generate: Generator, tmp_path: Path) -> None:
        (generate.home / ".gitconfig").write_text("[user]\nname=A\nemail=a@example.org\n")
        repository = tmp_path / "output" / ".git"
        repository.mkdir(parents=True)
        (repository / "config").write_text("[user]\n\temail = b@example.org\n")
        author, _ = self.author(generate, tmp_path / "output")
        assert author == {"name": "A", "email": "b@example.org"}

    def test_is_who_was_given(self, generate: Generator, tmp_path: Path) -> None:
        (generate.home / ".gitconfig").write_text("[user]\nname=A\nemail=a@example.org\n")
        given = {"name": "C", "email": "c@example.org"}
        answers = {f"__author_{name}": value for name, value in given.items()}
        author, _ = self.author(generate, tmp_path / "output", **answers)
        assert author == given

    @pytest.mark.parametrize(
        "settings",
        [
            b"",
            b"name = before a section\n",
            b"[user]\nname = \xff\xfe\n",
            b'[user]\nname = A "quoted" \\ one\nemail = none\n',
            b"[user]\nname =\nemail =\n",
        ],
    )
    def test_is_left_open_where_git_says_nothing_usable(
        self, settings: bytes, generate: Generator, tmp_path: Path
    ) -> None:
        (generate.home / ".gitconfig").write_bytes(settings)
        author, _ = self.author(generate, tmp_path / "output")
        assert author == {"name": "Your Name", "email": "you@example.com"}


class TestWhatIsPrinted:
    def test_three_commands_and_the_testkits_line(
        self, generate: Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        plugin = generate(tmp_path / "with space")
        printed = capfd.readouterr().out
        assert printed.startswith(f"acme is in {plugin.path}.\n\n  cd '{plugin.path}'\n")
        for command in (
            "example/offline_demo.py\n",
            "run pytest\n",
            "example/.env pytest --live\n",
        ):
            assert command in printed
        assert f'{TESTKIT} = {{ path = "' in printed

    def test_a_terminal_without_unicode_gets_escapes(self, tmp_path: Path) -> None:
        command = (sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "plugin_name=Ünï")
        output = tmp_path / "世界"
        printed = run(
            *(*command, "--output-dir", output),
            cwd=tmp_path,
            PYTHONIOENCODING="ascii",
            HOME=str(tmp_path),
        )
        assert r"\u4e16\u754c" in printed
        assert (output / "uni" / "LICENSE").exists()

    def test_a_refusal_on_a_terminal_without_unicode_gets_escapes(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input"]
        result = subprocess.run(
            [*command, "default_model=modèle"],
            cwd=tmp_path,
            env={"PYTHONIOENCODING": "ascii", "HOME": str(tmp_path), "PATH": ""},
            stderr=subprocess.PIPE,
            check=False,
        )
        assert rb"default_model: 'mod\xe8le'" in result.stderr


def test_two_templates_in_one_process_do_not_mix(tmp_path: Path) -> None:
    other = template_copy(tmp_path / "other")
    hook = other / "hooks" / "post_gen_project.py"
    text = hook.read_text(encoding="utf-8")
    hook.write_text(
        text.replace('"UNFINISHED.txt").unlink', '"README.md").unlink'), encoding="utf-8"
    )
    first, second = Generator(tmp_path / "a"), Generator(tmp_path / "b", other)
    for number in range(2):
        assert (first(tmp_path / f"first{number}").path / "README.md").exists()
        assert not (second(tmp_path / f"second{number}").path / "README.md").exists()


def test_a_module_named_hooks_on_the_path_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "__init__.py").write_text("raise RuntimeError")
    command = (sys.executable, "-m", "cookiecutter", ROOT, "--no-input")
    run(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path), HOME=str(tmp_path))
    assert (tmp_path / "acme" / "LICENSE").exists()


def test_cruft_updates_a_member_without_looking_for_a_checkout(
    folder: Path, tmp_path: Path
) -> None:
    plugins = small_checkout(tmp_path / "checkout") / "plugins"
    context = json.dumps({"layout": "workspace"})
    command = (sys.executable, "-m", "cruft", "create", folder, "--no-input", "--default-config")
    printed = run(*command, "--extra-context", context, cwd=plugins)
    assert "`git apply` registers it" in printed or printed == ""
    assert (plugins / "acme" / "README.md").exists()
