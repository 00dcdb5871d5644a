"""A conversation of the demonstration, and how it is written as a WAV file and a picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from getstream.video.rtc.track_util import PcmData
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Who = Literal["caller", "typed", "agent", "tool"]

FRAME_MS = 20
"""Length of a call's frames."""

WIDTH, HEIGHT, MARGIN = 1500, 640, 80
LANES = {"caller": 0, "typed": 0, "agent": 300, "tool": 300}
"""Where a speaker's lane begins, in pixels from the top: words above, the waveform below."""

WORDS, WAVE, LANE = 20, 200, 290
"""Where in a lane the words begin, the waveform's middle is, and the lane ends."""

LOUDEST = 80
"""Half the height of a waveform."""

COLOURS: dict[Who, tuple[int, int, int]] = {
    "caller": (31, 111, 139),
    "typed": (31, 111, 139),
    "agent": (196, 98, 45),
    "tool": (79, 122, 40),
}
RED = (192, 20, 60)
FONT = ImageFont.load_default(14)


@dataclass
class Turn:
    """What somebody said or did; times are in ms since the call began.

    Attributes:
        overlap_ms: of an interrupted agent, how long it went on after the caller began to speak.
    """

    who: Who
    began_ms: float
    ended_ms: float
    text: str = ""
    overlap_ms: float | None = None


@dataclass
class Recording:
    """The turns of a conversation, and the frames of caller and agent."""

    turns: list[Turn] = field(default_factory=list)
    caller: list[PcmData] = field(default_factory=list)
    agent: list[PcmData] = field(default_factory=list)

    @property
    def length_ms(self) -> int:
        """How long the call is so far."""
        return len(self.caller) * FRAME_MS

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write conversation.wav (caller left, agent right) and conversation.png."""
        wav, picture = folder / "conversation.wav", folder / "conversation.png"
        sides = np.stack([_samples(self.caller), _samples(self.agent)])
        rate = self.caller[0].sample_rate
        wav.write_bytes(PcmData.from_numpy(sides, sample_rate=rate, channels=2).to_wav_bytes())
        Picture(self).image.save(picture)
        return wav, picture


class Picture:
    """Draws who spoke when and what: the caller above, the agent and its tools below."""

    def __init__(self, recording: Recording) -> None:
        self.image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        self._draw = ImageDraw.Draw(self.image, "RGBA")
        self._length_ms = max(recording.length_ms, 1)
        for turn in recording.turns:
            self._shade(turn)
        self._wave("caller", recording.caller)
        self._wave("agent", recording.agent)
        for turn in recording.turns:
            self._write(turn)
            if turn.overlap_ms is not None:
                self._mark(turn.ended_ms, turn.overlap_ms)
        self._axis()

    def _x(self, ms: float) -> float:
        return MARGIN + ms / self._length_ms * (WIDTH - MARGIN - 20)

    def _shade(self, turn: Turn) -> None:
        top = LANES[turn.who] + WAVE
        end = self._x(max(turn.ended_ms, turn.began_ms + 20))
        box = (self._x(turn.began_ms), top - LOUDEST, end, top + LOUDEST)
        self._draw.rectangle(box, fill=(*COLOURS[turn.who], 40))

    def _wave(self, who: Who, frames: Sequence[PcmData]) -> None:
        middle = LANES[who] + WAVE
        self._draw.text((10, middle - 8), who, fill=COLOURS[who], font=FONT)
        columns = np.array_split(_samples(frames), WIDTH - MARGIN - 20)
        for x, column in enumerate(columns, start=MARGIN):
            if column.size:
                ends = (float(each) / 32768 * LOUDEST for each in (column.max(), column.min()))
                high, low = ends
                self._draw.line((x, middle - high, x, middle - low), fill=COLOURS[who])

    def _write(self, turn: Turn) -> None:
        is_tool = turn.who == "tool"
        text = f"types: {turn.text}" if turn.who == "typed" else turn.text
        text = textwrap.fill(text, 44 if is_tool else 18)
        top = LANES[turn.who] + (WAVE + LOUDEST - 18 if is_tool else WORDS)
        place = (self._x(turn.began_ms) + 2, top)
        self._draw.multiline_text(place, text, fill=COLOURS[turn.who], font=FONT)

    def _mark(self, silent_ms: float, overlap_ms: float) -> None:
        """Mark where the caller began to speak, and where the agent was silent."""
        for ms in (silent_ms - overlap_ms, silent_ms):
            x = self._x(ms)
            self._draw.line((x, WAVE - LOUDEST, x, LANES["agent"] + LANE), fill=RED)
        text = f"barge-in: agent silent after {overlap_ms:.0f} ms"
        width = self._draw.textlength(text, font=FONT)
        place = (min(self._x(silent_ms) + 5, WIDTH - width - 5), LANES["agent"] + LANE - 16)
        self._draw.text(place, text, fill=RED, font=FONT)

    def _axis(self) -> None:
        bottom = HEIGHT - 40
        self._draw.line((MARGIN, bottom, WIDTH - 20, bottom), fill="black")
        for seconds in range(0, self._length_ms // 1000 + 1, 2):
            x = self._x(seconds * 1000)
            self._draw.line((x, bottom, x, bottom + 5), fill="black")
            self._draw.text((x, bottom + 8), f"{seconds} s", fill="black", font=FONT, anchor="ma")


def _samples(frames: Sequence[PcmData]) -> NDArray[np.int16]:
    return np.concatenate([frame.samples.reshape(-1) for frame in frames])
