"""The offline demonstration: a conversation with a plugin in real time, without key or network.

The caller is two short recordings, the provider an embedded one that echoes, and between them is
the plugin behind Vision Agents' RealtimeInferenceFlow, as in an agent. The caller speaks, types,
asks for a tool, and speaks while the agent does, which interrupts it. What happens is printed, and
written as conversation.wav (caller left, agent right) and conversation.png.
"""

import asyncio
import runpy
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import chain, islice
from pathlib import Path

import av
import click
from av.container import InputContainer
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.conversation import Conversation, Message, MessageState
from vision_agents.core.agents.events import (
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
from vision_agents.core.llm.realtime import Realtime

from .demo_recording import FRAME_MS, Recording, Turn, Who
from .providers.provider import Provider
from .providers.webrtc import WebRTCProvider

RATE = 48_000
"""Sample rate of a call, Hz."""

FRAME = RATE * FRAME_MS // 1000

PAUSE_MS = 600
"""After this much silence the caller goes on: more than an answer takes to begin."""

PAUSE_WEBRTC_MS = 1200
"""The same over WebRTC, where speech takes longer to arrive."""

BARGE_IN_S = 1.3
"""How long the agent is heard before the caller interrupts it."""

PACE = 2.0
"""Speed of the provider's speech; providers are usually faster than playback."""

LOUD = 600
"""A frame with a sample beyond this, of 32768, has the caller's voice in it."""

MAX_INPUT_S = 10
"""How much of a recording is used."""

LIMIT_S = 60.0
"""The conversation takes about 15 s; one that takes this long is stuck."""

HELLO = ("hello.wav", "Hello parrot, can you hear me?")
STOP = ("stop.wav", "Stop, please.")
"""The testkit's clips, with their words."""

CALLER = Participant(original=None, user_id="caller", id="caller")


@dataclass
class Clip:
    """A recording of the caller, in a call's frames; its words where known."""

    frames: list[PcmData]
    words: str | None = None


class Log:
    """Prints what happens and keeps the turns."""

    def __init__(self, recording: Recording, write: Callable[[str], None]) -> None:
        self.caller_speaks = False
        self._turns = recording.turns
        self._write = write
        self._started = time.perf_counter()

    @property
    def now_ms(self) -> float:
        """Time since the call began."""
        return (time.perf_counter() - self._started) * 1000

    def start_clock(self) -> None:
        """Count from now on."""
        self._started = time.perf_counter()

    def note(self, who: str, what: str) -> None:
        """Write a line."""
        self._write(f"{self.now_ms:8.0f} ms  {who:<6}  {what}")

    def begin(self, who: Who, text: str = "") -> Turn:
        """Keep a turn that begins now."""
        turn = Turn(who, self.now_ms, self.now_ms, text)
        self._turns.append(turn)
        return turn

    def last(self, *who: Who) -> Turn:
        """The newest turn of these; a new one if there is none."""
        newest = next((turn for turn in reversed(self._turns) if turn.who in who), None)
        return newest or self.begin(who[0])

    async def follow(
        self, event: UserTurnStartedEvent | UserTurnEndedEvent | AgentTurnStartedEvent
    ) -> None:
        """Keep the turns that Vision Agents reports."""
        match event:
            case UserTurnStartedEvent():
                self.caller_speaks = True
                self.begin("caller")
                self.note("caller", "begins to speak")
            case UserTurnEndedEvent():
                self.caller_speaks = False
                self.last("caller").ended_ms = self.now_ms
                self.note("caller", "stops")
            case AgentTurnStartedEvent():
                self.begin("agent")


class Transcript(Conversation):
    """The agent's conversation; whole messages are logged."""

    def __init__(self, log: Log) -> None:
        super().__init__(instructions="", messages=[])
        self._log = log

    async def _sync_to_backend(
        self, message: Message, state: MessageState, completed: bool
    ) -> None:
        if completed:
            await asyncio.sleep(0)  # the event that began this turn comes first
            who: Who = "caller" if message.role == "user" else "agent"
            self._log.last(who).text = message.content
            self._log.note(who, f'"{message.content}"')


class Call:
    """The call, which the edge is in an agent.

    Every 20 ms it takes a frame from the caller and plays one of the agent's.

    Attributes:
        audio_in, audio_out: the flow's ends of it.
        recording: what both said.
        agent_speaks: set while the agent is heard.
    """

    def __init__(self, log: Log, recording: Recording, pause_ms: int) -> None:
        self.audio_in = AudioInputStream()
        self.audio_out = AudioOutputStream()
        self.recording = recording
        self.agent_speaks = asyncio.Event()
        self._log = log
        self._pause_ms = pause_ms
        self._clip = Clip([])
        self._voice_from_ms: int | None = None
        self._to_say: deque[PcmData] = deque()
        self._track = AudioStreamTrack(RATE)
        self._unplayed_ms = 0.0
        self._all_on_track = False
        self._silent_ms = 0
        self._paused = asyncio.Event()

    def say(self, clip: Clip) -> None:
        """Let the caller speak."""
        self._clip = clip
        self._to_say.extend(clip.frames)

    def transcribe(self, seconds: float) -> str:
        """Return the caller's words, which the echo cannot know."""
        return self._clip.words or f"something for {seconds:.1f} seconds"

    async def pause(self) -> None:
        """Wait until nobody has spoken for a while."""
        self._silent_ms = 0
        self._paused.clear()
        await self._paused.wait()

    async def run(self) -> None:
        """Carry frames both ways until cancelled."""
        silence = PcmData.from_bytes(bytes(2 * FRAME), RATE)
        self._log.start_clock()
        while True:
            played = PcmData.from_av_frame(await self._track.recv())  # returns when it is due
            said = self._to_say.popleft() if self._to_say else silence
            self._follow_voice(said)
            self._follow_agent()
            self.recording.caller.append(said)
            self.recording.agent.append(played)
            self._follow_pause()
            await self.audio_in.send(AudioInputChunk(said, CALLER))

    async def play(self) -> None:
        """Put the flow's output on the track until cancelled."""
        rest = PcmData(sample_rate=RATE, format="s16")
        async for item in self.audio_out:
            match item:
                case AudioOutputChunk(data=PcmData() as data):
                    await self._track.write(data)
                    self._unplayed_ms += data.duration_ms
                case AudioOutputFlush():
                    await self._track.flush()
                    self._unplayed_ms = 0.0
                    if self.agent_speaks.is_set():
                        self._end_agent_turn()
            if isinstance(item, AudioOutputChunk) and item.final:
                await self._track.write(rest, final=True)
                self._all_on_track = True

    def _follow_voice(self, said: PcmData) -> None:
        if said.samples.max() < LOUD and not self._log.caller_speaks:
            self._voice_from_ms = None
        elif self._voice_from_ms is None:
            self._voice_from_ms = self.recording.length_ms
            if self.agent_speaks.is_set():
                self._log.note("caller", "speaks up while the agent speaks")

    def _follow_agent(self) -> None:
        if self._unplayed_ms > 0:
            self._unplayed_ms -= FRAME_MS
            if not self.agent_speaks.is_set():
                self._begin_agent_turn()
        elif self._all_on_track:
            self._all_on_track = False
            if self.agent_speaks.is_set():
                self._end_agent_turn()

    def _begin_agent_turn(self) -> None:
        self.agent_speaks.set()
        turn = self._log.last("agent")
        turn.began_ms = self.recording.length_ms
        waited_ms = turn.began_ms - self._log.last("caller", "typed").ended_ms
        self._log.note("agent", f"is heard, {waited_ms:.0f} ms after the caller's turn")

    def _end_agent_turn(self) -> None:
        self.agent_speaks.clear()
        turn = self._log.last("agent")
        turn.ended_ms = self.recording.length_ms
        if self._voice_from_ms is None:
            self._log.note("agent", "stops")
        else:
            turn.overlap_ms = turn.ended_ms - self._voice_from_ms
            what = f"is silent, {turn.overlap_ms:.0f} ms after the caller spoke up"
            self._log.note("agent", what)

    def _follow_pause(self) -> None:
        if self._to_say or self._log.caller_speaks or self.agent_speaks.is_set():
            self._silent_ms = 0
        else:
            self._silent_ms += FRAME_MS
        if self._silent_ms >= self._pause_ms:
            self._paused.set()


async def run(
    *,
    realtime: Callable[[str], Realtime],
    provider: type[Provider],
    output: Path,
    recording: Path | None = None,
    write: Callable[[str], None] = click.echo,
) -> None:
    """Hold the conversation, print it and leave it in a folder.

    Args:
        realtime: makes the plugin's Realtime for the provider's URL.
        provider: the embedded provider that imitates the plugin's service.
        output: where conversation.wav and conversation.png go; made if it is missing.
        recording: what the caller says first, of any format; by default a clip of the testkit.
        write: what is done with each line.

    Raises:
        ValueError: the recording cannot be used; the message says why.
        OSError: the output cannot be written.
        TimeoutError: the conversation is stuck.
    """
    greeting = load_clip(recording) if recording is not None else _own_clip(*HELLO)
    barge_in = _own_clip(*STOP)
    _make_writable(output)
    write("A call of about 15 s, in real time:")
    held = await converse(realtime, provider, greeting, barge_in, write)
    wav, picture = held.save(output)
    seconds = held.length_ms / 1000
    write(f"Wrote {wav} ({seconds:.1f} s: caller left, agent right) and {picture}")


def main(*, realtime: Callable[[str], Realtime], provider: type[Provider]) -> None:
    """Run the demonstration as a command; its arguments are those of `run`."""
    make_command(realtime=realtime, provider=provider)()


def make_command(*, realtime: Callable[[str], Realtime], provider: type[Provider]) -> click.Command:
    """Make a command with the options --input and --output."""

    @click.command(help="A conversation with the plugin in real time: no key, no network.")
    @click.option(
        "--input",
        "recording",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"What the caller says first: a recording, of which {MAX_INPUT_S} s are used.",
    )
    @click.option(
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Where conversation.wav and conversation.png go.  [default: the current folder]",
    )
    def command(recording: Path | None, output: Path) -> None:
        try:
            asyncio.run(
                run(realtime=realtime, provider=provider, output=output, recording=recording)
            )
        except TimeoutError:
            raise click.ClickException(f"stuck, and given up after {LIMIT_S:.0f} s") from None
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from error

    return command


def load_provider(path: Path) -> type[Provider]:
    """Return the class `Provider` of a plugin's tests/provider_double.py.

    Raises:
        ValueError: the file defines none.
    """
    found = runpy.run_path(str(path)).get("Provider")
    if isinstance(found, type) and issubclass(found, Provider):
        return found
    raise ValueError(f"{path} defines no class Provider of realtime_testkit.providers")


def load_clip(path: Path, words: str | None = None) -> Clip:
    """Read the beginning of a recording of any format, rate and number of channels.

    Raises:
        ValueError: it cannot be read, or holds no audio; the message says which file.
    """
    try:
        with av.open(path) as file:
            frames = call_frames(file) if file.streams.audio else iter(())
            clip = Clip(list(islice(frames, MAX_INPUT_S * 1000 // FRAME_MS)), words)
    except (OSError, av.error.FFmpegError) as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not clip.frames:
        raise ValueError(f"{path} holds no audio")
    return clip


def call_frames(file: InputContainer) -> Iterator[PcmData]:
    """Bring a recording into the form in which a call delivers audio."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=FRAME)
    for decoded in chain(file.decode(audio=0), [None]):
        for frame in resampler.resample(decoded):
            yield next(PcmData.from_av_frame(frame).chunks(FRAME, pad_last=True))


async def converse(
    realtime: Callable[[str], Realtime],
    provider: type[Provider],
    greeting: Clip,
    barge_in: Clip,
    write: Callable[[str], None],
) -> Recording:
    """Hold the conversation.

    Raises:
        TimeoutError: it is stuck.
    """
    recording = Recording()
    log = Log(recording, write)
    over_webrtc = issubclass(provider, WebRTCProvider)
    call = Call(log, recording, PAUSE_WEBRTC_MS if over_webrtc else PAUSE_MS)
    embedded = provider(transcribe=call.transcribe, pace=PACE)
    async with asyncio.timeout(LIMIT_S), embedded, asyncio.TaskGroup() as tasks:
        llm = realtime(embedded.url)
        register_tools(llm, log)
        flow = make_flow(llm, call, log)
        await llm.connect()
        await flow.start()
        ends = [tasks.create_task(call.run()), tasks.create_task(call.play())]
        try:
            await follow_script(call, flow, log, greeting, barge_in)
        finally:
            for end in ends:
                end.cancel()
            await flow.stop()
            await llm.close()
    return recording


def make_flow(llm: Realtime, call: Call, log: Log) -> RealtimeInferenceFlow:
    """Put the plugin where an agent puts it."""
    events = EventManager()
    flow = RealtimeInferenceFlow(
        audio_input=call.audio_in,
        audio_output=call.audio_out,
        llm=llm,
        transcripts=TranscriptStore("agent"),
        agent_user_id="agent",
        conversation=Transcript(log),
        events=events,
    )
    events.subscribe(log.follow)
    return flow


def register_tools(llm: Realtime, log: Log) -> None:
    """Give the agent its tool."""

    @llm.register_function(description="The weather in a city")
    async def get_weather(city: str) -> str:
        turn = log.begin("tool", f"get_weather({city!r})")
        log.note("tool", f"{turn.text} is called")
        await asyncio.sleep(0.15)  # as long as a request to a weather service
        turn.ended_ms = log.now_ms
        weather = f"18 degrees in {city}"
        log.note("tool", f"{turn.text} returns {weather!r}")
        return weather


async def follow_script(
    call: Call, flow: RealtimeInferenceFlow, log: Log, greeting: Clip, barge_in: Clip
) -> None:
    """Play the caller."""

    async def type_in(text: str) -> None:
        log.begin("typed", text)
        log.note("caller", f'types "{text}"')
        await flow.simple_response(text, CALLER)

    await call.pause()
    call.say(greeting)
    await call.pause()
    if not call.recording.turns:
        log.note("caller", "was not heard: is there speech in the recording, loud enough?")
    await type_in("Good morning")
    await call.pause()
    await type_in("Please call get_weather for Amsterdam")
    await call.pause()
    async with asyncio.TaskGroup() as both:
        both.create_task(type_in("Count: one two three four five six seven eight nine ten"))
        await call.agent_speaks.wait()
        await asyncio.sleep(BARGE_IN_S)
        call.say(barge_in)
    await call.pause()


def _own_clip(name: str, words: str) -> Clip:
    with as_file(files(__package__) / "clips" / name) as path:
        return load_clip(path, words)


def _make_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conversation.wav").touch()
