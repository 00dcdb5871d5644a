"""What all groups have in common: the fixtures of a scenario.

A group is subclassed by a plugin's test_contract.py, and judges the plugin that its
`subject` fixture returns.
"""

import functools
import logging
import os
from collections.abc import AsyncIterator
from inspect import unwrap

import pytest

from realtime_testkit.account import contract_of
from realtime_testkit.agent_flow import AgentFlow
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.metrics import Meters
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import KEY, NativeCall
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport, transport_of
from realtime_testkit.watchdog import LIVE_LIMIT_S, Watchdog


@functools.cache
def _meters() -> Meters:
    return Meters()


class Contract:
    """Fixtures of a scenario. A plugin's own scenarios can use them by inheriting from it."""

    @pytest.fixture
    def facts(self, subject: Subject) -> Facts:
        """The provider's facts."""
        return subject.facts

    @pytest.fixture
    def transport(self, subject: Subject) -> Transport:
        """How the provider is reached."""
        return transport_of(subject.provider)

    @pytest.fixture
    def native(self, subject: Subject) -> NativeCall:
        """The wrapper of the provider's native call."""
        return NativeCall(subject)

    @pytest.fixture(autouse=True)
    async def watchdog(
        self,
        request: pytest.FixtureRequest,
        subject: Subject,
        transport: Transport,
        no_blocking_calls: None,
    ) -> AsyncIterator[Watchdog]:
        """The checks of every scenario.

        `@pytest.mark.allows(...)` names the findings that a scenario provokes.
        """
        allowed = {name for mark in request.node.iter_markers("allows") for name in mark.args}
        live = request.node.get_closest_marker("integration") is not None
        # Where secrets are tested, the lines of the transport are searched too.
        level = logging.DEBUG if contract_of(request.node.name) == "OB1" else logging.INFO
        watchdog = Watchdog(
            subject.plugin.__name__,
            os.environ.get(subject.api_key_variable, KEY) if live else KEY,
            unwrap(request.function).__qualname__,
            LIVE_LIMIT_S if live else transport.test_limit_s,
            level,
            frozenset(allowed),
        )
        watchdog.begin()
        async with watchdog.ending:
            yield watchdog
        if watchdog.findings:
            for contract, _ in watchdog.findings:
                request.node.user_properties.append(("broke", contract))
            findings = [f"{contract}: {what}" for contract, what in watchdog.findings]
            pytest.fail("\n".join(findings), pytrace=False)

    @pytest.fixture
    async def provider(self, subject: Subject, watchdog: Watchdog) -> Provider:
        """A provider that says what the test lets it say."""
        return await watchdog.listening(subject.provider(scripted=True))

    @pytest.fixture
    async def echo(self, subject: Subject, watchdog: Watchdog) -> Provider:
        """A provider that answers by itself: it echoes what it hears and reads."""
        return await watchdog.listening(subject.provider())

    @pytest.fixture
    def make(self, subject: Subject, provider: Provider, watchdog: Watchdog) -> Make:
        """Builds Realtimes on `provider`, and closes them at the end."""
        return Make(subject, provider, watchdog)

    @pytest.fixture
    async def llm(self, make: Make, provider: Provider) -> Realtime:
        """A Realtime, connected to `provider`."""
        llm = make()
        await llm.connect()
        await provider.connection()
        return llm

    @pytest.fixture
    def connection(self, llm: Realtime, provider: Provider) -> Connection:
        """The provider's end of `llm`."""
        return provider.connections[0]

    @pytest.fixture
    def record(self, make: Make, llm: Realtime) -> EventRecorder:
        """The events of `llm`."""
        return make.record(llm)

    @pytest.fixture
    async def output(self, make: Make, llm: Realtime) -> OutputRecorder:
        """Reads the output of `llm` as it comes."""
        return make.listen(llm)

    @pytest.fixture
    async def flow(self, llm: Realtime, watchdog: Watchdog) -> AgentFlow:
        """The flow of an agent around `llm`."""
        return await watchdog.ending.enter_async_context(AgentFlow(llm))

    @pytest.fixture
    def meters(self) -> Meters:
        """The metrics of Vision Agents, counted from here on."""
        meters = _meters()
        meters.start()
        return meters
