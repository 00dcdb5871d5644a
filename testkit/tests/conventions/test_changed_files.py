"""A violation in one of a plugin's own files is found, and something like it is not."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from realtime_testkit.conventions import as_text, check

from .conftest import MakePlugin

PACKAGE = "vision_agents/plugins/nest"
REALTIME = f"{PACKAGE}/nest_realtime.py"
CLIENT = f"{PACKAGE}/client.py"


@dataclass(frozen=True)
class Case:
    """A change that breaks a rule, and a change like it that does not.

    Attributes:
        path: the file.
        find: what is replaced in it; without, the file is written, or deleted where `plant` is None.
        alike: None where there is none.
        where: the path of the finding, if it is another.
    """

    rule: str
    path: str
    find: str
    plant: str | None
    alike: str | None
    layout: str = "standalone"
    where: str = ""

    def change(self, plugin: Path, text: str | None) -> None:
        """Make a change."""
        path = plugin / self.path
        if text is None:
            path.unlink()
        elif not self.find:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            before = path.read_text(encoding="utf-8")
            assert self.find in before
            path.write_text(before.replace(self.find, text, 1), encoding="utf-8")


CASES = [
    Case("P1", "py.typed", "", None, None),
    Case("P1", "README.md", "", None, None),
    Case("P2", "vision_agents/plugins/__init__.py", "", "", None),
    Case("P2", "vision_agents/__init__.py", "", "", None),
    Case("P3", "pyproject.toml", 'name = "vision-agents-plugins-nest"', 'name = "vision-agents-plugin-nest"', 'name =  "vision-agents-plugins-nest"'),
    Case("P3", "pyproject.toml", 'name = "vision-agents-plugins-nest"', 'name = "vision_agents_plugins_nest"', 'name = "vision-agents-plugins-nest" # by rule'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["."]', 'packages = [ "vision_agents" ]'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["vision_agents", "tests"]', 'packages = [\n    "vision_agents",\n]'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["vision_agents"]\nforce-include = {"README.md" = "README.md"}', 'packages = ["vision_agents"] # no README.md'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]\n', "", 'packages = ["vision_agents"]\nexclude = ["*.md"]\n'),
    Case("P4", f"{PACKAGE}/py.typed", "", None, None),
    Case("P5", "pyproject.toml", 'readme = "README.md"', "", 'readme= "README.md"'),
    Case("P5", "pyproject.toml", "Website =", "Site =", "Website  ="),
    Case("P5", "pyproject.toml", 'license = "MIT"', "", 'license = { text = "MIT" }'),
    Case("P6", "pyproject.toml", 'build-backend = "hatchling.build"', 'build-backend = "setuptools.build_meta"', 'build-backend= "hatchling.build"'),
    Case("P6", "pyproject.toml", '"vision-agents",', '"vision-agents>=0.6",', '  "vision-agents",', "workspace"),
    Case("P6", "pyproject.toml", 'dynamic = ["version"]', 'version = "0.1.0"', 'dynamic = ["version"] # from hatch-vcs', "workspace"),
    Case("P7", f"{PACKAGE}/__init__.py", '__all__ = ["Client", "Realtime"', '__all__ = ["Client"', '__all__: list[str] = ["Client", "Realtime"'),
    Case("P8", "README.md", "\n## Configuration\n", "\n## Settings\n", "\n## Configuration\n\nAll of it.\n"),
    Case("P8", "README.md", "\n## Usage\n", "\n```\n## Usage\n```\n", "\n```\n## Use\n```\n\n## Usage\n"),
    Case("P8", "README.md", "\n## Installation\n", "\n## Usage\n\n## Installation\n", "\n## Used by\n\nMany.\n\n## Installation\n"),
    Case("P8", "README.md", "# Nest for Vision Agents\n", "Nest for Vision Agents\n", "# Nest, for Vision Agents\n"),
    Case("P8", "README.md", "uv add ", "pip install ", "uv add --quiet x\nuv add "),
    Case("P8", "README.md", "| `voice` |", "| `sound` |", "| `voice`  |"),
    Case("P8", "README.md", "| `voice` | `None` | the voice |\n", "", "| `voice` | `None` | a voice |\n"),
    Case("P8", "README.md", "| `voice` |", "| `pitch` | `1` | gone |\n| `voice` |", "|  `voice` |"),
    Case("P9", "example/.env.example", "NEST_API_KEY=", "KEY=", "NEST_API_KEY=secret"),
    Case("P9", "example/.env.example", "STREAM_API_SECRET=", "# STREAM_API_SECRET is not needed", "STREAM_API_SECRET= # yours"),
    Case("P9", "example/nest_example.py", '"""An agent."""\n', '"""An agent."""\n\nOTHER = "OTHER_API_KEY"\n', '"""An agent."""\n\nOTHER = "OTHER_API"\n', where="example/.env.example"),
    Case("P9", "example/nest_example.py", "Runner(AgentLauncher(create_agent=create_agent, join_call=join_call)).cli()", "Runner(create_agent).cli()  # AgentLauncher()", "Runner(\n        AgentLauncher(\n            create_agent=create_agent,\n            join_call=join_call,\n        )\n    ).cli()", where="example/"),
    Case("P9", "example/pyproject.toml", "", None, None),
    Case("P10", "../../pyproject.toml", "vision-agents-plugins-nest = { workspace = true }\n", "", "vision-agents-plugins-nest  = { workspace=true }\n", "workspace"),
    Case("P10", "../../pyproject.toml", "vision-agents-plugins-nest = { workspace = true }\nvision-agents-plugins-other = { workspace = true }\n", "vision-agents-plugins-other = { workspace = true }\nvision-agents-plugins-nest = { workspace = true }\n", "vision-agents-plugins-zed = { workspace = true }\nvision-agents-plugins-other = { workspace = true }\nvision-agents-plugins-nest = { workspace = true }\n", "workspace"),
    Case("P10", "../../pyproject.toml", '    "plugins/nest",\n', "", "    'plugins/n*',\n", "workspace"),
    Case("P10", "../../pyproject.toml", '    "plugins/nest",\n    "plugins/other",\n', '    "plugins/other",\n    "plugins/nest",\n', '    "plugins/zed",\n    "plugins/other",\n    "plugins/nest",\n', "workspace"),
    Case("P10", "../../agents-core/pyproject.toml", 'nest = ["vision-agents-plugins-nest"]\n', "nest = []\n", "nest = ['vision-agents-plugins-nest']\n", "workspace"),
    Case("P10", "../../agents-core/pyproject.toml", 'nest = ["vision-agents-plugins-nest"]\nother = ["vision-agents-plugins-other"]\n', 'other = ["vision-agents-plugins-other"]\nnest = ["vision-agents-plugins-nest"]\n', 'zed = ["vision-agents-plugins-zed"]\nother = ["vision-agents-plugins-other"]\nnest = ["vision-agents-plugins-nest"]\n', "workspace"),
    Case("P11", "README.md", 'uv add "vision-agents[nest]"', "uv add vision-agents-plugins-nest", 'uv add "vision-agents[nest]"\n# or: uv add vision-agents-plugins-nest', "workspace"),
    Case("P11", "pyproject.toml", 'Website = "https://visionagents.ai/"', 'Website = "https://example.com/nest"', 'Website = "https://visionagents.ai/nest"', "workspace"),
    Case("P11", "pyproject.toml", "[tool.hatch.version]", "[tool.ruff]\nline-length = 100\n\n[tool.hatch.version]", "# [tool.ruff]\n[tool.hatch.version]", "workspace"),
    Case("P11", "pyproject.toml", "[tool.hatch.version]", "[tool.cruft]\nskip = []\n\n[tool.hatch.version]", "# no cruft\n[tool.hatch.version]", "workspace"),
    Case("P11", "vision_agents/ruff.toml", "", "line-length = 100\n", None, "workspace"),
    Case("P12", "README.md", "\n## Features\n", "\n## Hear it\n\nHere.\n\n## Features\n", "\nMore of it.\n\n## Features\n"),
    Case("P12", "README.md", "\n## Dependencies\n", "\n## Which files to edit\n\nMany.\n\n## Dependencies\n", "\n## License\n\nMIT\n\n## Dependencies\n"),
    Case("P12", "README.md", "\n## Dependencies\n", "\n## Tests\n\nMany.\n\n## Dependencies\n", "\n```\n## Tests\n```\n\n## Dependencies\n"),
    Case("P12", "CONTRIBUTING.md", "", None, None),
    Case("P13", f"{PACKAGE}/provider_double.py", "", '"""A double."""\n', None),
    Case("P13", f"{PACKAGE}/tests/__init__.py", "", '"""Tests."""\n', None),
    Case("P13", "pyproject.toml", '    "websockets>=15.0.1,<16",\n', '    "vision-agents-realtime-testkit>=2",\n', '    "pytestify>=2",\n'),
    Case("P13", "pyproject.toml", '    "websockets>=15.0.1,<16",\n', '    "pytest>=8",\n', '    "websockets>=15.0.1,<16", # no pytest\n'),
    Case("C4", f"{PACKAGE}/_engine/session.py", '    """Cut packed audio into pieces."""\n', "", '    """Cut."""\n'),
    Case("C17", REALTIME, "    async def interrupt(self)", "    def interrupt(self)", "    async def interrupt(self, *, now: bool = True)"),
    Case("C17", REALTIME, "    async def interrupt(self)", "    async def stop(self)", "    async def  interrupt(self)"),
    Case("C17", REALTIME, "        try:\n            await self.interrupt()\n        finally:\n            await self.client.close()", "        await self.interrupt()\n        await self.client.close()", "        async with AsyncExitStack() as stack:\n            stack.push_async_callback(self.client.close)"),
    Case("C17", REALTIME, "        try:\n            await self.interrupt()\n        finally:\n            await self.client.close()", "        try:\n            await self.interrupt()\n        except ValueError:\n            await self.client.close()", None),
    Case("C21", REALTIME, "        voice: str | None = None,", "        tone: str | None = None,", '        voice: str = "one",'),
    Case("C21", REALTIME, "        voice: str | None = None,", "        voice: str | None,", '        voice: str | None = "one",'),
    Case("C25", REALTIME, "    async def __aenter__", "    async def enter", "    async def  __aenter__"),
    Case("C25", REALTIME, "        await self.connect()\n        return self", "        return self", "        await self.connect()\n        logger.debug('in')\n        return self"),
    Case("C25", REALTIME, "        await self.close()\n", "        await self.interrupt()\n", "        await  self.close()\n"),
    Case("C26", CLIENT, "class Client(Protocol):", "class Client:", "class Client( Protocol):"),
    Case("C26", CLIENT, '        """Send audio."""\n\n\nclass', "        ...\n\n\nclass", '        """Send."""\n\n\nclass'),
    Case("C26", REALTIME, "client: Client | None = None", "client: object = None", 'client: "Client | None" = None', where=REALTIME),
    Case("C26", REALTIME, "client: Client | None = None", "client=None", "client: realtime.Client | None = None"),
    Case("R1", REALTIME, "    provider_name = ", "    provider = ", "    provider_name: str = "),
    Case("R1", REALTIME, "class Realtime(realtime.Realtime):", "class Realtime(realtime.Base):", "class Realtime(realtime.Realtime):  # Vision Agents'"),
    Case("R1", REALTIME, "super().__init__(", "super().start(", "super( ).__init__("),
    Case("R2", REALTIME, "        client: Client", "        clients: Client", "        client : Client"),
    Case("R3", REALTIME, "def _handle_events(", "def _read_events(", "def  _handle_events("),
    Case("R3", REALTIME, "async def close(", "async def end(", "async def  close("),
    Case("R4", REALTIME, "        self, *args: object, **kwargs", "        self, args: object, **kwargs", "        self, *args: object,  **kwargs"),
    Case("R4", REALTIME, "        self, *args: object, **kwargs: object\n    ) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:", "        self, *args: object, **kwargs: object\n    ) -> LLMResponseFinal:", "        self, *args: object, **kwargs: object\n    ) -> AsyncIterator[LLMResponseFinal | LLMResponseDelta]:"),
    Case("R5", REALTIME, "self.create_response(text)", "self._other(text)", "self.create_response( text)"),
    Case("R8", REALTIME, "    async def simple_audio_response(", "    async def audio_response(", "    async def  simple_audio_response("),
    Case("R10", REALTIME, "    def _normalize_message(", "    def _normalise(", "    def  _normalize_message("),
    Case("T3", "tests/test_nest.py", "    @pytest.mark.integration\n", "    # @pytest.mark.integration\n", "    @pytest.mark.integration\n    @pytest.mark.timeout(60)\n", where="tests/"),
    Case("T3", "tests/test_nest.py", "pytest.skip(", "print(", "pytest.skip(reason=", where="tests/"),
    Case("T3", "tests/test_nest.py", "    @pytest.mark.integration\n", "", "    async def test_first(self) -> None: ...\n\n    @pytest.mark.integration\n", where="tests/"),
    Case("T3", "tests/test_nest.py", "    @pytest.mark.integration\n    async def", "    async def", "    async def test_it(self) -> None: ...\n\n\nclass TestLive(contract.Live):\n    async def", where="tests/"),
    Case("T4", "pyproject.toml", "timeout = 60", 'timeout = 60\npythonpath = ["."]', "timeout = 60\n# no pythonpath"),
    Case("T7", "pyproject.toml", '"--strict-markers"', '"--strict-config"', '"--strict-config", "--strict-markers"'),
    Case("T7", "pyproject.toml", "timeout = 60\n", "timeout = 0\n", "timeout = 90\n"),
    Case("T7", "pyproject.toml", 'asyncio_mode = "auto"', 'asyncio_mode = "strict"', 'asyncio_mode="auto"'),
    Case("T7", "../../pytest.ini", "    --timeout=60\n", "", "    --timeout=90\n", "workspace"),
    Case("ruff", CLIENT, "import logging\n", "import logging\nimport os, = 1\n", "import logging  # all of it\n"),
    Case("format", CLIENT, "import os\n", "import  os\n", "import os  # the environment\n"),
]  # fmt: skip


class TestChangedFiles:
    @pytest.mark.parametrize("layout", ["standalone", "workspace"])
    def test_nothing_is_found_in_the_plugin_as_it_is(
        self, layout: str, make_plugin: MakePlugin
    ) -> None:
        found = check(make_plugin(layout), use=["ruff"])
        assert not found, as_text(found)

    @pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.path}")
    def test_a_violation_is_found(self, case: Case, make_plugin: MakePlugin) -> None:
        plugin = make_plugin(case.layout)
        case.change(plugin, case.plant)
        found = {(each.rule, each.path) for each in check(plugin, use=["ruff"])}
        assert (case.rule, case.where or case.path) in found, found

    @pytest.mark.parametrize(("layout", "length"), [("standalone", 100), ("workspace", 88)])
    def test_imports_are_as_long_as_the_folder_has_lines(
        self, layout: str, length: int, make_plugin: MakePlugin
    ) -> None:
        plugin = make_plugin(layout)
        names = ["first_long_name", "second_long_name", "third_long_name", "fourth_longer_name"]
        one_line = f"from .client import {', '.join(sorted(names))}"
        assert 88 < len(one_line) <= 100
        lines = [f"    {name}," for name in sorted(names)]
        wrapped = "\n".join(["from .client import (", *lines, ")"])
        text = f'"""Planted."""\n\n{{}}\n\nNAMES = ({", ".join(names)})\n'
        path = plugin / PACKAGE / "planted.py"
        path.write_text(text.format(one_line), encoding="utf-8")
        found = "C10" in {each.rule for each in check(plugin, use=["ruff"])}
        assert found == (length == 88)
        path.write_text(text.format(wrapped), encoding="utf-8")
        assert "C10" not in {each.rule for each in check(plugin, use=["ruff"])}

    def test_a_plugin_that_logs_no_step_is_found(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        for name in (REALTIME, CLIENT):
            text = (plugin / name).read_text(encoding="utf-8")
            (plugin / name).write_text(text.replace("logger.debug", "print"), encoding="utf-8")
        assert "C24" in {each.rule for each in check(plugin, use=[])}

    def test_close_may_release_in_a_method_that_it_calls(self, make_plugin: MakePlugin) -> None:
        plugin = make_plugin("standalone")
        text = (plugin / REALTIME).read_text(encoding="utf-8")
        release = "        try:\n            await self.interrupt()\n        finally:\n"
        assert release in text
        text = text.replace(
            f"{release}            await self.client.close()", "        await self._release()"
        )
        text += f"\n    async def _release(self) -> None:\n{release}            await self.client.close()\n"
        (plugin / REALTIME).write_text(text, encoding="utf-8")
        found = check(plugin, use=[])
        assert not found, as_text(found)

    @pytest.mark.parametrize(
        "case", [case for case in CASES if case.alike is not None], ids=lambda case: case.rule
    )
    def test_a_look_alike_is_not(self, case: Case, make_plugin: MakePlugin) -> None:
        plugin = make_plugin(case.layout)
        case.change(plugin, case.alike)
        found = check(plugin, use=[])
        assert not found, as_text(found)
