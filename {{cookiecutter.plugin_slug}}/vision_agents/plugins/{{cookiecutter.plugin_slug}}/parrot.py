"""What the embedded provider says of itself: it says back what it heard.

Knows neither sockets nor the provider's words. Not edited for a provider.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Protocol

import av.filter
import msgspec
from getstream.video.rtc.track_util import FrameResampler, PcmData

from . import events

VOICE_PEAK = 600
"""A piece of audio with a sample beyond this (of 32768) counts as voice."""

VOICE_MS = 40.0
"""This much voice starts a turn."""

SILENCE_MS = 400.0
"""This much silence ends it."""

PIECE_MS = 100
"""How much audio goes into one delta."""

Transcriber = Callable[[float], str]

logger = logging.getLogger(__name__)


class Line(Protocol):
    """The connection a parrot sits on."""

    config: events.SessionConfig | None

    async def send(self, *said: events.Event) -> None:
        """Say something.

        Raises:
            ConnectionError: nobody listens any more.
        """


class Parrot:
    """Hears, repeats, obeys.

    Args:
        line: what it says goes out here.
        transcribe: what it understands, given the seconds of speech it heard.
        pace: speed of its speech, 1.0 for real time; 0 says everything at once.
        holds: cleared, the last piece of each response is kept back.
    """

    def __init__(
        self, line: Line, transcribe: Transcriber, pace: float, holds: asyncio.Event
    ) -> None:
        self._line = line
        self._transcribe = transcribe
        self._pace = pace
        self._holds = holds
        self._numbers = itertools.count(1)
        self._said: list[tuple[str, str]] = []
        self._calls: dict[str, str] = {}
        self._heard = bytearray()
        self._voice_ms = self._silence_ms = 0.0
        self._item_id: str | None = None  # of the turn the user is in
        self._answer: asyncio.Task[None] | None = None
        self._answer_id = ""

    async def hear(self, command: events.Command) -> None:
        """React to a command as a provider does."""
        match command:
            case events.AppendAudio(data):
                self._heard += data
                if self._config.turn_detection is not False:
                    await self._listen(data)
            case events.CommitAudio():
                await self._end_turn()
            case events.ClearAudio():
                self._heard.clear()
            case events.AddMessage(role, text):
                self._said.append((role, text))
            case events.AddToolResult(call_id, _, output):
                self._said.append(("tool", f"{self._calls.get(call_id, 'the tool')} says {output}"))
            case events.CreateResponse(request_id):
                if self._answer is not None and not self._answer.done():
                    code = "conversation_already_has_active_response"
                    await self._line.send(events.Fault(code, request_id))
                    return
                last_role, asked = self._said[-1] if self._said else ("system", "Hello")
                answer = f"You said: {asked}" if last_role == "user" else asked
                self._start(answer, request_id, asked)
            case events.CancelResponse(response_id):
                if self._answer is None or response_id not in (None, self._answer_id):
                    code = "response_cancel_not_active"
                    await self._line.send(events.Fault(code, harmless=True))
                    return
                await self._cancel("client_cancelled")

    async def hush(self) -> None:
        """Stop talking, without a word."""
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.cancel()
            await asyncio.wait([answer])

    @property
    def _config(self) -> events.SessionConfig:
        return self._line.config or events.SessionConfig("")

    async def _listen(self, data: bytes) -> None:
        """Energy turn detection, in the time of the audio itself."""
        samples = memoryview(data).cast("h")
        piece_ms = len(samples) / self._config.input_rate * 1000
        if max(max(samples), -min(samples)) > VOICE_PEAK:
            self._voice_ms += piece_ms
            self._silence_ms = 0.0
        else:
            self._silence_ms += piece_ms
            if self._item_id is None:
                self._voice_ms = 0.0
        if self._item_id is None and self._voice_ms >= VOICE_MS:
            self._item_id = f"item_user_{next(self._numbers)}"
            # Keep a little of what came before: speech starts softly.
            del self._heard[: -len(data) - self._config.input_rate // 10 * 2]
            await self._line.send(events.UserSpeechStarted(self._item_id))
            await self._cancel("turn_detected")
        elif self._item_id is not None and self._silence_ms >= SILENCE_MS:
            await self._line.send(events.UserSpeechStopped(self._item_id))
            await self._end_turn()

    async def _end_turn(self) -> None:
        item_id = self._item_id or f"item_user_{next(self._numbers)}"
        audio, self._heard = bytes(self._heard), bytearray()
        detected, self._item_id = self._item_id is not None, None
        self._voice_ms = self._silence_ms = 0.0
        heard_s = len(audio) / 2 / self._config.input_rate
        text = self._transcribe(heard_s)
        self._said.append(("user", text))
        await self._line.send(events.AudioCommitted(item_id))
        if self._config.transcription:
            for piece in _words(text):
                await self._line.send(events.UserTranscript(piece, False, item_id))
            await self._line.send(events.UserTranscript(text, True, item_id))
        if detected:
            self._start(f"You said: {text}", None, text, audio)

    def _start(self, text: str, request_id: str | None, asked: str, audio: bytes = b"") -> None:
        self._answer_id = f"response_{next(self._numbers)}"
        self._answer = asyncio.create_task(self._respond(text, request_id, asked, audio))

    async def _cancel(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            await self.hush()
            done = events.ResponseDone(self._answer_id, "cancelled", code=why)
            await self._line.send(done)

    async def _respond(self, text: str, request_id: str | None, asked: str, audio: bytes) -> None:
        response_id, item_id = self._answer_id, f"item_{next(self._numbers)}"
        send = self._line.send
        try:
            await send(events.ResponseStarted(response_id, request_id))
            called = next((t for t in self._config.tools if t.name in asked), None)
            if called is not None and self._config.tool_choice != "none" and self._may_call():
                call_id = f"call_{next(self._numbers)}"
                self._calls[call_id] = called.name
                arguments = msgspec.json.encode(_arguments(called, asked)).decode()
                await send(events.ToolCall(response_id, call_id, called.name, arguments))
            elif self._config.modalities == "text":
                await self._write(response_id, item_id, text)
            else:
                await self._speak(response_id, item_id, text, audio)
            self._said.append(("assistant", text))
            usage = events.Usage(len(asked.split()), len(text.split()), len((asked + text).split()))
            await send(events.ResponseDone(response_id, "completed", usage))
        except ConnectionError:
            logger.debug("Nobody listens to %s any more", response_id)
        finally:
            if self._answer is asyncio.current_task():
                self._answer = None

    def _may_call(self) -> bool:
        """A tool's own result is no reason to call it again."""
        return not self._said or self._said[-1][0] != "tool"

    async def _write(self, response_id: str, item_id: str, text: str) -> None:
        *pieces, last = _words(text)
        for piece in pieces:
            await self._line.send(events.TextDelta(response_id, piece, False, item_id))
        await self._holds.wait()
        await self._line.send(
            events.TextDelta(response_id, last, False, item_id),
            events.TextDone(response_id, text, False, item_id),
        )

    async def _speak(self, response_id: str, item_id: str, text: str, audio: bytes) -> None:
        rate = self._config.output_rate
        speech = _resampled(audio, self._config.input_rate, rate) if audio else _chirp(text, rate)
        size = rate * PIECE_MS // 1000 * 2
        sound = [speech[start : start + size] for start in range(0, len(speech), size)]
        words = _words(text)
        said = 0
        for index, piece in enumerate(sound, start=1):
            if index == len(sound):
                await self._holds.wait()
            due = -(-len(words) * index // len(sound))  # words keep step with the sound
            if due > said:
                spoken = "".join(words[said:due])
                said = due
                await self._line.send(events.TextDelta(response_id, spoken, True, item_id))
            await self._line.send(events.AudioDelta(response_id, piece, item_id))
            await asyncio.sleep(PIECE_MS / 1000 / self._pace if self._pace else 0)
        await self._line.send(events.TextDone(response_id, text, True, item_id))


def _words(text: str) -> list[str]:
    """A text in pieces that join to it."""
    words = text.split(" ")
    return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def _arguments(tool: events.Tool, text: str) -> dict[str, object]:
    """Arguments for a tool: the JSON object in the text, or something of each type."""
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        return msgspec.json.decode(text[start : end + 1], type=dict[str, object])
    examples = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    schema = msgspec.convert(tool.parameters, _Schema)
    last_word = text.split()[-1].strip("?!.,")
    return {name: examples.get(schema.properties[name].type, last_word) for name in schema.required}


class _Property(msgspec.Struct):
    type: str = "string"


class _Schema(msgspec.Struct):
    properties: dict[str, _Property] = {}
    required: list[str] = []


def _resampled(audio: bytes, rate: int, to_rate: int) -> bytes:
    if rate == to_rate:
        return audio
    frames = FrameResampler(to_rate, "mono", "s16", 0).resample(
        PcmData.from_bytes(audio, rate), flush=True
    )
    return b"".join(PcmData.from_av_frame(frame).to_bytes() for frame in frames)


def _chirp(text: str, rate: int) -> bytes:
    """What a parrot sounds like that has nothing to repeat: a chirp a word."""
    graph = av.filter.Graph()
    wave = "0.3*sin(2*PI*(500+80*sin(2*PI*4*t))*t)*lt(mod(t\\,0.25)\\,0.18)"
    source = graph.add(
        "aevalsrc", f"exprs={wave}:sample_rate={rate}:duration={len(text.split()) / 4}"
    )
    shape = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
    sink = graph.add("abuffersink")
    source.link_to(shape)
    shape.link_to(sink)
    graph.configure()
    pieces: list[bytes] = []
    while True:
        try:
            frame = sink.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return b"".join(pieces)
        if isinstance(frame, av.AudioFrame):
            pieces.append(PcmData.from_av_frame(frame).to_bytes())
