"""The configuration of a session: its defaults, its changes, and what they mean."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from realtime_testkit.protocol import (
    AudioFormat,
    Fault,
    MalformedFrame,
    Modality,
    Refused,
    SessionConfig,
    Tool,
)
from realtime_testkit.providers.codec import TurnDetection

from .session_defaults import filled_in, new_session
from .session_schema import (
    AnyTool,
    AudioInput,
    AudioOutput,
    Format,
    FunctionChoice,
    FunctionTool,
    JSONObject,
    McpChoice,
    McpTool,
    PcmFormat,
    Session,
    SessionAudio,
)

SILENCE_MS = {"high": 300, "medium": 600, "auto": 600, "low": 1200}
"""How semantic VAD is imitated: eager models wait for less silence."""

THRESHOLD = 0.0366
"""How loud speech is, as a share of full scale, for each unit of a VAD's threshold."""

_IN_PARTS = ("audio", "input", "output")  # the other fields are replaced as a whole
_MCP_PARAMETERS: JSONObject = {"type": "object", "properties": {}}


class SessionState:
    """The configuration in force, as the API words it."""

    def __init__(self, default_rate: int) -> None:
        self.default_rate = default_rate
        self.spoke = False
        self.object = new_session()
        self._given: JSONObject = {"type": "realtime"}
        self._before = self.object, self._given
        self.config = self.with_changes({})

    def offer(self, given: JSONObject) -> None:
        """Take the session that a call is offered with."""
        model = given.get("model")
        if isinstance(model, str):
            self.object["model"] = model
        self.update(given)

    def update(self, given: JSONObject) -> None:
        """Take changes of the session.

        Raises:
            MalformedFrame: they are not allowed; nothing is changed.
        """
        model, mine = given.get("model"), self.object["model"]
        if isinstance(model, str) and mine and model != mine:
            raise refused("invalid_value", "The model of a session cannot be changed.", "model")
        voice = _voice(given)
        if self.spoke and voice is not None and voice != _voice(self.object):
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise refused("cannot_update_voice", message, "session.audio.output.voice")
        filled = _merge(self.object, filled_in(given))
        _check(msgspec.convert(_plain(filled), Session))
        self._before = self.object, self._given
        self.object, self._given = filled, _merge(self._given, given)
        self.config = self.with_changes({})

    def take_back(self) -> None:
        """Forget the changes that were taken last."""
        self.object, self._given = self._before
        self.config = self.with_changes({})

    def names_rate(self, rate: int | None) -> None:
        """Have the output at another rate than the client asked for."""
        if rate is not None and rate != self.config.output_rate:
            audio: JSONObject = {"output": {"format": {"type": "audio/pcm", "rate": rate}}}
            self.update({"audio": audio})

    def public(self, given: JSONObject) -> JSONObject:
        """The session as the client is told it, with the changes for one response."""
        session = _merge(self.object, filled_in(given))
        return {key: value for key, value in session.items() if key not in _NOT_TOLD}

    def with_changes(self, given: JSONObject) -> SessionConfig:
        """The configuration with the changes for one response."""
        typed = msgspec.convert(_plain(_merge(self.object, filled_in(given))), Session)
        _check(typed)
        audio = typed.audio or SessionAudio()
        audio_in, audio_out = audio.input or AudioInput(), audio.output or AudioOutput()
        turns = self._given_turns()
        transcription = audio_in.transcription
        modalities: Modality = typed.output_modalities[0] if typed.output_modalities else "audio"
        return SessionConfig(
            model=typed.model or "",
            voice=audio_out.voice if isinstance(audio_out.voice, str) else None,
            instructions=typed.instructions if isinstance(typed.instructions, str) else "",
            tools=tuple(_function(tool) for tool in typed.tools or () if _is_function(tool)),
            tool_choice=_choice(typed),
            modalities=modalities,
            turn_detection=turns,
            transcription=transcription is not None and (transcription.model or True),
            input_rate=self._rate(audio_in.format, "input"),
            output_rate=self._rate(audio_out.format, "output"),
            options=self._given,
            server_tools=tuple(_server_tools(typed.tools or ())),
        )

    def format(self, side: Literal["input", "output"]) -> AudioFormat:
        """How audio is carried in a direction."""
        audio = _object(_object(self.object, "audio"), side)
        match audio.get("format"):
            case {"type": "audio/pcmu"}:
                return AudioFormat("pcmu", 8000)
            case {"type": "audio/pcma"}:
                return AudioFormat("pcma", 8000)
        rate = self.config.input_rate if side == "input" else self.config.output_rate
        return AudioFormat("pcm16", rate)

    def turn_detection(self) -> TurnDetection | None:
        """How turns are detected."""
        audio_in = _object(_object(self.object, "audio"), "input")
        given = audio_in.get("turn_detection")
        if not isinstance(given, dict):
            return None
        silence = given.get("silence_duration_ms")
        if given["type"] == "semantic_vad":
            silence = SILENCE_MS[str(given.get("eagerness") or "auto")]
        idle, prefix = given.get("idle_timeout_ms"), given.get("prefix_padding_ms")
        threshold = given.get("threshold")
        return TurnDetection(
            threshold=(threshold if isinstance(threshold, float | int) else 0.5) * THRESHOLD,
            prefix_ms=prefix if isinstance(prefix, int) else 300,
            silence_ms=silence if isinstance(silence, int) else 500,
            create_response=given.get("create_response") is not False,
            interrupt_response=given.get("interrupt_response") is not False,
            idle_ms=idle if isinstance(idle, int) else None,
        )

    def _given_turns(self) -> bool | Mapping[str, object]:
        """The turn detection as the client gave it; True where it is the default."""
        given = _object(_object(self._given, "audio"), "input")
        if "turn_detection" not in given:
            return True
        turns = given["turn_detection"]
        if turns is None:
            return False
        return turns if isinstance(turns, dict) and turns.keys() - {"type"} else _default(turns)

    def _rate(self, format: Format | None, side: str) -> int:
        given = _object(_object(_object(self._given, "audio"), side), "format")
        if isinstance(format, PcmFormat):
            stated = given.get("rate") or (format.rate if format.rate != 24000 else None)
            return stated if isinstance(stated, int) else self.default_rate
        return 8000


