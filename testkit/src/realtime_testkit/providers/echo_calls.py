"""The tools that an echo calls: the client's functions, and those of servers."""

import itertools
from typing import TypeVar

import msgspec

from realtime_testkit import protocol
from realtime_testkit.protocol import Tool

from . import echo_tools
from .echo_answer import Answer
from .line import Line

MAX_WAITING = 1000
"""How many calls and approvals may wait for the client."""

Item = TypeVar("Item")


class EchoCalls:
    """Calls tools, and remembers which calls wait for a result or an approval."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._numbers = itertools.count(1)
        self._open: dict[str, str] = {}
        self._unapproved: dict[str, tuple[Tool, str]] = {}

    def tool_of(self, answer: Answer) -> Tool | None:
        """The tool that an answer is a call of, if it is one."""
        if answer.tool is not None:
            return answer.tool
        if answer.reply is not None:
            return None if answer.reply.call is None else Tool(answer.reply.call, "", {})
        config = answer.request.config
        return echo_tools.chosen(config, answer.asked, may_repeat=answer.may_call)

    async def call(self, answer: Answer, tool: Tool) -> str | None:
        """Call a tool; returns the result where there is one at once."""
        call_id, say = f"call_{next(self._numbers)}", self._line.say_if_supported
        given = answer.approved or _arguments(answer, tool)
        if tool.server is None:
            _keep(self._open, call_id, tool.name)
            await say(protocol.ToolCall(answer.response_id, call_id, tool.name, given))
            return None
        place = (tool.server, tool.name, given)
        if tool.needs_approval and not answer.approved:
            request_id = f"mcpr_{call_id}"
            _keep(self._unapproved, request_id, (tool, given))
            await say(protocol.ToolCallApproval(answer.response_id, request_id, *place))
            return None
        output = f"{tool.name} was called with {given}"
        await say(protocol.ServerToolCall(answer.response_id, call_id, *place, output))
        return f"{tool.name} says {output}"

    def result_of(self, call_id: str, output: object) -> str:
        """What the result of a call says."""
        return f"{self._open.pop(call_id, 'the tool')} says {output}"

    def allowed(self, request_id: str) -> tuple[Tool, str] | None:
        """The tool and the arguments that an approval is about."""
        return self._unapproved.pop(request_id, None)


def _arguments(answer: Answer, tool: Tool) -> str:
    reply = answer.reply
    if reply is not None and reply.call == tool.name:
        return msgspec.json.encode(reply.arguments).decode()
    return msgspec.json.encode(echo_tools.arguments(tool, answer.asked)).decode()


def _keep(waiting: dict[str, Item], name: str, item: Item) -> None:
    """Remember something, and forget the oldest beyond the bound."""
    waiting[name] = item
    if len(waiting) > MAX_WAITING:
        del waiting[next(iter(waiting))]
