"""The items of a conversation, in their order."""

from dataclasses import dataclass, field

from realtime_testkit.providers.codec import Turn

from .frames import JSONObject, encode
from .session import refused

MAX_ITEMS = 2000
"""More items than this fill the model's context: the oldest is dropped."""

MAX_BYTES = 32 * 1024 * 1024
"""More than this, as JSON and without audio, is too much: the oldest items are dropped."""

MAX_AUDIO = 16 * 1024 * 1024
"""Bytes of the user's audio that are kept, to be retrieved."""


@dataclass(eq=False)
class Entry:
    """An item of the conversation.

    Attributes:
        item: as the API words it, without audio.
        audio_ms: how much audio it holds.
        audio: base64 of it, for the user's items.
        answered: the call it holds has a result.
        size: bytes of the item when it was added.
        understood: what the model makes of the user's audio.
    """

    item: JSONObject
    audio_ms: float = 0.0
    audio: bytes = field(default=b"", repr=False)
    answered: bool = False
    size: int = 0
    understood: str = field(default="", repr=False)

    @property
    def whole(self) -> JSONObject:
        """The item with its audio."""
        content = self.item.get("content")
        if not self.audio or not isinstance(content, list):
            return self.item
        audio = self.audio.decode()
        parts = [
            part | {"audio": audio} if str(part["type"]).endswith("_audio") else part
            for part in content
        ]
        return {**self.item, "content": parts}


class Conversation:
    """The items, and which one comes after which."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._order: list[str] = []
        self._audio = 0
        self._size = 0

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    @property
    def last_id(self) -> str | None:
        """The item that comes last."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Entry | None:
        """An item."""
        return self._entries.get(item_id)

    def require(self, item_id: str, what: str, code: str) -> Entry:
        """An item.

        Raises:
            Refused: there is none.
        """
        entry = self._entries.get(item_id)
        if entry is None:
            message = f"Error {what} item: the item with id '{item_id}' does not exist."
            raise refused(code, message, "item_id")
        return entry

    def add(self, item_id: str, entry: Entry, after: str | None = None) -> str | None:
        """Add an item at the end, or after another, or after "root".

        Returns:
            The item that precedes it.
        """
        if after is None:
            self._order.append(item_id)
        else:
            self._order.insert(0 if after == "root" else self._order.index(after) + 1, item_id)
        self._entries[item_id] = entry
        entry.size = len(encode(entry.item))
        self._size += entry.size
        self._audio += len(entry.audio)
        place = self._order.index(item_id) if after is not None else len(self._order) - 1
        previous = self._order[place - 1] if place else None
        while len(self._order) > MAX_ITEMS or (self._size > MAX_BYTES and len(self._order) > 1):
            self.remove(self._order[0])
        for old in self._order:
            if self._audio <= MAX_AUDIO:
                break
            kept = self._entries[old]
            self._audio -= len(kept.audio)
            kept.audio = b""
        return previous

    def remove(self, item_id: str) -> None:
        """Remove an item."""
        entry = self._entries.pop(item_id)
        self._order.remove(item_id)
        self._audio -= len(entry.audio)
        self._size -= entry.size

    def before(self, item_id: str) -> str | None:
        """The item that precedes another."""
        place = self._order.index(item_id) if item_id in self._entries else 0
        return self._order[place - 1] if place else None

    def call(self, call_id: str) -> Entry | None:
        """The call of a function with an id."""
        for entry in reversed(self._entries.values()):
            if entry.item["type"] == "function_call" and entry.item.get("call_id") == call_id:
                return entry
        return None

    def turns(self, count: int = 8) -> list[Turn]:
        """What was said last."""
        return [turn for name in self._order[-count:] if (turn := self.turn(name)) is not None]

    def turn(self, item_id: str) -> Turn | None:
        """What an item says, if anything."""
        entry = self._entries.get(item_id)
        if entry is None:
            return None
        return Turn("user", entry.understood) if entry.understood else self.turn_of(entry.item)

    def turn_of(self, item: JSONObject) -> Turn | None:
        """What an item says, if anything."""
        match item:
            case {"type": "message", "role": "user" | "assistant" | "system" as role}:
                return Turn(role, text_of(item))
            case {"type": "function_call_output", "call_id": str(call_id), "output": output}:
                call = self.call(call_id)
                name = "the tool" if call is None else call.item["name"]
                return Turn("tool", f"{name} says {output}")
            case {"type": "mcp_call", "name": name, "output": str(output)}:
                return Turn("tool", f"{name} says {output}")
        return None


def text_of(item: JSONObject) -> str:
    """The text of a message, spoken or written."""
    content = item.get("content")
    parts: list[object] = content if isinstance(content, list) else []
    said: list[str] = []
    for part in parts:
        match part:
            case {"type": "input_image"}:
                said.append("a picture")
            case {"text": str(text)} | {"transcript": str(text)}:
                said.append(text)
    return " ".join(said)
