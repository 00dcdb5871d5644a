"""Plugins take a newer template: their authors' files stay, and `_engine/` becomes the newer one.

How a plugin of the first edition is brought here by hand stands in docs/upgrade-from-1.md.
"""

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from filelock import FileLock

from tests.generated import ROOT, run, small_checkout, state_of

pytestmark = pytest.mark.timeout(1800)  # one test waits for all of them to be made

SLUG = "{{cookiecutter.plugin_slug}}"
PACKAGE = f"{SLUG}/vision_agents/plugins/{SLUG}"
ACME = Path("vision_agents", "plugins", "acme")

# Files, a text in them, and the text in its place in an older or a newer version.
OLDER = [
    (f"{PACKAGE}/_engine/call.py", '"""', '"""Of old. '),
    (f"{PACKAGE}/_engine/history.py", "import", "# Of old.\nimport"),
    (f"{SLUG}/.github/workflows/test.yml", "name: Test\n", "name: Test of old\n"),
    (f"{SLUG}/pyproject.toml", '"vision-agents>=0.6.8,<0.7"', '"vision-agents>=0.6.7,<0.7"'),
    (f"{SLUG}/pyproject.toml", '    "ruff>=0.17,<0.18",\n', '    "ruff>=0.16,<0.17",\n'),
]
OLDER_FILES = (f"{PACKAGE}/_engine/old_room.py",)
NEWER = [
    # Files that a new plugin starts with, and that are the author's from then on.
    (f"{PACKAGE}/wire_openai.py", '"""', '"""Newer. '),
    (f"{PACKAGE}/{SLUG}_realtime.py", '"""', '"""Newer. '),
    (f"{SLUG}/README.md", "\n## Features\n", "\n## Newer\n\nNews.\n\n## Features\n"),
    (f"{SLUG}/CONTRIBUTING.md", "\n## Which files to edit\n", "\n## Newer\n\n## Which files to edit\n"),
    (f"{SLUG}/tests/contract.toml", "[provider]\n", "[provider]\n# Newer.\n"),
    (f"{SLUG}/tests/provider_double.py", '"""', '"""Newer. '),
    # Another tool for development.
    (f"{SLUG}/pyproject.toml", '    "mypy>', '    "packaging>=24",\n    "mypy>'),
    # A question, and its rule, that the older template did not have.
    ("cookiecutter.json", '  "layout": [', '  "greeting": "hello",\n  "layout": ['),
    ("cookiecutter.json", '    "layout": {', '    "greeting": "Its first words",\n    "layout": {'),
    ("hooks/pre_gen_project.py", '    "plugin_name": plugin_name,\n', '    "plugin_name": plugin_name,\n    "greeting": plugin_name,\n'),
]  # fmt: skip
NEWER_FILES = (f"{PACKAGE}/_engine/new_room.py",)
GREETING = f"{SLUG}/greeting.txt"


@dataclass(frozen=True)
class Author:
    """What the author changed in a plugin after it was made.

    Attributes:
        linked: it was made by Cookiecutter, and linked afterwards.
    """

    name: str
    edit: Callable[[Path], None]
    answers: tuple[tuple[str, str], ...] = ()
    linked: bool = False


def change(path: Path, *edits: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) >= 1, f"{path.name} has no {old!r} any more"
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")


def own_package(plugin: Path) -> None:
    change(plugin / ACME / "client.py", ("wss://api.acme.example", "wss://voice.acme.example"))
    change(plugin / ACME / "wire.py", ("MAX_TOOL_OUTPUT = 60_000", "MAX_TOOL_OUTPUT = 50_000"))
    change(plugin / ACME / "acme_realtime.py", ('"acme-realtime-1"', '"voice-2"'))
    (plugin / ACME / "voices.py").write_text(
        '"""Voices."""\n\nVOICES = ("lark",)\n', encoding="utf-8"
    )


def own_tests(plugin: Path) -> None:
    tests = plugin / "tests"
    change(
        tests / "contract.toml",
        ('wire = "reference"', 'wire = "compatible"'),
        ("[waivers]\n", "[waivers]\n# None so far.\n"),
    )
    change(
        tests / "test_acme_realtime.py",
        ("    @pytest.mark.integration\n", "    async def test_ours(self, llm: Realtime) -> None:\n        assert llm.connected\n\n    @pytest.mark.integration\n"),
    )  # fmt: skip
    server = tests / "frames" / "server"
    shutil.copyfile(server / "AudioDelta.json", server / "AudioDelta-of-ours.json")
    (server / "ignored-rate-limits.json").unlink()


