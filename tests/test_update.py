"""Plugins take a newer template: their authors' edits stay, all else becomes what it makes today."""

import ast
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests import second_wire
from tests.generated import ROOT, Plugin, run, small_house
from tests.test_refused_answers import state_of

pytestmark = pytest.mark.timeout(1800)  # one test waits for all of them to be made

SLUG = "{{cookiecutter.plugin_slug}}"
PACKAGE = f"{SLUG}/vision_agents/plugins/{SLUG}"
ACME = Path("vision_agents", "plugins", "acme")

# Files, what stands in them, and what stood there in an older version, or stands in a newer.
OLDER = [
    (f"{PACKAGE}/turns.py", '"""', '"""Of old. '),
    (f"{SLUG}/tests/test_conventions.py", '"""', '"""Of old. '),
    (f"{SLUG}/tests/contract/test_tools.py", "import asyncio\n", "# Of old.\nimport asyncio\n"),
    (f"{SLUG}/ruff.toml", "line-length = 100\n", "line-length = 99\n"),
    (f"{SLUG}/pytest.ini", "timeout = 60\n", "timeout = 61\n"),
    (f"{SLUG}/.github/workflows/test.yml", "name: Test\n", "name: Test of old\n"),
    (f"{SLUG}/pyproject.toml", '"vision-agents>=0.6.8,<0.7"', '"vision-agents>=0.6.7,<0.7"'),
    (f"{SLUG}/pyproject.toml", '    "ruff>=0.17,<0.18",\n', '    "ruff>=0.16,<0.17",\n'),
]
OLDER_FILES = (f"{PACKAGE}/old_room.py", f"{SLUG}/tests/contract/old_meters.py")
NEWER = [
    # What a new plugin begins with, and is its author's from then on.
    (f"{PACKAGE}/wire.py", '"""', '"""Newer. '),
    (f"{SLUG}/README.md", "\n## Features\n", "\n## Newer\n\nNews.\n\n## Features\n"),
    (f"{SLUG}/tests/contract.toml", "[provider]\n", "[provider]\nmoods = false  # it has some\n"),
    # The suite asks for more, and for another tool.
    (f"{SLUG}/tests/contract/kit.py", "    fatal_code: str\n", "    fatal_code: str\n    moods: bool = False\n"),
    (f"{SLUG}/pyproject.toml", '    "pytest-timeout>', '    "packaging>=24",\n    "pytest-timeout>'),
    # A question, its rule and a filter that the older template had not.
    ("cookiecutter.json", '  "register": [', '  "greeting": "hello",\n  "register": ['),
    ("cookiecutter.json", '    "register": {', '    "greeting": "Its first words",\n    "register": {'),
    ("hooks/rules.py", '    "plugin_name": _plugin_name,\n', '    "plugin_name": _plugin_name,\n    "greeting": _plugin_name,\n'),
    ("hooks/answers.py", '            "quoted": quoted,\n', '            "quoted": quoted,\n            "shout": str.upper,\n'),
]  # fmt: skip
NEWER_FILES = (f"{PACKAGE}/new_room.py", f"{SLUG}/tests/contract/new_meters.py")
GREETING = f"{SLUG}/tests/contract/greeting.txt"

# What the first release asks every author for; a fact that comes later has a default.
FIRST_FACTS = set(
    """
    wire input_rate output_rate text tools video turn_detection transcription history manual_turns
    truncation cancellation resumes cancels_tool_calls expired_reason fatal_reason ids speech_events
    turn_detection_settings usage control_markers server_tools response_options session_options
    announced_rate announced_rate_options unknown_frame required_fields fatal_code
    """.split()
)


