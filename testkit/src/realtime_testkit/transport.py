"""What differs between the transports: how audio travels, and what the tests may expect of it.

Over a WebSocket audio goes in messages like everything else, as fast as it is sent and
unchanged. Over WebRTC it goes over a track: in real time, apart from the messages, through a
lossy codec, and with silence around it.
"""

import abc
import asyncio
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from vision_agents.core.llm.realtime import RealtimeAudioOutput, RealtimeAudioOutputDone

from . import protocol
from .facts import excuse
from .providers.webrtc import WebRTCProvider
from .signals import Samples

if TYPE_CHECKING:
    from getstream.video.rtc.track_util import PcmData

    from .providers.connection import Connection
    from .providers.provider import Provider

ARRIVAL_S = 0.25
"""How long audio travels over a track, with a margin."""

QUIET = 100
"""The codec's noise in silence stays below this level, of 32768."""


@dataclass(frozen=True)
class Transport(abc.ABC):
    """One way to reach a provider.

    Attributes:
        name: "websocket" or "webrtc".
        clear, secure: schemes of its URLs, without and with TLS.
        provider_code: tasks at work in these files or folders belong to the provider.
        out_of_band: commands that arrive in no fixed order with the others.
        test_limit_s: bound on one test.
        connects_s: enough time to connect, and little more.
        slack_s: how much of a sound may be lost at its edges.
        late_s: how much longer it may get by silence around it.
        long_s: an answer of that length still plays while the test goes on.
        turn_ms: how long one of two speakers talks at a time.
        flood_s: this much audio at once makes a sender wait.
        max_damage: share of a sound that may be missing.
        level_db: how much the level may change.
        sinad_db, pure_db: power of a tone over everything else; of one that needed no resampling.
        highest, highest_db: the highest tone that is kept, as a share of the sample rate,
            and how well.
        piece_ms: length of each of very many pieces of speech.
        large: bytes of speech in one piece.
        full: so many characters that nobody reads block a sender.
    """

    name: Literal["websocket", "webrtc"]
    clear: str
    secure: str
    provider_code: tuple[str, ...]
    out_of_band: tuple[type[protocol.Command], ...]
    test_limit_s: float
    connects_s: float
    slack_s: float
    late_s: float
    long_s: float
    turn_ms: int
    flood_s: float
    max_damage: float
    level_db: float
    sinad_db: float
    pure_db: float
    highest: float
    highest_db: float
    piece_ms: int
    large: int
    full: int

    @property
    def audio_in_messages(self) -> bool:
        """Whether audio is sent in messages, in order with the other commands."""
        return protocol.AppendAudio not in self.out_of_band

    def needs_messages(self) -> None:
        """Skip the test where audio does not go in messages."""
        if not self.audio_in_messages:
            excuse("client.py: audio goes over a track of its own")

    @abc.abstractmethod
    async def takes(self, seconds: float) -> None:
        """Wait until that much audio, sent now, has arrived at the provider."""

    @abc.abstractmethod
    async def arrives(self, connection: "Connection", seconds: float, rate: int) -> None:
        """Wait until the provider has received that much audio."""

    @abc.abstractmethod
    async def spoken(self, connection: "Connection") -> None:
        """Wait until the provider has played the speech of the responses that are done."""

    @abc.abstractmethod
    async def vanishes(self, connection: "Connection") -> None:
        """Let the provider disappear from the network."""

    @abc.abstractmethod
    async def ends_for_good(
        self, provider: "Provider", connection: "Connection", reason: str
    ) -> None:
        """Let the provider end the session in a way that is not worth a reconnect."""

    @abc.abstractmethod
    def speech(
        self, items: Sequence[object], provider: "Provider", response_id: str | None = None
    ) -> bytes:
        """Return the speech among items of an output, as packed samples."""

    @abc.abstractmethod
    def same(self, heard: bytes, said: bytes, rate: int) -> bool:
        """Whether the audio that arrived is the audio that was sent."""

    @abc.abstractmethod
    def whole(self, heard: bytes, said: bytes) -> bool:
        """Whether nothing is missing of what was sent, however long it took."""

    @abc.abstractmethod
    def joined(self, pieces: Sequence[Samples]) -> Sequence[Samples]:
        """Join what arrived of one speaker into as few pieces as are coherent."""

    @abc.abstractmethod
    def settled(self, samples: Samples) -> Samples:
        """Return a sound without its edges."""

    @abc.abstractmethod
    def damage(self, heard: Samples, parts: Sequence[Samples], rate: int) -> float:
        """Return the share of samples missing or wrong, where each part fills whole frames."""


