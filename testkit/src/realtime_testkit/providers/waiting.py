"""Waiting for something that others bring about."""

import asyncio
from collections.abc import Callable

WAIT_S = 5.0
"""How long to wait before TimeoutError is raised."""


class News:
    """Tells those who wait that something may have changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Have those who wait look again."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not within `WAIT_S`; the message names ``what``.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no {what} within {WAIT_S:g} s") from None
