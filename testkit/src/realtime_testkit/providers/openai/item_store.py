"""What a client does to the items of a conversation, and how that is acknowledged."""

import itertools

import msgspec

from realtime_testkit import protocol
from realtime_testkit.protocol import Command

from . import schema
from .conversation import Conversation, Entry
from .frames import Frames, JSONObject, Sent
from .images import jpeg_in
from .session import refused


class ItemStore:
    """Adds, truncates, deletes and retrieves items; each method raises Refused."""

    def __init__(self, frames: Frames, conversation: Conversation) -> None:
        self._frames = frames
        self._conversation = conversation
        self._numbers = itertools.count(1)

    def delete(self, item_id: str) -> Sent:
        """Remove an item."""
        self._conversation.require(item_id, "deleting", "item_delete_invalid_item_id")
        self._conversation.remove(item_id)
        return [self._frames.frame("conversation.item.deleted", item_id=item_id)]

    def retrieve(self, item_id: str) -> Sent:
        """Tell an item with its audio."""
        code = "item_retrieve_invalid_item_id"
        entry = self._conversation.require(item_id, "retrieving", code)
        return [self._frames.frame("conversation.item.retrieved", item=entry.whole)]

    def create(self, message: schema.ItemCreate) -> Sent:
        """Add an item."""
        item, after = message.item, message.previous_item_id
        item_id = item.id or f"item_made_{next(self._numbers)}"
        if item_id in self._conversation:
            raise refused(
                "item_create_duplicate_id", f"The item {item_id!r} exists already.", "item.id"
            )
        if after is not None and after != "root" and after not in self._conversation:
            raise refused(
                "item_create_invalid_previous_item_id",
                f"Error adding item: the previous item with id '{after}' does not exist.",
                "previous_item_id",
            )
        if isinstance(item, schema.FunctionCallOutputItem):
            call = self._conversation.call(item.call_id)
            if call is None or call.answered:
                why = "not found in conversation" if call is None else "has its output already"
                message_ = f"Tool call ID '{item.call_id}' {why}."
                raise refused("invalid_tool_call_id", message_, "item.call_id")
            call.answered = True
        if isinstance(item, schema.McpApprovalResponseItem):
            code = "invalid_approval_request_id"
            asked = self._conversation.require(item.approval_request_id, "approving", code)
            if asked.item["type"] != "mcp_approval_request":
                raise refused(code, "That item asks for no approval.", "item.approval_request_id")
        about: JSONObject = msgspec.to_builtins(item)
        about["id"] = item_id
        if not isinstance(item, schema.McpApprovalResponseItem):
            about |= {"object": "realtime.item", "status": "completed"}
        entry = Entry(about)
        if isinstance(item, schema.MessageItem):
            entry = _entry_of_message(about)
        previous = self._conversation.add(item_id, entry, after)
        place: JSONObject = {"previous_item_id": previous, "item": entry.item}
        return [
            self._frames.frame("conversation.item.added", **place),
            self._frames.frame("conversation.item.done", **place),
        ]

    def truncate(self, message: schema.ItemTruncate) -> Sent:
        """Remove the end of an answer."""
        item_id, end = message.item_id, message.audio_end_ms
        code = "item_truncate_invalid_item_id"
        entry = self._conversation.require(item_id, "truncating", code)
        if entry.item.get("role") != "assistant":
            raise refused(code, "Only model output audio messages can be truncated.", "item_id")
        if end > entry.audio_ms:
            raise refused(
                "invalid_value",
                f"Audio content of {entry.audio_ms:.0f}ms is already shorter than {end}ms",
                "audio_end_ms",
            )
        entry.audio_ms = end
        content = entry.item.get("content")
        if isinstance(content, list) and message.content_index < len(content):
            content[message.content_index] = {"type": "output_audio", "transcript": ""}
        return [
            self._frames.frame(
                "conversation.item.truncated",
                item_id=item_id,
                content_index=message.content_index,
                audio_end_ms=end,
            )
        ]


def command_of(item: schema.AnyItem) -> Command:
    """What adding an item means."""
    match item:
        case schema.MessageItem(role=role, content=content):
            images = tuple(part.image_url for part in content if part.image_url is not None)
            text = "".join(part.text or part.transcript or "" for part in content)
            if len(content) == len(images) == 1 and (jpeg := jpeg_in(images[0])) is not None:
                return protocol.AppendImage(jpeg)
            return protocol.AddMessage(role, text, images)
        case schema.FunctionCallItem(name=name, arguments=arguments, call_id=call_id):
            return protocol.AddToolCall(call_id or "", name, arguments)
        case schema.FunctionCallOutputItem(call_id=call_id, output=output):
            return protocol.AddToolResult(call_id, "", output)
        case schema.McpApprovalResponseItem(approval_request_id=request_id, approve=approve):
            return protocol.ApproveToolCall(request_id, approve)


def _entry_of_message(about: JSONObject) -> Entry:
    """A message's item without its audio, which is kept beside it."""
    data, content = b"", about["content"]
    assert isinstance(content, list)
    for part in content:
        given = part.pop("audio", None)
        if isinstance(given, str):
            data += given.encode()
    return Entry(about, audio=data)
