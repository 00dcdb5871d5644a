"""The house's own tools have nothing to say about a plugin in its monorepo.

Needs a checkout, which is cloned and not touched, a Python that it takes (3.12 or 3.13), and the
registry:

    git clone https://github.com/GetStream/Vision-Agents
    VISION_AGENTS_CHECKOUT=Vision-Agents uv run pytest -n0 tests/test_house_checkout.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.generated import ROOT, run

CHECKOUT = os.environ.get("VISION_AGENTS_CHECKOUT", "")
NAME = "vision-agents-plugins-acme"
LINES = {
    "+acme = [\"vision-agents-plugins-acme\"]",
    '+    "plugins/acme",',
    "+vision-agents-plugins-acme = { workspace = true }",
}  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not CHECKOUT, reason="VISION_AGENTS_CHECKOUT names no checkout"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout, with the tags that its versions come from, and a plugin in it."""
    folder = tmp_path_factory.mktemp("house") / "Vision-Agents"
    clone = ("git", "clone", "--quiet", "--no-checkout", Path(CHECKOUT).resolve(), folder)
    run(*clone, cwd=ROOT)
    media = ("!/assets/", "!/examples/")
    run("git", "sparse-checkout", "set", "--no-cone", "/*", *media, cwd=folder)
    run("git", "checkout", "--quiet", cwd=folder)
    command = (sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--output-dir", "plugins")
    printed = run(*command, "layout=workspace", cwd=folder)
    subprocess.run(["git", "apply"], cwd=folder, input=printed.encode(), check=True)
    return folder


@pytest.fixture(scope="module")
def tools(house: Path) -> dict[str, str]:
    """Variables for `uv run` in an environment with the plugin, and the house's tools as locked.

    Without the other plugins: together they need dozens of gigabytes.
    """
    cache = {"UV_CACHE_DIR": run("uv", "cache", "dir", cwd=ROOT).strip()}  # not one of its own
    run("uv", "lock", "--quiet", cwd=house, **cache)
    run("uv", "sync", "--quiet", "--frozen", "--package", NAME, cwd=house, **cache)
    group = ("--only-group", "dev", "--no-hashes", "--quiet", "--output-file", "dev.txt")
    run("uv", "export", "--frozen", *group, cwd=house, **cache)
    more = ("setuptools", "--editable", "plugins/getstream")  # for dev.py and for the example
    environment = ("--python", ".venv")
    run("uv", "pip", "install", "--quiet", *environment, "-r", "dev.txt", *more, cwd=house, **cache)
    (house / "dev.txt").unlink()
    return cache | {"UV_FROZEN": "1", "UV_NO_SYNC": "1"}


def test_nothing_but_the_three_registrations_changed(house: Path) -> None:
    changes = run("git", "status", "--porcelain", cwd=house).splitlines()
    files = [" M agents-core/pyproject.toml", " M pyproject.toml", "?? plugins/acme/"]
    assert [line for line in changes if not line.endswith("uv.lock")] == files
    diff = run("git", "diff", "-U0", "agents-core", "pyproject.toml", cwd=house).splitlines()
    changed = [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert set(changed) == LINES


def test_the_extras_are_valid(house: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "dev.py", "validate-extras", cwd=house, **tools)


def test_ruff_finds_nothing(house: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "ruff", "check", ".", cwd=house, **tools)
    run("uv", "run", "ruff", "format", "--check", ".", cwd=house, **tools)


def test_ruff_finds_nothing_by_the_houses_rules_alone(house: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "ruff", "check", "--isolated", "plugins/acme", cwd=house, **tools)


def test_mypy_finds_nothing(house: Path, tools: dict[str, str]) -> None:
    """As `dev.py mypy-plugins` has it, for the plugins that are installed."""
    mypy = ("uv", "run", "mypy", "--install-types", "--non-interactive")
    run(*mypy, "--exclude", r"plugins/[^/]+/tests/", "plugins/acme", cwd=house, **tools)


@pytest.mark.parametrize("what", ["plugins/acme", "plugins/acme/tests/test_acme_realtime.py"])
def test_its_suite_passes_as_the_house_runs_it(
    what: str, house: Path, tools: dict[str, str]
) -> None:
    pytest_as_configured = ("uv", "run", "pytest", "-m", "not integration")
    printed = run(*pytest_as_configured, what, cwd=house, **tools)
    assert "configfile: pytest.ini" in printed
    assert "timeout: 60.0s" in printed
    assert " passed" in printed
    assert " 0 to do" in printed or "contract" not in printed


def test_its_version_is_the_monorepos(house: Path, tools: dict[str, str]) -> None:
    code = "from importlib.metadata import version; print(version({!r}), version({!r}))"
    python = ("uv", "run", "--quiet", "python", "-c", code.format(NAME, "vision-agents"))
    versions = run(*python, cwd=house, **tools).splitlines()[-1].split()
    plugin, core = (version.split("+")[0] for version in versions)
    assert plugin == core
