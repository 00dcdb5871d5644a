"""TL: a tool is called with what the model said, and the model learns what came of it."""

import asyncio
import datetime
import itertools
import json
from collections.abc import Callable, Iterator

import pytest
from vision_agents.core.llm.events import ToolEndEvent, ToolStartEvent
from vision_agents.core.llm.realtime import RealtimeAudioOutput
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from .kit import Ear, Facts, Growing, Recorder, fence, final, leaves, native, say, speech
from .making import Make

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
    for _ in range(100_000):
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
        self.calls.append({"city": city, "days": days})
        return self.value()

    async def slowly(self, name: str = "canary") -> str:
        self.begun.add(name)
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        self.finished.append(name)
        return f"{name} is ready"

    async def breaks(self) -> str:
        raise LookupError("the canary flew away")

    async def breaks_badly(self) -> str:
        raise Unspeakable

    async def gives_up(self) -> str:
        raise asyncio.CancelledError


@pytest.fixture
def tools(facts: Facts) -> Weather:
    """The tools."""
    facts.need("tools")
    return Weather()


@pytest.fixture
async def llm(make: Make, tools: Weather) -> Realtime:
    """A Realtime with tools, connected."""
    llm = make()
    tools.register(llm)
    await llm.connect()
    return llm


async def _calls(
    connection: loopback.Connection,
    name: str,
    arguments: str = "{}",
    *,
    call_id: str = "call_1",
    response_id: str = "response_1",
) -> None:
    """Have the model call a tool, and nothing else."""
    await connection.send(
        events.ResponseStarted(response_id),
        events.ToolCall(response_id, call_id, name, arguments),
        events.ResponseDone(response_id),
    )


async def _answered(
    connection: loopback.Connection, record: Recorder, call_id: str = "call_1"
) -> str:
    """Wait for the result and the request that follows; there is one of each."""
    await connection.wait_for(events.CreateResponse)
    await fence(connection, record)
    results = connection.received(events.AddToolResult)
    assert [result.call_id for result in results] == [call_id]
    assert len(connection.received(events.CreateResponse)) == 1, "asked to go on more than once"
    kinds = [type(command) for command in connection.commands]
    assert kinds.index(events.AddToolResult) < kinds.index(events.CreateResponse)
    return str(results[0].output)


def _tells_all(frame: str | bytes, call_id: str) -> bool:
    """Whether a frame has all there is to know of a call for Oslo."""
    try:
        said = list(leaves(json.loads(frame)))
    except ValueError:
        return False
    arguments = FOR_OSLO in said or ("Oslo" in said and 3 in said)
    return arguments and call_id in said and "weather" in said


def _says_error(output: str) -> bool:
    return "error" in output.lower()


