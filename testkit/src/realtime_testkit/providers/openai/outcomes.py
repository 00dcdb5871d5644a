"""How a response ended, and what it used."""

from realtime_testkit import protocol

from .errors import kind_of, message_of
from .frames import JSONObject

_REASONS = ("turn_detected", "client_cancelled", "max_output_tokens", "content_filter")
_DEFAULT_REASONS = {"cancelled": "client_cancelled", "incomplete": "max_output_tokens"}


def details_of(done: protocol.ResponseDone) -> JSONObject | None:
    """Why a response ended as it did."""
    status, code = done.status, done.code
    details: JSONObject = {"type": status}
    match status:
        case "completed":
            return None
        case "failed":
            kind = kind_of(code) if code is not None else "server_error"
            message = message_of(code or "server_error")
            details["error"] = {"type": kind, "code": code, "message": message}
        case "cancelled" | "incomplete" if code in (None, *_REASONS):
            details["reason"] = code or _DEFAULT_REASONS[status]
        case _:
            details["error"] = {"type": kind_of(code or ""), "code": code}
    return details


def usage_of(usage: protocol.Usage) -> JSONObject | None:
    """The tokens that a response used."""
    if usage == protocol.Usage():
        return None
    spoken, heard = usage.output_audio_tokens, usage.input_audio_tokens
    return {
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": {
            "text_tokens": (usage.input_tokens or 0) - (heard or 0),
            "audio_tokens": heard or 0,
            "image_tokens": 0,
            "cached_tokens": usage.cached_tokens or 0,
        },
        "output_token_details": {
            "text_tokens": (usage.output_tokens or 0) - (spoken or 0),
            "audio_tokens": spoken or 0,
        },
    }
