"""The provider as a program."""

import asyncio
from pathlib import Path

import pytest
from realtime_testkit.providers.openai import Provider
from realtime_testkit.providers.serve import serve
from websockets.asyncio.client import connect

from .conversing import Client

SCENARIO = """
pace = 0.0

[[answer]]
to = "weather"
call = "get_weather"
arguments = { city = "Oslo" }

[[answer]]
to = "crash"
fail = "server_error"

[[answer]]
to = "bye"
say = "Goodbye!"
close = 1000
"""


class Lines:
    """What was printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def url(self) -> str:
        async with asyncio.timeout(5):
            while not self.lines:
                self._news.clear()
                await self._news.wait()
        return self.lines[0].removeprefix("Listening on ")


async def test_a_scenario_is_played_and_told(tmp_path: Path) -> None:
    """Answers come from the file; what is heard and said is printed, audio as a sum."""
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    written = Lines()
    serving = asyncio.create_task(serve("openai", port=0, scenario=path, write=written))
    url = await written.url()
    headers = {"Authorization": "Bearer any"}
    async with connect(f"{url}?model=m", additional_headers=headers) as websocket:
        client = Client(websocket)
        await client.ask("The weather")
        call = await client.until("response.function_call_arguments.done")
        assert (call["name"], call["arguments"]) == ("get_weather", '{"city":"Oslo"}')
        await client.until("response.done")
        await client.ask("crash")
        response = (await client.until("response.done"))["response"]
        assert response["status_details"]["error"]["code"] == "server_error"
        await client.ask("bye")
        said = await client.until("response.output_audio_transcript.done")
        assert said["transcript"] == "Goodbye!"
        await client.websocket.wait_closed()
        assert client.websocket.close_code == 1000
    serving.cancel()
    await asyncio.wait([serving])
    told = "\n".join(written.lines)
    assert "hears AddMessage user: The weather" in told
    assert 'says ToolCall get_weather({"city":"Oslo"})' in told
    assert "pieces of audio" in told


async def test_a_scenario_with_an_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text("[[answer]]\nsays = 1\n")
    with pytest.raises(ValueError, match=r"scenario\.toml"):
        await serve("openai", port=0, scenario=path, write=lambda line: None)


async def test_connections_that_are_gone_are_forgotten() -> None:
    async with Provider() as provider:
        provider.recording_limit = 0
        headers = {"Authorization": "Bearer any"}
        for _ in range(3):
            async with connect(f"{provider.url}?model=m", additional_headers=headers) as websocket:
                client = Client(websocket)
                await client.ask("Hello")
                await client.until("response.done")
                [connection] = provider.connections
                assert (connection.commands, connection.frames, connection.sent) == ([], [], [])
            await connection.closed.wait()
        assert provider.connections == []
