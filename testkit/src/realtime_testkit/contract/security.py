"""SC: the key stays with the provider, and what the provider says stays out of logs."""

import logging
from urllib.parse import urlsplit

import pytest
from vision_agents.core.llm.events import (
    LLMErrorEvent,
    RealtimeDisconnectedEvent,
    ToolStartEvent,
)

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.raw_server import RawServer, response
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import KEY, Asked, fence, hears, say
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport
from realtime_testkit.watchdog import Watchdog

from .base import Contract

SAID = {
    "long": "x" * 20_000,
    "lines": "a\r\nINFO forged line\x1b[2J",
    "key": f"no {KEY}",
}
"""What a provider may call an error."""

CONTENT = "nightingale"
"""In every text of a test that searches for it."""

LONGEST = 400
"""Characters of an error in an event or a log line, with a hundred of the provider's."""


class Security(Contract):
    """Tests of SC1 to SC5."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_sc1_redirect_is_not_followed(
        self,
        make: Make,
        provider: Provider,
        subject: Subject,
        transport: Transport,
        status: int,
    ) -> None:
        """A redirect makes connect() raise, and nothing is sent to where it leads."""
        answer = response(status, f"Location: {provider.url}")
        async with RawServer(answer) as server:
            base_url = f"{transport.clear}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error):
                await llm.connect()
            assert server.connections >= 1
        assert provider.handshakes == 0, "the key was sent to another server"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_sc1_redirect_of_a_reconnect_is_not_followed(
        self,
        make: Make,
        provider: Provider,
        subject: Subject,
        watchdog: Watchdog,
        status: int,
    ) -> None:
        """A reconnect that is redirected sends nothing to where the redirect leads."""
        elsewhere = await watchdog.listening(subject.provider(scripted=True))
        llm = make()
        await llm.connect()
        await provider.stop_listening()
        answer = response(status, f"Location: {elsewhere.url}")
        async with RawServer(answer, port=urlsplit(provider.url).port or 0) as server:
            (await provider.connection()).abort()
            record = make.record(llm)
            await record.until(lambda: bool(record.errors), "LLMErrorEvent")
            assert server.connections >= 1
        assert elsewhere.handshakes == 0, "the key was sent to another server"

    async def test_sc2_certificate_is_verified(
        self, make: Make, subject: Subject, transport: Transport
    ) -> None:
        """A server with a certificate that nobody signed receives nothing."""
        async with RawServer(response(401), tls=True) as server:
            base_url = f"{transport.secure}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error):
                await llm.connect()
            assert not server.received

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
    async def test_sc1_errors_keep_nothing_of_a_refusal(
        self, make: Make, subject: Subject, transport: Transport, status: int
    ) -> None:
        """The error of a refused handshake, its cause and its context hold no key.

        The provider repeats the request's headers in its answer.
        """

        def echo(request: bytes) -> bytes:
            return response(status, body=f"no such key: {request.decode()}")

        async with RawServer(echo) as server:
            base_url = f"{transport.clear}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error) as raised:
                await llm.connect()
        assert KEY not in _all_of(raised.value)

    @pytest.mark.parametrize("start", [b"", b"HTTP/1.1 101 ", b"HTTP/1.1 200 OK\r\n\r\n"])
    async def test_sc1_errors_keep_nothing_of_a_broken_answer(
        self, make: Make, subject: Subject, transport: Transport, start: bytes
    ) -> None:
        """The error after an answer that is none, its cause and its context hold no key.

        The answer repeats the request.
        """

        def echo(request: bytes) -> bytes:
            return start + request

        async with RawServer(echo) as server:
            base_url = f"{transport.clear}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error) as raised:
                await llm.connect()
        assert KEY not in _all_of(raised.value)

    @pytest.mark.allows("many logs")
    @pytest.mark.parametrize("code", ["long", "lines", "key"])
    async def test_sc3_code_of_a_failed_response_is_cut(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
        watchdog: Watchdog,
        code: str,
    ) -> None:
        """The code of a failed response is cut, printable, and without the key.

        It is in the exception that the caller gets, and in an event.
        """
        facts.need("text")
        asked = Asked(llm.simple_response("Sing, canary"))
        request = await asked.request(connection)
        await connection.send(
            protocol.ResponseStarted("response_1", request.request_id),
            protocol.ResponseDone("response_1", "failed", code=SAID[code]),
        )
        with pytest.raises(subject.response_error) as raised:
            await asked.task
        await fence(connection, record)
        shown = [f"{event.error_code} {event.error!r}" for event in record.errors]
        _is_fit_to_show([*shown, f"{raised.value!r}", *watchdog.log_lines])

    @pytest.mark.allows("many logs")
    @pytest.mark.parametrize("code", ["long", "lines", "key"])
    async def test_sc3_code_of_a_refused_session_is_cut(
        self,
        make: Make,
        provider: Provider,
        subject: Subject,
        watchdog: Watchdog,
        code: str,
    ) -> None:
        """The code with which a session is refused is cut, printable, and without the key."""
        subject.need_event(protocol.Fault(SAID[code]))
        provider.reject = SAID[code]
        llm = make()
        with pytest.raises(subject.session_error) as raised:
            await llm.connect()
        record = make.record(llm)
        await record.settled()
        shown = [f"{event.error_code} {event.error!r}" for event in record.errors]
        _is_fit_to_show([*shown, f"{raised.value}", f"{raised.value!r}", *watchdog.log_lines])
        assert KEY not in _all_of(raised.value)

    @pytest.mark.allows("many logs")
    @pytest.mark.parametrize("code", ["long", "lines", "key"])
    async def test_sc3_error_code_is_cut(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        watchdog: Watchdog,
        code: str,
    ) -> None:
        """A code that the provider reports is cut, printable, and without the key."""
        await connection.send(protocol.Fault(SAID[code]))
        await record.first(LLMErrorEvent)
        await fence(connection, record)
        shown = [f"{event.error_code} {event.error!r}" for event in record.errors]
        _is_fit_to_show([*shown, *watchdog.log_lines])

    @pytest.mark.parametrize("name", ["long", "lines", "key"])
    async def test_sc3_name_of_a_tool_is_cut(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        watchdog: Watchdog,
        name: str,
    ) -> None:
        """The name of a tool that the provider calls is cut, printable, and without the key."""
        facts.need("tools")
        await connection.send(
            protocol.ResponseStarted("response_1"),
            protocol.ToolCall("response_1", "call_1", SAID[name], "{}"),
        )
        await fence(connection, record)
        # It is called by that name, or the frame is refused.
        await record.until(
            lambda: bool(record.of(ToolStartEvent) or record.errors), "a call or an error"
        )
        shown = [started.tool_name for started in record.of(ToolStartEvent)]
        shown += [f"{event.error!r}" for event in record.errors]
        _is_fit_to_show([*shown, *watchdog.log_lines])

    async def test_sc3_close_reason_is_cut(
        self,
        make: Make,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        transport: Transport,
        watchdog: Watchdog,
    ) -> None:
        """A reason with which the provider closes is cut, printable, and without the key."""
        await transport.ends_for_good(provider, connection, f"a\nINFO forged {KEY} {'x' * 60}")
        gone = await record.first(RealtimeDisconnectedEvent)
        await llm.close()
        await record.settled()
        shown = [gone.reason or "", *watchdog.log_lines]
        shown += [f"{event.error_code} {event.error!r}" for event in record.errors]
        for text in shown:
            assert len(text) <= LONGEST
            assert "\n" not in text
            assert KEY not in text

    async def test_sc4_debug_log_of_the_transport_shows_no_content(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """At DEBUG no line shows a frame, a close reason, instructions or the key.

        Lines of Vision Agents' own classes are not looked at.
        """
        caplog.set_level(logging.DEBUG)
        llm = make(instructions=f"Speak of the {CONTENT}.")
        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        if facts.transcription:
            await hears(connection, f"Where is the {CONTENT}?")
        await say(connection, text=f"The {CONTENT} sings")
        await connection.send_raw(f"{{ {CONTENT}")
        await fence(connection, record)
        if facts.text:
            asked = Asked(llm.simple_response(f"Sing of the {CONTENT}"))
            request = await asked.request(connection)
            await say(connection, "response_2", text=CONTENT, request_id=request.request_id)
            await asked.task
        await fence(connection, record)
        await transport.ends_for_good(provider, connection, f"no {CONTENT}")
        await record.down()
        await llm.close()
        for line in caplog.records:
            if not line.name.startswith("vision_agents.core"):
                text = line.getMessage()
                assert CONTENT not in text, f"{line.name}: {text[:200]}"
                assert KEY not in text, f"{line.name}: {text[:200]}"

    async def test_sc5_credentials_of_a_call_are_not_logged(
        self, llm: Realtime, transport: Transport, watchdog: Watchdog, record: EventRecorder
    ) -> None:
        """Passwords, fingerprints and candidates of a call are in no event, and not logged at INFO."""
        if transport.audio_in_messages:
            excuse("client.py: the provider is not reached over WebRTC")
        await llm.close()
        await record.settled()
        for text in [*watchdog.log_lines, *map(repr, record.items)]:
            for secret in ("ice-pwd", "ice-ufrag", "fingerprint", "candidate:", "v=0"):
                assert secret not in text, text


def _is_fit_to_show(shown: list[str]) -> None:
    """Assert that texts with a code of the provider's are short, and without line or key."""
    for text in shown:
        assert len(text) <= LONGEST, f"{len(text)} characters"
        assert "forged" not in text or "\n" not in text.strip(), text
        assert "\x1b" not in text, text
        assert KEY not in text


def _all_of(error: BaseException | None) -> str:
    """An error and what it holds, with all that caused it."""
    text = ""
    while error is not None:
        text += f"{error} {error!r} {vars(error)!r}\n"
        error = error.__cause__ or error.__context__
    return text
