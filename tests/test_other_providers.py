"""Another provider is put in by editing the author's files alone, and the suite passes."""

import re
from pathlib import Path

import pytest
from filelock import FileLock

from bench.mutants import catalogue
from tests.generated import Generator, Plugin, run, state_of

PACKAGE = "vision_agents/plugins/acme"
SDK = '''

@dataclass(frozen=True)
class Voice:
    """The provider's SDK, as far as the plugin uses it."""

    api_key: ApiKey = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    connect_timeout_s: float = 10.0
    send_timeout_s: float = 5.0
    reconnect_delay_s: float = 0.25
    reconnect_max_delay_s: float = 5.0
    reconnect_attempts: int = 8

    def sessions(self) -> Client:
        """Return what opens sessions with these credentials."""
        return Client(
            self.api_key,
            self.base_url,
            connect_timeout_s=self.connect_timeout_s,
            send_timeout_s=self.send_timeout_s,
            reconnect_delay_s=self.reconnect_delay_s,
            reconnect_max_delay_s=self.reconnect_max_delay_s,
            reconnect_attempts=self.reconnect_attempts,
        )
'''

EDITS: dict[str, list[tuple[str, str]]] = {
    # Another path, a query of its own, another header, the model under another name; an SDK.
    f"{PACKAGE}/client.py": [
        ("wss://api.acme.example/v1/realtime", "wss://voice.acme.example/v2/chat?region=eu"),
        ('headers = {"Authorization": f"Bearer {key}"}', 'headers = {"xi-api-key": key}'),
        ('if "model" in dict', 'if "voice_model" in dict'),
        ('("model", model)', '("voice_model", model)'),
        ('-> "Client":', '-> "Voice":'),
        (
            "    client = Client(key, base_url if base_url is not None else DEFAULT_BASE_URL)\n",
            "    client = Voice(key, base_url if base_url is not None else DEFAULT_BASE_URL)\n"
            "    client.sessions()  # raises ValueError for bad arguments\n",
        ),
        ("from urllib.parse", "from dataclasses import dataclass, field\nfrom urllib.parse"),
        ("        return urlunsplit(url._replace(query=urlencode(query)))\n", f"        return urlunsplit(url._replace(query=urlencode(query)))\n{SDK}"),
    ],
    # Another model, other rates, another type of client.
    f"{PACKAGE}/acme_realtime.py": [
        ('DEFAULT_MODEL = "acme-realtime-1"', 'DEFAULT_MODEL = "voice-2"'),
        ("INPUT_SAMPLE_RATE = 24000", "INPUT_SAMPLE_RATE = 16000"),
        ("OUTPUT_SAMPLE_RATE = 24000", "OUTPUT_SAMPLE_RATE = 44100"),
        ("client: RealtimeClient | None = None", "client: Voice | None = None"),
        ("        self._call = Call(\n            self.client,", "        self._call = Call(\n            self.client.sessions(),"),
        ("from ._engine.connection import RealtimeClient\n", ""),
        ("from .client import build_client", "from .client import Voice, build_client"),
    ],
    f"{PACKAGE}/__init__.py": [
        ("from .client import Client", "from .client import Voice"),
        ('    "Client",\n', ""),
        ('    "ToolResult",\n', '    "ToolResult",\n    "Voice",\n'),
    ],
    # Another marker, and another model for transcripts.
    f"{PACKAGE}/wire.py": [
        ("TRANSCRIPTION_MODEL: str | None = None", 'TRANSCRIPTION_MODEL: str | None = "ears-1"'),
        ('CONTROL_MARKERS = ("<noise>",', 'CONTROL_MARKERS = ("(cough)", "<noise>",'),
    ],
    "tests/provider_double.py": [
        ('path = "/v1/realtime"', 'path = "/v2/chat"\n    query: ClassVar[Mapping[str, str]] = {"region": "eu"}'),
        ('return handshake.token("Bearer")', 'return handshake.headers.get("xi-api-key")'),
        ('handshake.query.get("model")', 'handshake.query.get("voice_model")'),
        ("client=acme.Client", "client=acme.Voice"),
        ("from pathlib import Path\n", "from collections.abc import Mapping\nfrom pathlib import Path\nfrom typing import ClassVar\n"),
    ],
    "tests/contract.toml": [
        ('wire = "reference"', 'wire = "compatible"'),
        ("input_rate = 24000", "input_rate = 16000"),
        ("output_rate = 24000", "output_rate = 44100"),
        ('control_markers = ["<noise>",', 'control_markers = ["(cough)", "<noise>",'),
        ("[waivers]\n", '[waivers]\n"test_convention_is_kept[C26]" = "the client is a class of the SDK"\n'),
    ],
    "tests/frames/client/Configure.json": [
        ('"transcription": {}', '"transcription": {"model": "ears-1"}'),
    ],
}  # fmt: skip
"""What the author of a plugin changes, by file."""


