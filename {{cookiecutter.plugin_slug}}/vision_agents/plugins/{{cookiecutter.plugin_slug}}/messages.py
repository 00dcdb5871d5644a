"""Messages and tool results of any shape, and what becomes of them. Not edited for a provider."""

from collections.abc import Iterable

import msgspec
from vision_agents.core.agents.conversation import Message

from . import events


def normalize(value: object) -> list[Message]:
    """Bring a message of any shape the house uses into its own.

    Args:
        value: a text, a Message, a mapping with role and content, a content part,
            or a list of these.

    Raises:
        ValueError: there is no text in it to send.
    """
    values = value if isinstance(value, list | tuple) else [value]
    messages: list[Message] = []
    for item in values:
        match item:
            case Message():
                messages.append(item)
            case {"content": content, **rest}:
                role = _role(rest.get("role"))
                messages.append(Message(content=_text(content), role=role, original=item))
            case _:
                messages.append(Message(content=_text(item), role="user", original=item))
    return messages


def as_commands(messages: Iterable[Message]) -> list[events.AddMessage]:
    """What a session is told of messages; one without words is not worth telling."""
    return [
        events.AddMessage(_role(message.role), message.content)
        for message in messages
        if message.content.strip()
    ]


def plain(value: object) -> object:
    """Whatever a tool returned as data that JSON has words for; what is none becomes text."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_shown))
    except (TypeError, ValueError, RecursionError):
        return _shown(value)


def _shown(value: object) -> str:
    """A value as Python shows it, without halves of surrogate pairs."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a tool's own class may raise anything; the model is told
        text = f"<{type(value).__name__} that cannot be shown>"
    return text.encode(errors="replace").decode()


def _role(role: object) -> events.Role:
    match role:
        case "assistant" | "system":
            return role
        case "developer":
            return "system"
    return "user"


def _text(content: object) -> str:
    """The text in a text, a content part, or a list of parts."""
    match content:
        case str():
            return content
        case {"text": str(text)}:
            return text
        case list() | tuple():
            return "".join(_text(part) for part in content)
    raise ValueError(f"a message needs text, not {type(content).__name__}")
