"""Recorders of what a Realtime emits: its output and its events."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeConnectedEvent,
    RealtimeDisconnectedEvent,
    ToolEndEvent,
    ToolStartEvent,
)
from vision_agents.core.llm.realtime import (
    RealtimeAgentSpeechEnded,
    RealtimeAgentSpeechStarted,
    RealtimeAgentTranscript,
    RealtimeAudioOutput,
    RealtimeAudioOutputDone,
    RealtimeUserTranscript,
)

from .realtime import Realtime
from .transport import Transport

if TYPE_CHECKING:
    from .providers.provider import Provider
    from .watchdog import Watchdog

WAIT_S = 5.0
"""How long to wait for something that has to come."""

FENCE = "contract_fence"
"""Code of the error frame which shows that everything sent before it was handled."""

ItemT = TypeVar("ItemT")
KindT = TypeVar("KindT")


class Growing(Generic[ItemT]):
    """A list that grows, and can be waited for."""

    def __init__(self) -> None:
        self.items: list[ItemT] = []
        self._grown = asyncio.Event()

    def of(self, kind: type[KindT]) -> list[KindT]:
        """Return the items of a kind so far."""
        return [item for item in self.items if isinstance(item, kind)]

    async def until(
        self, condition: Callable[[], bool], what: str, within_s: float = WAIT_S
    ) -> None:
        """Wait until a condition holds."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await self._grown.wait()
        except TimeoutError:
            came = ", ".join(_brief(item) for item in self.items[-20:]) or "nothing"
            raise AssertionError(f"no {what} within {within_s:g} s; received: {came}") from None

    async def first(self, kind: type[KindT], count: int = 1) -> KindT:
        """Wait for the count-th item of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count, f"{kind.__name__} number {count}")
        return self.of(kind)[count - 1]

    def add(self, item: ItemT) -> None:
        """Add an item."""
        self.items.append(item)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


class OutputRecorder(Growing[object]):
    """Reads `llm.output` as items come, like the flow of an agent.

    Args:
        llm: whose output.
        provider: knows the ids of responses where the wire carries none; None for a
            provider that is not embedded.
        transport: how audio travels.
        answers: answer `Done(interrupted=True)` with `interrupt()`, as the flow does.
        takes_s: how long the recorder takes before it answers.
    """

    def __init__(
        self,
        llm: Realtime,
        provider: "Provider | None",
        transport: Transport,
        *,
        answers: bool = False,
        takes_s: float = 0.0,
    ) -> None:
        super().__init__()
        self._llm = llm
        self.transport = transport
        self._provider = provider
        self._answers = answers
        self._takes_s = takes_s
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def done(self, response_id: str) -> RealtimeAudioOutputDone:
        """Wait for the end of a response."""
        await self.until(lambda: bool(self.dones(response_id)), f"Done of {response_id}")
        return self.dones(response_id)[0]

    def dones(self, response_id: str | None = None) -> list[RealtimeAudioOutputDone]:
        """Return the ends so far."""
        ends = self.of(RealtimeAudioOutputDone)
        return [each for each in ends if response_id in (None, each.response_id)]

    def chunks(self, response_id: str | None = None) -> list[PcmData]:
        """Return the pieces of speech so far."""
        pieces = self.of(RealtimeAudioOutput)
        return [each.data for each in pieces if response_id in (None, each.response_id)]

    def speech(self, response_id: str | None = None) -> bytes:
        """Return the speech so far, as packed samples."""
        assert self._provider is not None  # the provider is embedded
        return self.transport.speech(self.items, self._provider, response_id)

    def user_said(self) -> list[RealtimeUserTranscript]:
        """Return the transcripts of the user so far."""
        return self.of(RealtimeUserTranscript)

    def user_lines(self) -> list[tuple[Participant, str]]:
        """Return the user's messages so far, put together as the agent's flow does."""
        lines: list[tuple[Participant, str]] = []
        unfinished: dict[str, int] = {}
        for said in self.user_said():
            place = unfinished.get(said.participant.id)
            if place is None:
                place = unfinished[said.participant.id] = len(lines)
                lines.append((said.participant, ""))
            so_far = lines[place][1] if said.mode == "delta" else ""
            lines[place] = said.participant, so_far + said.text
            if said.mode == "final":
                del unfinished[said.participant.id]
        return lines

    def agent_said(self) -> list[RealtimeAgentTranscript]:
        """Return the transcripts of the agent so far."""
        return self.of(RealtimeAgentTranscript)

    def agent_lines(self) -> list[str]:
        """Return the agent's messages so far, put together as the agent's flow does."""
        lines: list[str] = []
        unfinished = False
        for said in self.agent_said():
            if not unfinished:
                lines.append("")
            lines[-1] = (lines[-1] if said.mode == "delta" else "") + said.text
            unfinished = said.mode != "final"
        return lines

    async def _listen(self) -> None:
        async for item in self._llm.output:
            self.add(self._as_sent(item))
            if self._answers and isinstance(item, RealtimeAudioOutputDone) and item.interrupted:
                if self._takes_s:
                    await asyncio.sleep(self._takes_s)
                await self._llm.interrupt()

    def _as_sent(self, item: object) -> object:
        """The item, with the id that the provider gave to its response."""
        if self._provider is None:
            return item
        match item:
            case (
                RealtimeAudioOutput(response_id=str(response_id))
                | RealtimeAudioOutputDone(response_id=str(response_id))
                | RealtimeAgentSpeechStarted(response_id=str(response_id))
                | RealtimeAgentSpeechEnded(response_id=str(response_id))
            ):
                return replace(item, response_id=self._provider.named(response_id))
        return item


Recorded = (
    RealtimeConnectedEvent
    | RealtimeDisconnectedEvent
    | LLMErrorEvent
    | ToolStartEvent
    | ToolEndEvent
)


class EventRecorder(Growing[Recorded]):
    """Records every event of a Realtime, and compares them with its `connected` flag.

    Attributes:
        errors: the error events so far, without those of fences.
        fences, fences_seen: how many fences were sent, and handled.
    """

    def __init__(self, llm: Realtime, watchdog: "Watchdog") -> None:
        super().__init__()
        self.errors: list[LLMErrorEvent] = []
        self.fences = self.fences_seen = 0
        self._llm = llm
        self._watchdog = watchdog
        self._apart = 0
        llm.events.subscribe(self._on_event)
        watchdog.every_beat(self._look)

    @property
    def connected(self) -> list[RealtimeConnectedEvent]:
        """The connected events so far."""
        return self.of(RealtimeConnectedEvent)

    @property
    def disconnected(self) -> list[RealtimeDisconnectedEvent]:
        """The disconnected events so far."""
        return self.of(RealtimeDisconnectedEvent)

    async def up(self, count: int = 1) -> None:
        """Wait for the count-th connected event."""
        await self.first(RealtimeConnectedEvent, count)

    async def down(self, count: int = 1) -> None:
        """Wait for the count-th disconnected event."""
        await self.first(RealtimeDisconnectedEvent, count)

    async def settled(self) -> None:
        """Wait until every event sent so far was recorded."""
        await self._llm.events.wait(WAIT_S)

    async def check(self) -> None:
        """Compare events and flag."""
        await self.settled()
        turns = [type(each) for each in self.items if isinstance(each, _TURNS)]
        kinds = [RealtimeConnectedEvent, RealtimeDisconnectedEvent]
        if turns != [kinds[index % 2] for index in range(len(turns))]:
            names = [kind.__name__ for kind in turns]
            self._watchdog.found("OB2", f"connected and disconnected do not alternate: {names}")
        if self._llm.connected != (len(turns) % 2 == 1):
            last = turns[-1].__name__ if turns else "no event"
            self._watchdog.found("OB2", f"connected is {self._llm.connected} after {last}")

    def _look(self) -> None:
        turns = sum(isinstance(each, _TURNS) for each in self.items)
        self._apart = self._apart + 1 if self._llm.connected != (turns % 2 == 1) else 0
        if self._apart == 4:  # an event takes a turn of the loop to arrive
            said = f"connected was {self._llm.connected} while the events said otherwise"
            self._watchdog.found("OB2", said)

    async def _on_event(
        self,
        event: RealtimeConnectedEvent
        | RealtimeDisconnectedEvent
        | LLMErrorEvent
        | ToolStartEvent
        | ToolEndEvent,
    ) -> None:
        # The tool events are the base class's, with arguments and result by design.
        if not isinstance(event, ToolStartEvent | ToolEndEvent):
            self._watchdog.secrets(type(event).__name__, repr(event))
        if isinstance(event, RealtimeDisconnectedEvent) and not event.reason:
            self._watchdog.found("CN2", "a disconnected event without a reason")
        if isinstance(event, LLMErrorEvent):
            if FENCE in f"{event.error_code} {event.error}":
                self.fences_seen += 1
            else:
                self.errors.append(event)
            if event.error is None:
                self._watchdog.found("RB3", f"an error event without the error: {event}")
            error: BaseException | None = event.error
            while error is not None:
                self._watchdog.secrets("an error", f"{error} {error!r}")
                error = error.__cause__ or error.__context__
        self.add(event)


_TURNS = RealtimeConnectedEvent | RealtimeDisconnectedEvent


def _brief(item: object) -> str:
    match item:
        case RealtimeAudioOutput(data=data, response_id=response_id):
            return f"Audio({data.duration_ms:.0f} ms, {response_id})"
    return repr(item)[:120]
