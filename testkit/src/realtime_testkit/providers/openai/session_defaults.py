"""The defaults of a session."""

from .frames import JSONObject

INSTRUCTIONS = "You are a helpful, friendly assistant. Answer in the language you are spoken to."
SERVER_VAD: JSONObject = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: JSONObject = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


def new_session() -> JSONObject:
    """A session before the client changed it."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": "",
        "model": "",
        "output_modalities": ["audio"],
        "instructions": INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 0,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": SERVER_VAD,
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "voice": "marin",
                "speed": 1.0,
            },
        },
    }


def filled_in(given: JSONObject) -> JSONObject:
    """Changes with the defaults of what they replace as a whole."""
    filled = dict(given)
    audio = filled.pop("audio", None)
    if not isinstance(audio, dict):
        return filled
    audio = filled["audio"] = {key: value for key, value in audio.items() if value is not None}
    for side in ("input", "output"):
        settings = audio.get(side)
        if not isinstance(settings, dict):
            continue
        settings = audio[side] = {**settings}
        if settings.get("format", {}) is None:
            del settings["format"]
        match settings.get("format"):
            case {"type": "audio/pcm", "rate": int()}:
                pass
            case {"type": "audio/pcm"}:
                settings["format"] = {"type": "audio/pcm", "rate": 24000}
        match settings.get("turn_detection"):
            case {"type": kind, **given_turns}:
                defaults = SEMANTIC_VAD if kind == "semantic_vad" else SERVER_VAD
                settings["turn_detection"] = {**defaults, **given_turns, "type": kind}
        match settings.get("voice"):
            case {"id": str(voice)}:
                settings["voice"] = voice
    return filled
