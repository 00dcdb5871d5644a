"""How an echo says an answer: piece by piece, in text or in speech."""

import asyncio
from dataclasses import dataclass, field

from realtime_testkit import protocol
from realtime_testkit.protocol import Tool

from .codec import ResponseRequest
from .echo_speech import PIECE_MS, chirp, pieces, resampled, words
from .line import Line
from .scenario import Reply


@dataclass(eq=False)
class Answer:
    """A response: what it says, and to what.

    Attributes:
        heard: what it repeats, as it was spoken.
        may_call: it may call a tool.
        reply: what a scenario says of it.
        tool: what it calls, once a client approved the arguments in ``approved``.
    """

    response_id: str
    request: ResponseRequest
    text: str
    asked: str
    request_id: str | None = None
    heard: bytes = field(default=b"", repr=False)
    may_call: bool = True
    reply: Reply | None = None
    tool: Tool | None = None
    approved: str = ""
    spoken_s: float = 0.0
    task: asyncio.Task[None] | None = None


class AnswerWriter:
    """Says answers.

    Args:
        line: they go out here.
        pace: speed of speech, 1.0 for real time; 0 says everything at once.
        holds: cleared, the last piece of each answer is kept back.
    """

    def __init__(self, line: Line, pace: float, holds: asyncio.Event) -> None:
        self._line = line
        self._pace = pace
        self._holds = holds

    async def write(
        self, response_id: str, item_id: str, text: str, status: protocol.ResponseStatus
    ) -> None:
        """Say it in text."""
        *first, last = words(text)
        for piece in first:
            await self._line.say_if_supported(
                protocol.TextDelta(response_id, piece, False, item_id)
            )
        await self._holds.wait()
        await self._line.say_if_supported(protocol.TextDelta(response_id, last, False, item_id))
        if status == "completed":
            await self._line.say_if_supported(protocol.TextDone(response_id, text, False, item_id))

    async def speak(
        self, answer: Answer, item_id: str, text: str, status: protocol.ResponseStatus
    ) -> None:
        """Say it in speech, with its transcript."""
        response_id, config = answer.response_id, answer.request.config
        rate, heard = config.output_rate, answer.heard
        speech = resampled(heard, config.input_rate, rate) if heard else chirp(text, rate)
        sound, said = pieces(speech, rate), 0
        spoken_words = words(text)
        for index, piece in enumerate(sound, start=1):
            if index == len(sound):
                await self._holds.wait()
            due = -(-len(spoken_words) * index // len(sound))  # words keep step with the sound
            if due > said:
                delta = "".join(spoken_words[said:due])
                said = due
                await self._line.say_if_supported(
                    protocol.TextDelta(response_id, delta, True, item_id)
                )
            await self._line.say_if_supported(protocol.AudioDelta(response_id, piece, item_id))
            answer.spoken_s += len(piece) / 2 / rate
            await asyncio.sleep(PIECE_MS / 1000 / self._pace if self._pace else 0)
        if status == "completed":
            await self._line.say_if_supported(protocol.TextDone(response_id, text, True, item_id))


def usage_of(answer: Answer) -> protocol.Usage:
    """The tokens that an answer used: words, and 20 for each second of speech."""
    asked, said = len(answer.asked.split()), len(answer.text.split())
    heard, spoken = len(answer.heard) // 4800, round(answer.spoken_s * 20)
    return protocol.Usage(
        asked + heard, said + spoken, asked + heard + said + spoken, 0, heard, spoken
    )
