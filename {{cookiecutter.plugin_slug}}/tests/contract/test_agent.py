"""AG: the plugin where it belongs, behind a real agent."""

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamTrack, VideoStreamTrack
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData
from vision_agents.core import Agent, User
from vision_agents.core.agents.events import (
    AgentTurnEndedEvent,
    AgentTurnStartedEvent,
    UserTurnEndedEvent,
    UserTurnStartedEvent,
)
from vision_agents.core.edge.call import Call as CallOfEdge
from vision_agents.core.edge.edge_transport import EdgeTransport
from vision_agents.core.edge.events import AudioReceivedEvent
from vision_agents.core.edge.types import Connection
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, loopback

from .calling import Call, Notes
from .kit import ALICE, Facts, Growing, frames, silence, tone
from .making import Make

SENTENCE = [
    *frames(tone(300, 0.4, 48000), 48000),
    *frames(silence(0.6, 48000), 48000),
]


class Room:
    """The call, as the edge knows it."""

    @property
    def id(self) -> str:
        return "room"


class Presence(Connection):
    """The agent's place in the call."""

    async def close(self) -> None:
        pass

    async def wait_for_participant(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - core's
        pass

    def idle_since(self) -> float:
        return 0.0


class Loudspeaker(AudioStreamTrack):
    """The agent's track; notes what is played and when it is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.played = Growing[PcmData | str]()

    async def write(self, pcm: PcmData, final: bool = False) -> None:
        await super().write(pcm, final)
        self.played.add(pcm)
        if final:
            self.played.add("end")

    async def flush(self) -> None:
        await super().flush()
        self.played.add("flush")

    def heard_ms(self) -> float:
        """How much was played since the last flush."""
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
        self.notes = Notes()

    async def authenticate(self, user: User) -> None:
        pass

    async def create_call(self, call_id: str, **kwargs: object) -> Room:
        return Room()

    def create_audio_track(self) -> AudioStreamTrack:
        return self.track

    def open_demo(self, *args: object, **kwargs: object) -> None:
        pass

    async def join(self, agent: Agent, call: Room, **kwargs: object) -> Connection:
        return Presence()

    async def publish_tracks(
        self, audio_track: MediaStreamTrack | None, video_track: MediaStreamTrack | None
    ) -> None:
        pass

    async def create_conversation(self, call: CallOfEdge, user: User, instructions: str) -> Notes:
        return self.notes

    def add_track_subscriber(self, track_id: str) -> VideoStreamTrack | None:
        return None

    async def send_custom_event(self, data: dict[str, object]) -> None:
        pass

    def speak(self, pieces: list[PcmData]) -> None:
        """Alice speaks."""
        for pcm in pieces:
            self.events.send(AudioReceivedEvent(pcm_data=pcm, participant=ALICE))


@pytest.fixture
async def llm(make: Make, parrot: loopback.Provider) -> Realtime:
    """A Realtime that talks to the parrot."""
    parrot.transcribe = lambda seconds: "Hello canary"
    return make(parrot)


class TestAgent:
    async def test_ag1_a_conversation(
        self, llm: Realtime, parrot: loopback.Provider, facts: Facts
    ) -> None:
        """Voice goes in, and no voice comes out, or nothing is written down."""
        facts.need("turn_detection", "transcription")
        await llm.connect()
        async with Call(llm) as call:
            lines: list[tuple[str, str]] = []
            for number in (1, 2):
                for pcm in SENTENCE:
                    await call.hear(pcm, ALICE)
                lines += [("user", "Hello canary"), ("assistant", "You said: Hello canary")]
                await call.reads(*lines)
                await call.ends(number)
                await call.turns.first(AgentTurnEndedEvent, number)
            heard_s = len(call.audible()) / 2 / facts.output_rate
            assert heard_s >= 0.35, f"0.4 s of voice, and the parrot says back {heard_s:.2f} s"
            order = [type(turn) for turn in call.turns.items]
            assert order[:3] == [UserTurnStartedEvent, UserTurnEndedEvent, AgentTurnStartedEvent]
            for kind in (UserTurnStartedEvent, UserTurnEndedEvent, AgentTurnStartedEvent):
                assert len(call.turns.of(kind)) == 2
            assert len(parrot.connections) == 1

    async def test_ag2_an_agent(
        self, make: Make, llm: Realtime, parrot: loopback.Provider, facts: Facts
    ) -> None:
        """The plugin works by itself, and not in an agent."""
        facts.need("turn_detection", "text")
        edge = MemoryEdge()
        agent = Agent(
            edge=edge,
            llm=llm,
            agent_user=User(id="agent", name="Agent"),
            instructions="Repeat, canary.",
        )
        async with agent.join(Room(), participant_wait_timeout=0):
            connection = await parrot.connection()
            assert connection.config is not None
            assert "Repeat, canary." in connection.config.instructions
            await agent.simple_response("Good morning canary, and good evening")
            await edge.track.played.until(lambda: "end" in edge.track.played.items, "greeting")
            assert edge.track.heard_ms() > 500
            said = [message.content for message in edge.notes.messages]
            assert said == ["You said: Good morning canary, and good evening"]

            edge.speak(SENTENCE)
            await edge.track.played.until(lambda: "flush" in edge.track.played.items, "silence")
            await edge.track.played.until(lambda: edge.track.heard_ms() > 300, "answer")
            await edge.notes.changes.until(
                lambda: (
                    [m.content for m in edge.notes.messages][1:]
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
