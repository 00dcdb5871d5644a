"""An embedded provider as a program."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from realtime_testkit import protocol

from . import openai, plain
from .provider import Provider
from .scenario import load

PROVIDERS: dict[tuple[str, str], type[Provider]] = {
    ("openai", "websocket"): openai.Provider,
    ("openai", "webrtc"): openai.WebRTCProvider,
    ("plain", "websocket"): plain.Provider,
    ("plain", "webrtc"): plain.WebRTCProvider,
}

_AUDIO = (protocol.AppendAudio, protocol.AudioDelta)


async def serve(
    kind: Literal["openai", "plain"],
    *,
    port: int = 8765,
    transport: Literal["websocket", "webrtc"] = "websocket",
    scenario: Path | None = None,
    write: Callable[[str], object] = print,
) -> None:
    """Serve a provider on 127.0.0.1 until it is cancelled or told to stop by a signal.

    Args:
        kind: what it speaks.
        port: where it listens; 0 for any free port.
        transport: how clients connect.
        scenario: a file with its answers, see `scenario`; without, it echoes.
        write: takes each line of what it hears and says.

    Raises:
        ValueError: the scenario is none.
        OSError: the port is taken.
    """
    given = None if scenario is None else load(scenario)
    provider = PROVIDERS[kind, transport](pace=1.0 if given is None else given.pace)
    provider.scenario = given
    provider.recording_limit = 0
    provider.observer = Journal(write)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        async with provider.listening(port):
            write(f"Listening on {provider.url}")
            write("Any API key is taken. Stop with Ctrl+C.")
            await stopped.wait()
            write("Stopping.")
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class Journal:
    """Writes what is heard and said, audio as a sum."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._pieces = 0
        self._last: tuple[int, str, str] | None = None

    def __call__(
        self,
        number: int,
        direction: Literal["hears", "says"],
        what: protocol.Command | protocol.Event | str,
    ) -> None:
        """Note something that was heard or said on a connection."""
        name = what if isinstance(what, str) else type(what).__name__
        if isinstance(what, _AUDIO):
            self._pieces += 1
            if (number, direction, name) == self._last:
                return
        else:
            if self._pieces:
                self._write(f"  ... {self._pieces} pieces of audio")
            self._pieces = 0
        self._last = (number, direction, name)
        self._write(f"[{number}] {direction} {_told(what)}")


def _told(what: protocol.Command | protocol.Event | str) -> str:
    match what:
        case str():
            return what
        case protocol.AddMessage(role, text):
            return f"AddMessage {role}: {text}"
        case protocol.TextDone(text=text):
            return f"TextDone: {text}"
        case protocol.UserTranscript(text, True):
            return f"UserTranscript: {text}"
        case protocol.Fault(code, message=message):
            return f"Fault {code}: {message}"
        case protocol.ToolCall(name=name, arguments=arguments):
            return f"ToolCall {name}({arguments})"
        case protocol.AddToolResult(call_id, output=output):
            return f"AddToolResult {call_id}: {output}"
        case protocol.ResponseDone(response_id, status):
            return f"ResponseDone {response_id}: {status}"
    return type(what).__name__
