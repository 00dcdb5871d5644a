"""What is wrong with a frame, a message or an event."""

from .events import Fault


class MalformedFrame(ValueError):
    """A frame that is not a message of this wire; ``fault`` is what it is answered with."""

    def __init__(self, reason: str, fault: Fault | None = None) -> None:
        super().__init__(reason)
        self.fault = fault or Fault("invalid_request_error", message=reason)


class Refused(MalformedFrame):
    """A message that the provider answers with an error, and does not act on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message or fault.code, fault)


class UnsupportedEvent(ValueError):
    """This wire has no message for an event."""
