"""What a session is asked to be, and what the open one acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import SessionError
from .session import Session
from .session_types import SessionConfig, Tool

MAX_INPUT_CHUNK_MS = 200
"""Larger chunks of input audio save no more CPU time, and the agent hears late."""


@dataclass(frozen=True)
class Wanted:
    """A configuration as it is sent, and what the caller asked for in it."""

    config: SessionConfig
    asked: SessionConfig


class Configuration:
    """The settings that are wanted, and those in force.

    Attributes:
        asked: what the caller asked for.

    Args:
        asked: what the caller asked for at first.
        refresh: adds the instructions and tools of the moment to a configuration.
        restore: takes back instructions that were refused; given what is in force.
    """

    def __init__(
        self,
        asked: SessionConfig,
        refresh: Callable[[SessionConfig], SessionConfig],
        restore: Callable[[SessionConfig], None],
    ) -> None:
        self.asked = asked
        self._refresh = refresh
        self._restore = restore
        self._in_force: Wanted | None = None
        self._refused_tools: tuple[Tool, ...] | None = None
        self._updating = asyncio.Lock()

    @property
    def wanted(self) -> Wanted:
        """What the next session is asked for; no tools that were refused."""
        config = self._refresh(self.asked)
        if config.tools == self._refused_tools and self._in_force is not None:
            config = replace(config, tools=self._in_force.config.tools)
        return Wanted(config, self.asked)

    def acknowledged(self, wanted: Wanted) -> None:
        """Note that a session is open with this configuration."""
        self._in_force = wanted

    def take_back(self) -> bool:
        """Want what was last in force; returns whether that is something else."""
        refused, known = self.wanted, self._in_force
        if known is None or refused.config == known.config:
            return False
        self._refused(refused, known)
        return True

    async def change(
        self,
        changed: Callable[[SessionConfig], SessionConfig],
        session: Session | None,
    ) -> None:
        """Change settings, for the open session and for later ones.

        Raises:
            SessionError: the provider refused; the settings are what they were.
        """
        self.asked = changed(self.asked)
        if session is not None:
            await self.sync(session)

    async def sync(self, session: Session) -> None:
        """Tell the open session what it does not know.

        Raises:
            SessionError: the provider refused, or the session is lost.
        """
        async with self._updating:
            while (known := self._in_force) is not None:
                wanted = self.wanted
                if wanted.config == known.config:
                    return
                try:
                    await session.update(wanted.config, known.config)
                except TimeoutError:
                    # It may be in force or not: what is wanted instead is sent again.
                    self._in_force = Wanted(wanted.config, known.asked)
                    self._take_back(wanted, known)
                    silent = "the provider did not acknowledge the change"
                    raise SessionError(silent) from None
                except SessionError as error:
                    if not error.temporary:
                        self._refused(wanted, known)
                    raise
                self._in_force = wanted

    def _refused(self, refused: Wanted, known: Wanted) -> None:
        if refused.config.tools != known.config.tools:
            self._refused_tools = refused.config.tools
        self._take_back(refused, known)

    def _take_back(self, refused: Wanted, known: Wanted) -> None:
        self.asked = known.asked
        if self._refresh(self.asked).instructions == refused.config.instructions:
            self._restore(known.config)


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
