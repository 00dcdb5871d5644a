"""Ears, eyes and voices for the contract tests."""

import asyncio
import tomllib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
import pytest
from getstream.video.rtc.track_util import PcmData
from numpy.typing import NDArray
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeConnectedEvent,
    RealtimeDisconnectedEvent,
    ToolEndEvent,
    ToolStartEvent,
)
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentSpeechStarted,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
    RealtimeUserTranscript,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .watch import Watch

WAIT_S = 5.0
"""How long to wait for what has to come."""

API_KEY = "{{ cookiecutter.__env_prefix }}_API_KEY"
BASE_URL = "{{ cookiecutter.__env_prefix }}_BASE_URL"
"""Variables of the environment: the author's key, and where the provider is if elsewhere."""

KEY = "key-3f9a-never-to-be-shown"
INSTRUCTIONS = "You are a canary in a test."
ALICE = Participant(None, "alice", "participant-alice")
BOB = Participant(None, "bob", "participant-bob")

PEAK = 16000
"""Of the tones, of 32768."""

FENCE = "contract_fence"
"""Code of the error frame that tells "everything before was handled"."""

Samples = transit.Samples
ItemT = TypeVar("ItemT")
KindT = TypeVar("KindT")


@dataclass(frozen=True)
class Facts:
    """The provider, as contract.toml describes it.

    A fact that comes in later needs a default: pages written before it stay as they are.
    """

    wire: str
    input_rate: int
    output_rate: int
    text: bool
    tools: bool
    video: bool
    turn_detection: bool
    transcription: bool
    history: bool
    manual_turns: bool
    truncation: bool
    cancellation: bool
    resumes: bool
    cancels_tool_calls: bool
    expired_reason: str
    fatal_reason: str
    ids: bool
    speech_events: bool
    usage: bool
    control_markers: list[str]
    server_tools: list[str]
    turn_detection_settings: dict[str, object]
    response_options: dict[str, object]
    session_options: dict[str, object]
    announced_rate: int
    announced_rate_options: dict[str, object]
    unknown_frame: str
    required_fields: list[str]
    fatal_code: str

    @classmethod
    def load(cls, page: Path) -> "Facts":
        """Read them.

        Raises:
            TypeError: one is missing, or there is one too many.
        """
        return cls(**tomllib.loads(page.read_text(encoding="utf-8"))["provider"])

    def need(self, *names: str) -> None:
        """Skip the test where the provider lacks something."""
        missing = [name for name in names if not self.__dict__[name]]
        if missing:
            pytest.skip(f"contract.toml: {', '.join(missing)} = false")