def own_pages(plugin: Path) -> None:
    change(plugin / "README.md", ("\n## Features\n", "\nAll new.\n\n## Features\n"))
    change(plugin / "CONTRIBUTING.md", ("# Developing", "# Ours: developing"))
    change(plugin / "example" / ".env.example", ("ACME_API_KEY=", "ACME_REGION=eu\nACME_API_KEY="))
    change(plugin / "example" / "acme_realtime_example.py", ("import", "# Ours.\nimport"))


def own_project(plugin: Path) -> None:
    change(
        plugin / "pyproject.toml",
        ('version = "0.1.0"', 'version = "1.2.3"'),
        ('"Development Status :: 3 - Alpha",', '"Development Status :: 5 - Production/Stable",'),
        ('keywords = ["vision-agents",', 'keywords = ["ours", "vision-agents",'),
        ('<16",\n]', '<16",\n    "httpx>=0.28,<0.29",\n]'),
        ("[dependency-groups]", '[project.optional-dependencies]\nours = ["rich>=14"]\n\n[dependency-groups]'),
    )  # fmt: skip


def everything(plugin: Path) -> None:
    for edit in (own_package, own_tests, own_pages, own_project):
        edit(plugin)


AUTHORS = [
    Author("package", own_package),
    Author("tests", own_tests, (("plugin_name", "Acme"),), linked=True),
    Author("pages", own_pages, (("wire", "plain"), ("license", "Apache-2.0"))),
    Author("project", own_project, (("transport", "webrtc"),)),
    Author("everything", everything, (("video", "yes"), ("native_method", "generate"))),
]
"""Plugins with different answers, which together have all files of an author's."""


def older(folder: Path) -> Path:
    """Make a repository with an older version of this template."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for path, today, older in OLDER:
        change(folder / path, (today, older))
    for path in OLDER_FILES:
        (folder / path).write_text('"""Gone since."""\n', encoding="utf-8")
    commit(folder)
    return folder


def commit(repository: Path) -> None:
    """Commit everything."""
    run("git", "init", "--quiet", cwd=repository)
    run("git", "add", "--all", "--force", cwd=repository)
    who = ("-c", "user.name=Author", "-c", "user.email=author@example.com")
    run("git", *who, "commit", "--quiet", "--message", "One version", cwd=repository)


def newer(template: Path) -> None:
    """Make the template's next version."""
    for path, today, older in OLDER:
        change(template / path, (older, today))
    for path in OLDER_FILES:
        (template / path).unlink()
    for path, today, since in NEWER:
        change(template / path, (today, since))
    for path in NEWER_FILES:
        (template / path).write_text('"""New."""\n', encoding="utf-8")
    (template / GREETING).write_text("{{ cookiecutter.greeting | upper }}\n", encoding="utf-8")
    commit(template)


def start(tool: str, *command: str | Path, cwd: Path, template: Path) -> str:
    """Run cruft or Cookiecutter, without the user's settings and git's."""
    home = str(template.parent)
    return run(sys.executable, "-m", tool, *command, cwd=cwd, HOME=home, USERPROFILE=home)


def create(
    template: Path,
    output: Path,
    answers: Mapping[str, str],
    *,
    linked: bool = False,
    skip: tuple[str, ...] = (),
) -> None:
    """Make a plugin that records its template and revision."""
    output.mkdir(parents=True, exist_ok=True)
    options = (template, "--no-input", "--default-config")
    context = ("--extra-context", json.dumps(answers))
    if linked:
        given = [f"{name}={answer}" for name, answer in answers.items()]
        start("cookiecutter", *options, *given, cwd=output, template=template)
        start("cruft", "link", *options, *context, cwd=output / "acme", template=template)
    else:
        kept = [part for name in skip for part in ("--skip", name)]
        start("cruft", "create", *options, *context, *kept, cwd=output, template=template)


@pytest.fixture(scope="session")
def updated(shared_folder: Path) -> dict[str, Path]:
    """Each author's plugin, made, edited and updated; a sister of it made by the newer template."""
    folder = shared_folder / "updated"
    with FileLock(shared_folder / "updated.lock"):
        if not folder.exists():
            making = shared_folder / "updating"
            update(making, older(shared_folder / "template"))
            making.rename(folder)
    return {path.name: path for path in folder.iterdir()}


