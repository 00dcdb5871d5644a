"""RC: what a new session is told and asked after the one before was lost."""

import asyncio

import pytest
from vision_agents.core.llm.events import ToolEndEvent

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    Asked,
    NativeCall,
    calls,
    continuation,
    fence,
    hears,
    leaves,
    needs_continuations,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, tone
from realtime_testkit.transport import Transport

from .base import Contract
from .tools import Weather

SECRET = "canary 4711"
FOR_OSLO = '{"city": "Oslo"}'

SOON_S = 2.0
"""Long enough for a reconnect and what follows it at once."""


def _told(connection: Connection) -> str:
    """Everything that a session was told in messages and results."""
    messages = [message.text for message in connection.received(protocol.AddMessage)]
    results = [str(result.output) for result in connection.received(protocol.AddToolResult)]
    return "\n".join(messages + results)


async def _requested_or_reported(connection: Connection, record: EventRecorder) -> None:
    """Wait until an answer is requested, or an error event says that it will not be."""
    async with asyncio.timeout(SOON_S):
        while not record.errors and not connection.received(protocol.CreateResponse):
            await passes(0.01)


class Recovery(Contract):
    """Results of tools, turns and native calls across a reconnect."""

    @pytest.fixture
    def tools(self, facts: Facts) -> Weather:
        """The tools; `weather` returns something that is not said elsewhere."""
        facts.need("tools", "history", "late_results")
        tools = Weather()
        tools.value = lambda: {"code": SECRET}
        return tools

    @pytest.fixture
    async def llm(self, make: Make, facts: Facts, request: pytest.FixtureRequest) -> Realtime:
        """A Realtime, connected; with tools where the test has any."""
        llm = make()
        if "tools" in request.fixturenames:
            tools: Weather = request.getfixturevalue("tools")
            tools.register(llm)
        await llm.connect()
        return llm

    async def _again(
        self, provider: Provider, record: EventRecorder, number: int = 2
    ) -> Connection:
        """The next session, once it is up."""
        again = await provider.connection(number)
        await record.up(number)
        return again

    @pytest.mark.parametrize(
        "when", ["during the response", "unanswered", "answer announced", "being answered"]
    )
    async def test_rc1_told_result_reaches_the_next_session(
        self,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        when: str,
    ) -> None:
        """A result told to the lost session is told to the next one, once.

        The answer that it was for is requested, once, unless it had begun.
        """
        needs_continuations(facts)
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "weather", FOR_OSLO),
        )
        await connection.wait_for(protocol.AddToolResult)
        if when != "during the response":
            await connection.send(protocol.ResponseDone("response_1"))
            request = await connection.wait_for(protocol.CreateResponse)
        if when == "answer announced":
            facts.need("ids", "text")
            await connection.send(protocol.ResponseStarted("response_2", request.request_id))
            await fence(connection, record)
        elif when == "being answered":
            await say(
                connection, "response_2", text="It is", status=None, request_id=request.request_id
            )
            await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        if when == "being answered":  # it may do with the half that was heard
            await fence(again, record)
            await fence(again, record)
        else:
            request = await again.wait_for(protocol.CreateResponse)
            await say(again, "response_3", text="As I said", request_id=request.request_id)
            await fence(again, record)
            await fence(again, record)
        assert _told(again).count(f'"{SECRET}"') == 1, "not told once, as JSON"
        assert len(again.received(protocol.CreateResponse)) <= 1
        assert len(tools.calls) == 1, "the tool ran again"

    @pytest.mark.parametrize("when", ["after the reconnect", "while the connection is down"])
    @pytest.mark.parametrize("ended", [True, False], ids=["response ended", "response lost"])
    async def test_rc1_running_tools_result_reaches_the_next_session(
        self,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        ended: bool,
        when: str,
    ) -> None:
        """The result of a tool that ran when the session was lost is told to the next one.

        The answer that it is for is requested, once, also where the lost session would have gone
        on by itself.
        """
        facts.need("explicit_requests")
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "slowly", '{"name": "\\"canary\\""}'),
        )
        if ended:
            await connection.send(protocol.ResponseDone("response_1"))
        await tools.begun.first(str)
        await fence(connection, record)
        if when == "while the connection is down":
            provider.refuse = 503
            connection.abort()
            await provider.wait_handshakes(2)
            tools.goes_on.set()
            await record.first(ToolEndEvent)
            provider.refuse = None
            again = await self._again(provider, record)
        else:
            connection.abort()
            again = await self._again(provider, record)
            await fence(again, record)
            assert not again.received(protocol.CreateResponse), "asked before the tool has ended"
            tools.goes_on.set()
        request = await again.wait_for(protocol.CreateResponse)
        assert '"canary" is ready' in _told(again), "a text is told as it is"
        assert not again.received(protocol.AddToolResult), "the new session made no such call"
        await say(again, "response_2", text="Here it is", request_id=request.request_id)
        await fence(again, record)
        assert len(again.received(protocol.CreateResponse)) == 1

    async def test_rc1_answered_result_is_not_requested_again(
        self,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A result that was answered before the session was lost starts no further answer."""
        await calls(connection, "weather", FOR_OSLO)
        request_id = await continuation(connection, facts)
        await say(connection, "response_2", text="It is sunny", request_id=request_id)
        await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        await fence(again, record)
        await fence(again, record)
        assert not again.received(protocol.CreateResponse)
        assert "It is sunny" in _told(again)

    async def test_rc1_interrupted_tools_result_starts_no_answer(
        self,
        llm: Realtime,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
    ) -> None:
        """The result of an interrupted answer's tool is told to the next session, and not answered."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        await tools.begun.first(str)
        await llm.interrupt()
        await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await again.wait_for(protocol.AddMessage)
        assert "ready" in _told(again)
        await fence(again, record)
        await fence(again, record)
        assert not again.received(protocol.CreateResponse)

    @pytest.mark.parametrize("drops", [1, 2])
    async def test_rc2_owed_answer_is_requested_or_given_up_aloud(
        self,
        provider: Provider,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        drops: int,
    ) -> None:
        """A turn whose answer was due when the session was lost is answered in the next one.

        If it is not, an error event says so.
        """
        facts.need("history", "transcription", "turn_detection", "speech_events")
        await hears(connection, "Where is the canary?")
        await fence(connection, record)
        again = connection
        for number in range(2, drops + 2):
            again.abort()
            again = await self._again(provider, record, number)
        await _requested_or_reported(again, record)
        if requests := again.received(protocol.CreateResponse):
            assert _told(again).count("Where is the canary?") == 1
            await say(again, "response_2", text="Here", request_id=requests[0].request_id)
            await fence(again, record)
            assert len(again.received(protocol.CreateResponse)) == 1

    async def test_rc2_answer_that_is_late_is_owed(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """A turn that was not answered for two seconds when its session is lost is owed its answer."""
        facts.need("turn_detection", "speech_events")
        await hears(connection, "Where is the canary?")
        await fence(connection, record)
        await passes(2.2)
        connection.abort()
        await _requested_or_reported(await self._again(provider, record), record)

    async def test_rc2_lost_question_by_hand_is_reported(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """The loss of a turn that was ended by hand, and not transcribed, is an error event."""
        facts.need("manual_turns", "explicit_requests", "transcription")
        await llm.update_session(turn_detection=False)
        await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000))
        await llm.commit_audio()
        await connection.wait_for(protocol.CreateResponse)
        connection.abort()
        again = await self._again(provider, record)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await fence(again, record)
        assert not again.received(protocol.CreateResponse), "it does not know the question"

    async def test_rc2_answer_that_had_not_spoken_is_requested(
        self, provider: Provider, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """An answer that was lost before its first word is asked for again, or reported."""
        facts.need("history", "transcription", "turn_detection", "speech_events")
        await hears(connection, "Where is the canary?")
        await connection.send(protocol.ResponseStarted("response_1"))
        await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        await _requested_or_reported(again, record)

    async def test_rc2_lost_question_is_reported(
        self, provider: Provider, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A turn lost before its transcript came is asked for again or gives an error event."""
        facts.need("history", "transcription", "turn_detection", "speech_events")
        await connection.send(
            protocol.UserSpeechStarted("user_1"), protocol.UserSpeechStopped("user_1")
        )
        await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        await _requested_or_reported(again, record)

    async def test_rc2_second_lost_question_is_reported(
        self, provider: Provider, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A turn lost before its transcript came gives an error event after one that is known."""
        facts.need("history", "transcription", "turn_detection", "speech_events")
        await hears(connection, "Where is the canary?", "user_1")
        await connection.send(
            protocol.UserSpeechStarted("user_2"), protocol.UserSpeechStopped("user_2")
        )
        await fence(connection, record)
        connection.abort()
        again = await self._again(provider, record)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await fence(again, record)
        assert len(record.errors) == 1

    @pytest.mark.parametrize(
        "how", ["answered", "not to be answered", "interrupted", "interrupted at its start"]
    )
    async def test_rc2_no_answer_is_requested_where_none_is_owed(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        how: str,
    ) -> None:
        """No answer is requested for a turn that was answered, or needs no answer."""
        facts.need("history", "transcription", "turn_detection", "speech_events")
        if how == "not to be answered":
            facts.need("turns_without_answers")
            llm = make(turn_detection=facts.turns_without_answers)
        else:
            llm = make()
        await llm.connect()
        record = make.record(llm)
        connection = await provider.connection()
        await hears(connection, "Where is the canary?")
        if how == "answered":
            await say(connection, text="Here")
        elif how == "interrupted at its start":
            await connection.send(protocol.ResponseStarted("response_1"))
        await fence(connection, record)
        if how.startswith("interrupted"):
            await llm.interrupt()
        connection.abort()
        again = await self._again(provider, record)
        await fence(again, record)
        await fence(again, record)
        assert not again.received(protocol.CreateResponse)
        assert not record.errors

    @pytest.mark.parametrize("own", ["arguments", "prompt"])
    async def test_rc3_native_call_is_told_like_everything_else(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
        own: str,
    ) -> None:
        """Both halves of a native call with the provider's own arguments are told, in order.

        The prompt is the method's, or stands in the provider's own arguments.
        """
        facts.need("history", "text")
        if own == "arguments":
            facts.need("response_options")
            prompts = [("user", "Is it a canary?")]
            asked = Asked(native(llm, prompts[0][1], **facts.response_options))
        else:
            facts.need("prompt_options")
            given = [str(each) for each in leaves(facts.prompt_options)]
            roles = [each for each in given if each in ("user", "assistant", "system")]
            prompts = list(zip(roles, (each for each in given if "canary" in each), strict=True))
            asked = Asked(native(llm, **facts.prompt_options))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="It sings", request_id=request.request_id)
        await asked.task
        await output.done("response_1")
        connection.abort()
        again = await self._again(provider, record)
        await again.wait_for(protocol.AddMessage, len(prompts) + 1)
        await fence(again, record)
        told = [(message.role, message.text) for message in again.received(protocol.AddMessage)]
        assert told == [*prompts, ("assistant", "It sings")]

    async def test_rc3_several_messages_of_a_native_call_are_told(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """Every message of a prompt is told to the next session, with its role, in order."""
        facts.need("history", "text")
        prompt = [
            {"role": "user", "content": "I have a canary."},
            {"role": "assistant", "content": "How nice."},
            {"role": "user", "content": "What does it do?"},
        ]
        asked = Asked(native(llm, prompt))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="It sings", request_id=request.request_id)
        await asked.task
        await output.done("response_1")
        connection.abort()
        again = await self._again(provider, record)
        await again.wait_for(protocol.AddMessage, len(prompt) + 1)
        await fence(again, record)
        told = [(message.role, message.text) for message in again.received(protocol.AddMessage)]
        wanted = [(each["role"], each["content"]) for each in prompt]
        assert told == [*wanted, ("assistant", "It sings")]
