"""OB: what the plugin tells of itself, and what it keeps to itself."""

import asyncio
import json

import pytest
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeConnectedEvent,
    RealtimeDisconnectedEvent,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .kit import (
    ALICE,
    KEY,
    Ear,
    Facts,
    Recorder,
    fence,
    final,
    frames,
    hears,
    native,
    passes,
    say,
    speak,
    speech,
    tone,
)
from .making import Make, dial
from .meters import Meters
from .watch import Watch

A_WORD = frames(tone(300, 0.02, 48000), 48000)


def _chain(error: BaseException | None) -> str:
    """An error and what caused it, as a log would show them."""
    words = ""
    while error is not None:
        words += f"{error} {error!r}\n"
        error = error.__cause__ or error.__context__
    return words


class TestObservability:
    @pytest.mark.parametrize("script", ["refused", "rejected", "thrown out", "unreachable"])
    async def test_ob1_the_key(
        self,
        make: Make,
        provider: loopback.Provider,
        under_watch: Watch,
        facts: Facts,
        script: str,
    ) -> None:
        """The API key is in a log, an event or an error, for everybody who reads them."""
        llm = make(client=dial(provider, reconnect_attempts=1))
        record = make.record(llm)
        shown = ""
        match script:
            case "refused":
                provider.refuse = 401
            case "rejected":
                provider.reject = facts.fatal_code
            case "unreachable":
                await provider.stop_listening()
        if script == "thrown out":
            await llm.connect()
            connection = await provider.connection()
            assert connection.api_key == KEY
            await transit.ends_for_good(provider, connection, "no such key: sk-canary")
            await record.first(RealtimeDisconnectedEvent)
        else:
            with pytest.raises(events.SessionError) as raised:
                await llm.connect()
            shown = _chain(raised.value)
        error = await record.first(LLMErrorEvent)
        shown += _chain(error.error) + repr(record.items) + repr(llm) + repr(llm.client)
        assert KEY not in shown
        assert "canary" not in shown, "what the provider says of the key is shown"

    async def test_ob1_what_was_said(
        self, make: Make, provider: loopback.Provider, under_watch: Watch, facts: Facts
    ) -> None:
        """What callers say, and what tools return about them, is in the logs."""
        llm = make(instructions="Tell nobody about the canary.")

        @llm.register_function("weather", "The weather for a canary")
        async def weather(city: str) -> str:
            if city == "Paris":
                raise LookupError(f"no canary in {city}")
            return f"canary yellow in {city}"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        ear = make.listen(llm)
        await speak(llm, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "I am the canary.")
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La la canary", item_id="agent_1"),
        )
        if facts.tools:
            for number, city in enumerate(("Oslo", "Paris")):
                call_id, arguments = f"call_{number}", json.dumps({"city": city})
                await connection.send(events.ToolCall("response_1", call_id, "weather", arguments))
            await connection.send(
                events.ToolCall("response_1", "call_9", "canary_tool", '{"canary"'),
                events.ResponseDone("response_1"),
            )
            request = await connection.wait_for(events.CreateResponse, 2)
            await say(connection, "response_2", text="canary", request_id=request.request_id)
        else:
            await connection.send(events.ResponseDone("response_1"))
        await asking
        await connection.send_raw("sk-canary")
        await connection.send_raw(json.dumps({"canary": "sk-canary"}))
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse, 3 if facts.tools else 2)
        await connection.send(
            events.ResponseStarted("response_3", request.request_id),
            events.TextDelta("response_3", "A canary", item_id="agent_3"),
            events.ResponseDone("response_3", "failed", code="server_error"),
        )
        with pytest.raises(events.ResponseError) as raised:
            await asking
        await fence(connection, record)
        assert ear.agent_said()
        shown = _chain(raised.value) + "".join(map(_chain, (e.error for e in record.errors)))
        own = RealtimeConnectedEvent | RealtimeDisconnectedEvent | LLMErrorEvent
        shown += repr([event for event in record.items if isinstance(event, own)])
        shown += "\n".join(under_watch.log_lines)
        assert "canary" not in shown.lower()
        assert KEY not in shown

    async def test_ob2_flag_and_events(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
    ) -> None:
        """Whoever watches the events believes the agent is there when it is not."""
        flags = [llm.connected]
        provider.refuse = 503
        connection.abort()
        gone = await record.first(RealtimeDisconnectedEvent)
        flags.append(llm.connected)
        provider.refuse = None
        back = await record.first(RealtimeConnectedEvent, 2)
        flags.append(llm.connected)
        await llm.close()
        last = await record.first(RealtimeDisconnectedEvent, 2)
        flags.append(llm.connected)
        assert flags == [True, False, True, False]
        assert (gone.clean, last.clean) == (False, True)
        assert {each.plugin_name for each in (gone, back, last)} == {llm.provider_name}
        assert back.session_id == llm.session_id

    async def test_ob2_a_quiet_call(
        self,
        make: Make,
        llm: Realtime,
        connection: loopback.Connection,
        under_watch: Watch,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The log of one call fills the disk."""
        make.listen(llm, answers=True)
        for number in range(30):
            await speak(llm, A_WORD, ALICE)
            await hears(connection, "canary?", f"user_{number}")
            await say(connection, f"response_{number}", text="canary!", audio=bytes(96))
            await connection.send_raw(facts.unknown_frame)
            await connection.send(events.SessionAccepted(facts.output_rate))
        await fence(connection, record)
        await llm.close()
        lines = under_watch.log_lines
        assert len(lines) <= 10, f"{len(lines)} lines for a call without incident: {lines[:3]}"
        assert not under_watch.error_lines

    async def test_ob2_a_bad_line(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        under_watch: Watch,
        record: Recorder,
    ) -> None:
        """A bad connection fills the log, or leaves nothing in it."""
        for number in range(2, 7):
            connection.abort()
            connection = await provider.connection(number)
            await record.first(RealtimeConnectedEvent, number)
            await connection.send_raw("canary")
        await fence(connection, record)
        lines = under_watch.log_lines
        assert 1 <= len(lines) <= 20, f"{len(lines)} lines for five losses: {lines[:3]}"

    async def test_ob3_audio_and_transcripts(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        meters: Meters,
        facts: Facts,
    ) -> None:
        """Nobody can say how much was spoken, or by which provider."""
        name = llm.provider_name
        assert name
        await speak(llm, frames(tone(300, 0.2, 48000), 48000), ALICE)
        await connection.wait_audio(2 * facts.input_rate // 20)
        await hears(connection, "canary?")
        sound = speech(100, facts.output_rate)
        await say(connection, audio=sound, text="canary!")
        await ear.done("response_1")
        await fence(connection, record)
        counted = meters.counted("realtime.audio.input.bytes", name)
        slack = transit.SLACK_S * facts.input_rate * 2
        assert abs(counted - len(connection.audio())) <= slack
        in_ms = counted / 2 / facts.input_rate * 1000
        assert abs(meters.counted("realtime.audio.input.duration.ms", name) - in_ms) <= 11
        counted = meters.counted("realtime.audio.output.bytes", name)
        assert counted == sum(pcm.samples.nbytes for pcm in ear.chunks())
        assert ear.speech() == sound
        out_ms = counted / 2 / facts.output_rate * 1000
        assert abs(meters.counted("realtime.audio.output.duration.ms", name) - out_ms) <= 1
        if facts.transcription:
            assert meters.counted("realtime.transcriptions.user", name) == 1
        assert meters.counted("realtime.transcriptions.agent", name) == len(ear.agent_said())
        assert not meters.nameless()

    async def test_ob3_responses(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        record: Recorder,
        meters: Meters,
        facts: Facts,
    ) -> None:
        """What answers cost, and how long they take, is not in the metrics."""
        name = llm.provider_name or ""
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La", item_id="agent_1"),
        )
        await fence(connection, record)
        await passes(0.02)
        await connection.send(events.AudioDelta("response_1", bytes(96), "agent_1"))
        await fence(connection, record)
        await passes(0.02)
        await connection.send(
            events.AudioDelta("response_1", bytes(96), "agent_1"),
            events.ResponseDone("response_1", usage=events.Usage(7, 11, 18)),
        )
        await asking
        first_ms = meters.mean("llm.time_to_first_token.ms", name)
        latency_ms = meters.mean("llm.latency.ms", name)
        assert 20 <= first_ms <= latency_ms - 19, f"first audio {first_ms}, end {latency_ms} ms"
        assert latency_ms < 5000
        await say(connection, "response_2", audio=bytes(96))
        await fence(connection, record)
        assert meters.counted("realtime.responses", name) == 2
        assert meters.counted("llm.latency.ms", name) == 2
        assert meters.counted("llm.time_to_first_token.ms", name) == 2
        if facts.usage:
            assert meters.counted("llm.tokens.input", name) == 7
            assert meters.counted("llm.tokens.output", name) == 11
        assert not meters.nameless()

    async def test_ob3_tools(
        self, make: Make, provider: loopback.Provider, meters: Meters, facts: Facts
    ) -> None:
        """Nobody can say which tools are used, or fail."""
        facts.need("tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "weather", "{}"),
            events.ResponseDone("response_1"),
        )
        await connection.wait_for(events.CreateResponse)
        assert meters.counted("llm.tool_calls", llm.provider_name or "") == 1
        assert meters.counted("llm.tool_latency.ms", llm.provider_name or "") == 1
        assert not meters.nameless()

    async def test_ob3_errors(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder, meters: Meters
    ) -> None:
        """A provider that fails again and again looks healthy."""
        name = llm.provider_name or ""

        def counted() -> int:
            return meters.counted("llm.errors", name) + meters.counted("realtime.errors", name)

        await connection.send(events.Fault("server_error"))
        await record.first(LLMErrorEvent)
        assert counted() == 1
        await connection.send_raw("canary")
        await record.first(LLMErrorEvent, 2)
        assert counted() == 2
        await say(connection, text="A canary", status="failed")
        await record.first(LLMErrorEvent, 3)
        assert counted() == 3
        assert not meters.nameless()
