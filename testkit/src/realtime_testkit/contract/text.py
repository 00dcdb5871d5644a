"""TX: text goes in, its answer comes out, and no caller waits without a bound."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from vision_agents.core.llm.events import LLMErrorEvent
from vision_agents.core.llm.llm import LLMResponseFinal
from vision_agents.testing import TestSession

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AGENT, AgentFlow
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime, ResponseItem
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    Asked,
    NativeCall,
    begun,
    calls,
    code_of,
    continuation,
    fence,
    final,
    is_interrupted,
    leaves,
    passes,
    say,
    stops,
)
from realtime_testkit.signals import speech
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

AT_ONCE_S = 0.5
"""A bound far below every other timeout in use."""

SILENCE_S = 0.15
"""response_timeout_s, where a test waits until it is over."""

PROMPT = "Sing, canary"


async def _exchange(
    stream: AsyncIterator[ResponseItem], connection: Connection, number: int
) -> tuple[list[object], list[ResponseItem]]:
    """What a call has the plugin ask and the caller get, ids and times left out."""
    before = len(connection.commands)
    asking = begun(_all(stream))
    request = await connection.wait_for(protocol.CreateResponse, number)
    await say(connection, f"response_{number}", text="La la canary", request_id=request.request_id)
    asked: list[object] = []
    for command in connection.commands[before:]:
        match command:
            case protocol.CreateResponse(request_id, options):
                asked += [
                    "CreateResponse",
                    *(leaf for leaf in leaves(options) if leaf != request_id),
                ]
            case _:
                asked.append(command)
    got: list[ResponseItem] = []
    for item in await asking:
        match item:
            case LLMResponseFinal():
                timeless = replace(item, latency_ms=None, time_to_first_token_ms=None)
                got.append(replace(timeless, item_id=None, original=None))
            case _:
                got.append(replace(item, item_id=None, time_to_first_token_ms=None))
    return asked, got


async def _all(stream: AsyncIterator[ResponseItem]) -> list[ResponseItem]:
    return [item async for item in stream]


class Text(Contract):
    """Prompts in writing, and their answers."""

    @pytest.fixture(autouse=True)
    def takes_text(self, facts: Facts) -> None:
        """Excused where the provider takes no text."""
        facts.need("text")

    async def test_tx1_text_and_request_are_sent(
        self, llm: Realtime, connection: Connection, record: EventRecorder
    ) -> None:
        """simple_response() sends one message and one request without settings.

        It yields one final with the answer's text.
        """
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        await fence(connection, record)
        message, trigger = connection.commands[1:]
        assert message == protocol.AddMessage("user", PROMPT)
        assert isinstance(trigger, protocol.CreateResponse)
        overridden = [leaf for leaf in leaves(trigger.options) if leaf != trigger.request_id]
        assert not overridden, f"the request overrides the session: {trigger.options}"

    async def test_tx1_each_prompt_gets_its_answer(
        self, llm: Realtime, connection: Connection, record: EventRecorder
    ) -> None:
        """Two prompts in a row each get their own answer, by a request of their own."""
        for number in (1, 2):
            asking = begun(final(llm.simple_response(f"Canary {number}?")))
            request = await connection.wait_for(protocol.CreateResponse, number)
            await say(
                connection,
                f"response_{number}",
                text=f"Canary {number}!",
                request_id=request.request_id,
            )
            assert (await asking).text == f"Canary {number}!"
        assert connection.received(protocol.AddMessage) == [
            protocol.AddMessage("user", "Canary 1?"),
            protocol.AddMessage("user", "Canary 2?"),
        ]
        first, second = connection.received(protocol.CreateResponse)
        assert first.request_id != second.request_id

    async def test_tx1_requested_answer_is_spoken_too(
        self, llm: Realtime, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """The answer to a prompt is emitted as audio and as a transcript as well."""
        sound = speech(200, facts.output_rate)
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La la", audio=sound, request_id=request.request_id)
        await asking
        await output.done("response_1")
        assert output.speech("response_1") == sound
        assert output.agent_said()[-1].text == "La la"

    async def test_tx2_prompt_before_connect_raises(self, make: Make, subject: Subject) -> None:
        """A prompt before connect() raises the session error and gives one error event.

        The error's text names connect.
        """
        llm = make()
        with pytest.raises(subject.session_error, match="connect"):
            await final(llm.simple_response(PROMPT))
        await make.record(llm).first(LLMErrorEvent)
        assert len(make.record(llm).errors) == 1

    async def test_tx2_prompt_after_close_raises_at_once(
        self, llm: Realtime, make: Make, subject: Subject
    ) -> None:
        """A prompt after close() raises the session error at once and gives an error event."""
        await llm.close()
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(subject.session_error):
                await final(llm.simple_response(PROMPT))
        await make.record(llm).first(LLMErrorEvent)

    async def test_tx2_prompt_during_a_reconnect_is_sent_after_it(
        self, llm: Realtime, provider: Provider, connection: Connection, record: EventRecorder
    ) -> None:
        """A prompt given during a reconnect is sent once to the new session and answered."""
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        asking = begun(final(llm.simple_response(PROMPT)))
        provider.refuse = None
        again = await provider.connection(2)
        request = await again.wait_for(protocol.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert again.received(protocol.AddMessage) == [protocol.AddMessage("user", PROMPT)]
        assert not connection.received(protocol.AddMessage)

    async def test_tx2_prompt_at_a_drop_is_answered_or_fails(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A prompt given as the connection breaks is answered or raises the session error.

        The new session is told of it exactly once.
        """
        facts.need("history")
        connection.abort()
        asking = begun(final(llm.simple_response(PROMPT)))
        again = await provider.connection(2)
        message = await again.wait_for(protocol.AddMessage)
        assert message == protocol.AddMessage("user", PROMPT)
        asked = asyncio.create_task(again.wait_for(protocol.CreateResponse))
        await asyncio.wait([asking, asked], return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            await say(again, text="La la canary", request_id=asked.result().request_id)
            assert (await asking).text == "La la canary"
        else:
            asked.cancel()
            with pytest.raises(subject.session_error):
                await asking
        assert len(again.received(protocol.AddMessage)) == 1

    @pytest.mark.allows("open connections")
    async def test_tx2_prompt_to_a_hung_provider_is_sent_again(
        self, make: Make, provider: Provider, transport: Transport
    ) -> None:
        """A prompt that a hung provider does not read is sent to the next session and answered."""
        llm = make(client=make.client(send_timeout_s=0.2))
        await llm.connect()
        await transport.vanishes(await provider.connection())
        prompt = "canary" * (transport.full // 6)
        asking = begun(final(llm.simple_response(prompt)))
        again = await provider.connection(2)
        request = await again.wait_for(protocol.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert [len(each.text) for each in again.received(protocol.AddMessage)] == [len(prompt)]

    async def test_tx2_prompt_half_sent_is_sent_again(
        self, llm: Realtime, provider: Provider, connection: Connection, transport: Transport
    ) -> None:
        """A prompt half sent at a drop is sent whole to the next session and answered."""
        prompt = "canary" * (transport.full // 6)
        asking = begun(final(llm.simple_response(prompt)))
        for _ in range(5):
            await asyncio.sleep(0)
        connection.abort()
        again = await provider.connection(2)
        request = await again.wait_for(protocol.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert not connection.received(protocol.AddMessage)

    async def test_tx2_prompt_without_a_reconnect_raises(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """Prompts raise the session error where reconnecting fails for good."""
        llm = make(client=make.client(reconnect_attempts=2))
        await llm.connect()
        connection = await provider.connection()
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(subject.session_error):
                await final(llm.simple_response(PROMPT))
            with pytest.raises(subject.session_error):
                await final(llm.simple_response(PROMPT))
        assert not llm.connected

    async def test_tx2_refused_request_raises(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A refused request raises the response error with the provider's code.

        There is one error event.
        """
        facts.need("request_ids")
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.Fault("content_refused", request.request_id))
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(subject.response_error) as raised:
                await asking
        assert code_of(raised.value) == "content_refused"
        await record.settled()
        assert [error.error_code for error in record.errors] == ["content_refused"]

    async def test_tx3_simple_response_is_the_native_call(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """simple_response() and the native method send and yield the same."""
        simple = await _exchange(llm.simple_response(PROMPT), connection, 1)
        documented = await _exchange(native(llm, PROMPT), connection, 2)
        assert simple == documented
        assert len(simple[1]) == 3 + 1, "not a delta a piece, and a final"

    @pytest.mark.parametrize("moment", ["asked", "answering"])
    @pytest.mark.parametrize("what", ["interrupt", "close", "drop", "barge-in"])
    async def test_tx4_prompt_ends_at_once(
        self,
        flow: AgentFlow,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        what: str,
        moment: str,
        subject: Subject,
    ) -> None:
        """A prompt ends within half a second of an interrupt, close, drop or barge-in."""
        asking = asyncio.create_task(flow.flow.simple_response(PROMPT, AGENT))
        request = await connection.wait_for(protocol.CreateResponse)
        if moment == "answering":
            await say(
                connection,
                text="La la",
                audio=bytes(960),
                status=None,
                request_id=request.request_id,
            )
            await fence(connection, record)
        provider.refuse = 503  # whatever happens, not because a new session comes
        async with asyncio.timeout(AT_ONCE_S):
            match what:
                case "interrupt":
                    await flow.flow.interrupt()
                case "close":
                    await llm.close()
                case "drop":
                    connection.abort()
                case _:
                    await is_interrupted(connection, facts)
            if what == "drop":
                with pytest.raises(subject.session_error):
                    await asking
            else:
                await asking

    @pytest.mark.parametrize("what", ["interrupt", "close"])
    async def test_tx4_waiting_prompt_ends_at_once(
        self, make: Make, provider: Provider, what: str, subject: Subject
    ) -> None:
        """A prompt that waits for a reconnect ends at once with interrupt() or close()."""
        llm = make(client=make.client(reconnect_delay_s=5.0, reconnect_max_delay_s=5.0))
        await llm.connect()
        (await provider.connection()).abort()
        await make.record(llm).until(lambda: bool(make.record(llm).disconnected), "disconnected")
        asking = begun(final(llm.simple_response(PROMPT)))
        _, pending = await asyncio.wait([asking], timeout=0.02)
        assert pending, "did not wait for the connection"
        async with asyncio.timeout(AT_ONCE_S):
            await (llm.interrupt() if what == "interrupt" else llm.close())
            ended = await asyncio.gather(asking, return_exceptions=True)
        for each in ended:
            assert isinstance(each, LLMResponseFinal | subject.session_error)

    @pytest.mark.parametrize("moment", ["asked", "answering"])
    async def test_tx4_silent_provider_times_out(
        self, make: Make, provider: Provider, facts: Facts, moment: str, transport: Transport
    ) -> None:
        """A silent provider gives TimeoutError and one error event.

        The next prompt is answered, and a late answer is not taken for its own.
        """
        llm = make(response_timeout_s=SILENCE_S + transport.late_s)
        await llm.connect()
        connection = await provider.connection()
        asking = begun(final(llm.simple_response(PROMPT)))
        first = await connection.wait_for(protocol.CreateResponse)
        if moment == "answering":
            await say(connection, text="La la", status=None, request_id=first.request_id)
        async with asyncio.timeout(AT_ONCE_S + transport.late_s):
            with pytest.raises(TimeoutError):
                await asking
        record = make.record(llm)
        await record.first(LLMErrorEvent)
        assert len(record.errors) == 1
        if moment == "answering":
            await stops(connection, facts)
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse, 2)
        if moment == "asked":  # its answer comes after all, and is not that to the next
            await say(connection, text="Too late", request_id=first.request_id)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_tx4_speech_without_text_is_no_silence(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A caller waits on while its answer is spoken, though no text of it comes."""
        transport.needs_messages()
        facts.need("request_ids")
        llm = make(response_timeout_s=SILENCE_S)
        await llm.connect()
        connection = await provider.connection()
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.ResponseStarted("response_1", request.request_id))
        sound = speech(20, facts.output_rate)
        for _ in range(5):
            await asyncio.sleep(SILENCE_S / 2)
            await connection.send(protocol.AudioDelta("response_1", sound, "agent_1"))
        await connection.send(
            protocol.TextDone("response_1", "La la", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        assert (await asking).text == "La la"
        assert not connection.received(protocol.CancelResponse)

    async def test_tx4_caller_that_leaves_a_silent_answer_stops_nothing_else(
        self,
        llm: Realtime,
        flow: AgentFlow,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """An answer that was said before is heard to its end."""
        facts.need("request_ids", "ids")
        sound = speech(3000, facts.output_rate)
        await say(connection, audio=sound, text="A canary")
        await flow.plays()
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.ResponseStarted("response_2", request.request_id))
        await fence(connection, record, spoken=False)
        asking.cancel()
        await asyncio.wait([asking])
        await stops(connection, facts, "response_2")
        await say(connection, "response_3", text="Another canary")
        await flow.reads(("assistant", "A canary"), ("assistant", "Another canary"))
        assert flow.audible(), "the answer before was cut off"

    async def test_tx4_running_tool_is_waited_for(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """The timeout of a response does not run out while a tool of it works."""
        facts.need("tools")
        bound_s = SILENCE_S + transport.late_s
        llm = make(response_timeout_s=bound_s, tool_timeout_s=1.5 * bound_s)
        goes_on = asyncio.Event()

        @llm.register_function("slowly", "Takes its time")
        async def slowly() -> str:
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection = await provider.connection()
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
            protocol.ResponseDone("response_1"),
        )
        result = await connection.wait_for(protocol.AddToolResult)
        assert "error" in str(result.output).lower()
        request_id = await continuation(connection, facts, 2)
        await say(connection, "response_2", text="No canary", request_id=request_id)
        assert (await asking).text == "No canary"

    async def test_tx4_answer_after_a_tool_has_its_own_time(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The time for an answer that follows a tool begins when the tool has ended."""
        facts.need("text", "tools")
        llm = make(response_timeout_s=0.8)

        @llm.register_function("slowly", "takes its time")
        async def slowly() -> str:
            await passes(0.6)
            return "canary"

        await llm.connect()
        connection = await provider.connection()
        asked = Asked(llm.simple_response("Sing, canary"))
        request = await asked.request(connection, 1)
        await calls(connection, "slowly", "{}", request_id=request.request_id)
        request_id = await continuation(connection, facts, 2)
        await passes(0.3)
        await say(connection, "response_2", text="Here", request_id=request_id)
        assert (await asked.final()).text == "Here"

    async def test_tx4_silence_after_a_tool_times_out(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A provider that is silent after a tool's result gives TimeoutError."""
        facts.need("tools")
        llm = make(response_timeout_s=SILENCE_S + transport.late_s)

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        asking = begun(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ToolCall("response_1", "call_1", "weather", "{}"),
            protocol.ResponseDone("response_1"),
        )
        await continuation(connection, facts, 2)
        async with asyncio.timeout(AT_ONCE_S + transport.late_s):
            with pytest.raises(TimeoutError):
                await asking

    async def test_tx5_test_session_gets_the_reply(
        self, make: Make, echo: Provider, facts: Facts
    ) -> None:
        """TestSession of Vision Agents captures the text of two replies."""
        llm = make(echo)
        await llm.connect()
        async with TestSession(llm, "Repeat, canary.") as session:
            response = await session.simple_response("Hello canary")
            assert response.output == "You said: Hello canary"
            assert not response.function_calls
            again = await session.simple_response("Bye canary")
            assert again.output == "You said: Bye canary"

    async def test_tx5_test_session_captures_tool_calls(
        self, make: Make, echo: Provider, facts: Facts
    ) -> None:
        """TestSession of Vision Agents captures a tool call, its result and the reply."""
        facts.need("tools")
        llm = make(echo)

        @llm.register_function("weather", "The weather in a city")
        async def weather(city: str) -> dict[str, str]:
            return {"city": city, "sky": "canary yellow"}

        await llm.connect()
        async with TestSession(llm, "Repeat, canary.") as session:
            response = await session.simple_response('AgentFlow weather with {"city": "Oslo"}')
        response.assert_function_called("weather", arguments={"city": "Oslo"})
        response.assert_function_output(
            "weather", output={"city": "Oslo", "sky": "canary yellow"}, is_error=False
        )
        assert response.output is not None
        assert "canary yellow" in response.output
