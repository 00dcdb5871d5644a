"""The user's turns: where they start and end, and their transcripts."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from vision_agents.core.edge.types import Participant

from .bounded import BoundedDict
from .history import Entry, History
from .output import Output
from .session_events import UserTranscript

TRANSCRIPT_S = 2.0
"""How long the agent's text waits for the transcript of the user's turn before it."""

GROWTH_S = 0.5
"""How long a final transcript may be replaced by a longer one of the same turn."""

MAX_TRANSCRIPT = 100_000
"""Characters kept of the pieces of one transcript."""

MAX_TURNS = 64
"""How many turns are remembered, the newest."""


class TurnState(Enum):
    """Where a turn stands."""

    SPEAKING = auto()
    ENDED = auto()  # its transcript is due
    CLOSED = auto()  # nothing is waited for any more


@dataclass(slots=True, eq=False)
class UserTurn:
    """One turn of the user; ``heard`` in a final transcript, and ``shown`` as final.

    Attributes:
        waits_until: for its transcript, or for a longer one, in the loop's time.
    """

    item_id: str | None
    participant: Participant | None
    entry: Entry
    state: TurnState = TurnState.SPEAKING
    text: str = ""
    heard: bool = False
    shown: bool = False
    waits_until: float = 0.0


class UserTurns:
    """The turns of a session.

    Args:
        settled: called when the agent's text need not wait any longer.
    """

    def __init__(
        self, output: Output, history: History, settled: Callable[[], None]
    ) -> None:
        self.reports_speech = False  # this provider says when the user speaks
        self.current: UserTurn | None = None
        self._output = output
        self._history = history
        self._settled = settled
        self._turns: deque[UserTurn] = deque(maxlen=MAX_TURNS)
        self._named: BoundedDict[str, UserTurn] = BoundedDict(MAX_TURNS)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def speaking(self) -> bool:
        """The user speaks."""
        return self.current is not None and self.current.state is TurnState.SPEAKING

    @property
    def awaited(self) -> bool:
        """The transcript of a turn is due."""
        return any(turn.state is TurnState.ENDED for turn in self._turns)

    @property
    def unheard(self) -> bool:
        """Nobody knows what the user said last."""
        return self.current is not None and not self.current.entry.tellable

    def start(self, item_id: str | None, participant: Participant | None) -> None:
        """A turn begins."""
        self.show_finals()
        entry = self._history.begin("user", item_id)
        self.current = UserTurn(item_id, participant, entry)
        self._turns.append(self.current)
        if item_id is not None:
            self._named[item_id] = self.current

    def announce(self, *, ended: bool) -> None:
        """Put the start or the end of the current turn into the output."""
        if self.current is not None:
            self._output.user_speech(self.current.participant, ended=ended)

    def stop(self, item_id: str | None, *, transcribed: bool) -> None:
        """The current turn ended."""
        turn = self.current
        if turn is not None:
            self.name(item_id, turn)
            waits = transcribed and not turn.heard
            turn.state = TurnState.ENDED if waits else TurnState.CLOSED
            self.announce(ended=True)
            self._wait(turn, GROWTH_S if turn.heard else TRANSCRIPT_S)

    def name(self, item_id: str | None, turn: UserTurn | None = None) -> None:
        """A turn is this item of the conversation.

        Args:
            item_id: the item; nothing changes without one.
            turn: the turn; without one the first that has no name, or the current.
        """
        if self.current is None or item_id is None or item_id in self._named:
            return
        open_turns = [t for t in self._turns if t.state is not TurnState.CLOSED]
        unnamed = [t for t in [*open_turns, self.current] if t.item_id is None]
        turn = turn or next(iter(unnamed), self.current)
        if turn.item_id is None or turn in open_turns:
            turn.item_id = item_id
            turn.entry.name(item_id)
            self._named[item_id] = turn

    def find(self, event: UserTranscript) -> UserTurn | None:
        """Return the turn that a transcript belongs to; None where it begins one."""
        turn = self.current
        if event.item_id is not None:
            if turn is not None and turn.item_id is None:
                self.name(event.item_id)
            return self._named.get(event.item_id)
        if turn is None or self.reports_speech:
            return turn
        if turn.state is TurnState.CLOSED and turn.shown:
            return None
        grows = event.text.strip().startswith(turn.text)
        return turn if not turn.heard or grows else None

    def hear(self, turn: UserTurn, event: UserTranscript, *, hurry: bool) -> None:
        """Take a transcript: the next piece, or all of it so far.

        Args:
            turn: the turn it belongs to.
            event: the transcript.
            hurry: show a final one at once, for the agent's text waits.
        """
        if not event.final:
            if not turn.heard and turn.state is not TurnState.CLOSED:
                turn.text = (turn.text + event.text)[:MAX_TRANSCRIPT]
                self._output.user_text(turn.participant, event.text, "delta")
            return
        text = (event.text.strip() or turn.text.strip())[:MAX_TRANSCRIPT]
        repeated = turn.heard and text == turn.text
        turn.text = turn.entry.text = text
        if repeated or turn.shown:
            return  # the history has it; what was shown as final stays
        if text:
            self._output.user_text(turn.participant, text, "replacement")
        turn.heard = True
        if turn.state is not TurnState.SPEAKING:
            turn.state = TurnState.CLOSED
        self._wait(turn, GROWTH_S if text and not hurry else 0.0)

    def fail(self, item_id: str | None) -> None:
        """Wait no longer for the transcript of a turn, which is the first where none is named."""
        due = [turn for turn in self._turns if turn.state is TurnState.ENDED]
        named = self._named.get(item_id) if item_id is not None else None
        for turn in [named] if named in due else due[:1]:
            self._wait(turn, 0.0)

    def show_finals(self) -> None:
        """Show as final what was heard of the turns, in order."""
        for turn in self._turns:
            if turn.state is TurnState.ENDED:
                return  # its words come first
            self._show_final(turn)

    def settle(self) -> None:
        """Wait no longer for transcripts."""
        for turn in self._turns:
            turn.waits_until = 0.0
        self._look()

    def forget(self) -> None:
        """Forget turns whose session is gone."""
        self._stop_timer()
        self._turns.clear()
        self._named.clear()
        self.current = None

    def _wait(self, turn: UserTurn, seconds: float) -> None:
        turn.waits_until = asyncio.get_running_loop().time() + seconds
        self._look()

    def _look(self) -> None:
        """Show what need not wait any longer; look again when the next turn need not."""
        self._stop_timer()
        loop = asyncio.get_running_loop()
        for turn in self._turns:
            if turn.state is TurnState.ENDED and turn.waits_until <= loop.time():
                turn.state = TurnState.CLOSED
        for turn in self._turns:
            waits = turn.heard and not turn.shown and turn.waits_until > loop.time()
            if turn.state is TurnState.ENDED or waits:
                self._timer = loop.call_at(turn.waits_until, self._look)
                break
            self._show_final(turn)
        self._settled()

    def _show_final(self, turn: UserTurn) -> None:
        if turn.heard and turn.text and not turn.shown:
            turn.shown, turn.entry.shown = True, turn.text
            self._output.user_text(turn.participant, turn.text, "final")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
