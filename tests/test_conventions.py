"""Each of the house's rules is kept by something that runs.

For every rule violations are planted into a generated plugin and have to be found, named by the
rule; and look-alikes, which have to pass. planted.toml has those that are code; here are those
that change the plugin's own files.
"""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.generated import ROOT, Plugin

PLANTED = tomllib.loads((ROOT / "tests" / "planted.toml").read_text(encoding="utf-8"))
RULES = (
    *(f"P{number}" for number in range(1, 11)),
    *(f"C{number}" for number in range(1, 24)),
    *(f"R{number}" for number in range(1, 11)),
    *(f"T{number}" for number in range(1, 8)),
)
PACKAGE = "vision_agents/plugins/acme"
REALTIME = f"{PACKAGE}/acme_realtime.py"


@dataclass(frozen=True)
class Case:
    """A violation of a rule, and something like it that is none.

    Attributes:
        path: the file it goes into.
        find: what is replaced in it; without, the file is written, or deleted where `plant` is None.
        contract: what has to find it, as pytest takes it; without, the plugin's test_conventions.py.
        of: the answer set whose plugin it is planted into.
    """

    rule: str
    path: str
    find: str
    plant: str | None
    alike: str
    contract: str = ""
    of: str = "default"

    def meets(self, other: "Case") -> bool:
        """Whether the two change the same place."""
        same = self.find == other.find or not self.find or not other.find
        return self.of != other.of or (self.path == other.path and same)