class Growing(Generic[ItemT]):
    """A list that grows, and can be waited for."""

    def __init__(self) -> None:
        self.items: list[ItemT] = []
        self._grown = asyncio.Event()

    def of(self, kind: type[KindT]) -> list[KindT]:
        """The items of a kind so far."""
        return [item for item in self.items if isinstance(item, kind)]

    async def until(
        self, condition: Callable[[], bool], what: str, within_s: float = WAIT_S
    ) -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await self._grown.wait()
        except TimeoutError:
            came = ", ".join(_brief(item) for item in self.items[-20:]) or "nothing"
            raise AssertionError(f"no {what} within {within_s:g} s; came: {came}") from None

    async def first(self, kind: type[KindT], count: int = 1) -> KindT:
        """Wait for the count-th item of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count, f"{kind.__name__} number {count}")
        return self.of(kind)[count - 1]

    def add(self, item: ItemT) -> None:
        """One more."""
        self.items.append(item)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


class Ear(Growing[object]):
    """Reads `llm.output` as it comes, like the agent's flow.

    Args:
        provider: says which response is which, where the wire carries no ids; None
            for the real one.
        answers: answer `Done(interrupted=True)` with `interrupt()`, as the flow does.
    """

    def __init__(
        self, llm: Realtime, provider: loopback.Provider | None, *, answers: bool = False
    ) -> None:
        super().__init__()
        self._llm = llm
        self._provider = provider
        self._answers = answers
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop to listen."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def done(self, response_id: str) -> RealtimeAudioOutputDone:
        """Wait for the end of a response."""
        await self.until(lambda: bool(self.dones(response_id)), f"Done of {response_id}")
        return self.dones(response_id)[0]

    def dones(self, response_id: str | None = None) -> list[RealtimeAudioOutputDone]:
        """The ends heard so far."""
        all_of_them = self.of(RealtimeAudioOutputDone)
        return [each for each in all_of_them if response_id in (None, each.response_id)]

    def chunks(self, response_id: str | None = None) -> list[PcmData]:
        """The pieces of speech heard so far."""
        pieces = self.of(RealtimeAudioOutput)
        return [each.data for each in pieces if response_id in (None, each.response_id)]

    def speech(self, response_id: str | None = None) -> bytes:
        """The speech heard so far, as packed samples."""
        assert self._provider is not None  # only it knows which is which
        return transit.speech(self.items, self._provider, response_id)

    def user_said(self) -> list[RealtimeUserTranscript]:
        """Transcripts of the user so far."""
        return self.of(RealtimeUserTranscript)

    def agent_said(self) -> list[RealtimeAgentTranscript]:
        """Transcripts of the agent so far."""
        return self.of(RealtimeAgentTranscript)

    async def _listen(self) -> None:
        async for item in self._llm.output:
            self.add(self._as_said(item))
            if self._answers and isinstance(item, RealtimeAudioOutputDone) and item.interrupted:
                await self._llm.interrupt()

    def _as_said(self, item: object) -> object:
        if self._provider is None:
            return item
        match item:
            case (
                RealtimeAudioOutput(response_id=str(response_id))
                | RealtimeAudioOutputDone(response_id=str(response_id))
                | RealtimeAgentSpeechStarted(response_id=str(response_id))
                | RealtimeAgentSpeechEnded(response_id=str(response_id))
            ):
                return replace(item, response_id=self._provider.named(response_id))
        return item


Recorded = (
    RealtimeConnectedEvent
    | RealtimeDisconnectedEvent
    | LLMErrorEvent
    | ToolStartEvent
    | ToolEndEvent
)


class Recorder(Growing[Recorded]):
    """Every event of a Realtime, held against its `connected` flag and the secrets.

    Attributes:
        errors: the error events so far, fences left out.
    """

    def __init__(self, llm: Realtime, watch: Watch) -> None:
        super().__init__()
        self.errors: list[LLMErrorEvent] = []
        self.fences = self.fences_seen = 0
        self._llm = llm
        self._watch = watch
        self._apart = 0
        llm.events.subscribe(self._on_event)
        watch.pulse.every_beat(self._look)

    @property
    def connected(self) -> list[RealtimeConnectedEvent]:
        """So far."""
        return self.of(RealtimeConnectedEvent)

    @property
    def disconnected(self) -> list[RealtimeDisconnectedEvent]:
        """So far."""
        return self.of(RealtimeDisconnectedEvent)

    async def up(self, count: int = 1) -> None:
        """Wait for the count-th connected event."""
        await self.first(RealtimeConnectedEvent, count)

    async def down(self, count: int = 1) -> None:
        """Wait for the count-th disconnected event."""
        await self.first(RealtimeDisconnectedEvent, count)

    async def settled(self) -> None:
        """Wait until every event sent so far is here."""
        await self._llm.events.wait(WAIT_S)

    async def check(self) -> None:
        """Hold events and flag against each other."""
        await self.settled()
        turns = [type(each) for each in self.items if isinstance(each, _TURNS)]
        kinds = [RealtimeConnectedEvent, RealtimeDisconnectedEvent]
        if turns != [kinds[index % 2] for index in range(len(turns))]:
            names = [kind.__name__ for kind in turns]
            self._watch.found("OB2", f"connected and disconnected do not alternate: {names}")
        if self._llm.connected != (len(turns) % 2 == 1):
            last = turns[-1].__name__ if turns else "no event"
            self._watch.found("OB2", f"connected is {self._llm.connected} after {last}")

    def _look(self) -> None:
        turns = sum(isinstance(each, _TURNS) for each in self.items)
        self._apart = self._apart + 1 if self._llm.connected != (turns % 2 == 1) else 0
        if self._apart == 4:  # an event takes a turn of the loop to arrive
            said = f"connected was {self._llm.connected} while the events said otherwise"
            self._watch.found("OB2", said)

    async def _on_event(
        self,
        event: RealtimeConnectedEvent
        | RealtimeDisconnectedEvent
        | LLMErrorEvent
        | ToolStartEvent
        | ToolEndEvent,
    ) -> None:
        # The tool events are the base class's, with arguments and result by design.
        if not isinstance(event, ToolStartEvent | ToolEndEvent):
            self._watch.secrets(type(event).__name__, repr(event))
        if isinstance(event, RealtimeDisconnectedEvent) and not event.reason:
            self._watch.found("CN2", "a disconnected event that does not say why")
        if isinstance(event, LLMErrorEvent):
            if FENCE in f"{event.error_code} {event.error}":
                self.fences_seen += 1
            else:
                self.errors.append(event)
            if event.error is None:
                self._watch.found("RB3", f"an error event without the error: {event}")
            error: BaseException | None = event.error
            while error is not None:
                self._watch.secrets("an error", f"{error} {error!r}")
                error = error.__cause__ or error.__context__
        self.add(event)


_TURNS = RealtimeConnectedEvent | RealtimeDisconnectedEvent


def _brief(item: object) -> str:
    match item:
        case RealtimeAudioOutput(data=data, response_id=response_id):
            return f"Audio({data.duration_ms:.0f} ms, {response_id})"
    return repr(item)[:120]


async def fence(connection: loopback.Connection, record: Recorder) -> None:
    """Wait until the plugin has handled everything the provider said so far.

    Lets a test say "nothing came" without waiting for nothing.
    """
    record.fences += 1
    await transit.spoken(connection)
    await connection.send(events.Fault(f"{FENCE}_{record.fences}"))
    fences = record.fences
    await record.until(lambda: record.fences_seen >= fences, "LLMErrorEvent for an error frame")


async def say(
    connection: loopback.Connection,
    response_id: str = "response_1",
    *,
    audio: bytes | Sequence[bytes] = (),
    text: str = "",
    request_id: str | None = None,
    item_id: str | None = None,
    status: events.ResponseStatus | None = "completed",
    spoken: bool = True,
) -> None:
    """Have the provider give a whole response; with status None, all but its end."""
    item_id = item_id or f"item_{response_id}"
    await connection.send(events.ResponseStarted(response_id, request_id))
    words = [word if index == 0 else f" {word}" for index, word in enumerate(text.split(" "))]
    for word in words if text else ():
        await connection.send(events.TextDelta(response_id, word, spoken, item_id))
    for piece in [audio] if isinstance(audio, bytes) else audio:
        await connection.send(events.AudioDelta(response_id, piece, item_id))
    if status is not None:
        if text:
            await connection.send(events.TextDone(response_id, text, spoken, item_id))
        await connection.send(events.ResponseDone(response_id, status))


async def hears(connection: loopback.Connection, text: str, item_id: str = "user_1") -> None:
    """Have the provider hear a whole turn of the user."""
    await connection.send(
        events.UserSpeechStarted(item_id),
        events.UserSpeechStopped(item_id),
        events.AudioCommitted(item_id),
        events.UserTranscript(text, True, item_id),
    )


async def is_interrupted(
    connection: loopback.Connection, facts: Facts, item_id: str = "user_2"
) -> None:
    """Have the provider say, in its own way, that the user speaks while the agent does."""
    if facts.speech_events:
        await connection.send(events.UserSpeechStarted(item_id))
    else:
        await connection.send(events.Interrupted())


async def stops(
    connection: loopback.Connection, facts: Facts, response_id: str = "response_1"
) -> None:
    """Have the provider stop when it is told to; one that cannot be told goes on to the end."""
    if facts.cancellation:
        stop = await connection.wait_for(events.CancelResponse)
        assert stop.response_id in (None, response_id)
    status: events.ResponseStatus = "cancelled" if facts.cancellation else "completed"
    await connection.send(events.ResponseDone(response_id, status))


def native(
    llm: Realtime, *args: object, **kwargs: object
) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:
    """Call the wrapper of the provider's native call."""
    return llm.{{ cookiecutter.native_method }}(*args, **kwargs)


