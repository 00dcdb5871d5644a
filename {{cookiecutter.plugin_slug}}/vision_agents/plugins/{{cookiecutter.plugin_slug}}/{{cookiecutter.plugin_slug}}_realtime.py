"""The house's side of the plugin: a Realtime that turns a session into a conversation.

Knows PcmData, participants and the house's events. The provider's words stay behind
client.py, so a provider changes nothing here.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from functools import partial
from typing import TYPE_CHECKING

import aiortc
import av
from getstream.video.rtc.track_util import AudioFormatType, FrameResampler, PcmData
from vision_agents.core.agents.conversation import Message
from vision_agents.core.edge.types import Participant
from vision_agents.core.instructions import Instructions
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import RealtimeAudioOutputDone
from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig
from vision_agents.core.utils.exceptions import log_task_exception
from vision_agents.core.utils.video_forwarder import VideoForwarder

from . import events
from .client import Client, Session, build_client
from .held_output import HeldOutput
from .messages import as_commands, normalize, plain
from .turns import Reply, Response, Turns, ms_since, new_request_id
{%- if cookiecutter.video == 'yes' %}
from .video import Eyes
{%- endif %}

if TYPE_CHECKING:
    from vision_agents.core.agents import Conversation

__all__ = ["Client", "Realtime"]

DEFAULT_MODEL = "{{ cookiecutter.default_model }}"

INPUT_SAMPLE_RATE = {% if cookiecutter.transport == 'webrtc' %}48000{% else %}{{ cookiecutter.input_sample_rate }}{% endif %}
"""What the provider takes, Hz."""

OUTPUT_SAMPLE_RATE = {% if cookiecutter.transport == 'webrtc' %}48000{% else %}{{ cookiecutter.output_sample_rate }}{% endif %}
"""What the provider gives, Hz, unless it announces another rate."""

MAX_INPUT_CHUNK_MS = 200
"""Longer pieces of input audio save no more, and make the agent slow to hear."""

TOOLS_GRACE_S = 0.1
"""How long close() lets tools finish before it cancels them."""

HEALTHY_SESSION_S = 30.0
"""A session that lived this long, or completed a response, starts the backoff anew."""

MAX_SPEAKERS = 32
"""How many speakers' microphones are kept, the newest."""

HISTORY_MESSAGES = 200
"""How many messages a new connection is told, newest kept."""

ToolFunction = Callable[..., Awaitable[object]]

logger = logging.getLogger(__name__)


