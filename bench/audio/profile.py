"""Where the time of a frame in, of a piece out and of a barge-in goes, stage by stage.

Each stage is run alone on the same frames, in turns, and the whole as well. What the
whole takes beyond its stages is Vision Agents' layers and the plugin's own lines.
"""

import base64
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib import import_module

from getstream.video.rtc.track_util import FrameResampler, PcmData
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast

from .frames import BURST_FRAMES, audio_out, barge_in, speech_like
from .provider import Provider
from .sides import CALLER, OPENERS, opened

Stage = Callable[[int], Awaitable[None]]
STAGES_IN = ("resample", "encode", "socket", "Vision Agents and plugin")
STAGES_OUT = ("socket", "decode", "PcmData", "Vision Agents and plugin")
STAGES_BARGE_IN = ("socket", "decode", "Vision Agents and plugin")
SIDES = ("floor, 24 kHz", "this, 24 kHz", "xAI")
DELTA_MS = 100


async def profile_in(provider: Provider, rounds: int) -> dict[str, dict[str, float]]:
    """Measure.

    Returns:
        Microseconds of CPU time a frame of 48 kHz mono, by side and stage.
    """
    frames = speech_like(1)
    acme = import_module("vision_agents.plugins.acme")
    codec = acme.wire.Codec()
    resampler = FrameResampler(24000, "mono", "s16", 0)
    data = bytes(memoryview(resampler.resample(frames[0])[0].planes[0])[:960])
    append = acme.wire.commands.AppendAudio(data)
    [text] = codec.encode(append)
    ours, theirs = (
        await OPENERS["this, 24 kHz"](provider, False),
        await OPENERS["xAI"](provider, False),
    )
    websocket: ClientConnection = await connect(provider.url("bare"), compression=None)
    line = await provider.newest_line()

    async def clean(number: int) -> None:
        for frame in resampler.resample(frames[number]):
            bytes(memoryview(frame.planes[0])[: frame.samples * 2])

    async def dirty(number: int) -> None:
        frames[number].resample(target_sample_rate=24000, target_channels=1).samples.tobytes()

    async def encode(number: int) -> None:
        codec.encode(append)

    async def dump(number: int) -> None:
        json.dumps(
            {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode("utf-8")}
        )

    async def push(number: int) -> None:
        broadcast((websocket,), text)

    async def send(number: int) -> None:
        await websocket.send(text)

    async def whole(number: int) -> None:
        await ours.process_audio(frames[number], CALLER)

    async def whole_xai(number: int) -> None:
        await theirs.process_audio(frames[number], CALLER)

    stages: dict[str, tuple[Stage, ...]] = {
        "this": (clean, encode, push, whole),
        "xAI": (dirty, dump, send, whole_xai),
    }
    taken: dict[Stage, list[float]] = {s: [] for each in stages.values() for s in each}
    for _ in range(rounds):
        for stage in random.sample(list(taken), len(taken)):
            lines = (line, ours.line, theirs.line)
            for each in lines:
                await provider.ask("pause", each)
            started = time.process_time()
            for number in range(BURST_FRAMES):
                await stage(number)
            taken[stage].append((time.process_time() - started) / BURST_FRAMES * 1e6)
            for each in lines:
                await provider.ask("resume", each)
    found: dict[str, dict[str, float]] = {}
    for side, each in stages.items():
        *parts, total = (statistics.median(taken[stage]) for stage in each)
        found[side] = dict(zip(STAGES_IN, [*parts, total - sum(parts)], strict=True))
    await websocket.close()
    await ours.close()
    await theirs.close()
    return found


async def profile_out(provider: Provider, rounds: int) -> dict[str, dict[str, float]]:
    """Measure; returns microseconds a piece, as `profile_in` does a frame."""
    async with opened(SIDES, provider) as sides:
        costs = await audio_out(sides, provider, DELTA_MS, rounds)
    floor, ours, theirs = (costs[name] * DELTA_MS for name in SIDES)
    data = random.randbytes(24 * DELTA_MS * 2)
    acme = import_module("vision_agents.plugins.acme")
    frame = json.dumps(
        {
            "type": "response.output_audio.delta",
            "event_id": "event_1",
            "response_id": "r",
            "item_id": "i",
            "output_index": 0,
            "content_index": 0,
            "delta": base64.b64encode(data).decode(),
        }
    )
    codec = acme.wire.Codec()
    pcm = micros(lambda: PcmData.from_bytes(data, 24000))
    decode = micros(lambda: codec.decode(frame))
    loads = micros(lambda: base64.b64decode(json.loads(frame)["delta"]))
    rest = (ours - floor - decode - pcm, theirs - floor - loads - pcm)
    return {
        "this": dict(zip(STAGES_OUT, (floor, decode, pcm, rest[0]), strict=True)),
        "xAI": dict(zip(STAGES_OUT, (floor, loads, pcm, rest[1]), strict=True)),
    }


async def profile_barge_in(provider: Provider, rounds: int) -> dict[str, dict[str, float]]:
    """Measure; returns microseconds that pass, the median, while the agent speaks at 40x."""
    async with opened(SIDES, provider) as sides:
        taken = await barge_in(sides, provider, 40, 20, rounds)
    floor, ours, theirs = (statistics.median(taken[name]) * 1000 for name in SIDES)
    acme = import_module("vision_agents.plugins.acme")
    started = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0}
    frame = json.dumps({**started, "event_id": "event_1", "item_id": "item"})
    codec = acme.wire.Codec()
    decode = micros(lambda: codec.decode(frame))
    loads = micros(lambda: json.loads(frame))
    rest = (ours - floor - decode, theirs - floor - loads)
    return {
        "this": dict(zip(STAGES_BARGE_IN, (floor, decode, rest[0]), strict=True)),
        "xAI": dict(zip(STAGES_BARGE_IN, (floor, loads, rest[1]), strict=True)),
    }


def micros(stage: Callable[[], object]) -> float:
    """Median CPU time of a call."""
    taken: list[float] = []
    for _ in range(100):
        started = time.process_time()
        for _ in range(BURST_FRAMES):
            stage()
        taken.append((time.process_time() - started) / BURST_FRAMES * 1e6)
    return statistics.median(taken)
