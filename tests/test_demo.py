"""The offline demo holds its conversation over either transport and wire, with video and without."""

import sys
from pathlib import Path

import pytest

from tests.generated import Plugin, run


@pytest.mark.parametrize("name", ["default", "plain_wire", "video", "webrtc", "webrtc_video"])
def test_demo_holds_its_conversation(plugins: dict[str, Plugin], name: str, tmp_path: Path) -> None:
    """A spoken turn, a text turn, a tool call and a barge-in happen, and the recording is written."""
    example = plugins[name].path / "example"
    printed = run(
        *("uv", "run", "--quiet", "--python", sys.executable, "--project", example),
        *(example / "offline_demo.py", "--output", tmp_path),
        cwd=tmp_path,
        UV_PROJECT_ENVIRONMENT=str(tmp_path / "environment"),
    )
    assert '"You said: Good morning"' in printed
    assert "18 degrees in Amsterdam" in printed
    assert "speaks up while the agent speaks" in printed
    assert '"You said: Stop, please."' in printed
    assert {path.name for path in tmp_path.glob("conversation.*")} == {
        "conversation.png",
        "conversation.wav",
    }
