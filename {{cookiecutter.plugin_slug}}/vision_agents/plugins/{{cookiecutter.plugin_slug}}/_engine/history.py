"""The conversation as it was said and heard: one list, for sessions that have to be told it."""

import json
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from vision_agents.core.agents.conversation import Message

from .bounded import BoundedDict
from .session_types import AddMessage, Role

MAX_ENTRIES = 200
"""How many messages are kept, the newest."""

MAX_CHARACTERS = 4_000_000
"""How much text, and pictures as URLs, they may hold together."""

MAX_ITEMS = 64
"""How many items a message may consist of, the newest."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    """A message, in the place where it was said; its text may come later.

    Attributes:
        told: the open session knows it.
        shown: the text as the agent's conversation has it, if that is another.
        at: when it began, in seconds since the epoch.
        items: ids of what it consists of, in the open session.
        forgotten: nobody is told of it any more.
        marked: the session that can be resumed knows it.
    """

    role: Role
    text: str = ""
    images: tuple[str, ...] = ()
    told: bool = True
    shown: str = ""
    at: float = field(default_factory=time.time)
    items: BoundedDict[str, None] = field(
        default_factory=lambda: BoundedDict(MAX_ITEMS)
    )
    forgotten: bool = False
    marked: bool = False

    @property
    def tellable(self) -> bool:
        """It is there to be told, and has something to tell."""
        return not self.forgotten and bool(self.text.strip() or self.images)

    @property
    def size(self) -> int:
        """How many characters it holds, those of pictures among them."""
        return len(self.text) + sum(map(len, self.images))

    def name(self, item_id: str | None) -> None:
        """Note that this item of the open session is the message, or a part of it."""
        if item_id is not None:
            self.items[item_id] = None


class History:
    """The messages of a call, in the order in which they were said."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    @property
    def ends_unanswered(self) -> bool:
        """The last message is no answer: it is the user's, or the result of a tool."""
        entries = [entry for entry in self._entries if entry.tellable]
        return bool(entries) and entries[-1].role != "assistant"

    def begin(self, role: Role, item_id: str | None = None) -> Entry:
        """Take the next place in the conversation for a message that begins now."""
        entry = Entry(role)
        entry.name(item_id)
        self._add(entry)
        return entry

    def add(self, message: AddMessage, *, told: bool) -> None:
        """Add a message; ``told`` where the open session knows it."""
        if message.text.strip() or message.images:
            self._add(Entry(message.role, message.text, message.images, told))

    def merge(self, messages: Iterable[Message]) -> None:
        """Add what the agent's conversation holds and this does not, of the newest messages."""
        known = {
            (e.role, text.strip()) for e in self._entries for text in (e.text, e.shown)
        }
        for given in deque(messages, MAX_ENTRIES):
            for message in as_commands([given]):
                if (message.role, message.text.strip()) not in known:
                    at = given.timestamp.timestamp() if given.timestamp else time.time()
                    entry = Entry(
                        message.role, message.text, message.images, told=False, at=at
                    )
                    later = (n for n, each in enumerate(self._entries) if each.at > at)
                    self._add(entry, next(later, len(self._entries)))

    def mark(self) -> None:
        """Note that a session can be continued which knows all that was said so far."""
        for entry in self._entries:
            entry.marked = True

    def start_session(self, *, resumed: bool) -> None:
        """Begin anew with a session that knows nothing, or what it knew at the mark."""
        for entry in self._entries:
            entry.told = resumed and entry.marked
            if not entry.told:
                entry.items.clear()

    def trim(self, keep: int) -> list[str]:
        """Forget all but the newest messages; returns the ids of what they consist of."""
        known = [entry for entry in self._entries if entry.tellable]
        old = known[: max(0, len(known) - keep)]
        for entry in old:
            entry.forgotten = True  # and kept, so that `merge` does not bring it back
        return [item_id for entry in old for item_id in entry.items]

    def untold(self) -> list[AddMessage]:
        """Return what the open session does not know, which counts as told from here on."""
        new = [entry for entry in self._entries if not entry.told and entry.tellable]
        for entry in new:
            entry.told = True
        return [AddMessage(entry.role, entry.text, entry.images) for entry in new]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _add(self, entry: Entry, place: int | None = None) -> None:
        self._entries.insert(len(self._entries) if place is None else place, entry)
        size = sum(each.size for each in self._entries)
        while len(self._entries) > MAX_ENTRIES or (
            size > MAX_CHARACTERS and len(self._entries) > 1
        ):
            size -= self._entries.pop(0).size


def normalize(value: object) -> list[Message]:
    """Bring a message of any shape that Vision Agents uses into its own.

    Args:
        value: a text, a Message, a mapping with role and content, a content part,
            or a list of these. The role defaults to the user's.

    Raises:
        ValueError: there is neither text nor a picture in it.
    """
    values = value if isinstance(value, list | tuple) else [value]
    messages: list[Message] = []
    for item in values:
        match item:
            case Message():
                messages.append(item)
                continue
            case {"content": content, **rest}:
                role = rest.get("role")
            case _:
                content, role = item, "user"
        text, images = _read(content)
        if not text and not images and content not in ("", []):
            raise ValueError(
                f"a message needs text or a picture, not {type(item).__name__}"
            )
        messages.append(Message(content=text, role=_role(role), original=item))
    return messages


def as_commands(messages: Iterable[Message]) -> list[AddMessage]:
    """Return what a session is told of messages; empty ones are left out."""
    commands: list[AddMessage] = []
    for message in messages:
        given = message.original
        images = (
            _read(given.get("content", given))[1] if isinstance(given, Mapping) else ()
        )
        if message.content.strip() or images:
            commands.append(AddMessage(_role(message.role), message.content, images))
    return commands


def plain(value: object) -> object:
    """Return what a tool returned as data of JSON's; what has no form there becomes text."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_shown))
    except (TypeError, ValueError, RecursionError):
        return _shown(value)


def result_message(name: str, output: object) -> AddMessage:
    """Tell a session of a tool's result that another session asked for."""
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    return AddMessage("system", f"The tool {name} returned: {text}")


def _shown(value: object) -> str:
    """Return a value as Python shows it, without halves of surrogate pairs."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a tool's own class may raise anything; the model is told
        text = f"<{type(value).__name__} that cannot be shown>"
    return text.encode(errors="replace").decode()


def _role(role: object) -> Role:
    match role:
        case "assistant" | "system":
            return role
        case "developer":
            return "system"
    return "user"


def _read(content: object) -> tuple[str, tuple[str, ...]]:
    """Return the text and the URLs of pictures in a text, a content part, or a list of parts."""
    match content:
        case str():
            return content, ()
        case {"text": str(text)}:
            return text, ()
        case {"image_url": str(url)} | {"image_url": {"url": str(url)}}:
            return "", (url,)
        case list() | tuple():
            read = [_read(part) for part in content]
            return "".join(text for text, _ in read), tuple(
                i for _, images in read for i in images
            )
        case {"type": kind}:
            logger.warning(
                "A part of a message was left out, of type %r", str(kind)[:40]
            )
    return "", ()
