"""Seals the contract suite: writes tests/contract/manifest.toml of the plugin's template.

    uv run python tools/seal_contract.py           after any change in tests/contract
    uv run python tools/seal_contract.py --check   fails where that was forgotten

A generated plugin holds its suite against it, so that a contract test which was edited or
deleted there shows. The digests are the generated plugin's own (accounting.py), taken from
the files as rendered.
"""

import itertools
import json
import re
import sys
from pathlib import Path
from types import ModuleType

from jinja2 import Environment

PLUGIN = Path(__file__).parents[1] / "{{cookiecutter.plugin_slug}}"
SUITE = PLUGIN / "tests" / "contract"
WIRE = PLUGIN / "vision_agents" / "plugins" / "{{cookiecutter.plugin_slug}}" / "wire.py"
TEST = re.compile(r"def (test_[a-z]{2}\d_\w+)\(")
CONDITION = re.compile(r"\{% if .+? %\}")
TRANSPORTS = ("websocket", "webrtc")
VIDEO = ("no", "yes")
HEADER = """\
# What the contract suite was when it was made: written by the template, for accounting.py.
"""

environment = Environment(keep_trailing_newline=True, autoescape=False)


def accounting() -> ModuleType:
    """The generated plugin's own module; it holds no Jinja.

    Run from its source, for an import would leave bytecode among the template's files.
    """
    path = SUITE / "accounting.py"
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules[path.stem] = module
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), vars(module))
    return module


def render(text: str, transport: str, video: str) -> str:
    """A template as a plugin with these answers has it."""
    answers = {
        "plugin_slug": "acme",
        "__env_prefix": "ACME",
        "native_method": "create_response",
        "transport": transport,
        "video": video,
    }
    return environment.from_string(text).render(cookiecutter=answers)


def variants(text: str) -> list[str]:
    """A template as all plugins have it."""
    return [render(text, *answers) for answers in itertools.product(TRANSPORTS, VIDEO)]


def files() -> dict[str, list[Path]]:
    """The suite's files, by the name they have in a plugin; the manifest left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(SUITE.iterdir()):
        name = max(variants(path.name))
        if name.endswith((".py", ".toml")) and name != "manifest.toml":
            found.setdefault(name, []).append(path)
    return found


def manifest() -> str:
    """The manifest, itself a template."""
    account = accounting()
    words = {account.words_of(each) for each in variants(WIRE.read_text(encoding="utf-8"))}
    lines = [HEADER, "[wire]", f"words = {json.dumps(sorted(words))}"]
    for name, paths in sorted(files().items()):
        texts = [path.read_text(encoding="utf-8") for path in paths]
        digests = sorted({account.digest(each) for text in texts for each in variants(text)})
        # A file of which there are several versions is in every plugin.
        condition = CONDITION.match(paths[0].name) if len(paths) == 1 else None
        lines.append(condition[0] if condition is not None else "")
        lines += [f'[files."{name}"]', f"digests = {json.dumps(digests)}"]
        if tests := [test for text in texts for test in TEST.findall(text)]:
            lines += ["tests = [", *(f'    "{test}",' for test in tests), "]"]
        if condition is not None:
            lines.append("{%- endif %}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the manifest, or check it."""
    target = SUITE / "manifest.toml"
    sealed = manifest()
    if sys.argv[1:] == ["--check"]:
        if target.read_text(encoding="utf-8") != sealed:
            raise SystemExit("tests/contract changed: run tools/seal_contract.py")
        return
    target.write_text(sealed, encoding="utf-8")


if __name__ == "__main__":
    main()
