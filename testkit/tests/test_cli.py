"""The command `realtime-testkit`: what it prints, and one clear error for each bad argument."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from realtime_testkit.cli import main
from websockets.asyncio.client import connect

ACCOUNT = [
    {
        "folder": "acme",
        "wire": "own",
        "complete": True,
        "counts": {"met": 1, "excused": 1, "waived": 1, "to do": 1},
        "contracts": {
            "LC1": {
                "status": "met", "passed": 3, "frames": 0,
                "excused": {}, "waived": {}, "to_do": [], "loses": "calls",
            },
            "VD1": {
                "status": "excused", "passed": 0, "frames": 0,
                "excused": {"video = false": 2}, "waived": {}, "to_do": [], "loses": "video",
            },
            "TN6": {
                "status": "waived", "passed": 1, "frames": 0, "excused": {},
                "waived": {"test_tn6_it": "it keeps | no history"}, "to_do": [], "loses": "truth",
            },
            "CN4": {
                "status": "to do", "passed": 0, "frames": 0,
                "excused": {}, "waived": {}, "to_do": ["test_cn4_it"], "loses": "money",
            },
        },
        "problems": ["a waiver names no test"],
    }
]  # fmt: skip


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class TestHelp:
    def test_the_commands_are_listed(self) -> None:
        result = invoke("--help")
        assert result.exit_code == 0
        for command in ("provider", "conventions", "report"):
            assert re.search(rf"^  {command} +[A-Z]", result.output, re.MULTILINE)

    @pytest.mark.parametrize(
        ("command", "words"),
        [
            ("provider", ["openai", "plain", "--port", "--transport", "--scenario", "8765"]),
            ("conventions", ["PATH", "--format", "--no-mypy", "pyproject.toml"]),
            ("report", ["PATH", "--format", "--contract-report"]),
        ],
    )
    def test_each_command_says_what_it_takes(self, command: str, words: list[str]) -> None:
        printed = invoke(command, "--help").output
        assert not [word for word in words if word not in printed]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["provider", "gemini"], "'gemini' is not one of"),
            (["provider", "openai", "--port", "70000"], "70000 is not in the range"),
            (["provider", "openai", "--transport", "pigeon"], "'pigeon' is not one of"),
            (["provider", "openai", "--scenario", "missing.toml"], "missing.toml"),
            (["conventions", "missing"], "missing"),
            (["conventions", "."], "is not a plugin's folder"),
            (["report", "missing.json"], "missing.json"),
            (["report", "notes.txt"], "is no account"),
            (["report", "other.json"], "is no account"),
        ],
    )
    def test_a_bad_argument_is_one_error_that_names_it(
        self, arguments: list[str], said: str
    ) -> None:
        runner = CliRunner()
        with runner.isolated_filesystem():
            Path("notes.txt").write_text("notes", encoding="utf-8")
            Path("other.json").write_text('[{"folder": 1}]', encoding="utf-8")
            result = runner.invoke(main, arguments)
        assert result.exit_code == 2
        assert said in result.output
        assert result.output.count("Error:") == 1
        assert "Traceback" not in result.output


class TestConventions:
    @pytest.fixture
    def plugin(self, tmp_path: Path) -> Path:
        """An empty plugin."""
        package = tmp_path / "vision_agents" / "plugins" / "empty"
        package.mkdir(parents=True)
        (package / "empty.py").write_text('"""Empty."""\n', encoding="utf-8")
        return tmp_path

    def test_findings_are_printed_and_the_status_is_1(self, plugin: Path) -> None:
        result = invoke("conventions", plugin, "--no-mypy")
        assert result.exit_code == 1
        assert "P5  README.md, license, requires-python and URLs" in result.output
        assert "\n    README.md\n" in result.output

    def test_findings_are_printed_as_json(self, plugin: Path) -> None:
        result = invoke("conventions", plugin, "--no-mypy", "--format", "json")
        assert result.exit_code == 1
        assert {"P1", "P5", "T3"} <= {finding["rule"] for finding in json.loads(result.output)}

    def test_the_folder_is_the_current_one_by_default(
        self, plugin: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(plugin)
        result = invoke("conventions", "--no-mypy")
        assert result.exit_code == 1
        assert "P5" in result.output


class TestReport:
    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        path = tmp_path / "contract.json"
        path.write_text(json.dumps(ACCOUNT), encoding="utf-8")
        return path

    def test_the_table_has_a_line_for_each_contract(self, saved: Path) -> None:
        result = invoke("report", saved)
        assert result.exit_code == 0
        assert result.output.splitlines() == [
            "acme: 1 met, 1 excused, 1 waived, 1 to do",
            "  wrong: a waiver names no test",
            "  LC1   met        3 passed",
            "  VD1   excused              video = false (2)",
            "  TN6   waived     1 passed  test_tn6_it is waived: it keeps | no history",
            "  CN4   to do                to do: test_cn4_it",
        ]

    def test_markdown_has_a_row_for_each_contract(self, saved: Path) -> None:
        result = invoke("report", saved, "--format", "markdown")
        assert result.exit_code == 0
        assert "| LC1 | met | 3 |" in result.output
        assert "it keeps \\| no history" in result.output


class TestProvider:
    def test_a_scenario_that_is_none_is_one_error(self, tmp_path: Path) -> None:
        path = tmp_path / "scenario.toml"
        path.write_text("no scenario", encoding="utf-8")
        result = invoke("provider", "openai", "--port", "0", "--scenario", path)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert "scenario.toml" in result.output

    @pytest.mark.parametrize("transport", ["websocket", "webrtc"])
    def test_a_taken_port_is_one_error(self, transport: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = invoke("provider", "openai", "--port", port, "--transport", transport)
        assert result.exit_code == 1
        assert re.fullmatch(r"Error: .*in use.*\n", result.output)

    @pytest.mark.parametrize("kind", ["openai", "plain"])
    async def test_it_serves_until_it_is_interrupted(self, kind: str) -> None:
        """Its URL is printed first; a client can connect to it; Ctrl+C ends it with status 0."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "realtime_testkit", "provider", kind, "--port", "0"),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdout is not None
        url = None
        while url is None:
            line = (await process.stdout.readline()).decode()
            assert line, "it ended without printing its URL"
            url = re.search(r"ws://127\.0\.0\.1:\d+\S*", line)
        query = "&" if "?" in url[0] else "?"
        key = {"Authorization": "Bearer any"}
        async with connect(f"{url[0]}{query}model=any-1", additional_headers=key) as client:
            assert client.state.name == "OPEN"
        process.send_signal(signal.SIGINT)
        rest = (await process.stdout.read()).decode()
        assert await process.wait() == 0
        assert "Stopping." in rest
