"""How many two-way sessions a process holds, and what they cost and leave behind.

Each side is measured in a process of its own:

    python -m bench.audio.sessions SIDE ramp|cycles plain|deflates
"""

import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from .frames import FRAME_MS, speech_like
from .provider import Provider, provider
from .sides import CALLER, OPENERS, Side

LATE_MS = 20.0
"""A session whose frames are later than one frame is not real time."""

STEP = 10
STRIDE = 40
"""Sessions added while the process uses less than `EASY` of its core; `STEP` from then on."""

EASY = 0.6
STEP_S = 2.0
MOST = 400
DELTA_MS = 100
CYCLES = 1000


def measure(side: str, what: str, *, deflates: bool = False) -> dict[str, float]:
    """Measure a side in a new process; ``deflates`` as for `Provider.url`."""
    wire = "deflates" if deflates else "plain"
    command = [sys.executable, "-m", "bench.audio.sessions", side, what, wire]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def memory_mb() -> float:
    """Memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


class Crowd:
    """Sessions that all hear a caller and all speak, in real time."""

    def __init__(self, side: str, far_end: Provider, *, deflates: bool) -> None:
        self.late_ms: list[float] = []
        self._open = partial(OPENERS[side], far_end, deflates)
        self._frames = speech_like(1)
        self._tasks: list[asyncio.Task[None]] = []
        self.sides: list[Side] = []

    async def grow(self, count: int) -> None:
        """Add sessions."""
        for _ in range(count):
            session = await self._open()
            self.sides.append(session)
            # Callers do not speak in step.
            phase = len(self.sides) * 0.618 % 1 * FRAME_MS / 1000
            self._tasks.append(asyncio.create_task(self._talk(session, phase)))
            self._tasks.append(asyncio.create_task(session.watch(lambda: None)))

    async def _talk(self, session: Side, phase: float) -> None:
        due = time.perf_counter() + phase
        while True:
            for frame in self._frames:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await session.process_audio(frame, CALLER)
                self.late_ms.append((time.perf_counter() - due) * 1000)
                due += FRAME_MS / 1000

    async def lateness_ms(self) -> float:
        """The 99th percentile of how late frames are, for a while."""
        await asyncio.sleep(0.5)
        self.late_ms.clear()
        await asyncio.sleep(STEP_S)
        return statistics.quantiles(self.late_ms, n=100)[98]

    async def leave(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def ramp(side: str, *, deflates: bool) -> dict[str, float]:
    """Add sessions until they are late, twice, so that a hiccup of the machine is none."""
    with provider(speaks=DELTA_MS) as far_end:
        crowd = Crowd(side, far_end, deflates=deflates)
        await crowd.grow(1)
        await asyncio.sleep(1)
        memory, held, used = memory_mb(), 1, 0.0
        grown_mb = cost = 0.0
        while held < MOST:
            await crowd.grow(STRIDE if used < EASY else STEP)
            started, began = time.process_time(), time.perf_counter()
            late = await crowd.lateness_ms()
            used = (time.process_time() - started) / (time.perf_counter() - began)
            if late > LATE_MS:
                late = min(late, await crowd.lateness_ms())
            if late > LATE_MS:
                break
            held = len(crowd.sides)
            grown_mb = (memory_mb() - memory) / (held - 1)
            # Of the first step, where no session is late yet: the same work on every side.
            cost = cost or used / held
        await crowd.leave()
    return {"held": held, "cpu_ms_per_s": cost * 1000, "memory_mb": grown_mb}


async def cycles(side: str, *, deflates: bool) -> dict[str, float]:
    """Connect and close, over and over; what grew over the second half is a leak."""
    with provider() as far_end:
        memory = 0.0
        for number in range(CYCLES):
            session = await OPENERS[side](far_end, deflates)
            await session.process_audio(speech_like(1)[0], CALLER)
            await session.close()
            if number == CYCLES // 2:
                gc.collect()
                memory, objects = memory_mb(), len(gc.get_objects())
        gc.collect()
        return {
            "grown_kb_per_cycle": (memory_mb() - memory) * 1000 / (CYCLES - CYCLES // 2),
            "grown_objects": len(gc.get_objects()) - objects,
            "tasks": len(asyncio.all_tasks()) - 1,
        }


if __name__ == "__main__":
    asked, how, wire = sys.argv[1:]
    measured = {"ramp": ramp, "cycles": cycles}[how](asked, deflates=wire == "deflates")
    print(json.dumps(asyncio.run(measured)))