async def final(
    stream: AsyncIterator[LLMResponseDelta | LLMResponseFinal],
) -> LLMResponseFinal:
    """Read a response to its end, which is one final."""
    items = [item async for item in stream]
    finals = [item for item in items if isinstance(item, LLMResponseFinal)]
    assert len(finals) == 1, f"{len(finals)} finals: {finals}"
    assert items[-1] is finals[0], f"after the final came {items[-1]}"
    return finals[0]


async def converse(
    llm: Realtime, ear: Ear, connection: loopback.Connection, response_id: str = "response_1"
) -> None:
    """Audio gets through both ways, each piece once."""
    sent, heard, ended = len(connection.audio()), len(ear.speech()), len(ear.dones())
    await speak(llm, frames(tone(300, 0.1, 48000), 48000))
    await connection.wait_audio(sent + 1)
    spoken = ramp(2400).tobytes()
    await say(connection, response_id, audio=spoken)
    await ear.until(lambda: len(ear.dones()) > ended, f"Done of {response_id}")
    came = ear.speech()[heard:]
    assert came == spoken, f"the provider said {len(spoken)} bytes, heard were {len(came)}"


async def stays_pending(task: asyncio.Task[object]) -> None:
    """Something that waits goes on waiting."""
    done, _ = await asyncio.wait([task], timeout=0.02)
    assert not done, f"did not wait: {task}"


