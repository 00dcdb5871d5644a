"""Audio that tests send, and measurements of the audio that arrives."""

from typing import Literal

import numpy as np
from getstream.video.rtc.track_util import PcmData
from numpy.typing import NDArray

Samples = NDArray[np.int16]

PEAK = 16000
"""Peak of the tones, of 32768."""


def tone(hertz: float, seconds: float, rate: int, *, peak: int = PEAK) -> Samples:
    """Return a sine wave."""
    at = np.arange(round(seconds * rate)) / rate
    wave: Samples = np.rint(peak * np.sin(2 * np.pi * hertz * at)).astype(np.int16)
    return wave


def ramp(count: int) -> Samples:
    """Return the samples 1, 2, 3, ...: no two neighbours are equal."""
    return (np.arange(1, count + 1) % 30000).astype(np.int16)


def speech(ms: float, rate: int) -> bytes:
    """Return packed samples of that length: audible, and no two neighbours are equal."""
    at = ramp(round(rate * ms / 1000)).astype(int)
    wave = 6000 - np.abs(120 * at % 24000 - 12000)  # a triangle of 200 samples
    samples: Samples = (wave + at % 20000).astype(np.int16)
    return samples.tobytes()


def silence(seconds: float, rate: int) -> Samples:
    """Return silence."""
    return np.zeros(round(seconds * rate), np.int16)


def frames(samples: NDArray[np.generic], rate: int, *, ms: float = 20) -> list[PcmData]:
    """Cut samples into frames as a call delivers them; two-dimensional: a row is a channel."""
    size = round(rate * ms / 1000)
    channels = 1 if samples.ndim == 1 else samples.shape[0]
    kind: Literal["f32", "s16"] = "f32" if samples.dtype == np.float32 else "s16"
    return [
        PcmData(
            samples=samples[..., start : start + size],
            sample_rate=rate,
            format=kind,
            channels=channels,
        )
        for start in range(0, samples.shape[-1], size)
    ]


def samples_of(data: bytes) -> Samples:
    """Return packed audio as samples."""
    return np.frombuffer(data, np.int16)


def sinad_db(samples: Samples, hertz: float, rate: int) -> float:
    """Return the power of a tone over that of everything else, in dB."""
    signal = samples.astype(np.float64)
    angle = 2 * np.pi * hertz * np.arange(len(signal)) / rate
    basis = np.stack([np.sin(angle), np.cos(angle), np.ones(len(signal))], axis=1)
    fitted = basis @ np.linalg.lstsq(basis, signal, rcond=None)[0]
    rest = signal - fitted
    return float(10 * np.log10(np.sum(fitted**2) / max(np.sum(rest**2), 1e-9)))


def level_db(samples: Samples, *, peak: int = PEAK) -> float:
    """Return the power relative to a sine wave of the given peak, in dB."""
    power = float(np.mean(samples.astype(np.float64) ** 2))
    return float(10 * np.log10(max(power, 1e-9) / (peak**2 / 2)))
