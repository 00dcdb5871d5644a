"""NT: the wrapper of the provider's native call."""

import asyncio
import copy
import time

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation
from vision_agents.core.llm.events import LLMErrorEvent
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.metrics import Meters
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    INSTRUCTIONS,
    Asked,
    NativeCall,
    begun,
    calls,
    code_of,
    continuation,
    fence,
    final,
    holds,
    is_interrupted,
    needs_continuations,
    passes,
    say,
    stops,
)
from realtime_testkit.subject import Subject
from realtime_testkit.watchdog import Watchdog

from .base import Contract

PROMPT = "Sing, canary"

PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY"
    "42YAAAAASUVORK5CYII="
)

PICTURES: dict[str, dict[str, object]] = {
    "picture of chat completions": {"type": "image_url", "image_url": {"url": PICTURE}},
    "picture of responses": {"type": "input_image", "image_url": PICTURE},
    "file": {"type": "file", "file": {"filename": "canary.pdf", "file_data": "JVBERi0="}},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "unknown": {"type": "hologram", "hologram": ["canary"]},
}
"""Content parts that stand beside text in the shapes in use."""


class Native(Contract):
    """The plugin's wrapper of the provider's native call."""

    async def test_nt1_keyword_arguments_reach_the_provider(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Keyword arguments are in the request unchanged, and are not edited."""
        facts.need("response_options")
        given = copy.deepcopy(facts.response_options)
        asking = begun(final(native(llm, PROMPT, **given)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await asking
        assert holds(request.options, facts.response_options), request.options
        assert given == facts.response_options, "the caller's arguments were edited"

    @pytest.mark.parametrize(
        "prompt",
        [(), ("",), ([],), ({"role": "user", "content": []},)],
        ids=["none", "empty text", "no messages", "no parts"],
    )
    async def test_nt1_request_without_a_prompt_adds_no_message(
        self,
        llm: Realtime,
        connection: Connection,
        native: NativeCall,
        facts: Facts,
        prompt: tuple[object, ...],
    ) -> None:
        """The native method without a prompt asks for a response and adds no message."""
        facts.need("explicit_requests")
        asking = begun(final(native(llm, *prompt)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        assert (await asking).text == "La"
        assert not connection.received(protocol.AddMessage)

    async def test_nt1_surplus_arguments_raise_type_error(
        self, llm: Realtime, connection: Connection, record: EventRecorder, native: NativeCall
    ) -> None:
        """Surplus positional arguments raise TypeError, and no request is sent."""
        with pytest.raises(TypeError):
            await final(native(llm, PROMPT, PROMPT, PROMPT, PROMPT))
        await fence(connection, record)
        assert not connection.received(protocol.CreateResponse)

    async def test_nt2_corrected_text_is_in_the_final_alone(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """A whole text that contradicts the deltas is the text of the final alone."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "A cannery", item_id="agent_1"),
            protocol.TextDone("response_1", "A canary sings.", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "A cannery"
        last = asked.items[-1]
        assert isinstance(last, LLMResponseFinal)
        assert last.text == "A canary sings."

    async def test_nt2_first_delta_comes_before_the_end(
        self, make: Make, echo: Provider, native: NativeCall
    ) -> None:
        """The first delta is yielded while the provider still holds back the last piece."""
        llm = make(echo)
        await llm.connect()
        echo.holds.clear()
        stream = native(llm, "canary one two")
        async with asyncio.timeout(1):
            first = await anext(stream)
        assert isinstance(first, LLMResponseDelta)
        assert first.delta
        echo.holds.set()
        rest = await final(stream)
        assert rest.text == "You said: canary one two"

    async def test_nt2_each_piece_is_yielded_as_it_comes(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """Each piece of text is yielded before the next one is sent."""
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.ResponseStarted("response_1", request.request_id))
        for word in ("La", " la", " canary"):
            await connection.send(protocol.TextDelta("response_1", word, item_id="agent_1"))
            item = await reading
            assert isinstance(item, LLMResponseDelta)
            assert item.delta == word
            reading = asyncio.ensure_future(anext(stream))
        await connection.send(protocol.ResponseDone("response_1"))
        assert isinstance(await reading, LLMResponseFinal)
        assert [item async for item in stream] == []

    async def test_nt3_deltas_carry_their_indices(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Each delta has its text, indices, item_id and a growing sequence_number.

        The first one alone is the first chunk.
        """
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La", item_id="agent_1"),
            protocol.TextDelta("response_1", " la", item_id="agent_1"),
            protocol.TextDelta("response_1", " canary", True, "agent_1", 0, 1),
            protocol.TextDelta("response_1", " la", True, "agent_2", 1, 0),
            protocol.ResponseDone("response_1"),
        )
        await asked.task
        *deltas, last = asked.items
        assert isinstance(last, LLMResponseFinal)
        assert [delta.delta for delta in asked.deltas] == ["La", " la", " canary", " la"]
        assert len(deltas) == 4
        assert asked.in_sequence, f"sequence numbers do not grow: {asked.deltas}"
        parts = [0, 0, 1, 0] if facts.ids else [0, 0, 0, 0]
        assert [delta.content_index for delta in asked.deltas] == parts
        outputs = [0, 0, 0, 1] if facts.ids else [0, 0, 0, 0]
        assert [delta.output_index for delta in asked.deltas] == outputs
        items = [delta.item_id for delta in asked.deltas]
        assert None not in items
        assert len(set(items[:3])) == 1
        assert (items[3] != items[0]) == facts.ids
        assert [delta.is_first_chunk for delta in asked.deltas] == [True, False, False, False]

    async def test_nt3_times_are_measured_from_the_call(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """Time to first token and latency are measured from the call.

        The first is on the first delta and on the final.
        """
        began = time.perf_counter()
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(protocol.CreateResponse)
        await passes(0.02)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La", item_id="agent_1"),
        )
        first = await reading
        first_ms = (time.perf_counter() - began) * 1000
        assert isinstance(first, LLMResponseDelta)
        assert first.time_to_first_token_ms is not None
        assert 20 <= first.time_to_first_token_ms <= first_ms
        reading = asyncio.ensure_future(anext(stream))
        await connection.send(protocol.TextDelta("response_1", "la", item_id="agent_1"))
        second = await reading
        assert isinstance(second, LLMResponseDelta)
        assert second.time_to_first_token_ms is None
        await passes(0.02)
        await connection.send(protocol.ResponseDone("response_1"))
        last = await final(stream)
        assert last.time_to_first_token_ms == first.time_to_first_token_ms
        assert last.latency_ms is not None
        assert last.latency_ms >= first.time_to_first_token_ms + 20
        assert last.latency_ms <= (time.perf_counter() - began) * 1000

    async def test_nt3_final_has_text_model_usage_and_original(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall
    ) -> None:
        """The final has the whole text, the model, an item_id, the original and the usage."""
        llm = make(model="model-2")
        await llm.connect()
        connection = await provider.connection()
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La", item_id="agent_1"),
            protocol.TextDelta("response_1", " la", item_id="agent_1"),
            protocol.TextDone("response_1", "La la canary", item_id="agent_1"),
            protocol.ResponseDone("response_1", usage=protocol.Usage(7, 11, 19)),
        )
        last = await asking
        assert last.text == "La la canary"
        assert last.model == "model-2"
        assert last.item_id is not None
        assert last.original is not None, "the provider's own account is missing"
        if facts.usage:
            usage = (last.input_tokens, last.output_tokens, last.total_tokens)
            assert usage == (7, 11, 19)

    async def test_nt3_whole_text_alone_is_one_delta(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """A text that comes in one piece at the end is yielded as a delta and in the final."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDone("response_1", "La la canary", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "La la canary"
        last = asked.items[-1]
        assert isinstance(last, LLMResponseFinal)
        assert last.text == "La la canary"

    async def test_nt3_final_has_the_corrected_text(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """The final has the whole text that the provider sent last."""
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La la cannery", item_id="agent_1"),
            protocol.TextDone("response_1", "La la canary", item_id="agent_1"),
            protocol.ResponseDone("response_1"),
        )
        assert (await asking).text == "La la canary"

    async def test_nt3_answer_without_text_ends(
        self, llm: Realtime, connection: Connection, native: NativeCall
    ) -> None:
        """An answer without text yields one final with an empty text."""
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, audio=bytes(96), request_id=request.request_id)
        last = await asking
        assert last.text == ""
        assert last.latency_ms is not None

    async def test_nt3_tool_call_and_answer_are_one_stream(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall
    ) -> None:
        """A request whose answer calls a tool yields the deltas of both responses and one final."""
        facts.need("tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "Let me see. ", item_id="agent_1"),
            protocol.ToolCall("response_1", "call_1", "weather", "{}"),
            protocol.ResponseDone("response_1", usage=protocol.Usage(1, 2, 3)),
        )
        request_id = await continuation(connection, facts, 2)
        assert len(asked.items) == 1
        await say(connection, "response_2", text="Canary yellow", request_id=request_id)
        await asked.task
        assert asked.in_sequence, f"sequence numbers do not grow: {asked.deltas}"
        assert [delta.is_first_chunk for delta in asked.deltas] == [True, False, False]
        finals = [item for item in asked.items if isinstance(item, LLMResponseFinal)]
        assert [each.text for each in finals] == ["Let me see. Canary yellow"]

    async def test_nt4_instructions_reach_the_provider(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """The session has the instructions when a request is made."""
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        assert connection.config is not None
        assert connection.config.instructions == INSTRUCTIONS
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt4_messages_of_a_prompt_keep_role_and_order(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """A prompt of several messages is sent message by message, with roles and in order."""
        facts.need("history")
        prompt = [
            {"role": "user", "content": "Are you a canary?"},
            {"role": "assistant", "content": "I am."},
            {"role": "user", "content": "Then sing, canary."},
        ]
        asking = begun(final(native(llm, prompt)))
        request = await connection.wait_for(protocol.CreateResponse)
        assert connection.received(protocol.AddMessage) == [
            protocol.AddMessage("user", "Are you a canary?"),
            protocol.AddMessage("assistant", "I am."),
            protocol.AddMessage("user", "Then sing, canary."),
        ]
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt4_earlier_conversation_reaches_the_provider(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Messages of a conversation that is set later are sent once, before the prompt."""
        facts.need("history")
        conversation = InMemoryConversation("", [])
        await conversation.send_message("user", "alice", "I have a canary.")
        await conversation.send_message("assistant", "agent", "How nice.")
        llm.set_conversation(conversation)
        llm.set_conversation(conversation)
        await connection.wait_for(protocol.AddMessage, 2)
        llm.set_instructions("Be another canary.")
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        assert connection.received(protocol.AddMessage) == [
            protocol.AddMessage("user", "I have a canary."),
            protocol.AddMessage("assistant", "How nice."),
            protocol.AddMessage("user", PROMPT),
        ]
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt5_failed_response_raises_and_the_session_goes_on(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        meters: Meters,
        native: NativeCall,
        subject: Subject,
    ) -> None:
        """A failed response raises the response error with the provider's code.

        There is one error event and one metric, and the next request is answered.
        """
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.TextDelta("response_1", "La", item_id="agent_1"),
            protocol.AudioDelta("response_1", bytes(960), "agent_1"),
            protocol.ResponseDone("response_1", "failed", code="rate_limit_exceeded"),
        )
        with pytest.raises(subject.response_error) as raised:
            await asked.task
        assert code_of(raised.value) == "rate_limit_exceeded"
        assert asked.text == "La"
        assert not [item for item in asked.items if isinstance(item, LLMResponseFinal)]
        await output.done("response_1")
        await record.settled()
        assert len(record.errors) == 1
        assert record.errors[0].error_code == "rate_limit_exceeded"
        assert record.errors[0].plugin_name == llm.provider_name
        assert meters.counted("llm.errors", llm.provider_name) == 1
        assert llm.connected
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        assert len(output.dones("response_1")) == 1

    async def test_nt5_failed_answer_to_the_user_ends(
        self, output: OutputRecorder, connection: Connection, record: EventRecorder
    ) -> None:
        """A failed answer to the user emits one end and one error event with its code."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.AudioDelta("response_1", bytes(960), "agent_1"),
            protocol.ResponseDone("response_1", "failed", code="rate_limit_exceeded"),
        )
        await output.done("response_1")
        error = await record.first(LLMErrorEvent)
        assert error.error_code == "rate_limit_exceeded"
        await fence(connection, record)
        assert len(record.errors) == 1
        assert len(output.dones()) == 1

    async def test_nt5_incomplete_answer_is_no_failure(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        native: NativeCall,
        watchdog: Watchdog,
    ) -> None:
        """An incomplete answer yields a final with its text, a line in the log, and no error."""
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(
            connection,
            text="La la",
            audio=bytes(960),
            status="incomplete",
            request_id=request.request_id,
        )
        assert (await asking).text == "La la"
        await fence(connection, record)
        assert output.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not record.errors
        assert any("incomplete" in line for line in watchdog.log_lines)

    @pytest.mark.parametrize("how", ["abandoned", "cancelled"])
    async def test_nt6_leaving_the_iterator_stops_the_response(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        how: str,
        native: NativeCall,
    ) -> None:
        """Closing or cancelling the iterator stops the response once and ends it.

        The next request is answered.
        """
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(
            connection, text="La", audio=bytes(960), status=None, request_id=request.request_id
        )
        await reading
        if how == "abandoned":
            await stream.aclose()
        else:
            reading = asyncio.ensure_future(anext(stream))
            await fence(connection, record)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await stops(connection, facts)
        await output.done("response_1")
        await fence(connection, record)
        assert len(output.dones()) == 1
        assert len(connection.received(protocol.CancelResponse)) == facts.cancellation
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_nt6_leaving_before_the_answer_drops_it(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """The answer to a request whose caller left before it began is stopped and not emitted."""
        asking = asyncio.ensure_future(anext(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await say(
            connection, text="La", audio=bytes(960), status=None, request_id=request.request_id
        )
        await stops(connection, facts)
        await fence(connection, record)
        assert not output.chunks()
        assert not output.agent_said()

    async def test_nt6_leaving_one_answer_keeps_the_other(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Leaving the iterator of one response in flight cancels that one alone."""
        facts.need("ids", "cancellation", "out_of_band_options")
        asked = Asked(native(llm, "Stay, canary"))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="I", status=None, request_id=request.request_id)
        leaving = native(llm, **facts.out_of_band_options)
        reading = asyncio.ensure_future(anext(leaving))
        request = await connection.wait_for(protocol.CreateResponse, 2)
        await say(connection, "response_2", text="I", status=None, request_id=request.request_id)
        await reading
        await leaving.aclose()
        stop = await connection.wait_for(protocol.CancelResponse)
        assert stop.response_id == "response_2"
        await connection.send(
            protocol.TextDelta("response_1", " stay", item_id="item_response_1"),
            protocol.ResponseDone("response_2", "cancelled"),
            protocol.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "I stay"
        assert len(connection.received(protocol.CancelResponse)) == 1

    async def test_nt6_leaving_keeps_the_answer_that_the_user_waits_for(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall
    ) -> None:
        """A caller whose tool was answered together with the user may leave: the answer goes on."""
        facts.need("text", "tools", "speech_events", "turn_detection")
        llm, goes_on = make(), asyncio.Event()

        @llm.register_function("slowly", "takes its time")
        async def slowly() -> str:
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        asked = Asked(native(llm, "Sing, canary"))
        request = await asked.request(connection, 1)
        await calls(connection, "slowly", "{}", request_id=request.request_id)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        goes_on.set()
        await connection.wait_for(protocol.AddToolResult)
        await connection.send(protocol.UserSpeechStopped("user_1"))
        await say(connection, "response_2", text="To the user", status=None)
        await fence(connection, record)
        asked.task.cancel()
        await asyncio.wait([asked.task])
        await fence(connection, record)
        assert not connection.received(protocol.CancelResponse)

    async def test_nt6_leaving_a_finished_answer_sends_nothing(
        self, llm: Realtime, connection: Connection, record: EventRecorder, native: NativeCall
    ) -> None:
        """Closing the iterator of a finished or never begun call sends nothing."""
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await reading
        await fence(connection, record)
        await stream.aclose()
        unused = native(llm, PROMPT)
        await unused.aclose()
        await fence(connection, record)
        assert not connection.received(protocol.CancelResponse)
        assert len(connection.received(protocol.CreateResponse)) == 1

    async def test_nt6_leaving_a_tool_call_starts_no_answer(
        self, make: Make, provider: Provider, facts: Facts, native: NativeCall
    ) -> None:
        """The result of a tool whose caller left starts no answer; the next request is answered."""
        facts.need("tools")
        needs_continuations(facts)
        llm = make()
        running, goes_on = asyncio.Event(), asyncio.Event()

        @llm.register_function("slowly", "Takes its time")
        async def slowly() -> str:
            running.set()
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        reading = asyncio.ensure_future(anext(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
            protocol.ResponseDone("response_1"),
        )
        await running.wait()
        await fence(connection, record)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        goes_on.set()
        await fence(connection, record)
        asking = begun(final(native(llm, PROMPT)))
        request = await connection.wait_for(protocol.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        assert len(connection.received(protocol.CreateResponse)) == 2

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "the other way round"])
    async def test_nt7_two_responses_in_flight_stay_apart(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        native: NativeCall,
        order: tuple[int, int],
    ) -> None:
        """A response and one out of band yield each caller its own text, in sequence."""
        asked, requests = await _two_in_flight(llm, connection, facts, native)
        for number in order:
            await connection.send(protocol.ResponseStarted(f"response_{number}", requests[number]))
        for word in ("This", " is", " for"):
            for number in (1, 2):
                await connection.send(
                    protocol.TextDelta(f"response_{number}", word, item_id=f"agent_{number}")
                )
        for number in (2, 1):
            await connection.send(
                protocol.TextDelta(f"response_{number}", f" {number}", item_id=f"agent_{number}"),
                protocol.ResponseDone(f"response_{number}"),
            )
        for number in (1, 2):
            last = await asked[number].final()
            assert asked[number].text == last.text == f"This is for {number}"
            assert asked[number].in_sequence
            assert len(asked[number].deltas) == 4

    @pytest.mark.parametrize("cancelled", [1, 2], ids=["in the conversation", "out of band"])
    async def test_nt7_cancelling_one_keeps_the_other(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        native: NativeCall,
        cancelled: int,
    ) -> None:
        """A response that the provider cancels ends its own caller's stream alone."""
        asked, requests = await _two_in_flight(llm, connection, facts, native)
        for number in (1, 2):
            await connection.send(
                protocol.ResponseStarted(f"response_{number}", requests[number]),
                protocol.TextDelta(f"response_{number}", "La", item_id=f"agent_{number}"),
            )
        other = 3 - cancelled
        await connection.send(
            protocol.ResponseDone(f"response_{cancelled}", "cancelled"),
            protocol.TextDelta(f"response_{other}", " la", item_id=f"agent_{other}"),
            protocol.ResponseDone(f"response_{other}"),
        )
        async with asyncio.timeout(1):
            await asked[other].task
            await asked[cancelled].task
        assert (asked[other].text, asked[cancelled].text) == ("La la", "La")
        assert not connection.received(protocol.CancelResponse)

    async def test_nt7_caller_gets_no_answer_to_the_user(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """A caller out of band gets nothing of a response that answers the user."""
        facts.need("ids", "request_ids", "out_of_band_options")
        before = Asked(native(llm, PROMPT))  # its answer shows that requests are named here
        request = await before.request(connection)
        await say(connection, "response_0", text="La", request_id=request.request_id)
        await before.task
        asked = Asked(native(llm, **facts.out_of_band_options))
        request = await asked.request(connection, 2)
        await say(connection, "response_1", text="To the user", audio=bytes(96), status=None)
        await say(
            connection,
            "response_2",
            text="To the caller",
            status=None,
            request_id=request.request_id,
        )
        await connection.send(
            protocol.TextDelta("response_1", " and more", item_id="item_response_1"),
            protocol.ResponseDone("response_1"),
            protocol.ResponseDone("response_2"),
        )
        await asked.task
        assert asked.text == "To the caller"

    @pytest.mark.parametrize("shape", PICTURES)
    async def test_nt8_text_beside_a_picture_is_sent(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        native: NativeCall,
        shape: str,
    ) -> None:
        """The text of a prompt with a picture or file is sent, and the picture where taken."""
        facts.need("text")
        part = PICTURES[shape]
        prompt = [
            {
                "role": "user",
                "content": [{"type": "text", "text": "What is this canary?"}, part],
            }
        ]
        asked = Asked(native(llm, prompt))
        request = await asked.request(connection)
        [message] = connection.received(protocol.AddMessage)
        assert message.role == "user"
        assert "What is this canary?" in message.text
        if facts.images and shape.startswith("picture"):
            assert message.images == (PICTURE,)
        await say(connection, text="La", request_id=request.request_id)
        assert (await asked.final()).text == "La"

    @pytest.mark.parametrize("shape", [shape for shape in PICTURES if shape.startswith("picture")])
    async def test_nt8_picture_alone_is_sent(
        self,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        native: NativeCall,
        shape: str,
    ) -> None:
        """A prompt that is a picture is sent as a message of the user's."""
        facts.need("images")
        asked = Asked(native(llm, PICTURES[shape]))
        request = await asked.request(connection)
        [message] = connection.received(protocol.AddMessage)
        assert (message.role, message.images) == ("user", (PICTURE,))
        await say(connection, text="La", request_id=request.request_id)
        await asked.task

    async def test_nt8_text_around_parts_keeps_its_order(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """Texts before and after a part that is not sent are all sent, in order."""
        facts.need("text")
        content = [
            {"type": "input_text", "text": "One canary."},
            {"type": "hologram", "data": "canary"},
            {"type": "input_text", "text": "Two canaries."},
        ]
        asked = Asked(native(llm, {"role": "user", "content": content}))
        request = await asked.request(connection)
        said = " ".join(message.text for message in connection.received(protocol.AddMessage))
        assert said.index("One canary.") < said.index("Two canaries.")
        await say(connection, text="La", request_id=request.request_id)
        await asked.task

    @pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
    async def test_us1_tokens_are_counted_however_the_response_ended(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        meters: Meters,
        status: protocol.ResponseStatus,
    ) -> None:
        """The tokens of a response are counted once, whatever its status."""
        facts.need("usage")
        if status == "cancelled":
            facts.need("cancellation")
        await say(connection, text="La", audio=bytes(96), status=None)
        done = protocol.ResponseDone(
            "response_1", status, protocol.Usage(7, 11, 18), "server_error"
        )
        await connection.send(*([done, done] if facts.ids else [done]))
        await output.done("response_1")
        await fence(connection, record)
        name = llm.provider_name
        counted = [meters.counted(f"llm.tokens.{kind}", name) for kind in ("input", "output")]
        assert counted == [7, 11]

    @pytest.mark.parametrize("by", ["the user", "the app"])
    async def test_us1_tokens_of_an_interrupted_response_are_counted(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        meters: Meters,
        by: str,
    ) -> None:
        """The tokens of a response that was interrupted are counted once it has ended."""
        facts.need("usage", "cancellation")
        make.listen(llm, answers=True)
        await say(connection, audio=bytes(96_000), status=None)
        await fence(connection, record)
        if by == "the user":
            await is_interrupted(connection, facts)
        else:
            await llm.interrupt()
        await fence(connection, record)
        usage = protocol.Usage(7, 11, 18)
        await connection.send(protocol.ResponseDone("response_1", "cancelled", usage))
        await fence(connection, record)
        name = llm.provider_name
        counted = [meters.counted(f"llm.tokens.{kind}", name) for kind in ("input", "output")]
        assert counted == [7, 11]

    async def test_us1_final_has_the_tokens_in_detail(
        self, llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
    ) -> None:
        """The final says how many tokens were cached, and how many were of audio."""
        facts.need("usage", "usage_details")
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await say(connection, text="La", status=None, request_id=request.request_id)
        usage = protocol.Usage(7, 11, 18, 3, 2, 5)
        await connection.send(protocol.ResponseDone("response_1", usage=usage))
        counted = vars(await asked.final())["usage"]
        details = ("cached_tokens", "input_audio_tokens", "output_audio_tokens")
        assert [getattr(counted, name) for name in details] == [3, 2, 5]

    async def test_us1_final_has_the_tokens_of_all_its_responses(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        native: NativeCall,
        meters: Meters,
    ) -> None:
        """The final of a request with a tool has the sum of the tokens, each counted once."""
        facts.need("usage", "tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ToolCall("response_1", "call_1", "weather", "{}"),
            protocol.ResponseDone("response_1", usage=protocol.Usage(1, 2, 3)),
        )
        request_id = await continuation(connection, facts, 2)
        await say(connection, "response_2", text="Yellow", status=None, request_id=request_id)
        await connection.send(protocol.ResponseDone("response_2", usage=protocol.Usage(10, 20, 30)))
        last = await asked.final()
        assert (last.input_tokens, last.output_tokens, last.total_tokens) == (11, 22, 33)
        await fence(connection, record)
        name = llm.provider_name
        counted = [meters.counted(f"llm.tokens.{kind}", name) for kind in ("input", "output")]
        assert counted == [11, 22]


async def _two_in_flight(
    llm: Realtime, connection: Connection, facts: Facts, native: NativeCall
) -> tuple[dict[int, Asked], dict[int, str]]:
    """Ask for a response, and for another out of band; returns the calls and the request ids."""
    facts.need("ids", "request_ids", "out_of_band_options")
    asked = {1: Asked(native(llm, "Canary?"))}
    first = await connection.wait_for(protocol.CreateResponse)
    asked[2] = Asked(native(llm, **facts.out_of_band_options))
    second = await connection.wait_for(protocol.CreateResponse, 2)
    return asked, {1: first.request_id, 2: second.request_id}
