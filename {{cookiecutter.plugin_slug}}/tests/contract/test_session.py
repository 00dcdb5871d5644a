"""SE: the provider is told what the caller said, the whole of it and nothing else."""

import asyncio
import copy
import itertools
from collections.abc import Mapping

import pytest
from vision_agents.core.agents.conversation import InMemoryConversation, Message
from vision_agents.core.llm.realtime import (
    RealtimeAudioOutput,
    RealtimeUserSpeechEnded,
    RealtimeUserSpeechStarted,
)
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, events, loopback

from . import transit
from .kit import (
    ALICE,
    INSTRUCTIONS,
    KEY,
    Facts,
    fence,
    frames,
    ramp,
    say,
    speak,
    tone,
)
from .making import Make, dial

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


def _holds(session: object, options: object) -> bool:
    """Whether a session says what the options say, among other things."""
    if isinstance(options, Mapping) and isinstance(session, Mapping):
        return all(key in session and _holds(session[key], options[key]) for key in options)
    return session == options


class TestSession:
    async def test_se1_the_session_is_what_was_asked_for(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """The agent answers with a wrong voice, a wrong model or without its instructions."""
        llm = make(model="model-2", voice="voice-2", instructions="Be a canary.")
        await llm.connect()
        record = make.record(llm)
        for number in (1, 2):
            connection = await provider.connection(number)
            await record.up(number)
            config = connection.config
            assert config is not None
            assert (connection.model, config.model) == ("model-2", "model-2")
            assert config.voice == "voice-2"
            assert config.instructions == "Be a canary."
            assert (config.input_rate, config.output_rate) == (facts.input_rate, facts.output_rate)
            assert config.modalities == "audio"
            assert config.turn_detection, "turn detection was not asked for"
            assert config.transcription == facts.transcription
            assert connection.api_key == KEY
            told = record.connected[-1].session_config or {}
            assert (told["model"], told["voice"]) == ("model-2", "voice-2")
            rates = told["input_sample_rate"], told["output_sample_rate"]
            assert rates == (facts.input_rate, facts.output_rate)
            connection.abort()

    async def test_se1_arguments_change_the_session(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """What was switched off goes on, what was asked for does not come."""
        llm = make(
            turn_detection=not facts.manual_turns,
            transcription=False,
            modalities="text" if facts.text else "audio",
            tool_choice="get_weather",
        )
        _register_tools(llm)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.turn_detection == (not facts.manual_turns)
        assert not config.transcription
        assert config.modalities == ("text" if facts.text else "audio")
        assert config.voice is None, "a voice nobody asked for"
        if facts.tools:
            assert config.tool_choice == "get_weather"

    async def test_se1_turn_detection_in_the_providers_words(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """Callers who speak slowly are cut off, whatever is set."""
        facts.need("turn_detection_settings")
        llm = make(turn_detection=copy.deepcopy(facts.turn_detection_settings))
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert _holds(config.turn_detection, facts.turn_detection_settings), config.turn_detection

    async def test_se1_the_first_frame_configures(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """The first answer comes with the provider's own defaults."""
        assert isinstance(connection.commands[0], events.Configure), connection.commands[0]
        assert len(connection.received(events.Configure)) == 1, "configured more than once"

    async def test_se2_tools_are_in_the_first_config(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """The agent does not know what it can do, or calls it by a wrong schema."""
        llm = make()
        _register_tools(llm)
        registered = copy.deepcopy(llm.get_available_functions())
        await llm.connect()
        record = make.record(llm)
        await record.settled()
        capabilities = record.connected[0].capabilities or []
        assert ("tools" in capabilities) == facts.tools
        for number in (1, 2):
            connection = await provider.connection(number)
            config = connection.received(events.Configure)[0].config
            told = [(tool.name, tool.description, tool.parameters) for tool in config.tools]
            if facts.tools:
                assert told == [
                    (tool["name"], tool.get("description"), tool.get("parameters_schema"))
                    for tool in registered
                ]
                assert told[0][:2] == ("get_weather", "Tells the canary's weather")
            await record.up(number)
            connection.abort()
        assert llm.get_available_functions() == registered, "the registry was edited"

    async def test_se3_the_callers_options_win(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A setting of the provider the house has no argument for cannot be made."""
        options = copy.deepcopy(facts.session_options)
        llm = make(voice="alloy", options=options)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert _holds(config.options, facts.session_options), f"not in {config.options}"
        kept = (config.instructions, config.transcription, config.input_rate)
        given = (INSTRUCTIONS, facts.transcription, facts.input_rate)
        assert kept == given, "options replaced what they do not name"
        assert options == facts.session_options, "the caller's options were edited"

    async def test_se3_options_replace_no_more(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A rate is set in the provider's words, and the agent has another voice."""
        facts.need("announced_rate")
        llm = make(voice="alloy", options=facts.announced_rate_options)
        await llm.connect()
        config = (await provider.connection()).config
        assert config is not None
        assert config.voice == "alloy"

    async def test_se4_everything_is_legal(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A stricter provider, or tomorrow's, refuses the session in mid-call."""
        llm = make()
        _register_tools(llm)
        roles: tuple[events.Role, ...] = ("system", "user", "assistant")
        said = [Message(f"canary of the {role}", role=role) for role in roles]
        llm.set_conversation(InMemoryConversation("", said))
        await llm.connect()
        ear, record = make.listen(llm, answers=True), make.record(llm)
        connection = await provider.connection()
        for number in range(1, 4):
            reply = asyncio.create_task(_ask(llm, f"canary {number}?"))
            command = await connection.wait_for(events.CreateResponse, number)
            response_id = f"response_{number}"
            await say(
                connection,
                response_id,
                audio=ramp(480).tobytes(),
                text="a canary",
                request_id=command.request_id,
                status="completed" if number < 3 else None,
            )
            await ear.first(RealtimeAudioOutput, number)
            if number == 3:
                await llm.interrupt()
            await reply
        if facts.tools:
            await connection.send(
                events.ResponseStarted("response_4"),
                events.ToolCall("response_4", "call_1", "get_weather", '{"city": "Oslo"}'),
                events.ResponseDone("response_4"),
            )
            await connection.wait_for(events.AddToolResult)
        await speak(llm, frames(tone(300, 0.1, 48000), 48000))
        await fence(connection, record)
        await llm.close()
        asked = [command.request_id for command in connection.received(events.CreateResponse)]
        assert len(set(asked)) == len(asked), f"request ids repeat: {asked}"
        assert not connection.violations

    async def test_se4_nothing_gets_between_a_prompt_and_its_request(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """A word said at the wrong moment makes the provider drop the session."""
        facts.need("text")
        llm = make(client=dial(provider, send_timeout_s=5.0))
        await llm.connect()
        connection = await provider.connection()
        # More than the sockets hold, so that a sender has to wait in the middle.
        loud = frames(ramp(round(transit.FLOOD_S * facts.input_rate)), facts.input_rate, ms=5000)
        speaking = asyncio.create_task(speak(llm, loud))
        await connection.wait_audio(1)
        asking = [asyncio.create_task(_ask(llm, f"canary {number}?")) for number in range(4)]
        await connection.wait_for(events.CreateResponse, 4)
        await speaking
        said = [type(command) for command in connection.commands]
        said = [kind for kind in said if kind not in transit.ON_ITS_OWN]
        for command, following in itertools.pairwise(said):
            if command is events.AddMessage:
                assert following is events.CreateResponse, f"{following.__name__} in between"
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)

    async def test_se5_instructions_reach_the_provider(
        self, llm: Realtime, connection: loopback.Connection
    ) -> None:
        """An agent given a new role in mid-call goes on in the old one."""
        llm.set_instructions("Be another canary.")
        update = await connection.wait_for(events.Configure, 2)
        assert update.config.instructions == "Be another canary."

    async def test_se5_a_tool_reaches_the_provider(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A tool that was added in mid-call is never used."""
        facts.need("tools")

        @llm.register_function(description="sings")
        async def sing() -> str:
            return "canary"

        update = await connection.wait_for(events.Configure, 2)
        assert [tool.name for tool in update.config.tools] == ["sing"]
        assert update.config.instructions == INSTRUCTIONS

    async def test_se5_changes_reach_the_provider_in_one_update(
        self, llm: Realtime, connection: loopback.Connection, provider: loopback.Provider
    ) -> None:
        """An agent given a new role in mid-call goes on in the old one."""
        llm.set_instructions("Be another canary.")
        _register_tools(llm)
        await connection.wait_for(events.Configure, 2)
        config = connection.config
        assert config is not None
        assert config.instructions == "Be another canary."
        assert {tool.name for tool in config.tools} >= {"get_weather"}
        connection.abort()
        again = (await provider.connection(2)).commands[0]
        assert isinstance(again, events.Configure)
        assert again.config.instructions == "Be another canary.", "forgotten on reconnect"
        assert len(connection.received(events.Configure)) == 2, "more than one update"

    async def test_se5_turn_detection_changes(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts
    ) -> None:
        """A push-to-talk button does nothing: the provider answers every pause."""
        facts.need("manual_turns")
        await llm.update_session(instructions="Wait, canary.", turn_detection=False)
        update = await connection.wait_for(events.Configure, 2)
        assert update.config.turn_detection is False
        assert update.config.instructions == "Wait, canary."
        assert update.config.voice == connection.received(events.Configure)[0].config.voice
        await llm.update_session(instructions="Wait, canary.")
        await llm.update_session(turn_detection=True)
        update = await connection.wait_for(events.Configure, 3)
        assert update.config.turn_detection, "still switched off, or told what had not changed"

    @pytest.mark.parametrize("choice", ["none", "required"])
    async def test_se5_every_setting_changes(
        self, llm: Realtime, connection: loopback.Connection, facts: Facts, choice: str
    ) -> None:
        """What is switched on or off in mid-call stays as it was."""
        written: events.Modality = "text" if facts.text else "audio"
        await llm.update_session(
            tool_choice=choice, modalities=written, options=facts.session_options
        )
        update = await connection.wait_for(events.Configure, 2)
        assert update.config.modalities == written
        assert _holds(update.config.options, facts.session_options)
        if facts.tools:
            assert update.config.tool_choice == choice

    async def test_se5_a_commit_ends_the_turn(
        self, make: Make, provider: loopback.Provider, facts: Facts
    ) -> None:
        """Releasing the push-to-talk button gets no answer."""
        facts.need("manual_turns")
        llm = make(turn_detection=False)
        await llm.connect()
        connection = await provider.connection()
        ear = make.listen(llm)
        await speak(llm, frames(tone(300, 0.2, 48000), 48000), ALICE)
        await llm.commit_audio()
        command = await connection.wait_for(events.CreateResponse)
        kinds = [type(each) for each in connection.commands]
        assert kinds[-2:] == [events.CommitAudio, events.CreateResponse]
        heard_s = len(connection.audio()) / 2 / facts.input_rate
        assert abs(heard_s - 0.2) <= transit.SLACK_S, "the end of the turn is lost"
        await say(connection, audio=ramp(480).tobytes(), request_id=command.request_id)
        await ear.done("response_1")
        assert ear.speech() == ramp(480).tobytes()
        turns = RealtimeUserSpeechStarted | RealtimeUserSpeechEnded
        assert [item for item in ear.items if isinstance(item, turns)] == [
            RealtimeUserSpeechStarted(ALICE),
            RealtimeUserSpeechEnded(ALICE),
        ]
        await llm.commit_audio(respond=False)
        await connection.wait_for(events.CommitAudio, 2)
        await llm.close()
        assert len(connection.received(events.CreateResponse)) == 1


async def _ask(llm: Realtime, text: str) -> None:
    async for _ in llm.simple_response(text, ALICE):
        pass
