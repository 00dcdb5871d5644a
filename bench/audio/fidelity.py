"""What the provider hears of a pure tone."""

import asyncio
from collections.abc import Mapping

import numpy as np
from getstream.video.rtc.track_util import PcmData
from numpy.typing import NDArray

from .provider import Provider
from .sides import CALLER, Side

KEPT_HZ = (300, 1000, 3000, 6000)
REJECTED_HZ = (9000, 10000, 12000, 15000)
LEVEL = 0.5
"""Peak of the tones, of full scale."""

Samples = NDArray[np.float64]


def tone(hertz: float) -> list[PcmData]:
    """A second of a 48 kHz tone in 20 ms frames."""
    samples = LEVEL * 32767 * np.sin(2 * np.pi * hertz * np.arange(48000) / 48000)
    return [
        PcmData(samples=piece, sample_rate=48000, format="s16", channels=1)
        for piece in np.split(samples.round().astype(np.int16), 50)
    ]


def sinad_db(samples: Samples, hertz: float, rate: int) -> float:
    """What is the tone against what is not, of the best fit of a tone of that frequency."""
    phase = 2 * np.pi * hertz * np.arange(samples.size) / rate
    basis = np.stack([np.sin(phase), np.cos(phase), np.ones_like(phase)], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, samples, rcond=None)[0]
    return float(10 * np.log10(np.mean(fitted**2) / np.mean((samples - fitted) ** 2)))


def level_db(samples: Samples) -> float:
    """Level against that of the tone that was sent."""
    sent = (LEVEL * 32767) ** 2 / 2
    return float(10 * np.log10(max(np.mean((samples - samples.mean()) ** 2), 1e-9) / sent))


async def heard(side: Side, provider: Provider, hertz: float) -> Samples:
    """Send a tone; returns the settled middle of what the provider hears of it."""
    before = await provider.ask("heard", side.line)
    assert isinstance(before, int)
    for frame in tone(hertz):
        await side.process_audio(frame, CALLER)
        await asyncio.sleep(0)
    await provider.ask("wait", side.line, before + round(1.9 * side.rate))
    audio = await provider.ask("audio", side.line)
    assert isinstance(audio, bytes)
    samples = np.frombuffer(audio, np.int16).astype(np.float64)
    return samples[samples.size // 5 : -samples.size // 5]


async def fidelity(sides: Mapping[str, Side], provider: Provider) -> dict[str, dict[int, float]]:
    """Measure all tones through all sides.

    Returns:
        By side and frequency (Hz): SINAD (dB) of those the provider's rate can carry at
        either rate, level (dB) of the others.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in sides}
    for name, side in sides.items():
        for hertz in KEPT_HZ:
            samples = await heard(side, provider, hertz)
            found[name][hertz] = sinad_db(samples, hertz, side.rate)
        for hertz in REJECTED_HZ:
            found[name][hertz] = level_db(await heard(side, provider, hertz))
    return found
