"""A conversation with the plugin, in real time: no key, no network.

    uv run --project example example/offline_demo.py

The caller is two short recordings, the provider is the parrot of loopback.py, and between
them is the plugin behind Vision Agents' RealtimeInferenceFlow, as it is in an agent. The
caller speaks; types; asks for a tool; and speaks while the agent does, which stops it.

Prints what happens as it happens, and leaves conversation.wav (caller left, agent right)
and conversation.png.
"""

import argparse
import asyncio
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from getstream.video.rtc.audio_track import AudioStreamTrack
from getstream.video.rtc.track_util import PcmData
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
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
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, loopback

RATE = 48_000
"""Of a call's audio, Hz."""

FRAME_MS = 20
"""How much of it goes at a time."""

FRAME = RATE * FRAME_MS // 1000

PAUSE_MS = {% if cookiecutter.transport == 'webrtc' %}1200{% else %}600{% endif %}
"""After this much silence the conversation goes on: more than it takes to be answered."""

BARGE_IN_S = 1.3
"""How long the agent is heard before the caller interrupts it."""

PACE = 2.0
"""The parrot's speed. Providers speak faster than can be played, too."""

LOUD = 600
"""A frame with a sample beyond this, of 32768, has the caller's voice in it."""

MAX_INPUT_S = 10
"""How much of the user's own recording is said."""

MAX_INPUT_FRAMES = MAX_INPUT_S * 1000 // FRAME_MS

LIMIT_S = 60.0
"""Nothing in the conversation takes as long: by then something is stuck."""

CALLER = Participant(original=None, user_id="caller", id="caller")
CLIPS = Path(__file__).parent / "clips"
COLOURS = {"caller": "#1f6f8b", "typed": "#1f6f8b", "agent": "#c4622d", "tool": "#4f7a28"}

Who = Literal["caller", "typed", "agent", "tool"]


@dataclass
class Clip:
    """Something for the caller to say, in a call's frames; its words where known."""

    frames: list[PcmData]
    words: str | None = None


def load_clip(path: Path, words: str | None = None) -> Clip:
    """Read the beginning of a recording of any format, rate and channel count.

    Raises:
        ValueError: it cannot be read, or holds no audio; the message says which file.
    """
    try:
        with av.open(path) as file:
            streams = file.streams.audio
            frames = list(islice(call_frames(file), MAX_INPUT_FRAMES)) if streams else []
    except (OSError, av.error.FFmpegError) as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not frames:
        raise ValueError(f"{path} holds no audio")
    return Clip(frames, words)


