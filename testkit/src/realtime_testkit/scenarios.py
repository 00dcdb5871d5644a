"""Steps that scenarios have in common: what the provider says, and what a caller does."""

import asyncio
import operator
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, TypeVar, cast

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal

from . import protocol
from .facts import Facts, excuse
from .realtime import Realtime, ResponseItem
from .recorders import FENCE, WAIT_S, EventRecorder, OutputRecorder
from .signals import frames, ramp, tone
from .transport import Transport

if TYPE_CHECKING:
    from .providers.connection import Connection
    from .subject import Subject

__all__ = ["ALICE", "BOB", "FENCE", "INSTRUCTIONS", "KEY", "WAIT_S"]

ResultT = TypeVar("ResultT")

KEY = "key-3f9a-never-to-be-shown"
INSTRUCTIONS = "You are a canary in a test."
ALICE = Participant(None, "alice", "participant-alice")
BOB = Participant(None, "bob", "participant-bob")


async def fence(connection: "Connection", record: EventRecorder, *, spoken: bool = True) -> None:
    """Wait until the plugin has handled everything the provider sent so far.

    Lets a test assert that nothing came, without waiting for a fixed time.

    Args:
        connection: where it was sent.
        record: of the plugin's events.
        spoken: wait until the provider has played its speech, too (WebRTC).
    """
    record.fences += 1
    if spoken:
        await connection.spoken()
    await connection.send(protocol.Fault(f"{FENCE}_{record.fences}"))
    fences = record.fences
    await record.until(lambda: record.fences_seen >= fences, "LLMErrorEvent for an error frame")


async def say(
    connection: "Connection",
    response_id: str = "response_1",
    *,
    audio: bytes | Sequence[bytes] = (),
    text: str = "",
    request_id: str | None = None,
    item_id: str | None = None,
    status: protocol.ResponseStatus | None = "completed",
    spoken: bool = True,
) -> None:
    """Let the provider give a whole response; with status None, everything but its end."""
    item_id = item_id or f"item_{response_id}"
    await connection.send(protocol.ResponseStarted(response_id, request_id))
    words = [word if index == 0 else f" {word}" for index, word in enumerate(text.split(" "))]
    for word in words if text else ():
        await connection.send(protocol.TextDelta(response_id, word, spoken, item_id))
    for piece in [audio] if isinstance(audio, bytes) else audio:
        await connection.send(protocol.AudioDelta(response_id, piece, item_id))
    if status is not None:
        if text:
            await connection.send(protocol.TextDone(response_id, text, spoken, item_id))
        await connection.send(protocol.ResponseDone(response_id, status))


async def hears(connection: "Connection", text: str, item_id: str = "user_1") -> None:
    """Let the provider hear a whole turn of the user, and report what its wire can report."""
    for event in (
        protocol.UserSpeechStarted(item_id),
        protocol.UserSpeechStopped(item_id),
        protocol.AudioCommitted(item_id),
    ):
        await connection.say_if_supported(event)
    await connection.send(protocol.UserTranscript(text, True, item_id))


async def is_interrupted(connection: "Connection", facts: Facts, item_id: str = "user_2") -> None:
    """Let the provider report, in its own way, that the user speaks while the agent does."""
    if facts.speech_starts:
        await connection.send(protocol.UserSpeechStarted(item_id))
    else:
        await connection.send(protocol.Interrupted())


async def stops(connection: "Connection", facts: Facts, response_id: str = "response_1") -> None:
    """Let the provider stop when it is told to; one that cannot be told goes on to the end."""
    if facts.cancellation:
        stop = await connection.wait_for(protocol.CancelResponse)
        assert stop.response_id in (None, response_id)
    status: protocol.ResponseStatus = "cancelled" if facts.cancellation else "completed"
    await connection.send(protocol.ResponseDone(response_id, status))


async def calls(
    connection: "Connection",
    name: str,
    arguments: str = "{}",
    *,
    call_id: str = "call_1",
    response_id: str = "response_1",
    request_id: str | None = None,
) -> None:
    """Let the provider give a response that calls a tool, and nothing else."""
    await connection.send(
        protocol.ResponseStarted(response_id, request_id),
        protocol.ToolCall(response_id, call_id, name, arguments),
        protocol.ResponseDone(response_id),
    )


async def continuation(connection: "Connection", facts: Facts, count: int = 1) -> str | None:
    """Wait for the request that follows a tool's result.

    Args:
        connection: where it is sent.
        facts: say whether there is one.
        count: number of the request on this connection.

    Returns:
        Its id; None where the provider goes on by itself, and is not asked.
    """
    if facts.continues_after_tools:
        await connection.wait_for(protocol.AddToolResult)
        return None
    return (await connection.wait_for(protocol.CreateResponse, count)).request_id


def needs_continuations(facts: Facts) -> None:
    """Excuse the test where the provider goes on by itself after a tool's result."""
    if facts.continues_after_tools:
        excuse("contract.toml: continues_after_tools = true")


