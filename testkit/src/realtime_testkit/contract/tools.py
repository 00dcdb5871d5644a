"""TL: a tool is called with what the model said, and the model gets its result."""

import asyncio
import datetime
import itertools
import json
from collections.abc import Callable, Iterator

import pytest
from vision_agents.core.llm.events import ToolEndEvent, ToolStartEvent
from vision_agents.core.llm.realtime import RealtimeAudioOutput

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, Growing, OutputRecorder
from realtime_testkit.scenarios import (
    NativeCall,
    begun,
    calls,
    continuation,
    fence,
    final,
    leaves,
    needs_continuations,
    say,
)
from realtime_testkit.signals import (
    speech,
)
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

FOR_OSLO = '{"city": "Oslo", "days": 3}'


class Unreadable:
    """Nobody can print it."""

    def __repr__(self) -> str:
        raise RuntimeError("no canary here")


class Unspeakable(Unreadable, Exception):
    """Nobody can print it, and it went wrong."""

    __str__ = Unreadable.__repr__


def _endless() -> list[object]:
    endless: list[object] = ["canary"]
    endless.append(endless)
    return endless


def _deep() -> list[object]:
    deep: list[object] = ["canary"]
    for _ in range(20_000):
        deep = [deep]
    return deep


VALUES: dict[str, tuple[Callable[[], object], str]] = {
    "text": (lambda: "a canary", "a canary"),
    "mapping": (lambda: {"bird": "canary", "count": 3, "cage": object()}, "canary"),
    "list": (lambda: ["canary", 3], "canary"),
    "number": (lambda: 3.5, "3.5"),
    "none": (lambda: None, ""),
    "datetime": (lambda: {"at": datetime.datetime(2031, 5, 6, tzinfo=datetime.UTC)}, "2031-05-06"),
    "set": (lambda: {"canary"}, "canary"),
    "bytes": (lambda: b"canary", ""),
    "broken bytes": (lambda: {"raw": b"\xff\xfe"}, ""),
    "object": (object, "object"),
    "exception": (lambda: ValueError("canary"), "canary"),
    "keys": (lambda: {1: "canary", (2, 3): "cat"}, "canary"),
    "not a number": (lambda: [float("nan"), float("inf"), "canary"], "canary"),
    "half a character": (lambda: "canary \ud83d", "canary"),
    "half a character inside": (lambda: {"name": "canary \ud83d"}, "canary"),
    "endless": (_endless, "canary"),
    "deep": (_deep, ""),
    "unreadable": (Unreadable, ""),
    "unreadable inside": (lambda: {"bird": Unreadable()}, ""),
    "large": (lambda: "canary " * 150_000, "canary"),
    "large list": (lambda: ["canary"] * 150_000, "canary"),
}