class Realtime(realtime.Realtime):
    """{{ cookiecutter.plugin_name }} speech-to-speech.

    Example:
        llm = Realtime(model="{{ cookiecutter.default_model }}")
        await llm.connect()
        async for item in llm.simple_response("Say hello"):
            ...

    Args:
        model: the provider's model.
        client: a client of your own; needs no key and no base_url.
        api_key: defaults to the environment's {{ cookiecutter.__env_prefix }}_API_KEY.
        base_url: the full endpoint without its query.
        voice: the provider's voice; None for its default.
        fps: video frames a second, for providers that see.
        turn_detection: True for the provider's default, False for manual turns
            (`commit_audio`), a mapping for the provider's own settings.
        transcription: have the user's speech transcribed.
        tool_choice: "auto", "none", "required" or the name of a tool.
        modalities: "audio", or "text" for answers without speech.
        options: session settings in the provider's words; they win over all others.
        tool_timeout_s: bound on one tool call.
        response_timeout_s: bound on the provider's silence while a response is awaited.
        input_audio_pacing: send input audio at a steady pace; None sends it as it comes.
        input_chunk_ms: collect input audio into pieces of so many ms or a frame more, which
            costs as much latency and saves CPU time; 0 sends each frame as it comes.

    Raises:
        ValueError: an argument is no good; the message says which and what to do.
    """

    provider_name = "{{ cookiecutter.plugin_slug }}_realtime"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        client: Client | None = None,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        voice: str | None = None,
        fps: int = 1,
        turn_detection: bool | Mapping[str, object] = True,
        transcription: bool = True,
        tool_choice: str = "auto",
        modalities: events.Modality = "audio",
        options: Mapping[str, object] | None = None,
        tool_timeout_s: float = 30.0,
        response_timeout_s: float = 30.0,
        input_audio_pacing: AudioInputPacingConfig | None = None,
        input_chunk_ms: int = 0,
    ) -> None:
        if not model:
            raise ValueError(f"model={model!r} is empty: name one of the provider's models")
        if fps <= 0:
            raise ValueError(f"fps={fps!r} must be positive: frames a second")
        if modalities not in ("audio", "text"):
            raise ValueError(f'modalities={modalities!r} must be "audio" or "text"')
        if tool_timeout_s <= 0:
            raise ValueError(f"tool_timeout_s={tool_timeout_s!r} must be positive: seconds")
        if response_timeout_s <= 0:
            raise ValueError(f"response_timeout_s={response_timeout_s!r} must be positive: seconds")
        if not 0 <= input_chunk_ms <= MAX_INPUT_CHUNK_MS:
            raise ValueError(
                f"input_chunk_ms={input_chunk_ms!r} must be 0 to {MAX_INPUT_CHUNK_MS}: milliseconds"
            )
        super().__init__(fps=fps, input_audio_pacing=input_audio_pacing)
        self.model = model
        self.client = client if client is not None else build_client(api_key, base_url)
        self.voice = voice
        self.turn_detection = turn_detection
        self.transcription = transcription
        self.tool_choice = tool_choice
        self.modalities = modalities
        self.options = dict(options or {})
        self._tool_timeout_s = tool_timeout_s
        self._response_timeout_s = response_timeout_s
        self._input_chunk_ms = input_chunk_ms

        self._lifecycle = asyncio.Lock()
        self._opening: asyncio.Task[Session] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._session: Session | None = None
        self._configured: events.SessionConfig | None = None
        self._online = asyncio.Event()
        self._delays: Iterator[float] = iter(())
        self._opened_at = 0.0

        self._turns = Turns()
        self._held = HeldOutput()
        self._replies: list[Reply] = []
        self._said: deque[Message] = deque(maxlen=HISTORY_MESSAGES)
        self._handle: str | None = None
        self._said_since_handle: deque[Message] = deque(maxlen=HISTORY_MESSAGES)
        self._untold: list[events.AddMessage] = []
        self._speaker: Participant | None = None
        self._microphones: dict[str | None, Microphone] = {}
{%- if cookiecutter.video == 'yes' %}
        self._eyes = Eyes(fps, lambda: self._session if self.connected else None)
{%- endif %}

    async def connect(self) -> None:
        """Open the session; returns once the provider took its configuration.

        Does nothing while connected, and waits for a reconnect under way.

        Raises:
            SessionError: the provider cannot be reached, refused or did not answer.
        """
        if self._reader is not None and not self._reader.done():
            await self._wait_online(self._reader)
            return
        async with self._lifecycle:
            if self._reader is not None and not self._reader.done():
                return
            self._opening = asyncio.create_task(self._open())
            try:
                session = await self._opening
            except asyncio.CancelledError:
                if self._session is not None:
                    self._session.abort()
                    self._session = None
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
                raise events.SessionError("closed while connecting") from None
            except events.SessionError as error:
                self._emit_error_event(error, context="connect")
                raise
            finally:
                self._opening = None
            self._delays = self.client.reconnect_delays()
            self._announce()
            self._reader = asyncio.create_task(self._run(session))
            self._reader.add_done_callback(log_task_exception("The reader failed"))

    async def close(self) -> None:
        """Close the session and release everything; safe to call at any time."""
        if self._opening is not None:
            self._opening.cancel()
        for reply in self._replies:
            reply.end()
        async with self._lifecycle:
            try:
                await self._finish_tools()
                if self._session is not None:
                    await self._send_rest(self._session)
            finally:
                try:
                    await self._stop_tasks()
                finally:
                    await self._release()

    async def interrupt(self) -> None:
        """Stop the agent: clears its output and cancels what the provider is saying.

        Acts on what was asked for before the call. The agent's flow also calls this
        to answer a barge-in; the provider was told of that one already.
        """
        unseen = self._held.unseen(self._output)
        answers = self._held.awaits_answer and unseen is None
        await super().interrupt()
        if answers:
            self._held.release()
            return
        commands = self._cut_all(announce=False)
        if unseen is not None:
            # Cleared before the flow took it: it still has buffers of its own to clear.
            self._output.send_nowait(unseen)
        self._microphones.clear()
        await self._tell(*commands)

    async def process_audio(self, pcm: PcmData, participant: Participant) -> None:
        """Take audio from the call; ignored while not connected."""
        if self.connected:
            await super().process_audio(pcm, participant)

    async def simple_audio_response(
        self, pcm: PcmData, participant: Participant | None = None
    ) -> None:
        """Send audio of any rate, format and channel count to the provider.

        Ignored while not connected: late audio would answer a question long past.
        """
        session = self._session
        if session is None or not self.connected:
            return
        if participant is not None:
            self._speaker = self._current_participant = participant
        speaker_id = self._speaker.id if self._speaker is not None else None
        microphone = self._microphones.get(speaker_id)
        if microphone is None:
            microphone = self._microphones[speaker_id] = Microphone(self._input_chunk_ms)
            if len(self._microphones) > MAX_SPEAKERS:
                del self._microphones[next(iter(self._microphones))]
        await self._send_audio(session, microphone.take(pcm))

    async def commit_audio(self, *, respond: bool = True) -> None:
        """End the user's turn by hand, for sessions with turn detection off.

        Args:
            respond: ask the provider for its response, too.

        Raises:
            SessionError: there is no session.
        """
        session = await self._ready()
        await self._send_rest(session)
        if not self._turns.hears_speech:
            await self._start_user_speech(None)
        self._end_user_speech()
        commands: list[events.Command] = [events.CommitAudio()]
        if respond:
            request_id = new_request_id()
            self._turns.wanted[request_id] = None
            commands.append(events.CreateResponse(request_id))
        await session.send(*commands)

    async def simple_response(
        self, text: str, participant: Participant | None = None
    ) -> AsyncIterator[LLMResponseDelta | LLMResponseFinal]:
        """Ask for a response to a text; the house's standard way in.

        Yields and raises what `{{ cookiecutter.native_method }}` does.
        """
        stream = self.{{ cookiecutter.native_method }}(text)
        try:
            async for item in stream:
                yield item
        finally:
            await stream.aclose()

    async def {{ cookiecutter.native_method }}(
        self, *args: object, **kwargs: object
    ) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:
        """The provider's native call, streamed.

        Args:
            args: first the prompt, in any shape `_normalize_message` takes; without
                it the provider responds to the conversation as it is.
            kwargs: passed to the provider unchanged; they win over the session's.

        Yields:
            A delta for each piece of text as it arrives, over tool calls and what
            follows them, then one final. An interrupt ends it early with what was said.

        Raises:
            ResponseError: the provider reported that the response failed.
            SessionError: there is no session, or it was lost meanwhile.
            TimeoutError: the provider was silent for response_timeout_s.
        """
        reply = Reply()
        self._replies.append(reply)
        try:
            await self._request(reply, *args, **kwargs)
            while delta := await reply.next(self._response_timeout_s):
                yield delta
            if reply.error is not None:
                raise reply.error
        except TimeoutError:
            error = TimeoutError(f"no response within {self._response_timeout_s:g} s")
            self.on_llm_error(error=error)
            raise error from None
        finally:
            await self._abandon(reply)
        yield reply.final(self.model)

    async def update_session(
        self,
        *,
        instructions: str | None = None,
        turn_detection: bool | Mapping[str, object] | None = None,
        tool_choice: str | None = None,
        modalities: events.Modality | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Change the session; what is None stays. Kept for later connections, too.

        Raises:
            SessionError: the provider could not be told.
        """
        if instructions is not None:
            super().set_instructions(instructions)
        if turn_detection is not None:
            self.turn_detection = turn_detection
        if tool_choice is not None:
            self.tool_choice = tool_choice
        if modalities is not None:
            self.modalities = modalities
        if options is not None:
            self.options = dict(options)
        await self._sync_session()

    def set_instructions(self, instructions: Instructions | str) -> None:
        """Set the instructions; the provider is told at once while connected."""
        super().set_instructions(instructions)
        self._sync_soon()

    def set_conversation(self, conversation: "Conversation") -> None:
        """Take the call's conversation; the provider is told what it holds already.

        The agent connects before it has a conversation, hence the telling here.
        """
        if conversation is not self._conversation and self.connected:
            self._untold += as_commands(conversation.messages)
        super().set_conversation(conversation)
        self._sync_soon()

    def register_function(
        self, name: str | None = None, description: str | None = None
    ) -> Callable[[ToolFunction], ToolFunction]:
        """Register a tool; the provider is told of it at once while connected."""
        decorate = super().register_function(name, description)

        def register(function: ToolFunction) -> ToolFunction:
            decorate(function)
            self._sync_soon()
            return function

        return register

    async def watch_video_track(
        self,
        track: aiortc.mediastreams.MediaStreamTrack,
        shared_forwarder: VideoForwarder | None = None,
    ) -> None:
{%- if cookiecutter.video == 'yes' %}
        """Show the provider what a track shows, in place of any track before.

        Args:
            track: what to watch.
            shared_forwarder: who reads the track already; None for one of our own.
        """
        await self._eyes.watch(track, shared_forwarder)

    async def stop_watching_video_track(self) -> None:
        """Show the provider nothing more."""
        await self._eyes.stop()
{%- else %}
        """Do nothing: the provider has no eyes, and the agent calls this all the same."""
{%- endif %}

    async def _open(self) -> Session:
        config = self._config()
        session = await self.client.connect(config, self._handle)
        self._handle = None  # of use once: what it restores may be what ended the session
        told = as_commands(self._said_since_handle) if session.resumed else self._history()
        try:
            await session.send(*told)
        except BaseException:
            session.abort()
            raise
        self._session = session
        self._configured = config
        self._opened_at = time.perf_counter()
        return session

    async def _stop_tasks(self) -> None:
{%- if cookiecutter.video == 'yes' %}
        await self._eyes.stop()
{%- endif %}
        current = asyncio.current_task()
        tasks = (self._reader, self._syncing, *self._tool_tasks)
        self._reader = self._syncing = None
        await _stop(task for task in tasks if task is not None and task is not current)

    async def _release(self) -> None:
        session, self._session = self._session, None
        if self.connected:
            self._on_disconnected(reason="closed")
        self._online.clear()
        self._forget_turns()
        self._held.forget()
        self._output.clear()
        # The next call is another conversation, with other people.
        self._said.clear()
        self._handle = None
        self._said_since_handle.clear()
        self._untold.clear()
        self._conversation = None
        self._speaker = self._current_participant = None
        try:
            if session is not None:
                await session.close()
        finally:
            await self._close_audio_input()

    def _announce(self) -> None:
        self._on_connected(
            session_config={
                "model": self.model,
                "voice": self.voice,
                "input_sample_rate": INPUT_SAMPLE_RATE,
                "output_sample_rate": OUTPUT_SAMPLE_RATE,
            },
            capabilities=list(self.client.capabilities),
        )
        self._online.set()

    async def _run(self, session: Session) -> None:
        """Read one session after another until there is nothing left to reconnect to."""
        while True:
            lost: events.SessionError | None = None
            try:
                await self._handle_events(session)
            except events.SessionError as error:
                lost = error
            except Exception as error:
                # A fault of ours or of the codec: say so, and do not stay half connected.
                logger.exception("Failed to read the session")
                lost = events.SessionError(f"the session cannot be read ({type(error).__name__})")
            self._online.clear()
            self._session = None
            self._drop(lost or events.SessionError("the provider ended the session"))
            self._on_disconnected(str(lost) if lost else "ended by the provider", clean=not lost)
            if lost is not None and not lost.temporary:
                self._emit_error_event(lost, context="connection")
            await session.close()
            if lost is None or not lost.temporary:
                return
            next_session = await self._reconnect(lost)
            if next_session is None:
                return
            session = next_session
            self._announce()

    async def _reconnect(self, lost: events.SessionError) -> Session | None:
        if time.perf_counter() - self._opened_at > HEALTHY_SESSION_S:
            self._delays = self.client.reconnect_delays()
        for delay in self._delays:
            logger.info("Reconnecting in %.2f s: %s", delay, lost)
            await asyncio.sleep(delay)
            try:
                return await self._open()
            except events.SessionError as error:
                lost = error
                if not error.temporary:
                    break
        self._emit_error_event(lost, context="reconnect")
        return None

    async def _handle_events(self, session: Session) -> None:
        """Read a session to its end.

        Raises:
            SessionError: it was lost.
        """
        async for event in session.events():
            try:
                if isinstance(event, events.AudioDelta):
                    self._on_audio(session, event)
                else:
                    await self._handle_event(session, event)
            except Exception as error:
                # Whatever one event does wrong, it must not end the call.
                logger.exception("Failed to handle %s", type(event).__name__)
                self._emit_error_event(error, context=type(event).__name__)

    async def _handle_event(self, session: Session, event: events.Event) -> None:
        match event:
            case events.Resumable(handle):
                self._handle = handle
                self._said_since_handle.clear()
            case events.TextDelta() | events.TextDone():
                self._on_text(event)
            case events.UserSpeechStarted(item_id):
                self._turns.hears_speech = True
                await self._start_user_speech(item_id)
            case events.UserSpeechStopped(item_id):
                self._turns.speaker_of(item_id, self._speaker)
                self._turns.transcript_due = self.transcription
                self._turns.response_due = self.turn_detection is not False
                self._turns.discard_next = False
                self._end_user_speech()
            case events.AudioCommitted(item_id):
                self._turns.speaker_of(item_id, self._speaker)
            case events.UserTranscript():
                await self._on_user_transcript(event)
            case events.UserTranscriptFailed(_, code):
                logger.warning("The user's speech could not be transcribed: %s", code)
                self._settle_transcript()
            case events.ResponseStarted():
                await self._on_response_started(event)
            case events.ToolCall():
                self._on_tool_call(session, event)
            case events.ToolCallCancelled(call_id):
                self._turns.calls.pop(call_id, None)
            case events.Interrupted(response_id):
                await self._on_interrupted(response_id)
            case events.ResponseDone():
                await self._on_response_done(event)
            case events.Fault():
                self._on_fault(event)
            case events.Malformed(reason):
                self._emit_error_event(events.MalformedFrame(reason), context="frame")

    def _on_audio(self, session: Session, event: events.AudioDelta) -> None:
        response = self._turns.response(event.response_id)
        if response is None:
            return
        data = response.whole_samples(event.data)
        if not data:
            return
        pcm = PcmData.from_bytes(data, session.output_rate or OUTPUT_SAMPLE_RATE)
        if response.first_audio_at is None:
            response.first_audio_at = time.perf_counter()
            self._emit(partial(self._emit_agent_speech_started, response.id), response)
        self._turns.play(response, event.item_id, pcm.duration)
        self._held.emit(partial(self._emit_audio_output_event, pcm, response.id), response.id)

    def _on_text(self, event: events.TextDelta | events.TextDone) -> None:
        response = self._turns.response(event.response_id)
        if response is None:
            return
        new_text = response.add_text(event)
        if not new_text:
            return
        if response.reply is not None:
            delta = events.TextDelta(
                response.id,
                new_text,
                item_id=event.item_id,
                output_index=event.output_index,
                content_index=event.content_index,
            )
            response.reply.send(delta)
        # The user's words come first, or the conversation would split the agent's.
        if not self._turns.transcript_due:
            self._show_text(response)

    def _show_text(self, response: Response) -> None:
        if response.text.strip():
            text = response.unshown_text()
            emit = partial(self._emit_agent_speech_transcription, text, mode="delta")
            self._emit(emit, response)

    async def _start_user_speech(self, item_id: str | None, *, barges_in: bool = True) -> None:
        turns = self._turns
        turns.speaker_of(item_id, self._speaker)
        if turns.user_speaking:
            return
        turns.user_speaking = True
        turns.user = self._speaker
        # A response the provider begins before this turn ends answers the one before.
        turns.discard_next = turns.response_due
        turns.response_due = False
        if barges_in and turns.busy:
            await self._barge_in()
        self._emit(self._emit_user_speech_started, participant=self._speaker)

    def _end_user_speech(self) -> None:
        if self._turns.user_speaking:
            self._turns.user_speaking = False
            self._emit(self._emit_user_speech_ended, participant=self._turns.user)

    async def _on_user_transcript(self, event: events.UserTranscript) -> None:
        turns = self._turns
        if event.item_id is not None and event.item_id in turns.transcribed:
            return
        if event.text.strip() and not turns.hears_speech and not turns.responses:
            # All this provider ever says of the user's speech; it may trail the turn.
            await self._start_user_speech(event.item_id, barges_in=False)
        participant = turns.speakers.get(event.item_id) or turns.user or self._speaker
        so_far = turns.user_text.get(event.item_id, "")
        if not event.final:
            if event.text:
                turns.user_text[event.item_id] = so_far + event.text
                emit = partial(self._emit_user_speech_transcription, event.text, mode="delta")
                self._emit(emit, participant=participant)
            return
        text = event.text.strip() or so_far.strip()
        turns.user_text.pop(event.item_id, None)
        turns.transcribed.append(event.item_id)
        if text:
            self._keep(Message(content=text, role="user"))
            emit = partial(self._emit_user_speech_transcription, text, mode="final")
            self._emit(emit, participant=participant)
        if not turns.hears_speech:
            self._end_user_speech()
        self._settle_transcript()

    def _settle_transcript(self) -> None:
        """The user's words are in the conversation: the agent's may follow."""
        self._turns.transcript_due = False
        for response in self._turns.responses.values():
            self._show_text(response)

    async def _on_response_started(self, event: events.ResponseStarted) -> None:
        turns = self._turns
        reply: Reply | None = None
        if event.request_id is not None:
            wanted = event.request_id in turns.wanted
            reply = turns.wanted.pop(event.request_id, None)
        else:
            wanted = not turns.discard_next
            turns.discard_next = turns.response_due = False
        if not wanted:
            turns.ended.append(event.response_id)
            await self._tell(events.CancelResponse(event.response_id))
            return
        if event.request_id is None:
            self._end_user_speech()
            # It saw the results of the tools that finished: no need to ask for another.
            for answered in [r for r in turns.continuing if not r.open_calls]:
                turns.continuing.remove(answered)
                reply = reply or answered.reply
        response = turns.responses[event.response_id] = Response(event.response_id, reply)
        if reply is not None:
            reply.responses.append(response)

    async def _on_interrupted(self, response_id: str | None) -> None:
        for response in self._turns.responses.values():
            response.stopped = response_id in (None, response.id)
        if self._turns.busy:
            await self._barge_in()
        if not self._turns.hears_speech:
            await self._start_user_speech(None)

    async def _on_response_done(self, event: events.ResponseDone) -> None:
        response = self._turns.response(event.response_id)
        if response is None:
            return
        if event.status == "cancelled":
            response.stopped = True
            if response.reply is not None:
                response.reply.end()
            await self._tell(*self._cut([response], announce=True))
            await self._continue()
            return
        self._turns.finish(response)
        self._delays = self.client.reconnect_delays()
        if response.odd_byte:
            logger.debug("Response %s ended in the middle of a sample", response.id)
        if response.text.strip():
            self._keep(Message(content=response.text.strip(), role="assistant"))
            emit = partial(self._emit_agent_speech_transcription, response.text, mode="final")
            self._emit(emit, response)
        if response.first_audio_at is not None:
            self._emit(partial(self._emit_agent_speech_ended, response.id), response)
        self._emit(partial(self._emit_audio_output_done_event, response.id), response)
        reply = response.reply
        if event.status == "failed":
            failure = events.ResponseError("the response failed", code=event.code or "unknown")
            self.on_llm_error(error=failure, error_code=failure.code)
            if reply is not None:
                reply.end(failure)
        else:
            self._record(response, event)
            if response.called:
                self._turns.continuing.append(response)
            elif reply is not None:
                reply.end(done=event)
        await self._continue()

    def _record(self, response: Response, event: events.ResponseDone) -> None:
        self._emit_response_event(response.text, response.id)
        first = response.first_audio_at
        self.metrics.on_llm_response(
            provider=self.provider_name,
            model=self.model,
            latency_ms=ms_since(response.started_at),
            time_to_first_token_ms=(first - response.started_at) * 1000 if first else None,
            input_tokens=event.usage.input_tokens,
            output_tokens=event.usage.output_tokens,
        )

    def _on_fault(self, event: events.Fault) -> None:
        if event.harmless:
            logger.debug("The provider had nothing to do: %s", event.code)
            return
        failure = events.ResponseError("the provider reported an error", code=event.code)
        reply = self._turns.wanted.pop(event.request_id or "", None)
        self.on_llm_error(error=failure, error_code=event.code)
        if reply is not None:
            reply.end(failure)

    def _on_tool_call(self, session: Session, call: events.ToolCall) -> None:
        turns = self._turns
        response = turns.response(call.response_id)
        if response is None or call.call_id in turns.called:
            return
        turns.called.append(call.call_id)
        turns.calls[call.call_id] = response
        response.called = True
        response.open_calls += 1
        if response.reply is not None:
            response.reply.tools_running += 1
        self._run_tool_in_background(self._run_tool(session, response, call))

    async def _run_tool(self, session: Session, response: Response, call: events.ToolCall) -> None:
        output: object
        try:
            arguments = call.parse()
        except ValueError as error:
            output = {"error": str(error)}
        else:
            output = await self._tool_output(call, arguments)
        response.open_calls -= 1
        if response.reply is not None:
            response.reply.tools_running -= 1
        if session is not self._session:
            logger.debug("The session that made tool call %s is gone", call.call_id)
            return
        if self._turns.calls.pop(call.call_id, None) is not None:
            await self._tell(events.AddToolResult(call.call_id, call.name, output))
        await self._continue()

    async def _tool_output(self, call: events.ToolCall, arguments: dict[str, object]) -> object:
        failure: BaseException | None
        try:
            _, output, failure = await self._run_one_tool(
                {"id": call.call_id, "name": call.name, "arguments_json": arguments},
                self._tool_timeout_s,
            )
        except asyncio.CancelledError as cancelled:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            failure = cancelled  # of something inside the tool: for the model it failed
        except Exception as error:  # noqa: BLE001 - the base class could not tell how it failed
            failure = error
        return plain(output if failure is None else {"error": failure})

    async def _continue(self) -> None:
        """Ask for the response that follows a tool, once nothing else is being said."""
        turns = self._turns
        if turns.responses or turns.wanted or turns.user_speaking:
            return
        for response in turns.continuing:
            if not response.open_calls:
                turns.continuing.remove(response)
                request_id = new_request_id()
                turns.wanted[request_id] = response.reply
                await self._tell(events.CreateResponse(request_id))
                return

    async def _barge_in(self) -> None:
        """The user interrupts: silence first, then tell the provider."""
        await super().interrupt()
        await self._tell(*self._cut_all(announce=True))

    def _cut_all(self, *, announce: bool) -> list[events.Command]:
        """End all that is said, heard or asked for; see `_cut`."""
        for reply in self._replies:
            reply.end()
        return self._cut(self._turns.cut_all(time.perf_counter()), announce=announce)

    def _cut(self, responses: list[Response], *, announce: bool) -> list[events.Command]:
        """End responses.

        Args:
            responses: in progress, or done and still being heard.
            announce: emit Done(interrupted=True), for the agent's flow to answer.

        Returns:
            What the provider has to be told.
        """
        now = time.perf_counter()
        self._held.drop([response.id for response in responses])
        commands: list[events.Command] = []
        for response in responses:
            if not response.done and not response.stopped:
                commands.append(events.CancelResponse(response.id))
            commands += [
                events.TruncateItem(item.id, int(item.heard_s(now) * 1000))
                for item in response.spoken
                if item.id is not None and (item.plays_until > now or not response.done)
            ]
            self._emit_cut(response, announce=announce)
        self._turns.silence(responses, now)
        return commands

    def _emit_cut(self, response: Response, *, announce: bool) -> None:
        if not response.done:
            self._turns.finish(response)
            if response.text.strip():
                self._keep(Message(content=response.text.strip(), role="assistant"))
                if announce:
                    self._emit_agent_speech_transcription(response.text, mode="final")
            if response.first_audio_at is not None:
                self._emit_agent_speech_ended(response.id, interrupted=True)
        if announce:
            done = RealtimeAudioOutputDone(interrupted=True, response_id=response.id)
            self._output.send_nowait(done)
            self._held.hold(done, self._output)

    def _emit(
        self,
        emit: Callable[[], None],
        response: Response | None = None,
        *,
        participant: Participant | None = None,
    ) -> None:
        if participant is not None:
            emit = partial(self._emit_for, participant, emit)
        self._held.emit(emit, response.id if response is not None else None)

    def _emit_for(self, participant: Participant, emit: Callable[[], None]) -> None:
        # The base class attributes to its current participant, which interrupt() clears.
        self._current_participant = participant
        emit()

    def _drop(self, error: events.SessionError) -> None:
        """End what the lost session was saying; what was said plays on."""
        for reply in list(self._turns.replies()):
            reply.end(error)
        self._cut(list(self._turns.responses.values()), announce=True)
        self._end_user_speech()
        self._forget_turns()

    def _forget_turns(self) -> None:
        self._turns = Turns()
        self._microphones.clear()

    async def _send_audio(self, session: Session, frames: Iterable[av.AudioFrame]) -> None:
        for frame in frames:
            data = _packed(frame)
            try:
                await session.send_audio(data)
            except events.SessionError:
                # The reader reports the loss, once; a frame of audio is not worth a second.
                return
            self.metrics.on_realtime_audio_input(
                byte_count=len(data),
                duration_ms=len(data) / 2 / INPUT_SAMPLE_RATE * 1000,
                provider=self.provider_name,
            )

    async def _send_rest(self, session: Session) -> None:
        """Send what the microphones still hold: the last of what was said."""
        for microphone in self._microphones.values():
            await self._send_audio(session, microphone.rest())

    async def _tell(self, *commands: events.Command) -> None:
        """Send what need not arrive where the session is gone."""
        if self._session is None or not commands:
            return
        try:
            await self._session.send(*commands)
        except events.SessionError as error:
            logger.debug("The provider was not told: %s", error)

    async def _request(self, reply: Reply, *args: object, **kwargs: object) -> None:
        """Send a request; across a reconnect if the connection is down."""
        prompt = self._normalize_message(args[0]) if args else []
        try:
            while not reply.ended.is_set():
                session = await self._ready(reply)
                self._turns.wanted[reply.request_id] = reply
                try:
                    await self._sync_session()
                    await session.create_response(
                        as_commands(prompt), *args[1:], request_id=reply.request_id, **kwargs
                    )
                except events.SessionError as lost:
                    self._turns.wanted.pop(reply.request_id, None)
                    if not lost.temporary:
                        raise
                    if session is self._session:
                        # The reader has not seen it yet: wait for the session after.
                        self._online.clear()
                    continue
                reply.asked = True
                self._keep(*prompt)
                return
        except events.SessionError as error:
            if reply.ended.is_set() and reply.error is None:
                return  # interrupted while it waited for a connection
            self.on_llm_error(error=error)
            raise

    async def _abandon(self, reply: Reply) -> None:
        """Stop what a caller no longer listens to."""
        self._replies.remove(reply)
        if reply.ended.is_set():
            return
        reply.end()
        await self._tell(*self._cut(self._turns.cut_reply(reply), announce=True))

    async def _ready(self, reply: Reply | None = None) -> Session:
        reader = self._reader
        if reader is not None and not reader.done() and not self._online.is_set():
            await self._wait_online(reader, reply)
        if self._session is None:
            if reader is None:
                raise events.SessionError("there is no session: await connect() first")
            raise events.SessionError("the connection is lost")
        return self._session

    async def _wait_online(self, reader: asyncio.Task[None], reply: Reply | None = None) -> None:
        waits = [asyncio.create_task(self._online.wait())]
        if reply is not None:
            waits.append(asyncio.create_task(reply.ended.wait()))
        try:
            await asyncio.wait(
                (reader, *waits),
                timeout=self._response_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await _stop(waits)

    def _config(self) -> events.SessionConfig:
        return events.SessionConfig(
            model=self.model,
            voice=self.voice,
            instructions=self._instructions,
            tools=tuple(
                events.Tool(
                    tool["name"], tool.get("description", ""), tool.get("parameters_schema", {})
                )
                for tool in self.get_available_functions()
            ),
            tool_choice=self.tool_choice,
            modalities=self.modalities,
            turn_detection=self.turn_detection,
            transcription=self.transcription,
            input_rate=INPUT_SAMPLE_RATE,
            output_rate=OUTPUT_SAMPLE_RATE,
            options=self.options,
        )

    def _sync_soon(self) -> None:
        """Tell the provider in one update all that this turn of the loop changes."""
        if self.connected and (self._syncing is None or self._syncing.done()):
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        untold, self._untold = self._untold, []
        await self._tell(*untold)
        try:
            await self._sync_session()
        except events.SessionError as error:
            logger.debug("The provider was not told: %s", error)

    async def _sync_session(self) -> None:
        config = self._config()
        if self._session is not None and config != self._configured:
            previous, self._configured = self._configured, config
            await self._session.send(events.Configure(config, previous))

    def _keep(self, *messages: Message) -> None:
        """Remember what was said, for a session that has to be told."""
        self._said.extend(messages)
        self._said_since_handle.extend(messages)

    def _history(self) -> list[events.AddMessage]:
        """The conversation so far, for a provider that knows nothing of it."""
        messages = list(self._said)
        if self._conversation is not None:
            kept = list(self._conversation.messages)
            known = {(message.role, message.content.strip()) for message in kept}
            messages = kept + [m for m in messages if (m.role, m.content.strip()) not in known]
            messages.sort(
                key=lambda message: message.timestamp.timestamp() if message.timestamp else 0
            )
        return as_commands(messages[-HISTORY_MESSAGES:])

    async def _finish_tools(self) -> None:
        """Let tools finish for a moment: their results may matter to the provider."""
        current = asyncio.current_task()
        running = [task for task in self._tool_tasks if task is not current]
        if running:
            await asyncio.wait(running, timeout=TOOLS_GRACE_S)

    @staticmethod
    def _normalize_message(value: object) -> list[Message]:
        """Bring any shape of message the house uses into its own; see `normalize`."""
        return normalize(value)


class Microphone:
    """One speaker's audio, on its way to the provider.

    The resampler remembers the samples before. A call of it costs more than the samples
    do, so what goes out in one piece is collected first.
    """

    def __init__(self, chunk_ms: int) -> None:
        self._resampler = FrameResampler(INPUT_SAMPLE_RATE, "mono", "s16", 0)
        self._chunk_ms = chunk_ms
        self._pieces: list[bytes] = []
        self._pieces_ms = 0.0
        self._form: tuple[int, AudioFormatType, int] = (INPUT_SAMPLE_RATE, "s16", 1)

    def take(self, pcm: PcmData) -> list[av.AudioFrame]:
        """Take the next frame of the call; returns what can be sent now."""
        if not self._chunk_ms:
            return self._resampler.resample(pcm)
        form = (pcm.sample_rate, pcm.format, pcm.channels)
        frames = [] if form == self._form else self._collected()
        self._form = form
        self._pieces.append(pcm.to_bytes())
        self._pieces_ms += pcm.duration_ms
        return frames if self._pieces_ms < self._chunk_ms else frames + self._collected()

    def rest(self) -> list[av.AudioFrame]:
        """Returns all that is left: the end of what was said."""
        return self._collected() + self._resampler.flush()

    def _collected(self) -> list[av.AudioFrame]:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._pieces_ms = 0.0
        return self._resampler.resample(PcmData.from_bytes(data, *self._form))


def _packed(frame: av.AudioFrame) -> bytes:
    """The bytes of a finished s16 mono frame; its plane is padded beyond them."""
    return bytes(memoryview(frame.planes[0])[: frame.samples * 2])


async def _stop(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel tasks and wait for them, not longer than a moment."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        _, stuck = await asyncio.wait(running, timeout=TOOLS_GRACE_S)
        if stuck:
            logger.warning("%d tasks would not end when cancelled", len(stuck))
