"""Audio as the API carries it, to and from packed 16-bit samples."""

from typing import Literal

from getstream.video.rtc.track_util import PcmData

from realtime_testkit.protocol import AudioFormat

_MAPPINGS: dict[str, Literal["mulaw", "alaw"]] = {"pcmu": "mulaw", "pcma": "alaw"}


def decode(data: bytes, format: AudioFormat) -> bytes:
    """Packed samples of what a client sent."""
    mapping = _MAPPINGS.get(format.encoding)
    if mapping is None or not data:
        return data
    return PcmData.from_g711(data, format.rate, 1, mapping).to_bytes()


def encode(data: bytes, format: AudioFormat) -> bytes:
    """What a client is sent for packed samples."""
    mapping = _MAPPINGS.get(format.encoding)
    if mapping is None or not data:
        return data
    return PcmData.from_bytes(data, format.rate).g711_bytes(format.rate, 1, mapping)
