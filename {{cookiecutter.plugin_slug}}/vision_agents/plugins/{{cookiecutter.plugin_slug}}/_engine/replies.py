"""A request for a response, and what its caller reads: deltas, then one final."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from msgspec import structs
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.utils.stream import Stream

from .session_events import ResponseDone, TextDelta, Usage
from .session_types import AddMessage, RequestForm
from .text import Text


def ms_since(moment: float) -> float:
    """Milliseconds since a `time.perf_counter()` reading."""
    return (time.perf_counter() - moment) * 1000


def new_request_id() -> str:
    """Return an id by which a response is known again."""
    return f"request_{uuid.uuid4().hex}"


def add_usage(one: Usage, other: Usage) -> Usage:
    """Add token counts; what neither states stays None."""
    counts = zip(*map(structs.astuple, (one, other)), strict=True)
    return Usage(*(b if a is None else a if b is None else a + b for a, b in counts))


def _gap(text: str, following: str) -> str:
    """What separates the texts of two responses."""
    apart = text[-1:].isspace() or following[:1].isspace()
    return " " if text and following and not apart else ""


@dataclass
class ResponseFinal(LLMResponseFinal):
    """The end of a response, with its tokens in detail: those cached, and those of audio."""

    usage: Usage = field(default_factory=Usage)


@dataclass(slots=True, eq=False)
class Reply:
    """A caller that waits for a response and for what follows its tools.

    Attributes:
        aside: its request is out of band.
        waits_for: tools that run for it; while there are any, silence is no timeout.
        texts: of all its responses.
        usage: of all of them together.
    """

    deltas: Stream[TextDelta] = field(default_factory=Stream)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    aside: bool = False
    waits_for: int = 0
    usage: Usage = field(default_factory=Usage)
    texts: list[Text] = field(default_factory=list)
    started_at: float = field(default_factory=time.perf_counter)
    first_ms: float | None = None
    count: int = 0
    last: TextDelta | None = None
    item_id: str | None = None
    original: object = None

    def send(self, delta: TextDelta) -> None:
        """Hand the caller the next delta; nothing once the reply has ended."""
        if self.last is not None and self.last.response_id != delta.response_id:
            text = _gap(self.last.text, delta.text) + delta.text
            delta = structs.replace(delta, text=text)
        self.last = delta
        if not self.ended.is_set():
            self.deltas.send_nowait(delta)

    def add(self, done: ResponseDone) -> None:
        """Take in a response that ended."""
        self.usage = add_usage(self.usage, done.usage)
        self.original = done.original

    def end(self, error: Exception | None = None) -> None:
        """End the caller's iteration, with what was said so far or with an error."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()
            self.deltas.close()

    async def next(self, timeout_s: float) -> LLMResponseDelta | None:
        """Wait for the next delta; None at the end.

        Raises:
            TimeoutError: nothing came for that long.
        """
        async with asyncio.timeout(timeout_s):
            delta = await anext(self.deltas, None)
        if delta is None:
            return None
        is_first = self.first_ms is None
        if is_first:
            self.first_ms = ms_since(self.started_at)
        self.item_id = delta.item_id
        self.count += 1
        return LLMResponseDelta(
            delta=delta.text,
            content_index=delta.content_index,
            item_id=delta.item_id,
            output_index=delta.output_index,
            sequence_number=self.count - 1,
            is_first_chunk=is_first,
            time_to_first_token_ms=self.first_ms if is_first else None,
        )

    def final(self, model: str) -> ResponseFinal:
        """All that was said, and what it took."""
        said = ""
        for text in map(str, self.texts):
            said += _gap(said, text) + text
        return ResponseFinal(
            text=said,
            item_id=self.item_id,
            latency_ms=ms_since(self.started_at),
            time_to_first_token_ms=self.first_ms,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            total_tokens=self.usage.total_tokens,
            model=model,
            original=self.original,
            usage=self.usage,
        )


class Kind(Enum):
    """What a response is asked for."""

    PROMPT = auto()  # a caller's text
    TURN = auto()  # the user's turn, ended by hand or lost with a session
    CONTINUATION = auto()  # results of tools


@dataclass(slots=True, eq=False)
class Request:
    """A response that is asked for."""

    kind: Kind
    form: RequestForm = field(default_factory=RequestForm)
    prompt: tuple[AddMessage, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)
    id: str = ""  # of the last time that it was sent
    asked_at: float = 0.0
    first_asked_at: float = 0.0  # of this session
    by_itself: bool = False  # the provider goes on without being asked
    for_user: bool = False  # the user waits for it, too, or alone
    sent: bool = False
    told: bool = False  # its prompt is in the history
    wanted: bool = True
