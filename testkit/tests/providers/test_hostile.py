"""Whatever a client says, it gets an answer, and the session goes on."""

import itertools
import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from realtime_testkit.providers.openai import Provider

from .conversing import Client, Message, client_of

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://s.example"}
FORMAT = {"type": "audio/pcm", "rate": 24000}
VAD = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 500}
INPUT = {"format": FORMAT, "transcription": {"model": "m"}, "turn_detection": VAD}
SESSION = {
    "type": "realtime",
    "instructions": "x",
    "tools": [TOOL, MCP],
    "tool_choice": {"type": "function", "name": "f"},
    "output_modalities": ["text"],
    "max_output_tokens": 5,
    "audio": {"input": INPUT, "output": {"format": FORMAT, "voice": "cedar", "speed": 1.0}},
}
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
MESSAGES: list[Message] = [
    {"type": "session.update", "session": SESSION},
    {"type": "conversation.item.create", "item": ITEM, "previous_item_id": "root"},
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "input": [ITEM],
            "metadata": {"a": "b"},
            "tools": [TOOL],
            "output_modalities": ["text"],
            "audio": {"output": {"format": FORMAT, "voice": "cedar"}},
        },
    },
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "response.cancel", "response_id": "r"},
]
FLAWS: list[object] = [None, 7, -1, 1e300, "", "\ud800", [], [None], {}, {"x": 1}, True]


def mutated(message: Message) -> Iterator[Message]:
    """The message with each of its values replaced by each flaw."""
    for place in _places(message):
        for flaw in FLAWS:
            changed = deepcopy(message)
            target: Any = changed
            for step in place[:-1]:
                target = target[step]
            target[place[-1]] = flaw
            yield changed


def _places(value: object, place: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    if place:
        yield place
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for key, part in parts:
        yield from _places(part, (*place, key))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["type"])
async def test_every_flaw_of_a_message_is_survived(message: Message) -> None:
    async with Provider() as provider, client_of(provider) as client:
        for changed in itertools.islice(mutated(message), 2000):
            await client.websocket.send(json.dumps(changed))
        await _goes_on(client)


@pytest.mark.parametrize(
    "frame", [b"\xff\xfe", "[" * 100_000, "null", "[]", '"x"', "{}", "NaN", ""]
)
async def test_what_is_no_message_is_survived(provider: Provider, frame: str | bytes) -> None:
    async with client_of(provider) as client:
        await client.websocket.send(frame)
        await client.until("error")
        await _goes_on(client)


async def _goes_on(client: Client) -> None:
    item = {**ITEM, "id": "the last"}
    await client.say("conversation.item.create", item=item)
    while (await client.until("conversation.item.done"))["item"]["id"] != "the last":
        pass
    response = {"conversation": "none", "metadata": {"the": "last"}, "tool_choice": "none"}
    while True:
        await client.say("response.create", response=response)
        done = await client.until("response.done")
        if done["response"]["metadata"] == {"the": "last"}:
            break
