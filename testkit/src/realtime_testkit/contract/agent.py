"""AG: the plugin behind a real agent."""

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData
from vision_agents import core
from vision_agents.core.agents.events import (
    AgentTurnEndedEvent,
    AgentTurnStartedEvent,
    UserTurnEndedEvent,
    UserTurnStartedEvent,
)
from vision_agents.core.edge.call import Call
from vision_agents.core.edge.edge_transport import EdgeTransport
from vision_agents.core.edge.events import AudioReceivedEvent
from vision_agents.core.edge.types import Connection

from realtime_testkit.agent_flow import AgentFlow, RecordedConversation
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import Growing
from realtime_testkit.scenarios import (
    ALICE,
)
from realtime_testkit.signals import (
    frames,
    silence,
    tone,
)

from .base import Contract

SENTENCE = [
    *frames(tone(300, 0.4, 48000), 48000),
    *frames(silence(0.6, 48000), 48000),
]


class Room:
    """The call, as the edge sees it."""

    @property
    def id(self) -> str:
        """Name of the call."""
        return "room"


class Presence(Connection):
    """The agent's place in the call."""

    async def close(self) -> None:
        """Do nothing."""

    async def wait_for_participant(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - core's
        """Do nothing: Alice is there."""

    def idle_since(self) -> float:
        """Return 0: the call is never idle."""
        return 0.0


class Loudspeaker(AudioStreamTrack):
    """The agent's track; records what is played and when it is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.played = Growing[PcmData | str]()

    async def write(self, pcm: PcmData, final: bool = False) -> None:
        """Record the audio."""
        await super().write(pcm, final)
        self.played.add(pcm)
        if final:
            self.played.add("end")

    async def flush(self) -> None:
        """Record the flush."""
        await super().flush()
        self.played.add("flush")

    def heard_ms(self) -> float:
        """Return how much was played since the last flush."""
        played_ms = 0.0
        for item in self.played.items:
            if isinstance(item, PcmData):
                played_ms += item.duration_ms
            elif item == "flush":
                played_ms = 0.0
        return played_ms


class MemoryEdge(EdgeTransport[Room]):
    """An edge without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.track = Loudspeaker()
        self.conversation = RecordedConversation()

    async def authenticate(self, user: core.User) -> None:
        """Do nothing."""

    async def create_call(self, call_id: str, **kwargs: object) -> Room:
        """Return the call."""
        return Room()

    def create_audio_track(self) -> AudioStreamTrack:
        """Return the agent's track."""
        return self.track

    def open_demo(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    async def join(self, agent: core.Agent, call: Room, **kwargs: object) -> Connection:
        """Return the agent's place in the call."""
        return Presence()

    async def publish_tracks(
        self, audio_track: MediaStreamTrack | None, video_track: MediaStreamTrack | None
    ) -> None:
        """Do nothing."""

    async def create_conversation(
        self, call: Call, user: core.User, instructions: str
    ) -> RecordedConversation:
        """Return the conversation."""
        return self.conversation

    def add_track_subscriber(self, track_id: str) -> VideoStreamTrack | None:
        """Return None: there is no video."""
        return None

    async def send_custom_event(self, data: dict[str, object]) -> None:
        """Do nothing."""

    def speak(self, pieces: list[PcmData]) -> None:
        """Deliver audio of Alice."""
        for pcm in pieces:
            self.events.send(AudioReceivedEvent(pcm_data=pcm, participant=ALICE))


class Agent(Contract):
    """The plugin behind the flow of an agent, and in an agent."""

    @pytest.fixture
    async def llm(self, make: Make, echo: Provider) -> Realtime:
        """A Realtime on the provider that echoes, not connected."""
        echo.transcribe = lambda seconds: "Hello canary"
        return make(echo)

    async def test_ag1_flow_holds_a_conversation(
        self, llm: Realtime, echo: Provider, facts: Facts
    ) -> None:
        """Two spoken turns are answered, written down in order, and give the turns' events."""
        facts.need("turn_detection", "transcription")
        await llm.connect()
        async with AgentFlow(llm) as flow:
            lines: list[tuple[str, str]] = []
            for number in (1, 2):
                for pcm in SENTENCE:
                    await flow.hear(pcm, ALICE)
                lines += [("user", "Hello canary"), ("assistant", "You said: Hello canary")]
                await flow.reads(*lines)
                await flow.ends(number)
                await flow.turns.first(AgentTurnEndedEvent, number)
            heard_s = len(flow.audible()) / 2 / facts.output_rate
            assert heard_s >= 0.35, f"0.4 s of voice were echoed as {heard_s:.2f} s"
            order = [type(turn) for turn in flow.turns.items]
            assert order[:3] == [UserTurnStartedEvent, UserTurnEndedEvent, AgentTurnStartedEvent]
            for kind in (UserTurnStartedEvent, UserTurnEndedEvent, AgentTurnStartedEvent):
                assert len(flow.turns.of(kind)) == 2
            assert len(echo.connections) == 1

    async def test_ag2_agent_joins_speaks_is_interrupted_and_leaves(
        self, make: Make, llm: Realtime, echo: Provider, facts: Facts
    ) -> None:
        """A real Agent joins, answers text and voice, is interrupted, and leaves nothing."""
        facts.need("turn_detection", "text")
        edge = MemoryEdge()
        agent = core.Agent(
            edge=edge,
            llm=llm,
            agent_user=core.User(id="agent", name="Agent"),
            instructions="Repeat, canary.",
        )
        async with agent.join(Room(), participant_wait_timeout=0):
            connection = await echo.connection()
            assert connection.config is not None
            assert "Repeat, canary." in connection.config.instructions
            await agent.simple_response("Good morning canary, and good evening")
            await edge.track.played.until(lambda: "end" in edge.track.played.items, "greeting")
            assert edge.track.heard_ms() > 500
            said = [message.content for message in edge.conversation.messages]
            assert said == ["You said: Good morning canary, and good evening"]

            edge.speak(SENTENCE)
            await edge.track.played.until(lambda: "flush" in edge.track.played.items, "silence")
            await edge.track.played.until(lambda: edge.track.heard_ms() > 300, "answer")
            await edge.conversation.changes.until(
                lambda: (
                    [m.content for m in edge.conversation.messages][1:]
                    == ["Hello canary", "You said: Hello canary"]
                ),
                "exchange in the conversation",
            )

            finishing = asyncio.create_task(agent.finish())
            await agent.close()
            await finishing
            await connection.closed.wait()
        assert agent.closed
        assert not llm.connected
        assert len(make.record(llm).disconnected) == 1
        assert make.record(llm).disconnected[0].clean
        assert not llm.output.peek()
