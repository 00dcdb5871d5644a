"""What the user says: a tone, and the silence after it. Scripts of all clients use it."""

import asyncio
import json
import math
import sys
from array import array
from collections.abc import AsyncIterator

RATE = 24000
FRAME_MS = 20
LONG = "Sing a song that is as long as you can remember it to be, and then sing it once more"
TOOL = 'Call get_weather with {"city": "Oslo"}'


async def microphone(seconds: float, silence: float = 0.7) -> AsyncIterator[bytes]:
    """The frames of a turn, at the pace of a microphone."""
    for frame in spoken(seconds, silence):
        yield frame
        await asyncio.sleep(FRAME_MS / 1000)


def spoken(seconds: float, silence: float = 0.7, rate: int = RATE) -> list[bytes]:
    """Frames of 20 ms: a tone, then silence."""
    tone = array("h", (int(8000 * math.sin(i / 20)) for i in range(int(seconds * rate))))
    data = tone.tobytes() + bytes(int(silence * rate) * 2)
    size = rate * FRAME_MS // 1000 * 2
    return [data[start : start + size] for start in range(0, len(data), size)]


def report(step: str, **seen: object) -> None:
    """Tell the test what was seen, as a line of JSON."""
    sys.stdout.write(json.dumps({"step": step, **seen}) + "\n")
    sys.stdout.flush()
