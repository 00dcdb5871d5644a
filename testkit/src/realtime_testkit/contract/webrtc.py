"""The contracts of WebRTC: the offer, the channel, the track, and a bad connection."""

import asyncio
import contextlib
import logging
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self, cast

import aiohttp
import pytest
from aiohttp import web
from aioice import stun
from aiortc import RTCIceServer
from vision_agents.core.llm.events import RealtimeDisconnectedEvent
from vision_agents.core.llm.realtime import RealtimeAudioOutput

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.lossy_line import NOT_FORWARDED, LossyLine
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.providers.webrtc import WebRTCProvider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    KEY,
    Asked,
    calls,
    continuation,
    converse,
    fence,
    is_interrupted,
    say,
)
from realtime_testkit.signals import (
    frames,
    samples_of,
    silence,
    sinad_db,
    speech,
    tone,
)
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

CYCLES = 100

PACKETS = logging.getLogger("aiortc.rtcsctptransport")

MAX_TURNS = 2
"""Of the event loop, from the provider's signal to silence."""


def _over(subject: Subject, line: LossyLine, *, connect_timeout_s: float = 5.0) -> object:
    return _at(subject, line.url, connect_timeout_s=connect_timeout_s)


def _at(subject: Subject, url: str, *, connect_timeout_s: float = 5.0) -> object:
    """A client for another address than the provider's own."""
    return subject.client(
        KEY,
        url,
        connect_timeout_s=connect_timeout_s,
        send_timeout_s=0.5,
        reconnect_delay_s=0.005,
        reconnect_max_delay_s=0.02,
        reconnect_attempts=2,
    )


def _with_server(
    subject: Subject, provider: Provider, server: "StunServer", connect_timeout_s: float = 2.0
) -> object:
    """A client that is given an ICE server; it takes `ice_servers` where it takes any."""
    build = cast("Callable[..., object]", subject.client)
    return build(KEY, provider.url, ice_servers=[server.ice], connect_timeout_s=connect_timeout_s)


async def _connects_and_talks(make: Make, provider: Provider, llm: Realtime) -> None:
    await llm.connect()
    await converse(llm, make.listen(llm), await provider.connection(len(provider.connections)))


