"""Writes the frames of tool calls: of the client's functions, and of MCP servers' tools."""

from realtime_testkit import protocol

from .conversation import Conversation, Entry
from .frames import Frames, JSONObject, Sent
from .output_items import Response
from .responses import ResponseWriter


class ToolWriter:
    """Writes the frames of tool calls."""

    def __init__(self, frames: Frames, conversation: Conversation, writer: ResponseWriter) -> None:
        self._frames = frames
        self._conversation = conversation
        self._writer = writer

    def call(self, response: Response, call: protocol.ToolCall) -> Sent:
        """The model calls a function."""
        item_id, arguments = call.item_id or f"item_{call.call_id}", call.arguments
        fields: JSONObject = {
            "type": "function_call",
            "name": call.name,
            "call_id": call.call_id,
            "arguments": "",
        }
        item, sent = self._writer.open_item(response, item_id, fields)
        place = self._writer.place(response, item) | {"call_id": call.call_id}
        kind = "response.function_call_arguments"
        for delta in _halves(arguments):
            sent.append(self._frames.frame(f"{kind}.delta", **place, delta=delta))
        item.entry.item["arguments"] = arguments
        sent.append(
            self._frames.frame(f"{kind}.done", **place, name=call.name, arguments=arguments)
        )
        return sent + self._writer.close_item(response, item, "completed")

    def server_call(self, response: Response, call: protocol.ServerToolCall) -> Sent:
        """The provider called a tool of an MCP server."""
        fields: JSONObject = {
            "type": "mcp_call",
            "server_label": call.server,
            "name": call.name,
            "arguments": "",
            "approval_request_id": None,
            "output": None,
            "error": None,
        }
        item, sent = self._writer.open_item(response, f"mcp_{call.call_id}", fields)
        place, kind = self._writer.place(response, item), "response.mcp_call_arguments"
        for delta in _halves(call.arguments):
            sent.append(self._frames.frame(f"{kind}.delta", **place, delta=delta))
        sent.append(self._frames.frame(f"{kind}.done", **place, arguments=call.arguments))
        about = {"output_index": item.index, "item_id": item.item_id}
        sent.append(self._frames.frame("response.mcp_call.in_progress", **about))
        item.entry.item |= {"arguments": call.arguments, "output": call.output}
        if call.output is None:
            error = {"type": "tool_execution_error", "message": "The tool failed."}
            item.entry.item["error"] = error
        outcome = "failed" if call.output is None else "completed"
        sent.append(self._frames.frame(f"response.mcp_call.{outcome}", **about))
        return sent + self._writer.close_item(response, item, "completed")

    def list_tools(self, label: str, tools: list[protocol.Tool]) -> Sent:
        """The tools of an MCP server were listed."""
        item_id = f"mcpl_{label}"
        listed = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": dict(tool.parameters),
            }
            for tool in tools
        ]
        item: JSONObject = {
            "id": item_id,
            "type": "mcp_list_tools",
            "server_label": label,
            "tools": [],
        }
        whole: JSONObject = {**item, "tools": listed}
        previous = self._conversation.add(item_id, Entry(whole))
        place: JSONObject = {"previous_item_id": previous}
        return [
            self._frames.frame("conversation.item.added", item=item, **place),
            self._frames.frame("mcp_list_tools.in_progress", item_id=item_id),
            self._frames.frame("mcp_list_tools.completed", item_id=item_id),
            self._frames.frame("conversation.item.done", item=whole, **place),
        ]

    def approval(self, response: Response, asked: protocol.ToolCallApproval) -> Sent:
        """The provider asks whether it may call a tool of an MCP server."""
        fields: JSONObject = {
            "type": "mcp_approval_request",
            "server_label": asked.server,
            "name": asked.name,
            "arguments": asked.arguments,
        }
        item, sent = self._writer.open_item(response, asked.request_id, fields)
        return sent + self._writer.close_item(response, item, "completed")


def _halves(text: str) -> tuple[str, ...]:
    half = len(text) // 2
    return (text[:half], text[half:]) if half else (text,)
