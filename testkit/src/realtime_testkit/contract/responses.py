"""RS: who may ask for a response, and when."""

import asyncio
import itertools

import pytest
from vision_agents.core.llm.events import ToolEndEvent
from vision_agents.core.llm.realtime import RealtimeAudioOutput, RealtimeUserSpeechStarted

from realtime_testkit import protocol
from realtime_testkit.agent_flow import AgentFlow
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    WAIT_S,
    Asked,
    NativeCall,
    begun,
    calls,
    fence,
    hears,
    is_interrupted,
    needs_continuations,
    passes,
    say,
    speak,
    stops,
)
from realtime_testkit.signals import frames, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract
from .tools import Weather

PROMPT = "Sing, canary"

BOUND_S = 0.3
"""response_timeout_s, where a test waits until it is over."""

SOON_S = 2.0
"""Long enough for that bound to be over, and far below the default one."""


def _requests(connection: Connection) -> int:
    return len(connection.received(protocol.CreateResponse))


async def _request(connection: Connection, count: int) -> protocol.CreateResponse:
    """Wait for a request that has to come once a bound is over."""
    async with asyncio.timeout(SOON_S):
        return await connection.wait_for(protocol.CreateResponse, count)


class Responses(Contract):
    """Requests by text, continuations after tools and commits: one at a time, none lost."""

    @pytest.fixture
    def tools(self, facts: Facts) -> Weather:
        """The tools."""
        facts.need("tools")
        return Weather()

    @pytest.fixture
    async def llm(self, make: Make, facts: Facts) -> Realtime:
        """A Realtime, connected, with tools where the provider calls any."""
        llm = make(response_timeout_s=SOON_S)
        if facts.tools:
            Weather().register(llm)
        await llm.connect()
        return llm

    async def _with(
        self, make: Make, provider: Provider, tools: Weather, *, response_timeout_s: float = BOUND_S
    ) -> tuple[Realtime, Connection, EventRecorder]:
        """A Realtime with the test's tools and a short bound; its connection and events."""
        llm = make(response_timeout_s=response_timeout_s)
        tools.register(llm)
        await llm.connect()
        connection = await provider.connection(len(provider.connections))
        return llm, connection, make.record(llm)

    @pytest.mark.parametrize("by", ["simple_response", "native"])
    async def test_rs1_request_waits_for_the_end_of_a_cancelled_response(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
        by: str,
    ) -> None:
        """After interrupt() a request goes out once the cancelled response has ended.

        It goes out once, and its caller gets its answer.
        """
        facts.need("one_response_at_a_time", "text", "cancellation")
        await say(connection, audio=speech(500, facts.output_rate), status=None)
        await fence(connection, record)
        await llm.interrupt()
        asked = Asked(
            llm.simple_response(PROMPT) if by == "simple_response" else native(llm, PROMPT)
        )
        await connection.wait_for(protocol.CancelResponse)
        await fence(connection, record)
        await fence(connection, record)
        assert not _requests(connection), "asked before the cancelled response had ended"
        await connection.send(protocol.ResponseDone("response_1", "cancelled"))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"
        assert _requests(connection) == 1

    @pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
    async def test_rs1_request_waits_for_the_response_in_progress(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        status: protocol.ResponseStatus,
    ) -> None:
        """A request made during a response goes out once that has ended, however it ended."""
        facts.need("one_response_at_a_time", "text")
        await say(connection, text="A canary", status=None)
        await fence(connection, record)
        asked = Asked(llm.simple_response(PROMPT))
        await fence(connection, record)
        await fence(connection, record)
        assert not _requests(connection), "asked while a response was active"
        await connection.send(protocol.ResponseDone("response_1", status, code="server_error"))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"

    async def test_rs1_requests_are_answered_one_after_another(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """Three requests at once go out one after another, in order, each with its answer."""
        facts.need("one_response_at_a_time", "text")
        asked = [Asked(llm.simple_response(f"Canary {number}?")) for number in (1, 2, 3)]
        for number in (1, 2, 3):
            request = await connection.wait_for(protocol.CreateResponse, number)
            await fence(connection, record)
            assert _requests(connection) == number, "asked before the answer before had ended"
            await say(
                connection,
                f"response_{number}",
                text=f"Canary {number}!",
                request_id=request.request_id,
            )
            assert (await asked[number - 1].final()).text == f"Canary {number}!"
        prompts = [message.text for message in connection.received(protocol.AddMessage)]
        assert prompts == ["Canary 1?", "Canary 2?", "Canary 3?"]

    async def test_rs1_commit_asks_once_the_response_has_ended(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """The request of commit_audio() goes out once the response in progress has ended."""
        facts.need("one_response_at_a_time", "manual_turns")
        await llm.update_session(turn_detection=False)
        await say(connection, text="A canary", status=None)
        await fence(connection, record)
        committing = asyncio.create_task(llm.commit_audio())
        await fence(connection, record)
        await fence(connection, record)
        assert not _requests(connection), "asked while a response was active"
        await connection.send(protocol.ResponseDone("response_1"))
        await connection.wait_for(protocol.CreateResponse)
        await committing
        kinds = [type(command) for command in connection.commands]
        assert kinds.index(protocol.CommitAudio) < kinds.index(protocol.CreateResponse)

    async def test_rs1_request_waits_for_the_answer_to_the_user(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A request made while the user's turn is to be answered waits for that answer.

        Its caller gets nothing of the answer to the user.
        """
        facts.need("one_response_at_a_time", "text", "turn_detection", "speech_events")
        await hears(connection, "Hello canary")
        await fence(connection, record)
        asked = Asked(llm.simple_response(PROMPT))
        await fence(connection, record)
        await fence(connection, record)
        assert not _requests(connection), "asked while the user's turn was to be answered"
        await say(connection, "response_1", text="Hello user")
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"

    async def test_rs1_request_goes_out_where_the_due_answer_never_comes(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A request waits no longer than response_timeout_s for the answer to the user."""
        facts.need("text", "turn_detection", "speech_events")
        llm = make(response_timeout_s=BOUND_S)
        await llm.connect()
        connection = await provider.connection()
        await hears(connection, "Hello canary")
        await passes(0.7 * BOUND_S)
        asked = Asked(llm.simple_response(PROMPT))
        request = await _request(connection, 1)
        await say(connection, text="La la", request_id=request.request_id, spoken=False)
        assert (await asked.final()).text == "La la"

    async def test_rs1_request_is_free_where_turns_are_not_answered(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A request goes out at once where the provider does not answer turns by itself."""
        facts.need("text", "speech_events", "turns_without_answers")
        llm = make(turn_detection=facts.turns_without_answers)
        await llm.connect()
        connection = await provider.connection()
        await hears(connection, "Hello canary")
        await fence(connection, make.record(llm))
        asked = Asked(llm.simple_response(PROMPT))
        async with asyncio.timeout(SOON_S):
            request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"

    async def test_rs2_result_is_continued_after_an_unanswered_turn(
        self, make: Make, provider: Provider, tools: Weather, facts: Facts
    ) -> None:
        """A tool that ends while the user speaks is continued once after the turn.

        The provider does not answer turns by itself here.
        """
        facts.need("speech_events", "turns_without_answers")
        needs_continuations(facts)
        llm = make(turn_detection=facts.turns_without_answers)
        tools.register(llm)
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        await calls(connection, "slowly")
        await tools.begun.first(str)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult)
        await fence(connection, record)
        assert not _requests(connection), "asked while the user was speaking"
        await connection.send(
            protocol.UserSpeechStopped("user_1"), protocol.AudioCommitted("user_1")
        )
        request = await _request(connection, 1)
        await say(connection, "response_2", text="Canary", request_id=request.request_id)
        await fence(connection, record)
        await fence(connection, record)
        assert _requests(connection) == 1, "asked more than once"

    async def test_rs2_result_is_continued_where_the_due_answer_never_comes(
        self, make: Make, provider: Provider, tools: Weather, facts: Facts
    ) -> None:
        """A continuation that waits for the answer to the user is sent once its bound is over."""
        facts.need("speech_events", "turn_detection")
        needs_continuations(facts)
        _, connection, record = await self._with(make, provider, tools)
        await calls(connection, "slowly")
        await tools.begun.first(str)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult)
        await connection.send(protocol.UserSpeechStopped("user_1"))
        await _request(connection, 1)

    async def test_rs2_results_of_two_responses_are_continued(
        self, tools: Weather, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Tools of two responses that end during a third one get one continuation after it."""
        facts.need("ids")
        needs_continuations(facts)
        _, connection, record = await self._with(make, provider, tools, response_timeout_s=WAIT_S)
        await calls(connection, "slowly", '{"name": "finch"}', call_id="call_1")
        await tools.begun.first(str)
        await calls(
            connection, "slowly", '{"name": "tit"}', call_id="call_2", response_id="response_2"
        )
        await tools.begun.first(str, 2)
        await say(connection, "response_3", text="One moment", status=None)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult, 2)
        await fence(connection, record)
        assert not _requests(connection), "asked while an answer was given"
        await connection.send(protocol.ResponseDone("response_3"))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_4", text="Canary", request_id=request.request_id)
        await fence(connection, record)
        await fence(connection, record)
        assert _requests(connection) == 1, "the same results were continued twice"

    @pytest.mark.parametrize("then", ["a prompt", "a turn"])
    @pytest.mark.parametrize("fault", ["named", "unnamed", "silence"])
    async def test_rs3_lost_continuation_blocks_nothing(
        self,
        make: Make,
        provider: Provider,
        tools: Weather,
        facts: Facts,
        fault: str,
        then: str,
    ) -> None:
        """A continuation that is refused or never answered does not block the next one."""
        facts.need("text")
        needs_continuations(facts)
        llm, connection, record = await self._with(make, provider, tools)
        await calls(connection, "weather", '{"city": "Oslo"}')
        request = await connection.wait_for(protocol.CreateResponse)
        if fault != "silence":
            request_id = request.request_id if fault == "named" else None
            await connection.send(protocol.Fault("server_error", request_id))
        await fence(connection, record)
        await passes(BOUND_S)
        asked, request_id, count = None, None, 2
        if then == "a prompt":
            asked = Asked(llm.simple_response("And in Rome, canary?"))
            request_id, count = (await _request(connection, 2)).request_id, 3
        else:
            await hears(connection, "And in Rome?")
        await calls(
            connection,
            "weather",
            '{"city": "Rome"}',
            call_id="call_2",
            response_id="response_2",
            request_id=request_id,
        )
        await connection.wait_for(protocol.AddToolResult, 2)
        request = await _request(connection, count)
        await say(
            connection, "response_3", text="Sunny", request_id=request.request_id, spoken=False
        )
        if asked is not None:
            assert (await asked.final()).text == "Sunny"

    @pytest.mark.parametrize("fault", ["named", "unnamed", "silence"])
    async def test_rs3_lost_request_blocks_nothing(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        subject_errors: tuple[type[Exception], ...],
        fault: str,
    ) -> None:
        """A request that is refused or never answered ends, and the next one is answered."""
        facts.need("text")
        llm = make(response_timeout_s=BOUND_S)
        await llm.connect()
        connection = await provider.connection()
        asked = Asked(llm.simple_response(PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        if fault != "silence":
            request_id = request.request_id if fault == "named" else None
            await connection.send(protocol.Fault("server_error", request_id))
        async with asyncio.timeout(SOON_S):
            with pytest.raises(subject_errors):
                await asked.task
        again = Asked(llm.simple_response(PROMPT))
        request = await _request(connection, 2)
        await say(connection, text="La la", request_id=request.request_id, spoken=False)
        assert (await again.final()).text == "La la"

    @pytest.fixture
    def subject_errors(self, subject: Subject) -> tuple[type[Exception], ...]:
        """What a request that is refused or not answered may raise."""
        return (subject.response_error, subject.session_error, TimeoutError)

    async def test_rs3_unanswered_commit_blocks_nothing(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A commit whose request is never answered does not block a prompt."""
        facts.need("text", "manual_turns")
        llm = make(turn_detection=False, response_timeout_s=BOUND_S)
        await llm.connect()
        connection = await provider.connection()
        await llm.commit_audio()
        await connection.wait_for(protocol.CreateResponse)
        await passes(0.7 * BOUND_S)
        asked = Asked(llm.simple_response(PROMPT))
        request = await _request(connection, 2)
        await say(connection, text="La la", request_id=request.request_id, spoken=False)
        assert (await asked.final()).text == "La la"

    @pytest.mark.parametrize("stray", ["no end", "audio", "text"])
    async def test_rs4_lost_end_or_stray_delta_blocks_no_continuation(
        self, make: Make, provider: Provider, tools: Weather, facts: Facts, stray: str
    ) -> None:
        """A response without an end, or a delta of an unknown one, blocks no continuation."""
        facts.need("ids")
        needs_continuations(facts)
        _, connection, _ = await self._with(make, provider, tools)
        await _disturb(connection, stray)
        await calls(connection, "weather", '{"city": "Oslo"}', response_id="response_2")
        await connection.wait_for(protocol.AddToolResult)
        await _request(connection, 1)

    @pytest.mark.parametrize("stray", ["no end", "audio", "text"])
    async def test_rs4_lost_end_or_stray_delta_blocks_no_request(
        self, make: Make, provider: Provider, facts: Facts, stray: str
    ) -> None:
        """A response without an end, or a delta of an unknown one, blocks no request."""
        facts.need("ids", "text")
        llm = make(response_timeout_s=BOUND_S)
        await llm.connect()
        connection = await provider.connection()
        await _disturb(connection, stray)
        await passes(0.7 * BOUND_S)
        asked = Asked(llm.simple_response(PROMPT))
        request = await _request(connection, 1)
        await say(
            connection, "response_2", text="La la", request_id=request.request_id, spoken=False
        )
        assert (await asked.final()).text == "La la"

    async def test_rs10_request_that_is_always_refused_ends(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall
    ) -> None:
        """A request that is refused each time, because another answer is active, ends in an error."""
        facts.need("text", "busy_code", "request_ids")
        llm = make(response_timeout_s=0.2)
        await llm.connect()
        connection = await provider.connection()
        asked = Asked(native(llm, "Sing, canary"))

        async def refuse() -> None:
            for number in itertools.count(1):
                request = await asked.request(connection, number)
                await connection.send(protocol.Fault(facts.busy_code, request.request_id))

        refusing = begun(refuse())
        await asyncio.wait([refusing], timeout=WAIT_S)
        assert refusing.done(), "it is asked again for ever"
        with pytest.raises((TimeoutError, RuntimeError)):
            await refusing

    async def test_rs4_response_without_an_end_is_ended_for_the_agent(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A response whose end never comes ends within the bound, and is part of the history."""
        facts.need("history")
        llm = make(response_timeout_s=BOUND_S)
        await llm.connect()
        output, record = make.listen(llm), make.record(llm)
        connection = await provider.connection()
        await say(connection, audio=speech(40, facts.output_rate), text="A canary", status=None)
        done = await output.done("response_1")
        assert not done.interrupted
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        message = await again.wait_for(protocol.AddMessage)
        assert (message.role, message.text) == ("assistant", "A canary")

    async def test_rs5_request_without_an_id_in_the_answer_is_matched(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """A caller gets its answer though the response does not name the request."""
        facts.need("text")
        for number in (1, 2):
            asked = Asked(llm.simple_response(f"Canary {number}?"))
            await connection.wait_for(protocol.CreateResponse, number)
            await say(connection, f"response_{number}", text=f"Canary {number}!")
            assert (await asked.final()).text == f"Canary {number}!"

    async def test_rs5_chain_of_tools_without_request_ids_is_continued(
        self, make: Make, provider: Provider, tools: Weather, facts: Facts
    ) -> None:
        """Each tool of a chain is continued once though no response names its request.

        The caller's final has the text of the last response.
        """
        facts.need("text")
        needs_continuations(facts)
        llm, connection, record = await self._with(make, provider, tools, response_timeout_s=SOON_S)
        asked = Asked(llm.simple_response(PROMPT))
        for number in (1, 2, 3):
            await connection.wait_for(protocol.CreateResponse, number)
            await calls(
                connection,
                "weather",
                '{"city": "Oslo"}',
                call_id=f"call_{number}",
                response_id=f"response_{number}",
            )
        await connection.wait_for(protocol.CreateResponse, 4)
        await say(connection, "response_4", text="Sunny, canary")
        assert (await asked.final()).text == "Sunny, canary"
        await fence(connection, record)
        assert _requests(connection) == 4

    async def test_rs5_answer_to_the_user_is_not_matched(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A response without a request id answers the user while a turn is to be answered."""
        facts.need("text", "turn_detection", "speech_events")
        await hears(connection, "Hello canary")
        await fence(connection, record)
        asked = Asked(llm.simple_response(PROMPT))
        await fence(connection, record)
        await say(connection, "response_1", text="Hello user")
        await connection.wait_for(protocol.CreateResponse)
        await say(connection, "response_2", text="La la")
        assert (await asked.final()).text == "La la"

    @pytest.mark.parametrize("by", ["the user", "the app"])
    @pytest.mark.parametrize("when", ["running", "told", "after the response"])
    async def test_rs6_tools_of_an_interrupted_answer_are_not_continued(
        self,
        make: Make,
        provider: Provider,
        tools: Weather,
        facts: Facts,
        when: str,
        by: str,
    ) -> None:
        """The tools of an interrupted answer start no answer, before or after they end."""
        if by == "the user":
            facts.need("turn_detection", "speech_events")
        llm, connection, record = await self._with(make, provider, tools, response_timeout_s=SOON_S)
        tool = "weather" if when == "told" else "slowly"
        arguments = '{"city": "Oslo"}' if when == "told" else "{}"
        sound = speech(2000, facts.output_rate)
        await say(connection, audio=sound, text="One moment", status=None)
        await make.listen(llm).first(RealtimeAudioOutput)
        await connection.send(protocol.ToolCall("response_1", "call_1", tool, arguments))
        if when == "told":
            await connection.wait_for(protocol.AddToolResult)
        else:
            await tools.begun.first(str)
        if when == "after the response":
            await connection.send(protocol.ResponseDone("response_1"))
        await fence(connection, record, spoken=False)
        if by == "the user":
            await is_interrupted(connection, facts)
        else:
            await llm.interrupt()
        if when != "after the response":
            await stops(connection, facts)
        await fence(connection, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await fence(connection, record)
        if by == "the user":
            await connection.send(protocol.UserSpeechStopped("user_2"))
            await say(connection, "response_2", text="Yes?")
        await fence(connection, record)
        await fence(connection, record)
        assert not _requests(connection), "the tool of an interrupted answer was continued"

    async def test_rs7_out_of_band_response_is_the_callers_alone(
        self,
        flow: AgentFlow,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """Text and audio of a response out of band reach its caller, and nobody else."""
        facts.need("out_of_band_options", "request_ids")
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(
            connection,
            text="A private canary",
            audio=speech(40, facts.output_rate),
            request_id=request.request_id,
        )
        assert (await asked.final()).text == "A private canary"
        await fence(connection, record)
        await say(connection, "response_2", text="A public canary")
        await flow.reads(("assistant", "A public canary"))
        assert not flow.audible(), "an answer out of band was played"

    async def test_rs7_out_of_band_response_has_no_output(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """A response out of band emits no audio, no transcript and no end."""
        facts.need("out_of_band_options", "request_ids")
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(
            connection,
            text="A private canary",
            audio=speech(40, facts.output_rate),
            request_id=request.request_id,
        )
        await asked.task
        await fence(connection, record)
        assert not output.items

    async def test_rs7_out_of_band_response_is_no_history(
        self,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """A new session is not told the text of a response out of band."""
        facts.need("out_of_band_options", "request_ids", "history")
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="A private canary", request_id=request.request_id)
        await asked.task
        await say(connection, "response_2", text="A public canary")
        await fence(connection, record)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        told = [message.text for message in again.received(protocol.AddMessage)]
        assert told == ["A public canary"]

    async def test_rs7_tool_called_out_of_band_does_not_run(
        self,
        make: Make,
        provider: Provider,
        tools: Weather,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """Its result would be part of the conversation; the caller's final has the call."""
        facts.need("out_of_band_options", "request_ids")
        llm, connection, record = await self._with(make, provider, tools)
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await connection.wait_for(protocol.CreateResponse)
        await calls(connection, "weather", '{"city": "Oslo"}', request_id=request.request_id)
        assert (await asked.final()).original is not None
        await fence(connection, record)
        await fence(connection, record)
        assert not tools.calls
        assert not connection.received(protocol.AddToolResult)
        assert _requests(connection) == 1

    async def test_rs7_prompt_beside_out_of_band_options_is_refused(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """A prompt would become a message of the conversation: it is a ValueError."""
        facts.need("out_of_band_options")
        with pytest.raises(ValueError, match="out of band"):
            await Asked(native(llm, PROMPT, **facts.out_of_band_options)).task
        await fence(connection, record)
        assert not _requests(connection)
        assert not connection.received(protocol.AddMessage)

    async def test_rs7_interrupt_leaves_a_request_out_of_band(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """interrupt() takes back the conversation's request, and not the one before out of band."""
        facts.need("out_of_band_options", "request_ids", "ids", "cancellation")
        aside = Asked(native(llm, **facts.out_of_band_options))
        private = await _request(connection, 1)
        other = Asked(llm.simple_response(PROMPT))
        public = await _request(connection, 2)
        await llm.interrupt()
        await other.task
        await say(connection, text="La", status=None, request_id=public.request_id)
        await stops(connection, facts)
        await say(connection, "response_2", text="Private", request_id=private.request_id)
        assert (await aside.final()).text == "Private"

    async def test_rs7_out_of_band_request_waits_for_nothing(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """A request out of band goes out during a response, and delays no other request."""
        facts.need("out_of_band_options", "request_ids", "text", "ids")
        await say(connection, "response_1", text="A canary", status=None, spoken=False)
        await fence(connection, record)
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await _request(connection, 1)
        await say(
            connection,
            "response_2",
            text="Private",
            status=None,
            request_id=request.request_id,
            spoken=False,
        )
        await connection.send(protocol.ResponseDone("response_1"))
        other = Asked(llm.simple_response(PROMPT))
        request = await _request(connection, 2)
        await say(
            connection, "response_3", text="La la", request_id=request.request_id, spoken=False
        )
        assert (await other.final()).text == "La la"
        await connection.send(protocol.ResponseDone("response_2"))
        assert (await asked.final()).text == "Private"

    async def test_rs8_interruption_by_the_own_request_is_no_barge_in(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """An Interrupted that the plugin's own request caused ends only the older response.

        The caller of the request gets its answer, and the user has no turn.
        """
        facts.need("text")
        await say(connection, audio=speech(2000, facts.output_rate), text="A canary", status=None)
        await output.first(RealtimeAudioOutput)
        await llm.interrupt()
        asked = Asked(llm.simple_response(PROMPT))
        if not facts.one_response_at_a_time:
            await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.Interrupted("response_1"), protocol.ResponseDone("response_1", "cancelled")
        )
        request = await connection.wait_for(protocol.CreateResponse)
        await fence(connection, record)
        await say(
            connection,
            "response_2",
            text="La la",
            audio=speech(40, facts.output_rate),
            request_id=request.request_id,
        )
        assert (await asked.final()).text == "La la"
        await output.done("response_2")
        assert not [end for end in output.dones("response_2") if end.interrupted]
        assert not output.user_said()

    async def test_rs8_interruption_by_the_app_is_no_turn_of_the_user(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """An Interrupted that llm.interrupt() caused begins no turn of whoever spoke last."""
        await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
        await say(connection, audio=speech(2000, facts.output_rate), text="A canary", status=None)
        await output.first(RealtimeAudioOutput)
        await llm.interrupt()
        await connection.send(
            protocol.Interrupted("response_1"), protocol.ResponseDone("response_1", "cancelled")
        )
        await fence(connection, record)
        assert not output.of(RealtimeUserSpeechStarted)

    async def test_rs8_interruption_while_the_request_waits_keeps_the_request(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """An Interrupted before the requested response began does not end the request."""
        facts.need("text", "interrupts_for_a_request")
        await say(connection, audio=speech(2000, facts.output_rate), status=None)
        await fence(connection, record)
        asked = Asked(llm.simple_response(PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.Interrupted("response_1"), protocol.ResponseDone("response_1", "cancelled")
        )
        await fence(connection, record)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"

    async def test_rs9_message_without_a_request_ends_when_it_was_sent(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """A native call that asks for no answer ends at once, with an empty final."""
        facts.need("message_only_options")
        async with asyncio.timeout(SOON_S):
            last = await Asked(native(llm, PROMPT, **facts.message_only_options)).final()
        assert not last.text
        message = await connection.wait_for(protocol.AddMessage)
        assert message.text == PROMPT
        assert not _requests(connection)

    @pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
    async def test_rs10_refused_request_is_repeated(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        named: bool,
    ) -> None:
        """A request refused because a response is active is repeated once that has ended.

        The prompt is told once, and its caller gets its answer.
        """
        facts.need("one_response_at_a_time", "busy_code", "text", "request_ids")
        before = Asked(llm.simple_response("Hello, canary"))  # shows that requests are named
        request = await before.request(connection)
        await say(connection, "response_0", text="Hello", request_id=request.request_id)
        await before.task
        asked = Asked(llm.simple_response(PROMPT))
        request = await asked.request(connection, 2)
        # The provider has begun a response of its own in the meantime.
        await say(connection, "response_1", audio=bytes(96), status=None)
        await connection.send(
            protocol.Fault(facts.busy_code, request.request_id if named else None)
        )
        await fence(connection, record)
        assert _requests(connection) == 2, "repeated while the response was active"
        await connection.send(protocol.ResponseDone("response_1"))
        request = await _request(connection, 3)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"
        prompts = [message.text for message in connection.received(protocol.AddMessage)]
        assert prompts == ["Hello, canary", PROMPT], "the prompt was told more than once"

    async def test_rs10_end_of_an_unannounced_response_lets_a_refused_request_go(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """A refused request is repeated at the end of a response that was never announced."""
        facts.need("one_response_at_a_time", "busy_code", "text", "ids")
        asked = Asked(llm.simple_response(PROMPT))
        request = await asked.request(connection)
        await connection.send(
            protocol.Fault(facts.busy_code, request.request_id),
            protocol.ResponseDone("response_9"),
        )
        async with asyncio.timeout(SOON_S / 2):
            request = await _request(connection, 2)
        await say(connection, "response_1", text="La la", request_id=request.request_id)
        assert (await asked.final()).text == "La la"

    @pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
    async def test_rs10_refused_continuation_is_repeated(
        self,
        make: Make,
        provider: Provider,
        tools: Weather,
        facts: Facts,
        named: bool,
    ) -> None:
        """A continuation that is refused as too early is repeated once, with one result."""
        facts.need("one_response_at_a_time", "busy_code")
        needs_continuations(facts)
        _, connection, record = await self._with(make, provider, tools)
        await calls(connection, "weather", '{"city": "Oslo"}')
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.Fault(facts.busy_code, request.request_id if named else None)
        )
        request = await _request(connection, 2)
        await say(connection, "response_2", text="Sunny", request_id=request.request_id)
        await fence(connection, record)
        await fence(connection, record)
        assert _requests(connection) == 2, "repeated more than once"
        assert len(connection.received(protocol.AddToolResult)) == 1


async def _disturb(connection: Connection, how: str) -> None:
    """Let the provider begin a response that never ends, or send a delta of an unknown one."""
    match how:
        case "no end":
            await connection.send(
                protocol.ResponseStarted("response_1"),
                protocol.TextDelta("response_1", "A canary", item_id="agent_1"),
            )
        case "audio":
            await connection.send(protocol.AudioDelta("response_9", bytes(96), "agent_9"))
        case _:
            await connection.send(protocol.TextDelta("response_9", "stray", item_id="agent_9"))
