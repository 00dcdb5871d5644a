"""Clients that others wrote hold a conversation with the embedded OpenAI provider.

Each runs in an environment of its own: `uv run --with`, the newest version that fits.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from realtime_testkit import protocol
from realtime_testkit.providers import openai

SCRIPTS = Path(__file__).parent / "scripts"
LIMIT_S = 120.0

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

CLIENTS = {
    "openai_sdk": ["openai[realtime]>=3.57"],
    "openai_agents": ["openai-agents"],
    "livekit_realtime": ["livekit-plugins-openai"],
    "pipecat_service": ["pipecat-ai[openai]"],
}

ALLOWED = {
    # Its RealtimeSession.interrupt() sends response.cancel whether or not the server has cancelled
    # the response at the start of the user's speech, and drops this error when it comes.
    "livekit_realtime": {"response_cancel_not_active"},
}


@dataclass(frozen=True)
class Run:
    """What a client reported, by step, and the provider it talked to."""

    steps: dict[str, dict[str, object]]
    provider: openai.Provider
    complaints: str


def published() -> ModuleType:
    """The published schema, from the tests beside these."""
    path = Path(__file__).parents[1] / "providers" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def outcome(client: str) -> Run:
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` sets UV
    assert uv is not None, "the clients are installed with uv: https://docs.astral.sh/uv/"
    command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
    for requirement in CLIENTS[client]:
        command += ["--with", requirement]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Installing takes as long as it takes; the limit is for the conversation.
    installing = await asyncio.create_subprocess_exec(*command, "python", "-c", "", env=environment)
    assert await installing.wait() == 0, "the environment cannot be installed"
    async with openai.Provider(pace=1.5) as provider:
        running = await asyncio.create_subprocess_exec(
            *command,
            "python",
            str(SCRIPTS / f"{client}.py"),
            provider.url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        reading = asyncio.create_task(running.communicate())
        await asyncio.wait([reading], timeout=LIMIT_S)
        if not reading.done():
            running.kill()
        output, complaints = await reading
        lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
        steps = {line["step"]: line for line in lines}
        return Run(steps, provider, complaints.decode(errors="replace"))


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_holds_a_whole_conversation(client: str) -> None:
    """Configuration, text, speech with both transcripts, a tool, a barge-in, a close; no error."""
    run = await outcome(client)
    steps = run.steps
    assert list(steps) == ["configure", "text", "speech", "tool", "barge-in", "after", "close"], (
        run.complaints
    )
    assert steps["text"]["said"] == "You said: Hello canary"
    assert str(steps["speech"]["heard"]).startswith("speech of")
    assert str(steps["speech"]["said"]).startswith("You said: speech of")
    assert "rain in Oslo" in str(steps["tool"]["said"])
    assert steps["barge-in"]["status"] == "cancelled"
    assert str(steps["after"]["said"]).startswith("You said: speech of")
    assert steps["close"]["errors"] == []

    [connection] = run.provider.connections
    assert connection.violations == []
    assert connection.close_code == 1000
    sent = [json.loads(frame) for frame in connection.sent]
    errors = {message["error"]["code"] for message in sent if message["type"] == "error"}
    assert errors <= ALLOWED.get(client, set())
    assert "conversation.item.truncated" in [message["type"] for message in sent]
    cancelled = [
        message["response"]["status_details"]["reason"]
        for message in sent
        if message["type"] == "response.done" and message["response"]["status"] == "cancelled"
    ]
    assert cancelled == ["turn_detected"]
    assert connection.received(protocol.TruncateItem)
    assert connection.received(protocol.AddToolResult)
    assert published().faults_of(connection) == []
