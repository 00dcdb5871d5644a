"""What a plugin keeps in memory, and what it allocates for something that happens."""

import gc
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .subject import Subject

DEEP = 8
"""So many collections within collections are looked into."""

DATA_MODULES = ("vision_agents.core.llm.", "getstream.video.rtc.track_util")
"""Where the classes are defined whose instances a plugin queues as data."""


def kept_items(subject: "Subject") -> int:
    """Count the plugin's objects, and the items in their collections."""
    own = _own(subject)
    collections = _collections_of(own)
    collections |= _collections_of(collections.values())
    return len(own) + sum(map(len, collections.values()))


def kept_bytes(subject: "Subject") -> int:
    """Return how many bytes or characters of text and audio the plugin's objects hold."""
    level: list[object] = list(_own(subject))
    seen = {id(each) for each in level}
    size = 0
    for _ in range(DEEP):
        following: list[object] = []
        for each in gc.get_referents(*level):
            if id(each) in seen:
                continue
            seen.add(id(each))
            match each:
                case str() | bytes() | bytearray():
                    size += len(each)
                case np.ndarray():
                    size += each.nbytes
                case dict() | list() | set() | deque() | tuple():
                    following.append(each)
                case _ if f"{type(each).__module__}.".startswith(DATA_MODULES):
                    following.append(each)
        if not following:
            break
        level = following
    return size


async def allocated_by(work: Awaitable[object]) -> int:
    """Await something; returns how much more memory was in use meanwhile, at most, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        await work
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _own(subject: "Subject") -> list[object]:
    gc.collect()
    package = subject.plugin.__name__
    return [each for each in gc.get_objects() if f"{type(each).__module__}".startswith(package)]


def _collections_of(objects: Iterable[object]) -> dict[int, Collection[object]]:
    """The collections that objects refer to, by identity."""
    return {
        id(each): each
        for one in objects
        for each in gc.get_referents(one)
        if isinstance(each, dict | list | set | deque)
    }
