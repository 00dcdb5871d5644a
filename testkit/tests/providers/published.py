"""The schema as the openai SDK publishes it, with unknown fields forbidden."""

import itertools
import json
from typing import get_args

from openai import BaseModel
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from pydantic import TypeAdapter
from realtime_testkit.providers import Connection

CLIENT: TypeAdapter[object] = TypeAdapter(RealtimeClientEvent)
SERVER: TypeAdapter[object] = TypeAdapter(RealtimeServerEvent)
SESSION: TypeAdapter[object] = TypeAdapter(RealtimeSessionCreateResponse)

LATER = {"response.done: .response.status_details.error.message"}
"""Fields that older versions of the SDK lack."""


def faults_of(connection: Connection) -> list[str]:
    """What is wrong with the frames that were sent and received on a connection."""
    sent = [fault for frame in connection.sent for fault in faults(frame, SERVER)]
    if connection.violations:
        return sent  # the client said things that are no messages, on purpose
    return sent + [fault for frame in connection.frames for fault in faults(frame, CLIENT)]


def faults(frame: str | bytes, schema: TypeAdapter[object]) -> list[str]:
    """What is wrong with a frame."""
    message = _with_the_one_rate(json.loads(frame))
    assert isinstance(message, dict)
    if schema is SERVER and message["type"].startswith("session."):
        # The model of the event allows sessions as they are asked for, not as they are told.
        session = SESSION.validate_python(message["session"])
        return [f"{message['type']}{what}" for what in _undeclared(session)]
    match message:
        case {"type": "response.create", "response": {"input": list(given)}}:
            # References to items are documented, and are in no model of the SDK's.
            message["response"]["input"] = [
                item for item in given if item["type"] != "item_reference"
            ]
    model = schema.validate_python(message)
    assert isinstance(model, BaseModel)
    found = _undeclared(model)
    if get_args(type(model).model_fields["type"].annotation) != (message["type"],):
        found.append("read as a message of another type")
    known = [f"{message['type']}: {what}" for what in found]
    return [fault for fault in known if fault not in LATER]


def _undeclared(value: object, path: str = "") -> list[str]:
    """The fields that a validated model got and does not declare."""
    match value:
        case BaseModel():
            extra = [f"{path}.{name}" for name in value.model_extra or {}]
            declared = [(name, value.__dict__[name]) for name in type(value).model_fields]
            return extra + list(
                itertools.chain.from_iterable(
                    _undeclared(part, f"{path}.{name}") for name, part in declared
                )
            )
        case list():
            parts = enumerate(value)
            return [found for i, part in parts for found in _undeclared(part, f"{path}[{i}]")]
    return []


def _with_the_one_rate(value: object) -> object:
    """A message as it is with the only rate that the models know."""
    match value:
        case {"type": "audio/pcm", "rate": int()}:
            return {"type": "audio/pcm", "rate": 24000}
        case dict():
            return {key: _with_the_one_rate(part) for key, part in value.items()}
        case list():
            return [_with_the_one_rate(part) for part in value]
    return value
