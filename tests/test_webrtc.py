"""A plugin holds the code of its own transport, and none of the other."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.generated import Plugin, run

NOTHING_OF_WEBRTC = re.compile(
    r"(?i)\bimport (aiohttp|aioice)\b|\bfrom (aiohttp|aioice)\b|\bsdp\b|\bice\b|RTCPeerConnection"
)
NOTHING_OF_WEBSOCKET = re.compile(r"websockets\.asyncio|\bopen_websocket\b")


@pytest.mark.parametrize("name", ["default", "video", "plain_wire"])
def test_plugin_over_websocket_holds_nothing_of_webrtc(
    plugins: dict[str, Plugin], name: str
) -> None:
    for path in plugins[name].package.rglob("*.py"):
        found = NOTHING_OF_WEBRTC.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found}"
    for module in ("peer", "playout", "signaling", "tracks", "webrtc"):
        assert not (plugins[name].package / "_engine" / f"{module}.py").exists()
    project = (plugins[name].path / "pyproject.toml").read_text(encoding="utf-8")
    assert "aiohttp" not in project


@pytest.mark.parametrize("name", ["webrtc", "webrtc_video"])
def test_plugin_over_webrtc_opens_no_websocket(plugins: dict[str, Plugin], name: str) -> None:
    for path in plugins[name].package.rglob("*.py"):
        found = NOTHING_OF_WEBSOCKET.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found}"
    assert not (plugins[name].package / "_engine" / "websocket.py").exists()


OVER_A_NARROW_PATH = """
import asyncio
from realtime_testkit.providers import openai
from vision_agents.plugins import {slug}

async def main():
    async with openai.WebRTCProvider() as provider:
        llm = {slug}.Realtime(api_key="any", base_url=provider.url)
        llm.set_instructions("Be kind. " * 4000)  # 36 kB, in one message
        async with llm, asyncio.timeout(20):
            *_, final = [item async for item in llm.simple_response("Good morning")]
            print(final.text)

asyncio.run(main())
"""


def test_plugin_works_over_webrtc_on_a_path_with_an_mtu_of_1280(
    plugins: dict[str, Plugin], python: Path
) -> None:
    """Packets that are too long for the path are split by the system, and everything arrives.

    The path is that of a network namespace, which takes root on Linux.
    """
    script = OVER_A_NARROW_PATH.format(slug=plugins["webrtc"].slug)
    narrow = (
        "ip link set lo up && ip link set lo mtu 1280 && ip addr add 10.9.8.7/32 dev lo"
        ' && exec "$0" -c "$1"'
    )
    allowed = (
        subprocess.run(
            ["unshare", "--net", "ip", "link", "set", "lo", "up"], check=False, capture_output=True
        )
        if shutil.which("unshare") and shutil.which("ip")
        else None
    )
    if allowed is None or allowed.returncode:
        pytest.skip("no network namespace can be made here: it takes Linux and root")
    command = ("unshare", "--net", "sh", "-c", narrow, str(python), script)
    printed = run(*command, cwd=plugins["webrtc"].path)
    assert printed.splitlines()[-1] == "You said: Good morning"