def refused(code: str, message: str, param: str | None = None) -> Refused:
    """A refusal with a code of the API's."""
    return Refused(Fault(code, message=message, param=param))


def _default(turns: object) -> bool | Mapping[str, object]:
    """True where a turn detection is no more than the default."""
    return True if turns == {"type": "server_vad"} or not isinstance(turns, dict) else turns


def _plain(session: JSONObject) -> JSONObject:
    """A session without what only the provider says of it."""
    return {key: value for key, value in session.items() if key not in _OF_THE_PROVIDER}


_OF_THE_PROVIDER = ("object", "id", "expires_at")
_NOT_TOLD = ("parallel_tool_calls",)  # the published session has no such field


def _check(session: Session) -> None:
    choice = session.tool_choice
    names = {tool.name for tool in session.tools or () if isinstance(tool, FunctionTool)}
    if isinstance(choice, FunctionChoice) and choice.name not in names:
        raise MalformedFrame(
            f"tool_choice names {choice.name!r}, which is no tool",
            Fault("invalid_value", message=f"no tool {choice.name!r}", param="tool_choice.name"),
        )


def _is_function(tool: AnyTool) -> bool:
    return isinstance(tool, FunctionTool)


def _function(tool: AnyTool) -> Tool:
    assert isinstance(tool, FunctionTool)
    return Tool(tool.name, tool.description or "", tool.parameters or {})


def _server_tools(tools: list[AnyTool] | tuple[AnyTool, ...]) -> list[Tool]:
    return [
        Tool(
            name,
            tool.server_description or "",
            _MCP_PARAMETERS,
            tool.server_label,
            tool.needs_approval(name),
        )
        for tool in tools
        if isinstance(tool, McpTool)
        for name in tool.names
    ]


def _choice(session: Session) -> str:
    match session.tool_choice:
        case FunctionChoice(name=name):
            return name
        case McpChoice(name=name):
            return name or "required"
        case str(choice):
            return choice
    return "auto"


def _voice(session: JSONObject) -> object:
    return _object(_object(session, "audio"), "output").get("voice")


def _object(value: JSONObject, key: str) -> JSONObject:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _merge(base: JSONObject, over: Mapping[str, object]) -> JSONObject:
    """``base`` with ``over`` laid on it, neither edited."""
    merged = {**base, **over}
    for key in _IN_PARTS:
        below, above = base.get(key), over.get(key)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = _merge(below, above)
    return merged
