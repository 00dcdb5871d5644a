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


@dataclass(frozen=True)
class Plugin:
    """A generated plugin and the answers it was made from, the derived ones among them."""

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
    """Runs Cookiecutter on this template, away from the user's own settings."""

    def __init__(self, folder: Path) -> None:
        self.replays = folder / "replays"

    def __call__(self, output: Path, **answers: object) -> Plugin:
        path = cookiecutter(
            str(ROOT),
            no_input=True,
            extra_context=answers,
            output_dir=str(output),
            default_config={"replay_dir": str(self.replays)},
        )
        replay = json.loads((self.replays / f"{ROOT.name}.json").read_text(encoding="utf-8"))
        return Plugin(Path(path), replay["cookiecutter"])


def small_house(folder: Path) -> Path:
    """Make the smallest monorepo that a plugin can be a member of."""
    return Path(shutil.copytree(ROOT / "tests" / "small_house", folder))


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
