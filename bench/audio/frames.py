"""What a frame costs, in and out, and how fast a barge-in takes effect.

CPU time of this process, in turns: every round measures every side once, in an order of
its own, so whatever else the machine does hits all alike. The median of the rounds counts.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Mapping

import numpy as np
from getstream.video.rtc.track_util import PcmData

from .provider import Provider
from .sides import CALLER, Side

FRAME_MS = 20
BURST_FRAMES = 25
"""Half a second of audio: the kernel holds it while the provider does not read."""

OUTPUT_S = 5.0
"""Length of one response."""

LIMIT_S = 60.0
"""How long anything may take before it counts as hung."""


def speech_like(channels: int) -> list[PcmData]:
    """Half a second of 48 kHz audio in 20 ms frames, as Stream's edge delivers it."""
    size = 48000 * FRAME_MS // 1000
    noise = np.random.default_rng(1)
    time_s = np.arange(size * BURST_FRAMES) / 48000
    signal = 8000 * np.sin(2 * np.pi * 220 * time_s) + noise.normal(0, 1500, time_s.size)
    pieces = np.split(signal.astype(np.int16), BURST_FRAMES)
    return [
        PcmData(
            samples=piece if channels == 1 else np.stack([piece] * channels),
            sample_rate=48000,
            format="s16",
            channels=channels,
        )
        for piece in pieces
    ]


async def audio_in(
    sides: Mapping[str, Side], provider: Provider, channels: int, rounds: int
) -> dict[str, float]:
    """CPU time to bring caller's audio onto the wire.

    The provider reads between the bursts: waking another process is no plugin's work.

    Returns:
        Milliseconds per second of audio, by side.
    """
    frames = speech_like(channels)
    seconds = BURST_FRAMES * FRAME_MS / 1000
    taken: dict[str, list[float]] = {name: [] for name in sides}
    heard = dict.fromkeys(sides, 0)
    for number in range(-2, rounds):  # the first rounds warm up and are not counted
        for name in random.sample(list(sides), len(sides)):
            side = sides[name]
            await provider.ask("pause", side.line)
            async with asyncio.timeout(LIMIT_S):
                started = time.process_time()
                for frame in frames:
                    await side.process_audio(frame, CALLER)
                cost = time.process_time() - started
            await provider.ask("resume", side.line)
            heard[name] += round(seconds * side.rate) * 2
            # The resampler and a piece not yet full hold the last of it.
            await provider.ask("wait", side.line, heard[name] - side.rate // 5 * 2)
            if number >= 0:
                taken[name].append(cost / seconds * 1000)
    return {name: statistics.median(costs) for name, costs in taken.items()}


async def audio_out(
    sides: Mapping[str, Side], provider: Provider, delta_ms: int, rounds: int
) -> dict[str, float]:
    """CPU time to bring the provider's audio from the socket into the output.

    The provider has said it all before the clock starts: whoever reads faster than a
    provider speaks would otherwise be woken for every piece, and pay for being fast.

    Returns:
        Milliseconds per second of audio, by side.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-1, rounds):
        for name in random.sample(list(sides), len(sides)):
            side = sides[name]
            provider.tell("speak", side.line, OUTPUT_S, delta_ms)
            provider.obeyed()
            async with asyncio.timeout(LIMIT_S):
                started = time.process_time()
                await side.take(round(OUTPUT_S * 1000 / delta_ms))
                cost = time.process_time() - started
            if number >= 0:
                taken[name].append(cost / OUTPUT_S * 1000)
    return {name: statistics.median(costs) for name, costs in taken.items()}


async def barge_in(
    sides: Mapping[str, Side], provider: Provider, speed: float, trials: int, rounds: int
) -> dict[str, list[float]]:
    """Time from the provider's signal to a cleared output.

    Args:
        sides: by name.
        provider: their far end.
        speed: of the agent's speech meanwhile, a multiple of real time; 0 for silence.
        trials: interruptions a round.
        rounds: how often each side has its turn.

    Returns:
        Milliseconds of every interruption, by side; infinite where nothing was cleared.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            cleared: list[float] = []
            watching = asyncio.create_task(
                sides[name].watch(lambda moments=cleared: moments.append(time.perf_counter()))
            )
            sent = await provider.ask("interrupt", sides[name].line, trials, speed)
            await asyncio.sleep(0.05)
            watching.cancel()
            assert isinstance(sent, list)
            for moment, next_moment in zip(sent, [*sent[1:], float("inf")], strict=True):
                after = [at for at in cleared if moment <= at < next_moment]
                taken[name].append((after[0] - moment) * 1000 if after else float("inf"))
    return taken
