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
from .watch import LIVE_LIMIT_S, Pulse, Watch, at_level


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """What the provider has no words for cannot happen to it."""
    try:
        yield
    except events.Unsayable as unsayable:
        pytest.skip(f"wire.py: {unsayable}")


@pytest.fixture(scope="session")
def pulse() -> Pulse:
    """Watches the loops from outside."""
    return watch.install()


@pytest.fixture(scope="package", autouse=True)
def undisturbed() -> Iterator[None]:
    """Garbage is looked at between the tests alone."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="package", autouse=True)
def informed() -> Iterator[None]:
    """Everybody logs from INFO on, but the provider's end, which is no part of the plugin."""
    theirs = logging.getLogger(loopback.__name__)
    with at_level(logging.INFO, logging.getLogger()), at_level(logging.WARNING, theirs):
        yield


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
async def under_watch(
    request: pytest.FixtureRequest, page: Page, pulse: Pulse
) -> AsyncIterator[Watch]:
    """Every scenario's checks; `@pytest.mark.allows` names those it breaks on purpose."""
    gc.collect()
    gc.freeze()  # what is left is pytest's, and needs no second look
    allowed = {name for mark in request.node.iter_markers("allows") for name in mark.args}
    test = request.function
    live = request.node.get_closest_marker("integration") is not None
    # Where secrets are the matter the transport's own lines are read, too.
    level = logging.DEBUG if contract_of(test.__name__) == "OB1" else logging.INFO
    watching = Watch(
        pulse,
        plugin.__name__,
        os.environ.get(API_KEY, KEY) if live else KEY,
        test.__code__,
        LIVE_LIMIT_S if live else transit.TEST_LIMIT_S,
        level,
        frozenset(allowed),
    )
    watching.begin()
    async with watching.ending:
        yield watching
    findings = [
        (contract, what) for contract, what in watching.findings if contract not in page.waivers
    ]
    if findings:
        for contract, _ in findings:
            request.node.user_properties.append(("broke", contract))
        pytest.fail("\n".join(f"{c}: {what}" for c, what in findings), pytrace=False)


@pytest.fixture
async def provider(under_watch: Watch) -> loopback.Provider:
    """A provider that says what the test has it say."""
    return await under_watch.listening(loopback.Provider(scripted=True))


@pytest.fixture
async def parrot(under_watch: Watch) -> loopback.Provider:
    """A provider that answers by itself: it says back what it hears and reads."""
    return await under_watch.listening(loopback.Provider())


@pytest.fixture
def make(provider: loopback.Provider, under_watch: Watch) -> Make:
    """Builds Realtimes on `provider`, and closes them at the end."""
    return Make(provider, under_watch)


@pytest.fixture
async def llm(make: Make, provider: loopback.Provider) -> Realtime:
    """A Realtime, connected to `provider`."""
    llm = make()
    await llm.connect()
    await provider.connection()
    return llm


@pytest.fixture
def connection(llm: Realtime, provider: loopback.Provider) -> loopback.Connection:
    """The provider's end of `llm`."""
    return provider.connections[0]


@pytest.fixture
def record(make: Make, llm: Realtime) -> Recorder:
    """The events of `llm`."""
    return make.record(llm)


@pytest.fixture
async def ear(make: Make, llm: Realtime) -> Ear:
    """Reads the output of `llm` as it comes."""
    return make.listen(llm)


@pytest.fixture
async def call(llm: Realtime, under_watch: Watch) -> Call:
    """The agent's own flow around `llm`."""
    return await under_watch.ending.enter_async_context(Call(llm))


@pytest.fixture(scope="session")
def _all_meters() -> Meters:
    return Meters()


@pytest.fixture
def meters(_all_meters: Meters) -> Meters:
    """The house's metrics, counted from here on."""
    _all_meters.start()
    return _all_meters