def native(
    llm: Realtime, subject: "Subject", *args: object, **kwargs: object
) -> AsyncGenerator[ResponseItem, None]:
    """Call the plugin's wrapper of the provider's native call."""
    call = operator.methodcaller(subject.native_method, *args, **kwargs)
    return cast("AsyncGenerator[ResponseItem, None]", call(llm))


def begun(work: Coroutine[object, object, ResultT]) -> asyncio.Task[ResultT]:
    """Run something beside the test; its exception is for whoever awaits it, if anybody does.

    Without this, a failed test leaves tasks whose exceptions Python reports at any later time.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


class NativeCall:
    """The plugin's wrapper of the provider's native call, as a function of the Realtime."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject

    def __call__(
        self, llm: Realtime, *args: object, **kwargs: object
    ) -> AsyncGenerator[ResponseItem, None]:
        """Call it."""
        return native(llm, self._subject, *args, **kwargs)


class Asked:
    """A call of the native method in progress, and what the caller got so far."""

    def __init__(self, stream: AsyncIterator[ResponseItem]) -> None:
        self.items: list[ResponseItem] = []
        self._stream = stream
        self.task = begun(self._read())

    @property
    def text(self) -> str:
        """The text of the deltas so far."""
        return "".join(delta.delta or "" for delta in self.deltas)

    @property
    def deltas(self) -> list[LLMResponseDelta]:
        """The deltas so far."""
        return [item for item in self.items if isinstance(item, LLMResponseDelta)]

    @property
    def in_sequence(self) -> bool:
        """Whether every delta has a sequence number and the numbers grow."""
        numbers = [delta.sequence_number for delta in self.deltas]
        given = [number for number in numbers if number is not None]
        return given == sorted(set(given)) and len(given) == len(numbers)

    async def request(self, connection: "Connection", count: int = 1) -> protocol.CreateResponse:
        """Wait for the count-th request on a connection; raises what ended the call before."""
        waiting = asyncio.create_task(connection.wait_for(protocol.CreateResponse, count))
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])
            await self.task
            raise AssertionError("the call ended without a request")
        return waiting.result()

    async def final(self) -> LLMResponseFinal:
        """Wait for the end, which has to be one final."""
        await self.task
        return _only_final(self.items)

    async def _read(self) -> None:
        async for item in self._stream:
            self.items.append(item)


async def final(stream: AsyncIterator[ResponseItem]) -> LLMResponseFinal:
    """Read a response to its end, which has to be one final."""
    return _only_final([item async for item in stream])


async def converse(
    llm: Realtime,
    output: OutputRecorder,
    connection: "Connection",
    response_id: str = "response_1",
) -> None:
    """Assert that audio gets through both ways, each piece once."""
    sent, heard, ended = len(connection.audio()), len(output.speech()), len(output.dones())
    await speak(llm, output.transport, frames(tone(300, 0.1, 48000), 48000))
    await connection.wait_audio(sent + 1)
    spoken = ramp(2400).tobytes()
    await say(connection, response_id, audio=spoken)
    await output.until(lambda: len(output.dones()) > ended, f"Done of {response_id}")
    came = output.speech()[heard:]
    assert came == spoken, f"the provider sent {len(spoken)} bytes, {len(came)} arrived"


async def speak(
    llm: Realtime,
    transport: Transport,
    pieces: Iterable[PcmData],
    participant: Participant = ALICE,
) -> None:
    """Deliver audio of a participant, as the call does."""
    seconds = 0.0
    for pcm in pieces:
        await llm.process_audio(pcm, participant)
        await asyncio.sleep(0)  # in a call the loop goes on between two frames
        seconds += pcm.duration
    if llm.connected:
        await transport.takes(seconds)


async def stays_pending(task: asyncio.Task[object]) -> None:
    """Assert that a task goes on waiting."""
    done, _ = await asyncio.wait([task], timeout=0.02)
    assert not done, f"did not wait: {task}"


async def passes(seconds: float) -> None:
    """Let time pass, where a latency is measured."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


def leaves(value: object) -> Iterator[object]:
    """Yield every value in nested options, without the keys."""
    match value:
        case Mapping():
            for inner in value.values():
                yield from leaves(inner)
        case list() | tuple():
            for inner in value:
                yield from leaves(inner)
        case _:
            yield value


def holds(whole: object, part: object) -> bool:
    """Whether everything in `part` is in `whole`."""
    match whole, part:
        case Mapping(), Mapping():
            return all(key in whole and holds(whole[key], value) for key, value in part.items())
    return whole == part


def code_of(error: BaseException) -> object:
    """Return the `code` of an error of the plugin's, None if it has none."""
    return vars(error).get("code")


def _only_final(items: Sequence[ResponseItem]) -> LLMResponseFinal:
    finals = [item for item in items if isinstance(item, LLMResponseFinal)]
    assert len(finals) == 1, f"{len(finals)} finals: {finals}"
    assert items[-1] is finals[0], f"after the final came {items[-1]}"
    return finals[0]
