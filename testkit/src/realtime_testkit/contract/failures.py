"""FL: whatever fails, there is one way out of it: one exception, one error event."""

import asyncio
import itertools
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest
from vision_agents.core.edge.types import Participant

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.raw_server import RawServer, response
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    Asked,
    begun,
    calls,
    code_of,
    converse,
    fence,
    passes,
    say,
    speak,
    stays_pending,
)
from realtime_testkit.signals import frames, ramp, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

A_WORD = frames(tone(300, 0.02, 48000), 48000)

HALF_A_CHARACTER = "a canary \ud83d"
"""Text that UTF-8 has no bytes for."""


class Failures(Contract):
    """Tests of FL1 to FL6."""

    @pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 418, 429, 500, 502, 520, 529])
    async def test_fl1_refused_handshake_raises_with_its_status(
        self, make: Make, subject: Subject, transport: Transport, status: int
    ) -> None:
        """connect() raises the session error with the status as code, and emits it as one event."""
        answer = response(status, "Location: https://127.0.0.1:9/", body="<canary>no</canary>")
        async with RawServer(answer) as server:
            base_url = f"{transport.clear}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error) as raised:
                await llm.connect()
        assert code_of(raised.value) == status
        record = make.record(llm)
        await record.settled()
        assert [event.error for event in record.errors] == [raised.value]

    @pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
    async def test_fl1_connection_that_is_hung_up_on_raises(
        self, make: Make, subject: Subject, transport: Transport, tls: bool
    ) -> None:
        """connect() raises the session error when the server hangs up at once, one error event."""
        scheme = transport.secure if tls else transport.clear
        async with RawServer(None) as server:
            base_url = f"{scheme}://127.0.0.1:{server.port}/v1/realtime"
            llm = make(client=make.client(base_url=base_url))
            with pytest.raises(subject.session_error):
                await llm.connect()
        record = make.record(llm)
        await record.settled()
        assert len(record.errors) == 1

    async def test_fl1_passing_fault_while_connecting_raises(
        self, make: Make, provider: Provider, facts: Facts, subject: Subject
    ) -> None:
        """connect() raises what passes too; a second connect() opens the session."""
        facts.need("temporary_code")
        provider.reject = facts.temporary_code
        llm = make()
        with pytest.raises(subject.session_error):
            await llm.connect()
        provider.reject = None
        await llm.connect()
        await converse(llm, make.listen(llm), provider.connections[-1])
        assert len(make.record(llm).errors) == 1

    @pytest.mark.parametrize("reconnects", [False, True], ids=["connect", "reconnect"])
    async def test_fl1_warning_while_configuring_is_no_end(
        self, make: Make, provider: Provider, reconnects: bool
    ) -> None:
        """An error that names no request, before the session is accepted, does not end it."""
        llm, record = make(), None
        if reconnects:
            await llm.connect()
            record = make.record(llm)
        provider.accepts.clear()
        number = 1
        if record is None:
            opening = begun(llm.connect())
        else:
            number = 2
            provider.connections[0].abort()
            opening = begun(record.up(number))
        connection = await provider.connection(number)
        await connection.send(protocol.Fault("field_deprecated"))
        await stays_pending(opening)
        provider.accepts.set()
        await opening
        await converse(llm, make.listen(llm), connection)
        assert provider.handshakes == number
        assert len(make.record(llm).errors) <= 1

    @pytest.mark.parametrize("status", [101, 302, 400, 403, 404])
    async def test_fl2_lasting_refusal_ends_a_reconnect(
        self,
        llm: Realtime,
        provider: Provider,
        record: EventRecorder,
        transport: Transport,
        status: int,
    ) -> None:
        """A reconnect refused for good is not repeated; one disconnected and one error event.

        The server refuses, redirects, or does not speak the protocol (101).
        """
        if status == 101 and transport.name == "webrtc":
            status = 200  # and no session description
        connection = await provider.connection()
        await provider.stop_listening()
        port = urlsplit(provider.url).port or 0
        answer = response(status, "Location: https://127.0.0.1:9/")
        async with RawServer(answer, port=port) as server:
            connection.abort()
            await record.until(lambda: bool(record.errors), "LLMErrorEvent")
            await llm.close()
            await record.settled()
            assert server.connections == 1
        assert [event.clean for event in record.disconnected] == [False]
        assert len(record.errors) == 1

    @pytest.mark.parametrize(
        ("status", "stated", "least_s"),
        [(429, ["1"], 0.95), (503, ["1", "1"], 0.95), (503, ["date"], 0.9)],
        ids=["once", "twice", "a date"],
    )
    async def test_fl3_retry_after_is_heeded(
        self, make: Make, provider: Provider, status: int, stated: list[str], least_s: float
    ) -> None:
        """An attempt after a refusal with `Retry-After: 1` comes a second later or more.

        A proxy may state the header a second time, and the value may be a date.
        """
        llm = make(client=make.client(reconnect_attempts=100))
        await llm.connect()
        record = make.record(llm)
        await provider.stop_listening()
        times: list[float] = []

        def refuse(request: bytes) -> bytes:
            times.append(asyncio.get_running_loop().time())
            # A date has no fractions: that of two seconds later is more than one away.
            date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
            waits = [date if each == "date" else each for each in stated]
            fields = [f"Retry-After: {wait}" for wait in waits]
            return response(status, *(fields if len(times) == 1 else []))

        async with RawServer(refuse, port=urlsplit(provider.url).port or 0):
            (await provider.connection()).abort()
            async with asyncio.timeout(5.0):
                while len(times) < 2:
                    await passes(0.01)
        await provider.listen()
        await record.up(2)
        assert times[1] - times[0] > least_s, "tried again before the provider wanted that"

    @pytest.mark.parametrize("code", [1002, 1003, 1007, 1009, 3000, 4000, 4999])
    async def test_fl2_session_ends_in_the_next_or_in_an_error(
        self, make: Make, llm: Realtime, provider: Provider, record: EventRecorder, code: int
    ) -> None:
        """After any close code there is a new session, or one error event; connect() opens one."""
        await (await provider.connection()).close(code)
        await record.down()
        await record.until(
            lambda: (
                bool(record.errors) or len(record.connected) == 2 or record.disconnected[0].clean
            ),
            "session, error or clean end",
        )
        assert len(record.disconnected) == 1
        await llm.connect()
        connection = await provider.connection(2)
        await converse(llm, make.listen(llm), connection)
        assert len(record.errors) <= 1

    async def test_fl4_tool_that_cannot_be_encoded_raises_or_is_sent(
        self, make: Make, facts: Facts, subject: Subject
    ) -> None:
        """A tool's description with half a character makes connect() raise, or is replaced."""
        facts.need("tools", "tools_in_configuration")
        llm = make()

        @llm.register_function("sing", HALF_A_CHARACTER)
        async def sing() -> str:
            return "canary"

        try:
            await llm.connect()
        except subject.session_error:
            return
        assert llm.connected

    @pytest.mark.parametrize("what", ["instructions", "a tool", "an update", "a prompt"])
    async def test_fl4_text_that_cannot_be_encoded_harms_no_session(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
        what: str,
    ) -> None:
        """Half a character in mid-session is replaced, or is one error; the session goes on."""
        if what == "a prompt":
            facts.need("text")
        refusals = (subject.session_error, ValueError)
        match what:
            case "instructions":
                llm.set_instructions(HALF_A_CHARACTER)
            case "a tool":

                @llm.register_function("sing", HALF_A_CHARACTER)
                async def sing() -> str:
                    return "canary"

            case "an update":
                await _unless(refusals, llm.update_session(instructions=HALF_A_CHARACTER))
            case "a prompt":
                asked = Asked(llm.simple_response(HALF_A_CHARACTER))
                asking = begun(connection.wait_for(protocol.CreateResponse))
                await asyncio.wait([asking, asked.task], return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    request = asking.result()
                    await say(connection, "response_1", text="La", request_id=request.request_id)
                else:
                    asking.cancel()
                await _unless(refusals, asked.task)
        await fence(connection, record)
        await converse(llm, output, connection, "response_2")
        assert len(record.errors) <= 1

    @pytest.mark.parametrize("what", ["instructions", "a tool"])
    async def test_fl4_reconnect_with_text_that_cannot_be_encoded_ends(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        what: str,
    ) -> None:
        """A reconnect that has half a character to send opens a session, or is one error event."""
        provider.accepts.clear()
        connection.abort()
        await record.down()
        if what == "a tool":
            facts.need("tools")

            @llm.register_function("sing", HALF_A_CHARACTER)
            async def sing() -> str:
                return "canary"

        else:
            llm.set_instructions(HALF_A_CHARACTER)
        provider.accepts.set()
        await record.until(
            lambda: bool(record.errors) or len(record.connected) == 2, "session or error"
        )
        if record.errors:
            assert not llm.connected or len(record.connected) == 2

    @pytest.mark.parametrize("bound", ["connect_timeout_s", "response_timeout_s"])
    async def test_fl5_connect_during_a_hanging_reconnect_raises(
        self, make: Make, provider: Provider, subject: Subject, transport: Transport, bound: str
    ) -> None:
        """connect() raises where the reconnect that it waits for is never accepted.

        It waits no longer than for a response, however long the reconnect goes on.
        """
        short_s, gives_up = max(0.3, transport.connects_s), bound == "connect_timeout_s"
        client = make.client(connect_timeout_s=short_s if gives_up else 60.0, reconnect_attempts=1)
        llm = make(client=client, response_timeout_s=60.0 if gives_up else short_s)
        await llm.connect()
        provider.accepts.clear()
        (await provider.connection()).abort()
        await make.record(llm).down()
        with pytest.raises(subject.session_error):
            await llm.connect()
        assert not llm.connected
        assert len(make.record(llm).errors) == gives_up
        provider.accepts.set()

    async def test_fl5_connect_during_a_reconnect_waits_for_it(
        self, make: Make, llm: Realtime, provider: Provider, record: EventRecorder
    ) -> None:
        """connect() during a reconnect returns once the new session is open."""
        provider.accepts.clear()
        (await provider.connection()).abort()
        await provider.connection(2)
        connecting = begun(llm.connect())
        await stays_pending(connecting)
        provider.accepts.set()
        await connecting
        assert llm.connected
        assert provider.handshakes == 2

    @pytest.mark.parametrize("what", ["commit_audio", "close"])
    async def test_fl5_somebody_begins_to_speak_meanwhile(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport, what: str
    ) -> None:
        """commit_audio() and close() raise nothing while new speakers begin.

        They have to wait, for the line is full.
        """
        if what == "commit_audio":
            facts.need("manual_turns")
        llm = make(
            client=make.client(send_timeout_s=5.0),
            turn_detection=not facts.manual_turns,
            input_chunk_ms=100,
        )
        await llm.connect()
        connection = await provider.connection()
        for number in range(20):
            await llm.process_audio(A_WORD[0], _speaker(number))
        loud = ramp(round(transport.flood_s * facts.input_rate))
        flooding = begun(speak(llm, transport, frames(loud, facts.input_rate, ms=5000), ALICE))
        await connection.wait_audio(1)
        ending = begun(llm.commit_audio(respond=False) if what == "commit_audio" else llm.close())
        for number in itertools.count(20):
            if ending.done():
                break
            speaker = _speaker(20 + number % 40)
            await llm.process_audio(A_WORD[0], speaker)
            await asyncio.sleep(0)
        await ending
        await flooding

    async def test_fl6_lost_session_is_one_error_event(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
        subject: Subject,
    ) -> None:
        """A session lost for good is one error event, whatever was under way.

        A request waits, a tool runs and somebody speaks; the request raises.
        """
        facts.need("text", "tools")
        llm = make()
        begins, goes_on = asyncio.Event(), asyncio.Event()

        @llm.register_function(description="takes its time")
        async def work() -> str:
            begins.set()
            await goes_on.wait()
            return "canary"

        await llm.connect()
        connection, record = await provider.connection(), make.record(llm)
        await calls(connection, "work")
        await begins.wait()
        asked = Asked(llm.simple_response("Sing, canary"))
        await asked.request(connection)
        await speak(llm, transport, A_WORD, BOB)
        await transport.ends_for_good(provider, connection, facts.fatal_reason)
        with pytest.raises(subject.session_error):
            await asked.task
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        goes_on.set()
        await speak(llm, transport, A_WORD, BOB)
        await llm.close()
        await record.settled()
        assert len(record.errors) == 1
        assert len(record.disconnected) == 1

    @pytest.mark.parametrize("what", ["a fault", "a frame", "a response"])
    async def test_fl6_failure_is_one_error_event(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        record: EventRecorder,
        what: str,
    ) -> None:
        """An error, a frame that is none and a failed response are one error event each."""
        for count in (1, 2):
            match what:
                case "a fault":
                    await connection.send(protocol.Fault("server_error"))
                case "a frame":
                    await connection.send_raw("{")
                case "a response":
                    failed = protocol.ResponseDone("response_1", "failed", code="server_error")
                    await connection.send(protocol.ResponseStarted("response_1"), failed)
            await fence(connection, record)
            assert len(record.errors) == count
        await converse(llm, output, connection, "response_9")


def _speaker(number: int) -> Participant:
    return Participant(None, f"user-{number}", f"participant-{number}")


async def _unless(refusals: tuple[type[Exception], ...], work: Awaitable[object]) -> None:
    """Await something that may raise one of these."""
    try:
        await work
    except refusals:
        return
