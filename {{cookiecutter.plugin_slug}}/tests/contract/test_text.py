"""TX: text goes in, its answer comes out, and nobody waits for ever."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from vision_agents.core.llm.events import LLMErrorEvent
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback
from vision_agents.testing import TestSession

from . import transit
from .calling import AGENT, Call
from .kit import Ear, Facts, Recorder, fence, final, is_interrupted, leaves, native, say, stops
from .making import Make, dial

AT_ONCE_S = 0.5
"""A bound far below every other timeout in use."""

PROMPT = "Sing, canary"

Item = LLMResponseDelta | LLMResponseFinal


@pytest.fixture(autouse=True)
def _takes_text(facts: Facts) -> None:
    facts.need("text")


async def _exchange(
    stream: AsyncIterator[Item], connection: loopback.Connection, number: int
) -> tuple[list[object], list[Item]]:
    """What a call has the plugin ask and the caller get, ids and times left out."""
    before = len(connection.commands)
    asking = asyncio.create_task(_all(stream))
    request = await connection.wait_for(events.CreateResponse, number)
    await say(connection, f"response_{number}", text="La la canary", request_id=request.request_id)
    asked: list[object] = []
    for command in connection.commands[before:]:
        match command:
            case events.CreateResponse(request_id, options):
                asked += [
                    "CreateResponse",
                    *(leaf for leaf in leaves(options) if leaf != request_id),
                ]
            case _:
                asked.append(command)
    got: list[Item] = []
    for item in await asking:
        match item:
            case LLMResponseFinal():
                timeless = replace(item, latency_ms=None, time_to_first_token_ms=None)
                got.append(replace(timeless, item_id=None, original=None))
            case _:
                got.append(replace(item, item_id=None, time_to_first_token_ms=None))
    return asked, got


async def _all(stream: AsyncIterator[Item]) -> list[Item]:
    return [item async for item in stream]


class TestText:
    async def test_tx1_text_and_trigger(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The agent is asked, and answers nothing, or in another voice than it was given."""
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        await fence(connection, record)
        message, trigger = connection.commands[1:]
        assert message == events.AddMessage("user", PROMPT)
        assert isinstance(trigger, events.CreateResponse)
        overridden = [leaf for leaf in leaves(trigger.options) if leaf != trigger.request_id]
        assert not overridden, f"the request overrides the session: {trigger.options}"

    async def test_tx1_one_request_after_another(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The second prompt brings the first one along, or gets its answer."""
        for number in (1, 2):
            asking = asyncio.create_task(final(llm.simple_response(f"Canary {number}?")))
            request = await connection.wait_for(events.CreateResponse, number)
            await say(
                connection,
                f"response_{number}",
                text=f"Canary {number}!",
                request_id=request.request_id,
            )
            assert (await asking).text == f"Canary {number}!"
        assert connection.received(events.AddMessage) == [
            events.AddMessage("user", "Canary 1?"),
            events.AddMessage("user", "Canary 2?"),
        ]
        first, second = connection.received(events.CreateResponse)
        assert first.request_id != second.request_id

    async def test_tx1_spoken_too(
        self, llm: Realtime, ear: Ear, connection: loopback.Connection
    ) -> None:
        """What the agent is asked to say is returned as text, and never spoken."""
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La la", audio=bytes(960), request_id=request.request_id)
        await asking
        await ear.done("response_1")
        assert ear.speech("response_1") == bytes(960)
        assert ear.agent_said()[-1].text == "La la"

    async def test_tx2_no_session(self, make: Make) -> None:
        """A prompt given too early vanishes."""
        llm = make()
        with pytest.raises(events.SessionError, match="connect"):
            await final(llm.simple_response(PROMPT))
        await make.record(llm).first(LLMErrorEvent)
        assert len(make.record(llm).errors) == 1

    async def test_tx2_after_close(self, llm: Realtime, make: Make) -> None:
        """A prompt given too late vanishes, or hangs."""
        await llm.close()
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(events.SessionError):
                await final(llm.simple_response(PROMPT))
        await make.record(llm).first(LLMErrorEvent)

    async def test_tx2_while_the_connection_is_down(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
    ) -> None:
        """A prompt given while the plugin reconnects is lost."""
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        provider.refuse = None
        again = await provider.connection(2)
        request = await again.wait_for(events.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert again.received(events.AddMessage) == [events.AddMessage("user", PROMPT)]
        assert not connection.received(events.AddMessage)

    async def test_tx2_as_the_connection_breaks(
        self,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        facts: Facts,
    ) -> None:
        """A prompt given as the connection breaks is lost, and nobody is told."""
        facts.need("history")
        connection.abort()
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        again = await provider.connection(2)
        message = await again.wait_for(events.AddMessage)
        assert message == events.AddMessage("user", PROMPT)
        asked = asyncio.create_task(again.wait_for(events.CreateResponse))
        await asyncio.wait([asking, asked], return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            await say(again, text="La la canary", request_id=asked.result().request_id)
            assert (await asking).text == "La la canary"
        else:
            asked.cancel()
            with pytest.raises(events.SessionError):
                await asking
        assert len(again.received(events.AddMessage)) == 1

    @pytest.mark.allows("open connections")
    async def test_tx2_a_provider_that_stops_reading(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A prompt that cannot be sent is dropped without a word."""
        llm = make(client=dial(provider, send_timeout_s=0.2))
        await llm.connect()
        await transit.vanishes(await provider.connection())
        prompt = "canary" * (transit.FULL // 6)
        asking = asyncio.create_task(final(llm.simple_response(prompt)))
        again = await provider.connection(2)
        request = await again.wait_for(events.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert [len(each.text) for each in again.received(events.AddMessage)] == [len(prompt)]

    async def test_tx2_the_connection_is_lost_in_the_middle(
        self, llm: Realtime, provider: loopback.Provider, connection: loopback.Connection
    ) -> None:
        """A prompt that was half said is dropped, or ends the agent with an error of its own."""
        prompt = "canary" * (transit.FULL // 6)
        asking = asyncio.create_task(final(llm.simple_response(prompt)))
        for _ in range(5):
            await asyncio.sleep(0)
        connection.abort()
        again = await provider.connection(2)
        request = await again.wait_for(events.CreateResponse)
        await say(again, text="La la canary", request_id=request.request_id)
        assert (await asking).text == "La la canary"
        assert not connection.received(events.AddMessage)

    async def test_tx2_the_connection_is_lost_for_good(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A prompt waits for a connection that never comes back."""
        llm = make(client=dial(provider, reconnect_attempts=2))
        await llm.connect()
        connection = await provider.connection()
        provider.refuse = 503
        connection.abort()
        await provider.wait_handshakes(2)
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(events.SessionError):
                await final(llm.simple_response(PROMPT))
            with pytest.raises(events.SessionError):
                await final(llm.simple_response(PROMPT))
        assert not llm.connected

    async def test_tx2_the_request_is_refused(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The provider refuses a request, and its caller waits for ever."""
        facts.need("ids")
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(events.Fault("content_refused", request.request_id))
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(events.ProviderError) as raised:
                await asking
        assert raised.value.code == "content_refused"
        await record.settled()
        assert [error.error_code for error in record.errors] == ["content_refused"]

    async def test_tx3_the_same_as_the_native_call(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """The standard way in asks for something else than the documented call."""
        simple = await _exchange(llm.simple_response(PROMPT), connection, 1)
        documented = await _exchange(native(llm, PROMPT), connection, 2)
        assert simple == documented
        assert len(simple[1]) == 3 + 1, "not a delta a piece, and a final"

    @pytest.mark.parametrize("moment", ["asked", "answering"])
    @pytest.mark.parametrize("what", ["interrupt", "close", "drop", "barge-in"])
    async def test_tx4_ends_at_once(
        self,
        call: Call,
        llm: Realtime,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        what: str,
        moment: str,
    ) -> None:
        """The agent's lock is held for ever: no prompt is answered any more."""
        asking = asyncio.create_task(call.flow.simple_response(PROMPT, AGENT))
        request = await connection.wait_for(events.CreateResponse)
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
                    await call.flow.interrupt()
                case "close":
                    await llm.close()
                case "drop":
                    connection.abort()
                case _:
                    await is_interrupted(connection, facts)
            if what == "drop":
                with pytest.raises(events.SessionError):
                    await asking
            else:
                await asking

    @pytest.mark.parametrize("what", ["interrupt", "close"])
    async def test_tx4_while_the_connection_is_down(
        self, make: Make, provider: loopback.Provider, what: str
    ) -> None:
        """A prompt that waits for the connection cannot be called off."""
        llm = make(client=dial(provider, reconnect_delay_s=5.0, reconnect_max_delay_s=5.0))
        await llm.connect()
        (await provider.connection()).abort()
        await make.record(llm).until(lambda: bool(make.record(llm).disconnected), "disconnected")
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        _, pending = await asyncio.wait([asking], timeout=0.02)
        assert pending, "did not wait for the connection"
        async with asyncio.timeout(AT_ONCE_S):
            await (llm.interrupt() if what == "interrupt" else llm.close())
            ended = await asyncio.gather(asking, return_exceptions=True)
        for each in ended:
            assert isinstance(each, LLMResponseFinal | events.SessionError)

    @pytest.mark.parametrize("moment", ["asked", "answering"])
    async def test_tx4_a_silent_provider(
        self, make: Make, provider: loopback.Provider, facts: Facts, moment: str
    ) -> None:
        """The provider forgets about a request, and the agent never speaks again."""
        llm = make(response_timeout_s=0.1)
        await llm.connect()
        connection = await provider.connection()
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        first = await connection.wait_for(events.CreateResponse)
        if moment == "answering":
            await say(connection, text="La la", status=None, request_id=first.request_id)
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(TimeoutError):
                await asking
        record = make.record(llm)
        await record.first(LLMErrorEvent)
        assert len(record.errors) == 1
        if moment == "answering":
            await stops(connection, facts)
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse, 2)
        if moment == "asked":  # its answer comes after all, and is not that to the next
            await say(connection, text="Too late", request_id=first.request_id)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_tx4_a_silent_tool(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A caller is given up on while a tool still works for it, or waits for ever."""
        facts.need("tools")
        llm = make(response_timeout_s=0.1, tool_timeout_s=0.15)
        goes_on = asyncio.Event()

        @llm.register_function("slowly", "Takes its time")
        async def slowly() -> str:
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection = await provider.connection()
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.ToolCall("response_1", "call_1", "slowly", "{}"),
            events.ResponseDone("response_1"),
        )
        result = await connection.wait_for(events.AddToolResult)
        assert "error" in str(result.output).lower()
        request = await connection.wait_for(events.CreateResponse, 2)
        await say(connection, "response_2", text="No canary", request_id=request.request_id)
        assert (await asking).text == "No canary"

    async def test_tx4_silent_after_a_tool(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """The provider takes a tool's result and says no more: the agent hangs."""
        facts.need("tools")
        llm = make(response_timeout_s=0.1)

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        asking = asyncio.create_task(final(llm.simple_response(PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.ToolCall("response_1", "call_1", "weather", "{}"),
            events.ResponseDone("response_1"),
        )
        await connection.wait_for(events.CreateResponse, 2)
        async with asyncio.timeout(AT_ONCE_S):
            with pytest.raises(TimeoutError):
                await asking

    async def test_tx5_a_test_session(
        self, make: Make, parrot: loopback.Provider, facts: Facts
    ) -> None:
        """Agents on this plugin cannot be tested as the house tests them."""
        llm = make(parrot)
        await llm.connect()
        async with TestSession(llm, "Repeat, canary.") as session:
            response = await session.simple_response("Hello canary")
            assert response.output == "You said: Hello canary"
            assert not response.function_calls
            again = await session.simple_response("Bye canary")
            assert again.output == "You said: Bye canary"

    async def test_tx5_a_test_session_with_tools(
        self, make: Make, parrot: loopback.Provider, facts: Facts
    ) -> None:
        """What the agent does with its tools cannot be tested."""
        facts.need("tools")
        llm = make(parrot)

        @llm.register_function("weather", "The weather in a city")
        async def weather(city: str) -> dict[str, str]:
            return {"city": city, "sky": "canary yellow"}

        await llm.connect()
        async with TestSession(llm, "Repeat, canary.") as session:
            response = await session.simple_response('Call weather with {"city": "Oslo"}')
        response.assert_function_called("weather", arguments={"city": "Oslo"})
        response.assert_function_output(
            "weather", output={"city": "Oslo", "sky": "canary yellow"}, is_error=False
        )
        assert response.output is not None
        assert "canary yellow" in response.output
