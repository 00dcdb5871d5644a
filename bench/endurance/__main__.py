"""Does a plugin lose a turn, grow, slow down or leave something behind?

uv run python -m bench.endurance [--only hostile,turns] [--scale 0.1]

Generates a plugin and lets it talk to the testkit's embedded OpenAI provider on 127.0.0.1, a part
at a time. Plugin and provider are in processes of their own. Linux only: it reads /proc. Exits
with 1 where a target is missed: a turn is lost, memory grows by more than 5 MB after the warm-up
(without what the resampler alone keeps of the same audio), or a task, socket or thread is left.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from .meter import Report, grown_mb
from .parts import PARTS, measured

ROOT = Path(__file__).parents[2]

GROWTH_MB = 5.0
"""How much more memory a part may hold at its end than after its warm-up."""

HEAD = (
    "", "turns", "answered", "refused", "lost", "RSS, MB", "resampler's", "objects", "tasks", "sockets",
    "threads", "median, ms", "took, s",
)  # fmt: skip


def generate(folder: Path) -> None:
    """Generate a plugin with the default answers, and make it importable for what is started."""
    plugin = cookiecutter(
        str(ROOT),
        no_input=True,
        output_dir=str(folder),
        default_config={"replay_dir": str(folder / "replays")},
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([plugin, *sys.path])


def row(name: str, report: Report) -> list[str]:
    """One line of the table."""
    part, before, after = PARTS[name], report.before, report.after
    title = f"{report.frames:,} {part.title}" if report.frames else f"{report.units:,} {part.title}"
    return [
        title,
        f"{report.asked:,}",
        f"{report.answered:,}",
        f"{report.refused:,}",
        f"{len(report.lost):,}",
        f"{report.warm.memory_mb:.1f} → {report.end.memory_mb:.1f}",
        f"{report.resampler_mb:.1f}",
        f"{report.warm.objects:,} → {report.end.objects:,}",
        f"{before.tasks} → {after.tasks}",
        f"{before.sockets} → {after.sockets}",
        f"{before.threads} → {after.threads}",
        f"{report.first_ms:.1f} → {report.last_ms:.1f}",
        f"{report.took_s:.0f}",
    ]


def missed(report: Report) -> list[str]:
    """Which targets a part missed."""
    found = report.lost[:5]
    if len(report.lost) > len(found):
        found.append(f"and {len(report.lost) - len(found)} more turns were lost")
    grown = grown_mb(report)
    if grown > GROWTH_MB:
        found.append(f"memory grew by {grown:.1f} MB after the warm-up")
    if report.after.counted != report.before.counted:
        found.append(f"left behind: {report.before} became {report.after}")
    return found


def main() -> int:
    """Run the parts and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each, such as 0.1")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - PARTS.keys():
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
        for name in names:
            report = measured(name, arguments.scale)
            print(f"| {' | '.join(row(name, report))} |", flush=True)
            problems += [f"{name}: {what}" for what in missed(report)]
    print("\n".join(["", *problems] if problems else ["", "All targets are met."]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
