"""How long scaffolding takes, against Cookiecutter rendering a template of one file.

    uv run python bench/scaffold.py

Both run as a person runs them, in turns, so that a busy machine slows both alike.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROUNDS = 15


def seconds_to_render(template: Path, folder: Path) -> float:
    """Run Cookiecutter once, in a folder and a home of its own."""
    folder.mkdir()
    command = [sys.executable, "-m", "cookiecutter", str(template), "--no-input"]
    environment = os.environ | {"HOME": str(folder.parent), "USERPROFILE": str(folder.parent)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Cookiecutter is compiled in the first round.
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    elapsed = time.perf_counter() - started
    shutil.rmtree(folder)
    return elapsed


def medians(rounds: int) -> tuple[float, float]:
    """Seconds to render this template and one of a single file, in turns."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        one_file = home / "one_file"
        (one_file / "{{cookiecutter.name}}").mkdir(parents=True)
        (one_file / "{{cookiecutter.name}}" / "file.txt").write_text("{{ cookiecutter.name }}\n")
        (one_file / "cookiecutter.json").write_text(json.dumps({"name": "plugin"}))

        ours, theirs = [], []
        for number in range(-1, rounds):  # the first round warms the caches and is not counted
            theirs.append(seconds_to_render(one_file, home / "output"))
            ours.append(seconds_to_render(ROOT, home / "output"))
            if number < 0:
                ours, theirs = [], []
            else:
                print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return statistics.median(ours), statistics.median(theirs)


def main() -> None:
    """Measure and print."""
    plugin, floor = medians(ROUNDS)
    print(f"this template: {plugin * 1000:.0f} ms   one file: {floor * 1000:.0f} ms")
    print(f"ratio: {plugin / floor:.3f} (median of {ROUNDS} rounds each)")


if __name__ == "__main__":
    main()
