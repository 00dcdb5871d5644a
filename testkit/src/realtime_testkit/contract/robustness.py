"""RB: malformed, unknown and unexpected messages do not end a call."""

import asyncio
import json
import re
from collections.abc import Container, Iterator
from types import EllipsisType

import pytest
from vision_agents.core.llm.events import LLMErrorEvent, RealtimeDisconnectedEvent
from vision_agents.core.llm.realtime import RealtimeAgentTranscript

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    NativeCall,
    fence,
    final,
    say,
    speak,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)
PARTS = 4
"""Tests that share the flaws of a turn's messages."""

WORDS = protocol.TextDelta | protocol.TextDone

MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "canary",
    "half": '{"canary": "a",',
    "array": "[]",
    "number": "42",
    "null": "null",
    "text": '"canary"',
    "object": "{}",
    "deep": "[" * 100_000,
    "deep inside": '{"canary": ' * 100_000,
    "comma": '{"canary": 1,}',
    "two": "{} {}",
    "binary": bytes(range(256)),
    "empty binary": b"",
    "no UTF-8": b'{"canary": "\xff\xfe"}',
}

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Path = tuple[str | int, ...]

INSTEAD: tuple[Json | EllipsisType, ...] = (..., None, 7, "", ["canary"], {"canary": "sings"})
"""What a field may be instead of what it should be; `...` for missing."""


def _paths(whole: Json, path: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Every field, at any depth."""
    match whole:
        case dict():
            inner: Iterator[tuple[str | int, Json]] = iter(whole.items())
        case list():
            inner = iter(enumerate(whole))
        case _:
            return
    for step, value in inner:
        yield (*path, step), value
        yield from _paths(value, (*path, step))


def _changed(whole: Json, path: Path, value: Json | EllipsisType) -> Json:
    """The same but for one field."""
    step, *rest = path
    match whole:
        case dict() if isinstance(step, str):
            if rest:
                return whole | {step: _changed(whole[step], tuple(rest), value)}
            others = {key: kept for key, kept in whole.items() if key != step}
            return others if isinstance(value, EllipsisType) else others | {step: value}
        case list() if isinstance(step, int):
            changed: list[Json] = []
            if rest:
                changed = [_changed(whole[step], tuple(rest), value)]
            elif not isinstance(value, EllipsisType):
                changed = [value]
            return [*whole[:step], *changed, *whole[step + 1 :]]
    return whole


def _flaws(
    frame: str | bytes, facts: Facts, *, required: bool
) -> tuple[Json, list[tuple[Path, Json | EllipsisType]]]:
    """The message in a frame, and what can be wrong with it: one field, and what it is instead."""
    try:
        whole: Json = json.loads(frame)
    except ValueError:
        return None, []
    return whole, [
        (path, value)
        for path, original in _paths(whole)
        if (path[-1] in facts.required_fields) == required
        for value in INSTEAD
        if type(value) is not type(original)
    ]


class Flawed:
    """Rewrites frames with one flaw each, in every round another, until there is no more of them.

    Args:
        facts: which fields are required.
        spared: fields, and positions in lists, that are left as they are.
        part: the first round.
        parts: so many rounds further is the next.

    Attributes:
        count: rounds that all parts take, as far as is known.
        rounds: rounds that were begun.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        spared: Container[str | int] = (),
        part: int = 0,
        parts: int = 1,
    ) -> None:
        self.count = part + 1
        self.rounds = 0
        self._facts = facts
        self._spared = spared
        self._number = part
        self._step = parts

    def __iter__(self) -> Iterator[int]:
        """The rounds."""
        while self._number < self.count:
            self.rounds += 1
            yield self._number
            self._number += self._step

    def __call__(self, frame: str | bytes) -> list[str | bytes]:
        """The frame with this round's flaw; as it is where it has not so many."""
        whole, flaws = _flaws(frame, self._facts, required=False)
        flaws = [flaw for flaw in flaws if flaw[0][-1] not in self._spared]
        self.count = max(self.count, len(flaws))
        if self._number >= len(flaws):
            return [frame]
        return [json.dumps(_changed(whole, *flaws[self._number]))]


def _extended(whole: Json) -> Json:
    """With an unknown field in every object."""
    match whole:
        case dict():
            extended = {key: _extended(value) for key, value in whole.items()}
            return extended | {"contract_unknown": "canary"}
        case list():
            return [_extended(value) for value in whole]
    return whole


def _a_turn(facts: Facts, number: int = 1, *, spoken: bool = True) -> list[protocol.Event]:
    """All a provider says in a turn."""
    user, response, agent = f"user_{number}", f"response_{number}", f"agent_{number}"
    return [
        protocol.SessionAccepted(output_rate=facts.output_rate),
        protocol.UserSpeechStarted(user),
        protocol.UserSpeechStopped(user),
        protocol.AudioCommitted(user),
        protocol.UserTranscript("A ", False, user),
        protocol.UserTranscript("A canary?", True, user),
        protocol.ResponseStarted(response),
        protocol.TextDelta(response, "A canary.", spoken, agent),
        protocol.AudioDelta(response, speech(20, facts.output_rate), agent),
        protocol.TextDone(response, "A canary.", spoken, agent),
        protocol.ResponseDone(response, usage=protocol.Usage(1, 2, 3)),
    ]


