"""What a client of the OpenAI Realtime API says, read as strictly as the API does."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from realtime_testkit.protocol import Role

from .session_schema import AnyTool, Generation, JSONObject, ResponseAudio, Session, Strict

Natural = Annotated[int, Meta(ge=0)]
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]


class ContentPart(Strict):
    """A part of a message's content."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    audio: bytes | None = None
    transcript: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None

    def __post_init__(self) -> None:
        needed = {"input_text": self.text, "output_text": self.text, "input_image": self.image_url}
        if self.type in needed and needed[self.type] is None:
            raise ValueError(f"{self.type} without its content")


class Item(Strict, tag_field="type", kw_only=True):
    """An item of a conversation."""

    id: Annotated[str, Meta(min_length=1)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class MessageItem(Item, tag="message"):
    """A message of the user, the assistant or the system."""

    role: Role
    content: list[ContentPart]

    def __post_init__(self) -> None:
        side = "output_" if self.role == "assistant" else "input_"
        if not all(part.type.startswith(side) for part in self.content):
            raise ValueError(f"the content of role {self.role} is {side}...")


class FunctionCallItem(Item, tag="function_call"):
    """A call of a function."""

    name: str
    arguments: str
    call_id: str | None = None


class FunctionCallOutputItem(Item, tag="function_call_output"):
    """What a function returned."""

    call_id: str
    output: str


class McpApprovalResponseItem(Strict, tag_field="type", tag="mcp_approval_response"):
    """The answer to a request for approval."""

    id: str
    approval_request_id: str
    approve: bool
    reason: str | None = None


class ItemReference(Strict, tag_field="type", tag="item_reference"):
    """An item of the session, named in the input of a response."""

    id: str


AnyItem = MessageItem | FunctionCallItem | FunctionCallOutputItem | McpApprovalResponseItem


class ResponseParams(Generation):
    """What a response is asked for with."""

    audio: ResponseAudio | None = None
    conversation: str | None = None
    input: list[AnyItem | ItemReference] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)] | None = None
    tools: list[AnyTool] | None = None


class ClientMessage(Strict, tag_field="type", kw_only=True):
    """A message of the client; ``event_id`` is its own name for it."""

    event_id: Annotated[str, Meta(max_length=512)] | None = None


class SessionUpdate(ClientMessage, tag="session.update"):
    """Change the session."""

    session: Session


class BufferAppend(ClientMessage, tag="input_audio_buffer.append"):
    """Append audio to the input buffer."""

    audio: bytes


class BufferCommit(ClientMessage, tag="input_audio_buffer.commit"):
    """Make the input buffer an item."""


class BufferClear(ClientMessage, tag="input_audio_buffer.clear"):
    """Discard the input buffer."""


class OutputClear(ClientMessage, tag="output_audio_buffer.clear"):
    """Stop playing; in calls only."""


class ItemCreate(ClientMessage, tag="conversation.item.create"):
    """Add an item to the conversation."""

    item: AnyItem
    previous_item_id: str | None = None


class ItemRetrieve(ClientMessage, tag="conversation.item.retrieve"):
    """Ask for an item."""

    item_id: str


class ItemTruncate(ClientMessage, tag="conversation.item.truncate"):
    """Remove the end of a message's audio, which was not heard."""

    item_id: str
    content_index: Natural
    audio_end_ms: Natural


class ItemDelete(ClientMessage, tag="conversation.item.delete"):
    """Remove an item from the conversation."""

    item_id: str


class ResponseCreate(ClientMessage, tag="response.create"):
    """Ask for a response."""

    response: ResponseParams | None = field(default_factory=ResponseParams)


class ResponseCancel(ClientMessage, tag="response.cancel"):
    """Cancel a response."""

    response_id: str | None = None


AnyMessage = (
    SessionUpdate
    | BufferAppend
    | BufferCommit
    | BufferClear
    | OutputClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
)

client_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)


def object_in(frame: str | bytes, key: str) -> JSONObject:
    """An object in a frame, with its fields as they were written."""
    value = msgspec.json.decode(frame, type=JSONObject).get(key)
    return value if isinstance(value, dict) else {}
