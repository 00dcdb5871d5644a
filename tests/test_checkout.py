"""Vision Agents' own tools accept a plugin in a checkout of their repository.

Needs a checkout, which is cloned and not changed, Python 3.12, and the package index (with 3.13, uv
builds NumPy from source, which takes minutes):

    git clone https://github.com/GetStream/Vision-Agents
    VISION_AGENTS_CHECKOUT=Vision-Agents UV_PYTHON=3.12 uv run pytest -n0 tests/test_checkout.py
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.generated import ROOT, run

CHECKOUT = os.environ.get("VISION_AGENTS_CHECKOUT", "")
NAME = "vision-agents-plugins-acme"
LINES = [
    '+    "plugins/acme",',
    '+acme = ["vision-agents-plugins-acme"]',
    "+vision-agents-plugins-acme = { workspace = true }",
]

pytestmark = [
    pytest.mark.skipif(not CHECKOUT, reason="VISION_AGENTS_CHECKOUT names no checkout"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout, with the tags that its versions come from, and a plugin in it."""
    folder = tmp_path_factory.mktemp("checkout") / "Vision-Agents"
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
def tools(checkout: Path) -> dict[str, str]:
    """Variables for `uv run` in an environment with the plugin and the checkout's locked tools.

    Without the other plugins: together they need dozens of gigabytes.
    """
    cache = {"UV_CACHE_DIR": run("uv", "cache", "dir", cwd=ROOT).strip()}  # not one of its own
    run("uv", "lock", "--quiet", cwd=checkout, **cache)
    run("uv", "sync", "--quiet", "--frozen", "--package", NAME, cwd=checkout, **cache)
    group = ("--only-group", "dev", "--no-hashes", "--quiet", "--output-file", "dev.txt")
    run("uv", "export", "--frozen", *group, cwd=checkout, **cache)
    edges = ("--editable", "plugins/getstream", "--editable", "plugins/local")  # for the example
    more = ("setuptools", *edges)  # setuptools for dev.py
    install = ("uv", "pip", "install", "--quiet", "--python", ".venv", "-r", "dev.txt", *more)
    run(*install, cwd=checkout, **cache)
    (checkout / "dev.txt").unlink()
    return cache | {"UV_FROZEN": "1", "UV_NO_SYNC": "1"}


def test_nothing_but_the_registrations_changed(checkout: Path) -> None:
    changes = run("git", "status", "--porcelain", cwd=checkout).splitlines()
    files = [" M agents-core/pyproject.toml", " M pyproject.toml", "?? plugins/acme/"]
    assert [line for line in changes if not line.endswith("uv.lock")] == files
    diff = run("git", "diff", "-U0", "agents-core", "pyproject.toml", cwd=checkout).splitlines()
    changed = [line for line in diff if line[0] in "+-" and line[:3] not in ("+++", "---")]
    testkit = [line for line in changed if line.startswith("+vision-agents-realtime-testkit = ")]
    assert len(testkit) == 1
    assert sorted(set(changed) - set(testkit)) == LINES


def test_the_registrations_are_in_alphabetical_places(checkout: Path) -> None:
    root = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    core = tomllib.loads((checkout / "agents-core/pyproject.toml").read_text(encoding="utf-8"))
    for names, name in (
        (list(root["sources"]), NAME),
        (root["workspace"]["members"], "plugins/acme"),
        (list(core["project"]["optional-dependencies"]), "acme"),
    ):
        assert name < names[names.index(name) + 1]


def test_the_readme_installs_it_as_an_extra(checkout: Path) -> None:
    readme = (checkout / "plugins/acme/README.md").read_text(encoding="utf-8")
    assert 'uv add "vision-agents[acme]"' in readme
    assert "cruft" not in readme


def test_the_extras_are_valid(checkout: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "dev.py", "validate-extras", cwd=checkout, **tools)


def test_ruff_finds_nothing(checkout: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "ruff", "check", ".", cwd=checkout, **tools)
    run("uv", "run", "ruff", "format", "--check", ".", cwd=checkout, **tools)


def test_ruff_finds_nothing_by_its_default_rules(checkout: Path, tools: dict[str, str]) -> None:
    run("uv", "run", "ruff", "check", "--isolated", "plugins/acme", cwd=checkout, **tools)


def test_mypy_finds_nothing(checkout: Path, tools: dict[str, str]) -> None:
    """As `dev.py mypy-plugins` runs it, for the plugins that are installed."""
    mypy = ("uv", "run", "mypy", "--install-types", "--non-interactive")
    run(*mypy, "--exclude", r"plugins/[^/]+/tests/", "plugins/acme", cwd=checkout, **tools)


@pytest.mark.parametrize("what", ["plugins/acme", "plugins/acme/tests/test_acme_realtime.py"])
def test_its_suite_passes_as_the_checkout_runs_it(
    what: str, checkout: Path, tools: dict[str, str]
) -> None:
    pytest_as_configured = ("uv", "run", "pytest", "-m", "not integration")
    printed = run(*pytest_as_configured, what, cwd=checkout, **tools)
    assert "configfile: pytest.ini" in printed
    assert "timeout: 60.0s" in printed
    assert " passed" in printed
    assert " 0 to do" in printed or "contract" not in printed


def test_its_version_is_the_checkouts(checkout: Path, tools: dict[str, str]) -> None:
    code = "from importlib.metadata import version; print(version({!r}), version({!r}))"
    python = ("uv", "run", "--quiet", "python", "-c", code.format(NAME, "vision-agents"))
    versions = run(*python, cwd=checkout, **tools).splitlines()[-1].split()
    plugin, core = (version.split("+")[0] for version in versions)
    assert plugin == core
