"""One call with the provider: puts the parts of the engine together."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.conversation import Conversation as Messages
from vision_agents.core.edge.types import Participant
from vision_agents.core.observability import MetricsCollector

from .audio_input import AudioInput
from .configuration import Configuration
from .connection import Connection, RealtimeClient, stop
from .conversation import Conversation
from .errors import MalformedFrame, ResponseError, SessionError
from .history import History, result_message
from .output import Output
from .replies import Kind, Request, ms_since
from .requests import Requests
from .responses import Response, ResponseState
from .scheduler import Scheduler
from .session import Session
from .session_events import Fault, ResponseDone, ResponseStarted, ToolCall
from .session_types import (
    AddToolResult,
    CancelResponse,
    Command,
    CommitAudio,
    DeleteItem,
    RequestForm,
    SessionConfig,
    SessionSettings,
)
from .tools import RunOne, ToolResult, Tools

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Host:
    """What the call needs of its Realtime: the base class's own methods, most of them."""

    name: str
    metrics: MetricsCollector
    clear_output: Callable[[], Awaitable[None]]
    read: Callable[[Session], Awaitable[None]]
    connected: Callable[[], None]
    disconnected: Callable[[str, bool], None]
    error: Callable[[Exception, str], None]
    llm_error: Callable[[Exception], None]
    run_tool: RunOne
    config: Callable[[SessionConfig], SessionConfig]  # adds instructions and tools
    refused: Callable[[SessionConfig], None]


