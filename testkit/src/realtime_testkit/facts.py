"""contract.toml: facts about a provider, and the tests that its plugin may fail."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NoReturn

import msgspec
import pytest

Wire = Literal["reference", "compatible", "own"]

EXCUSE = "excused: "
"""Start of the reason for which a test is skipped that need not pass."""

FACT = "contract.toml: "
"""Start of such a reason where it is a fact."""

NO_MESSAGE = "the wire has no message: "
"""Start of such a reason where the double's codec has no message for an event."""


class PageError(ValueError):
    """contract.toml says something it cannot say; the message names the line."""


def excuse(why: str) -> NoReturn:
    """Skip a test for a reason that leaves no gap in the proof.

    Any other skipped test makes its contract count as to do.
    """
    pytest.skip(f"{EXCUSE}{why}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is true of a provider, as its plugin's contract.toml says.

    The defaults describe a provider that speaks the OpenAI Realtime protocol: what a
    contract.toml leaves out is expected. A fact that is false, empty or zero excuses the
    tests that need it.

    Attributes:
        wire: "reference": wire.py still speaks the embedded provider's messages.
            "compatible": the plugin's own provider speaks the same messages.
            "own": wire.py speaks messages of its own.
        input_rate: Hz of the audio it takes.
        output_rate: Hz of the audio it gives.
        text: takes text.
        tools: calls functions.
        video: takes video.
        images: takes pictures beside text.
        turn_detection: detects the end of the user's turn.
        transcription: transcribes the user's speech.
        transcription_models: a model for the transcripts can be named.
        transcription_optional: transcription can be switched off.
        partial_transcripts: sends pieces of a transcript before the whole.
        history: can be told an earlier conversation.
        system_messages: takes messages of the role "system".
        manual_turns: its turn detection can be switched off.
        speech_starts: reports when the user starts to speak.
        speech_stops: reports when the user stops.
        written_answers: can answer without speech.
        truncation: can discard the part of its answer that was not heard.
        cancellation: can be told to stop a response.
        tells_the_end: reports the end of every response.
        tool_choice: can be told which tool to use.
        server_tools: tools that it runs itself.
        continues_after_tools: answers by itself after the results of tools.
        cancels_tool_calls: may take a tool call back.
        late_results: can be told the result of a tool that an earlier session called.
        explicit_requests: a request for a response is a message of its own.
        one_response_at_a_time: refuses a request while a response is active.
        interrupts_for_a_request: a new request interrupts the response before it.
        request_ids: a response names the request that it answers.
        ids: responses and messages have ids.
        tools_in_configuration: is told the tools by its clients, in the configuration.
        updates: takes changes of the configuration during a session.
        updates_together: takes several changes in one message.
        acknowledges_updates: confirms each change of the session.
        resumes: can take up a lost session again.
        dictates_rates: states the rates of its audio in its greeting.
        greets_first: greets a new connection, and wants no configuration before that.
        pings: sends pings in messages, which must be answered.
        keep_alives: wants a message now and then while nobody speaks.
        usage: counts tokens.
        usage_details: counts those that were cached, and those of audio, apart.
        expired_reason: in a close frame: worth a reconnect, whatever the code.
        fatal_reason: in a close frame: not worth a reconnect, whatever the code.
        fatal_code: an error that ends the session for good.
        busy_code: an error that says that a response is active already.
        temporary_code: an error that passes, also while a session is configured.
        harmless_codes: errors that say that there was nothing left to do.
        control_markers: transcripts that stand for something other than words.
        turn_detection_settings: an example of its settings for turn detection.
        turns_without_answers: settings with which it detects turns and does not answer.
        response_options: an example of what one request may carry.
        prompt_options: a prompt in the native call's own arguments.
        message_only_options: with these the native call adds a message and asks for no
            answer.
        out_of_band_options: what a request outside the conversation carries.
        session_options: an example of session settings that Vision Agents has no
            argument for, one of which contradicts the voice "alloy".
        tool_options: session settings with tools of its own, such as MCP servers.
        quiet_detection: settings with which the user's speech does not stop an answer.
        telephone_options: session settings for audio in another format or at another
            rate, in both directions.
        audio_formats: session settings for audio in other formats or at other rates, by a
            name for each.
        unusable_format: session settings for audio in a format that the plugin cannot use.
        announced_rate: an output rate that it announces; 0 if it never does.
        announced_rate_options: session settings with which it announces that rate.
        unknown_frame: a message that it does not have.
        required_fields: fields of its messages, at any depth, that the plugin needs.
    """

    wire: Wire
    input_rate: int
    output_rate: int
    text: bool = True
    tools: bool = True
    video: bool = False
    images: bool = False
    turn_detection: bool = True
    transcription: bool = True
    transcription_models: bool = True
    transcription_optional: bool = True
    partial_transcripts: bool = True
    history: bool = True
    system_messages: bool = True
    manual_turns: bool = True
    speech_starts: bool = True
    speech_stops: bool = True
    written_answers: bool = True
    truncation: bool = True
    cancellation: bool = True
    tells_the_end: bool = True
    tool_choice: bool = True
    server_tools: list[str] = field(default_factory=list)
    continues_after_tools: bool = False
    cancels_tool_calls: bool = False
    late_results: bool = True
    explicit_requests: bool = True
    one_response_at_a_time: bool = True
    interrupts_for_a_request: bool = False
    request_ids: bool = True
    ids: bool = True
    tools_in_configuration: bool = True
    updates: bool = True
    updates_together: bool = True
    acknowledges_updates: bool = True
    resumes: bool = False
    dictates_rates: bool = False
    greets_first: bool = False
    pings: bool = False
    keep_alives: bool = False
    usage: bool = True
    usage_details: bool = True
    expired_reason: str = "session_expired"
    fatal_reason: str = "invalid_api_key"
    fatal_code: str = "invalid_api_key"
    temporary_code: str = "rate_limit_exceeded"
    busy_code: str = "conversation_already_has_active_response"
    harmless_codes: list[str] = field(default_factory=lambda: ["response_cancel_not_active"])
    control_markers: list[str] = field(default_factory=list)
    turn_detection_settings: dict[str, object] = field(default_factory=dict)
    turns_without_answers: dict[str, object] = field(default_factory=dict)
    response_options: dict[str, object] = field(default_factory=dict)
    prompt_options: dict[str, object] = field(default_factory=dict)
    message_only_options: dict[str, object] = field(default_factory=dict)
    out_of_band_options: dict[str, object] = field(default_factory=dict)
    session_options: dict[str, object] = field(default_factory=dict)
    tool_options: dict[str, object] = field(default_factory=dict)
    quiet_detection: dict[str, object] = field(default_factory=dict)
    telephone_options: dict[str, object] = field(default_factory=dict)
    audio_formats: dict[str, dict[str, object]] = field(default_factory=dict)
    unusable_format: dict[str, object] = field(default_factory=dict)
    announced_rate: int = 0
    announced_rate_options: dict[str, object] = field(default_factory=dict)
    unknown_frame: str = '{"type": "weather.updated", "weather": "canary"}'
    required_fields: list[str] = field(
        default_factory=lambda: ["type", "id", "item", "response", "delta", "name", "call_id"]
    )

    @property
    def speech_events(self) -> bool:
        """Whether it reports both the start and the end of the user's speech."""
        return self.speech_starts and self.speech_stops

    def need(self, *names: str) -> None:
        """Excuse the test where one of these facts is false, empty or zero.

        Raises:
            KeyError: there is no such fact.
        """
        known = vars(self) | {"speech_events": self.speech_events}
        missing = [name for name in names if not known[name]]
        if missing:
            excuse(f"{FACT}{', '.join(missing)} = false")


class Page:
    """A contract.toml.

    Attributes:
        path: where it is.
        waivers: reasons by the name of a test, with or without its parameters.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = path.read_text(encoding="utf-8")
        try:
            content = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise PageError(f"{path.name}: {error}") from error
        self._facts = self._table(content, "provider")
        self.waivers = self._table(content, "waivers")
        for name in content.keys() - {"provider", "waivers"}:
            raise PageError(f"{self.line(name)}: there is no section [{name}]")

    @cached_property
    def facts(self) -> Facts:
        """The facts.

        Raises:
            PageError: one is missing, unknown or of another type.
        """
        known = {each.name for each in fields(Facts)}
        for name in self._facts.keys() - known:
            raise PageError(f"{self.line(name)}: there is no fact {name}")
        try:
            facts = msgspec.convert(self._facts, Facts)
        except msgspec.ValidationError as error:
            at = re.search(r"\$\.(\w+)", str(error))
            where = self.line(at[1]) if at else f"{self.path.name}, [provider]"
            raise PageError(f"{where}: {error}") from None
        return replace(facts)  # msgspec leaves defaults to the class; `need` reads the instance

    @property
    def wire(self) -> str:
        """Which messages wire.py speaks."""
        return str(self._facts.get("wire"))

    def line(self, key: str) -> str:
        """Say where a key is, for somebody to go there."""
        start = re.compile(rf"""\s*\[?["']?{re.escape(key)}["']?\s*[=\]]""")
        for number, line in enumerate(self._text.splitlines(), start=1):
            if start.match(line):
                return f"{self.path.name}, line {number}"
        return self.path.name

    def _table(self, content: Mapping[str, object], name: str) -> dict[str, object]:
        match content.get(name, {}):
            case dict() as table:
                return table
        raise PageError(f"{self.line(name)}: [{name}] is a section")
