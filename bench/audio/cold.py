"""What is paid once: importing, scaffolding, and a run of the suite."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMPORTS = """
import time
started = time.process_time()
import vision_agents.core
core = time.process_time() - started
started = time.process_time()
import {module}
print(core, time.process_time() - started)
"""
ONE_TEST = """
import vision_agents.core.agents


def test_nothing() -> None:
    assert vision_agents.core.agents
"""


def imports(slugs: tuple[str, ...], rounds: int) -> dict[str, float]:
    """CPU time of importing a plugin after the core, against importing the core.

    Returns:
        The median share, by plugin.
    """
    shares: dict[str, list[float]] = {slug: [] for slug in slugs}
    for _ in range(rounds):
        for slug in slugs:
            source = IMPORTS.format(module=f"vision_agents.plugins.{slug}")
            done = subprocess.run(
                [sys.executable, "-c", source], check=True, stdout=subprocess.PIPE, text=True
            )
            core, plugin = map(float, done.stdout.split())
            shares[slug].append(plugin / core)
    return {slug: statistics.median(each) for slug, each in shares.items()}


def suite(folder: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Time of the generated suite and of one test that imports the core.

    Args:
        folder: where the plugin was generated.
        rounds: how often each runs, in turns.

    Returns:
        Median seconds and CPU seconds, by what was run.
    """
    plugin, floor = folder / "acme", folder / "floor"
    floor.mkdir(exist_ok=True)
    (floor / "test_floor.py").write_text(ONE_TEST, encoding="utf-8")
    runs = {
        "one test": (floor, []),
        "the suite": (plugin, []),
        "the suite, -n0": (plugin, ["-n0"]),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (place, arguments) in runs.items():
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
            before, started = os.times(), time.perf_counter()
            subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)
            after, elapsed = os.times(), time.perf_counter() - started
            cpu = after.children_user + after.children_system
            taken[name].append((elapsed, cpu - before.children_user - before.children_system))
    return {
        name: (
            statistics.median(seconds for seconds, _ in each),
            statistics.median(cpu for _, cpu in each),
        )
        for name, each in taken.items()
    }
