"""Draws which file of a generated plugin imports which, as a Mermaid diagram in docs/architecture.md.

uv run python -m tools.draw_architecture            # rewrites the diagram
uv run python -m tools.draw_architecture --check    # fails if it is out of date
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
SLUG = "{{cookiecutter.plugin_slug}}"
PACKAGE = ROOT / SLUG / "vision_agents" / "plugins" / SLUG
BLOCK = re.compile(r"(?<=<!-- imports -->\n).*?(?=<!-- end of imports -->)", re.DOTALL)
IMPORT = re.compile(
    r"^from (?P<dots>\.{1,2})(?P<module>[\w.]*) import (?P<names>\([^)]*\)|[^\n]*)", re.MULTILINE
)
NAMES = {"client_websocket": "client", "wire_openai": "wire", f"{SLUG}_realtime": "acme_realtime"}
LEFT_OUT = set(
    "__init__ client_webrtc client_sdk wire_plain peer playout signaling tracks webrtc video".split()
)
"""Variants, and what is not in a plugin with the default answers."""

ALSO = {"errors", "session_types", "session_events", "bounded", "text"}
"""Names that nearly every file uses: drawn without arrows."""


def main(arguments: list[str]) -> int:
    """Write the diagram, or compare it."""
    old = PAGE.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda _: diagram(), old)
    if new == old:
        return 0
    if "--check" in arguments:
        print(f"{PAGE.name} is out of date: uv run python -m tools.draw_architecture")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


def diagram() -> str:
    """Return the diagram."""
    graph = imports()
    engine = [name for name in sorted(graph) if (PACKAGE / "_engine" / f"{name}.py").exists()]
    lines = ["```mermaid", "flowchart TD", '    subgraph author["the author\'s"]']
    lines += [f'        {name}["{name}.py"]' for name in sorted(set(graph) - set(engine))]
    lines += ["    end", '    subgraph engine["_engine"]']
    lines += [f'        {name}["{name}.py"]' for name in engine if name not in ALSO]
    lines += [f'        names["{", ".join(sorted(ALSO))}"]', "    end"]
    for name in sorted(set(graph) - ALSO):
        lines += [f"    {name} --> {other}" for other in sorted(direct(graph, name) - ALSO)]
    return "\n".join([*lines, "```", ""])


def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports while it runs."""
    paths = {
        NAMES.get(path.stem, path.stem): path
        for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("_engine/*.py"))
        if path.stem not in LEFT_OUT
    }
    return {name: imported(path) & set(paths) for name, path in paths.items()}


def imported(path: Path) -> set[str]:
    """Return the names of the plugin's modules that a file imports."""
    found: set[str] = set()
    for match in IMPORT.finditer(path.read_text(encoding="utf-8")):
        module = match["module"].removeprefix("_engine").strip(".")
        names = re.findall(r"(\w+)(?: as \w+)?", match["names"])
        found |= {module} if module else set(names)
    return found


def direct(graph: dict[str, set[str]], name: str) -> set[str]:
    """Return what a module imports and none of its other imports does."""
    return {
        other
        for other in graph[name]
        if not any(other in reachable(graph, each) for each in graph[name] - {other})
    }


def reachable(graph: dict[str, set[str]], name: str) -> set[str]:
    """Return all modules that a module imports, and those that they import."""
    found: set[str] = set()
    todo = [name]
    while todo:
        for other in graph[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
