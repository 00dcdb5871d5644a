"""A generated plugin stays small enough to be read.

The table is shown by `uv run pytest -n0 -s tests/test_sizes.py`.
"""

import pytest

from tests.generated import Plugin, state_of

# For the plugin with the default answers: the target, and the limit until it is reached.
# Frames, locks and what tools leave are not counted.
LIMITS = {  # name: (target, limit)
    "files": (45, 51),
    "lines": (4500, 6605),
    "lines of _engine": (2200, 4312),
    "acme_realtime.py": (350, 417),
    "client.py": (250, 250),
    "wire.py": (550, 650),
    "longest file of _engine": (300, 450),
    "longest of the other files": (200, 200),
}

PACKAGE = "vision_agents/plugins/acme/"
LEFT_OUT = ("tests/frames/", "uv.lock", ".venv/", ".git/", "build/", "dist/")


@pytest.fixture(scope="module")
def lines(plugins: dict[str, Plugin]) -> dict[str, int]:
    """The number of lines of each file of the plugin with the default answers."""
    found = {}
    for name, content in sorted(state_of(plugins["default"].path).items()):
        path = name.replace("\\", "/")
        by_a_tool = "cache" in path or ".egg-info" in path
        if content is not None and not path.startswith(LEFT_OUT) and not by_a_tool:
            found[path] = len(content.splitlines())
    return found


@pytest.fixture(scope="module")
def sizes(lines: dict[str, int]) -> dict[str, int]:
    """The sizes of today, by the names in LIMITS."""
    authors = {f"{PACKAGE}{name}" for name in ("acme_realtime.py", "client.py", "wire.py")}
    engine = {name for name in lines if name.startswith(f"{PACKAGE}_engine/")}
    others = set(lines) - authors - engine
    return {
        "files": len(lines),
        "lines": sum(lines.values()),
        "lines of _engine": sum(lines[name] for name in engine),
        **{name.removeprefix(PACKAGE): lines[name] for name in authors},
        "longest file of _engine": max(lines[name] for name in engine),
        "longest of the other files": max(lines[name] for name in others),
    }


def test_table_of_sizes_is_shown(lines: dict[str, int], sizes: dict[str, int]) -> None:
    print("\n".join(["", *(f"{count:6} {name}" for name, count in lines.items()), ""]))
    print(f"{'':28}{'today':>8}{'limit':>8}{'target':>8}")
    for name, (target, limit) in LIMITS.items():
        print(f"{name:28}{sizes[name]:8}{limit:8}{target:8}")


@pytest.mark.parametrize("name", LIMITS)
def test_size_is_within_its_limit(name: str, sizes: dict[str, int]) -> None:
    _, limit = LIMITS[name]
    assert sizes[name] <= limit


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_lowered_with_the_size(name: str, sizes: dict[str, int]) -> None:
    """A limit above its target is close to the size of today, so that nothing grows unseen."""
    target, limit = LIMITS[name]
    assert limit <= max(target, round(sizes[name] * 1.05 + 1))
