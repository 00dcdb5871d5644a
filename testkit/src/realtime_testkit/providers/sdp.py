"""Session descriptions that others wrote."""

from aiortc import (
    InvalidAccessError,
    InvalidStateError,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError


async def take(connection: RTCPeerConnection, sdp: str, kind: str) -> None:
    """Take the other end's description.

    Raises:
        ValueError: it is none.
    """
    try:
        await connection.setRemoteDescription(RTCSessionDescription(sdp, kind))
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        InvalidAccessError,
        InvalidStateError,
        LookupError,
        OperationError,
        RuntimeError,
    ) as error:
        # The library reads a description without checking it first.
        raise ValueError(f"the {kind} is no session description") from error