@dataclass(frozen=True)
class Author:
    """What the author of one plugin did to it, since it was made.

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


def own_wire(plugin: Path) -> None:
    second_wire.put_into(plugin)


def own_client(plugin: Path) -> None:
    change(plugin / ACME / "client.py", ("wss://api.acme.example", "wss://voice.acme.example"))


def own_facts(plugin: Path) -> None:
    change(
        plugin / "tests" / "contract.toml",
        ('wire = "reference"', 'wire = "compatible"'),
        ("max_output_tokens = 77,", "max_output_tokens = 78,"),
        ("[waivers]\n", "[waivers]\n# None so far.\n"),
    )


def own_frames(plugin: Path) -> None:
    server = plugin / "tests" / "frames" / "server"
    shutil.copyfile(server / "AudioDelta.json", server / "AudioDelta-of-ours.json")
    (server / "ignored-rate-limits.json").unlink()


def own_tests(plugin: Path) -> None:
    change(
        plugin / "tests" / "test_acme_realtime.py",
        ("    @pytest.mark.integration\n", "    async def test_ours(self, llm: Realtime) -> None:\n        assert llm.connected\n\n    @pytest.mark.integration\n"),
    )  # fmt: skip


def own_example(plugin: Path) -> None:
    example = plugin / "example"
    change(example / ".env.example", ("ACME_API_KEY=", "ACME_REGION=eu\nACME_API_KEY="))
    change(example / "acme_realtime_example.py", ("import", "# Ours.\nimport"))
    (example / "clips" / "stop.wav").write_bytes(b"ours")


def own_readme(plugin: Path) -> None:
    path = plugin / "README.md"
    kept = path.read_text(encoding="utf-8").partition("\n## Features\n")[2]
    path.write_text(f"# Ours\n\nAll new.\n\n## Features\n{kept}", encoding="utf-8")


def own_project(plugin: Path) -> None:
    change(
        plugin / "pyproject.toml",
        ('version = "0.1.0"', 'version = "1.2.3"'),
        ('"Development Status :: 3 - Alpha",', '"Development Status :: 5 - Production/Stable",'),
        ('keywords = ["vision-agents",', 'keywords = ["ours", "vision-agents",'),
        ('<16",\n]', '<16",\n    "httpx>=0.28,<0.29",\n]'),
        ('dev = [{ include-group = "suite" }]', 'dev = [{ include-group = "suite" }, "ipython>=9"]'),
        ("[dependency-groups]", '[project.optional-dependencies]\nours = ["rich>=14"]\n\n[dependency-groups]'),
    )  # fmt: skip


def everything(plugin: Path) -> None:
    for edit in (
        own_client,
        own_facts,
        own_frames,
        own_tests,
        own_example,
        own_readme,
        own_project,
    ):
        edit(plugin)


def rebuilt(plugin: Path) -> None:
    own_wire(plugin)
    for edit in (own_tests, own_example, own_readme, own_project):
        edit(plugin)


AUTHORS = [
    Author("wire", own_wire, (("input_sample_rate", "16000"),)),
    Author("client", own_client),
    Author("facts", own_facts),
    Author("frames", own_frames),
    Author("tests", own_tests, (("plugin_name", "Acme"),), linked=True),
    Author("example", own_example),
    Author("readme", own_readme),
    Author("project", own_project),
    Author("everything", everything, (("video", "yes"), ("native_method", "generate"))),
    Author("rebuilt", rebuilt, (("input_sample_rate", "16000"), ("license", "Apache-2.0"))),
]
"""Ten plugins, and all the files that are an author's."""


def older(folder: Path) -> Path:
    """Make a repository with this template as it once was."""
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
    """Commit all there is, after sealing the suite if there is one to seal."""
    if (repository / "tools").exists():
        run(sys.executable, "tools/seal_contract.py", cwd=repository)
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
    (template / GREETING).write_text("{{ cookiecutter.greeting | shout }}\n", encoding="utf-8")
    commit(template)


def cruft(*command: str | Path, cwd: Path) -> str:
    return run(sys.executable, "-m", "cruft", *command, cwd=cwd)


