"""Brings what a provider says about its responses into step with its audio track (WebRTC).

A response is generated faster than it is spoken. Its end counts once it was spoken and
the last of that has arrived. Which response the track carries is told by messages, or
where the provider has no such messages, by the order of the responses.
"""

from dataclasses import dataclass
from enum import Enum, auto

from .bounded import BoundedDict
from .session_events import (
    AudioCommitted,
    AudioDelta,
    Event,
    Interrupted,
    OutputStarted,
    OutputStopped,
    ResponseDone,
    ResponseStarted,
    TextDelta,
    TextDone,
    ToolCall,
    UserSpeechStarted,
    UserTranscript,
    UserTranscriptFailed,
)
from .tracks import Sound

QUIET_PEAK = 100
"""What stays below this, of 32768, is silence."""

TAIL_S = 0.2
"""How much audio comes after the message that all was sent: what waits in the jitter
buffer and on the way."""

MAX_TAIL_S = 0.6
"""How long to wait for that."""

DEAF_S = 0.1
"""How much audio still comes of a response that was cut off, where nothing tells it from
the next one's."""

START_S = 0.75
"""How long after the end of a response its audio may begin, where nothing announces it."""

LATE_S = 0.3
"""Audio of a response that the provider should have announced is heard this much later."""

SILENCE_S = 1.0
"""Silence after which a response was spoken to its end, where no message says so."""

LOST_S = 1.5
"""The same, where a message should say so."""

KEPT_SILENCE_S = 0.4
"""How much of that silence is heard."""

MAX_RESPONSES = 64
"""How many responses may be in progress, the newest."""


class Stage(Enum):
    """Where the response stands that the track carries."""

    NONE = auto()  # the track carries silence
    DUE = auto()  # it was generated to its end, and no audio of it came yet
    SPEAKING = auto()
    GENERATED = auto()  # it was generated to its end, and its audio goes on
    SENT = auto()  # all of its audio was sent; the last of it is on its way


@dataclass(slots=True, eq=False)
class _Answer:
    """A response that was not heard to its end.

    Attributes:
        mute: it seems to have no speech; None while nothing tells.
    """

    mute: bool | None = None
    heard: bool = False


