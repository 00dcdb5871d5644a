"""What the generated plugin costs, against the shipped ones and the floor.

uv run --with-requirements bench/audio/requirements.txt python -m bench.audio [--only in,out,...] [--output FOLDER]

Prints what it finds as Markdown; leaves it with a picture in the output folder.
"""

import argparse
import asyncio
import logging
import math
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import scaffold

from . import cold, report, sessions, sides
from .fidelity import KEPT_HZ, REJECTED_HZ, fidelity
from .frames import audio_in, audio_out, barge_in
from .profile import profile_barge_in, profile_in, profile_out
from .provider import provider

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = ("in", "out", "fidelity", "barge", "sessions", "cold", "profile")
OURS, XAI, FLOOR = "this, 24 kHz", "xAI", "floor, 24 kHz"
TALKERS = (FLOOR, OURS, XAI, "Qwen", "Gemini")


class Benchmark:
    """Runs the parts asked for and collects what they find."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.costs: dict[str, Mapping[str, float]] = {}
        self.stages: dict[str, dict[str, float]] = {}
        self.found: list[str] = []
        self._folder = folder
        self._rounds = rounds

    def say(self, title: str, text: str) -> None:
        """Print a finding and keep it."""
        self.found.append(f"### {title}\n\n{text}")
        print(f"\n{self.found[-1]}", flush=True)

    async def audio_in(self) -> None:
        """CPU time of a caller's audio."""
        for channels, deflates in ((1, False), (2, False), (1, True)):
            with provider() as far_end:
                async with sides.opened(sides.OPENERS, far_end, deflates=deflates) as opened:
                    costs = await audio_in(opened, far_end, channels, self._rounds)
            kind = "stereo" if channels == 2 else "mono"
            title = f"Audio in, 48 kHz {kind}{', the provider deflates' if deflates else ''}"
            self.costs[title] = costs
            rows = [
                [*row, f"{costs[row[0]] / costs[FLOOR]:.2f}"] for row in report.against(costs, XAI)
            ]
            head = ["", "ms CPU per s", "of xAI's", "of the floor's"]
            self.say(title, report.table(head, rows))

    async def audio_out(self) -> None:
        """CPU time of the provider's audio."""
        for delta_ms in (20, 100, 200):
            with provider() as far_end:
                async with sides.opened(TALKERS, far_end) as opened:
                    costs = await audio_out(opened, far_end, delta_ms, self._rounds // 4)
            title = f"Audio out, pieces of {delta_ms} ms"
            self.costs[title] = costs
            head = ["", "ms CPU per s", "of xAI's"]
            self.say(title, report.table(head, report.against(costs, XAI)))

    async def fidelity(self) -> None:
        """What is heard of pure tones."""
        names = (OURS, "this, 16 kHz", XAI, "Qwen", "Gemini")
        with provider(records=True) as far_end:
            async with sides.opened(names, far_end) as opened:
                heard = await fidelity(opened, far_end)
        head = ["", *(f"{hertz} Hz, SINAD" for hertz in KEPT_HZ)]
        head += [f"{hertz} Hz, level" for hertz in REJECTED_HZ]
        rows = [
            [name, *(_decibels(value) for value in each.values())] for name, each in heard.items()
        ]
        note = "\n9 and 10 kHz are below the 12 kHz that a rate of 24 kHz can carry: they stay there.\n"
        self.say("Fidelity, 48 kHz in, dB", report.table(head, rows) + note)

    async def barge_in(self) -> None:
        """How fast the agent falls silent."""
        for speed in (0, 40):
            with provider() as far_end:
                async with sides.opened(TALKERS, far_end) as opened:
                    taken = await barge_in(opened, far_end, speed, 40, max(2, self._rounds // 16))
            middle = {name: _percentile(each, 50) for name, each in taken.items()}
            worst = {name: _percentile(each, 99) for name, each in taken.items()}
            rows = [
                [name, f"{middle[name]:.2f}", f"{worst[name]:.2f}"]
                + [f"{each[name] / each[FLOOR]:.2f}" for each in (middle, worst)]
                if math.isfinite(middle[name])
                else [name, "never", "never", "", ""]
                for name in taken
            ]
            title = f"Barge-in, {'the agent speaks at 40x' if speed else 'idle'}, ms"
            self.say(title, report.table(["", "p50", "p99", "p50, of bare", "p99, of bare"], rows))

    def sessions(self) -> None:
        """How many sessions fit, in turns."""
        for deflates in (False, True):
            pieces = (f"{OURS}, 40 ms", f"{OURS}, 100 ms")
            names = (OURS, XAI) if deflates else (OURS, *pieces, XAI, FLOOR)
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for _ in range(3):
                for name, each in runs.items():
                    each.append(sessions.measure(name, "ramp", deflates=deflates))
            middle = {
                key: {name: statistics.median(run[key] for run in runs[name]) for name in names}
                for key in ("held", "cpu_ms_per_s", "memory_mb")
            }
            rows = [
                [
                    name,
                    " ".join(f"{run['held']:.0f}" for run in runs[name]),
                    f"{middle['held'][name] / middle['held'][XAI]:.2f}",
                    f"{middle['cpu_ms_per_s'][name]:.1f}",
                    f"{middle['memory_mb'][name]:.2f}",
                ]
                for name in names
            ]
            head = ["", "held, each run", "of xAI's", "ms CPU per s", "MB a session"]
            title = f"Two-way sessions of a process{', the provider deflates' * deflates}"
            self.say(title, report.table(head, rows))
        left = {name: sessions.measure(name, "cycles") for name in (OURS, XAI)}
        rows = [
            [name, f"{each['grown_kb_per_cycle']:.2f}", f"{each['grown_objects']:.0f}"]
            for name, each in left.items()
        ]
        title = f"Left by the last {sessions.CYCLES // 2} of {sessions.CYCLES} calls"
        self.say(title, report.table(["", "kB a call", "objects"], rows))

    def cold(self) -> None:
        """What is paid once."""
        shares = cold.imports(("acme", "xai", "qwen", "gemini"), 5)
        rows = [
            [f"import {name}, over the core", f"+{share:.1%}"] for name, share in shares.items()
        ]
        ours, floor = scaffold.medians(7)
        rows.append(["scaffold, over one file's", f"{ours / floor:.2f}"])
        rows += [
            [f"{name}: seconds, of them CPU", f"{seconds:.1f}, {cpu:.1f}"]
            for name, (seconds, cpu) in cold.suite(self._folder, 3).items()
        ]
        self.say("Cold", report.table(["", ""], rows))

    async def profile(self) -> None:
        """Where the time of a frame goes."""
        with provider() as far_end:
            self.stages = await profile_in(far_end, self._rounds)
            out = await profile_out(far_end, self._rounds // 4)
            barge_in = await profile_barge_in(far_end, self._rounds // 10)
        profiles = {
            "A 20 ms frame in, 48 kHz mono to 24 kHz, µs CPU": self.stages,
            "A 100 ms piece out, µs CPU": out,
            "A barge-in, the agent speaks at 40x, µs": barge_in,
        }
        for title, stages in profiles.items():
            rows = [
                [side, *(f"{micros:.1f}" for micros in each.values()), f"{sum(each.values()):.1f}"]
                for side, each in stages.items()
            ]
            self.say(title, report.table(["", *stages["this"], "all"], rows))


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _decibels(value: float) -> str:
    """The 16 bits of a sample end at -98 dB, so what is beyond 100 dB is perfect."""
    return f"{value:.0f}" if abs(value) < 100 else f"{'>' if value > 0 else '< -'}100"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, default=Path("bench_audio"))
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    asked = arguments.only.split(",")
    with tempfile.TemporaryDirectory() as name:
        sides.generate(Path(name))
        benchmark = Benchmark(Path(name), arguments.rounds)
        parts = {
            "in": benchmark.audio_in,
            "out": benchmark.audio_out,
            "fidelity": benchmark.fidelity,
            "barge": benchmark.barge_in,
            "sessions": benchmark.sessions,
            "cold": benchmark.cold,
            "profile": benchmark.profile,
        }
        for part in asked:
            measured = parts[part]()
            if measured is not None:
                asyncio.run(measured)
    load = f"\nLoad of the machine when it ended: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n"
    print(load)
    arguments.output.mkdir(exist_ok=True)
    text = "\n".join([*benchmark.found, load])
    (arguments.output / "table.md").write_text(text, encoding="utf-8")
    if benchmark.costs and benchmark.stages:
        shown = ("Audio in, 48 kHz mono", "Audio in, 48 kHz stereo", "Audio out, pieces of 100 ms")
        costs = {title: benchmark.costs[title] for title in shown if title in benchmark.costs}
        report.picture(arguments.output / "picture.png", costs, benchmark.stages)


if __name__ == "__main__":
    main()
