"""The contract suite and the embedded providers for Vision Agents realtime plugins."""

from .facts import Facts
from .subject import Subject

__all__ = ["Facts", "Subject"]
