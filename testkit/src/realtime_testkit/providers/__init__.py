"""Embedded providers: the other end of a realtime plugin, on 127.0.0.1, without a key.

`openai` speaks the OpenAI Realtime schema, `plain` a small wire of its own. For another
wire, set ``codec`` in a subclass of `Provider` or `WebRTCProvider`.
"""

from .codec import Codec, WireCodec
from .connection import Connection
from .handshake import Handshake, Refusal
from .provider import Provider
from .upkeep import Limits
from .webrtc import WebRTCProvider

__all__ = [
    "Codec",
    "Connection",
    "Handshake",
    "Limits",
    "Provider",
    "Refusal",
    "WebRTCProvider",
    "WireCodec",
]