def _made_up(output: OutputRecorder) -> list[str]:
    """What is in the transcripts of such turns, and nobody said."""
    texts = [said.text for said in output.user_said()] + [said.text for said in output.agent_said()]
    return [text for text in texts if not set(re.findall(r"\w+", text)) <= {"A", "canary"}]


class Robustness(Contract):
    """Tests of RB1 to RB4; RB4 is checked in every other test too."""

    @pytest.mark.parametrize("kind", MALFORMED)
    async def test_rb1_malformed_frame_is_one_error(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        kind: str,
        transport: Transport,
    ) -> None:
        """A malformed frame in a response emits one error event; the response arrives whole."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send_raw(MALFORMED[kind])
        await connection.send(
            protocol.AudioDelta("response_1", sound, "item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await output.done("response_1")
        await fence(connection, record)
        if isinstance(MALFORMED[kind], str):
            assert len(record.errors) == 1
        else:  # it may be the provider's way to send audio
            assert len(record.errors) <= 1
        assert len(connection.received(protocol.Configure)) == 1
        assert not record.disconnected
        if isinstance(MALFORMED[kind], str):
            assert transport.whole(output.speech("response_1"), sound * 2)

    async def test_rb1_malformed_frame_before_acceptance(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Malformed frames before acceptance emit errors, and connect() succeeds."""
        provider.rewrite = lambda frame: ["canary", frame]
        llm = make()
        await llm.connect()
        provider.rewrite = None
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        await say(connection, audio=speech(20, facts.output_rate))
        await output.done("response_1")
        await fence(connection, record)
        assert record.errors
        assert not record.disconnected

    async def test_rb1_twenty_malformed_frames_are_survived(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder
    ) -> None:
        """Twenty malformed frames emit twenty errors, and the next response is handled."""
        for _ in range(20):
            await connection.send_raw("canary")
        await fence(connection, record)
        assert len(record.errors) == 20
        await say(connection, text="A canary")
        await output.done("response_1")

    async def test_rb1_lone_surrogate_is_replaced(
        self, output: OutputRecorder, connection: Connection, provider: Provider
    ) -> None:
        """Half a surrogate pair in a transcript yields text that can be encoded."""

        def halve(frame: str | bytes) -> list[str | bytes]:
            return [frame.replace("HALF", "\\ud83d") if isinstance(frame, str) else frame]

        provider.rewrite = halve
        await say(connection, text="A canary HALF")
        await output.done("response_1")
        assert output.agent_said()[-1].mode == "final"
        for said in output.agent_said():
            said.text.encode()

    @pytest.mark.allows("error logs")
    async def test_rb1_closed_output_is_reported(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Audio that cannot be put into a closed output emits an error event, and the session goes on."""
        llm = make()
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        llm.output.close()
        await say(connection, audio=speech(20, facts.output_rate))
        await fence(connection, record)
        assert record.errors
        assert not record.disconnected

    async def test_rb2_unknown_message_is_ignored(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A message of an unknown type emits no error, and the response around it is received whole."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send_raw(facts.unknown_frame)
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        await fence(connection, record)
        assert not record.errors
        assert output.speech("response_1") == sound

    async def test_rb2_unknown_fields_are_ignored(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall, transport: Transport
    ) -> None:
        """With an unknown field in every object nothing is lost, and no error is emitted."""

        def extend(frame: str | bytes) -> list[str | bytes]:
            try:
                return [json.dumps(_extended(json.loads(frame)))]
            except ValueError:
                return [frame]

        provider.rewrite = extend
        llm = make()
        await llm.connect()
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        await connection.send(*_a_turn(facts))
        await output.done("response_1")
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La", request_id=request.request_id)
        assert (await asking).text == "La"
        await fence(connection, record)
        assert not record.errors
        assert output.speech("response_1") == speech(20, facts.output_rate)
        finals = [said.text for said in output.agent_said() if said.mode == "final"]
        assert finals == ["A canary.", "La"]

    @pytest.mark.parametrize("part", range(PARTS))
    @pytest.mark.parametrize("spoken", [True, False], ids=["spoken", "written"])
    async def test_rb2_optional_fields_may_be_missing_or_wrong(
        self,
        make: Make,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        spoken: bool,
        part: int,
        transport: Transport,
    ) -> None:
        """Optional fields may be missing, null or of another type: audio and texts arrive.

        No error is emitted.
        """
        if not spoken:
            facts.need("text")
        output = make.listen(llm, answers=True)
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        flawed = Flawed(facts, part=part, parts=PARTS)
        for number in flawed:
            for event in _a_turn(facts, number, spoken=spoken):
                # What is written is all that is new in an answer without a voice.
                provider.rewrite = flawed if spoken or isinstance(event, WORDS) else None
                await connection.send(event)
            await transport.spoken(connection)
            provider.rewrite = None
            await fence(connection, record)
            response_id = f"response_{number}"
            assert not record.errors, f"in turn {number}: {record.errors}"
            end = await output.done(response_id)
            assert not end.interrupted
            assert output.speech(response_id) == speech(20, facts.output_rate)
        assert flawed.count > PARTS, "nothing was left out: are the provider's messages no JSON?"
        assert {pcm.sample_rate for pcm in output.chunks()} == {facts.output_rate}
        if spoken:
            assert (
                len([said for said in output.agent_said() if said.mode == "final"]) == flawed.rounds
            )
        assert not _made_up(output)
        if facts.transcription:
            assert (
                len([said for said in output.user_said() if said.mode == "final"]) == flawed.rounds
            )

    async def test_rb2_optional_fields_of_a_call_may_be_missing_or_wrong(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A tool runs with its arguments though a later optional field is missing or wrong."""
        facts.need("tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather(city: str) -> str:
            return f"canary yellow in {city}"

        flawed = Flawed(facts, spared=(0, "city"))  # the call itself
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        for number in flawed:
            response_id = f"response_{number}"
            call = protocol.ToolCall(response_id, f"call_{number}", "weather", '{"city": "Oslo"}')
            await connection.send(protocol.ResponseStarted(response_id))
            provider.rewrite = flawed
            await connection.send(call, protocol.ResponseDone(response_id))
            provider.rewrite = None
            result = await connection.wait_for(protocol.AddToolResult, number + 1)
            assert "Oslo" in str(result.output), f"in call {number}"
            await fence(connection, record)
            assert not record.errors, f"in call {number}: {record.errors}"

    async def test_rb2_message_without_a_required_field_is_at_most_one_error(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """A required field missing or wrong is at most one error; the session goes on."""
        llm = make()
        if facts.tools:

            @llm.register_function("weather", "The weather")
            async def weather(city: str) -> str:
                return f"canary yellow in {city}"

        await llm.connect()
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        turn = _a_turn(facts)
        if facts.tools:
            turn.insert(
                -1, protocol.ToolCall("response_1", "call_1", "weather", '{"city": "Oslo"}')
            )
        said: list[str | bytes] = []

        def keep_back(frame: str | bytes) -> list[str | bytes]:
            said.append(frame)
            return []

        provider.rewrite = keep_back
        await connection.send(*turn)
        await transport.spoken(connection)
        provider.rewrite = None
        for frame in said:
            whole, flaws = _flaws(frame, facts, required=True)
            for path, value in flaws:
                before = len(record.errors)
                broken = json.dumps(_changed(whole, path, value))
                await connection.send_raw(broken)
                await fence(connection, record)
                assert len(record.errors) <= before + 1, broken
            await connection.send_raw(frame)
        await output.done("response_1")
        await say(connection, "response_2", text="A canary")
        await output.done("response_2")
        assert not record.disconnected
        assert not _made_up(output)

    async def test_rb3_error_frame_is_one_error_event(
        self,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """An error frame is one error event with its code; the response arrives whole."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send(
            protocol.Fault("server_error"),
            protocol.AudioDelta("response_1", sound, "item_response_1"),
            protocol.ResponseDone("response_1"),
        )
        await output.done("response_1")
        error = await record.first(LLMErrorEvent)
        await fence(connection, record)
        assert len(record.errors) == 1
        assert error.error is not None
        assert "server_error" in f"{error.error_code} {error.error}"
        assert output.speech("response_1") == sound * 2
        assert [end.interrupted for end in output.dones()] == [False]
        assert not record.disconnected

    async def test_rb3_unrelated_error_does_not_fail_a_request(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """Errors without the id of a request, or with another, do not fail the request that waits."""
        facts.need("ids")
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.Fault("server_error"), protocol.Fault("invalid", "another"))
        await say(connection, text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        await fence(connection, record)
        assert len(record.errors) == 2

    async def test_rb3_fatal_error_ends_the_session(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
        native: NativeCall,
    ) -> None:
        """A fatal error ends the session: one error event, the request fails, no reconnect."""
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.Fault(facts.fatal_code))
        gone = await record.first(RealtimeDisconnectedEvent)
        assert not gone.clean
        with pytest.raises(subject.session_error):
            await asking
        async with asyncio.timeout(1):
            await connection.closed.wait()
        await record.settled()
        assert not llm.connected
        assert len(record.errors) == 1
        assert provider.handshakes == 1, "dials again, for nothing"

    async def test_rb4_long_answer_does_not_block_the_loop(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """300 pieces of text and audio sent at once are received whole while the loop goes on."""
        await connection.send(protocol.ResponseStarted("response_1"))
        sound = speech(transport.piece_ms, facts.output_rate)
        for _ in range(300):
            await connection.send(
                protocol.TextDelta("response_1", "canary ", item_id="agent_1"),
                protocol.AudioDelta("response_1", sound, "agent_1"),
            )
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        assert len(output.speech("response_1")) == 300 * len(sound)
        deltas = [said for said in output.of(RealtimeAgentTranscript) if said.mode == "delta"]
        assert "".join(said.text for said in deltas) == "canary " * 300
