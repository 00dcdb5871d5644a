"""Builds the Realtime under test, and sees it off."""

import asyncio
from collections.abc import Mapping
from typing import TypedDict, Unpack

from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Client, Realtime, events, loopback

from .kit import INSTRUCTIONS, KEY, Ear, Recorder
from .watch import Watch

CLOSE_S = 4.0
"""No close() takes longer, whatever hangs."""


class Arguments(TypedDict, total=False):
    """What `Make` hands on to Realtime."""

    model: str
    voice: str | None
    fps: int
    turn_detection: bool | Mapping[str, object]
    transcription: bool
    tool_choice: str
    modalities: events.Modality
    options: Mapping[str, object] | None
    tool_timeout_s: float
    response_timeout_s: float
    input_audio_pacing: AudioInputPacingConfig | None
    input_chunk_ms: int


def dial(
    provider: loopback.Provider,
    *,
    api_key: str = KEY,
    connect_timeout_s: float = 2.0,
    send_timeout_s: float = 0.5,
    reconnect_delay_s: float = 0.005,
    reconnect_max_delay_s: float = 0.02,
    reconnect_attempts: int = 5,
) -> Client:
    """A client for a provider that comes back fast and gives up soon."""
    return Client(
        api_key,
        provider.url,
        connect_timeout_s=connect_timeout_s,
        send_timeout_s=send_timeout_s,
        reconnect_delay_s=reconnect_delay_s,
        reconnect_max_delay_s=reconnect_max_delay_s,
        reconnect_attempts=reconnect_attempts,
    )


class Make:
    """Builds Realtimes, records their events, and closes them at the end."""

    def __init__(self, provider: loopback.Provider, watch: Watch) -> None:
        self._provider = provider
        self._watch = watch
        self._made_on: dict[Realtime, loopback.Provider] = {}
        self._made: dict[Realtime, Recorder] = {}
        self._ears: list[Ear] = []
        watch.ending.push_async_callback(self._close)

    def __call__(
        self,
        on: loopback.Provider | None = None,
        *,
        client: Client | None = None,
        instructions: str = INSTRUCTIONS,
        **arguments: Unpack[Arguments],
    ) -> Realtime:
        """Build one, on the scripted provider unless told otherwise."""
        provider = on or self._provider
        llm = Realtime(client=client or dial(provider), **arguments)
        llm.set_instructions(instructions)
        self._made[llm] = Recorder(llm, self._watch)
        self._made_on[llm] = provider
        return llm

    def record(self, llm: Realtime) -> Recorder:
        """The events of one."""
        return self._made[llm]

    def listen(self, llm: Realtime, *, answers: bool = False) -> Ear:
        """Read the output of one from now on; see Ear."""
        self._ears.append(Ear(llm, self._made_on[llm], answers=answers))
        return self._ears[-1]

    async def _close(self) -> None:
        """Close them all; whatever is wrong then is found."""
        for llm, record in self._made.items():
            await record.check()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await llm.close()
            except TimeoutError:
                self._watch.found("LC8", f"close() took longer than {CLOSE_S:g} s")
            await record.check()
            if llm.connected:
                self._watch.found("OB2", "connected after close()")
            self._watch.secrets("repr(llm)", repr(llm))
            self._watch.secrets("repr(llm.client)", repr(llm.client))
        for ear in self._ears:
            await ear.close()
        await self._see_closed()

    async def _see_closed(self) -> None:
        connections = [
            each for provider in set(self._made_on.values()) for each in provider.connections
        ]
        if not connections or "open connections" in self._watch.allowed:
            return
        waits = [asyncio.create_task(each.closed.wait()) for each in connections]
        _, still = await asyncio.wait(waits, timeout=1.0)
        for wait in still:
            wait.cancel()
        if still:
            self._watch.found("LC6", f"{len(still)} connections open 1 s after close()")
