"""SE: the provider is told what the caller configured, and nothing else."""

import asyncio
import copy
import itertools

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.core.llm.realtime import (
    RealtimeAudioOutput,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
)

from realtime_testkit import protocol
from realtime_testkit.factories import Make
from realtime_testkit.facts import Facts
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.recorders import EventRecorder
from realtime_testkit.scenarios import (
    ALICE,
    BOB,
    INSTRUCTIONS,
    KEY,
    fence,
    holds,
    passes,
    say,
    speak,
)
from realtime_testkit.signals import frames, ramp, speech, tone
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "a canary's city", "enum": ["Oslo", "Zürich"]},
        "when": {"type": "object", "properties": {"days": {"type": "integer", "minimum": 0}}},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city"],
}


def _register_tools(llm: Realtime) -> None:
    @llm.register_function("get_weather", "Tells the canary's weather")
    async def weather(city: str, days: int = 1) -> str:
        return f"{city} {days}"

    @llm.function_registry.register("look_up", "Looks up a canary", parameters_schema=SCHEMA)
    async def look_up(**arguments: object) -> str:
        return repr(arguments)


def _sent(config: protocol.SessionConfig, argument: str) -> object:
    """The value of a setting in a configuration as the provider read it."""
    values: dict[str, object] = {
        "model": config.model,
        "voice": config.voice,
        "instructions": config.instructions,
        "rates": (config.input_rate, config.output_rate),
        "modalities": config.modalities,
        "turn_detection": bool(config.turn_detection),
        "transcription": bool(config.transcription),
        "tool_choice": config.tool_choice,
    }
    return values[argument]


