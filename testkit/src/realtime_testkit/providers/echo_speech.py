"""How an echo sounds, and how its text is cut to pieces."""

import av.filter
from getstream.video.rtc.track_util import FrameResampler, PcmData

PIECE_MS = 100
"""How much audio goes into one delta."""


def words(text: str) -> list[str]:
    """A text in pieces that join to it."""
    return [word if index == 0 else f" {word}" for index, word in enumerate(text.split(" "))]


def pieces(speech: bytes, rate: int) -> list[bytes]:
    """Speech in pieces of `PIECE_MS`."""
    size = rate * PIECE_MS // 1000 * 2
    return [speech[start : start + size] for start in range(0, len(speech), size)]


def resampled(audio: bytes, rate: int, to_rate: int) -> bytes:
    """Packed samples at another rate."""
    if rate == to_rate:
        return audio
    frames = FrameResampler(to_rate, "mono", "s16", 0).resample(
        PcmData.from_bytes(audio, rate), flush=True
    )
    return b"".join(PcmData.from_av_frame(frame).to_bytes() for frame in frames)


def chirp(text: str, rate: int) -> bytes:
    """A sound for a text: a chirp for each word."""
    graph = av.filter.Graph()
    wave = "0.3*sin(2*PI*(500+80*sin(2*PI*4*t))*t)*lt(mod(t\\,0.25)\\,0.18)"
    source = graph.add(
        "aevalsrc", f"exprs={wave}:sample_rate={rate}:duration={len(text.split()) / 4}"
    )
    shape = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
    sink = graph.add("abuffersink")
    source.link_to(shape)
    shape.link_to(sink)
    graph.configure()
    parts: list[bytes] = []
    while True:
        try:
            frame = sink.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return b"".join(parts)
        if isinstance(frame, av.AudioFrame):
            parts.append(PcmData.from_av_frame(frame).to_bytes())