CASES = [
    Case("P1", "py.typed", "", None, ""),
    Case("P1", "README.md", "", None, ""),
    Case("P2", "vision_agents/plugins/__init__.py", "", "", ""),
    Case("P2", "vision_agents/__init__.py", "", "", ""),
    Case("P3", "pyproject.toml", 'name = "vision-agents-plugins-acme"', 'name = "vision-agents-plugin-acme"', 'name =  "vision-agents-plugins-acme"'),
    Case("P3", "pyproject.toml", 'name = "vision-agents-plugins-acme"', 'name = "vision_agents_plugins_acme"', 'name = "vision-agents-plugins-acme" # by rule'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["."]', 'packages = [ "vision_agents" ]'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["vision_agents", "tests"]', 'packages = [\n    "vision_agents",\n]'),
    Case("P4", "pyproject.toml", 'packages = ["vision_agents"]', 'packages = ["vision_agents"]\nforce-include = {"README.md" = "README.md"}', 'packages = ["vision_agents"] # no README.md'),
    Case("P4", f"{PACKAGE}/py.typed", "", None, ""),
    Case("P5", "pyproject.toml", 'readme = "README.md"', "", 'readme= "README.md"'),
    Case("P5", "pyproject.toml", "Website =", "Site =", "Website  ="),
    Case("P6", "pyproject.toml", 'build-backend = "hatchling.build"', 'build-backend = "setuptools.build_meta"', 'build-backend= "hatchling.build"'),
    Case("P6", "pyproject.toml", 'dependencies = [\n    "vision-agents",', 'dependencies = [\n    "vision-agents>=0.6",', 'dependencies = [\n\n    "vision-agents",', of="workspace"),
    Case("P10", "../../pyproject.toml", "vision-agents-plugins-nest = { workspace = true }\n", "", "vision-agents-plugins-nest  = { workspace=true }\n", of="workspace"),
    Case("P10", "../../pyproject.toml", '    "plugins/nest",\n', "", "    'plugins/n*',\n", of="workspace"),
    Case("P10", "../../agents-core/pyproject.toml", 'nest = ["vision-agents-plugins-nest"]\n', "nest = []\n", 'Nest = ["vision-agents-plugins-nest"]\n', of="workspace"),
    Case("P7", f"{PACKAGE}/__init__.py", '__all__ = ["Client", "Realtime"', '__all__ = ["Client"', '__all__: list[str] = ["Client", "Realtime"'),
    Case("P8", "README.md", "\n## Configuration\n", "\n## Settings\n", "\n## Configuration\n\nAll of it.\n"),
    Case("P8", "README.md", "\n## Usage\n", "\n```\n## Usage\n```\n", "\n```\n## Use\n```\n\n## Usage\n"),
    Case("P8", "README.md", "\n## Features\n", "\n## Usage\n\n## Features\n", "\n## Used by\n\nMany.\n\n## Features\n"),
    Case("P8", "README.md", "# Acme for Vision Agents\n", "Acme for Vision Agents\n", "# Acme, for Vision Agents\n"),
    Case("P8", "README.md", "uv add ", "pip install ", "uv  add --quiet x\nuv add "),
    Case("P8", "README.md", "| `voice` |", "| `sound` |", "| `voice`  |"),
    Case("P8", "README.md", "| `voice` | `None` | the provider's voice; else its default |\n", "", "| `voice` | `None` | a voice |\n"),
    Case("P8", "README.md", "| `voice` |", "| `pitch` | `1` | gone |\n| `voice` |", "| `voice` |"),
    Case("P8", "README.md", "| `input_audio_pacing` |", "| `input_audio_pacing` | `None` | as below |\n| `gone` |", "|  `input_audio_pacing` |"),
    Case("P9", "example/.env.example", "ACME_API_KEY=", "KEY=", "ACME_API_KEY=secret"),
    Case("P9", "example/.env.example", "STREAM_API_SECRET=", "# STREAM_API_SECRET is not needed", "STREAM_API_SECRET= # yours"),
    Case("P9", "example/acme_realtime_example.py", "load_dotenv()\n", "load_dotenv()\n\nOTHER = 'OTHER_API_KEY'\n", "load_dotenv()\n\nOTHER = \"OTHER_API\"\n"),
    Case("P9", "example/acme_realtime_example.py", "Runner(AgentLauncher(create_agent=create_agent, join_call=join_call)).cli()", "Runner(create_agent)  # AgentLauncher()", "Runner(\n        AgentLauncher(\n            create_agent=create_agent,\n            join_call=join_call,\n        )\n    ).cli()"),
    Case("P9", "example/pyproject.toml", "", None, ""),
    Case("C16", REALTIME, "if fps <= 0:", "if fps < -9:", "if not fps > 0:", "test_construct.py -k ct3"),
    Case("C17", REALTIME, "    async def interrupt(self)", "    def interrupt(self)", "    async def interrupt(self, *, now: bool = True)"),
    Case("C17", REALTIME, "                    await self._send_rest(self._session)\n            finally:\n                try:\n                    await self._stop_tasks()\n                finally:\n                    await self._release()", "                    await self._send_rest(self._session)\n            except ValueError:\n                await self._release()\n            await self._stop_tasks()", "                    await self._send_rest(self._session)\n            finally:\n                try:\n                    await self._stop_tasks()\n                finally:\n                    # The session, too.\n                    await self._release()"),
    Case("C20", REALTIME, "self.client = client if client is not None else build_client(api_key, base_url)", "self.client = build_client(api_key or 'k', base_url)", "self.client = build_client(api_key, base_url) if client is None else client", "test_construct.py -k ct1"),
    Case("C21", REALTIME, "        voice: str | None = None,", "        tone: str | None = None,", '        voice: str = "one",'),
    Case("C21", REALTIME, "        voice: str | None = None,", "        voice: str | None,", '        voice: str | None = "one",'),
    Case("R1", REALTIME, "    provider_name = ", "    provider = ", "    provider_name: str = "),
    Case("R1", REALTIME, "class Realtime(realtime.Realtime):", "class Realtime(realtime.Base):", "class Realtime(realtime.Realtime):  # the house's"),
    Case("R1", REALTIME, "super().__init__(fps=fps,", "super().start(fps=fps,", "super().__init__( fps=fps,"),
    Case("R2", REALTIME, "        client: Client", "        clients: Client", "        client : Client"),
    Case("R3", REALTIME, "def _handle_events(", "def _read_events(", "def  _handle_events("),
    Case("R3", REALTIME, "async def close(", "async def end(", "async def  close("),
    Case("R4", REALTIME, "        self, *args: object, **kwargs", "        self, args: object, **kwargs", "        self, *args: object,  **kwargs"),
    Case("R4", REALTIME, "        self, *args: object, **kwargs: object\n    ) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:", "        self, *args: object, **kwargs: object\n    ) -> LLMResponseFinal:", "        self, *args: object, **kwargs: object\n    ) -> AsyncGenerator[LLMResponseFinal | LLMResponseDelta, None]:"),
    Case("R5", REALTIME, "self.create_response(text)", "self._other(text)", "self.create_response( text)"),
    Case("R6", REALTIME, "instructions=self._instructions,", "instructions='',", "instructions=(self._instructions),", "test_session.py -k se1"),
    Case("R7", f"{PACKAGE}/turns.py", "sequence_number=self.count - 1,", "sequence_number=0,", "sequence_number=-1 + self.count,", "test_native.py -k nt3"),
    Case("R8", REALTIME, "PcmData.from_bytes(data, session.output_rate or OUTPUT_SAMPLE_RATE)", "PcmData.from_bytes(data, 48000)", "PcmData.from_bytes( data, session.output_rate or OUTPUT_SAMPLE_RATE)", "test_audio_out.py -k ao1"),
    Case("R8", REALTIME, "    async def simple_audio_response(", "    async def audio_response(", "    async def  simple_audio_response("),
    Case("R9", REALTIME, "        if text:\n            self._keep", "        if text and not text:\n            self._keep", "        if len(text) > 0:\n            self._keep", "test_transcripts.py -k tr1"),
    Case("R10", f"{PACKAGE}/messages.py", 'case {"content": content', 'case {"contents": content', 'case  {"content": content', "test_messages.py -k ms1"),
    Case("R10", REALTIME, "    def _normalize_message(", "    def _normalise(", "    def  _normalize_message("),
    Case("T3", "tests/test_acme_realtime.py", "    @pytest.mark.integration\n", "    # @pytest.mark.integration\n", "    @pytest.mark.integration\n    @pytest.mark.timeout(60)\n"),
    Case("T3", "tests/test_acme_realtime.py", "pytest.skip(", "print(", 'pytest.skip(reason='),
    Case("T4", "pytest.ini", "asyncio_mode = auto", "asyncio_mode = auto\npythonpath = .", "asyncio_mode = auto\n# no pythonpath"),
    Case("T7", "pytest.ini", "--strict-markers", "--strict-config", " --strict-markers"),
    Case("T7", "pytest.ini", "timeout = 60\n", "timeout = 0\n", "timeout = 90\n"),
    Case("T7", "pytest.ini", "asyncio_mode = auto", "asyncio_mode = strict", "asyncio_mode=auto"),
]  # fmt: skip


