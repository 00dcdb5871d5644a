"""The OpenAI Realtime API: https://platform.openai.com/docs/api-reference/realtime."""

from realtime_testkit.providers import provider, webrtc

from .codec import Codec, WebRTCCodec


class Provider(provider.Provider):
    """The OpenAI Realtime API over WebSocket."""

    codec = Codec


class WebRTCProvider(webrtc.WebRTCProvider):
    """The OpenAI Realtime API over WebRTC."""

    codec = WebRTCCodec


__all__ = ["Codec", "Provider", "WebRTCCodec", "WebRTCProvider"]
