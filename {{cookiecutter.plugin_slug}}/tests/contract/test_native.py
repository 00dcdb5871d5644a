"""NT: the wrapper of the provider's native call."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Mapping

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation
from vision_agents.core.llm.events import LLMErrorEvent
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from .kit import INSTRUCTIONS, Ear, Facts, Recorder, fence, final, native, passes, say, stops
from .making import Make
from .meters import Meters

PROMPT = "Sing, canary"

Item = LLMResponseDelta | LLMResponseFinal


def _holds(whole: object, part: object) -> bool:
    """Everything in `part` is in `whole`."""
    match whole, part:
        case Mapping(), Mapping():
            return all(key in whole and _holds(whole[key], value) for key, value in part.items())
    return whole == part


class Asked:
    """A call in progress: what came of it so far."""

    def __init__(self, stream: AsyncIterator[Item]) -> None:
        self.items: list[Item] = []
        self._stream = stream
        self.task = asyncio.create_task(self._read())

    @property
    def text(self) -> str:
        """Of the deltas so far."""
        return "".join(i.delta or "" for i in self.items if isinstance(i, LLMResponseDelta))

    @property
    def deltas(self) -> list[LLMResponseDelta]:
        """So far."""
        return [item for item in self.items if isinstance(item, LLMResponseDelta)]

    @property
    def in_sequence(self) -> bool:
        """The deltas are numbered, and the numbers grow."""
        numbers = [delta.sequence_number for delta in self.deltas]
        given = [number for number in numbers if number is not None]
        return given == sorted(set(given)) and len(given) == len(numbers)

    async def _read(self) -> None:
        async for item in self._stream:
            self.items.append(item)


class TestNative:
    async def test_nt1_arguments_reach_the_provider(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A setting of the provider's has no effect, or a plugin release has to add it."""
        facts.need("response_options")
        given = copy.deepcopy(facts.response_options)
        asking = asyncio.create_task(final(native(llm, PROMPT, **given)))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await asking
        assert _holds(request.options, facts.response_options), request.options
        assert given == facts.response_options, "the caller's arguments were edited"

    async def test_nt1_without_a_prompt(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """The provider cannot be asked to answer the conversation as it is."""
        asking = asyncio.create_task(final(native(llm)))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        assert (await asking).text == "La"
        assert not connection.received(events.AddMessage)

    async def test_nt1_an_argument_too_many(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """An argument the provider's call does not take is swallowed."""
        with pytest.raises(TypeError):
            await final(native(llm, PROMPT, PROMPT, PROMPT, PROMPT))
        await fence(connection, record)
        assert not connection.received(events.CreateResponse)

    async def test_nt2_a_corrected_answer(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """The words that correct an answer are read as if they went on from the mistake."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "A cannery", item_id="agent_1"),
            events.TextDone("response_1", "A canary sings.", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "A cannery"
        last = asked.items[-1]
        assert isinstance(last, LLMResponseFinal)
        assert last.text == "A canary sings."

    async def test_nt2_it_streams(self, make: Make, parrot: loopback.Provider) -> None:
        """The first word comes with the last: nobody can read along."""
        llm = make(parrot)
        await llm.connect()
        parrot.holds.clear()
        stream = native(llm, "canary one two")
        async with asyncio.timeout(1):
            first = await anext(stream)
        assert isinstance(first, LLMResponseDelta)
        assert first.delta
        parrot.holds.set()
        rest = await final(stream)
        assert rest.text == "You said: canary one two"

    async def test_nt2_piece_by_piece(self, llm: Realtime, connection: loopback.Connection) -> None:
        """Words are held back and come in heaps."""
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(events.ResponseStarted("response_1", request.request_id))
        for word in ("La", " la", " canary"):
            await connection.send(events.TextDelta("response_1", word, item_id="agent_1"))
            item = await reading
            assert isinstance(item, LLMResponseDelta)
            assert item.delta == word
            reading = asyncio.ensure_future(anext(stream))
        await connection.send(events.ResponseDone("response_1"))
        assert isinstance(await reading, LLMResponseFinal)
        assert [item async for item in stream] == []

    async def test_nt3_deltas(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A user interface cannot put the pieces together."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La", item_id="agent_1"),
            events.TextDelta("response_1", " la", item_id="agent_1"),
            events.TextDelta("response_1", " canary", True, "agent_1", 2, 1),
            events.ResponseDone("response_1"),
        )
        await asked.task
        *deltas, last = asked.items
        assert isinstance(last, LLMResponseFinal)
        assert [delta.delta for delta in asked.deltas] == ["La", " la", " canary"]
        assert len(deltas) == 3
        assert asked.in_sequence, f"sequence numbers do not grow: {asked.deltas}"
        parts = [0, 0, 1] if facts.ids else [0, 0, 0]
        assert [delta.content_index for delta in asked.deltas] == parts
        outputs = [0, 0, 2] if facts.ids else [0, 0, 0]
        assert [delta.output_index for delta in asked.deltas] == outputs
        items = {delta.item_id for delta in asked.deltas}
        assert len(items) == 1
        assert None not in items
        assert [delta.is_first_chunk for delta in asked.deltas] == [True, False, False]

    async def test_nt3_times(self, llm: Realtime, connection: loopback.Connection) -> None:
        """Latency is not measured, or from the wrong moment."""
        began = time.perf_counter()
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(events.CreateResponse)
        await passes(0.02)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La", item_id="agent_1"),
        )
        first = await reading
        first_ms = (time.perf_counter() - began) * 1000
        assert isinstance(first, LLMResponseDelta)
        assert first.time_to_first_token_ms is not None
        assert 20 <= first.time_to_first_token_ms <= first_ms
        reading = asyncio.ensure_future(anext(stream))
        await connection.send(events.TextDelta("response_1", "la", item_id="agent_1"))
        second = await reading
        assert isinstance(second, LLMResponseDelta)
        assert second.time_to_first_token_ms is None
        await passes(0.02)
        await connection.send(events.ResponseDone("response_1"))
        last = await final(stream)
        assert last.time_to_first_token_ms == first.time_to_first_token_ms
        assert last.latency_ms is not None
        assert last.latency_ms >= first.time_to_first_token_ms + 20
        assert last.latency_ms <= (time.perf_counter() - began) * 1000

    async def test_nt3_final(self, make: Make, provider: loopback.Provider, facts: Facts) -> None:
        """What an answer cost, and what it was in full, cannot be known."""
        llm = make(model="model-2")
        await llm.connect()
        connection = await provider.connection()
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La", item_id="agent_1"),
            events.TextDelta("response_1", " la", item_id="agent_1"),
            events.TextDone("response_1", "La la canary", item_id="agent_1"),
            events.ResponseDone("response_1", usage=events.Usage(7, 11, 19)),
        )
        last = await asking
        assert last.text == "La la canary"
        assert last.model == "model-2"
        assert last.item_id is not None
        assert last.original is not None, "the provider's own account is missing"
        if facts.usage:
            usage = (last.input_tokens, last.output_tokens, last.total_tokens)
            assert usage == (7, 11, 19)

    async def test_nt3_text_in_one_go(self, llm: Realtime, connection: loopback.Connection) -> None:
        """An answer without pieces is an answer without text."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDone("response_1", "La la canary", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "La la canary"
        last = asked.items[-1]
        assert isinstance(last, LLMResponseFinal)
        assert last.text == "La la canary"

    async def test_nt3_corrected_text(self, llm: Realtime, connection: loopback.Connection) -> None:
        """The final has another text than the conversation."""
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La la cannery", item_id="agent_1"),
            events.TextDone("response_1", "La la canary", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        assert (await asking).text == "La la canary"

    async def test_nt3_nothing_said(self, llm: Realtime, connection: loopback.Connection) -> None:
        """An answer without text never ends."""
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, audio=bytes(96), request_id=request.request_id)
        last = await asking
        assert last.text == ""
        assert last.latency_ms is not None

    async def test_nt3_over_a_tool(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """With a tool in between there are two answers, or half of one."""
        facts.need("tools")
        llm = make()

        @llm.register_function("weather", "The weather")
        async def weather() -> str:
            return "canary yellow"

        await llm.connect()
        connection = await provider.connection()
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "Let me see. ", item_id="agent_1"),
            events.ToolCall("response_1", "call_1", "weather", "{}"),
            events.ResponseDone("response_1", usage=events.Usage(1, 2, 3)),
        )
        request = await connection.wait_for(events.CreateResponse, 2)
        assert len(asked.items) == 1
        await say(connection, "response_2", text="Canary yellow", request_id=request.request_id)
        await asked.task
        assert asked.in_sequence, f"sequence numbers do not grow: {asked.deltas}"
        assert [delta.is_first_chunk for delta in asked.deltas] == [True, False, False]
        finals = [item for item in asked.items if isinstance(item, LLMResponseFinal)]
        assert [each.text for each in finals] == ["Let me see. Canary yellow"]

    async def test_nt4_instructions(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The agent answers as if it had never been told who it is."""
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        assert connection.config is not None
        assert connection.config.instructions == INSTRUCTIONS
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt4_a_conversation_as_prompt(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """Of a conversation given as prompt, only the last line arrives, or out of order."""
        facts.need("history")
        prompt = [
            {"role": "user", "content": "Are you a canary?"},
            {"role": "assistant", "content": "I am."},
            {"role": "user", "content": "Then sing, canary."},
        ]
        asking = asyncio.create_task(final(native(llm, prompt)))
        request = await connection.wait_for(events.CreateResponse)
        assert connection.received(events.AddMessage) == [
            events.AddMessage("user", "Are you a canary?"),
            events.AddMessage("assistant", "I am."),
            events.AddMessage("user", "Then sing, canary."),
        ]
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt4_what_was_said_before(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """An agent that joins late knows nothing of what was said before."""
        facts.need("history")
        conversation = InMemoryConversation("", [])
        await conversation.send_message("user", "alice", "I have a canary.")
        await conversation.send_message("assistant", "agent", "How nice.")
        llm.set_conversation(conversation)
        llm.set_conversation(conversation)
        await connection.wait_for(events.AddMessage, 2)
        llm.set_instructions("Be another canary.")
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        assert connection.received(events.AddMessage) == [
            events.AddMessage("user", "I have a canary."),
            events.AddMessage("assistant", "How nice."),
            events.AddMessage("user", PROMPT),
        ]
        await say(connection, text="La", request_id=request.request_id)
        await asking

    async def test_nt5_a_failed_response(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        meters: Meters,
    ) -> None:
        """A failure looks like an empty answer, or ends the session."""
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.TextDelta("response_1", "La", item_id="agent_1"),
            events.AudioDelta("response_1", bytes(960), "agent_1"),
            events.ResponseDone("response_1", "failed", code="rate_limit_exceeded"),
        )
        with pytest.raises(events.ResponseError) as raised:
            await asked.task
        assert raised.value.code == "rate_limit_exceeded"
        assert asked.text == "La"
        assert not [item for item in asked.items if isinstance(item, LLMResponseFinal)]
        await ear.done("response_1")
        await record.settled()
        assert len(record.errors) == 1
        assert record.errors[0].error_code == "rate_limit_exceeded"
        assert record.errors[0].plugin_name == llm.provider_name
        assert meters.counted("llm.errors", llm.provider_name) == 1
        assert llm.connected
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        assert len(ear.dones("response_1")) == 1

    async def test_nt5_a_failed_answer_nobody_asked_for(
        self, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The answer to the user's words fails, and the agent waits for its end."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.AudioDelta("response_1", bytes(960), "agent_1"),
            events.ResponseDone("response_1", "failed", code="rate_limit_exceeded"),
        )
        await ear.done("response_1")
        error = await record.first(LLMErrorEvent)
        assert error.error_code == "rate_limit_exceeded"
        await fence(connection, record)
        assert len(record.errors) == 1
        assert len(ear.dones()) == 1

    async def test_nt5_an_incomplete_answer(
        self, llm: Realtime, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """An answer cut at its length limit never ends, or counts as a failure."""
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await say(
            connection,
            text="La la",
            audio=bytes(960),
            status="incomplete",
            request_id=request.request_id,
        )
        assert (await asking).text == "La la"
        await fence(connection, record)
        assert ear.dones() == [RealtimeAudioOutputDone(False, "response_1")]
        assert not record.errors

    @pytest.mark.parametrize("how", ["abandoned", "cancelled"])
    async def test_nt6_a_caller_who_leaves(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
        how: str,
    ) -> None:
        """Nobody listens any more, and the provider talks on, and is paid for it."""
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(events.CreateResponse)
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
        await ear.done("response_1")
        await fence(connection, record)
        assert len(ear.dones()) == 1
        assert len(connection.received(events.CancelResponse)) == facts.cancellation
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"

    async def test_nt6_a_caller_who_leaves_early(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The answer nobody waits for any more is spoken all the same."""
        asking = asyncio.ensure_future(anext(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await say(
            connection, text="La", audio=bytes(960), status=None, request_id=request.request_id
        )
        await stops(connection, facts)
        await fence(connection, record)
        assert not ear.chunks()
        assert not ear.agent_said()

    async def test_nt6_another_answer_goes_on(
        self,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """A caller leaves, and somebody else's answer stops."""
        facts.need("ids")
        asked = Asked(native(llm, "Stay, canary"))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="I", status=None, request_id=request.request_id)
        leaving = native(llm, "Fly, canary")
        reading = asyncio.ensure_future(anext(leaving))
        request = await connection.wait_for(events.CreateResponse, 2)
        await say(connection, "response_2", text="I", status=None, request_id=request.request_id)
        await reading
        await leaving.aclose()
        stop = await connection.wait_for(events.CancelResponse)
        assert stop.response_id == "response_2"
        await connection.send(
            events.TextDelta("response_1", " stay", item_id="item_response_1"),
            events.ResponseDone("response_2", "cancelled"),
            events.ResponseDone("response_1"),
        )
        await asked.task
        assert asked.text == "I stay"
        assert len(connection.received(events.CancelResponse)) == 1

    async def test_nt6_a_caller_who_has_it_all(
        self, llm: Realtime, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A finished answer is cancelled, and the next one stops."""
        stream = native(llm, PROMPT)
        reading = asyncio.ensure_future(anext(stream))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, text="La", request_id=request.request_id)
        await reading
        await fence(connection, record)
        await stream.aclose()
        unused = native(llm, PROMPT)
        await unused.aclose()
        await fence(connection, record)
        assert not connection.received(events.CancelResponse)
        assert len(connection.received(events.CreateResponse)) == 1

    async def test_nt6_a_caller_who_leaves_a_tool(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """The result of a tool is talked about, though nobody waits for it."""
        facts.need("tools")
        llm = make()
        begun, goes_on = asyncio.Event(), asyncio.Event()

        @llm.register_function("slowly", "Takes its time")
        async def slowly() -> str:
            begun.set()
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        reading = asyncio.ensure_future(anext(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.ToolCall("response_1", "call_1", "slowly", "{}"),
            events.ResponseDone("response_1"),
        )
        await begun.wait()
        await fence(connection, record)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        goes_on.set()
        await fence(connection, record)
        asking = asyncio.create_task(final(native(llm, PROMPT)))
        request = await connection.wait_for(events.CreateResponse, 2)
        await say(connection, "response_2", text="La la", request_id=request.request_id)
        assert (await asking).text == "La la"
        assert len(connection.received(events.CreateResponse)) == 2

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "the other way round"])
    async def test_nt7_two_at_once(
        self,
        llm: Realtime,
        connection: loopback.Connection,
        facts: Facts,
        order: tuple[int, int],
    ) -> None:
        """Two callers get each other's words."""
        facts.need("ids")
        asked = {number: Asked(native(llm, f"Canary {number}?")) for number in (1, 2)}
        await connection.wait_for(events.CreateResponse, 2)
        requests = connection.received(events.CreateResponse)
        prompts = [message.text for message in connection.received(events.AddMessage)]
        ids = {
            int(prompt.removeprefix("Canary ")[0]): request.request_id
            for prompt, request in zip(prompts, requests, strict=True)
        }
        for number in order:
            await connection.send(events.ResponseStarted(f"response_{number}", ids[number]))
        for word in ("This", " is", " for"):
            for number in (1, 2):
                await connection.send(
                    events.TextDelta(f"response_{number}", word, item_id=f"agent_{number}")
                )
        for number in (2, 1):
            await connection.send(
                events.TextDelta(f"response_{number}", f" {number}", item_id=f"agent_{number}"),
                events.ResponseDone(f"response_{number}"),
            )
        for number in (1, 2):
            await asked[number].task
            last = asked[number].items[-1]
            assert isinstance(last, LLMResponseFinal)
            assert asked[number].text == last.text == f"This is for {number}"
            assert asked[number].in_sequence
            assert len(asked[number].deltas) == 4

    async def test_nt7_one_is_cancelled(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """The provider cancels one answer, and both callers are left with half."""
        facts.need("ids")
        asked = {number: Asked(native(llm, f"Canary {number}?")) for number in (1, 2)}
        await connection.wait_for(events.CreateResponse, 2)
        for number, request in enumerate(connection.received(events.CreateResponse), start=1):
            await connection.send(
                events.ResponseStarted(f"response_{number}", request.request_id),
                events.TextDelta(f"response_{number}", "La", item_id=f"agent_{number}"),
            )
        await connection.send(
            events.ResponseDone("response_2", "cancelled"),
            events.TextDelta("response_1", " la", item_id="agent_1"),
            events.ResponseDone("response_1"),
        )
        async with asyncio.timeout(1):
            await asked[1].task
            await asked[2].task
        assert (asked[1].text, asked[2].text) == ("La la", "La")
        assert not connection.received(events.CancelResponse)

    async def test_nt7_what_the_user_is_told(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A caller gets what the agent says to somebody else."""
        facts.need("ids")
        asked = Asked(native(llm, PROMPT))
        request = await connection.wait_for(events.CreateResponse)
        await say(connection, "response_1", text="To the user", audio=bytes(96), status=None)
        await say(
            connection,
            "response_2",
            text="To the caller",
            status=None,
            request_id=request.request_id,
        )
        await connection.send(
            events.TextDelta("response_1", " and more", item_id="item_response_1"),
            events.ResponseDone("response_1"),
            events.ResponseDone("response_2"),
        )
        await asked.task
        assert asked.text == "To the caller"
