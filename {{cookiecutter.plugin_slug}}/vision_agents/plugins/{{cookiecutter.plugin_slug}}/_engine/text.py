"""The text of a response, as it streams, is corrected and is shown."""

from dataclasses import dataclass, field

from .session_events import TextDelta, TextDone

MAX_TEXT = 1_000_000
"""Characters of text kept of one response, each part counting PART more."""

PART = 100


@dataclass(slots=True, eq=False)
class Text:
    """The text of a response, in parts, and what of it has to be shown yet."""

    parts: dict[tuple[str | None, int], list[str]] = field(default_factory=dict)
    written: set[tuple[str | None, int]] = field(default_factory=set)  # without speech
    unshown: list[str] = field(default_factory=list)
    corrected: bool = False  # what was shown has to be replaced
    size: int = 0

    def add(self, event: TextDelta | TextDone) -> str:
        """Take the next text; returns what it adds to the text so far."""
        key = (event.item_id, event.content_index)
        new = event.text
        if isinstance(event, TextDone):
            if event.item_id is None and key not in self.parts and self.parts:
                key = next(reversed(self.parts))  # its pieces named the item
            gap, *pieces = self.parts.get(key, [""])
            so_far = "".join(pieces)
            if event.text and not event.text.startswith(so_far):
                self.parts[key] = [gap, event.text]
                self.corrected = True
                return ""
            new = event.text[len(so_far) :]
        if not new or self.size > MAX_TEXT:
            return ""
        if key not in self.parts:
            # Separate messages are separated.
            apart = not self.parts or self._ends_in_space() or new[0].isspace()
            self.parts[key] = ["" if apart else " "]
            self.size += PART
            if not event.spoken:
                self.written.add(key)
            new_text = self.parts[key][0] + new
        else:
            new_text = new
        self.parts[key].append(new)
        self.unshown.append(new_text)
        self.size += len(new_text)
        return new_text

    def _ends_in_space(self) -> bool:
        last = next(reversed(self.parts.values()))
        return not last or last[-1][-1:].isspace()

    def __str__(self) -> str:
        return "".join(piece for part in self.parts.values() for piece in part)
