"""The errors of the OpenAI Realtime API: their codes, types and messages."""

import re

import msgspec

from realtime_testkit.protocol import Fault, MalformedFrame

HARMLESS = frozenset({"response_cancel_not_active", "input_audio_buffer_commit_empty"})

MAX_REASON = 500
"""Characters of the reason for a refusal."""

_SERVER_ERRORS = frozenset({"server_error", "session_expired", "internal_error"})
_MESSAGES = {
    "conversation_already_has_active_response": (
        "Conversation already has an active response in progress. "
        "Wait until the response is finished before creating a new one."
    ),
    "response_cancel_not_active": "Cancellation failed: no active response found",
    "input_audio_buffer_commit_empty": (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio."
    ),
    "session_expired": "Your session hit the maximum duration of 60 minutes.",
    "rate_limit_exceeded": "Rate limit reached.",
}
_PLACE = re.compile(r" - at `(?P<place>[^`]*)`$")
_NAME = re.compile(r"field `(?P<name>[^`]*)`")


def kind_of(code: str) -> str:
    """The type of an error, by its code."""
    if code in _SERVER_ERRORS:
        return "server_error"
    return "rate_limit_error" if code == "rate_limit_exceeded" else "invalid_request_error"


def message_of(code: str) -> str:
    """The message of an error that brings none."""
    return _MESSAGES.get(code, f"The provider reports {code}.")


def unreadable(frame: str | bytes, error: Exception) -> MalformedFrame:
    """What a frame that does not fit the schema is answered with."""
    reason = str(error)
    if len(reason) > MAX_REASON:  # it may hold what the client said
        reason = f"{reason[: MAX_REASON // 2]}...{reason[-MAX_REASON // 2 :]}"
    place = _PLACE.search(reason)
    named = _NAME.search(reason)
    param = place["place"].lstrip("$").lstrip(".") if place else ""
    if named is not None:
        param = f"{param}.{named['name']}".lstrip(".")
    if not isinstance(error, msgspec.ValidationError):
        code = "invalid_json"
    elif "unknown field" in reason:
        code = "unknown_parameter"
    elif "missing required field" in reason:
        code = "missing_required_parameter"
    elif "Expected" in reason and "got" in reason:
        code = "invalid_type"
    else:
        code = "invalid_value"
    fault = Fault(code, message=reason, param=param or None, event_id=_event_id(frame))
    return MalformedFrame(reason, fault)


class _Named(msgspec.Struct):
    event_id: str | None = None


def _event_id(frame: str | bytes) -> str | None:
    """The id of a frame that is otherwise not fit to read."""
    try:
        return msgspec.json.decode(frame, type=_Named).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
