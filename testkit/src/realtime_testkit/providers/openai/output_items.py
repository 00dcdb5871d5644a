"""A response while it is generated: its items and their parts."""

from dataclasses import dataclass, field

from .conversation import Entry
from .frames import JSONObject


@dataclass(eq=False)
class Part:
    """A content part of a message."""

    index: int
    spoken: bool
    text: str = ""
    odd: bytes = b""
    audio_done: bool = False
    text_done: bool = False
    done: bool = False

    @property
    def content(self) -> JSONObject:
        """The part as it stands in a message."""
        if self.spoken:
            return {"type": "output_audio", "transcript": self.text}
        return {"type": "output_text", "text": self.text}

    @property
    def event(self) -> JSONObject:
        """The part as it stands in the events about parts."""
        if self.spoken:
            return {"type": "audio", "transcript": self.text}
        return {"type": "text", "text": self.text}


@dataclass(eq=False)
class OutputItem:
    """An item that a response puts out."""

    index: int
    entry: Entry
    parts: dict[tuple[int, bool], Part] = field(default_factory=dict)
    done: bool = False

    @property
    def item_id(self) -> str:
        """Its id."""
        return str(self.entry.item["id"])


@dataclass(eq=False)
class Response:
    """A response in progress.

    Attributes:
        settings: what its resource says of it: modalities, audio, metadata.
        out_of_band: its items are no part of the conversation.
    """

    response_id: str
    settings: JSONObject
    out_of_band: bool = False
    items: list[OutputItem] = field(default_factory=list)

    @property
    def index(self) -> int:
        """The index of the next item."""
        return max((item.index for item in self.items), default=-1) + 1

    def item(self, item_id: str, index: int) -> OutputItem | None:
        """The item with an id; one at another index than 0 is told apart by it, too."""
        named = [item for item in self.items if item.item_id == item_id]
        return next((item for item in named if index in (0, item.index)), None)
