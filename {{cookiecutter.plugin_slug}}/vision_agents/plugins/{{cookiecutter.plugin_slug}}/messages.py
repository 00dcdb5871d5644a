"""Messages of any shape the house uses, and what becomes of them. Not edited for a provider."""

from collections.abc import Iterable

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