Copies = Callable[[str], Path]


@pytest.fixture(scope="module")
def copies(plugins: dict[str, Plugin], tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Makes a plugin to plant something into, by its answer set; a member with its monorepo."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "uv.lock")

    def copy(answers: str) -> Path:
        plugin = plugins[answers]
        root = plugin.path if plugin.standalone else plugin.path.parents[1]
        target = tmp_path_factory.mktemp("planted") / "root"
        shutil.copytree(root, target, ignore=ignored)
        return target / plugin.path.relative_to(root)

    return copy


# What the plugin's test_conventions.py adds when it is run by itself.
WITH_TOOLS = ("-o", "python_classes=Test Tools", "-o", "python_functions=test check")


def check(plugin: Path, python: Path, *arguments: str) -> str:
    """Run tests of the plugin's and return what they say."""
    done = subprocess.run(
        [python, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *WITH_TOOLS, *arguments],
        cwd=plugin,
        env=os.environ | {"PYTHONPATH": str(plugin)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.stdout


def findings(printed: str) -> dict[str, set[tuple[str, int]]]:
    """By file: the rule and the line of each finding that also says the way out."""
    found = defaultdict(set)
    for line in printed.splitlines():
        if match := re.match(r"(ruff|doors|[PCRT]\d+) (\S+?):(\d+): .*\w{3}", line):
            found[match[2]].add((match[1], int(match[3])))
    return found


@pytest.fixture(scope="module")
def found(copies: Copies, python: Path) -> dict[str, set[tuple[str, int]]]:
    """What the plugin's own checks say when all of planted.toml is in it."""
    plugin = copies("default")
    for rule, kind, number, text in TestPlantedCode.texts():
        path = plugin / TestPlantedCode.path(rule, kind, number)
        path.write_text(f'"""Planted."""\n{text.replace("§", "")}', encoding="utf-8")
    return findings(check(plugin, python, "tests/test_conventions.py"))


class TestPlantedCode:
    @staticmethod
    def texts() -> list[tuple[str, str, int, str]]:
        return [
            (rule, kind, number, f"\n{text}")
            for rule, kinds in PLANTED.items()
            for kind, texts in kinds.items()
            for number, text in enumerate(texts)
        ]

    @staticmethod
    def path(rule: str, kind: str, number: int) -> str:
        name = f"{kind}_{rule.lower()}_{number}.py"
        return f"tests/test_{name}" if rule[0] == "T" else f"{PACKAGE}/{name}"

    @pytest.mark.parametrize("rule", PLANTED)
    def test_each_violation_is_found(
        self, rule: str, found: dict[str, set[tuple[str, int]]]
    ) -> None:
        missed = [
            text
            for of, kind, number, text in self.texts()
            if of == rule and kind == "violations"
            if (rule, text[: text.index("§")].count("\n") + 2)
            not in found[self.path(of, kind, number)]
        ]
        assert not missed, "\n".join(missed)

    @pytest.mark.parametrize("rule", PLANTED)
    def test_no_look_alike_is_flagged(
        self, rule: str, found: dict[str, set[tuple[str, int]]]
    ) -> None:
        flagged = [
            f"{found[self.path(of, kind, number)]}{text}"
            for of, kind, number, text in self.texts()
            if of == rule and kind == "look_alikes"
            if found[self.path(of, kind, number)]
        ]
        assert not flagged, "\n".join(flagged)


def batches(cases: list[Case]) -> list[list[Case]]:
    """Cases that go into one plugin together: one of each rule, no two at one place."""
    found: list[list[Case]] = []
    for case in cases:
        for batch in found:
            if not any(each.rule == case.rule or each.meets(case) for each in batch):
                batch.append(case)
                break
        else:
            found.append([case])
    return found


def change(plugin: Path, case: Case, text: str | None) -> None:
    path = plugin / case.path
    if text is None:
        path.unlink()
    elif not case.find:
        path.write_text(text, encoding="utf-8")
    else:
        before = path.read_text(encoding="utf-8")
        assert case.find in before, f"{case.rule}: {case.path} has no {case.find!r} any more"
        path.write_text(before.replace(case.find, text, 1), encoding="utf-8")


class TestChangedFiles:
    BATCHES = batches([case for case in CASES if not case.contract])
    # A change may leave a name undefined, or a space.
    CHECK = ("tests/test_conventions.py", "-k", "not mypy and not format")

    @pytest.mark.parametrize("batch", BATCHES, ids=range(len(BATCHES)))
    def test_violations_are_found(self, batch: list[Case], copies: Copies, python: Path) -> None:
        plugin = copies(batch[0].of)
        for case in batch:
            change(plugin, case, case.plant)
        printed = check(plugin, python, *self.CHECK)
        for case in batch:
            folder = case.path.partition("/")[0]
            line = rf"^{case.rule} ({re.escape(case.path)}|{folder}/).*: .*\w{{3}}"
            assert re.search(line, printed, re.MULTILINE), f"{case}\n{printed}"

    @pytest.mark.parametrize("batch", BATCHES, ids=range(len(BATCHES)))
    def test_look_alikes_pass(self, batch: list[Case], copies: Copies, python: Path) -> None:
        plugin = copies(batch[0].of)
        for case in batch:
            if case.alike:
                change(plugin, case, case.alike)
        printed = check(plugin, python, *self.CHECK)
        assert " passed" in printed
        assert " failed" not in printed, printed

    @pytest.mark.parametrize(
        "case", [case for case in CASES if case.contract], ids=lambda case: case.rule
    )
    def test_a_contract_finds_the_violation_only(
        self, case: Case, copies: Copies, python: Path
    ) -> None:
        plugin = copies(case.of)
        tests = f"tests/contract/{case.contract}".split(" ")
        before = (plugin / case.path).read_text(encoding="utf-8")
        change(plugin, case, case.plant)
        printed = check(plugin, python, *tests)
        named = rf"^Look at .*\(rule {case.rule}\)\.$"
        assert re.search(named, printed, re.MULTILINE), printed

        (plugin / case.path).write_text(before, encoding="utf-8")
        change(plugin, case, case.alike)
        printed = check(plugin, python, *tests)
        assert " passed" in printed
        assert " failed" not in printed, printed


class TestDocumentation:
    """docs/conventions.md says of each rule what keeps it, and what it says."""

    @pytest.fixture
    def rows(self) -> dict[str, tuple[str, str]]:
        text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
        found = re.findall(r"^\| ([PCRT]\d+) \|.*?\| (.*?) \| (.*) \|$", text, re.MULTILINE)
        assert [rule for rule, _, _ in found] == list(RULES)
        return {rule: (keeper, says) for rule, keeper, says in found}

    @pytest.fixture
    def checker(self, plugins: dict[str, Plugin]) -> ast.Module:
        # That of a monorepo's member has all of them.
        path = plugins["workspace"].path / "tests" / "test_conventions.py"
        return ast.parse(path.read_text(encoding="utf-8"))

    @pytest.fixture
    def contracts(self, plugins: dict[str, Plugin]) -> dict[str, dict[str, str]]:
        path = plugins["default"].path / "tests" / "contract" / "catalogue.toml"
        return tomllib.loads(path.read_text(encoding="utf-8"))

    @staticmethod
    def table(checker: ast.Module, name: str) -> dict[str, str]:
        """A constant of the plugin's test_conventions.py."""
        [found] = [
            ast.literal_eval(node.value)
            for node in checker.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
        ]
        return dict(found)

    def test_each_rule_is_planted(self) -> None:
        assert {*PLANTED, *(case.rule for case in CASES)} == {*RULES}

    def test_it_says_what_the_plugin_says(
        self,
        rows: dict[str, tuple[str, str]],
        checker: ast.Module,
        contracts: dict[str, dict[str, str]],
    ) -> None:
        ways_out = self.table(checker, "WAY_OUT")
        for rule, (keeper, says) in rows.items():
            if rule in ways_out:
                assert says == ways_out[rule].replace("|", "\\|"), rule
            else:
                [first, *_] = re.findall(r"\b[A-Z]{2}\d\b", keeper)
                assert says == contracts[first]["loses"], rule

    def test_it_names_what_keeps_a_rule(
        self,
        rows: dict[str, tuple[str, str]],
        checker: ast.Module,
        contracts: dict[str, dict[str, str]],
        plugins: dict[str, Plugin],
    ) -> None:
        codes = self.table(checker, "RUFF")
        checks = " ".join(n.name for n in ast.walk(checker) if isinstance(n, ast.FunctionDef))
        root = plugins["default"].path
        bans = [root / "ruff.toml", root / "vision_agents" / "ruff.toml"]
        banned = "".join(path.read_text(encoding="utf-8") for path in bans)
        for rule in RULES:
            keeper, _ = rows[rule]
            named = set(re.findall(r"`([A-Z]+\d*)`", keeper))
            wanted = {*codes.get(rule, ()), *(["TID251"] if f'"{rule}: ' in banned else [])}
            assert named == wanted, f"{rule}: ruff's {wanted}"
            assert ("check" in keeper) == (f"_{rule.lower()}_" in checks), f"{rule}: check"
            assert ("mypy" in keeper) == (rule == "C13"), rule
            kept = {each for each, entry in contracts.items() if entry.get("rule") == rule}
            assert set(re.findall(r"\b[A-Z]{2}\d\b", keeper)) == kept, f"{rule}: contracts {kept}"

    def test_the_package_repeats_what_is_banned_everywhere(
        self, plugins: dict[str, Plugin]
    ) -> None:
        """Ruff takes one table or the other."""
        root = plugins["default"].path
        everywhere = tomllib.loads((root / "ruff.toml").read_text(encoding="utf-8"))
        package = tomllib.loads((root / "vision_agents/ruff.toml").read_text(encoding="utf-8"))
        bans = everywhere["lint"]["flake8-tidy-imports"]["banned-api"]
        assert bans.items() <= package["lint"]["flake8-tidy-imports"]["banned-api"].items()