class WebRTC(Contract):
    """Calls over WebRTC; excused for a provider that is reached in another way."""

    @pytest.fixture(autouse=True)
    def over_webrtc(self, transport: Transport) -> None:
        """Excused for a provider that is reached in another way."""
        if transport.name != "webrtc":
            excuse("client.py: the provider is not reached over WebRTC")

    @pytest.fixture
    def service(self, provider: Provider) -> WebRTCProvider:
        """The provider, as one over WebRTC."""
        assert isinstance(provider, WebRTCProvider)
        return provider

    @pytest.fixture
    async def line(self, provider: Provider) -> AsyncIterator[LossyLine]:
        """A line to `provider` that can lose packets."""
        async with LossyLine(provider.url) as line:
            yield line

    @pytest.fixture
    def packets_logged(self) -> Iterator[None]:
        """Let aiortc log each packet; it looks at the level when a call begins."""
        PACKETS.setLevel(logging.DEBUG)
        yield
        PACKETS.setLevel(logging.NOTSET)

    async def test_lc2_channel_that_never_opens_raises(
        self, make: Make, provider: Provider, service: WebRTCProvider, subject: Subject
    ) -> None:
        """connect() raises the session error where the data channel never opens.

        There is one error event, and the next connect() works.
        """
        service.opens = False
        llm = make(client=make.client(connect_timeout_s=0.5))
        with pytest.raises(subject.session_error):
            await llm.connect()
        record = make.record(llm)
        await record.settled()
        assert len(record.errors) == 1
        assert not record.connected
        assert not llm.connected
        service.opens = True
        await _connects_and_talks(make, provider, llm)

    @pytest.mark.allows("open connections")  # the provider's end cannot know
    async def test_lc2_blocked_packets_raise(
        self, make: Make, provider: Provider, line: LossyLine, subject: Subject
    ) -> None:
        """connect() raises the session error where no packet gets through.

        The next connect() works.
        """
        line.loses = 1.0
        llm = make(client=_over(subject, line, connect_timeout_s=1.0))
        with pytest.raises(subject.session_error):
            await llm.connect()
        assert line.lost > 0
        await make.record(llm).settled()
        assert len(make.record(llm).errors) == 1
        assert not llm.connected
        line.loses = 0.0
        await _connects_and_talks(make, provider, llm)

    async def test_lc6_close_frees_the_udp_ports(
        self, make: Make, line: LossyLine, subject: Subject
    ) -> None:
        """The UDP ports of a call are free when close() returns."""
        llm = make(client=_over(subject, line))
        await llm.connect()
        await llm.close()
        for port in line.ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind(("0.0.0.0", port))

    async def test_lc6_hundred_calls_leave_nothing(self, make: Make, provider: Provider) -> None:
        """A hundred calls in a row leave no task, thread or socket."""
        llm = make()
        tasks: list[int] = []
        for number in range(1, CYCLES + 1):
            await llm.connect()
            connection = await provider.connection(number)
            await llm.close()
            await connection.closed.wait()
            tasks.append(len(asyncio.all_tasks()))
        assert tasks[-1] <= tasks[2] + 2, f"tasks pile up: {tasks}"
        # Sockets, threads and tasks that are left are found once the test is over.

    async def test_ai4_late_audio_catches_up(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Audio that came faster than real time is caught up by leaving out silence, not speech."""
        rate = facts.input_rate
        began = time.monotonic()
        for sound in (tone(440, 1.0, rate), silence(3.0, rate), tone(440, 0.2, rate)):
            for piece in frames(sound, rate):
                await llm.process_audio(piece, ALICE)
        heard = samples_of(await connection.wait_audio(round(1.15 * rate) * 2))
        assert time.monotonic() - began < 2.5, "all the silence was spoken, too"
        assert sinad_db(heard[rate // 10 : rate * 8 // 10], 440, rate) > transport.pure_db

    async def test_cn2_packet_loss_keeps_text_and_session(
        self,
        make: Make,
        provider: Provider,
        line: LossyLine,
        facts: Facts,
        transport: Transport,
        subject: Subject,
    ) -> None:
        """With 10 % packet loss the text arrives in order and the session goes on."""
        llm = make(client=_over(subject, line))
        await llm.connect()
        output, record, connection = make.listen(llm), make.record(llm), await provider.connection()
        line.loses = 0.1
        words = [f"{number}" for number in range(60)]
        sound = speech(500, facts.output_rate)
        await say(connection, audio=sound, text="canary " + " ".join(words))
        end = await output.done("response_1")
        assert not end.interrupted
        assert len(output.speech()) <= len(sound) + transport.late_s * facts.output_rate * 2
        said = "".join(each.text for each in output.agent_said() if each.mode == "delta")
        assert said.split()[1:] == words
        assert line.lost > 0
        line.loses = 0.0
        await converse(llm, output, connection, "response_2")
        assert not record.disconnected
        assert not record.errors
        await llm.close()  # before the line is
        await connection.closed.wait()

    async def test_cn2_answer_without_media_ends(
        self,
        output: OutputRecorder,
        provider: Provider,
        service: WebRTCProvider,
        connection: Connection,
        facts: Facts,
    ) -> None:
        """An answer whose audio never arrives ends once, and the next one is heard."""
        service.drops_media = True
        await say(connection, audio=speech(200, facts.output_rate), text="A canary")
        end = await output.done("response_1")
        assert not end.interrupted
        assert output.agent_said()[-1].text == "A canary"
        service.drops_media = False
        await say(connection, "response_2", audio=speech(100, facts.output_rate))
        await output.done("response_2")
        assert output.speech("response_2") == speech(100, facts.output_rate)
        assert len(output.dones()) == 2

    async def test_cn2_lost_media_keeps_the_session(
        self,
        llm: Realtime,
        output: OutputRecorder,
        provider: Provider,
        service: WebRTCProvider,
        connection: Connection,
    ) -> None:
        """A session whose audio does not arrive for a while goes on."""
        service.drops_media = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await converse(llm, output, connection)
        service.drops_media = False
        await converse(llm, output, connection)

    async def test_cn5_refused_offer_after_a_loss_ends_the_call(
        self, make: Make, provider: Provider, llm: Realtime, record: EventRecorder
    ) -> None:
        """A refused offer after a loss gives one disconnected and one error event.

        connect() works again later.
        """
        provider.refuse = 403
        (await provider.connection()).abort()
        ended = await record.first(RealtimeDisconnectedEvent)
        assert not ended.clean
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        await record.settled()
        assert len(record.errors) == len(record.disconnected) == 1
        provider.refuse = None
        await llm.connect()
        await converse(llm, make.listen(llm), await provider.connection(2))

    @pytest.mark.usefixtures("packets_logged")
    async def test_tn1_output_is_cleared_within_two_loop_turns(
        self, llm: Realtime, connection: Connection, facts: Facts, transport: Transport
    ) -> None:
        """Output is cleared within two turns of the event loop after the packet arrived."""
        long = speech(transport.long_s * 1000, facts.output_rate)
        await say(connection, audio=long, status=None)
        async for item in llm.output:
            if isinstance(item, RealtimeAudioOutput):
                break
        with LoopTurns(llm) as turns:
            await turns.some_waits.wait()
            await is_interrupted(connection, facts)
            await turns.silent.wait()
        assert turns.took <= MAX_TURNS, f"{turns.took} turns of the loop"

    @pytest.mark.parametrize("who", ["the user", "the app"])
    async def test_tn6_cancel_and_clear_stop_the_providers_playback(
        self,
        who: str,
        make: Make,
        llm: Realtime,
        provider: Provider,
        service: WebRTCProvider,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """CancelResponse and ClearOutput are sent in that order.

        The provider stops where the user stopped hearing, and no TruncateItem is sent.
        """
        facts.need("cancellation")
        output = make.listen(llm, answers=True)
        long = speech(transport.long_s * 1000, facts.output_rate)
        began = time.monotonic()
        await say(connection, audio=long, text="A canary", status=None)
        await output.first(RealtimeAudioOutput, 3)
        if who == "the user":
            await is_interrupted(connection, facts)
        else:
            await llm.interrupt()
        await connection.wait_for(protocol.ClearOutput)
        took_s = time.monotonic() - began
        kinds = [type(each) for each in connection.commands]
        assert kinds.index(protocol.CancelResponse) < kinds.index(protocol.ClearOutput)
        await fence(connection, record)
        [spoken] = service.spoken
        heard_s = sum(pcm.duration for pcm in output.chunks())
        assert heard_s - transport.late_s < spoken.seconds < took_s + 0.1
        assert not connection.received(protocol.TruncateItem)

    async def test_ct1_no_other_host_is_contacted(self, make: Make, provider: Provider) -> None:
        """Without ICE servers, no name is looked up and no other host is contacted."""
        llm = make()
        with Contacted() as contacted:
            await llm.connect()
            await llm.close()
        assert not contacted.names, "a name was looked up"
        assert contacted.hosts, "nobody was asked at all"
        assert all(map(_is_this_machine, contacted.hosts)), contacted.hosts

    async def test_ct1_given_ice_server_is_used(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """ICE servers that the client was given are asked, and the call works."""
        async with StunServer() as server:
            llm = make(client=_with_server(subject, provider, server))
            await llm.connect()
            assert server.asked > 0
            await converse(llm, make.listen(llm), await provider.connection())

    async def test_lc2_slow_ice_server_is_bounded(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """connect() raises within its timeout where an ICE server does not answer."""
        async with StunServer(silent=True) as server:
            client = _with_server(subject, provider, server, connect_timeout_s=0.2)
            began = time.monotonic()
            with pytest.raises(subject.session_error):
                await make(client=client).connect()
            assert time.monotonic() - began < 2.0
            assert server.asked > 0
            server.answer()

    @pytest.mark.parametrize("pieces", [2, 5])
    async def test_lc2_answer_in_pieces_is_read_whole(
        self, make: Make, provider: Provider, subject: Subject, pieces: int
    ) -> None:
        """An SDP answer that arrives in several TCP segments opens the call."""
        async with Relay(provider.url, pieces=pieces) as relay:
            llm = make(client=_at(subject, relay.url))
            await _connects_and_talks(make, provider, llm)
            await llm.close()

    @pytest.mark.allows("open connections")  # the provider took the call
    @pytest.mark.parametrize("answer", ["no sdp", "no rtpmap", "empty"])
    async def test_lc2_unusable_answer_raises(
        self, make: Make, provider: Provider, subject: Subject, answer: str
    ) -> None:
        """connect() raises the session error for an answer that cannot be used."""

        def spoil(text: str) -> str:
            match answer:
                case "no rtpmap":
                    return re.sub(r"a=rtpmap:.*?\r\n", "", text)
                case "no sdp":
                    return "this is no answer"
            return ""

        async with Relay(provider.url, spoil=spoil) as relay:
            llm = make(client=_at(subject, relay.url))
            with pytest.raises(subject.session_error):
                await llm.connect()
            assert not llm.connected
            await make.record(llm).settled()
            assert len(make.record(llm).errors) == 1

    async def test_cn2_small_mtu_carries_the_call(
        self, make: Make, provider: Provider, subject: Subject, line: LossyLine
    ) -> None:
        """A call works over a path that drops packets longer than 1,280 bytes."""
        line.mtu = 1280
        llm = make(client=_over(subject, line))
        await _connects_and_talks(make, provider, llm)
        await llm.close()

    @pytest.mark.parametrize("size", [70_000, 300_000])
    async def test_se4_long_prompt_arrives_or_raises(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        facts: Facts,
        size: int,
    ) -> None:
        """A prompt longer than the provider takes in a message arrives in parts, whole, or raises.

        The call goes on.
        """
        facts.need("text")
        output, prompt = make.listen(llm), "canary " * (size // 7)
        asked = Asked(llm.simple_response(prompt))
        try:
            request = await asked.request(connection)
        except ValueError:
            pass
        else:
            told = [message.text for message in connection.received(protocol.AddMessage)]
            assert "".join(told) == prompt
            await say(connection, text="I see", request_id=request.request_id)
            assert (await asked.final()).text == "I see"
        await converse(llm, output, connection, "response_2")
        assert not make.record(llm).disconnected

    async def test_se4_long_messages_keep_the_call(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """Instructions of 70 kB and a long result of a tool do not end the call.

        What the provider cannot take is refused to its sender; the result is cut.
        """
        facts.need("tools")
        llm = make()

        @llm.register_function("read", "Reads a book")
        async def read() -> str:
            return "\u3042" * 57_000

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        output = make.listen(llm)
        with contextlib.suppress(subject.session_error, ValueError):
            await llm.update_session(instructions="You are a canary. " * 4000)
        await calls(connection, "read")
        result = await connection.wait_for(protocol.AddToolResult)
        assert f"{result.output}".startswith("\u3042" * 1000)
        request_id = await continuation(connection, facts)
        await say(connection, "response_2", text="I see", request_id=request_id)
        await fence(connection, record)
        await converse(llm, output, connection, "response_3")
        assert len(record.connected) == 1
        assert not record.disconnected

    async def test_sc5_no_log_shows_the_credentials_of_a_call(
        self,
        make: Make,
        provider: Provider,
        subject: Subject,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """No line at INFO shows a password, fingerprint or address of a call.

        Lines of all loggers are searched, those of the libraries, too.
        """
        async with Relay(provider.url) as relay:
            llm = make(client=_at(subject, relay.url))
            with caplog.at_level(logging.INFO):
                await _connects_and_talks(make, provider, llm)
                await llm.close()
            described = "".join(relay.passed)
        secrets = {
            line.partition(":")[2] for line in _lines(described, "a=ice-pwd", "a=fingerprint")
        }
        secrets |= {line.split()[4] for line in _lines(described, "a=candidate")}
        assert len(secrets) >= 5, "nothing to search for"
        for record in caplog.records:
            if record.levelno >= logging.INFO:
                text = record.getMessage()
                shown = [secret for secret in secrets if secret in text]
                assert not shown, f"{record.name}: {text[:200]}"

    @pytest.mark.parametrize("lost", ["started", "stopped", "both"])
    async def test_ao4_answer_without_playback_events_is_heard(
        self,
        make: Make,
        llm: Realtime,
        provider: Provider,
        connection: Connection,
        facts: Facts,
        transport: Transport,
        lost: str,
    ) -> None:
        """An answer is heard and ends where the provider does not report its playback."""
        if facts.wire == "own":
            excuse("contract.toml: wire = own: no telling which messages report playback")
        names = [f"output_audio_buffer.{each}" for each in ("started", "stopped", "cleared")]
        dropped = [name for name in names if lost == "both" or lost in name]

        def drop(frame: str | bytes) -> list[str | bytes]:
            return [] if any(name in str(frame) for name in dropped) else [frame]

        provider.rewrite = drop
        output = make.listen(llm)
        sound = tone(440, 1.0, facts.output_rate)
        for number in (1, 2):
            response_id = f"response_{number}"
            await say(connection, response_id, audio=sound.tobytes(), text="A canary")
            end = await output.done(response_id)
            assert not end.interrupted
        heard_s = sum(pcm.duration for pcm in output.chunks())
        assert heard_s > 2 * (1 - transport.max_damage) - 0.2, f"heard were {heard_s:.2f} s"


class Relay:
    """Stands between a client and the provider's endpoint, and passes the answer on changed.

    Args:
        url: the provider's endpoint.
        pieces: send the answer's body in so many TCP segments, 50 ms apart.
        spoil: changes the answer.

    Attributes:
        passed: the offers and answers, each as it came.
    """

    def __init__(
        self, url: str, *, pieces: int = 1, spoil: Callable[[str], str] | None = None
    ) -> None:
        self._url = url
        self._pieces = pieces
        self._spoil = spoil
        self.passed: list[str] = []
        self._server: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._call)
        self._server = web.AppRunner(app, access_log=None)
        await self._server.setup()
        await web.TCPSite(self._server, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.cleanup()

    @property
    def url(self) -> str:
        """The endpoint, for base_url."""
        port = self._server.addresses[0][1] if self._server is not None else 0
        return f"http://127.0.0.1:{port}/calls"

    async def _call(self, request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.title() not in NOT_FORWARDED}
        offer = await request.read()
        async with (
            aiohttp.ClientSession() as http,
            http.post(self._url, params=request.query, data=offer, headers=headers) as response,
        ):
            text = await response.text()
            self.passed += [offer.decode(), text]
            answer = (self._spoil(text) if self._spoil is not None else text).encode()
            passed = web.StreamResponse(status=response.status)
            passed.content_type = response.content_type
            passed.content_length = len(answer)
            await passed.prepare(request)
            size = -(-len(answer) // self._pieces) or 1
            for start in range(0, len(answer), size):
                await passed.write(answer[start : start + size])
                if self._pieces > 1:
                    await asyncio.sleep(0.05)
            await passed.write_eof()
            return passed


class StunServer(asyncio.DatagramProtocol):
    """A STUN server: answers with the address that a request came from.

    Args:
        silent: answer only once `answer` is called.

    Attributes:
        asked: number of requests.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.asked = 0
        self._silent = silent
        self._unanswered: list[tuple[bytes, tuple[str, int]]] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def ice(self) -> RTCIceServer:
        """For ice_servers."""
        port = self._transport.get_extra_info("sockname")[1] if self._transport is not None else 0
        return RTCIceServer(f"stun:127.0.0.1:{port}")

    def answer(self) -> None:
        """Answer the requests that were not answered yet."""
        while self._unanswered and self._transport is not None:
            data, address = self._unanswered.pop()
            asked = stun.parse_message(data)
            answer = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = address
            self._transport.sendto(bytes(answer), address)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer a request, or keep it."""
        self.asked += 1
        self._unanswered.append((data, address))
        if not self._silent:
            self.answer()


class LoopTurns(logging.Handler):
    """Counts turns of the event loop from the arrival of a packet to cleared output.

    Attributes:
        some_waits: set once there is speech in the output.
        silent: set once there is none left.
        took: turns in between.
    """

    def __init__(self, llm: Realtime) -> None:
        super().__init__(logging.DEBUG)
        self.some_waits = asyncio.Event()
        self.silent = asyncio.Event()
        self.took = 0
        self._llm = llm
        self._loop = asyncio.get_running_loop()
        self._turn = 0
        self._came: int | None = None

    def __enter__(self) -> Self:
        PACKETS.addHandler(self)
        self._begin_turn()
        return self

    def __exit__(self, *_: object) -> None:
        PACKETS.removeHandler(self)
        self.silent.set()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of the packet that aiortc logs."""
        came = record.getMessage().partition(" < ")[2].startswith("DataChunk")
        if came and self.some_waits.is_set() and self._came is None:
            self._came = self._turn

    def _begin_turn(self) -> None:
        """Run first in every turn, and look at what the turns before have done."""
        waits = any(isinstance(item, RealtimeAudioOutput) for item in self._llm.output.peek())
        if waits:
            self.some_waits.set()
        elif self._came is not None:
            self.took = self._turn - self._came
            self.silent.set()
        if not self.silent.is_set():
            self._turn += 1
            self._loop.call_soon(self._begin_turn)


class Contacted:
    """Names that this process looks up and hosts that it sends to, within a block.

    Attributes:
        names: names that were looked up.
        hosts: hosts that were sent something.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.hosts: set[str] = set()
        self._looks = False
        sys.addaudithook(self._on_call)  # for good: there is no way to take it back

    def __enter__(self) -> Self:
        self._looks = True
        return self

    def __exit__(self, *_: object) -> None:
        self._looks = False

    def _on_call(self, call: str, arguments: tuple[object, ...]) -> None:
        if not self._looks:
            return
        match call, arguments:
            case ("socket.sendto" | "socket.connect", (_, (str(host), *_))):
                self.hosts.add(host)
            case ("socket.getaddrinfo" | "socket.gethostbyname", (str(name), *_)):
                self.names.add(name)


def _lines(described: str, *starts: str) -> list[str]:
    """The lines of session descriptions that begin so; in JSON, ends of lines are escaped."""
    return [line for line in re.split(r"\\r\\n|\r\n", described) if line.startswith(starts)]


def _is_this_machine(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0))
        except OSError:
            return False
    return True
