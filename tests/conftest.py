"""Plugins generated from the answer sets, and an environment that they are all installed in."""

import json
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.generated import ROOT, Generator, Plugin, run, small_checkout

ANSWER_SETS = sorted(path.stem for path in (ROOT / "tests" / "answers").glob("*.json"))


@pytest.fixture(scope="session")
def generate(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator(tmp_path_factory.mktemp("cookiecutter"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all of xdist's workers share during one run."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def plugins(shared_folder: Path) -> dict[str, Plugin]:
    """A plugin for each answer set."""
    folder = shared_folder / "plugins"
    index = folder / "index.json"
    with FileLock(shared_folder / "plugins.lock"):
        if not index.exists():
            generator = Generator(folder)
            made = {}
            for name in ANSWER_SETS:
                answers = json.loads(
                    (ROOT / "tests" / "answers" / f"{name}.json").read_text(encoding="utf-8")
                )
                output = folder / name
                if answers.get("layout") == "workspace":
                    output = small_checkout(output) / "plugins"
                plugin = generator(output, **answers)
                made[name] = (str(plugin.path), dict(plugin.answers))
            index.write_text(json.dumps(made))
    loaded = json.loads(index.read_text())
    return {name: Plugin(Path(path), answers) for name, (path, answers) in loaded.items()}


@pytest.fixture(scope="session", params=ANSWER_SETS)
def plugin(request: pytest.FixtureRequest, plugins: dict[str, Plugin]) -> Plugin:
    """The plugin generated from each answer set."""
    return plugins[request.param]


@pytest.fixture(scope="session")
def python(shared_folder: Path, plugins: dict[str, Plugin]) -> Path:
    """The Python of an environment with the default plugin's dependencies.

    All generated plugins are installed in it beside each other.
    """
    environment = shared_folder / "environment"
    executable = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with FileLock(shared_folder / "environment.lock"):
        if not (environment / "ready").exists():
            project = plugins["default"].path
            run(
                *("uv", "sync", "--quiet", "--no-install-project", "--python", sys.executable),
                cwd=project,
                UV_PROJECT_ENVIRONMENT=str(environment),
            )
            (project / "uv.lock").unlink()
            editable = [part for p in plugins.values() for part in ("--editable", p.path)]
            run(
                *(
                    "uv",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--python",
                    executable,
                    *editable,
                ),
                cwd=shared_folder,
            )
            (environment / "ready").touch()
    return executable
