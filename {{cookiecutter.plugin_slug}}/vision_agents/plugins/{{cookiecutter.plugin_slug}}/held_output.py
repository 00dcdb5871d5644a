"""Output that has to survive a barge-in.

The agent's flow answers Done(interrupted=True) with an interrupt() of its own, which
clears all output there is. What is said after a barge-in (the user's words, the next
response) is therefore held back until the flow has answered. Not edited for a provider.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import TypeVar

from vision_agents.core.llm.realtime import RealtimeAudioOutputDone
from vision_agents.core.utils.stream import Stream

FLOW_ANSWER_S = 0.25
"""How long to wait for the flow's answer before going on without one, for there may
be no flow, and the output has no signal that something was taken from it."""

ItemT = TypeVar("ItemT")


class HeldOutput:
    """Emits at once, or after the flow answered the last barge-in."""

    def __init__(self) -> None:
        self._held: list[tuple[str | None, Callable[[], None]]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered: RealtimeAudioOutputDone | None = None

    @property
    def awaits_answer(self) -> bool:
        """A barge-in was announced and the flow has not answered."""
        return self._unanswered is not None

    def emit(self, emit: Callable[[], None], response_id: str | None = None) -> None:
        """Call ``emit`` now, or once the flow has answered."""
        if self._held is None:
            emit()
        else:
            self._held.append((response_id, emit))

    def hold(self, done: RealtimeAudioOutputDone, output: Stream[ItemT]) -> None:
        """Hold output back from here on, ``done`` having just been put into it."""
        if self.unseen(output) is None:
            self._unanswered = done
        if self._held is None:
            self._held = []
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FLOW_ANSWER_S, self._give_up, output)

    def unseen(self, output: Stream[ItemT]) -> RealtimeAudioOutputDone | None:
        """The barge-in that nobody took from the output yet."""
        done = self._unanswered
        return done if any(item is done for item in output.peek()) else None

    def release(self) -> None:
        """Emit what was held: the flow has answered."""
        held, self._held = self._held, None
        self.forget()
        for _, emit in held or ():
            emit()

    def drop(self, response_ids: Collection[str]) -> None:
        """Forget what is held of these responses."""
        if self._held is not None:
            self._held = [held for held in self._held if held[0] not in response_ids]

    def forget(self) -> None:
        """Forget everything held, and that an answer is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unanswered = None
        self._held = None

    def _give_up(self, output: Stream[ItemT]) -> None:
        # Still in the queue: whoever reads it is slow, and may answer yet.
        unseen = self.unseen(output)
        self.release()
        self._unanswered = unseen
