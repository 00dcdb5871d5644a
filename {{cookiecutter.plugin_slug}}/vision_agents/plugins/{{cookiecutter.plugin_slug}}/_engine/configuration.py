"""What a session is asked to be, and what the open one acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from .errors import SessionError
from .session import Session
from .session_types import SessionConfig, Tool

MAX_INPUT_CHUNK_MS = 200
"""Larger chunks of input audio save no more CPU time, and the agent hears late."""


class Configuration:
    """The settings that are wanted, and those in force.

    Attributes:
        asked: what the caller asked for.

    Args:
        wanted: what the first session is asked for.
        refresh: adds the instructions and tools of the moment to a configuration.
        restore: takes back instructions that were refused; given what is in force.
    """

    def __init__(
        self,
        wanted: SessionConfig,
        refresh: Callable[[SessionConfig], SessionConfig],
        restore: Callable[[SessionConfig], None],
    ) -> None:
        self.asked = wanted
        self._refresh = refresh
        self._restore = restore
        self._acknowledged: SessionConfig | None = None
        self._refused_tools: tuple[Tool, ...] | None = None
        self._changing = asyncio.Lock()
        self._updating = asyncio.Lock()

    @property
    def wanted(self) -> SessionConfig:
        """What the next session is asked for; nothing that was refused."""
        wanted = self._refresh(self.asked)
        if wanted.tools == self._refused_tools and self._acknowledged is not None:
            return replace(wanted, tools=self._acknowledged.tools)
        return wanted

    def acknowledged(self, config: SessionConfig) -> None:
        """Note that a session is open with this configuration."""
        self._acknowledged = config

    async def change(
        self,
        changed: Callable[[SessionConfig], SessionConfig],
        session: Session | None,
    ) -> None:
        """Change settings, for the open session and for later ones; one change at a time.

        Raises:
            SessionError: the provider refused; the settings are what they were.
        """
        async with self._changing:
            before = self.asked
            self.asked = changed(before)
            try:
                if session is not None:
                    await self.sync(session)
            except SessionError as error:
                if not error.temporary:
                    self.asked = before
                raise

    async def sync(self, session: Session) -> None:
        """Tell the open session what it does not know.

        Raises:
            SessionError: the provider refused, or the session is lost.
        """
        async with self._updating:
            while (config := self.wanted) != (known := self._acknowledged):
                if known is None:
                    return
                try:
                    await session.update(config, known)
                except TimeoutError:
                    # It may be in force or not: what is wanted instead is sent again.
                    self._acknowledged = config
                    self._take_back(config, known)
                    silent = "the provider did not acknowledge the change"
                    raise SessionError(silent) from None
                except SessionError as error:
                    if not error.temporary:
                        if config.tools != known.tools:
                            self._refused_tools = config.tools
                        self._take_back(config, known)
                    raise
                self._acknowledged = config

    def _take_back(self, refused: SessionConfig, known: SessionConfig) -> None:
        if self._refresh(self.asked).instructions == refused.instructions:
            self._restore(known)


def check_arguments(
    *,
    model: str,
    modalities: str,
    fps: int,
    interrupt_after_s: float | None,
    tool_timeout_s: float,
    response_timeout_s: float,
    input_chunk_ms: int,
) -> None:
    """Raise a ValueError that names the arguments of a Realtime that cannot be used."""
    positive = {
        "fps": fps,
        "tool_timeout_s": tool_timeout_s,
        "response_timeout_s": response_timeout_s,
    }
    wrong = [f"{k}={v!r} must be positive" for k, v in positive.items() if v <= 0]
    if not model:
        wrong.append(f"model={model!r} must name one of the provider's models")
    if modalities not in ("audio", "text"):
        wrong.append(f'modalities={modalities!r} must be "audio" or "text"')
    if interrupt_after_s is not None and interrupt_after_s < 0:
        wrong.append(f"interrupt_after_s={interrupt_after_s!r} must not be negative")
    if not 0 <= input_chunk_ms <= MAX_INPUT_CHUNK_MS:
        longest = f"{MAX_INPUT_CHUNK_MS} milliseconds"
        wrong.append(f"input_chunk_ms={input_chunk_ms!r} must be 0 to {longest}")
    if wrong:
        raise ValueError("; ".join(wrong))
