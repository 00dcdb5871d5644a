"""A session whose codec is broken, as an author's may be."""

from types import ModuleType

import pytest


class Broken:
    """A codec that cannot encode anything."""

    def encode(self, command: object) -> list[str]:
        """Raise what nobody expects."""
        raise KeyError(command)


async def test_fault_of_a_codec_is_a_value_error(default_engine: ModuleType) -> None:
    """Whatever encode() raises, the sender gets a ValueError and lives on."""
    types = default_engine.session_types
    session = default_engine.session.Session(
        object(), Broken(), types.Traits(), lambda code, reason: None, send_timeout_s=1.0
    )
    with pytest.raises(ValueError, match="cannot hold this"):
        await session.send(types.CancelResponse("response_1"))