def call_frames(file: InputContainer) -> Iterator[PcmData]:
    """Bring a recording into the form in which a call delivers audio."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=FRAME)
    for decoded in chain(file.decode(audio=0), [None]):
        for frame in resampler.resample(decoded):
            yield next(PcmData.from_av_frame(frame).chunks(FRAME, pad_last=True))


@dataclass
class Turn:
    """What somebody said or did; times are in ms since the call began."""

    who: Who
    began_ms: float
    ended_ms: float
    text: str = ""
    overlap_ms: float | None = None
    """Of an interrupted agent: how long it went on after the caller spoke up."""


class Log:
    """Who said what and when: printed, and kept for the picture."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.caller_speaks = False
        self._started = time.perf_counter()

    @property
    def now_ms(self) -> float:
        """Since the call began."""
        return (time.perf_counter() - self._started) * 1000

    def start_clock(self) -> None:
        """Count from now on."""
        self._started = time.perf_counter()

    def note(self, who: str, what: str) -> None:
        """Print a line."""
        print(f"{self.now_ms:8.0f} ms  {who:<6}  {what}", flush=True)

    def begin(self, who: Who, text: str = "") -> Turn:
        """Keep a turn that begins now."""
        turn = Turn(who, self.now_ms, self.now_ms, text)
        self.turns.append(turn)
        return turn

    def last(self, *who: Who) -> Turn:
        """The newest turn of these; one that begins now if there is none."""
        newest = next((turn for turn in reversed(self.turns) if turn.who in who), None)
        return newest or self.begin(who[0])

    async def follow(
        self, event: UserTurnStartedEvent | UserTurnEndedEvent | AgentTurnStartedEvent
    ) -> None:
        """Keep the turns that the plugin reports."""
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
    """The conversation as the agent keeps it; whole messages are logged."""

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
    """The call itself, which is the edge's part in an agent.

    Every 20 ms it takes a frame from the caller and plays one of the agent's.

    Attributes:
        audio_in, audio_out: the flow's ends of it.
        frames: of caller and agent, all there were.
        agent_speaks: set while the agent is heard.
    """

    def __init__(self, log: Log) -> None:
        self.audio_in = AudioInputStream()
        self.audio_out = AudioOutputStream()
        self.frames: list[tuple[PcmData, PcmData]] = []
        self.agent_speaks = asyncio.Event()
        self._log = log
        self._clip = Clip([])
        self._voice_from_ms: int | None = None
        self._to_say: deque[PcmData] = deque()
        self._track = AudioStreamTrack(RATE)
        self._unplayed_ms = 0.0
        self._all_on_track = False
        self._silent_ms = 0
        self._paused = asyncio.Event()

    @property
    def played_ms(self) -> int:
        """How long the call is so far."""
        return len(self.frames) * FRAME_MS

    def say(self, clip: Clip) -> None:
        """Let the caller speak."""
        self._clip = clip
        self._to_say.extend(clip.frames)

    def transcribe(self, seconds: float) -> str:
        """What the parrot, which understands nothing, takes for the caller's words."""
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
            played = PcmData.from_av_frame(await self._track.recv())  # comes when it is due
            said = self._to_say.popleft() if self._to_say else silence
            self._follow_voice(said)
            self._follow_agent()
            self.frames.append((said, played))
            self._follow_pause()
            await self.audio_in.send(AudioInputChunk(said, CALLER))

    async def play(self) -> None:
        """Put on the track what the flow gives, until cancelled."""
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
            self._voice_from_ms = self.played_ms
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
        turn.began_ms = self.played_ms
        waited_ms = turn.began_ms - self._log.last("caller", "typed").ended_ms
        self._log.note("agent", f"is heard, {waited_ms:.0f} ms after the caller's turn")

    def _end_agent_turn(self) -> None:
        self.agent_speaks.clear()
        turn = self._log.last("agent")
        turn.ended_ms = self.played_ms
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
        if self._silent_ms >= PAUSE_MS:
            self._paused.set()


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
        await asyncio.sleep(0.15)  # as if it asked somebody
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
    if not log.turns:
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


async def converse(greeting: Clip, barge_in: Clip) -> tuple[Call, Log]:
    """Hold the conversation."""
    log = Log()
    call = Call(log)
    provider = loopback.Provider(transcribe=call.transcribe, pace=PACE)
    async with asyncio.timeout(LIMIT_S), provider, asyncio.TaskGroup() as tasks:
        llm = Realtime(api_key="any", base_url=provider.url)
        register_tools(llm, log)
        flow = make_flow(llm, call, log)
        await llm.connect()
        await flow.start()
        lines = [tasks.create_task(call.run()), tasks.create_task(call.play())]
        try:
            await follow_script(call, flow, log, greeting, barge_in)
        finally:
            for line in lines:
                line.cancel()
            await flow.stop()
            await llm.close()
    return call, log


def sides(call: Call) -> list[NDArray[np.int16]]:
    """All that was said: the caller's side, and the agent's."""
    caller, agent = zip(*call.frames, strict=True)
    return [np.concatenate([pcm.samples for pcm in side]) for side in (caller, agent)]


def write_wav(path: Path, call: Call) -> None:
    """Write the caller to the left and the agent to the right."""
    stereo = PcmData.from_numpy(np.stack(sides(call)), sample_rate=RATE, channels=2)
    path.write_bytes(stereo.to_wav_bytes())


