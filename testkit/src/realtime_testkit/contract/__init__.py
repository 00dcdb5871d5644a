"""The contract of a realtime plugin: classes of tests, a group each.

A plugin subclasses them in its tests/test_contract.py. Every class gets what it tests from
the fixture `subject`.
"""

from .agent import Agent
from .audio_in import AudioIn
from .audio_out import AudioOut
from .base import Contract
from .bounds import Bounds
from .connection import Connection
from .construct import Construct
from .conventions import Conventions
from .failures import Failures
from .frames import Frames
from .gaps import Gaps
from .lifecycle import Lifecycle
from .live import Live
from .messages import Messages
from .native import Native
from .observability import Observability
from .packaging import Packaging
from .recovery import Recovery
from .responses import Responses
from .robustness import Robustness
from .security import Security
from .session import Session
from .settings import Settings
from .text import Text
from .tools import Tools
from .transcripts import Transcripts
from .turns import Turns
from .video import Video
from .webrtc import WebRTC

__all__ = [
    "Agent",
    "AudioIn",
    "AudioOut",
    "Bounds",
    "Connection",
    "Construct",
    "Contract",
    "Conventions",
    "Failures",
    "Frames",
    "Gaps",
    "Lifecycle",
    "Live",
    "Messages",
    "Native",
    "Observability",
    "Packaging",
    "Recovery",
    "Responses",
    "Robustness",
    "Security",
    "Session",
    "Settings",
    "Text",
    "Tools",
    "Transcripts",
    "Turns",
    "Video",
    "WebRTC",
]
