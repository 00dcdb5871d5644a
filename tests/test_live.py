"""`pytest --live` passes against a double of the provider in another process, and fails without a key."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.generated import Generator, Plugin, run

KEY = "key-of-an-author"
PROVIDER = f"""
import asyncio, sys
from pathlib import Path
from realtime_testkit import demo

async def main():
    async with demo.load_provider(Path("tests/provider_double.py"))(pace=1.0) as provider:
        provider.api_key = "{KEY}"
        print(provider.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def live(generate: Generator, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return generate(tmp_path_factory.mktemp("live"))


@pytest.fixture
def url(live: Plugin, python: Path) -> Iterator[str]:
    """Where the double answers, until the test is over."""
    with subprocess.Popen(
        [python, "-c", PROVIDER],
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


def test_live_contracts_hold_with_a_provider(live: Plugin, python: Path, url: str) -> None:
    printed = pytest_live(live, python, ACME_API_KEY=KEY, ACME_BASE_URL=url)
    assert "skipped" not in printed
    assert ", 0 to do" in printed
    assert "workers" not in printed, "more than one session at a time"


def test_without_a_key_the_run_fails_with_one_line(live: Plugin, python: Path) -> None:
    """The line names the variable, and no test is reported one by one."""
    with pytest.raises(pytest.fail.Exception) as failed:
        pytest_live(live, python)
    printed = str(failed.value)
    assert printed.count("ACME_API_KEY") == 1
    assert "--live needs the provider's key: set ACME_API_KEY" in printed
    assert "Traceback" not in printed
    assert "FAILED" not in printed


def test_a_wrong_key_is_no_success(live: Plugin, python: Path, url: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="LC1"):
        pytest_live(live, python, ACME_API_KEY="wrong", ACME_BASE_URL=url)