def update(folder: Path, template: Path) -> None:
    for author in AUTHORS:
        answers = dict(author.answers)
        create(template, folder / author.name, answers, linked=author.linked)
        plugin = folder / author.name / "acme"
        commit(plugin)
        author.edit(plugin)
        commit(plugin)
        shutil.copytree(plugin, folder / author.name / "edited")
    # A member of a checkout has no settings for cruft, so the files to skip are given here.
    theirs = skipped(folder / "package" / "acme")
    plugins = small_checkout(folder / "member") / "plugins"
    create(template, plugins, {"layout": "workspace"}, skip=theirs)
    commit(folder / "member")
    newer(template)
    for author in AUTHORS:
        plugin = folder / author.name / "acme"
        start("cruft", "update", "--skip-apply-ask", cwd=plugin, template=template)
        create(template, folder / author.name / "sister", dict(author.answers))
    start("cruft", "update", "--skip-apply-ask", cwd=plugins / "acme", template=template)


def skipped(plugin: Path) -> tuple[str, ...]:
    """The patterns of files that the plugin says are its author's."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))
    return tuple(map(str, project["tool"]["cruft"]["skip"]))


def is_authors(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a file, or a folder that it is in, has one of the patterns, from the top."""
    path = PurePosixPath(name)
    return any(
        part.match(f"/{pattern}") and len(part.parts) == len(PurePosixPath(pattern).parts) + 1
        for pattern in patterns
        for part in (PurePosixPath("/") / path, *(PurePosixPath("/") / p for p in path.parents))
    )


def files(plugin: Path) -> dict[str, bytes]:
    """A plugin's files, by name; without cruft's own and git's."""
    found = {name.replace(os.sep, "/"): text for name, text in state_of(plugin).items()}
    return {
        name: text
        for name, text in found.items()
        if text is not None and not name.startswith((".git/", ".cruft.json"))
        if "__pycache__" not in name
    }


@pytest.mark.parametrize("author", AUTHORS, ids=lambda author: author.name)
class TestUpdate:
    def test_authors_files_are_as_they_left_them(
        self, author: Author, updated: dict[str, Path]
    ) -> None:
        before = files(updated[author.name] / "edited")
        after = files(updated[author.name] / "acme")
        theirs = skipped(updated[author.name] / "edited")
        left = {name: text for name, text in before.items() if is_authors(name, theirs)}
        assert {n: t for n, t in after.items() if is_authors(n, theirs)} == left
        assert len(left) > 30
        assert not [name for name in left if "/_engine/" in name]

    def test_all_else_is_what_the_newer_template_makes(
        self, author: Author, updated: dict[str, Path]
    ) -> None:
        """`_engine/` is replaced as a whole: a file that is gone since is removed."""
        sister = files(updated[author.name] / "sister" / "acme")
        after = files(updated[author.name] / "acme")
        theirs = (*skipped(updated[author.name] / "acme"), "pyproject.toml")
        made = {name: text for name, text in sister.items() if not is_authors(name, theirs)}
        assert {n: t for n, t in after.items() if not is_authors(n, theirs)} == made
        assert {f"{ACME.as_posix()}/_engine/new_room.py", "greeting.txt"} <= set(made)
        assert f"{ACME.as_posix()}/_engine/old_room.py" not in after
        assert not [name for name in after if name.endswith((".rej", ".orig"))]

    def test_project_has_both_sides_changes(self, author: Author, updated: dict[str, Path]) -> None:
        text, before = (
            (updated[author.name] / name / "pyproject.toml").read_text(encoding="utf-8")
            for name in ("acme", "edited")
        )
        for path, today, older in OLDER:
            if path.endswith("pyproject.toml"):
                assert today in text
                assert older not in text
        assert '"packaging>=24"' in text
        theirs = {
            line for line in before.splitlines() if not any(o.strip() in line for *_, o in OLDER)
        }
        assert theirs <= set(text.splitlines())


def test_suite_passes_after_an_update(updated: dict[str, Path], python: Path) -> None:
    plugin = updated["everything"] / "acme"
    printed = run(
        *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider"),
        cwd=plugin,
        PYTHONPATH=str(plugin),
    )
    assert ", 0 to do" in printed


def test_member_of_a_checkout_is_updated_in_its_place(updated: dict[str, Path]) -> None:
    """Only files in the plugin's folder change, and the author's do not."""
    checkout = updated["member"]
    changed = run("git", "status", "--porcelain", cwd=checkout).splitlines()
    assert changed
    assert all(line[3:].startswith("plugins/acme/") for line in changed)
    plugin = checkout / "plugins" / "acme"
    assert (plugin / "greeting.txt").read_text(encoding="utf-8") == "HELLO\n"
    assert not (plugin / ACME / "_engine" / "old_room.py").exists()
    assert "Newer" not in (plugin / ACME / "wire.py").read_text(encoding="utf-8")
    assert "Of old" not in (plugin / ACME / "_engine" / "call.py").read_text(encoding="utf-8")
