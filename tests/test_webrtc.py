"""A plugin holds the code of its own transport, and none of the other."""

import re

import pytest

from tests.generated import Plugin

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
