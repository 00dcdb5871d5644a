"""The inference flow of an agent around a Realtime, and what comes out of it."""

import asyncio
from types import TracebackType
from typing import Self

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.conversation import Conversation, Message, MessageState
from vision_agents.core.agents.events import (
    AgentTurnEndedEvent,
    AgentTurnStartedEvent,
    UserTurnEndedEvent,
    UserTurnStartedEvent,
)
from vision_agents.core.agents.inference.audio import (
    AudioInputChunk,
    AudioInputStream,
    AudioOutputChunk,
    AudioOutputFlush,
    AudioOutputStream,
)
from vision_agents.core.agents.inference.realtime_flow import RealtimeInferenceFlow
from vision_agents.core.agents.transcript import TranscriptStore
from vision_agents.core.edge.types import Participant
from vision_agents.core.events.manager import EventManager

from .realtime import Realtime
from .recorders import Growing

AGENT = Participant(None, "agent", "participant-agent")

Line = tuple[str, str]
"""The role of a message, and its text."""

Turn = UserTurnStartedEvent | UserTurnEndedEvent | AgentTurnStartedEvent | AgentTurnEndedEvent


class RecordedConversation(Conversation):
    """A conversation that records every change.

    Args:
        takes_s: how long it takes to store a message.
    """

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__("", [])
        self.changes = Growing[tuple[str, str, bool]]()
        self.takes_s = takes_s

    async def _sync_to_backend(
        self, message: Message, state: MessageState, completed: bool
    ) -> None:
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        self.changes.add((message.id or "", message.content, completed))


class AgentFlow:
    """The flow of an agent around a Realtime, with a track that plays at once what comes.

    Attributes:
        conversation: the conversation's store.
        track: what was put on the agent's track; a flush drops what is before it.
        turns: the events of turns.
        flow: Vision Agents' own flow.
    """

    def __init__(self, llm: Realtime, conversation: RecordedConversation | None = None) -> None:
        self.conversation = conversation or RecordedConversation()
        self.track = Growing[AudioOutputChunk | AudioOutputFlush]()
        self.turns = Growing[Turn]()
        self._llm = llm
        self._audio_in = AudioInputStream()
        self._audio_out = AudioOutputStream()
        self._playing: asyncio.Task[None] | None = None
        self._events = EventManager()
        self.flow = RealtimeInferenceFlow(
            audio_input=self._audio_in,
            audio_output=self._audio_out,
            llm=llm,
            transcripts=TranscriptStore(AGENT.user_id),
            agent_user_id=AGENT.user_id,
            conversation=self.conversation,
            events=self._events,
        )

    async def __aenter__(self) -> Self:
        self._events.subscribe(self._on_turn)
        self._llm.set_conversation(self.conversation)
        self._playing = asyncio.create_task(self._play())
        await self.flow.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.flow.stop()
        self._audio_in.close()
        if self._playing is not None:
            await self._playing
        await self._events.shutdown()

    @property
    def lines(self) -> list[Line]:
        """The conversation so far."""
        return [(message.role or "", message.content) for message in self.conversation.messages]

    @property
    def unfinished(self) -> list[Line]:
        """Messages of the conversation that were not completed exactly once."""
        changes = self.conversation.changes.items
        done = [message_id for message_id, _, completed in changes if completed]
        return [
            (message.role or "", message.content)
            for message in self.conversation.messages
            if done.count(message.id or "") != 1
        ]

    async def reads(self, *lines: Line, finished: bool = True) -> None:
        """Wait until the conversation is these lines.

        Args:
            lines: the conversation.
            finished: whether each line has to be completed, exactly once.
        """
        wanted = list(lines)
        try:
            await self.conversation.changes.until(
                lambda: self.lines == wanted and not (finished and self.unfinished),
                "such a conversation",
            )
        except AssertionError:
            unfinished = f", not completed once: {self.unfinished}" if self.unfinished else ""
            raise AssertionError(
                f"the conversation should be {wanted}, is {self.lines}{unfinished}"
            ) from None

    async def hear(self, pcm: PcmData, participant: Participant) -> None:
        """Deliver audio of a participant of the call."""
        await self._audio_in.send(AudioInputChunk(pcm, participant))

    def audible(self) -> bytes:
        """Return what the track still plays: everything since the last flush, packed samples."""
        speech = b""
        for item in self.track.items:
            match item:
                case AudioOutputFlush():
                    speech = b""
                case AudioOutputChunk(data=PcmData() as data):
                    speech += data.samples.tobytes()
        return speech

    async def plays(self) -> None:
        """Wait until the track plays something."""
        await self.track.until(lambda: bool(self.audible()), "speech on the track")

    async def ends(self, count: int = 1) -> None:
        """Wait for the count-th end of an answer on the track."""
        await self.track.until(
            lambda: sum(item.final for item in self.track.of(AudioOutputChunk)) >= count,
            f"end of answer {count} on the track",
        )

    async def _play(self) -> None:
        async for item in self._audio_out:
            self.track.add(item)

    async def _on_turn(self, event: Turn) -> None:
        self.turns.add(event)