def create(template: Path, output: Path, *, linked: bool = False, **answers: str) -> None:
    """Make a plugin that remembers where it came from."""
    output.mkdir(parents=True, exist_ok=True)
    options = (template, "--no-input", "--default-config")
    context = ("--extra-context", json.dumps(answers))
    if linked:
        given = [f"{name}={answer}" for name, answer in answers.items()]
        home = {"HOME": str(template.parent), "USERPROFILE": str(template.parent)}
        run(sys.executable, "-m", "cookiecutter", *options, *given, cwd=output, **home)
        cruft("link", *options, *context, cwd=output / "acme")
    else:
        cruft("create", *options, *context, cwd=output)


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
        create(template, folder / author.name, linked=author.linked, **answers)
        plugin = folder / author.name / "acme"
        commit(plugin)
        author.edit(plugin)
        commit(plugin)
        shutil.copytree(plugin, folder / author.name / "edited")
    plugins = small_house(folder / "member") / "plugins"
    create(template, plugins, layout="workspace", register="yes")
    commit(folder / "member")
    newer(template)
    for author in AUTHORS:
        cruft("update", "--skip-apply-ask", cwd=folder / author.name / "acme")
        create(template, folder / author.name / "sister", **dict(author.answers))
    cruft("update", "--skip-apply-ask", cwd=plugins / "acme")


def skipped(plugin: Path) -> tuple[str, ...]:
    """The files that the plugin says are its author's."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))
    return tuple(map(str, project["tool"]["cruft"]["skip"]))


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
    def test_the_authors_files_are_as_they_left_them(
        self, author: Author, updated: dict[str, Path]
    ) -> None:
        before = files(updated[author.name] / "edited")
        after = files(updated[author.name] / "acme")
        theirs = skipped(updated[author.name] / "edited")
        assert {n: t for n, t in after.items() if n.startswith(theirs)} == {
            name: text for name, text in before.items() if name.startswith(theirs)
        }

    def test_all_else_is_what_the_newer_template_makes(
        self, author: Author, updated: dict[str, Path]
    ) -> None:
        sister = files(updated[author.name] / "sister" / "acme")
        after = files(updated[author.name] / "acme")
        apart = (*skipped(updated[author.name] / "acme"), "pyproject.toml")
        assert {n: t for n, t in after.items() if not n.startswith(apart)} == {
            name: text for name, text in sister.items() if not name.startswith(apart)
        }
        assert not [name for name in after if name.endswith((".rej", ".orig"))]

    def test_the_project_has_both_sides_changes(
        self, author: Author, updated: dict[str, Path]
    ) -> None:
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

    def test_the_suite_is_green(
        self, author: Author, updated: dict[str, Path], python: Path
    ) -> None:
        plugin = updated[author.name] / "acme"
        printed = run(
            *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider"),
            cwd=plugin,
            PYTHONPATH=str(plugin),
        )
        assert ", 0 to do, " in printed


def test_a_member_of_the_monorepo_is_updated_in_its_place(updated: dict[str, Path]) -> None:
    house = updated["member"]
    changed = run("git", "status", "--porcelain", cwd=house).splitlines()
    assert changed
    assert all(line[3:].startswith("plugins/acme/") for line in changed)
    assert (house / "plugins/acme/tests/contract/greeting.txt").read_text() == "HELLO\n"
    assert not (house / "plugins/acme" / ACME / "old_room.py").exists()
    assert not (house / "plugins/acme/pytest.ini").exists()


def test_facts_that_come_later_have_defaults(plugins: dict[str, Plugin]) -> None:
    """An author's contract.toml stays as it was written, under a suite that asks for more."""
    kit = plugins["default"].path / "tests" / "contract" / "kit.py"
    classes = [n for n in ast.parse(kit.read_bytes()).body if isinstance(n, ast.ClassDef)]
    [facts] = [each for each in classes if each.name == "Facts"]
    fields = [node for node in facts.body if isinstance(node, ast.AnnAssign)]
    assert {ast.unparse(each.target) for each in fields if each.value is None} == FIRST_FACTS
