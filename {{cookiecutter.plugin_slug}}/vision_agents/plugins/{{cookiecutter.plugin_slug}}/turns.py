"""Who is speaking, what is being said, and how much of it was heard.

The state of one connection's conversation, without sockets and without output.
Not edited for a provider.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.utils.stream import Stream

from . import events


def new_request_id() -> str:
    """An id for a CreateResponse, by which its response is known again."""
    return f"request_{uuid.uuid4().hex}"


def ms_since(moment: float) -> float:
    """Milliseconds since a `time.perf_counter()` reading."""
    return (time.perf_counter() - moment) * 1000


@dataclass(slots=True, eq=False)
class Reply:
    """A caller waiting for a response and for what follows its tools."""

    request_id: str = field(default_factory=new_request_id)
    deltas: Stream[events.TextDelta] = field(default_factory=Stream)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False  # the whole request was sent
    error: Exception | None = None
    tools_running: int = 0
    started_at: float = field(default_factory=time.perf_counter)
    first_ms: float | None = None
    count: int = 0
    responses: "list[Response]" = field(default_factory=list)
    item_id: str | None = None
    done: events.ResponseDone | None = None

    def send(self, delta: events.TextDelta) -> None:
        """Hand the caller the next delta; nothing once the reply has ended."""
        if not self.ended.is_set():
            self.deltas.send_nowait(delta)

    def end(self, error: Exception | None = None, done: events.ResponseDone | None = None) -> None:
        """End the caller's iteration, with what was said so far or with an error."""
        if not self.ended.is_set():
            self.error = error
            self.done = done
            self.ended.set()
            self.deltas.close()

    async def next(self, timeout_s: float) -> LLMResponseDelta | None:
        """Wait for the next delta; None at the end.

        Raises:
            TimeoutError: the provider was silent for that long, and no tool was running.
        """
        while True:
            try:
                async with asyncio.timeout(timeout_s):
                    delta = await anext(self.deltas, None)
                break
            except TimeoutError:
                if not self.tools_running:
                    raise
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

    def final(self, model: str) -> LLMResponseFinal:
        """All that was said, and what it took."""
        usage = self.done.usage if self.done is not None else events.Usage()
        return LLMResponseFinal(
            text="".join(response.text for response in self.responses),
            item_id=self.item_id,
            latency_ms=ms_since(self.started_at),
            time_to_first_token_ms=self.first_ms,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
            model=model,
            original=self.done.original if self.done is not None else None,
        )


