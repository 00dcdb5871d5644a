"""Frames that no provider should send: broken, unknown, of the wrong type, of nobody's response.

None of them ends a session or a response, starts a turn of the user's or asks for silence: a
plugin has to go on as if they had not come.
"""

import base64
import itertools
import json
import random
from collections.abc import Iterator

Frame = str | bytes

_AUDIO = base64.b64encode(bytes(960)).decode()

_KNOWN = (
    "session.created",
    "input_audio_buffer.committed",
    "conversation.item.input_audio_transcription.failed",
    "response.output_audio_transcript.delta",
    "response.output_text.done",
    "response.output_item.added",
    "response.function_call_arguments.done",
)
"""Types of messages that are sent with fields of the wrong type."""

_VALUES: tuple[object, ...] = (None, True, -1, 10**30, 1.5, "", [], {}, [{"a": [None]}])


def frames(seed: int = 1) -> Iterator[Frame]:
    """Yield hostile frames without end; the same ones for the same seed."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        yield from _broken(number, chance)
        yield from _mistyped(number, chance)
        yield from _errors(number, chance)
        yield from _strays(number)


def flood(seed: int = 1) -> Iterator[Frame]:
    """Yield speech and text without end, of responses that nobody asked for."""
    chance = random.Random(seed)
    audio = base64.b64encode(chance.randbytes(4800)).decode()
    for number in itertools.count(1):
        ids = {"response_id": f"flood_{number // 50}", "item_id": f"flood_item_{number // 50}"}
        yield _message("response.output_audio.delta", delta=audio, **ids)
        yield _message("response.output_audio_transcript.delta", delta="word " * 50, **ids)


def _message(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})


def _broken(number: int, chance: random.Random) -> Iterator[Frame]:
    whole = _message("response.output_audio.delta", delta=_AUDIO, response_id="stray")
    yield whole[: chance.randrange(len(whole))]
    yield chance.randbytes(number % 200)
    yield from ("", "null", "[1, 2]", '"text"', "{}", '{"type": 7}', "NaN")
    yield "[" * (1000 + number % 5000)
    yield '{"type":"error","error":' * 500
    yield f'{{"type": "response.output_text.delta", "output_index": {"9" * 5000}}}'
    yield whole.encode("utf-16")
    yield json.dumps({"type": f"unknown.{number}", "data": "x" * (number % 20_000)})


def _mistyped(number: int, chance: random.Random) -> Iterator[Frame]:
    for kind in _KNOWN:
        names = ("item_id", "response_id", "delta", "transcript", "text", "item", "session")
        yield _message(kind, **{name: chance.choice(_VALUES) for name in names})
        half_an_emoji = {"item_id": "\ud83d", "response_id": "\ud83d"}
        yield _message(kind, **half_an_emoji, delta="\ud83d", text="\ud83d")
    yield _message("response.created")
    yield _message("response.created", response=chance.choice(_VALUES))
    yield _message("response.done", response={"id": f"stray_{number}", "usage": [number]})
    yield _message("response.output_audio.delta", response_id="stray", delta="no base64!")
    yield _message("session.updated", session={"audio": {"output": {"format": number}}})


def _errors(number: int, chance: random.Random) -> Iterator[Frame]:
    codes: tuple[object, ...] = ("server_error", None, number, "a\nforged line", "x" * 5000, {})
    for event_id in (None, f"event_of_nobody_{number}", number):
        error = {"code": chance.choice(codes), "event_id": event_id, "message": "m" * 1000}
        yield _message("error", error=error)
    yield _message("error")


def _strays(number: int) -> Iterator[Frame]:
    ids = {"response_id": f"stray_{number}", "item_id": f"stray_item_{number}"}
    call = {"type": "function_call", "id": f"call_item_{number}", "call_id": f"stray_{number}"}
    yield _message("response.output_text.delta", delta="of nobody", **ids)
    yield _message("response.output_audio.delta", delta=_AUDIO, **ids)
    yield _message("response.output_item.added", item=call | {"name": "no_such_tool"}, **ids)
    if number % 2:
        cut = {"arguments": '{"city": "Os', "status": "incomplete"}
        yield _message("response.output_item.done", item=call | cut, **ids)
    else:
        yield _message("response.output_item.done", item=call | {"arguments": "{"}, **ids)
