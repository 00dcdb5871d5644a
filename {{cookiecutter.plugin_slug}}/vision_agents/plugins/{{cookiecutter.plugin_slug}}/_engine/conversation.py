"""Who speaks: turns, barge-in, truncation, and what is shown of both sides."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .audio import decode
from .history import History
from .output import Output
from .responses import Playback, Response, ResponseState
from .scheduler import Scheduler
from .session_events import (
    AudioDelta,
    TextDelta,
    TextDone,
    UserTranscript,
    UserTranscriptFailed,
)
from .session_types import CancelResponse, Command, SessionSettings, TruncateItem
from .user_turns import MAX_TURNS, UserTurns

if TYPE_CHECKING:
    from vision_agents.core.edge.types import Participant

logger = logging.getLogger(__name__)


class Conversation:
    """User and agent, over one session after another.

    Args:
        settings: of the open session.
        interrupt_after_s: how long the user has to speak before that interrupts the agent;
            None for never.
        clear_output: the base class's interrupt().
        tell: sends commands to the session, if there is one.
    """

    def __init__(
        self,
        output: Output,
        scheduler: Scheduler,
        history: History,
        *,
        settings: SessionSettings,
        interrupt_after_s: float | None,
        clear_output: Callable[[], Awaitable[None]],
        tell: Callable[..., Awaitable[None]],
    ) -> None:
        self.settings = settings
        self.speaker: Participant | None = None  # whose audio came last
        self.turns = UserTurns(output, history, self._show_waiting)
        self._output = output
        self._scheduler = scheduler
        self._history = history
        self._interrupt_after_s = interrupt_after_s
        self._interrupting: asyncio.Task[None] | None = None
        self._clear_output = clear_output
        self._tell = tell
        self._playback = Playback()
        self._waiting: list[Response] = []  # their text waits for the user's

    @property
    def busy(self) -> bool:
        """The agent speaks or is about to, so a user who speaks interrupts it."""
        return self._scheduler.busy or self._playback.plays_until > time.perf_counter()

    def follow(self, settings: SessionSettings) -> None:
        """Behave as a session's settings say from here on."""
        self.settings = settings
        self._scheduler.answers_turns = (
            settings.detects_turns and settings.creates_response
        )

    async def speech_started(
        self, item_id: str | None, *, barges_in: bool = True
    ) -> None:
        """The user begins to speak; told twice it counts once."""
        if self.turns.speaking:
            self.turns.name(item_id, self.turns.current)
            return
        self.turns.start(item_id, self.speaker)
        self._scheduler.user_started()
        if barges_in and (self.busy or self._scheduler.due):
            await self._interrupt()
        self.turns.announce(ended=False)

    def speech_stopped(self, item_id: str | None, *, answered: bool = True) -> None:
        """The user's turn ended; ``answered`` by the provider without being asked."""
        if self.turns.speaking:
            if answered:
                self._scheduler.user_stopped()
            else:
                self._scheduler.user_speaks = False
            self.turns.stop(item_id, transcribed=self.settings.transcribes)

    async def user_transcript(self, event: UserTranscript) -> None:
        """Take a transcript of the user's speech, in pieces, or growing finals."""
        turn = self.turns.find(event)
        if turn is None and event.text.strip():
            # All that this provider ever says of the user's speech.
            await self.speech_started(event.item_id, barges_in=False)
            turn = self.turns.current
        if turn is None:
            return
        if event.final and turn is self.turns.current and not self.turns.reports_speech:
            self.speech_stopped(event.item_id, answered=False)
        self.turns.hear(turn, event, hurry=bool(self._waiting))

    def transcript_failed(self, event: UserTranscriptFailed) -> None:
        """A turn could not be transcribed: nothing of it will be shown."""
        why = event.code or "unknown"
        logger.warning("A turn of the user was not transcribed: %s", why)
        self.turns.fail(event.item_id)

    def audio(self, event: AudioDelta) -> None:
        """Take a piece of the agent's speech."""
        response, form = self._scheduler.find(event.response_id), self.settings.output
        if response is None or response.aside:
            return
        data = (
            response.whole_samples(event.data)
            if form.encoding == "pcm16"
            else event.data
        )
        if not data:
            return
        pcm = decode(data, form)
        if response.first_audio_at is None:
            response.first_audio_at = time.perf_counter()
            self._output.agent_speech(response.id, ended=False)
        self._playback.add(response, event.item_id, pcm.duration)
        self._output.audio(pcm, response.id)

    def text(self, event: TextDelta | TextDone) -> None:
        """Take the agent's next text."""
        response = self._scheduler.find(event.response_id)
        if response is None:
            return
        if new := response.text.add(event):
            parts = (
                event.spoken,
                event.item_id,
                event.output_index,
                event.content_index,
            )
            for reply in response.replies:
                reply.send(TextDelta(response.id, new, *parts))
        if not response.aside:
            if response.entry is None:
                response.entry = self._history.begin("assistant")
            response.entry.name(event.item_id)
            self._show(response)

    def response_started(self, response: Response) -> None:
        """A response that nothing called for ends the turn of a user who seems to speak."""
        if response.unasked:
            self.speech_stopped(None, answered=False)

    def response_done(self, response: Response) -> None:
        """A response ended by itself."""
        self._scheduler.done(response)
        if response.aside:
            return
        text = str(response.text).strip()
        if response.entry is not None:
            response.entry.text = text
        if text:
            self._show(response)
        else:
            self.turns.show_finals()
        if response.first_audio_at is not None:
            self._output.agent_speech(response.id, ended=True)
        self._output.audio_done(response.id)

    async def interrupted(self, response_id: str | None) -> None:
        """The provider stopped a response because the user spoke, or a request came."""
        if self._scheduler.confirm(response_id) is not None:
            return  # it was cut here before
        for response in self._scheduler.active.values():
            response.stopped = response.stopped or response_id in (None, response.id)
        if self._scheduler.interrupts:
            stopped = [r for r in self._scheduler.active.values() if r.stopped]
            await self.hush()
            await self._tell(*self.cut(stopped, announce=True))
            return
        if self.busy:
            await self.barge_in()
        if not self.turns.reports_speech:
            await self.speech_started(None)

    async def barge_in(self) -> None:
        """The user interrupts: silence first, then tell the provider."""
        await self.hush()
        await self._tell(*self.cut_all(announce=True))

    async def hush(self) -> None:
        """Clear the agent's speech and text from the output, and nothing else."""
        kept = self._output.unspoken()
        await self._clear_output()
        self._output.put_back(kept)

    def cut_all(self, *, announce: bool) -> list[Command]:
        """End all that is said, heard or asked for; returns what the provider has to be told."""
        self._scheduler.withdraw()
        active = [r for r in self._scheduler.active.values() if not r.aside]
        unheard = self._playback.unheard(time.perf_counter())
        return self.cut(
            active + [r for r in unheard if r not in active], announce=announce
        )

    def cut(self, responses: list[Response], *, announce: bool) -> list[Command]:
        """End responses, in progress or over and still being heard.

        Args:
            responses: those.
            announce: put Done(interrupted=True) into the output, for the agent's flow.
        """
        now = time.perf_counter()
        commands: list[Command] = []
        for response in responses:
            if response.interrupted:
                continue
            over = response.state is ResponseState.DONE
            if not over and not response.stopped:
                commands.append(CancelResponse(response.id))
            commands += [
                TruncateItem(item.id, int(item.heard_s(now) * 1000))
                for item in response.spoken
                if item.id is not None and (item.plays_until > now or not over)
                if not response.orphaned
            ]
            self._show_cut(response, now, announce=announce, over=over)
            self._scheduler.cut(response)
            if response.stopped:
                self._scheduler.done(response)
        self._playback.silence(responses, now)
        return commands

    def lost(self, responses: list[Response]) -> None:
        """End what a lost session was saying."""
        self.cut(responses, announce=True)
        if self.turns.speaking:
            self.turns.stop(None, transcribed=False)
        self.turns.settle()
        self._forget_session()
        self._playback.lost()

    def forget(self) -> None:
        """Forget everything; nothing of it is heard any more."""
        self._forget_session()
        self._playback = Playback()

    def _forget_session(self) -> None:
        self._stop_waiting()
        self.turns.forget()
        self._waiting.clear()

    async def _interrupt(self) -> None:
        """Barge in, at once or when the user has spoken for long enough."""
        if self._interrupt_after_s:
            self._stop_waiting()
            self._interrupting = asyncio.create_task(
                self._interrupt_later(self._interrupt_after_s)
            )
        elif self._interrupt_after_s is not None and self.settings.interrupts_response:
            await self.barge_in()

    async def _interrupt_later(self, seconds: float) -> None:
        turn = self.turns.current
        await asyncio.sleep(seconds)
        still = turn is self.turns.current and self.turns.speaking
        if still and (self.busy or self._scheduler.due):
            await self.barge_in()

    def _stop_waiting(self) -> None:
        if self._interrupting is not None:
            self._interrupting.cancel()
            self._interrupting = None

    def _show_cut(
        self, response: Response, now: float, *, announce: bool, over: bool
    ) -> None:
        text = str(response.text).strip()
        if entry := response.entry:
            entry.text, entry.shown = response.heard_text(now), text
        if response.aside:
            return
        if response in self._waiting and not (announce and text):
            self._waiting.remove(response)
        elif not over and text and announce and response not in self._waiting:
            self._output.agent_text(str(response.text), "final")
        if not over and response.first_audio_at is not None:
            self._output.agent_speech(response.id, ended=True, interrupted=True)
        if announce:
            self._output.audio_done(response.id, interrupted=True)

    def _show(self, response: Response) -> None:
        """Show the agent's text, once the user's words before it are shown."""
        if self.turns.awaited:
            if response not in self._waiting:
                self._waiting.append(response)
                del self._waiting[:-MAX_TURNS]
            return
        self.turns.show_finals()
        text = response.text
        if text.corrected:
            self._output.agent_text(str(text), "replacement")
        elif (new := "".join(text.unshown)).strip():
            self._output.agent_text(new, "delta")
        else:
            new = ""
        if text.corrected or new:
            text.unshown.clear()
            text.corrected = False
        if response.state is ResponseState.DONE or response.interrupted:
            self._output.agent_text(str(text), "final")

    def _show_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for response in waiting:
            self._show(response)