class Weather:
    """The tools of the agent, and what becomes of their calls.

    Attributes:
        calls: what `weather` was called with.
        begun: the names of the slow calls that began.
        ended: the names of those that ended, cancelled or not.
        goes_on: let slow calls finish.
        value: makes what `weather` returns.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []
        self.begun = Growing[str]()
        self.finished: list[str] = []
        self.cancelled: list[str] = []
        self.goes_on = asyncio.Event()
        self.value: Callable[[], object] = lambda: {"canary": "sunny"}

    def register(self, llm: Realtime) -> None:
        """Give the agent its tools."""
        llm.register_function("weather", "The weather in a city")(self.weather)
        llm.register_function("slowly", "Takes its time")(self.slowly)
        llm.register_function("breaks", "Always fails")(self.breaks)
        llm.register_function("breaks_badly", "Fails without words")(self.breaks_badly)
        llm.register_function("gives_up", "Is cancelled from within")(self.gives_up)

    async def weather(self, city: str, days: int = 1) -> object:
        """Return what `value` makes."""
        self.calls.append({"city": city, "days": days})
        return self.value()

    async def slowly(self, name: str = "canary") -> str:
        """Wait until slow calls may go on."""
        self.begun.add(name)
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        self.finished.append(name)
        return f"{name} is ready"

    async def breaks(self) -> str:
        """Raise an error with a text."""
        raise LookupError("the canary flew away")

    async def breaks_badly(self) -> str:
        """Raise an error that cannot be printed."""
        raise Unspeakable

    async def gives_up(self) -> str:
        """Raise CancelledError."""
        raise asyncio.CancelledError


async def _answered(
    connection: Connection, record: EventRecorder, facts: Facts, call_id: str = "call_1"
) -> str:
    """Wait for the result and the request that follows; assert that there is one of each."""
    await connection.wait_for(protocol.AddToolResult)
    await continuation(connection, facts)
    await fence(connection, record)
    results = connection.received(protocol.AddToolResult)
    assert [result.call_id for result in results] == [call_id]
    requests = connection.received(protocol.CreateResponse)
    assert len(requests) == (not facts.continues_after_tools), "asked to go on more than once"
    kinds = [type(command) for command in connection.commands]
    if requests:
        assert kinds.index(protocol.AddToolResult) < kinds.index(protocol.CreateResponse)
    return str(results[0].output)


def _tells_all(frame: str | bytes, call_id: str) -> bool:
    """Whether a frame of a response has all there is to know of a call for Oslo."""
    try:
        message = json.loads(frame)
    except ValueError:
        return False
    said = list(leaves(message))
    # What happens to items of the conversation is told beside the response.
    if isinstance(message, dict) and str(message.get("type")).startswith("conversation."):
        return False
    arguments = FOR_OSLO in said or ("Oslo" in said and 3 in said)
    return arguments and call_id in said and "weather" in said


def _says_error(output: str) -> bool:
    return "error" in output.lower()


class Tools(Contract):
    """Calls of tools, their results, and the answers that follow."""

    @pytest.fixture
    def tools(self, facts: Facts) -> Weather:
        """The tools."""
        facts.need("tools")
        return Weather()

    @pytest.fixture
    async def llm(self, make: Make, tools: Weather) -> Realtime:
        """A Realtime with tools, connected."""
        llm = make()
        tools.register(llm)
        await llm.connect()
        return llm

    async def test_tl1_audio_is_read_while_a_tool_runs(
        self, tools: Weather, output: OutputRecorder, connection: Connection, facts: Facts
    ) -> None:
        """Audio of the provider is emitted while a tool runs."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        await tools.begun.first(str)
        sound = speech(100, facts.output_rate)
        await connection.send(protocol.AudioDelta("response_1", sound, "agent_1"))
        await output.first(RealtimeAudioOutput)
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        assert output.speech("response_1") == sound
        assert not tools.finished
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult)

    async def test_tl1_continuation_waits_for_the_answer_in_progress(
        self,
        tools: Weather,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """The continuation after a tool is requested once the answer in progress has ended."""
        needs_continuations(facts)
        await calls(connection, "slowly")
        await tools.begun.first(str)
        await say(connection, "response_2", audio=speech(20, facts.output_rate), status=None)
        await output.first(RealtimeAudioOutput)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult)
        await fence(connection, record)
        assert not connection.received(protocol.CreateResponse), "asked while an answer was given"
        await connection.send(protocol.ResponseDone("response_2"))
        await connection.wait_for(protocol.CreateResponse)

    async def test_tl2_arguments_reach_the_tool(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """The tool is called once with the model's arguments.

        The start event names the tool and the call.
        """
        tools.value = lambda: "sunny"
        await calls(connection, "weather", '{"city": "São \\"Paulo\\" 🐦", "days": 3}')
        await _answered(connection, record, facts)
        assert tools.calls == [{"city": 'São "Paulo" 🐦', "days": 3}]
        start = await record.first(ToolStartEvent)
        assert (start.tool_name, start.tool_call_id) == ("weather", "call_1")

    async def test_tl2_empty_arguments_are_none(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A call with empty arguments runs the tool without any."""
        tools.goes_on.set()
        await calls(connection, "slowly", "")
        output = await _answered(connection, record, facts)
        assert tools.finished == ["canary"], output

    async def test_tl2_incomplete_calls_do_not_run(
        self, tools: Weather, provider: Provider, connection: Connection, record: EventRecorder
    ) -> None:
        """Whichever frames are lost, the tool runs at most once, with its whole arguments."""
        seen: list[str | bytes] = []

        def keep(frame: str | bytes) -> list[str | bytes]:
            seen.append(frame)
            return [frame]

        provider.rewrite = keep
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_0", "weather", FOR_OSLO),
        )
        await fence(connection, record)
        assert tools.calls == [{"city": "Oslo", "days": 3}]
        count = len(seen) - 2  # but for the start of the response and the fence
        keeps: Iterator[bool] = iter(())

        sent: list[str | bytes] = []

        def drop(frame: str | bytes) -> list[str | bytes]:
            if not next(keeps, True):
                return []
            sent.append(frame)
            return [frame]

        provider.rewrite = drop
        for number, kept in enumerate(itertools.product((True, False), repeat=count), start=1):
            tools.calls.clear()
            keeps = iter(kept)
            sent.clear()
            call_id = f"call_{number}"
            await connection.send(protocol.ToolCall("response_1", call_id, "weather", FOR_OSLO))
            await fence(connection, record)
            await fence(connection, record)  # the tool runs beside what is read
            wrong = [call for call in tools.calls if call != {"city": "Oslo", "days": 3}]
            assert not wrong, f"with frames {kept} of the call: {wrong}"
            assert len(tools.calls) <= 1, f"with frames {kept} of the call: twice"
            if any(_tells_all(frame, call_id) for frame in sent):
                assert tools.calls, f"nothing was missing in {sent}"

    @pytest.mark.parametrize(
        "arguments", ['{"city": "Os', '["Oslo"]', '"Oslo"', "Oslo", "{}{}", "[" * 5000]
    )
    async def test_tl2_malformed_arguments_give_an_error_result(
        self,
        tools: Weather,
        connection: Connection,
        record: EventRecorder,
        arguments: str,
        facts: Facts,
    ) -> None:
        """Arguments that are no JSON object give an error result, and the tool does not run."""
        tools.goes_on.set()
        await calls(connection, "slowly", arguments)  # would do without arguments, too
        output = await _answered(connection, record, facts)
        assert _says_error(output), output
        assert not tools.begun.items

    async def test_tl2_huge_arguments_reach_the_tool_whole_or_not_at_all(
        self,
        tools: Weather,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """The tool runs with all of a long argument, or does not run and the model is told."""
        transport.needs_messages()
        tools.goes_on.set()
        name = "x" * (transport.full // 10)
        await calls(connection, "slowly", json.dumps({"name": name}))
        output = await _answered(connection, record, facts)
        assert tools.begun.items == [name] or (_says_error(output) and not tools.begun.items)

    @pytest.mark.parametrize("arguments", ["{}", '{"city": "Oslo", "colour": "canary"}'])
    async def test_tl2_unfitting_arguments_give_an_error_result(
        self,
        tools: Weather,
        connection: Connection,
        record: EventRecorder,
        arguments: str,
        facts: Facts,
    ) -> None:
        """Arguments that do not fit give an error result, and the tool does not run."""
        await calls(connection, "weather", arguments)
        output = await _answered(connection, record, facts)
        assert _says_error(output), output
        assert not tools.calls

    @pytest.mark.parametrize("kind", VALUES)
    async def test_tl3_any_return_value_gives_one_bounded_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, kind: str, facts: Facts
    ) -> None:
        """Any return value gives one readable result of bounded length, and a continuation."""
        tools.value, part = VALUES[kind]
        await calls(connection, "weather", FOR_OSLO)
        output = await _answered(connection, record, facts)
        assert part in output
        assert len(output) < 100_000, f"{len(output)} characters for the model to read"
        if kind == "mapping":
            told = connection.received(protocol.AddToolResult)[0].output
            data = json.loads(told) if isinstance(told, str) else told
            assert {"canary", 3} <= set(leaves(data)), f"not as the model reads data: {told}"

    async def test_tl3_answer_after_a_tool_is_emitted(
        self,
        tools: Weather,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """The answer after a tool is emitted with audio and text, and nothing more is requested."""
        await calls(connection, "weather", FOR_OSLO)
        request_id = await continuation(connection, facts)
        sound = speech(40, facts.output_rate)
        await say(
            connection,
            "response_2",
            audio=sound,
            text="Sunny, canary.",
            request_id=request_id,
        )
        await output.done("response_2")
        assert output.speech("response_2") == sound
        assert output.agent_said()[-1].text == "Sunny, canary."
        await fence(connection, record)
        requests = connection.received(protocol.CreateResponse)
        assert len(requests) == (not facts.continues_after_tools), "asked to go on once more"
        assert connection.config is not None
        assert {tool.name for tool in connection.config.tools} >= {"weather", "slowly"}

    async def test_tl3_continuation_waits_for_the_end_of_the_call(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """The continuation is requested after the response that called the tool has ended."""
        needs_continuations(facts)
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "weather", FOR_OSLO),
        )
        await connection.wait_for(protocol.AddToolResult)
        await fence(connection, record)
        assert not connection.received(protocol.CreateResponse)
        await connection.send(protocol.ResponseDone("response_1"))
        await _answered(connection, record, facts)

    async def test_tl3_continuation_waits_while_the_user_speaks(
        self,
        tools: Weather,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        native: NativeCall,
    ) -> None:
        """No continuation is requested while the user speaks.

        The provider's own answer counts as the continuation, for the caller too.
        """
        facts.need("speech_events", "turn_detection")
        needs_continuations(facts)
        asking = begun(final(native(llm, "Canary?")))
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
            protocol.ResponseDone("response_1"),
        )
        await tools.begun.first(str)
        await connection.send(protocol.UserSpeechStarted("user_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult)
        await fence(connection, record)
        assert len(connection.received(protocol.CreateResponse)) == 1, "the user is speaking"
        await connection.send(protocol.UserSpeechStopped("user_1"))
        await say(connection, "response_2", text="Canary", audio=bytes(960))
        await output.done("response_2")
        await fence(connection, record)
        assert len(connection.received(protocol.CreateResponse)) == 1, "the provider has answered"
        assert (await asking).text == "Canary", "and whoever asked has not heard it"

    async def test_tl3_own_continuation_of_the_provider_counts(
        self, tools: Weather, output: OutputRecorder, connection: Connection, record: EventRecorder
    ) -> None:
        """At most one continuation is requested where the provider goes on by itself."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "weather", FOR_OSLO),
        )
        await connection.wait_for(protocol.AddToolResult)
        await fence(connection, record)
        await say(connection, "response_2", text="Sunny, canary.", status=None)
        await connection.send(protocol.ResponseDone("response_1"))
        await connection.send(protocol.ResponseDone("response_2"))
        await output.done("response_2")
        await fence(connection, record)
        requests = connection.received(protocol.CreateResponse)
        assert len(requests) <= 1

    async def test_tl4_failing_tool_gives_an_error_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A tool that raises gives a result with the error's text.

        The end event says that it failed.
        """
        await calls(connection, "breaks")
        output = await _answered(connection, record, facts)
        assert _says_error(output)
        assert "the canary flew away" in output, "the model is not told why"
        end = await record.first(ToolEndEvent)
        assert not end.success

    async def test_tl4_unprintable_error_gives_an_error_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A tool that raises an error which cannot be printed gives an error result."""
        await calls(connection, "breaks_badly")
        assert _says_error(await _answered(connection, record, facts))

    async def test_tl4_hanging_tool_gives_an_error_result(
        self, make: Make, provider: Provider, tools: Weather, facts: Facts
    ) -> None:
        """A tool that takes longer than tool_timeout_s is cancelled and gives an error result."""
        llm = make(tool_timeout_s=0.05)
        tools.register(llm)
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        await calls(connection, "slowly")
        output = await _answered(connection, record, facts)
        assert _says_error(output)
        assert tools.cancelled == ["canary"], "still runs"

    async def test_tl4_unknown_tool_gives_an_error_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A call of a tool that is not registered gives an error result."""
        await calls(connection, "teleport", '{"to": "canary"}')
        assert _says_error(await _answered(connection, record, facts))

    async def test_tl4_self_cancelled_tool_gives_an_error_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A tool that raises CancelledError gives an error result."""
        await calls(connection, "gives_up")
        assert _says_error(await _answered(connection, record, facts))

    async def test_tl4_server_side_tools_are_not_answered(
        self,
        tools: Weather,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """Calls of tools that the provider runs itself get no result and no continuation."""
        facts.need("server_tools")
        for number, name in enumerate(facts.server_tools, start=1):
            response_id = f"response_{number}"
            await connection.send(
                protocol.ResponseStarted(response_id),
                protocol.ToolCall(response_id, f"call_{number}", name, "{}"),
                protocol.ResponseDone(response_id),
            )
            await output.done(response_id)
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(protocol.AddToolResult)
        assert not connection.received(protocol.CreateResponse)
        assert not record.of(ToolStartEvent)

    async def test_tl5_repeated_call_runs_once(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A call that is sent several times runs once and gets one result and one continuation."""
        call = protocol.ToolCall("response_1", "call_1", "weather", FOR_OSLO)
        await connection.send(protocol.ResponseStarted("response_1"), call, call)
        await connection.wait_for(protocol.AddToolResult)
        await connection.send(call, protocol.ResponseDone("response_1"))
        if facts.ids:  # without them it is the call of another response
            await connection.send(call)
        await _answered(connection, record, facts)
        assert len(tools.calls) == 1

    async def test_tl5_parallel_calls_overlap(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """Three calls of one response run at the same time and get their own results.

        One continuation follows.
        """
        await connection.send(protocol.ResponseStarted("response_1"))
        for name in ("finch", "canary", "tit"):
            arguments = json.dumps({"name": name})
            await connection.send(
                protocol.ToolCall("response_1", f"call_{name}", "slowly", arguments)
            )
        await connection.send(protocol.ResponseDone("response_1"))
        await tools.begun.first(str, 3)
        await fence(connection, record)
        assert not connection.received(protocol.CreateResponse)
        tools.goes_on.set()
        await connection.wait_for(protocol.AddToolResult, 3)
        await continuation(connection, facts)
        await fence(connection, record)
        results = {
            each.call_id: str(each.output) for each in connection.received(protocol.AddToolResult)
        }
        assert set(results) == {"call_finch", "call_canary", "call_tit"}
        assert all(f"{call_id[5:]} is ready" in output for call_id, output in results.items())
        assert len(connection.received(protocol.AddToolResult)) == 3
        if not facts.continues_after_tools:
            assert len(connection.received(protocol.CreateResponse)) == 1
            last = connection.commands[-1]
            assert isinstance(last, protocol.CreateResponse), "asked before all results"

    async def test_tl5_cancelled_call_gets_no_result(
        self, tools: Weather, connection: Connection, record: EventRecorder, facts: Facts
    ) -> None:
        """A call that the provider takes back gets no result."""
        facts.need("cancels_tool_calls")
        await calls(connection, "slowly")
        await tools.begun.first(str)
        await connection.send(protocol.ToolCallCancelled("call_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await fence(connection, record)
        assert not connection.received(protocol.AddToolResult)

    async def test_tl6_call_ids_of_a_closed_session_are_free(
        self, make: Make, provider: Provider, facts: Facts, tools: Weather
    ) -> None:
        """After close() and connect(), a call with an id of the session before is run."""
        llm = make()
        tools.register(llm)
        await llm.connect()
        for number in (1, 2):
            connection = await provider.connection(number)
            await calls(connection, "weather", FOR_OSLO, call_id="call_1")
            await connection.wait_for(protocol.AddToolResult)
            await llm.close()
            await llm.connect()
        assert len(tools.calls) == 2

    async def test_tl6_close_ends_tools_of_one_id(
        self, make: Make, provider: Provider, facts: Facts, tools: Weather
    ) -> None:
        """close() cancels the tools of two sessions whose calls have the same id."""
        llm = make()
        tools.register(llm)
        await llm.connect()
        record = make.record(llm)
        for number, name in enumerate(("one", "two"), 1):
            connection = await provider.connection(number)
            await record.up(number)
            await calls(connection, "slowly", json.dumps({"name": name}), call_id="call_1")
            await tools.begun.first(str, number)
            if number == 1:
                connection.abort()
        await llm.close()
        assert sorted(tools.cancelled) == ["one", "two"]

    @pytest.mark.parametrize("first", ["the tool", "the failure"])
    async def test_tl3_tools_of_a_failed_response_are_continued(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        tools: Weather,
        first: str,
    ) -> None:
        """The result of a tool is continued where its response failed, whichever ended first."""
        needs_continuations(facts)
        llm = make()
        tools.register(llm)
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        await tools.begun.first(str)
        if first == "the tool":
            tools.goes_on.set()
            await connection.wait_for(protocol.AddToolResult)
        await connection.send(protocol.ResponseDone("response_1", "failed", code="server_error"))
        await fence(connection, record)
        tools.goes_on.set()
        await connection.wait_for(protocol.CreateResponse)
        await fence(connection, record)
        assert len(connection.received(protocol.CreateResponse)) == 1

    async def test_tl6_close_waits_a_moment_for_tools(
        self, llm: Realtime, tools: Weather, connection: Connection, record: EventRecorder
    ) -> None:
        """close() lets a tool that is nearly done finish, and sends its result."""
        await calls(connection, "slowly")
        await tools.begun.first(str)
        closing = asyncio.create_task(llm.close())
        await asyncio.wait([closing], timeout=0.02)
        tools.goes_on.set()
        await closing
        assert tools.finished or tools.cancelled, "the tool is still at work after close()"
        assert tools.finished, "cut off a moment before it was done"
        await connection.closed.wait()
        assert len(connection.received(protocol.AddToolResult)) == 1, (
            "the result was lost on the way"
        )

    @pytest.mark.parametrize("mid_response", [True, False])
    async def test_tl6_result_never_answers_a_call_of_another_session(
        self,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        mid_response: bool,
    ) -> None:
        """The result of a lost session's tool is no tool result in the next session."""
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        if not mid_response:
            await connection.send(protocol.ResponseDone("response_1"))
        await tools.begun.first(str)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await fence(again, record)
        await fence(again, record)
        assert not again.received(protocol.AddToolResult)

    async def test_tl6_same_call_id_in_the_next_session_is_another_call(
        self, tools: Weather, provider: Provider, connection: Connection, record: EventRecorder
    ) -> None:
        """A call with an id that was used in the lost session gets its own result."""
        await calls(connection, "slowly", '{"name": "cat"}')
        await tools.begun.first(str)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await calls(again, "slowly", '{"name": "canary"}')
        await tools.begun.first(str, 2)
        tools.goes_on.set()
        await again.wait_for(protocol.AddToolResult)
        await fence(again, record)
        results = [str(each.output) for each in again.received(protocol.AddToolResult)]
        assert ["canary is ready" in result for result in results] == [True], results

    @pytest.mark.parametrize("left", ["", '{"name": "ca', "{}"])
    @pytest.mark.parametrize("status", ["incomplete", "cancelled"])
    async def test_tl7_cut_off_call_is_not_run(
        self,
        tools: Weather,
        provider: Provider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        left: str,
        status: protocol.ResponseStatus,
    ) -> None:
        """A call whose arguments were cut off does not run its tool, with defaults or without.

        Frames that announce the call's end say that it is incomplete, as its response does.
        """
        if facts.wire == "own":
            excuse("contract.toml: wire = own: no telling which message marks a call as cut off")
        whole = '{"name": "a whole canary"}'

        def cut(frame: str | bytes) -> list[str | bytes]:
            return [json.dumps(_cut(json.loads(frame), whole, left))]

        tools.goes_on.set()
        await connection.send(protocol.ResponseStarted("response_1"))
        provider.rewrite = cut
        await connection.send(protocol.ToolCall("response_1", "call_1", "slowly", whole))
        provider.rewrite = None
        await connection.send(protocol.ResponseDone("response_1", status))
        await fence(connection, record)
        await fence(connection, record)
        assert not tools.begun.items, "the tool ran"

    async def test_tl8_quiet_result_starts_no_answer(
        self,
        make: Make,
        provider: Provider,
        tools: Weather,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A result that the tool marks as quiet is sent, and starts no answer."""
        needs_continuations(facts)
        quiet = subject.quiet_result
        if quiet is None:
            excuse("provider_double.py: the subject names no quiet result")
        llm = make()
        tools.register(llm)
        await llm.connect()
        connection = await provider.connection(len(provider.connections))
        record = make.record(llm)
        tools.value = lambda: quiet({"canary": "stored"})
        await calls(connection, "weather", FOR_OSLO)
        result = await connection.wait_for(protocol.AddToolResult)
        assert "stored" in str(result.output)
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(protocol.CreateResponse)
        tools.value = lambda: "loud canary"
        await calls(connection, "weather", FOR_OSLO, call_id="call_2", response_id="response_2")
        await connection.wait_for(protocol.CreateResponse)

    @pytest.mark.parametrize("kind", ["large", "large list"])
    async def test_tl9_long_result_is_cut_with_a_note(
        self,
        tools: Weather,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        kind: str,
    ) -> None:
        """A result that is too long keeps its beginning and ends with a note that it was cut."""
        tools.value, _ = VALUES[kind]
        value = tools.value()
        await calls(connection, "weather", FOR_OSLO)
        output = await _answered(connection, record, facts)
        assert "canary" in output[:100]
        note = output.replace("canary", "").strip(' ,"[]…\n')
        assert any(character.isalpha() for character in note), f"no note: ...{output[-60:]!r}"
        assert len(output) < len(str(value))


def _cut(value: object, whole: str, left: str) -> object:
    """A message about a call, with other arguments and an item that is not complete."""
    match value:
        case dict():
            about = {key: _cut(inner, whole, left) for key, inner in value.items()}
            if about.get("status") == "completed":
                about["status"] = "incomplete"
            return about
        case list():
            return [_cut(inner, whole, left) for inner in value]
        case str() if value == whole:
            return left
        case str() if value and value in whole and len(value) > 2 and not value.isalpha():
            return left if whole.startswith(value) else ""
    return value
