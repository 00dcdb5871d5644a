"""Builds the Realtime under test, and closes it at the end of the scenario."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig

from . import protocol
from .realtime import Realtime
from .recorders import EventRecorder, OutputRecorder
from .scenarios import INSTRUCTIONS, KEY
from .transport import transport_of
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .providers.provider import Provider
    from .subject import ApiKey, Subject

CLOSE_S = 4.0
"""Bound on every close(), whatever hangs."""


class Arguments(TypedDict, total=False):
    """Arguments of the Realtime."""

    model: str
    voice: str | None
    fps: int
    turn_detection: bool | Mapping[str, object]
    transcription: bool | str
    tool_choice: str
    modalities: protocol.Modality
    options: Mapping[str, object] | None
    tool_timeout_s: float
    response_timeout_s: float
    input_audio_pacing: AudioInputPacingConfig | None
    input_chunk_ms: int
    interrupt_after_s: float | None


class Make:
    """Builds Realtimes, records their events, and closes them at the end.

    Args:
        subject: what to build.
        provider: what they connect to.
        watchdog: is told what is wrong when they are closed.
    """

    def __init__(self, subject: "Subject", provider: "Provider", watchdog: Watchdog) -> None:
        self._subject = subject
        self._provider = provider
        self._watchdog = watchdog
        self._providers: dict[Realtime, Provider] = {}
        self._records: dict[Realtime, EventRecorder] = {}
        self._outputs: list[OutputRecorder] = []
        watchdog.ending.push_async_callback(self._close)

    def __call__(
        self,
        on: "Provider | None" = None,
        *,
        client: object = None,
        instructions: str = INSTRUCTIONS,
        **arguments: Unpack[Arguments],
    ) -> Realtime:
        """Build one, on the scripted provider unless told otherwise."""
        provider = on or self._provider
        client = client or self.client(on=provider)
        llm = self._subject.build(client=client, **arguments)
        llm.set_instructions(instructions)
        self._records[llm] = EventRecorder(llm, self._watchdog)
        self._providers[llm] = provider
        return llm

    def client(
        self,
        *,
        on: "Provider | None" = None,
        api_key: "ApiKey" = KEY,
        base_url: str | None = None,
        connect_timeout_s: float = 2.0,
        send_timeout_s: float = 0.5,
        reconnect_delay_s: float = 0.005,
        reconnect_max_delay_s: float = 0.02,
        reconnect_attempts: int = 5,
        **more: float,
    ) -> object:
        """Build a client with short delays and few attempts.

        `more` are arguments that not every client takes.
        """
        build = cast("Callable[..., object]", self._subject.client)
        return build(
            api_key,
            (on or self._provider).url if base_url is None else base_url,
            connect_timeout_s=connect_timeout_s,
            send_timeout_s=send_timeout_s,
            reconnect_delay_s=reconnect_delay_s,
            reconnect_max_delay_s=reconnect_max_delay_s,
            reconnect_attempts=reconnect_attempts,
            **more,
        )

    def record(self, llm: Realtime) -> EventRecorder:
        """Return the events of one, from its construction on."""
        return self._records[llm]

    def listen(
        self, llm: Realtime, *, answers: bool = False, takes_s: float = 0.0
    ) -> OutputRecorder:
        """Read the output of one from now on; see OutputRecorder."""
        provider = self._providers[llm]
        output = OutputRecorder(
            llm, provider, transport_of(provider), answers=answers, takes_s=takes_s
        )
        self._outputs.append(output)
        return output

    async def _close(self) -> None:
        for llm, record in self._records.items():
            await record.check()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await llm.close()
            except TimeoutError:
                self._watchdog.found("LC8", f"close() took longer than {CLOSE_S:g} s")
            await record.check()
            if llm.connected:
                self._watchdog.found("OB2", "connected after close()")
            self._watchdog.secrets("repr(llm)", repr(llm))
            self._watchdog.secrets("repr(llm.client)", repr(llm.client))
        for output in self._outputs:
            await output.close()
        await self._check_connections()

    async def _check_connections(self) -> None:
        providers = set(self._providers.values())
        connections = [each for provider in providers for each in provider.connections]
        if not connections or "open connections" in self._watchdog.allowed:
            return
        waits = [asyncio.create_task(each.closed.wait()) for each in connections]
        _, still_open = await asyncio.wait(waits, timeout=1.0)
        for wait in still_open:
            wait.cancel()
        if still_open:
            self._watchdog.found("LC6", f"{len(still_open)} connections open 1 s after close()")
