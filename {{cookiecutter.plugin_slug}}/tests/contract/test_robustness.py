"""RB: whatever the provider says, the call goes on."""

import asyncio
import json
import re
from collections.abc import Container, Iterator
from types import EllipsisType

import pytest
from vision_agents.core.llm.events import LLMErrorEvent, RealtimeDisconnectedEvent
from vision_agents.core.llm.realtime import RealtimeAgentTranscript
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .kit import (
    ALICE,
    Ear,
    Facts,
    Recorder,
    fence,
    final,
    frames,
    native,
    say,
    speak,
    speech,
    tone,
)
from .making import Make

A_WORD = frames(tone(300, 0.02, 48000), 48000)
WORDS = events.TextDelta | events.TextDone

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

    Attributes:
        count: rounds it takes, as far as is known.
    """

    def __init__(self, facts: Facts, *, spared: Container[str | int] = ()) -> None:
        self.count = 1
        self._facts = facts
        self._spared = spared
        self._number = 0

    def __iter__(self) -> Iterator[int]:
        """The rounds."""
        while self._number < self.count:
            yield self._number
            self._number += 1

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


def _a_turn(facts: Facts, number: int = 1, *, spoken: bool = True) -> list[events.Event]:
    """All a provider says in a turn."""
    user, response, agent = f"user_{number}", f"response_{number}", f"agent_{number}"
    return [
        events.SessionAccepted(facts.output_rate),
        events.UserSpeechStarted(user),
        events.UserSpeechStopped(user),
        events.AudioCommitted(user),
        events.UserTranscript("A ", False, user),
        events.UserTranscript("A canary?", True, user),
        events.ResponseStarted(response),
        events.TextDelta(response, "A canary.", spoken, agent),
        events.AudioDelta(response, speech(20, facts.output_rate), agent),
        events.TextDone(response, "A canary.", spoken, agent),
        events.ResponseDone(response, usage=events.Usage(1, 2, 3)),
    ]


def _made_up(ear: Ear) -> list[str]:
    """What is in the transcripts of such turns, and nobody said."""
    texts = [said.text for said in ear.user_said()] + [said.text for said in ear.agent_said()]
    return [text for text in texts if not set(re.findall(r"\w+", text)) <= {"A", "canary"}]


class TestRobustness:
    @pytest.mark.parametrize("kind", MALFORMED)
    async def test_rb1_malformed(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        kind: str,
    ) -> None:
        """One broken frame ends the call, or nobody hears of it."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send_raw(MALFORMED[kind])
        await connection.send(
            events.AudioDelta("response_1", sound, "item_response_1"),
            events.ResponseDone("response_1"),
        )
        await ear.done("response_1")
        await fence(connection, record)
        if isinstance(MALFORMED[kind], str):
            assert len(record.errors) == 1
        else:  # it may be the provider's way to send audio
            assert len(record.errors) <= 1
        assert len(connection.received(events.Configure)) == 1
        assert not record.disconnected
        if isinstance(MALFORMED[kind], str):
            assert transit.whole(ear.speech("response_1"), sound * 2)

    async def test_rb1_before_the_session(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """One broken frame in the greeting, and the agent cannot connect."""
        provider.rewrite = lambda frame: ["canary", frame]
        llm = make()
        await llm.connect()
        provider.rewrite = None
        connection, record, ear = await provider.connection(), make.record(llm), make.listen(llm)
        await say(connection, audio=speech(20, facts.output_rate))
        await ear.done("response_1")
        await fence(connection, record)
        assert record.errors
        assert not record.disconnected

    async def test_rb1_many(
        self, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The second broken frame ends the call."""
        for _ in range(20):
            await connection.send_raw("canary")
        await fence(connection, record)
        assert len(record.errors) == 20
        await say(connection, text="A canary")
        await ear.done("response_1")

    async def test_rb1_half_a_character(
        self, ear: Ear, connection: loopback.Connection, provider: loopback.Provider
    ) -> None:
        """Half an emoji of the provider's brings down whoever writes the transcript out."""

        def halve(frame: str | bytes) -> list[str | bytes]:
            return [frame.replace("HALF", "\\ud83d") if isinstance(frame, str) else frame]

        provider.rewrite = halve
        await say(connection, text="A canary HALF")
        await ear.done("response_1")
        assert ear.agent_said()[-1].mode == "final"
        for said in ear.agent_said():
            said.text.encode()

    @pytest.mark.allows("error logs")
    async def test_rb1_nobody_takes_the_output(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """Whoever plays the agent's voice is gone, and so is the session, or nobody hears why."""
        llm = make()
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        llm.output.close()
        await say(connection, audio=speech(20, facts.output_rate))
        await fence(connection, record)
        assert record.errors
        assert not record.disconnected

    async def test_rb2_unknown_messages(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The provider learns to say something new, and every call sees errors."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send_raw(facts.unknown_frame)
        await connection.send(events.ResponseDone("response_1"))
        await ear.done("response_1")
        await fence(connection, record)
        assert not record.errors
        assert ear.speech("response_1") == sound

    async def test_rb2_unknown_fields(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """The provider adds a field, and the agent falls silent."""

        def extend(frame: str | bytes) -> list[str | bytes]:
            try:
                return [json.dumps(_extended(json.loads(frame)))]
            except ValueError:
                return [frame]

        provider.rewrite = extend
        llm = make()
        await llm.connect()
        connection, record, ear = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await connection.send(*_a_turn(facts))
        await ear.done("response_1")
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, "response_2", text="La", request_id=request.request_id)
        assert (await asking).text == "La"
        await fence(connection, record)
        assert not record.errors
        assert ear.speech("response_1") == speech(20, facts.output_rate)
        finals = [said.text for said in ear.agent_said() if said.mode == "final"]
        assert finals == ["A canary.", "La"]

    @pytest.mark.parametrize("spoken", [True, False])
    async def test_rb2_optional_fields(
        self,
        make: Make,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        spoken: bool,
    ) -> None:
        """The provider leaves out what does not matter, and the answer is lost."""
        if not spoken:
            facts.need("text")
        ear = make.listen(llm, answers=True)
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        flawed = Flawed(facts)
        for number in flawed:
            for event in _a_turn(facts, number, spoken=spoken):
                # What is written is all that is new in an answer without a voice.
                provider.rewrite = flawed if spoken or isinstance(event, WORDS) else None
                await connection.send(event)
            await transit.spoken(connection)
            provider.rewrite = None
            await fence(connection, record)
            response_id = f"response_{number}"
            assert not record.errors, f"in turn {number}: {record.errors}"
            end = await ear.done(response_id)
            assert not end.interrupted
            assert ear.speech(response_id) == speech(20, facts.output_rate)
        assert flawed.count > 1, "nothing was left out: are the provider's messages no JSON?"
        assert {pcm.sample_rate for pcm in ear.chunks()} == {facts.output_rate}
        if spoken:
            assert len([said for said in ear.agent_said() if said.mode == "final"]) == flawed.count
        assert not _made_up(ear)
        if facts.transcription:
            assert len([said for said in ear.user_said() if said.mode == "final"]) == flawed.count

    async def test_rb2_optional_fields_of_a_call(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A tool is called without what the provider said a message later, or not at all."""
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
            call = events.ToolCall(response_id, f"call_{number}", "weather", '{"city": "Oslo"}')
            await connection.send(events.ResponseStarted(response_id))
            provider.rewrite = flawed
            await connection.send(call, events.ResponseDone(response_id))
            provider.rewrite = None
            result = await connection.wait_for(events.AddToolResult, number + 1)
            assert "Oslo" in str(result.output), f"in call {number}"
            await fence(connection, record)
            assert not record.errors, f"in call {number}: {record.errors}"

    async def test_rb2_required_fields(
        self,
        make: Make,
        provider: loopback.Provider,
        facts: Facts,
    ) -> None:
        """The provider says something half, and the call ends, or errors come in heaps."""
        llm = make()
        if facts.tools:

            @llm.register_function("weather", "The weather")
            async def weather(city: str) -> str:
                return f"canary yellow in {city}"

        await llm.connect()
        connection, record, ear = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        turn = _a_turn(facts)
        if facts.tools:
            turn.insert(-1, events.ToolCall("response_1", "call_1", "weather", '{"city": "Oslo"}'))
        said: list[str | bytes] = []

        def keep_back(frame: str | bytes) -> list[str | bytes]:
            said.append(frame)
            return []

        provider.rewrite = keep_back
        await connection.send(*turn)
        await transit.spoken(connection)
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
        await ear.done("response_1")
        await say(connection, "response_2", text="A canary")
        await ear.done("response_2")
        assert not record.disconnected
        assert not _made_up(ear)

    async def test_rb3_an_error(
        self,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """An error of the provider's goes unnoticed, or ends what was going well."""
        sound = speech(40, facts.output_rate)
        await say(connection, audio=sound, status=None)
        await connection.send(
            events.Fault("server_error"),
            events.AudioDelta("response_1", sound, "item_response_1"),
            events.ResponseDone("response_1"),
        )
        await ear.done("response_1")
        error = await record.first(LLMErrorEvent)
        await fence(connection, record)
        assert len(record.errors) == 1
        assert error.error is not None
        assert "server_error" in f"{error.error_code} {error.error}"
        assert ear.speech("response_1") == sound * 2
        assert [end.interrupted for end in ear.dones()] == [False]
        assert not record.disconnected

    async def test_rb3_somebody_elses_error(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """An error about something else fails the request that is waiting."""
        facts.need("ids")
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(events.Fault("server_error"), events.Fault("invalid", "another"))
        await say(connection, text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        await fence(connection, record)
        assert len(record.errors) == 2

    async def test_rb3_a_fatal_error(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The account is closed, and the agent goes on as if it could talk."""
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        await connection.wait_for(events.CreateResponse)
        await connection.send(events.Fault(facts.fatal_code))
        gone = await record.first(RealtimeDisconnectedEvent)
        assert not gone.clean
        with pytest.raises(events.SessionError):
            await asking
        async with asyncio.timeout(1):
            await connection.closed.wait()
        await record.settled()
        assert not llm.connected
        assert len(record.errors) == 1
        assert provider.handshakes == 1, "dials again, for nothing"

    async def test_rb4_a_long_answer_at_once(
        self, llm: Realtime, ear: Ear, connection: loopback.Connection, facts: Facts
    ) -> None:
        """While a long answer comes in, the whole process stands still."""
        await connection.send(events.ResponseStarted("response_1"))
        sound = speech(transit.PIECE_MS, facts.output_rate)
        for _ in range(300):
            await connection.send(
                events.TextDelta("response_1", "canary ", item_id="agent_1"),
                events.AudioDelta("response_1", sound, "agent_1"),
            )
        await connection.send(events.ResponseDone("response_1"))
        await ear.done("response_1")
        assert len(ear.speech("response_1")) == 300 * len(sound)
        deltas = [said for said in ear.of(RealtimeAgentTranscript) if said.mode == "delta"]
        assert "".join(said.text for said in deltas) == "canary " * 300
