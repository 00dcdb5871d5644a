"""{{ cookiecutter.plugin_name }} for Vision Agents."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from .{{ cookiecutter.plugin_slug }}_realtime import Client, Realtime

if TYPE_CHECKING:
    from . import loopback

__all__ = ["Client", "Realtime", "loopback"]


def __getattr__(name: str) -> ModuleType:
    """Import the embedded provider where it is asked for: a call needs no server."""
    if name == "loopback":
        return importlib.import_module(".loopback", __name__)  # noqa: TID251 - see above
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
