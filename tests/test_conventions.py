"""Each of the house's rules is kept by something that runs.

For every rule a violation is planted into a generated plugin and has to be found, named
by the rule or by the tool's own code for it; and a look-alike, which has to pass.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.generated import Plugin

PACKAGE = "vision_agents/plugins/acme"
NEW = f"{PACKAGE}/planted.py"
TEST = "tests/test_planted.py"
REALTIME = f"{PACKAGE}/acme_realtime.py"
CLIENT = f"{PACKAGE}/client.py"
DOC = '"""Planted."""\n\n'


@dataclass(frozen=True)
class Case:
    """A violation of a rule, and something like it that is none.

    Attributes:
        tool: what has to find it: "ruff", "mypy", "conventions", or the file of a contract test.
        path: the file it goes into; a new one gets `plant`, an existing one has `find` replaced.
        says: what the tool's message must contain.
        of: the answer set whose plugin it is planted into.
    """

    rule: str
    tool: str
    path: str
    plant: str
    alike: str
    says: str
    find: str = ""
    of: str = "default"


def new(rule: str, tool: str, plant: str, alike: str, says: str, path: str = NEW) -> Case:
    """A case in a file of its own."""
    return Case(rule, tool, path, DOC + plant, DOC + alike, says)


CASES = [
    Case("P1", "conventions", "py.typed", "", "", "P1:"),
    Case("P2", "conventions", "vision_agents/plugins/__init__.py", "", "", "P2:"),
    Case(
        "P3",
        "conventions",
        "pyproject.toml",
        'name = "vision-agents-plugin-acme"',
        'name =  "vision-agents-plugins-acme"',
        "P3:",
        'name = "vision-agents-plugins-acme"',
    ),
    Case(
        "P4",
        "conventions",
        "pyproject.toml",
        'packages = ["."]',
        'packages = [ "vision_agents" ]',
        "P4:",
        'packages = ["vision_agents"]',
    ),
    Case("P5", "conventions", "pyproject.toml", "", 'readme= "README.md"', "P5:", 'readme = "README.md"'),
    Case(
        "P6",
        "conventions",
        "pyproject.toml",
        'build-backend = "setuptools.build_meta"',
        'build-backend= "hatchling.build"',
        "P6:",
        'build-backend = "hatchling.build"',
    ),
    Case(
        "P6",
        "conventions",
        "pyproject.toml",
        'dependencies = [\n    "vision-agents>=0.6",',
        'dependencies = [\n\n    "vision-agents",',
        "P6:",
        'dependencies = [\n    "vision-agents",',
        of="workspace",
    ),
    Case("P7", "conventions", f"{PACKAGE}/__init__.py", '__all__ = ["Client"', '__all__ = [ "Client", "Realtime"', "P7:", '__all__ = ["Client", "Realtime"'),
    Case("P8", "conventions", "README.md", "\n## Settings\n", "\n## Configuration\n\nAll of it.\n", "P8:", "\n## Configuration\n"),
    Case("P8", "conventions", "README.md", "| `sound` |", "| `voice`  |", "P8:", "| `voice` |"),
    Case("P9", "conventions", "example/.env.example", "KEY=", "ACME_API_KEY=secret", "P9:", "ACME_API_KEY="),
    Case("P10", "conventions", "../../pyproject.toml", "", "vision-agents-plugins-nest  = { workspace=true }\n", "P10:", "vision-agents-plugins-nest = { workspace = true }\n", of="workspace"),
    Case("P10", "conventions", "../../pyproject.toml", "", "    'plugins/n*',\n", "P10:", '    "plugins/nest",\n', of="workspace"),
    Case("P10", "conventions", "../../agents-core/pyproject.toml", "nest = []\n", 'Nest = ["vision-agents-plugins-nest"]\n', "P10:", 'nest = ["vision-agents-plugins-nest"]\n', of="workspace"),
    new("C1", "ruff", "from __future__ import annotations\n", 'NAME = "from __future__ import annotations"\n', "C1:"),
    new(
        "C2",
        "ruff",
        "\ndef read(path: str) -> str:\n    \"\"\"Read.\"\"\"\n    try:\n        return path[1]\n    except Exception:\n        return \"\"\n",
        "\ndef read(path: str) -> str:\n    \"\"\"Read.\"\"\"\n    try:\n        return path[1]\n    except IndexError:\n        return \"\"\n",
        "blind-except",
    ),
    new("C3", "conventions", 'NAME = getattr(1, "real")\n', 'NAME = {"getattr": 1}["getattr"]\n', "C3:"),
    new("C4", "ruff", "def read() -> str:\n    return \"\"\n", 'def read() -> str:\n    """Read."""\n    return ""\n', "undocumented-public-function"),
    new("C5", "conventions", "# ---- helpers ----\n", "# - helpers\n", "C5:"),
    new(
        "C6",
        "ruff",
        "import logging\n\nlogger = logging.getLogger(__name__)\ntry:\n    A = int(\"1\")\nexcept ValueError:\n    logger.error(\"no\")\n",
        "import logging\n\nlogger = logging.getLogger(__name__)\ntry:\n    A = int(\"1\")\nexcept ValueError:\n    logger.exception(\"no\")\n",
        "error-instead-of-exception",
    ),
    new(
        "C7",
        "ruff",
        'def read() -> str:\n    """Read."""\n    import os\n\n    return os.sep\n',
        'import os\n\n\ndef read() -> str:\n    """Read."""\n    return os.sep\n',
        "import-outside-top-level",
    ),
    new("C8", "conventions", "NAME: int = 1  # type: ignore[assignment]\n", "NAME: int = 1  # its type: ignored by nobody\n", "C8:"),
    new("C8", "conventions", "NAME = 1  # noqa: E501\n", "NAME = 1  # noqa: E501 - a table reads better so\n", "C8:"),
    new(
        "C9",
        "ruff",
        'from typing import Any\n\n\ndef read(value: Any) -> str:\n    """Read."""\n    return str(value)\n',
        'def read(value: object) -> str:\n    """Read."""\n    return str(value)\n',
        "any-type",
    ),
    new("C10", "ruff", "import os\nimport asyncio\n\nNAMES = (os.sep, asyncio)\n", "import asyncio\nimport os\n\nNAMES = (os.sep, asyncio)\n", "unsorted-imports"),
    new(
        "C11",
        "ruff",
        "from websockets.asyncio.client import _hidden\n\nNAME = _hidden\n",
        "from websockets.asyncio.client import connect\n\nNAME = connect\n",
        "import-private-name",
    ),
    new("C12", "ruff", 'def readAll() -> str:\n    """Read."""\n    return ""\n', 'def read_all() -> str:\n    """Read."""\n    return ""\n', "invalid-function-name"),
    new("C13", "ruff", 'def read(a):\n    """Read."""\n    return a\n', 'def read(a: int | None) -> int | None:\n    """Read."""\n    return a\n', "missing-type-function-argument"),
    new(
        "C13",
        "mypy",
        'def read(a: int) -> str:\n    """Read."""\n    return a\n',
        'def read(a: int) -> str:\n    """Read."""\n    return str(a)\n',
        "Incompatible return value type",
    ),
    new(
        "C14",
        "conventions",
        'import logging\n\nlog = logging.getLogger("acme")\n',
        "import logging\n\nlogger = logging.getLogger(__name__)\n",
        "C14:",
    ),
    new(
        "C15",
        "conventions",
        'import logging\n\nlogger = logging.getLogger(__name__)\n\n\nasync def send_audio(data: bytes) -> None:\n    """Send."""\n    logger.debug("%s", data)\n',
        'import logging\n\nlogger = logging.getLogger(__name__)\n\n\nasync def send_audio(data: bytes) -> None:\n    """Send."""\n    if logger.isEnabledFor(logging.DEBUG):\n        logger.debug("%s", data)\n',
        "C15:",
    ),
    Case("C16", "test_construct.py -k ct3", REALTIME, "if fps < -9:", "if not fps > 0:", "ct3", "if fps <= 0:"),
    Case("C17", "conventions", REALTIME, "    def interrupt(self)", "    async def  interrupt(self)", "C17:", "    async def interrupt(self)"),
    new(
        "C18",
        "conventions",
        'class Reader:\n    """Reads."""\n\n    def _open(self) -> None: ...\n\n    def read(self) -> None:\n        """Read."""\n',
        'class Reader:\n    """Reads."""\n\n    def read(self) -> None:\n        """Read."""\n\n    def _open(self) -> None: ...\n',
        "C18:",
    ),
    new("C19", "ruff", "import numpy\n\nZERO = numpy.zeros(1)\n", 'ZERO = "numpy"\n', "C19:"),
    new(
        "C19",
        "conventions",
        'from getstream.video.rtc.track_util import PcmData\n\n\ndef loud(pcm: PcmData) -> object:\n    """Loud."""\n    return pcm.samples * 2\n',
        'from getstream.video.rtc.track_util import PcmData\n\n\ndef loud(pcm: PcmData) -> bytes:\n    """Loud."""\n    return pcm.to_bytes()\n',
        "C19:",
    ),
    Case(
        "C20",
        "test_construct.py -k ct1",
        REALTIME,
        "self.client = build_client(api_key or 'k', base_url)",
        "self.client = build_client(api_key, base_url) if client is None else client",
        "ct1",
        "self.client = client if client is not None else build_client(api_key, base_url)",
    ),
    Case("C21", "conventions", REALTIME, "        tone: str | None = None,", "        voice: str|None = None,", "C21", "        voice: str | None = None,"),
    new(
        "C22",
        "ruff",
        'import time\n\n\nasync def rest() -> None:\n    """Rest."""\n    time.sleep(1)\n',
        'import asyncio\n\n\nasync def rest() -> None:\n    """Rest."""\n    await asyncio.sleep(1)\n',
        "blocking-sleep-in-async-function",
    ),
    new(
        "C23",
        "conventions",
        'import av\n\n\ndef picture(frame: av.VideoFrame) -> object:\n    """Picture."""\n    return frame.to_ndarray()\n',
        'import av\n\n\ndef picture(frame: av.VideoFrame) -> object:\n    """Picture."""\n    return frame.to_ndarray(format="rgb24")\n',
        "C23:",
    ),
    Case("R1", "conventions", REALTIME, "    provider = ", "    provider_name  = ", "R1:", "    provider_name = "),
    Case("R2", "conventions", REALTIME, "        clients: Client", "        client : Client", "R2:", "        client: Client"),
    Case("R3", "conventions", REALTIME, "def _read_events(", "def  _handle_events(", "R3", "def _handle_events("),
    Case("R4", "conventions", REALTIME, "self, *, args: object, **kwargs", "self, *args: object,  **kwargs", "R4:", "        self, *args: object, **kwargs"),
    Case("R5", "conventions", REALTIME, "self._other(text)", "self.create_response( text)", "R5:", "self.create_response(text)"),
    Case("R6", "test_session.py -k se1", REALTIME, "instructions='',", "instructions=(self._instructions),", "se1", "instructions=self._instructions,"),
    Case("R7", "test_native.py -k nt3", f"{PACKAGE}/turns.py", "sequence_number=0,", "sequence_number=-1 + self.count,", "nt3", "sequence_number=self.count - 1,"),
    Case("R8", "test_audio_out.py -k ao1", REALTIME, "PcmData.from_bytes(data, 48000)", "PcmData.from_bytes( data, session.output_rate or OUTPUT_SAMPLE_RATE)", "ao1", "PcmData.from_bytes(data, session.output_rate or OUTPUT_SAMPLE_RATE)"),
    Case("R9", "test_transcripts.py -k tr1", REALTIME, "        if text and not text:\n            self._said", "        if len(text) > 0:\n            self._said", "tr1", "        if text:\n            self._said"),
    Case("R10", "test_messages.py -k ms1", f"{PACKAGE}/messages.py", 'case {"contents": content', 'case  {"content": content', "ms1", 'case {"content": content'),
    new("T1", "ruff", "from unittest.mock import Mock\n\nNAME = Mock()\n", 'NAME = "unittest.mock"\n', "T1:", TEST),
    new(
        "T1",
        "conventions",
        "import pytest\n\n\nclass TestIt:\n    def test_it(self, monkeypatch: pytest.MonkeyPatch) -> None:\n        monkeypatch.setattr(\"os.sep\", \"x\")\n",
        "import pytest\n\n\nclass TestIt:\n    def test_it(self, monkeypatch: pytest.MonkeyPatch) -> None:\n        monkeypatch.setenv(\"A\", \"x\")\n",
        "T1:",
        TEST,
    ),
    new(
        "T2",
        "conventions",
        "import pytest\n\n\nclass TestIt:\n    @pytest.mark.asyncio\n    async def test_it(self) -> None: ...\n",
        "import pytest\n\n\nclass TestIt:\n    @pytest.mark.integration\n    async def test_it(self) -> None: ...\n",
        "T2:",
        TEST,
    ),
    Case("T3", "conventions", "tests/test_acme_realtime.py", "@pytest.mark.usefixtures()", "@pytest.mark.integration()", "T3:", "@pytest.mark.integration"),
    new("T4", "ruff", "import sys\n\nsys.path.append(\".\")\n", "import sys\n\nNAME = sys.argv\n", "T4:", TEST),
    new("T5", "conventions", "def test_it() -> None: ...\n", "def tested() -> None: ...\n", "T5:", TEST),
    new("T6", "conventions", "class TestIt:\n    def test_it(self, mocker: object) -> None: ...\n", "class TestIt:\n    def test_it(self, maker: object) -> None: ...\n", "T1:", TEST),
    Case("T7", "conventions", "pytest.ini", "--strict-config", " --strict-markers", "T7:", "--strict-markers"),
]  # fmt: skip


@pytest.fixture
def plugin_copy(case: Case, plugins: dict[str, Plugin], tmp_path: Path) -> Path:
    """A plugin to plant things into, and the monorepo around it if it is in one."""
    plugin = plugins[case.of]
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "uv.lock")
    if plugin.standalone:
        return Path(shutil.copytree(plugin.path, tmp_path / "acme", ignore=ignored))
    house = shutil.copytree(plugin.path.parents[1], tmp_path / "house", ignore=ignored)
    return Path(house, "plugins", plugin.slug)


def _write(plugin: Path, case: Case, text: str) -> None:
    path = plugin / case.path
    if not case.find:
        if text or not path.exists():
            path.write_text(text)
        else:
            path.unlink()
        return
    before = path.read_text()
    assert case.find in before, f"{case.rule}: {case.path} has no {case.find!r} any more"
    path.write_text(before.replace(case.find, text, 1))


def _findings(plugin: Path, case: Case, python: Path) -> tuple[int, str]:
    command = {
        "ruff": ["-m", "ruff", "check", "--no-cache", "--output-format=concise", case.path],
        "mypy": ["-m", "mypy", "--follow-imports=silent", case.path],
        "conventions": ["-m", "pytest", "-q", "tests/test_conventions.py"],
    }.get(case.tool, ["-m", "pytest", "-q", *f"tests/contract/{case.tool}".split(" ")])
    done = subprocess.run(
        [python, *command],
        cwd=plugin,
        env={"PYTHONPATH": str(plugin), "PATH": str(python.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.tool.split()[0]}")
class TestConventions:
    def test_a_violation_is_found(self, case: Case, plugin_copy: Path, python: Path) -> None:
        _write(plugin_copy, case, case.plant)
        code, printed = _findings(plugin_copy, case, python)
        assert code != 0, f"{case.rule}: {case.tool} did not find it"
        assert case.says in printed, printed[-3000:]

    def test_a_look_alike_passes(self, case: Case, plugin_copy: Path, python: Path) -> None:
        if case.alike:
            _write(plugin_copy, case, case.alike)
        code, printed = _findings(plugin_copy, case, python)
        assert code == 0, printed[-3000:]


def test_every_rule_has_a_case() -> None:
    wanted = {
        *(f"P{number}" for number in range(1, 11)),
        *(f"C{number}" for number in range(1, 24)),
        *(f"R{number}" for number in range(1, 11)),
        *(f"T{number}" for number in range(1, 8)),
    }
    assert {case.rule for case in CASES} == wanted
