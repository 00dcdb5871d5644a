"""EF: the plugin follows the session that is in force, whatever it asked for."""

import asyncio

import pytest
from vision_agents.core.llm.realtime import RealtimeAudioOutput, RealtimeUserSpeechEnded

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts, excuse
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder, OutputRecorder
from realtime_testkit.scenarios import (
    ALICE,
    INSTRUCTIONS,
    begun,
    converse,
    fence,
    hears,
    holds,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, samples_of, sinad_db, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

HERTZ = 440.0

CLEAR_DB = 25
"""A tone over everything else, after eight bits a sample and two resamplers."""


class Settings(Contract):
    """Tests of EF1 to EF9."""

    async def test_ef1_interruptions_are_switched_off_and_on(
        self, llm: Realtime, connection: Connection, record: EventRecorder, facts: Facts, make: Make
    ) -> None:
        """Speech over an answer stops nothing after an update says so, and again after the next."""
        facts.need("updates", "quiet_detection", "speech_events")
        output = make.listen(llm, answers=True)
        await llm.update_session(turn_detection=facts.quiet_detection)
        await _answers_under_speech(connection, output, "response_1")
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        await fence(connection, record)
        assert not output.dones("response_1")[0].interrupted
        assert not connection.received(protocol.CancelResponse)
        await llm.update_session(turn_detection=True)
        await _answers_under_speech(connection, output, "response_2")
        assert (await output.done("response_2")).interrupted

    async def test_ef2_formats_in_options_are_followed_both_ways(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """A tone in each of the formats arrives as that tone, with its duration, both ways.

        A format may be refused with ValueError instead.
        """
        facts.need("audio_formats")
        transport.needs_messages()
        for name, options in facts.audio_formats.items():
            try:
                llm = make(options=options)
            except ValueError:
                continue
            await llm.connect()
            connection = await provider.connection(len(provider.connections))
            await _carries_a_tone(llm, make.listen(llm), connection, transport, name)
            await llm.close()

    async def test_ef2_format_of_an_update_is_followed_both_ways(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport, subject: Subject
    ) -> None:
        """Audio follows a format that an update brings, unless update_session() raises."""
        facts.need("updates", "audio_formats")
        transport.needs_messages()
        for name, options in facts.audio_formats.items():
            llm = make()
            await llm.connect()
            connection = await provider.connection(len(provider.connections))
            output = make.listen(llm)
            await converse(llm, output, connection)
            try:
                await llm.update_session(options=options)
            except (ValueError, subject.session_error):
                await converse(llm, output, connection, "response_2")
            else:
                await _carries_a_tone(llm, output, connection, transport, name)
            await llm.close()

    async def test_ef2_unusable_format_is_refused(
        self,
        make: Make,
        provider: Provider,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A format that cannot be used raises ValueError, from update_session() perhaps another.

        The session goes on, and the next one does not ask for the format; nor does the first
        one, where there is no session yet.
        """
        facts.need("unusable_format")
        with pytest.raises(ValueError, match=r".+"):
            make(options=facts.unusable_format)
        if not facts.updates:
            return
        with pytest.raises((ValueError, subject.session_error)):
            await llm.update_session(options=facts.unusable_format)
        await converse(llm, output, connection)
        connection.abort()
        await make.record(llm).up(2)
        await converse(llm, output, await provider.connection(2), "response_2")
        early = make()
        with pytest.raises((ValueError, subject.session_error)):
            await early.update_session(options=facts.unusable_format)
        await early.connect()

    async def test_ef3_tools_of_both_kinds_stay_together(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """A tool registered later joins those in the options; without these it stays."""
        facts.need("updates", "tools", "tools_in_configuration", "tool_options")
        llm = make(options=facts.tool_options)
        await llm.connect()
        connection = await provider.connection()

        @llm.register_function(description="sings")
        async def sing() -> str:
            return "canary"

        both = (await connection.wait_for(protocol.Configure, 2)).config
        assert [tool.name for tool in both.tools] == ["sing"]
        assert both.server_tools, "the tools in the options are gone"
        await llm.update_session(options={})
        one = (await connection.wait_for(protocol.Configure, 3)).config
        assert [tool.name for tool in one.tools] == ["sing"]
        assert not one.server_tools

    @pytest.mark.parametrize("change", ["instructions", "a tool"])
    async def test_ef4_refused_change_is_one_error_and_is_not_repeated(
        self,
        llm: Realtime,
        output: OutputRecorder,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        change: str,
    ) -> None:
        """A change that the provider refuses is one error event; the next session opens without it."""
        facts.need("updates", "acknowledges_updates")
        if change == "a tool":
            facts.need("tools", "tools_in_configuration")
        provider.reject = "invalid_value"
        if change == "a tool":

            @llm.register_function("sing", "sings")
            async def sing() -> str:
                return "canary"

        else:
            llm.set_instructions("Be a canary that nobody wants.")
        await connection.wait_for(protocol.Configure, 2)
        await record.until(lambda: bool(record.errors), "LLMErrorEvent")
        provider.reject = None
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        first = again.received(protocol.Configure)[0].config
        assert first.instructions == INSTRUCTIONS
        assert not first.tools
        await converse(llm, output, again)
        assert len(record.errors) == 1

    async def test_ef4_changes_after_a_refused_one_arrive(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """After a refused update, later instructions and settings are sent without it."""
        facts.need("updates", "acknowledges_updates", "session_options", "manual_turns")
        provider.reject = "invalid_value"
        with pytest.raises((subject.session_error, ValueError)):
            await llm.update_session(
                instructions="Be a canary that nobody wants.", options=facts.session_options
            )
        provider.reject = None
        await llm.update_session(turn_detection=False)
        llm.set_instructions("Be another canary.")
        await connection.wait_for(protocol.Configure, 4)
        changes = [each.config for each in connection.received(protocol.Configure)[2:]]
        assert changes[-1].turn_detection is False
        assert changes[-1].instructions == "Be another canary."
        connection.abort()
        await record.up(2)
        config = (await provider.connection(2)).received(protocol.Configure)[0].config
        assert config.turn_detection is False
        assert config.instructions == "Be another canary."
        assert not holds(config.options, facts.session_options)

    async def test_ef4_refused_update_keeps_the_instructions(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """Instructions of a refused update are not those of the next session."""
        facts.need("updates", "acknowledges_updates")
        provider.reject = "invalid_value"
        with pytest.raises((subject.session_error, ValueError)):
            await llm.update_session(instructions="Be a canary that nobody wants.")
        provider.reject = None
        connection.abort()
        await record.up(2)
        again = await provider.connection(2)
        assert again.received(protocol.Configure)[0].config.instructions == INSTRUCTIONS
        assert not record.errors, "raised, and reported as well"

    async def test_ef4_refused_update_of_two_settings_leaves_neither(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """Of an update that is refused nothing is sent later; asked for again it is sent again."""
        facts.need("updates", "acknowledges_updates", "manual_turns")
        wanted = "Be a canary that nobody wants."
        provider.reject = "invalid_value"
        for number in (2, 3):
            with pytest.raises((subject.session_error, ValueError)):
                await llm.update_session(instructions=wanted, turn_detection=False)
            await connection.wait_for(protocol.Configure, number)
        provider.reject = None
        await llm.update_session(tool_choice="none")
        config = (await connection.wait_for(protocol.Configure, 4)).config
        assert config.instructions != wanted
        assert config.turn_detection is not False
        await llm.update_session(instructions=wanted, turn_detection=False)
        await connection.wait_for(protocol.Configure, 5)

    async def test_ef4_change_that_is_not_answered_is_taken_back(
        self, make: Make, provider: Provider, facts: Facts, subject: Subject
    ) -> None:
        """What was in force before is sent again: nobody knows whether the change is."""
        facts.need("updates", "acknowledges_updates")
        llm = make(client=make.client(send_timeout_s=0.2))
        await llm.connect()
        connection = await provider.connection()
        provider.rewrite = lambda frame: ()  # it says nothing
        with pytest.raises(subject.session_error):
            await llm.update_session(tool_choice="none")
        provider.rewrite = None
        await llm.update_session(tool_choice="auto")
        config = (await connection.wait_for(protocol.Configure, 3)).config
        assert config.tool_choice == "auto"

    async def test_ef4_each_of_three_changes_has_its_own_answer(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """Of three changes that are made together, the one that is refused raises, and it alone."""
        facts.need("updates", "acknowledges_updates", "manual_turns")
        provider.rejects = lambda config: config.turn_detection is False
        provider.reject = "invalid_value"
        held: list[str | bytes] = []

        def hold(frame: str | bytes) -> list[str | bytes]:
            held.append(frame)
            return []

        provider.rewrite = hold
        first = begun(llm.update_session(tool_choice="none"))
        await connection.wait_for(protocol.Configure, 2)
        refused = begun(llm.update_session(turn_detection=False))
        last = begun(llm.update_session(instructions="Be another canary."))
        while not held:
            await passes(0.01)
        provider.rewrite = None
        for frame in held:
            await connection.send_raw(frame)
        with pytest.raises((subject.session_error, ValueError)):
            await refused
        await first
        await last
        assert connection.config is not None
        assert connection.config.tool_choice == "none"
        assert connection.config.instructions == "Be another canary."
        assert not record.errors, "raised, and reported as well"

    async def test_ef4_change_before_a_refused_one_is_kept(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """Instructions that are set just before an update that is refused are in force."""
        facts.need("updates", "acknowledges_updates", "manual_turns")
        provider.rejects = lambda config: config.turn_detection is False
        provider.reject = "invalid_value"
        llm.set_instructions("Be another canary.")
        with pytest.raises((subject.session_error, ValueError)):
            await llm.update_session(turn_detection=False)
        assert not record.errors, "raised, and reported as well"
        connection.abort()
        await record.up(2)
        config = (await provider.connection(2)).received(protocol.Configure)[0].config
        assert config.instructions == "Be another canary."

    async def test_ef4_change_beside_a_refused_one_is_kept(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """A change made while another is refused is in force, here and in the next session."""
        facts.need("updates", "acknowledges_updates", "manual_turns")
        provider.reject = "invalid_value"
        refused = begun(llm.update_session(tool_choice="none"))
        kept = begun(llm.update_session(turn_detection=False))
        await connection.wait_for(protocol.Configure, 2)
        provider.reject = None
        with pytest.raises((subject.session_error, ValueError)):
            await refused
        await kept
        connection.abort()
        await record.up(2)
        config = (await provider.connection(2)).received(protocol.Configure)[0].config
        assert config.turn_detection is False

    async def test_ef5_turn_detection_settings_are_taken_back(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """Settings for turn detection are not in force any more after turn_detection=True."""
        facts.need("updates", "turn_detection_settings")
        await llm.update_session(turn_detection=facts.turn_detection_settings)
        await connection.wait_for(protocol.Configure, 2)
        assert connection.config is not None
        assert holds(connection.config.turn_detection, facts.turn_detection_settings)
        await llm.update_session(turn_detection=True)
        await connection.wait_for(protocol.Configure, 3)
        assert not holds(connection.config.turn_detection, facts.turn_detection_settings)

    @pytest.mark.parametrize("change", ["a tool", "turn detection"])
    async def test_ef6_change_during_a_reconnect_reaches_the_session(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        change: str,
    ) -> None:
        """A change made while the new session is not accepted yet is in force there."""
        facts.need("updates")
        facts.need(
            *(["tools", "tools_in_configuration"] if change == "a tool" else ["manual_turns"])
        )
        provider.accepts.clear()
        connection.abort()
        again = await provider.connection(2)
        if change == "a tool":

            @llm.register_function("sing", "sings")
            async def sing() -> str:
                return "canary"

        changing = begun(llm.update_session(turn_detection=change == "a tool"))
        await asyncio.sleep(0)
        provider.accepts.set()
        await record.up(2)
        async with asyncio.timeout(2.0):
            await changing
            while not _is_changed(again.config, change):
                await passes(0.01)

    async def test_ef6_refused_change_during_a_reconnect_ends_no_call(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
    ) -> None:
        """A change made while no session is open, and refused, is an error event; the call goes on."""
        facts.need("updates", "manual_turns")
        provider.rejects = lambda config: config.turn_detection is False
        provider.reject = "invalid_value"
        llm = make(client=make.client(reconnect_delay_s=0.05))
        await llm.connect()
        record, output = make.record(llm), make.listen(llm)
        (await provider.connection()).abort()
        await record.down()
        await llm.update_session(turn_detection=False)
        await record.up(2)
        again = provider.connections[-1]
        await fence(again, record)
        assert again.config is not None
        assert again.config.turn_detection is not False
        assert len(record.errors) == 1
        await converse(llm, output, again)

    async def test_ef7_dictated_rates_are_followed(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Audio has the rates that the provider states in its greeting, both ways."""
        facts.need("dictates_rates")
        transport.needs_messages()
        provider.greets = False
        llm = make()
        connecting = begun(llm.connect())
        await provider.wait_handshakes(1)
        async with asyncio.timeout(2.0):
            while not provider.connections:
                await passes(0.01)
        connection = provider.connections[0]
        if not facts.greets_first:
            await connection.wait_for(protocol.Configure)
        await connection.send(protocol.SessionOpened("session_1", 8000, 16000))
        await connection.wait_for(protocol.Configure)
        await connection.send(protocol.SessionAccepted())
        await connecting
        output = make.listen(llm)
        await speak(llm, transport, frames(tone(HERTZ, 1.0, 48000), 48000))
        heard = samples_of(await connection.wait_audio(round(0.9 * 8000) * 2))
        assert sinad_db(heard[800:6400], HERTZ, 8000) > CLEAR_DB
        await say(connection, audio=tone(HERTZ, 0.5, 16000).tobytes())
        await output.done("response_1")
        assert {pcm.sample_rate for pcm in output.chunks()} == {16000}

    async def test_ef8_transcription_model_is_sent(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The model that the caller names for transcripts is sent on every connection."""
        facts.need("transcription", "transcription_models")
        llm = make(transcription="canary-transcribe")
        await llm.connect()
        for number in (1, 2):
            connection = await provider.connection(number)
            await make.record(llm).up(number)
            config = connection.received(protocol.Configure)[0].config
            assert config.transcription == "canary-transcribe"
            connection.abort()

    def test_ef8_model_that_cannot_be_named_is_refused(self, make: Make, facts: Facts) -> None:
        """Where the provider chooses the model for transcripts, naming one is a ValueError."""
        if facts.transcription_models:
            excuse("contract.toml: transcription_models = true")
        with pytest.raises(ValueError, match="transcription"):
            make(transcription="canary-transcribe")

    @pytest.mark.parametrize("after_s", [None, 0.5])
    def test_ef9_policy_that_cannot_be_kept_is_refused(
        self, make: Make, facts: Facts, after_s: float | None
    ) -> None:
        """Where the provider decides what interrupts, another time than 0 is a ValueError."""
        if facts.quiet_detection:
            excuse("contract.toml: quiet_detection is stated")
        with pytest.raises(ValueError, match="interrupt_after_s"):
            make(interrupt_after_s=after_s)

    @pytest.mark.parametrize("after_s", [None, 30.0])
    async def test_ef9_speech_within_the_policy_stops_nothing(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        after_s: float | None,
    ) -> None:
        """With interruptions off, or after longer speech only, a short word stops no answer."""
        facts.need("quiet_detection", "speech_events")
        llm = make(interrupt_after_s=after_s)
        output = make.listen(llm, answers=True)
        await llm.connect()
        connection = await provider.connection()
        assert connection.config is not None
        assert holds(connection.config.turn_detection, facts.quiet_detection)
        await _answers_under_speech(connection, output, "response_1")
        await connection.send(protocol.ResponseDone("response_1"))
        assert not (await output.done("response_1")).interrupted
        await fence(connection, make.record(llm))
        assert not connection.received(protocol.CancelResponse)

    @pytest.mark.parametrize("after_s", [None, 30.0])
    async def test_ef9_speech_within_the_policy_stops_no_answer_that_is_due(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
        after_s: float | None,
    ) -> None:
        """An answer that is due when the user coughs is heard, and the cough is a turn of its own."""
        facts.need("speech_events", "quiet_detection")
        llm = make(interrupt_after_s=after_s)
        await llm.connect()
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        await speak(llm, transport, frames(tone(300, 0.02, 48000), 48000), ALICE)
        await hears(connection, "Where is the canary?")
        await connection.send(protocol.UserSpeechStarted("user_2"))
        await say(connection, audio=speech(100, facts.output_rate), text="Here", status=None)
        await fence(connection, record)
        await connection.send(
            protocol.ResponseDone("response_1"), protocol.UserSpeechStopped("user_2")
        )
        await output.done("response_1")
        await fence(connection, record)
        assert output.speech()
        assert not connection.received(protocol.CancelResponse)
        assert len(output.of(RealtimeUserSpeechEnded)) == 2

    async def test_ef9_longer_speech_interrupts(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Speech that goes on for the time asked for stops the answer; that which ended does not."""
        facts.need("quiet_detection", "speech_events")
        llm = make(interrupt_after_s=0.05)
        output = make.listen(llm, answers=True)
        await llm.connect()
        connection = await provider.connection()
        await _answers_under_speech(connection, output, "response_1")
        await asyncio.sleep(0.1)  # nothing may happen
        assert not output.dones("response_1")
        await connection.send(protocol.UserSpeechStarted("user_2"))
        assert (await output.done("response_1")).interrupted

    async def test_ef9_speech_over_a_requested_answer_interrupts(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Speech that began before an answer that was asked for stops that answer, too."""
        facts.need("quiet_detection", "speech_events", "manual_turns", "request_ids")
        llm = make(interrupt_after_s=0.1)
        output = make.listen(llm, answers=True)
        await llm.connect()
        connection = await provider.connection()
        await llm.commit_audio()
        request = await connection.wait_for(protocol.CreateResponse)
        await connection.send(protocol.UserSpeechStarted("user_2"))
        sound = speech(3000, facts.output_rate)
        await say(connection, audio=sound, status=None, request_id=request.request_id)
        assert (await output.done("response_1")).interrupted

    @pytest.mark.parametrize("after_s", [-1.0, -0.001])
    async def test_ef9_impossible_time_is_refused(self, make: Make, after_s: float) -> None:
        """A negative time is a ValueError that names the argument and what was given."""
        with pytest.raises(ValueError, match=f"interrupt_after_s={after_s}"):
            make(interrupt_after_s=after_s)


async def _answers_under_speech(
    connection: Connection, output: OutputRecorder, response_id: str
) -> None:
    """Let the provider give an answer without its end, and the user speak over it."""
    heard = len(output.of(RealtimeAudioOutput))
    await say(connection, response_id, audio=speech(3000, 24000), text="A canary", status=None)
    await output.first(RealtimeAudioOutput, heard + 1)
    item_id = f"user_{response_id}"
    await connection.send(protocol.UserSpeechStarted(item_id), protocol.UserSpeechStopped(item_id))


async def _carries_a_tone(
    llm: Realtime, output: OutputRecorder, connection: Connection, transport: Transport, name: str
) -> None:
    """Assert that a second of a tone is heard both ways, in the format in force.

    The provider's end reads and writes the format; what it says and hears is 16 bits a sample.
    """
    config = connection.config
    assert config is not None
    sent, came = len(connection.audio()), len(output.chunks())
    await speak(llm, transport, frames(tone(HERTZ, 1.0, 48000), 48000))
    rate = config.input_rate
    heard = await connection.wait_audio(sent + round(0.9 * rate) * 2)
    samples = samples_of(heard[sent:])
    assert len(samples) <= 1.1 * rate, f"{name}: one second became {len(samples) / rate:.1f}"
    assert sinad_db(samples[rate // 10 : rate * 8 // 10], HERTZ, rate) > CLEAR_DB, name
    await say(connection, "response_tone", audio=tone(HERTZ, 1.0, config.output_rate).tobytes())
    await output.done("response_tone")
    chunks = output.chunks()[came:]
    rates = {pcm.sample_rate for pcm in chunks}
    assert len(rates) == 1, f"{name}: {rates}"
    rate = rates.pop()
    samples = samples_of(b"".join(pcm.samples.tobytes() for pcm in chunks))
    assert abs(len(samples) / rate - 1.0) < 0.05, f"{name}: {len(samples) / rate:.2f} s"
    assert sinad_db(samples[rate // 10 : rate * 8 // 10], HERTZ, rate) > CLEAR_DB, name


def _is_changed(config: protocol.SessionConfig | None, change: str) -> bool:
    if config is None:
        return False
    if change == "a tool":
        return [tool.name for tool in config.tools] == ["sing"]
    return config.turn_detection is False
