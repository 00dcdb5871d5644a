"""`pytest --live`, where another process plays the provider."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.generated import Generator, Plugin, run

KEY = "key-of-an-author"
PROVIDER = """
import asyncio, sys
from vision_agents.plugins.{slug} import loopback

async def main():
    async with loopback.Provider(pace=1.0) as provider:
        provider.api_key = "{key}"
        print(provider.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def live(generate: Generator, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return generate(tmp_path_factory.mktemp("live"))


@pytest.fixture
def url(live: Plugin, python: Path) -> Iterator[str]:
    """Where a provider answers, until the test is over."""
    with subprocess.Popen(
        [python, "-c", PROVIDER.format(slug=live.slug, key=KEY)],
        cwd=live.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def pytest_live(plugin: Plugin, python: Path, **variables: str) -> str:
    command = (python, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--live")
    return run(*command, cwd=plugin.path, **variables)


def test_the_live_contracts_hold_with_a_provider(live: Plugin, python: Path, url: str) -> None:
    printed = pytest_live(live, python, ACME_API_KEY=KEY, ACME_BASE_URL=url)
    assert "skipped" not in printed
    assert ", 0 to do, " in printed
    assert "workers" not in printed, "more than one session at a time"


def test_without_a_key_each_says_what_it_needs(live: Plugin, python: Path) -> None:
    printed = pytest_live(live, python)
    assert " passed" not in printed
    lines = [line for line in printed.splitlines() if line.startswith("SKIPPED")]
    assert lines
    assert all("set ACME_API_KEY to talk to the provider itself" in line for line in lines)


def test_a_wrong_key_is_no_success(live: Plugin, python: Path, url: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="LC1"):
        pytest_live(live, python, ACME_API_KEY="wrong", ACME_BASE_URL=url)
