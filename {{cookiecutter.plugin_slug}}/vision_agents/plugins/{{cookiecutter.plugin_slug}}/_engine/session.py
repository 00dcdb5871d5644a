"""One session with the provider: commands go in, events come out."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from msgspec import structs

from .errors import (
    MalformedFrame,
    SessionEnd,
    SessionError,
    TransportFailure,
    printable,
)
from .protocols import Classify, Codec, Frame, Transport
from .session_events import (
    Event,
    Fault,
    Malformed,
    Ping,
    ResponseDone,
    SessionAccepted,
    SessionOpened,
    ToolCall,
    UserTranscriptFailed,
)
from .session_types import (
    AppendAudio,
    Command,
    Configure,
    KeepAlive,
    Pong,
    SessionConfig,
    SessionSettings,
    Traits,
)

MAX_AUDIO_BYTES = 64 * 1024
"""Longer audio goes out in several frames, which keeps each below providers' limits."""

MAX_EARLY_BYTES = 4 * 1024 * 1024
"""What a provider may send before it accepted the session."""

MAX_EARLY = 1000
"""The same, counted in events."""

CONFIGURATION = "configure"
"""The update_id of the first configuration."""

WARNING_S = 1.0
"""How long after an error that names no request a configuration may still be accepted."""

logger = logging.getLogger(__name__)


