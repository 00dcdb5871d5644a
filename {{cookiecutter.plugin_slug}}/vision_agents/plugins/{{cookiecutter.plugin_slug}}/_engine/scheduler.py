"""Decides when a response is asked for: the one place that does.

The provider gives one response of the conversation at a time. Requests by text,
continuations after tools and manual commits wait here until it is free, see
docs/responses.md of the template for the table of states.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from .bounded import BoundedDict
from .errors import ResponseError, SessionError
from .replies import Kind, Reply, Request, new_request_id
from .responses import Response, ResponseState
from .session import Session
from .session_events import Fault, ResponseStarted
from .session_types import Traits

TURN_S = 2.0
"""How long the provider may take to begin its answer to the user's turn."""

OWED_S = 60.0
"""How long after the user's turn a lost session still owes its answer."""

GRACE_S = 0.25
"""A response that is silent is given up so much later than its caller gives it up."""

KEPT = 64
"""How many responses in progress, and how many ids of ended ones times four, are kept."""

UNKNOWN = "unknown"
"""The id of a response that was never announced here."""

logger = logging.getLogger(__name__)


class Scheduler:
    """The responses asked for, due and in progress.

    Args:
        traits: how the provider behaves.
        timeout_s: bound on the provider's silence; nothing blocks for longer.
        send: sends a request to a session.
        failed: called with the error of a request that no caller waits for.
        gave_up: called with a response that is over because nothing more came of it.
    """

    def __init__(
        self,
        traits: Traits,
        timeout_s: float,
        *,
        send: Callable[[Session, Request], Awaitable[None]],
        failed: Callable[[Exception], None],
        gave_up: Callable[[Response], None],
    ) -> None:
        self.answers_turns = True  # the provider answers the user's turn by itself
        self.user_speaks = False
        self.current: Response | None = None  # the newest response of the conversation
        self.active: BoundedDict[str, Response] = BoundedDict(KEPT)
        self.replies: set[Reply] = set()  # callers that wait
        self._traits = traits
        self._timeout_s = timeout_s
        self._send = send
        self._failed = failed
        self._gave_up = gave_up
        self._waiting: deque[Request] = deque()
        self._asked: dict[str, Request] = {}
        self._ended: BoundedDict[str, None] = BoundedDict(4 * KEPT)
        self._names_requests = (
            False  # the provider says which request a response answers
        )
        self._changed = asyncio.Event()
        self._due = False  # the user's turn ended a moment ago: its answer comes first
        self._due_at = 0.0  # when it ended
        self._declined_until = 0.0  # interrupted before it began: it is cancelled
        self._owed_since = -OWED_S  # the same, until it is answered or interrupted
        self._spoke_at = 0.0  # when it began

    @property
    def busy(self) -> bool:
        """Something is asked for or being said."""
        return bool(self._asked or self._waiting or self.active)

    @property
    def due(self) -> bool:
        """The user's turn is about to be answered."""
        return self._due and not self._declined

    @property
    def interrupts(self) -> bool:
        """A request is under way that interrupts the response before it."""
        return self._traits.request_interrupts and bool(self._in_band_asked())

    def ask(self, request: Request) -> None:
        """Ask for a response as soon as the conversation is free."""
        request.for_user = not request.replies
        for other in self._waiting:
            if Kind.PROMPT not in (request.kind, other.kind):
                # One response covers both.
                other.replies = other.replies + request.replies
                other.for_user = other.for_user or request.for_user
                other.by_itself = other.by_itself and request.by_itself
                if request.kind is Kind.CONTINUATION:
                    other.kind = request.kind
                self.wake()
                return
        self._waiting.append(request)
        self.wake()

    def wake(self) -> None:
        """Look again at what may be sent."""
        self._changed.set()

    def user_started(self) -> None:
        """The user begins to speak."""
        self.user_speaks, self._spoke_at = True, time.perf_counter()
        self.wake()

    def user_stopped(self) -> None:
        """The user's turn ended."""
        self.user_speaks = False
        self._due, self._due_at = self.answers_turns, time.perf_counter()
        self._declined_until = 0.0
        if self._due:
            self._owed_since = self._due_at
        self.wake()

    def started(self, event: ResponseStarted) -> Response | None:
        """Take in a response that begins; None if it is not wanted and has to be cancelled."""
        request = None
        if event.request_id is not None:
            self._names_requests = True
            request = self._asked.pop(event.request_id, None)
            wanted = request is not None and request.wanted
        elif self._due or self._names_requests or not self._asked:
            wanted, self._due = not self._declined, False
            self._declined_until = 0.0
        else:
            request = self._asked.pop(next(iter(self._asked)))
            wanted = request.wanted
        response = self.active[event.response_id] = Response(event.response_id)
        response.unasked = request is None and not self._owed
        response.for_user = request is None or request.for_user
        if wanted and response.for_user:
            self._owed_since = -OWED_S
        if request is not None:
            response.replies = request.replies
            for reply in response.replies:
                reply.texts.append(response.text)
            response.aside = request.form.out_of_band
        elif wanted:
            # It saw the results of the tools that finished: no need to ask for another.
            for covered in [r for r in self._waiting if r.kind is Kind.CONTINUATION]:
                self._waiting.remove(covered)
                response.replies = response.replies + covered.replies
                for reply in covered.replies:
                    reply.texts.append(response.text)
        if not response.aside:
            self.current = response
        if not wanted:
            response.state = ResponseState.CANCELLING
            response.interrupted = True
        self.wake()
        return response if wanted else None

    def find(self, response_id: str) -> Response | None:
        """Return a response in progress; None once it ended or was cut."""
        response = self.active.get(response_id)
        if response is None and response_id not in self._ended:
            # Never announced: it is shown, and blocks nothing.
            response = self.active[response_id] = Response(response_id)
        if response is None or response.state is not ResponseState.ACTIVE:
            return None
        response.active_at = time.perf_counter()
        return response

    def done(self, response: Response) -> None:
        """Count a response as over: whatever still comes of it is late."""
        response.state = ResponseState.DONE
        unknown = self.current is not None and self.current.id == UNKNOWN
        if unknown and not response.aside:
            self.current = response  # the one that a request was refused for
        self.active.pop(response.id, None)
        self._ended[response.id] = None
        self.wake()

    def cut(self, response: Response) -> None:
        """Count a response as interrupted here; it blocks until the provider confirms that."""
        response.interrupted = True
        if response.state is ResponseState.ACTIVE:
            response.state = ResponseState.CANCELLING
            response.active_at = time.perf_counter()
        self.wake()

    def confirm(self, response_id: str | None) -> Response | None:
        """Take in the end of a response that was cut here; None where there is no such."""
        cut = [r for r in self.active.values() if r.state is ResponseState.CANCELLING]
        for response in cut:
            if response_id in (None, response.id):
                self.done(response)
                return response
        return None

    def withdraw(self, reply: Reply | None = None) -> None:
        """Take back all requests of the conversation, or those of one caller."""
        for request in [*self._waiting, *self._asked.values()]:
            if reply is None:
                request.wanted = request.wanted and request.form.out_of_band
            elif reply in request.replies:
                request.replies = [r for r in request.replies if r is not reply]
                others = request.for_user or bool(request.replies)
                request.wanted = request.wanted and others
        for each in (
            [each for each in self.replies if not each.aside]
            if reply is None
            else [reply]
        ):
            each.end()
        self._waiting = deque(request for request in self._waiting if request.wanted)
        if reply is None:
            if self._owed:
                self._declined_until = self._due_at + self._timeout_s
            self._owed_since = -OWED_S
        self.wake()

    def waits(self, reply: Reply) -> bool:
        """A request of a caller's was just sent, or not yet, or a response goes on."""
        since = time.perf_counter() - self._timeout_s
        moments = [r.active_at for r in self.active.values() if reply in r.replies]
        moments += [r.asked_at for r in self._asked.values() if reply in r.replies]
        waiting = any(reply in request.replies for request in self._waiting)
        return waiting or any(moment > since for moment in moments)

    def refused(self, fault: Fault) -> bool:
        """Take in an error; returns whether it was a request's, and dealt with."""
        request_id = fault.request_id
        if fault.busy and request_id is None and len(self._asked) == 1:
            request_id = next(iter(self._asked))
        request = self._asked.pop(request_id or "", None)
        if request is None:
            return False
        tried_s = time.perf_counter() - request.first_asked_at
        again = not request.form.out_of_band and tried_s < self._timeout_s
        if fault.busy and request.wanted and again:
            if self.current is None or self.current.state is ResponseState.DONE:
                # One that was never announced here: wait for its end, or for the bound.
                self.current = Response(UNKNOWN)
            self._waiting.appendleft(request)
        else:
            self._fail(
                request, ResponseError("the request was refused", code=fault.code)
            )
        self.wake()
        return True

    def lost(self, error: SessionError) -> bool:
        """End what a lost session was asked; returns whether it owes the user an answer."""
        owed = self._owed
        for request in reversed(self._asked.values()):
            if request.wanted and (request.kind is not Kind.PROMPT or not request.sent):
                self._waiting.appendleft(request)
        # The next session is asked for the user's turn where it knows what was said.
        owed = owed or any(request.kind is Kind.TURN for request in self._waiting)
        self._waiting = deque(r for r in self._waiting if r.kind is not Kind.TURN)
        for request in self._waiting:
            request.by_itself, request.first_asked_at = False, 0.0
        for response in self.active.values():
            owed = owed or (
                response.silent and not response.replies and not response.interrupted
            )
        waiting = [reply for request in self._waiting for reply in request.replies]
        for reply in self.replies.difference(waiting):
            reply.end(error)
        self._asked.clear()
        self.active.clear()
        self._ended.clear()
        self.current, self.user_speaks, self._due = None, False, False
        self._owed_since, self._declined_until = -OWED_S, 0.0
        # A continuation answers the turn, too: it sees all that was said.
        return owed and not any(r.kind is Kind.CONTINUATION for r in self._waiting)

    def end(self, error: SessionError | None = None) -> None:
        """Forget everything; callers end with the error, or with what they have."""
        for reply in self.replies:
            reply.end(error)
        self.lost(SessionError("the session is closed"))
        self._waiting.clear()

    async def run(self, session: Session) -> None:
        """Send to a session what may be sent, until the session is lost."""
        try:
            while True:
                self._changed.clear()
                next_s = self._expire()
                request = next(filter(self._may_go, self._waiting), None)
                if request is not None:
                    await self._send_one(session, request)
                    continue
                try:
                    async with asyncio.timeout(next_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        except SessionError as error:
            logger.debug("Requests wait for the next session: %s", error)

    @property
    def _owed(self) -> bool:
        """The user's turn was not answered, or not yet."""
        return self._owed_since + OWED_S > time.perf_counter()

    @property
    def _declined(self) -> bool:
        """The answer to the user's turn was interrupted before it began."""
        return self._declined_until > time.perf_counter()

    async def _send_one(self, session: Session, request: Request) -> None:
        self._waiting.remove(request)
        request.asked_at, request.sent = time.perf_counter(), False
        request.first_asked_at = request.first_asked_at or request.asked_at
        request.id = new_request_id()  # a provider may refuse an id that it had before
        self._asked[request.id] = request
        try:
            if request.by_itself:
                return
            await self._send(session, request)
        except SessionError:
            if self._asked.pop(request.id, None) is not None and request.wanted:
                self._waiting.appendleft(request)
            raise
        except ValueError as error:
            self._asked.pop(request.id, None)
            self._fail(request, error)
            return
        request.sent = True
        if not request.form.wants_answer:
            self._asked.pop(request.id, None)
            for reply in request.replies:
                reply.end()

    def _may_go(self, request: Request) -> bool:
        if request.form.out_of_band or not request.form.wants_answer:
            return True
        if self._due or self._in_band_asked():
            return False
        if request.kind is Kind.CONTINUATION and self.user_speaks:
            return False
        current = self.current
        if current is None or current.state is ResponseState.DONE:
            return True
        if (
            current.state is ResponseState.CANCELLING
            and self._traits.request_interrupts
        ):
            return True
        return not self._traits.one_response_at_a_time and request.kind is Kind.PROMPT

    def _in_band_asked(self) -> list[Request]:
        return [each for each in self._asked.values() if not each.form.out_of_band]

    def _expire(self) -> float | None:
        """Give up what blocks for too long; returns seconds until the next that may."""
        now, blocking = time.perf_counter(), self._blocking()
        for until, give_up in blocking:
            if until <= now:
                give_up()
        return min((until - now for until, _ in blocking if until > now), default=None)

    def _blocking(self) -> list[tuple[float, Callable[[], None]]]:
        """What requests wait for: until when it may block, and what gives it up."""
        timeout_s = self._timeout_s
        blocking: list[tuple[float, Callable[[], None]]] = [
            (each.asked_at + timeout_s, partial(self._give_up_request, each))
            for each in self._asked.values()
        ]
        if self._due:
            due_until = self._due_at + min(TURN_S, timeout_s)
            blocking.append((due_until, self._give_up_turn))
        if self.user_speaks:
            blocking.append((self._spoke_at + timeout_s, self._give_up_user))
        responses = list(self.active.values())
        if self.current is not None and self.current not in responses:
            responses.append(self.current)
        for each in responses:
            if each.state is not ResponseState.DONE and not each.open_calls:
                until = each.active_at + timeout_s + GRACE_S
                blocking.append((until, partial(self._give_up_response, each)))
        return blocking

    def _give_up_request(self, request: Request) -> None:
        del self._asked[request.id]
        self._fail(request, self._silence())

    def _give_up_turn(self) -> None:
        logger.debug("The provider did not answer the user's turn")
        self._due = False

    def _give_up_user(self) -> None:
        self.user_speaks = False

    def _give_up_response(self, response: Response) -> None:
        silence = self._silence()
        logger.warning("A response was given up: %s", silence)
        response.end_replies(silence)
        cut = response.state is ResponseState.CANCELLING
        self.done(response)
        if not cut:
            self._gave_up(response)

    def _silence(self) -> TimeoutError:
        return TimeoutError(f"the provider was silent for {self._timeout_s:g} s")

    def _fail(self, request: Request, error: Exception) -> None:
        if request.wanted:
            for reply in request.replies:
                reply.end(error)
            self._failed(error)