@dataclass(slots=True, eq=False)
class SpokenItem:
    """An item of the conversation that has a voice.

    Times are `time.perf_counter()` seconds. There is no playback position to go by:
    audio is taken to be heard from when it came, one piece after another.
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
    """A response the provider is giving."""

    id: str
    reply: Reply | None = None
    started_at: float = field(default_factory=time.perf_counter)
    first_audio_at: float | None = None
    spoken: list[SpokenItem] = field(default_factory=list)
    parts: dict[tuple[str | None, int], str] = field(default_factory=dict)
    shown: int = 0  # characters of the text that were emitted
    odd_byte: bytes = b""
    open_calls: int = 0
    called: bool = False
    done: bool = False
    stopped: bool = False  # by the provider itself

    @property
    def text(self) -> str:
        """All text so far."""
        return "".join(self.parts.values())

    @property
    def plays_until(self) -> float:
        """When the last of it so far is heard."""
        return self.spoken[-1].plays_until if self.spoken else 0.0

    def whole_samples(self, data: bytes) -> bytes:
        """Join what was split inside a sample; the odd byte waits for its other half."""
        data = self.odd_byte + data
        whole = len(data) - len(data) % 2
        self.odd_byte = data[whole:]
        return data[:whole]

    def add_text(self, event: events.TextDelta | events.TextDone) -> str:
        """Take the next text; returns what is new of it."""
        part = (event.item_id, event.content_index)
        so_far = self.parts.get(part, "")
        if isinstance(event, events.TextDelta):
            self.parts[part] = so_far + event.text
            return event.text
        self.parts[part] = event.text or so_far
        return event.text[len(so_far) :] if event.text.startswith(so_far) else ""

    def unshown_text(self) -> str:
        """The text since the last call."""
        text = self.text[self.shown :]
        self.shown += len(text)
        return text


@dataclass(slots=True, eq=False)
class Turns:
    """What only makes sense on one connection; a new one starts with a new Turns.

    Attributes:
        responses: in progress, by id.
        ended: ids of responses that are over: what is still said of them is dropped.
        playing: responses of which something may not have been heard yet, by id.
        wanted: requests sent, no response yet; None where nobody waits for it.
        continuing: done but for tools, whose results ask for another response.
        calls: tools running, by call id.
        called: ids of all calls, for a call told twice is run once.
        speakers: who spoke an item of the conversation.
        user_text: pieces of a transcript so far, by item.
        transcribed: items whose transcript is final.
        user: who is speaking, or spoke last.
        hears_speech: this provider says when the user speaks.
        transcript_due: a turn ended and its transcript is not there yet.
        response_due: a turn ended and the provider will answer it by itself.
        discard_next: the next response nobody requested answers a turn that is over.
    """

    responses: dict[str, Response] = field(default_factory=dict)
    ended: deque[str] = field(default_factory=lambda: deque(maxlen=64))
    playing: dict[str, Response] = field(default_factory=dict)
    plays_until: float = 0.0
    wanted: dict[str, Reply | None] = field(default_factory=dict)
    continuing: list[Response] = field(default_factory=list)
    calls: dict[str, Response] = field(default_factory=dict)
    called: deque[str] = field(default_factory=lambda: deque(maxlen=256))
    speakers: dict[str | None, Participant | None] = field(default_factory=dict)
    user_text: dict[str | None, str] = field(default_factory=dict)
    transcribed: deque[str | None] = field(default_factory=lambda: deque(maxlen=64))
    user_speaking: bool = False
    user: Participant | None = None
    hears_speech: bool = False
    transcript_due: bool = False
    response_due: bool = False
    discard_next: bool = False

    @property
    def busy(self) -> bool:
        """Something is being said, heard or asked for, so a user who speaks barges in."""
        return bool(self.responses or self.wanted or self.plays_until > time.perf_counter())

    def response(self, response_id: str) -> Response | None:
        """The response of that id; None once it ended, so that what is late is dropped."""
        response = self.responses.get(response_id)
        if response is None and response_id not in self.ended:
            response = self.responses[response_id] = Response(response_id)
        return response

    def play(self, response: Response, item_id: str | None, duration_s: float) -> None:
        """Count a piece of audio that was received."""
        now = time.perf_counter()
        if not response.spoken or response.spoken[-1].id != item_id:
            response.spoken.append(SpokenItem(item_id, max(now, self.plays_until)))
            while self.playing and next(iter(self.playing.values())).plays_until <= now:
                del self.playing[next(iter(self.playing))]
        self.playing[response.id] = response
        response.spoken[-1].received_s += duration_s
        self.plays_until = max(now, self.plays_until) + duration_s

    def unheard(self, now: float) -> list[Response]:
        """Responses of which something was received and not heard yet."""
        return [response for response in self.playing.values() if response.plays_until > now]

    def silence(self, responses: list[Response], now: float) -> None:
        """Count responses as cut off: nothing more of them is heard, or has to be cut."""
        for response in responses:
            self.playing.pop(response.id, None)
        ends = (response.plays_until for response in self.playing.values())
        self.plays_until = max(ends, default=now)

    def finish(self, response: Response) -> None:
        """Count a response as over: whatever is still said of it comes too late."""
        response.done = True
        del self.responses[response.id]
        self.ended.append(response.id)

    def speaker_of(self, item_id: str | None, now_speaking: Participant | None) -> None:
        """Remember who spoke an item, for its transcript comes later."""
        if item_id is not None and item_id not in self.speakers:
            self.speakers[item_id] = now_speaking
            if len(self.speakers) > 64:
                del self.speakers[next(iter(self.speakers))]

    def cut_all(self, now: float) -> list[Response]:
        """End every request; returns the responses that are said or heard right now."""
        self.wanted.clear()
        self.continuing.clear()
        self.discard_next = self.discard_next or self.response_due
        self.response_due = False
        return [*self.responses.values(), *(r for r in self.unheard(now) if r.done)]

    def cut_reply(self, reply: Reply) -> list[Response]:
        """End one caller's requests; returns the responses it was being given."""
        self.wanted = {key: value for key, value in self.wanted.items() if value is not reply}
        self.continuing = [r for r in self.continuing if r.reply is not reply]
        return [r for r in self.responses.values() if r.reply is reply]

    def replies(self) -> Iterable[Reply]:
        """Callers whose request was sent and not answered to the end."""
        waiting = [r.reply for r in (*self.responses.values(), *self.continuing)]
        waiting += [reply for reply in self.wanted.values() if reply is not None and reply.asked]
        return (reply for reply in waiting if reply is not None)
