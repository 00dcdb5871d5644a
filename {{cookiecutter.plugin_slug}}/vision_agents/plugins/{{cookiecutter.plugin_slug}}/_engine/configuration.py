"""What a session is asked to be, and what the open one acknowledged."""

import asyncio
from collections.abc import Callable

from .errors import SessionError
from .session import Session
from .session_types import SessionConfig


class Configuration:
    """The settings that are wanted, and those in force.

    Attributes:
        asked: what the caller asked for.

    Args:
        wanted: what the first session is asked for.
        refresh: adds the instructions and tools of the moment to a configuration.
    """

    def __init__(
        self, wanted: SessionConfig, refresh: Callable[[SessionConfig], SessionConfig]
    ) -> None:
        self.asked = wanted
        self._refresh = refresh
        self._acknowledged: SessionConfig | None = None
        self._refused: SessionConfig | None = None
        self._updating = asyncio.Lock()

    @property
    def wanted(self) -> SessionConfig:
        """What the next session is asked for; nothing that was refused."""
        wanted = self._refresh(self.asked)
        if wanted == self._refused and self._acknowledged is not None:
            return self._acknowledged
        return wanted

    def acknowledged(self, config: SessionConfig) -> None:
        """Note that a session is open with this configuration."""
        self._acknowledged = config

    async def change(self, config: SessionConfig, session: Session | None) -> None:
        """Change the settings, for the open session and for later ones.

        Raises:
            SessionError: the provider refused; the settings are what they were.
        """
        before, self.asked = self.asked, config
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
                except SessionError as error:
                    if not error.temporary:
                        self._refused = config
                    raise
                self._acknowledged = config
