"""The parts of the run. Each is measured in a process of its own.

python -m bench.endurance.parts PART SCALE
"""

import asyncio
import math
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module

import msgspec
import numpy as np
from getstream.video.rtc.track_util import FrameResampler, PcmData
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.events import RealtimeDisconnectedEvent
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import Realtime, RealtimeAgentTranscript
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone as Done

from .meter import Held, Report, Turns, settled
from .provider import Provider, provider

SLUG = "acme"
CALLER = Participant(original=None, user_id="caller", id="caller")

TURN_S = 20.0
"""A turn that takes longer is lost."""

SILENCE_S = 0.25
"""The plugin's bound on the provider's silence, in the part in which it is silent."""

SEND_S = 0.3
"""Its bound on one send, in the part in which the provider stops reading."""

FLOOD = 2000
"""How many frames of a flood follow each answer."""

RATE = 48_000
FRAME = RATE // 50


class Caller:
    """A plugin in a call: what is asked of it, and what its agent's flow reads."""

    def __init__(self, far_end: Provider, **settings: float) -> None:
        plugin = import_module(f"vision_agents.plugins.{SLUG}")
        client = import_module(f"vision_agents.plugins.{SLUG}.client")
        self.llm: Realtime = plugin.Realtime(
            client=client.Client(
                "any",
                far_end.url,
                send_timeout_s=SEND_S if settings.pop("hangs", 0) else 5.0,
                reconnect_delay_s=0.005,
                reconnect_max_delay_s=0.05,
            ),
            **settings,
        )
        self.llm.set_instructions("Be brief.")
        self.far_end = far_end
        self.turns = Turns()
        self.frames = 0  # of 20 ms of audio that were sent
        self.lost = asyncio.Event()  # the session was lost
        self._heard = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

        async def get_weather(city: str) -> str:
            await asyncio.sleep(0)
            return f"rain in {city}"

        async def on_disconnected(event: RealtimeDisconnectedEvent) -> None:
            self.lost.set()

        self.llm.register_function(description="The weather in a city.")(get_weather)
        self.llm.events.subscribe(on_disconnected)

    async def connect(self) -> None:
        """Open the session and read the output."""
        self._reading = asyncio.create_task(self._read())
        await self.llm.connect()

    async def close(self) -> None:
        """Close the session and read no longer."""
        await self.llm.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            self._reading = None

    async def ask(self, text: str, answer: str) -> None:
        """Ask in text; one turn."""
        with self.turns.one():
            async with asyncio.timeout(TURN_S):
                said = await self.said(text)
            if said != answer:
                raise ValueError(f"the answer is {said!r}, not {answer!r}")

    async def ask_plainly(self) -> None:
        """Ask something new; one turn."""
        text = f"This is turn {self.turns.asked}"
        await self.ask(text, f"You said: {text}")

    async def ask_for_tool(self) -> None:
        """Ask for a tool; one turn."""
        city = f"Oslo {self.turns.asked}"
        text = f'Call get_weather with {{"city": "{city}"}}'
        await self.ask(text, f"get_weather says rain in {city}")

    async def be_refused(self, error: type[Exception]) -> None:
        """Ask a provider that does not answer; the turn has to end with an error."""
        self.turns.asked += 1
        try:
            async with asyncio.timeout(TURN_S):
                said = await self.said(f"This is turn {self.turns.asked}")
            self.turns.lost.append(f"turn {self.turns.asked} was answered with {said!r}")
        except error as refusal:
            if "silent" in str(refusal) or "no response" in str(refusal):
                self.turns.refused += 1
            else:
                self.turns.lost.append(f"turn {self.turns.asked}: {refusal!r}")

    async def said(self, text: str) -> str:
        """Ask in text; returns the whole answer."""
        final = ""
        async for item in self.llm.simple_response(text):
            if isinstance(item, LLMResponseFinal):
                final = item.text
        return final

    async def speak(self) -> None:
        """Say something aloud, over the agent if it speaks; one turn."""
        with self.turns.one():
            self._heard.clear()
            for pcm in SPOKEN:
                await self.llm.process_audio(pcm, CALLER)
            self.frames += len(SPOKEN)
            async with asyncio.timeout(TURN_S):
                await self._heard.wait()

    async def interrupt(self) -> None:
        """Ask for a long answer and speak over its beginning; one turn, the spoken one."""
        stream = self.llm.simple_response("Count: " + " ".join(map(str, range(40))))
        async for item in stream:
            if isinstance(item, LLMResponseDelta) and item.is_first_chunk:
                await self.speak()

    async def _read(self) -> None:
        """Do as the agent's flow does."""
        async for item in self.llm.output:
            match item:
                case Done(interrupted=True):
                    await self.llm.interrupt()
                case RealtimeAgentTranscript(mode="final", text=text) if "speech of" in text:
                    self._heard.set()