@pytest.fixture(scope="module")
def edited(generate: Generator, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """A plugin for a provider with another handshake, other rates and an SDK."""
    plugin = generate(tmp_path_factory.mktemp("edited"))
    for name, edits in EDITS.items():
        path = plugin.path / name
        text = path.read_text(encoding="utf-8")
        for old, new in edits:
            assert text.count(old) == 1, f"{name} has {text.count(old)} of {old!r}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    return plugin


class TestHandshakeRatesAndClient:
    """Path, header, query, default model, rates and the type of `client=` are the author's."""

    def test_engine_is_untouched(self, edited: Plugin, plugins: dict[str, Plugin]) -> None:
        before, after = (
            state_of(plugin.package / "_engine") for plugin in (plugins["default"], edited)
        )
        sources = {name for name in before if name.endswith(".py")}
        assert {name: after[name] for name in sources} == {name: before[name] for name in sources}

    def test_old_facts_stand_nowhere_else(self, edited: Plugin) -> None:
        """No other file of code contains what was changed."""
        stale = re.compile(r"acme-realtime-1|api\.acme\.example|Bearer")
        for path in edited.path.rglob("*.py"):
            found = stale.search(path.read_text(encoding="utf-8"))
            assert found is None or path.name == "acme_realtime.py", f"{path.name}: {found}"

    def test_types_are_right(self, edited: Plugin, python: Path, shared_folder: Path) -> None:
        with FileLock(shared_folder / "mypy.lock"):
            cache = str(shared_folder / "mypy_cache")
            run(python, "-m", "mypy", cwd=edited.path, MYPY_CACHE_DIR=cache)

    def test_every_contract_is_kept(self, edited: Plugin, python: Path) -> None:
        printed = run(
            *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--contract=strict"),
            cwd=edited.path,
            PYTHONPATH=str(edited.path),
        )
        assert ", 0 to do" in printed


class TestPlainWire:
    """Neither the engine nor the suite needs the OpenAI wire: both work with a different one."""

    def test_what_is_not_kept_is_excused_by_facts(
        self, plugins: dict[str, Plugin], python: Path
    ) -> None:
        """Nothing is to do and nothing waived: the facts excuse what the wire cannot do."""
        printed = run(
            *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "--contract=strict"),
            cwd=plugins["plain_wire"].path,
        )
        [line] = re.findall(r"contract: .*", printed)
        assert ", 0 waived, 0 to do" in line
        assert ", 0 excused" not in line


class TestUnlikeProvider:
    """Contracts that neither wire can be tested for are tested with a provider unlike both."""

    CONTRACTS = ("CN10", "EF7", "GP2", "GP3", "RS8", "RS9", "TL3")

    def test_its_contracts_are_met(
        self, generate: Generator, python: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Pings, keep-alives, a greeting that is awaited and dictates rates, own continuations."""
        plugin = generate(tmp_path_factory.mktemp("unlike"))
        catalogue.make_unlike(plugin.path)
        printed = run(
            *(python, "-m", "pytest", "-n0", "-p", "no:cacheprovider"),
            *("-k", " or ".join(f"test_{each.lower()}_" for each in self.CONTRACTS)),
            cwd=plugin.path,
            PYTHONPATH=str(plugin.path),
        )
        for contract in self.CONTRACTS:
            assert re.search(rf"^met .*\b{contract} ", printed, re.MULTILINE), printed