def draw(path: Path, call: Call, log: Log) -> None:
    """Draw who spoke when and what."""
    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    caller, agent = figure.subplots(2, sharex=True)
    for lane, who, samples in zip((caller, agent), ("caller", "agent"), sides(call), strict=True):
        draw_wave(lane, samples, COLOURS[who])
        lane.set_ylabel(who, color=COLOURS[who], fontsize=12)
    for turn in log.turns:
        draw_turn(agent if turn.who in ("agent", "tool") else caller, turn)
        if turn.overlap_ms is not None:
            draw_barge_in(caller, agent, turn.ended_ms, turn.overlap_ms)
    agent.set_xlabel("seconds")
    figure.savefig(path)


def draw_wave(lane: Axes, samples: NDArray[np.int16], colour: str) -> None:
    """Draw the outline of a waveform, with room for words above it."""
    steps = samples.reshape(-1, FRAME // 4)
    seconds = np.arange(len(steps)) * FRAME / 4 / RATE
    lane.fill_between(seconds, steps.min(1) / 32768, steps.max(1) / 32768, color=colour, lw=0.4)
    lane.set(xlim=(0, seconds[-1]), ylim=(-1.3, 2.4), yticks=[])
    lane.spines[["top", "right", "left"]].set_visible(False)


def draw_turn(lane: Axes, turn: Turn) -> None:
    """Shade a turn and write down what was said; a tool's call goes below."""
    began, ended = turn.began_ms / 1000, turn.ended_ms / 1000
    colour = COLOURS[turn.who]
    lane.axvspan(began, max(ended, began + 0.02), ymax=0.62, color=colour, alpha=0.16, lw=0)
    text = f"types: {turn.text}" if turn.who == "typed" else turn.text
    lane.text(
        began + 0.05,
        -1.25 if turn.who == "tool" else 1.05,
        textwrap.fill(text, 40 if turn.who == "tool" else 16),
        color=colour,
        fontsize=9,
        style="normal" if turn.who in ("caller", "agent") else "italic",
        verticalalignment="bottom",
    )


def draw_barge_in(caller: Axes, agent: Axes, silent_ms: float, overlap_ms: float) -> None:
    """Mark where the caller spoke up, and where the agent fell silent."""
    for lane in (caller, agent):
        lane.axvline((silent_ms - overlap_ms) / 1000, color="crimson", lw=1.2)
        lane.axvline(silent_ms / 1000, color="crimson", lw=0.8, ls=":")
    text = f" barge-in: agent silent after {overlap_ms:.0f} ms"
    agent.text(silent_ms / 1000, -1.2, text, color="crimson", fontsize=9)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="A conversation with the plugin, in real time: no key, no network.",
        epilog="Leaves conversation.wav (caller left, agent right) and conversation.png.",
    )
    parser.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help=f"what the caller says first: any recording, of which {MAX_INPUT_S} s are used",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the files go; made if it is missing (default: the current folder)",
    )
    return parser.parse_args()


def main() -> None:
    """Run the demo; exits with 2 where an argument is no good."""
    arguments = parse_arguments()
    wav, picture = arguments.output / "conversation.wav", arguments.output / "conversation.png"
    try:
        if arguments.input is None:
            greeting = load_clip(CLIPS / "hello.wav", "Hello parrot, can you hear me?")
        else:
            greeting = load_clip(arguments.input)
        barge_in = load_clip(CLIPS / "stop.wav", "Stop, please.")
        arguments.output.mkdir(parents=True, exist_ok=True)
        wav.touch()
    except (OSError, ValueError) as error:
        print(f"offline_demo.py: {error}", file=sys.stderr)
        sys.exit(2)
    print("A call of about 15 s, in real time:", flush=True)
    try:
        call, log = asyncio.run(converse(greeting, barge_in))
    except TimeoutError:
        print(f"offline_demo.py: stuck, and given up after {LIMIT_S:.0f} s", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    write_wav(wav, call)
    draw(picture, call, log)
    print(f"Wrote {wav} ({call.played_ms / 1000:.1f} s: caller left, agent right) and {picture}")


if __name__ == "__main__":
    main()
