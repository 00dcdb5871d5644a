"""What a process holds, and what became of the turns that were asked for."""

import asyncio
import gc
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

EDGE = 100
"""How many of the first and of the last turns the latencies are taken of."""

LEFTOVER_S = 2.0
"""How long what was closed may take to be gone."""


@dataclass(frozen=True)
class Held:
    """What a process holds at one moment; ``sockets`` counts all open descriptors."""

    memory_mb: float
    objects: int
    tasks: int
    sockets: int
    threads: int

    @classmethod
    def now(cls) -> "Held":
        """Collect garbage and count."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            pages * resource.getpagesize() / 1e6,
            len(gc.get_objects()),
            len(asyncio.all_tasks()) - 1,
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
        )

    @property
    def counted(self) -> tuple[int, int, int]:
        """What has to be the same before and after."""
        return self.tasks, self.sockets, self.threads


@dataclass
class Turns:
    """The turns of one part.

    Attributes:
        asked: how many were asked for.
        answered: how many were answered as the provider answers.
        refused: how many ended with the error that the documentation names.
        lost: what became of the others.
    """

    asked: int = 0
    answered: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one turn and time it; whatever it raises makes it lost."""
        self.asked += 1
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of any kind: the turn is lost, the run goes on
            self.lost.append(f"turn {self.asked}: {type(error).__name__}: {error}"[:200])
        else:
            self.answered += 1
            self.seconds.append(time.perf_counter() - started)

    @property
    def first_ms(self) -> float:
        """The median time to the whole answer, of the first turns."""
        return statistics.median(self.seconds[:EDGE] or [0.0]) * 1000

    @property
    def last_ms(self) -> float:
        """The same of the last ones."""
        return statistics.median(self.seconds[-EDGE:] or [0.0]) * 1000


class Report(msgspec.Struct):
    """What one part found.

    Attributes:
        units: how often its unit was done.
        frames: how many hostile frames were sent.
        before: what the process held before the first session.
        warm: after the warm-up.
        end: at the end, the session open if it stays open.
        after: after the last session.
        resampler_mb: how much memory the resampler alone keeps of as much audio as came
            between ``warm`` and ``end``.
        first_ms: median time to an answer, of the first turns.
        last_ms: the same of the last ones.
    """

    units: int
    asked: int
    answered: int
    refused: int
    lost: list[str]
    frames: int
    before: Held
    warm: Held
    end: Held
    after: Held
    resampler_mb: float
    first_ms: float
    last_ms: float
    took_s: float


def grown_mb(report: Report) -> float:
    """How much more memory is held after the warm-up, without what the resampler alone keeps."""
    return report.end.memory_mb - report.warm.memory_mb - report.resampler_mb


async def settled(before: Held) -> Held:
    """Wait for a moment until nothing more than before is left; returns what is."""
    deadline = time.perf_counter() + LEFTOVER_S
    held = Held.now()
    while held.counted != before.counted and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
        held = Held.now()
    return held
