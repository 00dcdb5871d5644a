"""The class under test, as far as the contract knows it; never constructed here."""

import abc
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from getstream.video.rtc.track_util import PcmData
from vision_agents.core.agents.conversation import Message
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal

ResponseItem = LLMResponseDelta | LLMResponseFinal


class Realtime(realtime.Realtime):
    """What the contract calls beyond the class of Vision Agents.

    A plugin's class does not inherit from this one: it is a name for its type. The native
    method is missing, for its name is the plugin's; see `scenarios.NativeCall`.

    Attributes:
        client: the injected or built client.
        provider_name: name of the plugin in metrics and events.
    """

    client: object
    provider_name: str

    @abc.abstractmethod
    async def connect(self) -> None:
        """Open the session."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close the session."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Connect."""

    @abc.abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""

    @abc.abstractmethod
    async def simple_audio_response(
        self, pcm: PcmData, participant: Participant | None = None
    ) -> None:
        """Send audio to the provider."""

    @abc.abstractmethod
    def simple_response(
        self, text: str, participant: Participant | None = None
    ) -> AsyncIterator[ResponseItem]:
        """Ask for a response to a text."""

    @abc.abstractmethod
    async def commit_audio(self, *, respond: bool = True) -> None:
        """End the user's turn by hand."""

    @abc.abstractmethod
    async def trim_history(self, keep: int) -> None:
        """Forget all but the newest messages of the conversation."""

    @abc.abstractmethod
    async def update_session(
        self,
        *,
        instructions: str | None = None,
        turn_detection: bool | Mapping[str, object] | None = None,
        tool_choice: str | None = None,
        modalities: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> None:
        """Change the session."""

    @abc.abstractmethod
    def _normalize_message(self, conversation_input: object) -> list[Message]:
        """Return a message of any shape as Vision Agents' messages."""