async def passes(seconds: float) -> None:
    """Time passes; it is what a latency is made of."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


def leaves(value: object) -> Iterator[object]:
    """All there is in nested options, keys left out."""
    match value:
        case Mapping():
            for inner in value.values():
                yield from leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from leaves(inner)
        case _:
            yield value


def tone(hertz: float, seconds: float, rate: int, *, peak: int = PEAK) -> Samples:
    """A sine wave."""
    at = np.arange(round(seconds * rate)) / rate
    wave: Samples = np.rint(peak * np.sin(2 * np.pi * hertz * at)).astype(np.int16)
    return wave


def ramp(count: int) -> Samples:
    """Samples of which no two neighbours are alike: 1, 2, 3, ..."""
    return (np.arange(1, count + 1) % 30000).astype(np.int16)


def speech(ms: float, rate: int) -> bytes:
    """What the provider says for so long, as packed samples; no two neighbours alike."""
    return ramp(round(rate * ms / 1000)).tobytes()


def silence(seconds: float, rate: int) -> Samples:
    """Silence."""
    return np.zeros(round(seconds * rate), np.int16)


def frames(samples: NDArray[np.generic], rate: int, *, ms: float = 20) -> list[PcmData]:
    """Cut into frames as a call delivers them; a row a channel, if two-dimensional."""
    size = round(rate * ms / 1000)
    channels = 1 if samples.ndim == 1 else samples.shape[0]
    kind: Literal["f32", "s16"] = "f32" if samples.dtype == np.float32 else "s16"
    return [
        PcmData(
            samples=samples[..., start : start + size],
            sample_rate=rate,
            format=kind,
            channels=channels,
        )
        for start in range(0, samples.shape[-1], size)
    ]


async def speak(llm: Realtime, pieces: Iterable[PcmData], participant: Participant = ALICE) -> None:
    """Let a participant be heard, as the call does it."""
    seconds = 0.0
    for pcm in pieces:
        await llm.process_audio(pcm, participant)
        seconds += pcm.duration
    if llm.connected:
        await transit.takes(seconds)


def needs_messages() -> None:
    """Skip the test where a voice does not go in messages."""
    if events.AppendAudio in transit.ON_ITS_OWN:
        pytest.skip("client.py: audio goes over a track of its own")


def samples_of(data: bytes) -> Samples:
    """Packed audio as samples."""
    return np.frombuffer(data, np.int16)


def sinad_db(samples: Samples, hertz: float, rate: int) -> float:
    """Power of a tone over that of everything else, in dB."""
    signal = samples.astype(np.float64)
    angle = 2 * np.pi * hertz * np.arange(len(signal)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle), np.ones(len(signal))], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, signal, rcond=None)[0]
    rest = signal - fitted
    return float(10 * np.log10(np.sum(fitted**2) / max(np.sum(rest**2), 1e-9)))


def level_db(samples: Samples, *, peak: int = PEAK) -> float:
    """Power against that of a sine wave of the given peak, in dB."""
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return float(10 * np.log10(max(power, 1e-9) / (peak**2 / 2)))
