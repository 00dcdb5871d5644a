"""A response that the provider gives: its text, its speech, and how much of it was heard."""

import math
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from .bounded import BoundedDict
from .replies import Reply
from .text import Text

MAX_PLAYING = 64
"""How many responses being heard, and how many spoken items of each, are remembered."""


WORDS_PER_S = 2.5
"""How fast speech is taken to be where nothing tells how long it will be (WebRTC)."""


class ResponseState(Enum):
    """Where a response stands."""

    ACTIVE = auto()
    CANCELLING = auto()  # cut here, its end not confirmed by the provider
    DONE = auto()


@dataclass(slots=True, eq=False)
class SpokenItem:
    """An item of the conversation that has speech.

    There is no playback position to go by: audio counts as heard from the moment it
    came (`time.perf_counter()` seconds), one piece after another.
    """

    id: str | None
    plays_from: float
    received_s: float = 0.0

    @property
    def plays_until(self) -> float:
        """When the last of it so far is heard."""
        return self.plays_from + self.received_s

    def heard_s(self, now: float) -> float:
        """How much of it was heard; never more than was received."""
        return min(self.received_s, max(0.0, now - self.plays_from))


@dataclass(slots=True, eq=False)
class Response:
    """A response in progress, or over and still being heard.

    Attributes:
        replies: the callers that it is for; none where it answers the user.
        aside: out of band: for its caller alone.
        unasked: of the provider's own accord.
        stopped: the provider ended it by itself.
        open_calls: tools it called that did not finish.
        calls: how many tools it called.
        answers: its tools' results start another response.
    """

    id: str
    replies: list[Reply] = field(default_factory=list)
    aside: bool = False
    unasked: bool = False
    state: ResponseState = ResponseState.ACTIVE
    stopped: bool = False
    interrupted: bool = False
    started_at: float = field(default_factory=time.perf_counter)
    active_at: float = field(default_factory=time.perf_counter)
    first_audio_at: float | None = None
    spoken: list[SpokenItem] = field(default_factory=list)
    text: Text = field(default_factory=Text)
    odd_byte: bytes = b""
    calls: int = 0
    open_calls: int = 0
    answers: bool = False

    @property
    def plays_until(self) -> float:
        """When the last of it so far is heard."""
        return self.spoken[-1].plays_until if self.spoken else 0.0

    @property
    def silent(self) -> bool:
        """Nothing of it came yet."""
        return not self.spoken and not self.text.parts and not self.calls

    def end_replies(self, error: Exception | None = None) -> None:
        """End its callers, with the error or with what was said."""
        for reply in self.replies:
            reply.end(error)

    def whole_samples(self, data: bytes) -> bytes:
        """Join what was split inside a 16-bit sample; the odd byte waits for its other half."""
        data = self.odd_byte + data
        whole = len(data) - len(data) % 2
        self.odd_byte = data[whole:]
        return data[:whole]

    def heard_text(self, now: float) -> str:
        """The words that were heard, by the measure that truncation uses."""
        items = {item.id: item for item in self.spoken}
        heard: list[str] = []
        for (item_id, _), pieces in self.text.parts.items():
            text, item = "".join(pieces), items.get(item_id)
            if item is not None and item.plays_until > now:
                words = text.split(" ")
                share = item.heard_s(now) / item.received_s
                text = " ".join(words[: int(len(words) * share)])
            elif item is None and None in items and self.state is ResponseState.ACTIVE:
                # Speech of a track comes as it is heard, and its text long before.
                words = text.split(" ")
                text = " ".join(
                    words[: math.ceil(items[None].received_s * WORDS_PER_S)]
                )
            heard.append(text)
        return "".join(heard).strip()


class Playback:
    """What is being heard, of all responses."""

    def __init__(self) -> None:
        self.plays_until = 0.0
        self._playing: BoundedDict[str, Response] = BoundedDict(MAX_PLAYING)

    def add(self, response: Response, item_id: str | None, duration_s: float) -> None:
        """Count a piece of audio that was received."""
        now = time.perf_counter()
        if not response.spoken or response.spoken[-1].id != item_id:
            response.spoken.append(SpokenItem(item_id, max(now, self.plays_until)))
            del response.spoken[:-MAX_PLAYING]
            for each in [r for r in self._playing.values() if r.plays_until <= now]:
                del self._playing[each.id]
        if response.id not in self._playing:
            self._playing[response.id] = response
        response.spoken[-1].received_s += duration_s
        self.plays_until = max(now, self.plays_until) + duration_s

    def unheard(self, now: float) -> list[Response]:
        """Responses of which something was received and not heard yet."""
        return [
            response
            for response in self._playing.values()
            if response.plays_until > now
        ]

    def silence(self, responses: list[Response], now: float) -> None:
        """Count responses as cut off: nothing more of them is heard."""
        for response in responses:
            self._playing.pop(response.id, None)
        ends = (response.plays_until for response in self._playing.values())
        self.plays_until = max(ends, default=now)
