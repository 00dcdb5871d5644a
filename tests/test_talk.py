"""example/talk.py holds a conversation over the machine's sound, here null devices of PulseAudio."""

import os
import shutil
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.generated import ROOT, Plugin, run

HELLO = ROOT / "testkit" / "src" / "realtime_testkit" / "clips" / "hello.wav"
LOUD = 1000
"""Sound with a sample beyond this, of 32768, is speech."""
SECOND = 2 * 48_000
"""Bytes of a second of the recording."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("pulseaudio") or not find_library("portaudio"),
    reason="needs Debian's pulseaudio, pulseaudio-utils, libasound2-plugins and libportaudio2",
)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened for too long"
        time.sleep(0.1)


def is_loud(recording: bytes) -> bool:
    return max(array("h", recording[: len(recording) // 2 * 2]), default=0) > LOUD


@pytest.fixture
def sound(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for programs that hear what is played on "mic", and are heard on "speaker"."""
    (tmp_path / ".asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
    (tmp_path / "run").mkdir(mode=0o700)
    variables = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    modules = ("native-protocol-unix", "null-sink sink_name=speaker", "null-sink sink_name=mic")
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1"]
    command += [f"--load=module-{module}" for module in modules]
    server = subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.DEVNULL)

    def set_default(kind: str, device: str) -> bool:
        pactl = ["pactl", f"set-default-{kind}", device]
        result = subprocess.run(pactl, env=os.environ | variables, check=False, capture_output=True)
        return result.returncode == 0

    try:
        wait_for(lambda: set_default("sink", "speaker"))
        wait_for(lambda: set_default("source", "mic.monitor"))
        yield variables
    finally:
        server.terminate()
        server.wait()


def test_the_agent_greets_and_repeats_what_it_hears(
    plugins: dict[str, Plugin], sound: dict[str, str], tmp_path: Path
) -> None:
    """With --echo: no key and no account. Ctrl+C ends it without a traceback."""
    example = plugins["default"].path / "example"
    run(
        *("uv", "sync", "--quiet", "--python", sys.executable, "--project", example),
        cwd=tmp_path,
        UV_PROJECT_ENVIRONMENT=str(tmp_path / "environment"),
    )
    environment = os.environ | sound
    recording, printed = tmp_path / "heard.raw", tmp_path / "printed.txt"
    listen = ["parec", "--device=speaker.monitor", "--format=s16le", "--rate=48000", "--channels=1"]
    talk = [tmp_path / "environment/bin/python", example / "talk.py", "--echo"]
    with recording.open("wb") as heard, printed.open("wb") as output:
        recorder = subprocess.Popen(listen, env=environment, stdout=heard)
        talking = subprocess.Popen(talk, env=environment, stdout=output, stderr=output)
    try:
        wait_for(lambda: is_loud(recording.read_bytes()))
        wait_for(lambda: not is_loud(recording.read_bytes()[-SECOND:]))
        silent = recording.stat().st_size
        subprocess.run(["paplay", "--device=mic", HELLO], env=environment, check=True)
        wait_for(lambda: is_loud(recording.read_bytes()[silent:]))
        talking.send_signal(signal.SIGINT)
        assert talking.wait(30) == 0, printed.read_text()
        assert "Traceback" not in printed.read_text()
    finally:
        talking.kill()
        recorder.kill()
        talking.wait()
        recorder.wait()
