"""Keeps one session open: opens it, has it read, and opens the next when it is lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from vision_agents.core.utils.exceptions import log_task_exception

from .errors import SessionError
from .session import Session
from .session_types import SessionConfig, Traits

HEALTHY_S = 30.0
"""A session that lived this long, or completed a response, starts the backoff anew."""

MAX_RETRY_AFTER_S = 60.0
"""A provider that asks for a longer wait gets this one."""

CANCEL_S = 0.1
"""How long cancelled tasks may take to end."""

logger = logging.getLogger(__name__)


class RealtimeClient(Protocol):
    """Opens sessions; what a caller may pass as ``client=``."""

    traits: Traits

    async def connect(
        self, config: SessionConfig, resume: str | None = None
    ) -> Session:
        """Open a session; returns once the provider accepted the configuration.

        Args:
            config: what to configure it with.
            resume: handle of a lost session to continue; where the provider will not,
                a new one is opened.

        Raises:
            SessionError: it was refused, or not answered in time.
        """

    def reconnect_delays(self) -> Iterator[float]:
        """Seconds to wait before each attempt to reconnect; ends where to give up."""


class Connection:
    """One session after another, never two at once.

    Args:
        client: says how long to wait before each attempt to reconnect.
        open_session: opens and configures a session.
        read_session: reads a session to its end.
        opened: called with each session that is open.
        lost: called when one ended: with the error, or None after a clean end.
        failed: called with the error that ends the reconnecting, or the session for good.
        wait_s: bound on waiting for a reconnect.
    """

    def __init__(
        self,
        client: RealtimeClient,
        *,
        open_session: Callable[[], Awaitable[Session]],
        read_session: Callable[[Session], Awaitable[None]],
        opened: Callable[[Session], None],
        lost: Callable[[SessionError | None], None],
        failed: Callable[[SessionError, str], None],
        wait_s: float,
    ) -> None:
        self.session: Session | None = None
        self._client = client
        self._open_session = open_session
        self._read_session = read_session
        self._opened = opened
        self._lost = lost
        self._failed = failed
        self._wait_s = wait_s
        self._lock = asyncio.Lock()
        self._opening: asyncio.Task[Session] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ending = False  # it closes a session after which there is none
        self._changed = asyncio.Event()
        self._error: SessionError | None = None
        self._delays: Iterator[float] = iter(())
        self._opened_at = 0.0

    async def connect(self) -> None:
        """Open a session; does nothing while one is open, and waits for a reconnect or an end.

        Raises:
            SessionError: the provider cannot be reached, refused or did not answer.
        """
        reader = self._reader
        if reader is not None and self._ending:
            await asyncio.wait([reader])  # it closes a session that ended for good
        elif reader is not None and not reader.done():
            await self.ready()
            return
        async with self._lock:
            if self._reader is not None and not self._reader.done():
                return
            self._opening = asyncio.create_task(self._open())
            try:
                session = await self._opening
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    self._opening.add_done_callback(_abort_opened)
                    self._opening.cancel()
                    raise
                raise SessionError("closed while connecting") from None
            except SessionError as error:
                self._failed(error, "connect")
                raise
            finally:
                self._opening = None
            self.healthy()
            self._up(session)
            self._reader = asyncio.create_task(self._run(session))
            self._reader.add_done_callback(log_task_exception("The reader failed"))

    async def close(self, before: Callable[[], Awaitable[None]]) -> None:
        """Close the session and stop reconnecting; safe to call at any time.

        Args:
            before: awaited first, while nobody can connect.
        """
        if self._opening is not None:
            self._opening.cancel()
        async with self._lock:
            try:
                await before()
            finally:
                reader, self._reader = self._reader, None
                session, self.session = self.session, None
                self._error = None
                self._signal()
                try:
                    if reader is not None:
                        await stop([reader])
                finally:
                    if session is not None:
                        await session.close()

    @property
    def recovering(self) -> bool:
        """A session was lost, and the next is being opened."""
        reading = self._reader is not None and not self._reader.done()
        return self.session is None and reading and not self._ending

    async def ready(self) -> Session:
        """Wait for a reconnect under way; returns the open session.

        Raises:
            SessionError: there is none.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                while self.recovering:
                    await self._changed.wait()
        except TimeoutError:
            raise SessionError("the connection is lost", temporary=True) from None
        if self.session is None:
            raise self._error or SessionError(
                "there is no session: await connect() first"
            )
        return self.session

    def healthy(self) -> None:
        """Start the backoff anew."""
        self._delays = self._client.reconnect_delays()

    async def _open(self) -> Session:
        session = await self._open_session()
        self._opened_at = time.perf_counter()
        return session

    def _up(self, session: Session) -> None:
        self.session, self._error, self._ending = session, None, False
        self._opened(session)
        self._signal()

    def _signal(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self, session: Session) -> None:
        """Read one session after another until there is none to open."""
        while True:
            ended = await self._read(session)
            self.session, self._error = (
                None,
                ended or SessionError("the provider ended the session"),
            )
            self._ending = ended is None or not ended.temporary
            self._lost(ended)
            await session.close()
            following: Session | None = None
            if ended is not None and ended.temporary:
                following = await self._reconnect(ended)
            elif ended is not None:
                self._failed(ended, "connection")
            if following is None:
                # The reader is not done yet, but nobody has to wait for it any longer.
                self._reader = None
                self._signal()
                return
            session = following
            self._up(session)

    async def _read(self, session: Session) -> SessionError | None:
        try:
            await self._read_session(session)
        except SessionError as error:
            return error
        except Exception as error:
            # A fault of the plugin or its codec: report it, and do not stay half connected.
            logger.exception("Failed to read the session")
            return SessionError(f"the session cannot be read ({type(error).__name__})")
        return None

    async def _reconnect(self, lost: SessionError) -> Session | None:
        if time.perf_counter() - self._opened_at > HEALTHY_S:
            self.healthy()
        for delay in self._delays:
            delay = max(delay, min(lost.retry_after_s, MAX_RETRY_AFTER_S))
            logger.info("Reconnecting in %.2f s: %s", delay, lost)
            await asyncio.sleep(delay)
            try:
                return await self._open()
            except SessionError as error:
                lost = self._error = error
            except Exception as error:
                # A caller's client may raise anything; the reader must not die of it.
                logger.exception("Failed to reconnect")
                lost = self._error = SessionError(
                    f"cannot reconnect ({type(error).__name__})"
                )
            if not lost.temporary:
                break
        self._failed(lost, "reconnect")
        return None


def _abort_opened(opening: asyncio.Task[Session]) -> None:
    """Drop a session that was opened for nobody."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().abort()


async def stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them, not longer than a moment."""
    current = asyncio.current_task()
    running = [task for task in tasks if task is not current and not task.done()]
    for task in running:
        task.cancel()
    if running:
        _, stuck = await asyncio.wait(running, timeout=CANCEL_S)
        if stuck:
            logger.warning("%d tasks did not end when cancelled", len(stuck))
