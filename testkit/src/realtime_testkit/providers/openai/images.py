"""Pictures in data URLs."""

import binascii
from base64 import b64decode

_JPEG = "data:image/jpeg;base64,"


def jpeg_in(url: str) -> bytes | None:
    """The JPEG in a data URL; None where it holds none."""
    if not url.startswith(_JPEG):
        return None
    try:
        return b64decode(url.removeprefix(_JPEG), validate=True)
    except binascii.Error:
        return None
