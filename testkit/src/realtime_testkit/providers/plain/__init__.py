"""A small wire: JSON objects with a key for each payload, binary audio, hardly any ids."""

from realtime_testkit.providers import provider, webrtc

from .codec import Codec, WebRTCCodec


class Provider(provider.Provider):
    """The plain wire over WebSocket."""

    codec = Codec
    queues_requests = True


class WebRTCProvider(webrtc.WebRTCProvider):
    """The plain wire over WebRTC."""

    codec = WebRTCCodec
    queues_requests = True


__all__ = ["Codec", "Provider", "WebRTCCodec", "WebRTCProvider"]
