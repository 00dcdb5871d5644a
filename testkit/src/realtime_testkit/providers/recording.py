"""What was said on a connection, for as long as a test needs it and memory allows."""

from dataclasses import dataclass, field
from typing import TypeVar

from realtime_testkit import protocol
from realtime_testkit.protocol import Command

Item = TypeVar("Item")


@dataclass(eq=False)
class Recording:
    """What was said on a connection.

    Attributes:
        limit: bytes that are kept; beyond them the older half is dropped. 0 keeps nothing.
        commands: what the client said.
        frames: the same as it was on the wire.
        sent: the frames sent to the client.
        violations: what was refused, and why.
    """

    limit: int
    commands: list[Command] = field(default_factory=list)
    frames: list[str | bytes] = field(default_factory=list)
    sent: list[str | bytes] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _size: int = 0

    def heard(self, frame: str | bytes) -> None:
        """Keep a frame of the client's."""
        self._keep(self.frames, frame, len(frame))

    def said(self, frame: str | bytes) -> None:
        """Keep a frame of the provider's."""
        self._keep(self.sent, frame, len(frame))

    def took(self, command: Command) -> None:
        """Keep a command."""
        size = len(command.data) if isinstance(command, protocol.AppendAudio) else 0
        self._keep(self.commands, command, size)

    def refused(self, why: str) -> None:
        """Keep the reason for a refusal."""
        self._keep(self.violations, why, len(why))

    def _keep(self, kept: list[Item], item: Item, size: int) -> None:
        if not self.limit:
            return
        kept.append(item)
        self._size += size + 100  # about what an object costs
        if self._size > self.limit:
            for record in (self.commands, self.frames, self.sent, self.violations):
                del record[: len(record) // 2]
            self._size //= 2
