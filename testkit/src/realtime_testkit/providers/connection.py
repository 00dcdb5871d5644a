"""One connection, as the provider sees it, whatever carries it."""

import abc
import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from realtime_testkit import protocol
from realtime_testkit.protocol import Command, Event, MalformedFrame, UnsupportedEvent

from .codec import ResponseRequest, TurnDetection
from .handshake import Handshake
from .recording import Recording
from .upkeep import Upkeep
from .waiting import News

if TYPE_CHECKING:
    from .echo_model import EchoModel
    from .provider import Provider

_ALWAYS = (protocol.Pong, protocol.KeepAlive)  # allowed before the configuration

CommandT = TypeVar("CommandT", bound=Command)


class Connection(abc.ABC):
    """One connection, as the provider sees it.

    Attributes:
        number: counted from 1.
        handshake: how it was asked for.
        model, api_key: what the handshake said.
        config: the configuration in force.
        commands: everything the client said, in order.
        frames: the same as it was on the wire, refused frames included.
        sent: every frame sent to the client.
        violations: what a strict provider refuses, and why.
        names: see `codec.Codec`.
        closed: set once the connection is gone.
        close_code: the client's close code; None while open or if the connection broke.
    """

    def __init__(self, provider: "Provider", number: int, handshake: Handshake) -> None:
        self.number = number
        self.handshake = handshake
        self.model = provider.model(handshake) or ""
        self.api_key = provider.key(handshake) or ""
        self.config: protocol.SessionConfig | None = None
        self._recording = Recording(provider.recording_limit)
        self.commands = self._recording.commands
        self.frames = self._recording.frames
        self.sent = self._recording.sent
        self.violations = self._recording.violations
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self._provider = provider
        self._codec = provider.codec()
        self._codec.model = self.model
        self.names = self._codec.names
        self._news = News()
        self._sending = asyncio.Lock()
        self._upkeep = Upkeep(self, provider.limits)
        self._echo: EchoModel | None = None
        if not provider.scripted:
            self._echo = provider.answers_with(self)

    @abc.abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the session as a provider does."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Break the connection, without a goodbye."""

    @abc.abstractmethod
    def freeze(self) -> None:
        """Stop reading and answering, as a provider that hangs does."""

    def thaw(self) -> None:  # noqa: B027
        """Read again, where `freeze` only stopped that."""

    @abc.abstractmethod
    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame to the letter, whatever it is.

        Raises:
            ConnectionError: the client is gone.
        """

    async def send(self, *said: Event) -> None:
        """Say something.

        Raises:
            ConnectionError: the client is gone.
            UnsupportedEvent: this wire has no message for it.
        """
        for event in said:
            if self._provider.delay_s:
                await asyncio.sleep(self._provider.delay_s)
            await self._say(event)

    async def spoken(self) -> None:
        """Wait until the responses that are done were played to the client."""
        return

    def received(self, kind: type[CommandT]) -> list[CommandT]:
        """The commands of a kind so far."""
        return [command for command in self.commands if isinstance(command, kind)]

    def audio(self) -> bytes:
        """All audio received so far."""
        return b"".join(command.data for command in self.received(protocol.AppendAudio))

    async def wait_for(self, kind: type[CommandT], count: int = 1) -> CommandT:
        """Wait for the count-th command of a kind."""
        what = f"{kind.__name__} number {count}"
        await self._news.until(lambda: len(self.received(kind)) >= count, what)
        return self.received(kind)[count - 1]

    async def wait_audio(self, size: int) -> bytes:
        """Wait until that many bytes of audio came; returns all of it."""
        await self._news.until(lambda: len(self.audio()) >= size, f"{size} bytes of audio")
        return self.audio()

    async def say_if_supported(self, event: Event) -> None:
        """Say something of the provider's own accord, where the wire has a message for it."""
        try:
            await self.send(event)
        except UnsupportedEvent:
            return

    @property
    def effective_config(self) -> protocol.SessionConfig:
        """The configuration in force, or the provider's defaults."""
        return self.config or self._codec.defaults or protocol.SessionConfig(self.model)

    @property
    def turn_detection(self) -> TurnDetection | None:
        """How the user's turns are detected."""
        return self._codec.turn_detection(self.effective_config)

    def request(self, command: protocol.CreateResponse) -> ResponseRequest:
        """Read what a response is asked for with."""
        return self._codec.request(command, self.effective_config)

    async def refuse(self, fault: protocol.Fault) -> None:
        """Refuse what the client said last."""
        await self.say_if_supported(replace(fault, event_id=self._codec.cause))

    async def _say(self, event: Event) -> None:
        frames = self._codec.encode(event)
        self._observe("says", event)
        await self._send_frames(frames)

    async def _send_frames(self, frames: list[str | bytes]) -> None:
        rewrite = self._provider.rewrite
        async with self._sending:  # the frames of one event stay together
            for frame in frames:
                for sent in (frame,) if rewrite is None else rewrite(frame):
                    self._recording.said(sent)
                    await self.send_raw(sent)

    def object_to(self, what: str) -> None:
        """Note something that a strict provider does not allow."""
        self._recording.refused(what)

    def _observe(self, direction: Literal["hears", "says"], what: Command | Event | str) -> None:
        if self._provider.observer is not None:
            self._provider.observer(self.number, direction, what)

    async def _greet(self) -> None:
        self._observe("hears", f"a client for {self.model or 'no model'}")
        self._upkeep.start()
        if self._provider.greets:
            await self.say_if_supported(protocol.SessionOpened(f"session_{self.number}"))

    async def _read(self, frame: str | bytes) -> None:
        """React to a frame."""
        self._recording.heard(frame)
        self._upkeep.heard()
        try:
            commands = self._codec.decode(frame)
        except MalformedFrame as error:
            await self._violated(error)
            return
        for command in commands:
            await self._take(command)

    async def _take(self, command: Command) -> None:
        self._recording.took(command)
        self._upkeep.heard(command)
        self._observe("hears", command)
        self._news.tell()
        try:
            if isinstance(command, protocol.Configure):
                if not await self._configure(command):
                    return
            elif self._must_configure and not isinstance(command, _ALWAYS):
                what = f"{type(command).__name__} before the session was configured"
                raise MalformedFrame(what)
            await self._send_frames(self._codec.acknowledge(command))
        except MalformedFrame as error:
            await self._violated(error)
            return
        if self._echo is not None:
            await self._echo.hear(command)

    @property
    def _must_configure(self) -> bool:
        return self.config is None and self._codec.defaults is None

    async def _configure(self, configure: protocol.Configure) -> bool:
        """Take a configuration; returns whether it was taken."""
        provider = self._provider
        self.config = configure.config
        if not provider.greets:
            return False
        if configure.resume is not None and not provider.resumes:
            await self.send(protocol.Fault("session_not_found"))
            return False
        if provider.reject is not None and provider.rejects(configure.config):
            self.config = configure.previous or self.config
            self._codec.take_back()
            await self.send(protocol.Fault(provider.reject, event_id=self._codec.cause))
            return False
        if configure.previous is None:
            await self._held_back()
        if provider.acknowledges:
            await self.say_if_supported(self._accepted(configure.config))
        return True

    def _accepted(self, config: protocol.SessionConfig) -> protocol.SessionAccepted:
        return protocol.SessionAccepted(output_rate=config.output_rate)

    async def _held_back(self) -> None:
        """Wait until the provider accepts, or the client hung up."""
        accepts = asyncio.create_task(self._provider.accepts.wait())
        gone = asyncio.create_task(self._wait_gone())
        await asyncio.wait((accepts, gone), return_when=asyncio.FIRST_COMPLETED)
        accepts.cancel()
        gone.cancel()

    @abc.abstractmethod
    async def _wait_gone(self) -> None:
        """Wait until the client is gone."""

    async def _violated(self, error: MalformedFrame) -> None:
        self._observe("hears", f"a message that it refuses: {error}")
        self.object_to(str(error))
        await self.say_if_supported(error.fault)

    async def _end(self, close_code: int | None) -> None:
        await self._upkeep.stop()
        if self._echo is not None:
            await self._echo.hush()
        self._observe("hears", "the end of the connection")
        self.close_code = close_code
        self.closed.set()
        self._news.tell()
