"""Fixtures of the contract suite. Not the author's to edit: see ../contract.toml."""

import gc
import logging
import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from vision_agents.plugins import {{ cookiecutter.plugin_slug }} as plugin
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit, watch
from .accounting import Page, contract_of
from .calling import Call
from .kit import API_KEY, KEY, Ear, Facts, Recorder
from .making import Make
from .meters import Meters
from .watch import LIVE_LIMIT_S, Watch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """What the provider has no words for cannot happen to it."""
    try:
        yield
    except events.Unsayable as unsayable:
        pytest.skip(f"wire.py: {unsayable}")


@pytest.fixture(scope="session", autouse=True)
def outside_the_loop() -> None:
    """Watches from outside: frozen threads."""
    watch.install()
    gc.collect()
    gc.freeze()  # what was imported needs no second look
    gc.disable()  # each test is looked at when it ends


@pytest.fixture(scope="session", autouse=True)
def blockbuster() -> Iterator[None]:
    """No blocking call of the plugin; in the house's monorepo instead of its own, for all code."""
    with blockbuster_ctx(plugin):
        yield


@pytest.fixture(scope="session")
def facts() -> Facts:
    """The provider's facts."""
    return Facts.load(Path(__file__).parent.with_name("contract.toml"))


@pytest.fixture(scope="session")
def page() -> Page:
    """contract.toml, and what it waives."""
    return Page()


@pytest.fixture(autouse=True)
async def under_watch(request: pytest.FixtureRequest, page: Page) -> AsyncIterator[Watch]:
    """Every scenario's checks; `@pytest.mark.allows` names those it breaks on purpose."""
    allowed = {name for mark in request.node.iter_markers("allows") for name in mark.args}
    test = request.function
    live = request.node.get_closest_marker("integration") is not None
    # Where secrets are the matter the transport's own lines are read, too.
    level = logging.DEBUG if contract_of(test.__name__) == "OB1" else logging.INFO
    watching = Watch(
        plugin.__name__,
        os.environ.get(API_KEY, KEY) if live else KEY,
        test.__code__,
        LIVE_LIMIT_S if live else transit.TEST_LIMIT_S,
        level,
        frozenset(allowed),
    )
    watching.begin()
    yield watching
    await watching.end()
    findings = [
        (contract, what) for contract, what in watching.findings if contract not in page.waivers
    ]
    if findings:
        for contract, _ in findings:
            request.node.user_properties.append(("broke", contract))
        pytest.fail("\n".join(f"{c}: {what}" for c, what in findings), pytrace=False)


@pytest.fixture
async def provider(under_watch: Watch) -> AsyncIterator[loopback.Provider]:
    """A provider that says what the test has it say."""
    scripted = loopback.Provider(scripted=True)
    await scripted.listen()
    yield scripted
    await under_watch.dismiss(scripted)


@pytest.fixture
async def parrot(under_watch: Watch) -> AsyncIterator[loopback.Provider]:
    """A provider that answers by itself: it says back what it hears and reads."""
    talking = loopback.Provider()
    await talking.listen()
    yield talking
    await under_watch.dismiss(talking)


@pytest.fixture
async def make(provider: loopback.Provider, under_watch: Watch) -> AsyncIterator[Make]:
    """Builds Realtimes on `provider`, and closes them at the end."""
    making = Make(provider, under_watch)
    yield making
    await making.close()


@pytest.fixture
async def llm(make: Make) -> Realtime:
    """A Realtime, connected to `provider`."""
    llm = make()
    await llm.connect()
    return llm


@pytest.fixture
async def connection(llm: Realtime, provider: loopback.Provider) -> loopback.Connection:
    """The provider's end of `llm`."""
    return await provider.connection()


@pytest.fixture
def record(make: Make, llm: Realtime) -> Recorder:
    """The events of `llm`."""
    return make.record(llm)


@pytest.fixture
async def ear(make: Make, llm: Realtime) -> Ear:
    """Reads the output of `llm` as it comes."""
    return make.listen(llm)


@pytest.fixture
async def call(llm: Realtime) -> AsyncIterator[Call]:
    """The agent's own flow around `llm`."""
    async with Call(llm) as around:
        yield around


@pytest.fixture(scope="session")
def _all_meters() -> Meters:
    return Meters()


@pytest.fixture
def meters(_all_meters: Meters) -> Meters:
    """The house's metrics, counted from here on."""
    _all_meters.start()
    return _all_meters