class TestTools:
    async def test_tl1_the_call_goes_on(
        self,
        tools: Weather,
        ear: Ear,
        connection: loopback.Connection,
        facts: Facts,
    ) -> None:
        """While a tool works, the agent neither hears nor speaks."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        await tools.begun.first(str)
        sound = speech(100, facts.output_rate)
        await connection.send(
            events.AudioDelta("response_1", sound, "agent_1"), events.ResponseDone("response_1")
        )
        await ear.done("response_1")
        assert ear.speech("response_1") == sound
        assert not tools.finished
        tools.goes_on.set()
        await connection.wait_for(events.AddToolResult)

    async def test_tl1_a_turn_meanwhile(
        self,
        tools: Weather,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """Who talks to the agent while a tool works gets no answer, or two."""
        await _calls(connection, "slowly")
        await tools.begun.first(str)
        await say(connection, "response_2", audio=speech(20, facts.output_rate), status=None)
        await ear.first(RealtimeAudioOutput)
        tools.goes_on.set()
        await connection.wait_for(events.AddToolResult)
        await fence(connection, record)
        assert not connection.received(events.CreateResponse), "asked while an answer was given"
        await connection.send(events.ResponseDone("response_2"))
        await connection.wait_for(events.CreateResponse)

    async def test_tl2_arguments(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool gets other arguments than the model gave."""
        tools.value = lambda: "sunny"
        await _calls(connection, "weather", '{"city": "São \\"Paulo\\" 🐦", "days": 3}')
        await _answered(connection, record)
        assert tools.calls == [{"city": 'São "Paulo" 🐦', "days": 3}]
        start = await record.first(ToolStartEvent)
        assert (start.tool_name, start.tool_call_id) == ("weather", "call_1")

    async def test_tl2_no_arguments(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool that needs no arguments is never called."""
        tools.goes_on.set()
        await _calls(connection, "slowly", "")
        output = await _answered(connection, record)
        assert tools.finished == ["canary"], output

    async def test_tl2_incomplete_calls(
        self,
        tools: Weather,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
    ) -> None:
        """A tool runs before its arguments are there: it books the wrong table, or two."""
        seen: list[str | bytes] = []

        def keep(frame: str | bytes) -> list[str | bytes]:
            seen.append(frame)
            return [frame]

        provider.rewrite = keep
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_0", "weather", FOR_OSLO),
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
            await connection.send(events.ToolCall("response_1", call_id, "weather", FOR_OSLO))
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
    async def test_tl2_malformed_arguments(
        self, tools: Weather, connection: loopback.Connection, record: Recorder, arguments: str
    ) -> None:
        """A tool runs with half an order, or the model waits for it for ever."""
        tools.goes_on.set()
        await _calls(connection, "slowly", arguments)  # would do without arguments, too
        output = await _answered(connection, record)
        assert _says_error(output), output
        assert not tools.begun.items

    @pytest.mark.parametrize("arguments", ["{}", '{"city": "Oslo", "colour": "canary"}'])
    async def test_tl2_arguments_that_do_not_fit(
        self, tools: Weather, connection: loopback.Connection, record: Recorder, arguments: str
    ) -> None:
        """The model invents an argument, and waits for ever."""
        await _calls(connection, "weather", arguments)
        output = await _answered(connection, record)
        assert _says_error(output), output
        assert not tools.calls

    @pytest.mark.parametrize("kind", VALUES)
    async def test_tl3_whatever_a_tool_returns(
        self, tools: Weather, connection: loopback.Connection, record: Recorder, kind: str
    ) -> None:
        """A tool returns a date, and the model never hears of it: silence."""
        tools.value, part = VALUES[kind]
        await _calls(connection, "weather", FOR_OSLO)
        output = await _answered(connection, record)
        assert part in output
        assert len(output) < 100_000, f"{len(output)} characters for the model to read"
        if kind == "mapping":
            told = connection.received(events.AddToolResult)[0].output
            data = json.loads(told) if isinstance(told, str) else told
            assert {"canary", 3} <= set(leaves(data)), f"not as the model reads data: {told}"

    async def test_tl3_the_conversation_goes_on(
        self,
        tools: Weather,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """After a tool the agent says nothing, or cannot stop."""
        await _calls(connection, "weather", FOR_OSLO)
        request = await connection.wait_for(events.CreateResponse)
        sound = speech(40, facts.output_rate)
        await say(
            connection,
            "response_2",
            audio=sound,
            text="Sunny, canary.",
            request_id=request.request_id,
        )
        await ear.done("response_2")
        assert ear.speech("response_2") == sound
        assert ear.agent_said()[-1].text == "Sunny, canary."
        await fence(connection, record)
        assert len(connection.received(events.CreateResponse)) == 1, "asked to go on once more"
        assert connection.config is not None
        assert {tool.name for tool in connection.config.tools} >= {"weather", "slowly"}

    async def test_tl3_not_before_the_response_is_over(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The plugin asks for the next answer while this one is given, and is refused."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "weather", FOR_OSLO),
        )
        await connection.wait_for(events.AddToolResult)
        await fence(connection, record)
        assert not connection.received(events.CreateResponse)
        await connection.send(events.ResponseDone("response_1"))
        await _answered(connection, record)

    async def test_tl3_the_user_speaks_meanwhile(
        self,
        tools: Weather,
        llm: Realtime,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """A tool is done, and the agent talks over the user to say so."""
        facts.need("speech_events", "turn_detection")
        asking = asyncio.create_task(final(native(llm, "Canary?")))
        request = await connection.wait_for(events.CreateResponse)
        await connection.send(
            events.ResponseStarted("response_1", request.request_id),
            events.ToolCall("response_1", "call_1", "slowly", "{}"),
            events.ResponseDone("response_1"),
        )
        await tools.begun.first(str)
        await connection.send(events.UserSpeechStarted("user_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await connection.wait_for(events.AddToolResult)
        await fence(connection, record)
        assert len(connection.received(events.CreateResponse)) == 1, "the user is speaking"
        await connection.send(events.UserSpeechStopped("user_1"))
        await say(connection, "response_2", text="Canary", audio=bytes(960))
        await ear.done("response_2")
        await fence(connection, record)
        assert len(connection.received(events.CreateResponse)) == 1, "the provider has answered"
        assert (await asking).text == "Canary", "and whoever asked has not heard it"

    async def test_tl3_the_provider_goes_on_by_itself(
        self, tools: Weather, ear: Ear, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The agent answers a tool's result twice."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "weather", FOR_OSLO),
        )
        await connection.wait_for(events.AddToolResult)
        await fence(connection, record)
        await say(connection, "response_2", text="Sunny, canary.", status=None)
        await connection.send(events.ResponseDone("response_1"))
        await connection.send(events.ResponseDone("response_2"))
        await ear.done("response_2")
        await fence(connection, record)
        requests = connection.received(events.CreateResponse)
        assert len(requests) <= 1

    async def test_tl4_a_tool_that_fails(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool fails, and the model waits for it for ever."""
        await _calls(connection, "breaks")
        output = await _answered(connection, record)
        assert _says_error(output)
        assert "the canary flew away" in output, "the model is not told why"
        end = await record.first(ToolEndEvent)
        assert not end.success

    async def test_tl4_a_tool_that_fails_without_words(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool fails with an error that cannot be printed, and the model waits for ever."""
        await _calls(connection, "breaks_badly")
        assert _says_error(await _answered(connection, record))

    async def test_tl4_a_tool_that_hangs(
        self, make: Make, provider: loopback.Provider, tools: Weather
    ) -> None:
        """A tool hangs, and the conversation with it."""
        llm = make(tool_timeout_s=0.05)
        tools.register(llm)
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        await _calls(connection, "slowly")
        output = await _answered(connection, record)
        assert _says_error(output)
        assert tools.cancelled == ["canary"], "still runs"

    async def test_tl4_an_unknown_tool(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The model invents a tool, and waits for it for ever."""
        await _calls(connection, "teleport", '{"to": "canary"}')
        assert _says_error(await _answered(connection, record))

    async def test_tl4_a_tool_that_cancels_itself(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool whose own work was cancelled leaves the model waiting."""
        await _calls(connection, "gives_up")
        assert _says_error(await _answered(connection, record))

    async def test_tl4_a_tool_of_the_provider(
        self,
        tools: Weather,
        ear: Ear,
        connection: loopback.Connection,
        record: Recorder,
        facts: Facts,
    ) -> None:
        """The plugin answers what the provider runs itself: a second, apologetic answer."""
        facts.need("server_tools")
        for number, name in enumerate(facts.server_tools, start=1):
            response_id = f"response_{number}"
            await connection.send(
                events.ResponseStarted(response_id),
                events.ToolCall(response_id, f"call_{number}", name, "{}"),
                events.ResponseDone(response_id),
            )
            await ear.done(response_id)
        await fence(connection, record)
        await fence(connection, record)
        assert not connection.received(events.AddToolResult)
        assert not connection.received(events.CreateResponse)
        assert not record.of(ToolStartEvent)

    async def test_tl5_a_call_told_twice(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """The order is placed twice."""
        call = events.ToolCall("response_1", "call_1", "weather", FOR_OSLO)
        await connection.send(events.ResponseStarted("response_1"), call, call)
        await connection.wait_for(events.AddToolResult)
        await connection.send(call, events.ResponseDone("response_1"), call)
        await _answered(connection, record)
        assert len(tools.calls) == 1

    async def test_tl5_calls_side_by_side(
        self, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """Three look-ups take three times as long, or get each other's results."""
        await connection.send(events.ResponseStarted("response_1"))
        for name in ("finch", "canary", "tit"):
            arguments = json.dumps({"name": name})
            await connection.send(
                events.ToolCall("response_1", f"call_{name}", "slowly", arguments)
            )
        await connection.send(events.ResponseDone("response_1"))
        await tools.begun.first(str, 3)
        await fence(connection, record)
        assert not connection.received(events.CreateResponse)
        tools.goes_on.set()
        await connection.wait_for(events.CreateResponse)
        await fence(connection, record)
        results = {
            each.call_id: str(each.output) for each in connection.received(events.AddToolResult)
        }
        assert set(results) == {"call_finch", "call_canary", "call_tit"}
        assert all(f"{call_id[5:]} is ready" in output for call_id, output in results.items())
        assert len(connection.received(events.AddToolResult)) == 3
        assert len(connection.received(events.CreateResponse)) == 1
        assert isinstance(connection.commands[-1], events.CreateResponse), (
            "asked before all results"
        )

    async def test_tl5_a_call_taken_back(
        self, tools: Weather, connection: loopback.Connection, record: Recorder, facts: Facts
    ) -> None:
        """The provider takes a call back, and is answered all the same."""
        facts.need("cancels_tool_calls")
        await _calls(connection, "slowly")
        await tools.begun.first(str)
        await connection.send(events.ToolCallCancelled("call_1"))
        await fence(connection, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await fence(connection, record)
        assert not connection.received(events.AddToolResult)

    async def test_tl6_close_with_a_tool_at_work(
        self, llm: Realtime, tools: Weather, connection: loopback.Connection, record: Recorder
    ) -> None:
        """A tool goes on after the agent has left, or its result is sent into nowhere."""
        await _calls(connection, "slowly")
        await tools.begun.first(str)
        closing = asyncio.create_task(llm.close())
        await asyncio.wait([closing], timeout=0.02)
        tools.goes_on.set()
        await closing
        assert tools.finished or tools.cancelled, "the tool is still at work after close()"
        assert tools.finished, "cut off a moment before it was done"
        await connection.closed.wait()
        assert len(connection.received(events.AddToolResult)) == 1, "the result was lost on the way"

    @pytest.mark.parametrize("mid_response", [True, False])
    async def test_tl6_a_result_of_another_session(
        self,
        llm: Realtime,
        tools: Weather,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
        mid_response: bool,
    ) -> None:
        """After a reconnect the provider gets the result of a call it never made."""
        await connection.send(
            events.ResponseStarted("response_1"),
            events.ToolCall("response_1", "call_1", "slowly", "{}"),
        )
        if not mid_response:
            await connection.send(events.ResponseDone("response_1"))
        await tools.begun.first(str)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await fence(again, record)
        tools.goes_on.set()
        await record.first(ToolEndEvent)
        await fence(again, record)
        asking = asyncio.ensure_future(anext(native(llm, "Canary?")))
        request = await again.wait_for(events.CreateResponse)
        await say(again, text="Yes", request_id=request.request_id)
        await asking
        assert not again.received(events.AddToolResult)
        assert len(again.received(events.CreateResponse)) == 1

    async def test_tl6_the_same_id_in_another_session(
        self,
        tools: Weather,
        provider: loopback.Provider,
        connection: loopback.Connection,
        record: Recorder,
    ) -> None:
        """After a reconnect a call is answered with the result of another."""
        await _calls(connection, "slowly", '{"name": "cat"}')
        await tools.begun.first(str)
        connection.abort()
        again = await provider.connection(2)
        await record.up(2)
        await _calls(again, "slowly", '{"name": "canary"}')
        await tools.begun.first(str, 2)
        tools.goes_on.set()
        await again.wait_for(events.CreateResponse)
        await fence(again, record)
        results = [str(each.output) for each in again.received(events.AddToolResult)]
        assert ["canary is ready" in result for result in results] == [True], results
