"""RB: whatever the provider says, the call goes on."""

import json
from collections.abc import Iterator

import pytest
from vision_agents.core.llm.events import LLMErrorEvent
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from .kit import (
    ALICE,
    Ear,
    Facts,
    Recorder,
    fence,
    final,
    frames,
    hears,
    native,
    say,
    speak,
    speech,
    tone,
)
from .making import Make

A_WORD = frames(tone(300, 0.02, 48000), 48000)

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Path = tuple[str | int, ...]

MALFORMED: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "canary",
    "half": '{"canary": "a",',
    "array": "[]",
    "number": "42",
    "null": "null",
    "text": '"canary"',
    "object": "{}",
    "deep": "[" * 100_000,
    "deep inside": '{"canary": ' * 100_000,
    "comma": '{"canary": 1,}',
    "two": "{} {}",
    "binary": bytes(range(256)),
    "empty binary": b"",
    "no UTF-8": b'{"canary": "\xff\xfe"}',
}

ANYTHING: tuple[Json, ...] = (None, 7, "", [], ["canary"], {"canary": "sings"}, True, 0.5)
"""What a field may be instead of what it should be; of a kind it is not."""


def _paths(whole: Json, path: Path = ()) -> Iterator[Path]:
    """Every field, at any depth."""
    match whole:
        case dict():
            for key, inner in whole.items():
                yield (*path, key)
                yield from _paths(inner, (*path, key))
        case list():
            for index, inner in enumerate(whole):
                yield from _paths(inner, (*path, index))


def _without(whole: Json, path: Path) -> Json:
    copied: Json = json.loads(json.dumps(whole))
    _set(copied, path, None, delete=True)
    return copied


def _with(whole: Json, path: Path, value: Json) -> Json:
    copied: Json = json.loads(json.dumps(whole))
    _set(copied, path, value, delete=False)
    return copied


def _set(inside: Json, path: Path, value: Json, *, delete: bool) -> None:
    *parents, last = path
    for step in parents:
        inside = inside[step]  # type: ignore[index,call-overload]
    if delete:
        del inside[last]  # type: ignore[union-attr]
    else:
        inside[last] = value  # type: ignore[index]


class TestRobustness:
    pass