def _spoken() -> list[PcmData]:
    """A word of 300 ms, and the silence in which the provider hears its end."""
    at = np.arange(FRAME * 15) / RATE
    word = np.rint(16_000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
    samples = np.concatenate([word, np.zeros(FRAME * 30, np.int16)])
    return [
        PcmData(samples=samples[start : start + FRAME], sample_rate=RATE, format="s16", channels=1)
        for start in range(0, len(samples), FRAME)
    ]


SPOKEN = _spoken()


async def hostile(caller: Caller, _: int) -> None:
    """A turn, among hostile frames."""
    await caller.ask_plainly()


async def connects(caller: Caller, number: int) -> None:
    """A connect and a close, in every tenth call with a turn between them."""
    await caller.connect()
    if number % 10 == 0:
        await caller.ask_plainly()
    await caller.close()


async def drops(caller: Caller, number: int) -> None:
    """A drop, by a code or without one, now and then in the middle of an answer; then a turn."""
    asking: asyncio.Task[str] | None = None
    if number % 3 == 0:
        caller.far_end.tell("hold back")
        asking = asyncio.create_task(caller.said("Hold on"))
        await asyncio.sleep(0.02)
    caller.lost.clear()
    code = (0, 1001, 1006, 1011, 1012, 1013)[number % 6]
    if code in (0, 1006):
        caller.far_end.tell("break")
    else:
        caller.far_end.tell("close", code)
    caller.far_end.tell("behave")
    if asking is not None:
        await asyncio.wait([asking])
        asking.exception()  # a SessionError, as documented
    async with asyncio.timeout(TURN_S):
        await caller.lost.wait()
    await caller.ask_plainly()


async def talk(caller: Caller, number: int) -> None:
    """A turn by text, with a tool, aloud over what is heard, or aloud over what is being said."""
    kinds = (caller.ask_plainly, caller.ask_for_tool, caller.speak, caller.interrupt)
    await kinds[number % 4]()


async def flood(caller: Caller, _: int) -> None:
    """A turn, with a flood behind its answer."""
    await caller.ask_plainly()


async def stall(caller: Caller, number: int) -> None:
    """A turn that is not answered, or not to its end; then one that is."""
    caller.far_end.tell("be silent" if number % 2 else "hold back")
    await caller.be_refused(TimeoutError)
    caller.far_end.tell("behave")
    await caller.ask_plainly()


async def stop_reading(caller: Caller, _: int) -> None:
    """Audio to a provider that stopped reading, until the session is dropped; then a turn."""
    caller.far_end.tell("stop reading")
    pcm = PcmData.from_bytes(bytes(RATE * 2), RATE)
    async with asyncio.timeout(TURN_S):
        while caller.llm.connected:
            await caller.llm.process_audio(pcm, CALLER)
            await asyncio.sleep(0)
    await caller.ask_plainly()


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        title: as the table has it.
        unit: what is done again and again.
        count: how often.
        order: what the provider is told first.
        pace: speed of the provider's speech.
        settings: of the plugin.
        stays: the session is open all the time.
    """

    title: str
    unit: Callable[[Caller, int], Awaitable[None]]
    count: int
    order: str = "behave"
    pace: float = 0.0
    settings: tuple[tuple[str, float], ...] = ()
    stays: bool = True


PARTS = {
    "hostile": Part("hostile frames", hostile, 320, "be hostile"),
    "connects": Part("connects and closes", connects, 1000, stays=False),
    "drops": Part("drops and reconnects", drops, 300),
    "turns": Part("turns with tools and barge-ins", talk, 3000, pace=40.0),
    "flood": Part("frames of a flood", flood, 60, "flood"),
    "stall": Part("silences", stall, 100, settings=(("response_timeout_s", SILENCE_S),)),
    "reading": Part("times the provider stops reading", stop_reading, 20, settings=(("hangs", 1),)),
}


async def measure(part: Part, scale: float) -> Report:
    """Do a part; the first tenth of it is the warm-up."""
    count = max(10, round(part.count * scale))
    started = time.perf_counter()
    with provider(pace=part.pace) as far_end:
        caller = Caller(far_end, **dict(part.settings))
        before = Held.now()
        if part.stays:
            await caller.connect()
            await caller.ask_plainly()  # from its answer on, the provider names requests
        far_end.tell(part.order, FLOOD)
        for number in range(math.ceil(count / 10)):
            await part.unit(caller, number)
        warm, warm_frames = Held.now(), caller.frames
        for number in range(math.ceil(count / 10), count):
            await part.unit(caller, number)
        end = Held.now()
        await caller.close()
        after = await settled(before)
        frames = far_end.tell("behave")
        resampler_mb = grown_by_resampling(caller.frames - warm_frames)
    turns = caller.turns
    return Report(
        units=count,
        asked=turns.asked,
        answered=turns.answered,
        refused=turns.refused,
        lost=turns.lost,
        frames=frames,
        before=before,
        warm=warm,
        end=end,
        after=after,
        resampler_mb=resampler_mb,
        first_ms=turns.first_ms,
        last_ms=turns.last_ms,
        took_s=time.perf_counter() - started,
    )


def grown_by_resampling(count: int) -> float:
    """How much memory getstream's resampler keeps of that many frames, without a plugin, MB.

    PyAV 16.1 keeps the text of an exception of each call; nothing outside it can release that.
    """
    resampler, before = FrameResampler(24_000, "mono", "s16", 0), Held.now()
    for number in range(count):
        resampler.resample(SPOKEN[number % len(SPOKEN)])
    return Held.now().memory_mb - before.memory_mb


def measured(name: str, scale: float) -> Report:
    """Measure a part in a new process."""
    command = [sys.executable, "-m", "bench.endurance.parts", name, str(scale)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Report)


if __name__ == "__main__":
    report = asyncio.run(measure(PARTS[sys.argv[1]], float(sys.argv[2])))
    print(msgspec.json.encode(report).decode())