class Call:
    """Everything between a Realtime and its sessions, in parts with one job each."""

    def __init__(
        self,
        client: RealtimeClient,
        host: Host,
        config: SessionConfig,
        settings: SessionSettings,
        *,
        read_request: Callable[[Mapping[str, object]], RequestForm],
        tool_timeout_s: float,
        response_timeout_s: float,
        input_chunk_ms: int,
        interrupt_after_s: float | None,
    ) -> None:
        self._client = client
        self._host = host
        self.history = History()
        self.output = Output(host.metrics, host.name)
        self.changing = asyncio.Lock()  # one change at a time
        self.configuration = Configuration(config, host.config, host.refused)
        self.tools = Tools(host.run_tool, tool_timeout_s, self._tool_finished)
        self.connection = Connection(
            client,
            open_session=self._open,
            read_session=host.read,
            opened=self._opened,
            lost=self._lost,
            failed=self._failed,
            wait_s=response_timeout_s,
        )
        self.audio_input = AudioInput(
            self.connection, host.metrics, host.name, settings.input, input_chunk_ms
        )
        self.scheduler = Scheduler(
            client.traits,
            response_timeout_s,
            send=self._send,
            failed=host.llm_error,
            gave_up=self._response_over,
        )
        self.conversation = Conversation(
            self.output,
            self.scheduler,
            self.history,
            settings=settings,
            interrupt_after_s=interrupt_after_s,
            clear_output=host.clear_output,
            tell=self.tell,
        )
        self.requests = Requests(
            self.connection,
            self.conversation,
            self.scheduler,
            self.history,
            timeout_s=response_timeout_s,
            read_form=read_request,
            tell=self.tell,
            failed=host.llm_error,
        )
        self._messages: Messages | None = None
        self._handle: str | None = None
        self._sender: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._unsynced = False  # something changed since the last sync began

    async def close(self) -> None:
        """End everything; safe to call at any time."""
        self.scheduler.end()
        try:
            await self.connection.close(self._finish)
        finally:
            self.audio_input.end_turn()
            self.audio_input.clear()
            self.scheduler.end()
            self.tools.forget()
            self.conversation.forget()
            self.conversation.speaker = None
            self.output.clear()
            self.history.clear()
            self._handle = self._messages = None

    async def interrupt(self) -> None:
        """Stop the agent, or take the flow's answer to a barge-in that stopped it already."""
        if self.output.is_answered_by_caller:
            kept = self.output.peek()
            await self._host.clear_output()
            self.output.put_back(kept)
            return
        await self.conversation.hush()
        self.audio_input.clear()
        await self.tell(*self.conversation.cut_all(announce=False))

    def hear(self, pcm: PcmData, participant: Participant | None) -> Awaitable[None]:
        """Send a participant's audio; without one, that of the last speaker."""
        speaker = self.conversation.speaker = participant or self.conversation.speaker
        return self.audio_input.take(speaker.id if speaker is not None else None, pcm)

    async def commit(self, *, respond: bool) -> None:
        """End the user's turn by hand; see Realtime.commit_audio."""
        session = await self.connection.ready()
        await self.audio_input.flush()
        await self.conversation.speech_started(None)
        self.conversation.speech_stopped(None, answered=False)
        await session.send(CommitAudio())
        if respond:
            self.scheduler.ask(Request(Kind.TURN))

    async def change(self, changed: Callable[[SessionConfig], SessionConfig]) -> None:
        """Change the settings; see Realtime.update_session."""
        session = self.connection.session
        await self.configuration.change(changed, session)
        if session is not None:
            self._follow(session)

    async def tell_changes(self) -> None:
        """Tell the session what was changed before, so that it can be refused apart."""
        self._unsynced = True
        await self._sync()

    async def trim(self, keep: int) -> None:
        """Forget all but the newest messages; see Realtime.trim_history."""
        await self.tell(*map(DeleteItem, self.history.trim(keep)))

    def set_messages(self, messages: Messages) -> None:
        """Take the agent's conversation; the session is told what it holds already."""
        if messages is not self._messages:
            self._messages = messages
            self.history.merge(messages.messages)
            self.sync_soon()

    def sync_soon(self) -> None:
        """Tell the session in one update all that this turn of the loop changes."""
        self._unsynced = True
        if self.connection.session is not None and (
            self._syncing is None or self._syncing.done()
        ):
            self._syncing = asyncio.create_task(self._sync())

    async def tell(self, *commands: Command) -> None:
        """Send what need not arrive where the session is gone."""
        if self.connection.session is not None and commands:
            try:
                await self.connection.session.send(*commands)
            except SessionError as error:
                logger.debug("The provider was not told: %s", error)

    async def user_started(self, item_id: str | None) -> None:
        """The provider hears the user."""
        self.conversation.turns.reports_speech = True
        await self.conversation.speech_started(item_id)
        if self.conversation.settings.detects_turns:
            self.audio_input.fill_gaps()

    def user_stopped(self, item_id: str | None) -> None:
        """The provider heard the end of the user's turn."""
        self.audio_input.end_turn()
        self.conversation.speech_stopped(item_id)

    async def response_started(self, event: ResponseStarted) -> None:
        """A response begins; one that is not wanted is cancelled."""
        response = self.scheduler.started(event)
        if response is None:
            await self.tell(CancelResponse(event.response_id))
        else:
            self.conversation.response_started(response)

    async def response_done(self, event: ResponseDone) -> None:
        """A response ended, however it did."""
        response = self.scheduler.active.get(event.response_id)
        response = response or self.scheduler.find(event.response_id)
        if response is None:
            return
        self._record(response, event)
        for reply in response.replies:
            reply.add(event)
        if response.state is ResponseState.CANCELLING:
            self.scheduler.done(response)
        elif event.status == "cancelled":
            response.stopped = True
            response.end_replies()
            await self.tell(*self.conversation.cut([response], announce=True))
        else:
            self.connection.healthy()
            if event.status == "incomplete":
                logger.warning("A response is incomplete: %s", event.code or "unknown")
            if event.status == "failed":
                failure = ResponseError(
                    "the response failed", code=event.code or "unknown"
                )
                self._host.llm_error(failure)
                response.end_replies(failure)
            self._response_over(response)

    def tool_call(self, session: Session, call: ToolCall) -> None:
        """The model calls a tool; those of an interrupted response are not run.

        Nor those of one out of band: it has no conversation to tell a result to, and its
        caller finds them in the final's ``original``.
        """
        response = self.scheduler.find(call.response_id)
        if response is not None and not response.aside:
            self.tools.call(session, call, response)

    def fault(self, fault: Fault) -> None:
        """The provider reports an error."""
        if fault.harmless:
            logger.debug("The provider had nothing to do: %s", fault.code)
            if fault.idle:
                self.scheduler.confirm(None)
        elif not self.scheduler.refused(fault):
            self._host.llm_error(
                ResponseError("the provider reported an error", code=fault.code)
            )

    def malformed(self, reason: str) -> None:
        """A frame could not be read."""
        self._host.error(MalformedFrame(reason), "frame")

    def resumable(self, handle: str | None) -> None:
        """The session as it is now can be continued by this handle."""
        self._handle = handle
        self.history.mark()

    async def _open(self) -> Session:
        # A handle is of use once: what it restores may be what ended the session.
        handle, self._handle = self._handle, None
        wanted = self.configuration.wanted
        try:
            session = await self._client.connect(wanted.config, handle)
        except SessionError as error:
            lost = self.connection.recovering and not error.temporary
            if not lost or not self.configuration.take_back():
                raise
            # Refused for what was changed meanwhile: the call goes on without that.
            self._host.error(error, "session")
            wanted = self.configuration.wanted
            session = await self._client.connect(wanted.config, handle)
        try:
            self.configuration.acknowledged(wanted)
            if self._messages is not None:
                self.history.merge(self._messages.messages)
            self.history.start_session(resumed=session.resumed)
            await self._tell_history(session)
        except BaseException:
            session.abort()
            raise
        return session

    def _opened(self, session: Session) -> None:
        self._follow(session)
        self._host.connected()
        self._sender = asyncio.create_task(self.scheduler.run(session))
        self.sync_soon()  # what changed while it was opened

    def _follow(self, session: Session) -> None:
        self.conversation.follow(session.settings)
        self.audio_input.follow(session.settings.input)

    def _lost(self, error: SessionError | None) -> None:
        self.audio_input.end_turn()
        self.audio_input.clear()
        if self._sender is not None:
            self._sender.cancel()
        active = list(self.scheduler.active.values())
        going_on = [response for response in active if not response.interrupted]
        ended = error or SessionError("the provider ended the session")
        owed, unheard = self.scheduler.lost(ended), self.conversation.turns.unheard
        self.conversation.lost(active)
        self.tools.forget()
        self._host.disconnected(str(ended), error is None)
        if not ended.temporary:
            self.scheduler.end(ended)
            return
        for response in going_on:
            # Its tools run on, and the next session is told their results.
            response.interrupted, response.state = False, ResponseState.DONE
            self._continue(response, told_here=False)
        unanswered = self.history.ends_unanswered
        if owed and unanswered:
            self.scheduler.ask(Request(Kind.TURN))
        if owed and (unheard or not unanswered):
            self._host.error(
                SessionError("the answer to the user's last turn is lost"), "turn"
            )

    def _failed(self, error: SessionError, context: str) -> None:
        self.scheduler.end(error)
        self._host.error(error, context)

    async def _finish(self) -> None:
        try:
            await self.tools.finish()
            await self.audio_input.flush()
        finally:
            await self.tools.stop()
            await stop(
                task for task in (self._sender, self._syncing) if task is not None
            )
            self._sender = self._syncing = None

    async def _send(self, session: Session, request: Request) -> None:
        await self._sync_configuration(session)
        await self._tell_history(session)
        await self.requests.send(session, request)

    def _record(self, response: Response, event: ResponseDone) -> None:
        first = response.first_audio_at
        self._host.metrics.on_llm_response(
            provider=self._host.name,
            model=self.configuration.asked.model,
            latency_ms=ms_since(response.started_at),
            time_to_first_token_ms=(first - response.started_at) * 1000
            if first
            else None,
            input_tokens=event.usage.input_tokens,
            output_tokens=event.usage.output_tokens,
        )
        if event.status == "completed":
            self._host.metrics.on_realtime_response_completed(provider=self._host.name)

    def _response_over(self, response: Response) -> None:
        """A response ended by itself, well or not: its tools are continued."""
        self.conversation.response_done(response)
        if response.calls:
            self._continue(response)
        else:
            response.end_replies()

    def _continue(self, response: Response, *, told_here: bool = True) -> None:
        """Ask for the response that follows a response's tools, once they all finished.

        A provider that goes on by itself does so in the session that was told the results.
        """
        over = response.state is ResponseState.DONE and not response.interrupted
        if not over or not response.calls or response.open_calls:
            return
        response.calls, replies = 0, response.replies
        if not response.answers:
            response.end_replies()
        elif not replies or any(not reply.ended.is_set() for reply in replies):
            by_itself = self._client.traits.continues_after_tools
            request = Request(Kind.CONTINUATION, replies=replies)
            request.by_itself = by_itself and told_here
            self.scheduler.ask(request)

    async def _tool_finished(
        self,
        session: Session,
        call: ToolCall,
        response: Response,
        result: ToolResult | None,
    ) -> None:
        known = session is self.connection.session
        if result is not None:
            response.answers = response.answers or result.respond
            if known:
                await self.tell(AddToolResult(call.call_id, call.name, result.output))
            self.history.add(result_message(call.name, result.output), told=known)
            if not known:
                self.sync_soon()
        response.active_at = time.perf_counter()
        self._continue(response, told_here=known)
        self.scheduler.wake()

    async def _sync(self) -> None:
        try:
            while self._unsynced and (session := self.connection.session) is not None:
                self._unsynced = False
                await self._tell_history(session)
                await self._sync_configuration(session)
                self._follow(session)
        except SessionError as error:
            logger.debug("The provider was not told: %s", error)

    async def _tell_history(self, session: Session) -> None:
        for message in self.history.untold():
            try:
                await session.send(message)
            except ValueError as error:
                # Such as a picture that is longer than the provider takes: the call goes on.
                reason = type(error).__name__
                logger.warning("A message of the history cannot be told: %s", reason)

    async def _sync_configuration(self, session: Session) -> None:
        try:
            await self.configuration.sync(session)
        except SessionError as error:
            if error.temporary:
                raise
            self._host.error(error, "session")