class Session(Contract):
    """Tests of SE1 to SE5."""

    @pytest.mark.parametrize(
        "argument",
        [
            "model",
            "voice",
            "instructions",
            "rates",
            "modalities",
            "turn_detection",
            "transcription",
        ],
    )
    async def test_se1_argument_is_sent_on_every_connection(
        self, make: Make, provider: Provider, facts: Facts, argument: str
    ) -> None:
        """The provider reads the argument, or its default, on the first two connections."""
        wanted: dict[str, object] = {
            "model": "model-2",
            "voice": "voice-2",
            "instructions": "Be a canary.",
            "rates": (facts.input_rate, facts.output_rate),
            "modalities": "audio",
            "turn_detection": facts.turn_detection,
            "transcription": facts.transcription,
        }
        llm = make(model="model-2", voice="voice-2", instructions="Be a canary.")
        await llm.connect()
        for number in (1, 2):
            connection = await provider.connection(number)
            await make.record(llm).up(number)
            assert connection.config is not None
            assert _sent(connection.config, argument) == wanted[argument]
            connection.abort()

    async def test_se1_model_and_key_are_in_every_handshake(
        self, make: Make, provider: Provider
    ) -> None:
        """The handshakes of the first two connections carry the key, and the model."""
        llm = make(model="model-2")
        await llm.connect()
        for number in (1, 2):
            connection = await provider.connection(number)
            await make.record(llm).up(number)
            assert connection.api_key == KEY
            assert connection.model == "model-2"
            connection.abort()

    async def test_se1_connected_event_tells_the_configuration(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The connected event has the model, the voice and the rates of the session."""
        llm = make(model="model-2", voice="voice-2")
        await llm.connect()
        record = make.record(llm)
        await record.up()
        told = record.connected[0].session_config or {}
        assert (told["model"], told["voice"]) == ("model-2", "voice-2")
        rates = told["input_sample_rate"], told["output_sample_rate"]
        assert rates == (facts.input_rate, facts.output_rate)

    async def test_se1_turn_detection_can_be_switched_off(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """turn_detection=False is sent."""
        facts.need("manual_turns")
        await make(turn_detection=False).connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.turn_detection is False

    async def test_se1_transcription_can_be_switched_off(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """transcription=False is sent."""
        facts.need("transcription", "transcription_optional")
        await make(transcription=False).connect()
        config = (await provider.connection()).config
        assert config is not None
        assert not config.transcription

    async def test_se1_written_answers_can_be_asked_for(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """modalities="text" is sent."""
        facts.need("written_answers")
        await make(modalities="text").connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.modalities == "text"

    async def test_se1_no_voice_is_sent_unasked(
        self, llm: Realtime, connection: Connection, subject: Subject
    ) -> None:
        """Without a voice argument the session has the provider's own default."""
        defaults = subject.provider.codec().defaults
        assert connection.config is not None
        assert connection.config.voice in (None, defaults.voice if defaults else None)

    async def test_se1_tool_choice_is_sent(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The tool choice is sent."""
        facts.need("tools", "tool_choice")
        llm = make(tool_choice="get_weather")
        _register_tools(llm)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.tool_choice == "get_weather"

    async def test_se1_turn_detection_settings_are_sent(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Settings for turn detection in the provider's own words are sent as they are."""
        facts.need("turn_detection_settings")
        llm = make(turn_detection=copy.deepcopy(facts.turn_detection_settings))
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert holds(config.turn_detection, facts.turn_detection_settings), config.turn_detection

    async def test_se1_transcription_is_not_given_the_model(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The model of the conversation is not sent as the one that transcribes."""
        facts.need("transcription")
        await make(model="model-2").connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.transcription not in (False, "model-2")

    async def test_se1_first_command_configures(
        self, llm: Realtime, connection: Connection
    ) -> None:
        """The first command configures the session, and it is the only such command."""
        assert isinstance(connection.commands[0], protocol.Configure), connection.commands[0]
        assert len(connection.received(protocol.Configure)) == 1, "configured more than once"

    async def test_se2_registered_tools_are_in_the_first_configuration(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Registered tools are in each first configuration; the registry is not edited."""
        facts.need("tools", "tools_in_configuration")
        llm = make()
        _register_tools(llm)
        registered = copy.deepcopy(llm.get_available_functions())
        await llm.connect()
        record = make.record(llm)
        for number in (1, 2):
            connection = await provider.connection(number)
            config = connection.received(protocol.Configure)[0].config
            told = [(tool.name, tool.description, tool.parameters) for tool in config.tools]
            assert told == [
                (tool["name"], tool.get("description"), tool.get("parameters_schema"))
                for tool in registered
            ]
            assert told[0][:2] == ("get_weather", "Tells the canary's weather")
            await record.up(number)
            connection.abort()
        assert llm.get_available_functions() == registered, "the registry was edited"

    async def test_se2_capabilities_say_whether_there_are_tools(
        self, llm: Realtime, record: EventRecorder, facts: Facts
    ) -> None:
        """The connected event names tools among the capabilities exactly if there are."""
        await record.up()
        assert ("tools" in (record.connected[0].capabilities or [])) == facts.tools

    async def test_se3_callers_options_win(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """The caller's options win over defaults, replace nothing else and are not edited."""
        facts.need("session_options")
        options = copy.deepcopy(facts.session_options)
        llm = make(voice="alloy", options=options)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert holds(config.options, facts.session_options), f"not in {config.options}"
        kept = (config.instructions, bool(config.transcription), config.input_rate)
        given = (INSTRUCTIONS, facts.transcription, facts.input_rate)
        assert kept == given, "options replaced what they do not name"
        assert options == facts.session_options, "the caller's options were edited"

    async def test_se3_tools_in_options_join_the_registered(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Tools of the provider's own in the options are sent beside the registered ones."""
        facts.need("tools", "tools_in_configuration", "tool_options")
        llm = make(options=facts.tool_options)
        _register_tools(llm)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert {tool.name for tool in config.tools} >= {"get_weather", "look_up"}
        assert config.server_tools

    async def test_se3_options_replace_no_other_setting(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """Options that set a rate leave the voice as it was given."""
        facts.need("announced_rate")
        llm = make(voice="alloy", options=facts.announced_rate_options)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.voice == "alloy"

    async def test_se4_every_frame_is_valid(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """The strict provider refuses nothing in a call with texts, tools and audio.

        Request ids are unique.
        """
        facts.need("text")
        llm = make()
        _register_tools(llm)
        roles: tuple[protocol.Role, ...] = ("user", "assistant")
        if facts.system_messages:
            roles = ("system", *roles)
        said = [Message(f"canary of the {role}", role=role) for role in roles]
        llm.set_conversation(InMemoryConversation("", said))
        await llm.connect()
        output, record = make.listen(llm, answers=True), make.record(llm)
        connection = await provider.connection()
        for number in range(1, 4):
            reply = asyncio.create_task(_ask(llm, f"canary {number}?"))
            command = await connection.wait_for(protocol.CreateResponse, number)
            response_id = f"response_{number}"
            await say(
                connection,
                response_id,
                audio=ramp(480).tobytes(),
                text="a canary",
                request_id=command.request_id,
                status="completed" if number < 3 else None,
            )
            await output.first(RealtimeAudioOutput, number)
            if number == 3:
                await llm.interrupt()
            await reply
        if facts.tools:
            await connection.send(
                protocol.ResponseStarted("response_4"),
                protocol.ToolCall("response_4", "call_1", "get_weather", '{"city": "Oslo"}'),
                protocol.ResponseDone("response_4"),
            )
            await connection.wait_for(protocol.AddToolResult)
        await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
        await fence(connection, record)
        await llm.close()
        asked = [command.request_id for command in connection.received(protocol.CreateResponse)]
        assert len(set(asked)) == len(asked), f"request ids repeat: {asked}"
        assert not connection.violations

    async def test_se4_prompt_and_request_are_sent_together(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Nothing is sent between a message and its request, while audio fills the line."""
        facts.need("text", "explicit_requests")
        llm = make(client=make.client(send_timeout_s=5.0))
        await llm.connect()
        connection = await provider.connection()
        # More than the sockets hold, so that a sender has to wait in the middle.
        loud = frames(ramp(round(transport.flood_s * facts.input_rate)), facts.input_rate, ms=5000)
        speaking = asyncio.gather(*(speak(llm, transport, loud, each) for each in (ALICE, BOB)))
        await connection.wait_audio(1)
        asking = [asyncio.create_task(_ask(llm, f"canary {number}?")) for number in range(4)]
        for number in range(1, 5):
            command = await connection.wait_for(protocol.CreateResponse, number)
            response_id = f"response_{number}"
            await say(connection, response_id, text="La", request_id=command.request_id)
        await speaking
        await asyncio.gather(*asking)
        said = [type(command) for command in connection.commands]
        said = [kind for kind in said if kind not in transport.out_of_band]
        for kind, following in itertools.pairwise(said):
            if kind is protocol.AddMessage:
                assert following is protocol.CreateResponse, f"{following.__name__} in between"

    async def test_se5_new_instructions_are_sent(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """Instructions set after connect() are sent in an update."""
        facts.need("updates")
        llm.set_instructions("Be another canary.")
        update = await connection.wait_for(protocol.Configure, 2)
        assert update.config.instructions == "Be another canary."

    async def test_se5_new_tool_is_sent(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """A tool registered after connect() is sent in an update that keeps the instructions."""
        facts.need("updates", "tools", "tools_in_configuration")

        @llm.register_function(description="sings")
        async def sing() -> str:
            return "canary"

        update = await connection.wait_for(protocol.Configure, 2)
        assert [tool.name for tool in update.config.tools] == ["sing"]
        assert update.config.instructions == INSTRUCTIONS

    async def test_se5_changes_are_sent_in_one_update(
        self, llm: Realtime, connection: Connection, provider: Provider, facts: Facts
    ) -> None:
        """Instructions and tools changed together are one update, and kept by a reconnect."""
        facts.need("updates", "updates_together", "tools", "tools_in_configuration")
        llm.set_instructions("Be another canary.")
        _register_tools(llm)
        await connection.wait_for(protocol.Configure, 2)
        config = connection.config
        assert config is not None
        assert config.instructions == "Be another canary."
        assert {tool.name for tool in config.tools} >= {"get_weather"}
        connection.abort()
        again = (await provider.connection(2)).commands[0]
        assert isinstance(again, protocol.Configure)
        assert again.config.instructions == "Be another canary.", "forgotten on reconnect"
        assert len(connection.received(protocol.Configure)) == 2, "more than one update"

    async def test_se5_turn_detection_is_switched_off_and_on(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """update_session() switches turn detection off and on, and sends only what changed."""
        facts.need("updates", "manual_turns")
        await llm.update_session(instructions="Wait, canary.", turn_detection=False)
        update = await connection.wait_for(protocol.Configure, 2)
        assert update.config.turn_detection is False
        assert update.config.instructions == "Wait, canary."
        assert update.config.voice == connection.received(protocol.Configure)[0].config.voice
        await llm.update_session(instructions="Wait, canary.")
        await llm.update_session(turn_detection=True)
        update = await connection.wait_for(protocol.Configure, 3)
        assert update.config.turn_detection, "still switched off, or told what had not changed"

    @pytest.mark.parametrize("choice", ["none", "required"])
    async def test_se5_update_session_sends_the_tool_choice(
        self, llm: Realtime, connection: Connection, facts: Facts, choice: str
    ) -> None:
        """update_session(tool_choice=) is sent in an update."""
        facts.need("updates", "tools", "tool_choice")
        await llm.update_session(tool_choice=choice)
        update = await connection.wait_for(protocol.Configure, 2)
        assert update.config.tool_choice == choice

    async def test_se5_update_session_sends_the_modalities(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """update_session(modalities="text") is sent in an update."""
        facts.need("updates", "written_answers")
        await llm.update_session(modalities="text")
        update = await connection.wait_for(protocol.Configure, 2)
        assert update.config.modalities == "text"

    async def test_se5_update_session_sends_options(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """update_session(options=) is sent in an update, to the letter."""
        facts.need("updates", "session_options")
        await llm.update_session(options=facts.session_options)
        update = await connection.wait_for(protocol.Configure, 2)
        assert holds(update.config.options, facts.session_options)

    async def test_se5_manual_commit_ends_the_turn(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """commit_audio() sends the rest of the audio, a commit and a request.

        The user's turn starts and ends once. With respond=False no request is sent.
        """
        facts.need("manual_turns", "explicit_requests")
        llm = make(turn_detection=False)
        await llm.connect()
        connection = await provider.connection()
        output = make.listen(llm)
        await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000), ALICE)
        await llm.commit_audio()
        command = await connection.wait_for(protocol.CreateResponse)
        kinds = [type(each) for each in connection.commands]
        assert kinds[-2:] == [protocol.CommitAudio, protocol.CreateResponse]
        heard_s = len(connection.audio()) / 2 / facts.input_rate
        assert abs(heard_s - 0.2) <= transport.slack_s, "the end of the turn is lost"
        await say(connection, audio=ramp(480).tobytes(), request_id=command.request_id)
        await output.done("response_1")
        assert output.speech() == ramp(480).tobytes()
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        assert [item for item in output.items if isinstance(item, turns)] == [
            RealtimeUserSpeechStarted(ALICE),
            RealtimeUserSpeechEnded(ALICE),
        ]
        await llm.commit_audio(respond=False)
        await connection.wait_for(protocol.CommitAudio, 2)
        await llm.close()
        assert len(connection.received(protocol.CreateResponse)) == 1

    async def test_se5_commit_asks_at_once_where_the_provider_detects_turns(
        self,
        llm: Realtime,
        connection: Connection,
        record: EventRecorder,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """commit_audio() waits for no answer of the provider's own: it committed nothing itself."""
        facts.need("manual_turns", "explicit_requests")
        await speak(llm, transport, frames(tone(300, 0.2, 48000), 48000), ALICE)
        await llm.commit_audio()
        await fence(connection, record)
        await fence(connection, record)
        assert connection.received(protocol.CreateResponse)

    async def test_se5_empty_commit_is_no_error(
        self, make: Make, provider: Provider, facts: Facts
    ) -> None:
        """commit_audio() without any audio emits no error event."""
        facts.need("manual_turns")
        llm = make(turn_detection=False)
        await llm.connect()
        record = make.record(llm)
        await llm.commit_audio()
        await fence(await provider.connection(), record)
        assert not record.errors

    async def test_se6_refused_update_raises_and_is_not_repeated(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
        subject: Subject,
    ) -> None:
        """update_session() raises what the provider refuses, and a reconnect leaves it out."""
        facts.need("updates", "acknowledges_updates", "session_options")
        provider.reject = "invalid_value"
        with pytest.raises((subject.session_error, subject.response_error, ValueError)):
            await llm.update_session(options=facts.session_options)
        provider.reject = None
        await llm.update_session(instructions="Be another canary.")
        connection.abort()
        await record.up(2)
        config = (await provider.connection(2)).config
        assert config is not None
        assert config.instructions == "Be another canary."
        assert not holds(config.options, facts.session_options), "the refused options are repeated"

    async def test_se6_options_can_be_taken_back(
        self, llm: Realtime, connection: Connection, facts: Facts
    ) -> None:
        """Options that an update leaves out are no longer in force at the provider."""
        facts.need("updates", "session_options")
        await llm.update_session(options=facts.session_options)
        await connection.wait_for(protocol.Configure, 2)
        await llm.update_session(options={})
        await connection.wait_for(protocol.Configure, 3)
        assert connection.config is not None
        assert not holds(connection.config.options, facts.session_options)

    async def test_se6_change_during_a_reconnect_reaches_the_session(
        self,
        llm: Realtime,
        connection: Connection,
        provider: Provider,
        record: EventRecorder,
        facts: Facts,
    ) -> None:
        """Instructions set while the new session is not accepted yet are in force there."""
        facts.need("updates")
        provider.accepts.clear()
        connection.abort()
        again = await provider.connection(2)
        llm.set_instructions("Be another canary.")
        provider.accepts.set()
        await record.up(2)
        async with asyncio.timeout(2.0):
            while again.config is None or again.config.instructions != "Be another canary.":
                await passes(0.01)

    async def test_se6_speech_stops_nothing_where_that_is_switched_off(
        self,
        make: Make,
        provider: Provider,
        facts: Facts,
        transport: Transport,
    ) -> None:
        """With the provider's interruptions off, speech over an answer does not interrupt it."""
        facts.need("quiet_detection", "speech_events")
        llm = make(turn_detection=facts.quiet_detection)
        await llm.connect()
        connection, record, output = await provider.connection(), make.record(llm), make.listen(llm)
        sound = speech(2000, facts.output_rate)
        await say(connection, audio=sound, text="A canary", status=None)
        await output.first(RealtimeAudioOutput)
        await speak(llm, transport, frames(tone(300, 0.1, 48000), 48000))
        await connection.send(
            protocol.UserSpeechStarted("user_1"), protocol.UserSpeechStopped("user_1")
        )
        await connection.send(protocol.ResponseDone("response_1"))
        await output.done("response_1")
        await fence(connection, record)
        assert [end.interrupted for end in output.dones()] == [False]
        stopping = (protocol.CancelResponse, protocol.TruncateItem, protocol.ClearOutput)
        assert not [each for each in connection.commands if isinstance(each, stopping)]

    async def test_se7_format_in_options_is_followed(
        self, make: Make, provider: Provider, facts: Facts, transport: Transport
    ) -> None:
        """Audio in a format set in options has its duration both ways, or it is refused."""
        facts.need("telephone_options")
        transport.needs_messages()
        try:
            llm = make(options=facts.telephone_options)
        except ValueError:
            return
        await llm.connect()
        connection, output = await provider.connection(), make.listen(llm)
        assert connection.config is not None
        await speak(llm, transport, frames(tone(300, 1.0, 48000), 48000))
        await llm.process_audio(frames(tone(300, 0.02, 48000), 48000)[0], ALICE)
        rate = connection.config.input_rate
        await connection.wait_audio(round(0.9 * rate) * 2)
        assert len(connection.audio()) / 2 / rate <= 1.1
        await say(connection, audio=speech(500, connection.config.output_rate))
        await output.done("response_1")
        heard = sum(pcm.duration for pcm in output.chunks())
        assert abs(heard - 0.5) < 0.05, f"500 ms became {heard:.2f} s"


async def _ask(llm: Realtime, text: str) -> None:
    async for _ in llm.simple_response(text, ALICE):
        pass
