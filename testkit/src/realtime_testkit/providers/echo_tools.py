"""Which tool an echo calls, and with what arguments."""

from collections.abc import Mapping, Sequence

import msgspec

from realtime_testkit.protocol import SessionConfig, Tool

_EXAMPLES: dict[str, object] = {
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}
_UNIONS = ("anyOf", "oneOf", "allOf")


def chosen(config: SessionConfig, asked: str, *, may_repeat: bool) -> Tool | None:
    """The tool to call: the one that the session requires, or that was named."""
    tools: Sequence[Tool] = (*config.tools, *config.server_tools)
    choice = config.tool_choice
    if choice == "none" or not tools or not may_repeat:
        return None
    named = [tool for tool in tools if tool.name in asked]
    if choice == "required":
        return (*named, *tools)[0]
    forced = next((tool for tool in tools if tool.name == choice), None)
    return forced or next(iter(named), None)


def arguments(tool: Tool, text: str) -> dict[str, object]:
    """Arguments for a tool: the JSON object in the text, or an example of each type."""
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        try:
            return msgspec.json.decode(text[start : end + 1], type=dict[str, object])
        except (msgspec.DecodeError, RecursionError):
            pass  # braces in a sentence
    last_word = (text.split() or ["something"])[-1].strip("?!.,")
    properties, required = tool.parameters.get("properties"), tool.parameters.get("required")
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return {}
    return {
        name: _example(properties.get(name), last_word)
        for name in required
        if isinstance(name, str)
    }


def _example(schema: object, word: str, depth: int = 0) -> object:
    """A value that fits a schema, as far as its type tells."""
    if not isinstance(schema, Mapping) or depth > 8:
        return word
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "examples"):
        match schema.get(key):
            case [first, *_]:
                return first
    for key in _UNIONS:
        match schema.get(key):
            case [first, *_]:
                return _example(first, word, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    return _EXAMPLES.get(kind, word) if isinstance(kind, str) else word
