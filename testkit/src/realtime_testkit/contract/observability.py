"""OB: logs, events and metrics tell enough, and no secrets."""

import asyncio
import json

import pytest
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeConnectedEvent,
    RealtimeDisconnectedEvent,
)

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.metrics import Meters
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    KEY,
    NativeCall,
    continuation,
    fence,
    final,
    hears,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)


def _chain(error: BaseException | None) -> str:
    """An error and what caused it, as a log would show them."""
    words = ""
    while error is not None:
        words += f"{error} {error!r}\n"
        error = error.__cause__ or error.__context__
    return words


class Observability(Contract):
    """Tests of OB1 to OB3; OB1 and OB2 are checked in every other test too."""

    @pytest.mark.parametrize("script", ["refused", "rejected", "thrown out", "unreachable"])
    async def test_ob1_key_is_never_shown(
        self,
        make: Make,
        provider: Provider,
        watchdog: Watchdog,
        facts: Facts,
        script: str,
        subject: Subject,
        transport: Transport,
    ) -> None:
        """The key, and what the provider says about it, is in no error, event or repr."""
        llm = make(client=make.client(reconnect_attempts=1))
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
            await transport.ends_for_good(provider, connection, "no such key: sk-canary")
            await record.first(RealtimeDisconnectedEvent)
        else:
            with pytest.raises(subject.session_error) as raised:
                await llm.connect()
            shown = _chain(raised.value)
        error = await record.first(LLMErrorEvent)
        shown += _chain(error.error) + repr(record.items) + repr(llm) + repr(llm.client)
        assert KEY not in shown
        assert "canary" not in shown, "what the provider says of the key is shown"

    async def test_ob1_content_is_never_shown(
        self,
        make: Make,
        provider: Provider,
        watchdog: Watchdog,
        facts: Facts,
        subject: Subject,
        native: NativeCall,
        transport: Transport,
    ) -> None:
        """Instructions, texts, tool data and transcripts are in no log line, event or error."""
        llm = make(instructions="Tell nobody about the canary.")

        @llm.register_function("weather", "The weather for a canary")
        async def weather(city: str) -> str:
            if city == "Paris":
                raise LookupError(f"no canary in {city}")
            return f"canary yellow in {city}"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        output = make.listen(llm)
        await speak(llm, transport, A_WORD, ALICE)
        await connection.wait_audio(1)
        await hears(connection, "I am the canary.")
        await say(connection, "response_0", text="Hello, canary")
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La la canary", item_id="agent_1"),
        )
        if facts.tools:
            for number, city in enumerate(("Oslo", "Paris")):
                call_id, arguments = f"call_{number}", json.dumps({"city": city})
                await connection.send(
                    protocol.ToolCall("response_1", call_id, "weather", arguments)
                )
            await connection.send(
                protocol.ToolCall("response_1", "call_9", "canary_tool", '{"canary"'),
                protocol.ResponseDone("response_1"),
            )
            request_id = await continuation(connection, facts, 2)
            await say(connection, "response_2", text="canary", request_id=request_id)
        else:
            await connection.send(protocol.ResponseDone("response_1"))
        await asking
        await connection.send_raw("sk-canary")
        await connection.send_raw(json.dumps({"canary": "sk-canary"}))
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse, 3 if facts.tools else 2)
        await connection.send(
            protocol.ResponseStarted("response_3", request.request_id),
            protocol.TextDelta("response_3", "A canary", item_id="agent_3"),
            protocol.ResponseDone("response_3", "failed", code="server_error"),
        )
        with pytest.raises(subject.response_error) as raised:
            await asking
        await fence(connection, record)
        assert output.agent_said()
        shown = _chain(raised.value) + "".join(map(_chain, (e.error for e in record.errors)))
        own = RealtimeConnectedEvent | RealtimeDisconnectedEvent | LLMErrorEvent
        shown += repr([event for event in record.items if isinstance(event, own)])
        shown += "\n".join(watchdog.log_lines)
        assert "canary" not in shown.lower()
        assert KEY not in shown

    async def test_ob2_connected_flag_agrees_with_the_events(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
    ) -> None:
        """The connected flag is as the last event says, through a drop, a reconnect and close()."""
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

    async def test_ob2_call_without_incident_logs_ten_lines(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        watchdog: Watchdog,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Thirty turns without an incident log at most ten lines at INFO, and none at ERROR."""
        make.listen(llm, answers=True)
        for number in range(30):
            await speak(llm, transport, A_WORD, ALICE)
            await hears(connection, "canary?", f"user_{number}")
            await say(connection, f"response_{number}", text="canary!", audio=bytes(96))
            await connection.send_raw(facts.unknown_frame)
            await connection.send(protocol.SessionAccepted(output_rate=facts.output_rate))
        await fence(connection, record)
        await llm.close()
        lines = watchdog.log_lines
        assert len(lines) <= 10, f"{len(lines)} lines for a call without incident: {lines[:3]}"
        assert not watchdog.error_lines

    async def test_ob2_five_drops_log_twenty_lines(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        watchdog: Watchdog,
        record: EventRecorder,
    ) -> None:
        """Five drops and malformed frames log between one and twenty lines at INFO."""
        for number in range(2, 7):
            connection.abort()
            connection = await provider.connection(number)
            await record.first(RealtimeConnectedEvent, number)
            await connection.send_raw("canary")
        await fence(connection, record)
        lines = watchdog.log_lines
        assert 1 <= len(lines) <= 20, f"{len(lines)} lines for five losses: {lines[:3]}"

    async def test_ob3_audio_and_transcripts_are_counted(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        meters: Meters,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """Bytes, duration and transcripts are recorded with the provider's name."""
        name = llm.provider_name
        assert name
        await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000), ALICE)
        await connection.wait_audio(2 * facts.input_rate // 20)
        await hears(connection, "canary?")
        sound = speech(100, facts.output_rate)
        await say(connection, audio=sound, text="canary!")
        await output.done("response_1")
        await fence(connection, record)
        counted = meters.counted("realtime.audio.input.bytes", name)
        slack = transport.slack_s * facts.input_rate * 2
        assert abs(counted - len(connection.audio())) <= slack
        in_ms = counted / 2 / facts.input_rate * 1000
        assert abs(meters.counted("realtime.audio.input.duration.ms", name) - in_ms) <= 11
        counted = meters.counted("realtime.audio.output.bytes", name)
        assert counted == sum(pcm.samples.nbytes for pcm in output.chunks())
        assert output.speech() == sound
        out_ms = counted / 2 / facts.output_rate * 1000
        assert abs(meters.counted("realtime.audio.output.duration.ms", name) - out_ms) <= 1
        finals = [said for said in output.user_said() if said.mode == "final"]
        counted = meters.counted("realtime.transcriptions.user", name)
        assert len(finals) <= counted <= len(output.user_said())
        assert meters.counted("realtime.transcriptions.agent", name) == len(output.agent_said())
        assert not meters.nameless()

    async def test_ob3_responses_are_measured(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        meters: Meters,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """Responses, time to first token, latency and tokens are recorded with provider and model."""
        name, sound = llm.provider_name or "", speech(100, facts.output_rate)
        asking = asyncio.create_task(final(native(llm, "Sing, canary")))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La", item_id="agent_1"),
        )
        await fence(connection, record)
        await passes(0.02)
        await connection.send(protocol.AudioDelta("response_1", sound, "agent_1"))
        await fence(connection, record)
        await passes(0.02)
        await connection.send(
            protocol.AudioDelta("response_1", sound, "agent_1"),
            protocol.ResponseDone("response_1", usage=protocol.Usage(7, 11, 18)),
        )
        await asking
        assert llm.model in meters.models("llm.latency.ms", name)
        first_ms = meters.mean("llm.time_to_first_token.ms", name)
        latency_ms = meters.mean("llm.latency.ms", name)
        assert 20 <= first_ms <= latency_ms - 19, f"first audio {first_ms}, end {latency_ms} ms"
        assert latency_ms < 5000
        await say(connection, "response_2", audio=sound)
        await output.done("response_2")
        assert meters.counted("realtime.responses", name) == 2
        assert meters.counted("llm.latency.ms", name) == 2
        assert meters.counted("llm.time_to_first_token.ms", name) == 2
        if facts.usage:
            assert meters.counted("llm.tokens.input", name) == 7
            assert meters.counted("llm.tokens.output", name) == 11
        assert not meters.nameless()

    async def test_ob3_tool_calls_are_measured(
        self, make: Make, provider: Provider, meters: Meters, facts: Facts
    ) -> None:
        """A tool call and its latency are recorded once, with the provider's name."""
        facts.need("tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "weather", "{}"),
            protocol.ResponseDone("response_1"),
        )
        await continuation(connection, facts)
        assert meters.counted("llm.tool_calls", llm.provider_name or "") == 1
        assert meters.counted("llm.tool_latency.ms", llm.provider_name or "") == 1
        assert not meters.nameless()

    async def test_ob3_each_error_is_counted_once(
        self, llm: Realtime, connection: Connection, record: EventRecorder, meters: Meters
    ) -> None:
        """An error frame, a malformed frame and a failed response are each recorded as one error."""
        name = llm.provider_name or ""

        def counted() -> int:
            return meters.counted("llm.errors", name) + meters.counted("realtime.errors", name)

        await connection.send(protocol.Fault("server_error"))
        await record.first(LLMErrorEvent)
        assert counted() == 1
        await connection.send_raw("canary")
        await record.first(LLMErrorEvent, 2)
        assert counted() == 2
        await say(connection, text="A canary", status="failed")
        await record.first(LLMErrorEvent, 3)
        assert counted() == 3
        assert not meters.nameless()