@dataclass(frozen=True)
class WebSocketTransport(Transport):
    """Everything in messages, in order."""

    async def takes(self, seconds: float) -> None:
        """Return at once."""

    async def arrives(self, connection: "Connection", seconds: float, rate: int) -> None:
        """Return at once."""

    async def spoken(self, connection: "Connection") -> None:
        """Return at once."""

    async def vanishes(self, connection: "Connection") -> None:
        """Stop reading; a close is not answered either."""
        connection.freeze()

    async def ends_for_good(
        self, provider: "Provider", connection: "Connection", reason: str
    ) -> None:
        """Close with a code of the application."""
        await connection.close(4001, reason)

    def speech(
        self, items: Sequence[object], provider: "Provider", response_id: str | None = None
    ) -> bytes:
        """Join the pieces."""
        pieces = [item for item in items if isinstance(item, RealtimeAudioOutput)]
        return b"".join(
            each.data.samples.tobytes()
            for each in pieces
            if response_id in (None, each.response_id)
        )

    def same(self, heard: bytes, said: bytes, rate: int) -> bool:
        """Compare the bytes."""
        return heard == said

    def whole(self, heard: bytes, said: bytes) -> bool:
        """Compare the bytes."""
        return heard == said

    def joined(self, pieces: Sequence[Samples]) -> Sequence[Samples]:
        """Join all pieces into one."""
        return [np.concatenate(pieces)]

    def settled(self, samples: Samples) -> Samples:
        """Leave out the first tenth."""
        return samples[len(samples) // 10 :]

    def damage(self, heard: Samples, parts: Sequence[Samples], rate: int) -> float:
        """Compare sample by sample."""
        size = rate // 50
        wanted = np.concatenate([np.pad(part, (0, -len(part) % size)) for part in parts])
        if len(heard) != len(wanted):
            return 1.0
        return float(np.mean(heard != wanted))


@dataclass(frozen=True)
class WebRTCTransport(Transport):
    """Audio over a track, everything else over a data channel."""

    async def takes(self, seconds: float) -> None:
        """Wait as long as it takes to play."""
        await asyncio.sleep(seconds + ARRIVAL_S)

    async def arrives(self, connection: "Connection", seconds: float, rate: int) -> None:
        """Wait for the audio, its edges left out."""
        await connection.wait_audio(round((seconds - self.slack_s) * rate) * 2)

    async def spoken(self, connection: "Connection") -> None:
        """Wait for the end of the speech."""
        await connection.spoken()

    async def vanishes(self, connection: "Connection") -> None:
        """Break off without a goodbye, and wait until that is done."""
        connection.freeze()
        await connection.closed.wait()

    async def ends_for_good(
        self, provider: "Provider", connection: "Connection", reason: str
    ) -> None:
        """Refuse further calls, for there are no close codes, and end this one."""
        await provider.stop_listening()
        await connection.close(4001, reason)

    def speech(
        self, items: Sequence[object], provider: "Provider", response_id: str | None = None
    ) -> bytes:
        """Join the pieces.

        An answer that was heard for as long as it was spoken counts as what was spoken.
        """
        assert isinstance(provider, WebRTCProvider)
        left = list(provider.spoken)
        whole = b""
        for heard_id, data, rate in _answers(items):
            said = next((one for one in left if one.response_id == heard_id), None)
            if said is not None:
                left.remove(said)
                if self.same(data, said.whole, rate):
                    data = said.whole
            if response_id in (None, heard_id):
                whole += data
        return whole

    def same(self, heard: bytes, said: bytes, rate: int) -> bool:
        """Compare the lengths."""
        longer_s = (len(heard) - len(said)) / 2 / rate
        return -self.slack_s < longer_s < self.late_s

    def whole(self, heard: bytes, said: bytes) -> bool:
        """Compare the lengths."""
        return len(heard) >= len(said)

    def joined(self, pieces: Sequence[Samples]) -> Sequence[Samples]:
        """Keep the pieces apart: there may be silence between them."""
        return [self.settled(piece) for piece in pieces]

    def settled(self, samples: Samples) -> Samples:
        """Leave out silence, and a tenth at either end."""
        voiced = _voiced(samples)
        return voiced[len(voiced) // 10 : -len(voiced) // 10]

    def damage(self, heard: Samples, parts: Sequence[Samples], rate: int) -> float:
        """Compare how many samples are not silent."""
        said = sum(len(_voiced(part)) for part in parts)
        return float(abs(np.count_nonzero(np.abs(heard.astype(int)) > QUIET) / said - 1))


def transport_of(provider: "Provider | type[Provider]") -> Transport:
    """Return the transport of a provider."""
    kind = provider if isinstance(provider, type) else type(provider)
    return WEBRTC if issubclass(kind, WebRTCProvider) else WEBSOCKET


def _code_of(*modules: str) -> tuple[str, ...]:
    """Files of modules and folders of packages, found without importing them."""
    places: list[str] = []
    for module in modules:
        spec = importlib.util.find_spec(module)
        if spec is not None:
            places += spec.submodule_search_locations or [spec.origin or module]
    return tuple(places)


def _voiced(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples.astype(int)) > QUIET)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def _answers(items: Sequence[object]) -> Iterator[tuple[str | None, bytes, int]]:
    """Each answer that was heard: its response, its samples, their rate."""
    pieces: list[PcmData] = []
    heard_id: str | None = None
    for item in [*items, RealtimeAudioOutputDone()]:
        ends = isinstance(item, RealtimeAudioOutputDone)
        begins = isinstance(item, RealtimeAudioOutput) and item.response_id != heard_id
        if pieces and (ends or begins):
            data = b"".join(pcm.samples.tobytes() for pcm in pieces)
            yield heard_id, data, pieces[0].sample_rate
            pieces = []
        if isinstance(item, RealtimeAudioOutput):
            heard_id = item.response_id
            pieces.append(item.data)


WEBSOCKET = WebSocketTransport(
    name="websocket",
    clear="ws",
    secure="wss",
    provider_code=(*_code_of("realtime_testkit.providers"), *_code_of("websockets.asyncio.server")),
    out_of_band=(),
    test_limit_s=20.0,
    connects_s=0.1,
    slack_s=0.0,
    late_s=0.0,
    long_s=4.0,
    turn_ms=20,
    flood_s=120.0,
    max_damage=0.0,
    level_db=0.5,
    sinad_db=40,
    pure_db=70,
    highest=0.45,
    highest_db=60,
    piece_ms=200,
    large=3 * 1024 * 1024,
    full=6_000_000,
)

WEBRTC = WebRTCTransport(
    name="webrtc",
    clear="http",
    secure="https",
    provider_code=(
        *_code_of("realtime_testkit.providers"),
        # The plugin's own tasks in these may be the provider's: what the plugin leaves behind
        # there is found after the test.
        *_code_of("aioice", "aiortc"),
    ),
    out_of_band=(protocol.AppendAudio,),
    test_limit_s=30.0,
    connects_s=0.6,
    slack_s=0.06,
    late_s=0.8,
    long_s=3.0,
    turn_ms=300,
    flood_s=3.0,
    max_damage=0.1,
    level_db=1.0,
    sinad_db=25,
    pure_db=40,
    highest=0.3,
    highest_db=20,
    piece_ms=4,
    large=100 * 1024,
    full=60_000,
)
