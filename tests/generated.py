"""Generating plugins and running commands on them."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
DEFAULTS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
"""What cookiecutter.json offers."""


@dataclass(frozen=True)
class Plugin:
    """A generated plugin and the answers it was made from, with the derived ones."""

    path: Path
    answers: Mapping[str, str]

    @property
    def slug(self) -> str:
        return self.answers["plugin_slug"]

    @property
    def package(self) -> Path:
        return self.path / "vision_agents" / "plugins" / self.slug

    @property
    def standalone(self) -> bool:
        return self.answers["layout"] == "standalone"


class Generator:
    """Runs Cookiecutter on a template, without the user's settings and git's."""

    def __init__(self, folder: Path, template: Path = ROOT) -> None:
        self.template = template
        self.home = folder / "home"
        self.replays = folder / "replays"
        self.home.mkdir(parents=True, exist_ok=True)

    def __call__(self, output: Path, *, overwrite: bool = False, **answers: object) -> Plugin:
        with pytest.MonkeyPatch.context() as environment:
            for name in ("HOME", "USERPROFILE"):
                environment.setenv(name, str(self.home))
            path = cookiecutter(
                str(self.template),
                no_input=True,
                extra_context=answers,
                output_dir=str(output),
                overwrite_if_exists=overwrite,
                default_config={"replay_dir": str(self.replays)},
            )
        replay = (self.replays / f"{self.template.name}.json").read_text(encoding="utf-8")
        return Plugin(Path(path), json.loads(replay)["cookiecutter"])


def small_checkout(folder: Path) -> Path:
    """Make the smallest checkout that a plugin can be a member of."""
    return Path(shutil.copytree(ROOT / "tests" / "small_checkout", folder))


def template_copy(folder: Path) -> Path:
    """Make a copy of this template, to be changed."""
    plugin = "{{cookiecutter.plugin_slug}}"
    folder.mkdir()
    shutil.copy(ROOT / "cookiecutter.json", folder)
    for name in ("hooks", plugin):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*cache*"))
    return folder


def state_of(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder: a file's content, None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command as from a fresh shell and return what it printed; fail if it fails."""
    ours = ("PYTEST_", "VIRTUAL_ENV", "UV_PROJECT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if result.returncode != 0:
        pytest.fail(f"{' '.join(map(str, command))}\n{result.stdout}", pytrace=False)
    return result.stdout
