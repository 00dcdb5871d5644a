"""{{ cookiecutter.plugin_name }} speech-to-speech for Vision Agents: the class Realtime.

The provider's settings and defaults stand here, its address and credentials in
client.py, its messages in wire.py. _engine/ is the same in every realtime plugin.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Self

import aiortc
from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.conversation import Conversation, Message
from vision_agents.core.edge.types import Participant
from vision_agents.core.instructions import Instructions
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.utils.audio_input_pacer import AudioInputPacingConfig
from vision_agents.core.utils.video_forwarder import VideoForwarder

from . import wire
from ._engine import session_events as events
from ._engine.access import ApiKey
from ._engine.call import Call, Host
from ._engine.configuration import check_arguments
from ._engine.connection import RealtimeClient
from ._engine.errors import ResponseError
from ._engine.history import normalize
from ._engine.session import Session
from ._engine.session_types import Modality, SessionConfig, Tool
{%- if cookiecutter.video == 'yes' %}
from ._engine.video import VideoInput
{%- endif %}
from .client import build_client

DEFAULT_MODEL = "{{ cookiecutter.default_model }}"

INPUT_SAMPLE_RATE = {% if cookiecutter.transport == 'webrtc' %}48000{% else %}{{ cookiecutter.input_sample_rate }}{% endif %}
"""What the provider takes, Hz."""

OUTPUT_SAMPLE_RATE = {% if cookiecutter.transport == 'webrtc' %}48000{% else %}{{ cookiecutter.output_sample_rate }}{% endif %}
"""What the provider is asked for, Hz; what it announces wins."""

CAPABILITIES = [
    "audio",
    "text",
    "tools",
    "transcription",
    "turn_detection",
    "history",
{%- if cookiecutter.video == 'yes' %}
    "video",
{%- endif %}
]
"""What the provider can do, told in the connected event."""

ToolFunction = Callable[..., Awaitable[object]]

logger = logging.getLogger(__name__)


class Realtime(realtime.Realtime):
    """{{ cookiecutter.plugin_name }} speech-to-speech.

    Example:
        async with Realtime(model="{{ cookiecutter.default_model }}") as llm:
            async for item in llm.simple_response("Say hello"):
                ...

    Args:
        model: the provider's model.
        client: opens the sessions; needs no key and no base_url.
        api_key: a key, or a callable, also async, that returns one for each connection;
            defaults to the environment's {{ cookiecutter.__env_prefix }}_API_KEY.
        base_url: the provider's endpoint; it may have a query.
        voice: the provider's voice; None for its default.
        fps: video frames a second, for providers that take video.
        turn_detection: True for the provider's default, False for manual turns
            (`commit_audio`), a mapping for the provider's own settings.
        transcription: transcribe the user's speech; a text names the model for it.
        interrupt_after_s: how long the user has to speak before that interrupts the agent;
            None for never. Other than 0 it needs a provider that leaves this to its client.
        tool_choice: "auto", "none", "required" or the name of a tool.
        modalities: "audio", or "text" for answers without speech.
        options: session settings named as the provider names them; they win over all others.
        tool_timeout_s: bound on one tool call.
        response_timeout_s: bound on the provider's silence while a response is awaited.
        input_audio_pacing: send input audio at a steady pace; None sends it as it comes.
        input_chunk_ms: collect input audio into chunks of so many ms or a frame more, which
            costs as much latency and saves CPU time; 0 sends each frame as it comes.

    Raises:
        ValueError: an argument cannot be used; the message says which and what to do.
    """

    provider_name = "{{ cookiecutter.plugin_slug }}_realtime"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        client: RealtimeClient | None = None,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        voice: str | None = None,
        fps: int = 1,
        turn_detection: bool | Mapping[str, object] = True,
        transcription: bool | str = True,
        interrupt_after_s: float | None = 0.0,
        tool_choice: str = "auto",
        modalities: Modality = "audio",
        options: Mapping[str, object] | None = None,
        tool_timeout_s: float = 30.0,
        response_timeout_s: float = 30.0,
        input_audio_pacing: AudioInputPacingConfig | None = None,
        input_chunk_ms: int = 0,
    ) -> None:
        check_arguments(
            model=model,
            modalities=modalities,
            fps=fps,
            interrupt_after_s=interrupt_after_s,
            tool_timeout_s=tool_timeout_s,
            response_timeout_s=response_timeout_s,
            input_chunk_ms=input_chunk_ms,
        )
        config = SessionConfig(
            model=model,
            voice=voice,
            tool_choice=tool_choice,
            modalities=modalities,
            turn_detection=turn_detection,
            transcription=transcription,
            interrupts=interrupt_after_s == 0,
            input_rate=INPUT_SAMPLE_RATE,
            output_rate=OUTPUT_SAMPLE_RATE,
            options=dict(options or {}),
        )
        # Raises ValueError for formats that cannot be used.
        settings = wire.Codec().settings(config)
        super().__init__(fps=fps, input_audio_pacing=input_audio_pacing)
        self.model = model
        self.client = client if client is not None else build_client(api_key, base_url)
        self._call = Call(
            self.client,
            Host(
                name=self.provider_name,
                metrics=self.metrics,
                clear_output=super().interrupt,
                read=self._handle_events,
                connected=self._announce,
                disconnected=self._on_disconnected,
                error=self._emit_error_event,
                llm_error=self._report,
                run_tool=self._run_one_tool,
                config=self._with_agent,
                refused=self._restore,
            ),
            config,
            settings,
            read_request=wire.read_request,
            tool_timeout_s=tool_timeout_s,
            response_timeout_s=response_timeout_s,
            input_chunk_ms=input_chunk_ms,
            interrupt_after_s=interrupt_after_s,
        )
        self._output = self._call.output
{%- if cookiecutter.video == 'yes' %}
        self._video = VideoInput(self.provider_name, fps, self._call.connection)
{%- endif %}

    async def connect(self) -> None:
        """Open the session; returns once the provider accepted its configuration.

        Does nothing while connected, and waits for a reconnect under way.

        Raises:
            SessionError: the provider cannot be reached, refused or did not answer.
        """
        await self._call.connection.connect()

    async def _handle_events(self, session: Session) -> None:
        """Read a session to its end.

        Raises:
            SessionError: it was lost.
        """
        async for event in session.events():
            try:
                await self._handle_event(session, event)
            except Exception as error:
                # Whatever one event does wrong, it must not end the call.
                logger.exception("Failed to handle %s", type(event).__name__)
                self._emit_error_event(error, context=type(event).__name__)

    async def _handle_event(self, session: Session, event: events.Event) -> None:
        call, conversation = self._call, self._call.conversation
        match event:
            case events.AudioDelta():
                conversation.audio(event)
            case events.TextDelta() | events.TextDone():
                conversation.text(event)
            case events.UserSpeechStarted(item_id):
                await call.user_started(item_id)
            case events.UserSpeechStopped(item_id):
                call.user_stopped(item_id)
            case events.AudioCommitted(item_id):
                conversation.turns.name(item_id)
            case events.UserTranscript():
                await conversation.user_transcript(event)
            case events.UserTranscriptFailed():
                conversation.transcript_failed(event)
            case events.ResponseStarted():
                await call.response_started(event)
            case events.ResponseDone():
                await call.response_done(event)
            case events.ToolCall():
                call.tool_call(session, event)
            case events.ToolCallCancelled(call_id):
                call.tools.cancel(call_id)
            case events.Interrupted(response_id):
                await conversation.interrupted(response_id)
            case events.Fault():
                call.fault(event)
            case events.Malformed(reason):
                call.malformed(reason)
            case events.Resumable(handle):
                call.resumable(handle)

    async def close(self) -> None:
        """Close the session and release everything; safe to call at any time."""
        try:
{%- if cookiecutter.video == 'yes' %}
            await self._video.stop()
{%- endif %}
            await self._call.close()
        finally:
            if self.connected:
                self._on_disconnected(reason="closed")
            self._conversation = self._current_participant = None
            await self._close_audio_input()

    async def interrupt(self) -> None:
        """Stop the agent: clear its output and cancel what the provider is saying.

        The agent's flow also calls this to answer a barge-in.
        """
        await self._call.interrupt()

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
        if self.connected:
            await self._call.hear(pcm, participant)

    async def commit_audio(self, *, respond: bool = True) -> None:
        """End the user's turn by hand, for sessions with turn detection off.

        Args:
            respond: ask the provider for its response, too.

        Raises:
            SessionError: there is no session.
        """
        await self._call.commit(respond=respond)

    async def simple_response(
        self, text: str, participant: Participant | None = None
    ) -> AsyncIterator[LLMResponseDelta | LLMResponseFinal]:
        """Ask for a response to a text; the standard way in of Vision Agents.

        Yields and raises what `{{ cookiecutter.native_method }}` does.
        """
        asked = self.{{ cookiecutter.native_method }}(text)
        async with aclosing(asked) as stream:
            async for item in stream:
                yield item

    async def {{ cookiecutter.native_method }}(
        self, *args: object, **kwargs: object
    ) -> AsyncGenerator[LLMResponseDelta | LLMResponseFinal, None]:
        """The provider's native call, streamed.

        Args:
            args: the prompt, in any shape `_normalize_message` takes; without it the
                provider responds to the conversation as it is.
            kwargs: passed to the provider unchanged; they win over the session's.

        Yields:
            A delta for each piece of text as it arrives, over tool calls and what
            follows them, then one final. An interrupt ends it early with what was said.

        Raises:
            ResponseError: the provider reported that the response failed.
            SessionError: there is no session, or it was lost meanwhile.
            TimeoutError: the provider was silent for response_timeout_s.
            ValueError: the prompt has no text, or an argument cannot be sent.
        """
        if len(args) > 1:
            raise TypeError(f"one positional argument, the prompt, not {len(args)}")
        prompt = self._normalize_message(args[0]) if args else []
        asked = self._call.requests.ask(prompt, kwargs, self.model)
        async with aclosing(asked) as stream:
            async for item in stream:
                yield item

    async def update_session(
        self,
        *,
        instructions: str | None = None,
        turn_detection: bool | Mapping[str, object] | None = None,
        tool_choice: str | None = None,
        modalities: Modality | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Change the session; what is None stays. Kept for later connections, too.

        Raises:
            SessionError: the provider refused, and everything stays as it was, or
                could not be told.
            ValueError: the options name a format that cannot be used.
        """

        def changed(config: SessionConfig) -> SessionConfig:
            detection = config.turn_detection
            return replace(
                config,
                turn_detection=detection if turn_detection is None else turn_detection,
                tool_choice=tool_choice or config.tool_choice,
                modalities=modalities or config.modalities,
                options=config.options if options is None else dict(options),
            )

        # Raises ValueError here, and not from each connect() that follows.
        wire.Codec().settings(changed(self._call.configuration.asked))
        async with self._call.changing:
            await self._call.tell_changes()
            if instructions is not None:
                super().set_instructions(instructions)
            await self._call.change(changed)

    async def trim_history(self, keep: int) -> None:
        """Forget all but the newest messages, here and at the provider.

        Messages that the provider gave no id, as those sent as text, are forgotten there
        with the session; the next one is not told of them.

        Args:
            keep: how many messages stay.
        """
        if keep < 0:
            raise ValueError(f"keep={keep!r} must not be negative")
        await self._call.trim(keep)

    def set_instructions(self, instructions: Instructions | str) -> None:
        """Set the instructions; the provider is told at once while connected."""
        super().set_instructions(instructions)
        self._call.sync_soon()

    def set_conversation(self, conversation: Conversation) -> None:
        """Take the call's conversation; the agent connects before it has one."""
        super().set_conversation(conversation)
        self._call.set_messages(conversation)

    def register_function(
        self, name: str | None = None, description: str | None = None
    ) -> Callable[[ToolFunction], ToolFunction]:
        """Register a tool; the provider is told of it at once while connected."""
        decorate = super().register_function(name, description)

        def register(function: ToolFunction) -> ToolFunction:
            decorate(function)
            self._call.sync_soon()
            return function

        return register

    async def watch_video_track(
        self,
        track: aiortc.mediastreams.MediaStreamTrack,
        shared_forwarder: VideoForwarder | None = None,
    ) -> None:
{%- if cookiecutter.video == 'yes' %}
        """Send the provider what a track shows, in place of any track before.

        Args:
            track: what to watch.
            shared_forwarder: reads the track already; None for one of our own.
        """
        await self._video.watch(track, shared_forwarder)

    async def stop_watching_video_track(self) -> None:
        """Send the provider no more video."""
        await self._video.stop()
{%- else %}
        """Ignored: this provider takes no video, and the agent calls this all the same."""
{%- endif %}

    def _announce(self) -> None:
        session = {
            "model": self.model,
            "voice": self._call.configuration.asked.voice,
            "input_sample_rate": INPUT_SAMPLE_RATE,
            "output_sample_rate": OUTPUT_SAMPLE_RATE,
        }
        self._on_connected(session_config=session, capabilities=CAPABILITIES)

    def _report(self, error: Exception) -> None:
        code = error.code if isinstance(error, ResponseError) else None
        self.on_llm_error(error=error, error_code=code)

    def _with_agent(self, config: SessionConfig) -> SessionConfig:
        """Add the instructions and tools of the moment to a configuration."""
        tools = tuple(map(Tool.of, self.get_available_functions()))
        return replace(config, instructions=self._instructions, tools=tools)

    def _restore(self, config: SessionConfig) -> None:
        """Take back instructions that the provider refused."""
        super().set_instructions(config.instructions)

    @staticmethod
    def _normalize_message(value: object) -> list[Message]:
        """Bring a message of any shape that Vision Agents uses into its own."""
        return normalize(value)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
