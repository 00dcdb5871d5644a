"""The server's frames: JSON objects with a type, an id of their own, and fields."""

import itertools

import msgspec

JSONObject = dict[str, object]
Sent = list[str | bytes]

encode = msgspec.json.Encoder().encode


class Frames:
    """Writes the frames of one session."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def frame(self, kind: str, **fields: object) -> str:
        """A frame of a type, with fields as they are."""
        name = f"event_{next(self._numbers)}"
        return encode({"type": kind, "event_id": name, **fields}).decode()

    def error(
        self,
        code: str,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        event_id: str | None = None,
    ) -> str:
        """The error frame."""
        error = {
            "type": kind,
            "code": code,
            "message": message,
            "param": param,
            "event_id": event_id,
        }
        return self.frame("error", error=error)
