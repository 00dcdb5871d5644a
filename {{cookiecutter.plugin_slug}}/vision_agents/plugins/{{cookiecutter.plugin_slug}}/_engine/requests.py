"""Callers' requests: how they are sent, read, and given up."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from vision_agents.core.agents.conversation import Message
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal

from .connection import Connection
from .conversation import Conversation
from .errors import SessionError
from .history import History, as_commands
from .replies import Kind, Reply, Request
from .scheduler import Scheduler
from .session import Session
from .session_types import Command, CreateResponse, RequestForm


class Requests:
    """The native calls in progress.

    Args:
        read_form: reads what the options of a native call mean.
        tell: sends commands to the session, if there is one.
        failed: reports an error that no other report covers.
    """

    def __init__(
        self,
        connection: Connection,
        conversation: Conversation,
        scheduler: Scheduler,
        history: History,
        *,
        timeout_s: float,
        read_form: Callable[[Mapping[str, object]], RequestForm],
        tell: Callable[..., Awaitable[None]],
        failed: Callable[[Exception], None],
    ) -> None:
        self._connection = connection
        self._conversation = conversation
        self._scheduler = scheduler
        self._history = history
        self._timeout_s = timeout_s
        self._read_form = read_form
        self._tell = tell
        self._failed = failed

    async def ask(
        self, prompt: list[Message], options: Mapping[str, object], model: str
    ) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:
        """Ask for a response and yield it; see the native method of Realtime."""
        form = self._read_form(options)
        if form.out_of_band and prompt:
            raise ValueError(
                "a response out of band takes its prompt in the provider's own arguments: "
                "a message would be a part of the conversation"
            )
        reply = Reply(aside=form.out_of_band)
        request = Request(
            Kind.PROMPT, form, tuple(as_commands(prompt)), options, [reply]
        )
        if self._connection.session is None and not self._connection.recovering:
            error = SessionError("there is no session: await connect() first")
            self._failed(error)
            raise error
        self._scheduler.replies.add(reply)
        try:
            self._scheduler.ask(request)
            while True:
                try:
                    delta = await reply.next(self._timeout_s)
                except TimeoutError:
                    await self._time_out(reply)
                    continue
                if delta is None:
                    break
                yield delta
            if reply.error is not None:
                raise reply.error
        finally:
            self._scheduler.replies.discard(reply)
            if not reply.ended.is_set():
                await self._give_up(reply)
        yield reply.final(model)

    async def send(self, session: Session, request: Request) -> None:
        """Send a request; its prompt becomes part of the conversation."""
        commands: list[Command] = [] if request.told else [*request.prompt]
        if request.form.wants_answer or request.options:
            commands.append(CreateResponse(request.id, request.options))
        await session.send(*commands)
        if not request.told and not request.form.out_of_band:
            for message in (*request.prompt, *request.form.messages):
                self._history.add(message, told=True)
        request.told = True

    async def _time_out(self, reply: Reply) -> None:
        """End a caller for which nothing came, unless there is a reason to wait on."""
        error: Exception
        if self._connection.session is None:
            error = SessionError("the connection is lost", temporary=True)
        elif reply.waits_for or self._scheduler.waits(reply):
            return
        else:
            error = TimeoutError(f"no response within {self._timeout_s:g} s")
        self._failed(error)
        await self._give_up(reply)
        reply.error = error

    async def _give_up(self, reply: Reply) -> None:
        """Stop what a caller no longer reads."""
        self._scheduler.withdraw(reply)
        for response in [*self._scheduler.active.values()]:
            if response.replies == [reply] and not response.for_user:
                # The flow's answer to an announcement also clears what was said before.
                announce = not response.silent
                commands = self._conversation.cut([response], announce=announce)
                await self._tell(*commands)