class Playout:
    """Events and audio go in as they come, and come out in step.

    Times are the event loop's.

    Attributes:
        speaking: the response whose audio the track carries.
    """

    def __init__(self) -> None:
        self.speaking: str | None = None
        self._stage = Stage.NONE
        self._since = 0.0  # when it got there
        self._loud_at = 0.0
        self._tail_s = 0.0
        self._held: list[Event] = []  # what waits for the end of the audio
        self._answers: BoundedDict[str, _Answer] = BoundedDict(MAX_RESPONSES)
        self._announces = False  # the provider says when it speaks
        self._deaf_until = (
            0.0  # what still comes belongs to a response that was cut off
        )
        self._unclaimed: list[bytes] = []
        self._unclaimed_s = 0.0

    @property
    def deadline(self) -> float | None:
        """When `expire` is to be called."""
        match self._stage:
            case Stage.DUE:
                return self._since + START_S
            case Stage.GENERATED:
                silence_s = LOST_S if self._announces else SILENCE_S
                if not self._announces and self._next() is not None:
                    silence_s = TAIL_S
                return max(self._since, self._loud_at) + silence_s
            case Stage.SENT:
                return self._since + MAX_TAIL_S
        return None

    def expire(self) -> list[Event]:
        """Wait for the end of the audio no longer."""
        return self._end()

    def hear(self, sound: Sound, now: float) -> list[Event]:
        """Take the next piece of the track."""
        loud = not is_quiet(sound.data)
        if not loud:
            self._deaf_until = 0.0
        if self.speaking is None or self._stage is Stage.DUE:
            return self._claim(sound, now) if loud and now >= self._deaf_until else []
        if loud:
            self._loud_at = now
        silence_s = now - max(self._loud_at, self._since)
        unannounced = self._stage is Stage.GENERATED and not self._announces
        if silence_s > (KEPT_SILENCE_S if unannounced else LOST_S):
            return []  # silence is not speech of a response whose end was lost
        heard: list[Event] = [AudioDelta(self.speaking, sound.data)]
        if self._stage is Stage.SENT:
            self._tail_s -= sound.seconds
            if self._tail_s <= 0:
                heard += self._end()
        return heard

    def take(self, event: Event, now: float) -> list[Event]:
        """Take the next event; what has to wait comes out later."""
        match event:
            case OutputStarted(response_id):
                return self._started(response_id, now)
            case OutputStopped(response_id, cleared):
                return self._stopped(response_id, now, cleared=cleared)
            case UserSpeechStarted() if self._is_spoken(now):
                return [*self._end(), event]
            case Interrupted() if self._is_spoken(now):
                return [*self._end(), event]
            case Interrupted():
                return [event, *self._cut(now)]
            case ResponseDone(response_id, "cancelled") if response_id == self.speaking:
                return [*self._cut(now), event]
            case ResponseDone(response_id) if response_id == self.speaking:
                if self._stage is Stage.SPEAKING:
                    self._go(Stage.GENERATED, now)
                self._held.append(event)
                return []
            case UserTranscript() | UserTranscriptFailed() | AudioCommitted():
                return [event]
            case _ if self._stage in (Stage.DUE, Stage.SENT):
                self._held.append(event)
                return []
            case ResponseStarted(response_id):
                ended = self._end() if self._is_spoken(now) else []
                self._answers[response_id] = _Answer()
                return [*ended, event]
            case TextDelta(response_id) | TextDone(response_id):
                self._mark(response_id, mute=not event.spoken)
            case ToolCall(response_id):
                self._mark(response_id, mute=True)
            case ResponseDone(response_id, status):
                answer = self._answers.get(response_id)
                due = answer is not None and not answer.mute and not answer.heard
                if (
                    due
                    and status == "completed"
                    and not self._announces
                    and not self.speaking
                ):
                    self.speaking = response_id
                    self._go(Stage.DUE, now)
                    self._held.append(event)
                    return []
                self._answers.pop(response_id, None)
        return [event]

    def _started(self, response_id: str, now: float) -> list[Event]:
        self._announces = True
        ended: list[Event] = []
        if self._stage is Stage.DUE and response_id == self.speaking:
            self._go(Stage.GENERATED, now)
        elif response_id != self.speaking or self._stage is Stage.SENT:
            ended = self._end()
            self.speaking = response_id
            self._go(Stage.SPEAKING, now)
        self._loud_at = now
        return ended + self._claimed()

    def _stopped(self, response_id: str, now: float, *, cleared: bool) -> list[Event]:
        if response_id != self.speaking:
            return []
        if cleared:
            return self._cut(now)
        self._tail_s = TAIL_S
        self._go(Stage.SENT, now)
        return []

    def _claim(self, sound: Sound, now: float) -> list[Event]:
        """Find whose audio this is that nothing announced."""
        unheard = [key for key, answer in self._answers.items() if not answer.heard]
        response_id = (
            self.speaking or self._next() or (unheard[-1] if unheard else None)
        )
        if response_id is None:
            return []
        self._unclaimed.append(sound.data)
        self._unclaimed_s += sound.seconds
        if self._announces and self._unclaimed_s < LATE_S:
            return []
        self.speaking, self._loud_at = response_id, now
        self._go(Stage.GENERATED if self._stage is Stage.DUE else Stage.SPEAKING, now)
        return self._claimed()

    def _claimed(self) -> list[Event]:
        data, self._unclaimed, self._unclaimed_s = b"".join(self._unclaimed), [], 0.0
        if self.speaking is None or not data:
            return []
        return [AudioDelta(self.speaking, data)]

    def _next(self) -> str | None:
        """The oldest response in progress that seems to have speech, and was not heard."""
        for response_id, answer in self._answers.items():
            if not (answer.mute or answer.heard):
                return response_id
        return None

    def _mark(self, response_id: str, *, mute: bool) -> None:
        answer = self._answers.get(response_id)
        # A tool call, or written text, after the first words does not take them back.
        if answer is not None and not answer.heard and answer.mute is not False:
            answer.mute = mute

    def _is_spoken(self, now: float) -> bool:
        """The response was generated and spoken to its end, as far as can be told."""
        silent = now - max(self._loud_at, self._since) >= TAIL_S and not self._announces
        return self._stage in (Stage.DUE, Stage.SENT) or (
            self._stage is Stage.GENERATED and silent
        )

    def _go(self, stage: Stage, now: float) -> None:
        self._stage, self._since = stage, now
        answer = self._answers.get(self.speaking or "")
        if answer is not None and stage is not Stage.DUE:
            answer.heard = True

    def _cut(self, now: float) -> list[Event]:
        """End a response in the middle: what still comes of it is dropped."""
        if self.speaking is not None:
            self._deaf_until = now + DEAF_S
        return self._end()

    def _end(self) -> list[Event]:
        if self._held:
            self._answers.pop(self.speaking or "", None)
        self.speaking, self._stage = None, Stage.NONE
        self._unclaimed, self._unclaimed_s = [], 0.0
        held, self._held = self._held, []
        return held


def is_quiet(
    data: bytes,
) -> bool:  # C19: packed, as it goes to the track and comes from it
    """Whether packed 16-bit samples are silence."""
    samples = memoryview(data).cast("h")
    return not samples or max(max(samples), -min(samples)) < QUIET_PEAK