class Session:
    """One connection from its configuration to its end.

    Args:
        transport: carries the frames.
        codec: the provider's messages.
        traits: how the provider behaves.
        classify: judges a closed connection or a reported error; see client.py.
        send_timeout_s: bound on one send to a provider that stopped reading.
        secrets: removed from what the provider calls things.

    Attributes:
        settings: the formats and the behaviour in force.
        resumed: the provider continued a lost session and knows what was said.
    """

    settings: SessionSettings

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        traits: Traits,
        classify: Classify,
        *,
        send_timeout_s: float,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.resumed = False
        self._transport = transport
        self._codec = codec
        self._traits = traits
        self._classify = classify
        self._send_timeout_s = send_timeout_s
        self._secrets = secrets
        self._sending = asyncio.Lock()
        self._early: deque[Event] = deque()
        self._early_bytes = 0
        self._warned_at = 0.0
        self._greeting = SessionOpened()
        self._updates: dict[str, asyncio.Future[SessionError | None]] = {}
        self._numbers = itertools.count(1)
        self._sent_at = 0.0
        self._keeping: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close the connection; a provider that does not answer is cut off."""
        self._end()
        await self._transport.close()

    async def configure(
        self, config: SessionConfig, resume: str | None = None, *, deadline: float
    ) -> None:
        """Configure the session and wait until the provider accepted that.

        Args:
            config: what to configure it with.
            resume: handle of a lost session to continue.
            deadline: in the loop's time.

        Raises:
            SessionError: it was refused, or the connection was lost.
        """
        self.settings = self._codec.settings(config)
        while self._traits.greets_first and not self._received(SessionOpened):
            await self._receive_early(deadline)
        refusal = ""
        try:
            await self.send(Configure(config, update_id=CONFIGURATION, resume=resume))
        except ValueError as error:
            refusal = type(error).__name__  # its text may hold the instructions
        if refusal:
            raise SessionError(f"the configuration cannot be encoded ({refusal})")
        while self._traits.acknowledges and not self._received(SessionAccepted):
            if self._received(Fault):
                deadline = min(deadline, self._warned_at + WARNING_S)
            await self._receive_early(deadline)
        self.resumed = resume is not None
        if self._traits.keep_alive_s is not None:
            self._keeping = asyncio.create_task(
                self._keep_alive(self._traits.keep_alive_s)
            )

    async def update(self, config: SessionConfig, previous: SessionConfig) -> None:
        """Change the session and wait until the provider accepted that.

        Not to be awaited by the task that reads `events`.

        Raises:
            SessionError: it was refused, or the connection is lost.
            TimeoutError: it was not answered in time.
        """
        if not self._traits.updatable:
            logger.info("This session cannot be changed: the next one will be")
            return
        update_id = f"update_{next(self._numbers)}"
        answer: asyncio.Future[SessionError | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._updates[update_id] = answer
        try:
            await self.send(Configure(config, previous, update_id))
            if not self._traits.acknowledges_updates:
                self._follow(self._codec.settings(config))
                return
            async with asyncio.timeout(self._send_timeout_s):
                refusal = await answer
        except ValueError as error:
            refusal = SessionError(f"the change cannot be sent: {error}")
        finally:
            self._updates.pop(update_id, None)
        if refusal is not None:
            raise refusal

    async def send(self, *commands: Command) -> None:
        """Send commands in order, with nothing in between.

        Raises:
            SessionError: the connection is lost, or the provider stopped reading.
            ValueError: a command cannot be encoded.
        """
        try:
            frames = [frame for command in commands for frame in self._encode(command)]
        except ValueError:
            raise
        except Exception as error:
            # The codec is the author's: whatever it raises, the caller is told.
            raise ValueError(
                f"the provider's messages cannot hold this: {error}"
            ) from error
        await self._send(frames)

    async def send_audio(self, data: bytes) -> None:
        """Send audio in the input format; see `send`."""
        for start in range(0, len(data), MAX_AUDIO_BYTES):
            append = AppendAudio(data[start : start + MAX_AUDIO_BYTES])
            for frame in self._codec.encode(append):
                # Where nothing waits, neither a lock nor a timer: that takes half the time.
                if self._sending.locked() or not self._transport.send_nowait(frame):
                    await self._send([frame])
        self._sent_at = asyncio.get_running_loop().time()

    async def events(self) -> AsyncIterator[Event]:
        """Yield what the provider sends until it ends the session.

        Raises:
            SessionError: the connection was lost, or a fatal error was reported.
        """
        while self._early:
            yield self._early.popleft()
        while True:
            try:
                received = await self._receive()
            except SessionEnd:
                return
            for event in received:
                yield event

    def abort(self) -> None:
        """Drop the connection at once."""
        self._end()
        self._transport.abort()

    def _encode(self, command: Command) -> Sequence[Frame]:
        return self._codec.encode(command)

    async def _send(self, frames: Sequence[Frame]) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s), self._sending:
                for frame in frames:
                    await self._transport.send(frame)
            self._sent_at = asyncio.get_running_loop().time()
            return
        except TransportFailure:
            reason = "the connection is lost"
        except TimeoutError:
            self.abort()
            reason = "the provider stopped reading"
        raise SessionError(reason, temporary=True)

    def _end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        for answer in self._updates.values():
            if not answer.done():
                answer.set_result(
                    SessionError("the connection is lost", temporary=True)
                )

    def _received(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self._early)

    def _refusal(self) -> SessionError:
        codes = [event.code for event in self._early if isinstance(event, Fault)]
        if not codes:
            return SessionError("the provider did not answer in time", temporary=True)
        return SessionError(
            f"the provider refused the session ({codes[0]})", code=codes[0]
        )

    async def _receive_early(self, deadline: float) -> None:
        """Keep what comes before the session is accepted.

        Raises:
            SessionError: the provider refused the session, or did not answer in time.
        """
        try:
            async with asyncio.timeout_at(deadline):
                received = await self._receive()
        except TimeoutError:
            raise self._refusal() from None
        for event in received:
            accepted = self._received(SessionAccepted)
            if isinstance(event, Fault) and event.harmless and not accepted:
                continue
            self._early.append(event)
            if isinstance(event, Fault) and not accepted:
                self._warned_at = asyncio.get_running_loop().time()
                error = self._classify(event.code, "", configuring=True)
                if error is not None or event.request_id == CONFIGURATION:
                    raise error or self._refusal()
        if len(self._early) > MAX_EARLY or self._early_bytes > MAX_EARLY_BYTES:
            raise SessionError(
                "the provider sent too much before it accepted the session"
            )

    async def _receive(self) -> list[Event]:
        failure: TransportFailure | None = None
        try:
            frame = await self._transport.receive()
        except TransportFailure as ended:
            failure = ended
        if failure is not None:
            raise self._lost(failure)
        return await self._read(frame)

    def _lost(self, failure: TransportFailure) -> SessionError:
        self._end()
        lost = self._classify(failure.code, failure.reason)
        return lost or SessionError("the connection is lost", temporary=True)

    async def _read(self, frame: Frame) -> list[Event]:
        self._early_bytes += len(frame)
        try:
            received = self._codec.decode(frame)
        except MalformedFrame as malformed:
            return [Malformed(printable(str(malformed), self._secrets))]
        admitted: list[Event] = []
        for event in received:
            if isinstance(event, Ping):
                await self.send(Pong(event.token))
            elif (each := self._admit(event)) is not None:
                admitted.append(each)
        return admitted

    def _admit(self, event: Event) -> Event | None:
        """Take in what concerns the session itself; returns what concerns the conversation."""
        match event:
            case SessionOpened():
                self._greeting = event
                self._follow(self.settings)
            case SessionAccepted(settings, update_id):
                self._follow(settings or self.settings)
                self._settle(update_id, None)
            case Fault(code, request_id):
                event = structs.replace(event, code=printable(code, self._secrets))
                if request_id in self._updates:
                    refusal = SessionError(
                        f"the change was refused ({event.code})", code=event.code
                    )
                    self._settle(request_id, refusal)
                    return None
                ended = self._classify(event.code, "")
                if ended is not None and not event.harmless:
                    raise ended
            case ToolCall(name=name):
                event = structs.replace(event, name=printable(name, self._secrets))
            case ResponseDone(code=str(code)) | UserTranscriptFailed(code=str(code)):
                event = structs.replace(event, code=printable(code, self._secrets))
        return event

    def _follow(self, settings: SessionSettings) -> None:
        """Take settings for those in force, but for formats that the provider dictates."""
        given, taken = self._greeting.output, self._greeting.input
        self.settings = replace(
            settings, input=taken or settings.input, output=given or settings.output
        )

    def _settle(self, update_id: str | None, refusal: SessionError | None) -> None:
        pending = update_id if update_id is not None else next(iter(self._updates), "")
        answer = self._updates.get(pending)
        if answer is not None and not answer.done():
            answer.set_result(refusal)

    async def _keep_alive(self, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(max(0.0, self._sent_at + every_s - loop.time()))
                if loop.time() >= self._sent_at + every_s:
                    await self.send(KeepAlive())
        except SessionError as error:
            logger.debug("No keep-alive was sent: %s", error)
