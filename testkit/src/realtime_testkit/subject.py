"""What is tested: a plugin, and the embedded provider that imitates its service."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Never, Protocol, cast

from . import protocol
from .facts import NO_MESSAGE, Facts, Page, excuse

if TYPE_CHECKING:
    from vision_agents.core.llm import realtime

    from .providers.provider import Provider
    from .realtime import Realtime


ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or what returns one for each connection."""


class ClientFactory(Protocol):
    """Makes what a Realtime is given as ``client=``: a class, or a function around one."""

    def __call__(
        self,
        api_key: ApiKey,
        base_url: str,
        *,
        connect_timeout_s: float,
        send_timeout_s: float,
        reconnect_delay_s: float,
        reconnect_max_delay_s: float,
        reconnect_attempts: int,
    ) -> object:
        """Make a client.

        Args:
            api_key: the provider's key, or what returns one for each connection.
            base_url: its address.
            connect_timeout_s: bound on opening a session.
            send_timeout_s: bound on one send.
            reconnect_delay_s: delay before an attempt to reconnect; it grows from there.
            reconnect_max_delay_s: bound on that delay.
            reconnect_attempts: attempts in a row.
        """


class FrameCodec(Protocol):
    """The plugin's side of the wire, for the frames from the provider's documentation."""

    def encode(self, command: Never, /) -> Iterable[str | bytes]:
        """Return the frames for a command, which is of the plugin's own types."""

    def decode(self, frame: str | bytes, /) -> Iterable[object]:
        """Return the events in a frame."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The adapter between the contract and a plugin.

    Attributes:
        plugin: the plugin's package.
        realtime: the class under test.
        client: makes its clients.
        provider: the embedded provider that imitates its service.
        session_error: what is raised where a session cannot be opened, or is lost.
        response_error: what is raised where a response failed.
        native_method: name of the wrapper of the provider's native call.
        api_key_variable: variable of the environment that holds the key.
        folder: where contract.toml and frames/ are.
        quiet_result: marks what a tool returns as no reason for an answer; None if the
            plugin has no such mark.
        codec: the plugin's codec; None if its frames are not checked.
        types: modules with the classes that the codec takes and gives.
    """

    plugin: ModuleType
    realtime: "Callable[..., realtime.Realtime]"
    client: ClientFactory
    provider: "type[Provider]"
    session_error: type[Exception]
    response_error: type[Exception]
    native_method: str
    api_key_variable: str
    folder: Path
    quiet_result: Callable[[object], object] | None = None
    codec: Callable[[], FrameCodec] | None = None
    types: tuple[ModuleType, ...] = ()

    @cached_property
    def page(self) -> Page:
        """contract.toml."""
        return Page(self.folder / "contract.toml")

    @property
    def facts(self) -> Facts:
        """The facts in it."""
        return self.page.facts

    @cached_property
    def classes(self) -> dict[str, Callable[..., object]]:
        """The classes that the codec takes and gives, by name."""
        return {
            name: kind
            for module in self.types
            for name, kind in vars(module).items()
            if isinstance(kind, type)
        }

    def build(self, **arguments: object) -> "Realtime":
        """Construct the class under test."""
        # It inherits from Vision Agents' own, and offers what Realtime names.
        return cast("Realtime", self.realtime(**arguments))

    def need_event(self, event: protocol.Event) -> None:
        """Excuse the test where the provider's wire has no message for an event."""
        try:
            self.provider.codec().encode(event)
        except protocol.UnsupportedEvent as unsupported:
            excuse(f"{NO_MESSAGE}{unsupported}")

    @property
    def base_url_variable(self) -> str:
        """Variable of the environment that holds another address for live tests."""
        return f"{self.api_key_variable.removesuffix('_API_KEY')}_BASE_URL"
