"""A response that the provider gives: its text, its speech, and how much of it was heard."""

import math
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from .bounded import BoundedDict
from .history import Entry
from .replies import Reply
from .text import Text

MAX_PLAYING = 64
"""How many responses being heard, and how many spoken items of each, are remembered."""


WORDS_PER_S, FAST_WORDS_PER_S = 2.5, 5.0
"""How fast speech is taken to be of which more may come, over a track and at most."""


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
    plays_until: float
    before_s: float = 0.0  # what was heard of it before its last stall

    @property
    def received_s(self) -> float:
        """How much of it came so far."""
        return self.before_s + self.plays_until - self.plays_from

    def add(self, start: float, duration_s: float) -> None:
        """Count a piece that is heard from ``start`` on."""
        if start > self.plays_until:
            self.before_s, self.plays_from = self.received_s, start
        self.plays_until = start + duration_s

    def heard_s(self, now: float) -> float:
        """How much of it was heard; never more than was received."""
        heard = min(now, self.plays_until) - self.plays_from
        return self.before_s + max(0.0, heard)


@dataclass(slots=True, eq=False)
class Response:
    """A response in progress, or over and still being heard.

    Attributes:
        replies: the callers that it is for; none where it answers the user.
        aside: out of band: for its caller alone.
        unasked: of the provider's own accord, and no answer was due.
        for_user: the user waits for it, whoever else does.
        stopped: the provider ended it by itself.
        orphaned: its session is gone, and its speech may still be heard.
        entry: its place in the history; none until it has text.
        open_calls: tools it called that did not finish.
        calls: how many tools it called.
        answers: its tools' results start another response.
    """

    id: str
    replies: list[Reply] = field(default_factory=list)
    aside: bool = False
    unasked: bool = False
    for_user: bool = False
    state: ResponseState = ResponseState.ACTIVE
    stopped: bool = False
    orphaned: bool = False
    interrupted: bool = False
    started_at: float = field(default_factory=time.perf_counter)
    active_at: float = field(default_factory=time.perf_counter)
    first_audio_at: float | None = None
    spoken: list[SpokenItem] = field(default_factory=list)
    text: Text = field(default_factory=Text)
    entry: Entry | None = None
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
        for key, pieces in self.text.parts.items():
            text, item = "".join(pieces), items.get(key[0], items.get(None))
            if key not in self.text.written:
                words = text.split(" ")
                text = " ".join(words[: self._words_heard(len(words), item, now)])
            heard.append(text)
        return "".join(heard).strip()

    def _words_heard(self, count: int, item: SpokenItem | None, now: float) -> int:
        if item is None:
            return 0  # its text came, and nothing of its speech
        heard_s = item.heard_s(now)
        words = int(count * heard_s / item.received_s)
        if self.state is ResponseState.DONE:
            return words
        # Text comes before its speech, and that of a track long before.
        per_s = WORDS_PER_S if item.id is None else FAST_WORDS_PER_S
        return min(words, math.ceil(heard_s * per_s))


class Playback:
    """What is being heard, of all responses."""

    def __init__(self) -> None:
        self.plays_until = 0.0
        self._playing: BoundedDict[Response, None] = BoundedDict(MAX_PLAYING)

    def add(self, response: Response, item_id: str | None, duration_s: float) -> None:
        """Count a piece of audio that was received."""
        now = time.perf_counter()
        start = max(now, self.plays_until)
        if not response.spoken or response.spoken[-1].id != item_id:
            response.spoken.append(SpokenItem(item_id, start, start))
            del response.spoken[:-MAX_PLAYING]
            for each in [r for r in self._playing if r.plays_until <= now]:
                del self._playing[each]
        if response not in self._playing:
            self._playing[response] = None
        response.spoken[-1].add(start, duration_s)
        self.plays_until = start + duration_s

    def unheard(self, now: float) -> list[Response]:
        """Responses of which something was received and not heard yet."""
        return [response for response in self._playing if response.plays_until > now]

    def silence(self, responses: list[Response], now: float) -> None:
        """Count responses as cut off: nothing more of them is heard."""
        for response in responses:
            self._playing.pop(response, None)
        ends = (response.plays_until for response in self._playing)
        self.plays_until = max(ends, default=now)

    def lost(self) -> None:
        """The session is gone: what came of it is still heard, and cannot be truncated."""
        for response in self._playing:
            response.orphaned = True
