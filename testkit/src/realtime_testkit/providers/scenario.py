"""What a provider answers by itself, read from a file.

A scenario is TOML: answers to what the client says or asks, the first that fits is taken,
and what fits none is echoed.

    pace = 1.0                    # speed of speech, 1.0 for real time

    [[answer]]
    to = "weather"                # what has to occur in the text or in what was understood
    call = "get_weather"
    arguments = { city = "Oslo" }

    [[answer]]
    to = "bye"
    say = "Goodbye!"
    close = 1000                  # the connection, after the answer

    [[answer]]
    to = "crash"
    fail = "server_error"         # the response, with this code
"""

from pathlib import Path

import msgspec


class Reply(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One answer of a scenario."""

    to: str = ""
    say: str | None = None
    call: str | None = None
    arguments: dict[str, object] = {}
    fail: str | None = None
    close: int | None = None


class Scenario(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a provider answers by itself."""

    pace: float = 1.0
    answer: list[Reply] = []

    def reply_to(self, text: str) -> Reply | None:
        """The answer to a text."""
        return next((reply for reply in self.answer if reply.to in text), None)


def load(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        ValueError: the file holds none; the message says where.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
