"""The findings as Markdown and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from .profile import STAGES_IN


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def against(costs: Mapping[str, float], base: str) -> list[list[str]]:
    """Rows of costs, and what they are of the base's."""
    return [
        [name, f"{cost:.2f}", f"{cost / costs[base]:.2f}"]
        for name, cost in sorted(costs.items(), key=lambda item: item[1])
    ]


def picture(
    path: Path,
    costs: Mapping[str, Mapping[str, float]],
    stages: Mapping[str, Mapping[str, float]],
) -> None:
    """Draw the costs, a panel for each, and where a frame's time goes."""
    figure, axes = plt.subplots(1, len(costs) + 1, figsize=(4.2 * (len(costs) + 1), 3.4))
    for axis, (title, measured) in zip(axes, costs.items(), strict=False):
        ordered = sorted(measured.items(), key=lambda item: -item[1])
        colours = ["#2a6f97" if name.startswith("this") else "#b0b7bd" for name, _ in ordered]
        bars = axis.barh([name for name, _ in ordered], [c for _, c in ordered], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("ms CPU per s of audio", fontsize=8)
        axis.margins(x=0.15)
    axis = axes[-1]
    left = dict.fromkeys(stages, 0.0)
    for stage, colour in zip(STAGES_IN, ("#2a6f97", "#61a5c2", "#a9d6e5", "#f4a261"), strict=True):
        widths = [max(0.0, stages[side][stage]) for side in stages]
        axis.barh(list(stages), widths, left=list(left.values()), color=colour, label=stage)
        for side, width in zip(stages, widths, strict=True):
            left[side] += width
    axis.set_title("where a 20 ms frame's time goes", fontsize=10)
    axis.set_xlabel("µs CPU", fontsize=8)
    axis.legend(fontsize=7)
    for each in axes:
        each.tick_params(labelsize=8)
        each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
