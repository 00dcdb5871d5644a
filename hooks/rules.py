"""What an answer has to be.

One message names every answer that cannot be used, what was given and what to do. Nothing outside the
standard library is imported but Cookiecutter's exception: a check must not cost the seconds that
importing `vision_agents.core` does.
"""

import builtins
import json
import keyword
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from cookiecutter.exceptions import FailedHookException

DEFAULTS = json.loads(
    Path(__file__).parent.with_name("cookiecutter.json").read_text(encoding="utf-8")
)

WORDS = frozenset([*keyword.kwlist, *keyword.softkwlist, "type"])  # the last one since Python 3.12
IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
MODEL = re.compile(r"[A-Za-z0-9._:/@-]{1,100}")
EMAIL = re.compile(
    r"[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][A-Za-z0-9._~:/?#@!$&()*+,;=%-]*)?")
HOST = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)

# What stands in a plugin's folder for as long as the plugin is being written.
UNFINISHED = ".unfinished"

# Joiners shape emoji and several scripts; Python alone calls them unprintable.
JOINERS = "\u200c\u200d"

HOUSE_PLUGINS = frozenset(
    """
    anam anthropic assemblyai aws cartesia decart deepgram elevenlabs example fal fast_whisper
    fish gemini getstream huggingface inworld kokoro lemonslice liveavatar local minimax mistral
    moondream nvidia openai openrouter plugin_test_utils pocket qdrant qwen roboflow
    sample_plugin sarvam smart_turn speechify telnyx tencent turbopuffer twelvelabs twilio
    ultralytics vogent wizper xai
    """.split()
)
# Names in the plugin's own code that a module or a method of the same name would hide.
TAKEN = frozenset(
    """
    agent aiohttp aioice aiortc av blockbuster call call_id call_type client conftest contract core
    create_agent deque dotenv events examples hatchling held_output item join_call kwargs llm
    load_dotenv logger loopback matplotlib messages msgspec mypy numpy parrot peer plugin plugins
    provider pybase64 pytest realtime ruff test tests turns video vision_agents websockets wire
    """.split()
)
WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)]
)
# Public names of the base class Realtime and of the generated one (kept true by the template's tests).
METHODS_TAKEN = frozenset(
    """
    agent call_function client close commit_audio connect connected epoch events fps
    function_registry get_available_functions interrupt metrics modalities model on_llm_error
    options output process_audio provider_name register_function session_id set_conversation
    set_instructions set_turn_detection simple_audio_response simple_response start
    stop_watching_video_track tool_choice transcription turn_detection update_session voice
    watch_video_track
    """.split()
)


def check(answers: Mapping[str, object]) -> str:
    """Return nothing if every answer can be used.

    Raises:
        FailedHookException: naming every answer that cannot.
    """
    problems = {name: _problem(name, answers.get(name)) for name in DEFAULTS if name[0] != "_"}
    if not any(problems.values()):
        # A replayed file that was edited by hand may carry names derived from another slug.
        for name, derive in DERIVED.items():
            derived = derive(str(answers["plugin_slug"]))
            if answers.get(name) != derived:
                problems[name] = f"With this plugin_slug it is {derived!r}."
    lines = [
        f"  {name}: {_shown(answers.get(name))}\n      {problem}"
        for name, problem in problems.items()
        if problem
    ]
    if lines:
        raise FailedHookException(
            "These answers cannot be used, and nothing was written:\n" + "\n".join(lines)
        )
    return ""


def check_folder(folder: Path) -> None:
    """See to it that the plugin's folder is not half of a plugin.

    Raises:
        FailedHookException: it is, and what to do.
    """
    if (folder / UNFINISHED).exists():
        raise FailedHookException(
            f"{folder} is unfinished: an earlier run was cut off while it wrote there.\n"
            f"Delete the folder and run this again; to keep what is there, delete {UNFINISHED} in it."
        )


def env_prefix(slug: str) -> str:
    """Return what the names of the plugin's environment variables begin with."""
    return slug.upper()


def distribution(slug: str) -> str:
    """Return the name the plugin is installed by."""
    return f"vision-agents-plugins-{slug.replace('_', '-')}"


def imports(slug: str) -> str:
    """Return the plugin and Stream's edge, as an import names them in order."""
    return ", ".join(sorted(["getstream", slug]))


def _problem(name: str, answer: object) -> str:
    if not isinstance(answer, str):
        return "Give text."
    if isinstance(choices := DEFAULTS[name], list):
        return "" if answer in choices else f"Choose one of: {', '.join(choices)}."
    return RULES[name](answer)


def _shown(answer: object) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else f"{text[:77]}... ({len(text)} characters)"


def _identifier(text: str, longest: int) -> str:
    if not IDENTIFIER.fullmatch(text) or len(text) > longest:
        return (
            "Use lower-case ASCII letters, digits and single underscores between them, a letter"
            f" first, at most {longest} characters."
        )
    if text in WORDS:
        return "This is a word of the Python language. Choose another name."
    return ""


def _plugin_slug(text: str) -> str:
    if problem := _identifier(text, longest=30):
        return problem
    if text in HOUSE_PLUGINS:
        return "Vision Agents has a plugin of this name. Choose another, such as your own name with it."
    if problem := _known(text):
        return problem
    if text in WINDOWS_DEVICES:
        return "Windows cannot have a folder of this name. Choose another name."
    if any(metadata.distributions(name=distribution(text))):
        return f"{distribution(text)} is installed here. Choose another name, or uninstall it."
    return ""


def _known(text: str) -> str:
    if text in vars(builtins) or text in sys.stdlib_module_names:
        return "Python knows this name already. Choose another, or add a word to it."
    if text in TAKEN:
        return "The plugin's own code uses this name. Choose another, or add a word to it."
    return ""


def _native_method(text: str) -> str:
    if problem := _identifier(text, longest=40):
        return problem
    if text in METHODS_TAKEN:
        return "It would hide what Realtime has under this name. Add a word to it."
    if text == "l":
        return "It looks like the digit 1. Add a word to it."
    return _known(text)


def _plugin_name(text: str) -> str:
    allowed = all(c.isalnum() or unicodedata.category(c)[0] == "M" or c in " .+-&'" for c in text)
    if allowed and any(map(str.isalpha, text)) and text[0].isalnum() and len(text) <= 60:
        return ""
    return (
        "Use letters of any script, digits, spaces and . + - & ' only, a letter or digit first, at"
        " most 60 characters."
    )


def _free_text(text: str, longest: int) -> str:
    if text != text.strip() or not 1 <= len(text) <= longest:
        return f"Give 1 to {longest} characters, with no space at either end."
    for c in text:
        if not (c.isprintable() or unicodedata.category(c) == "Zs" or c in JOINERS):
            name = unicodedata.name(c, "a character without a name")
            return f"Leave out U+{ord(c):04X} ({name}): keep to one line of printable text."
    return ""


def _rate(text: str) -> str:
    if re.fullmatch(r"[1-9][0-9]{3,4}", text) and 8000 <= int(text) <= 48000:
        return ""
    return "Give a whole number of Hz from 8000 to 48000."


def _default_model(text: str) -> str:
    if MODEL.fullmatch(text):
        return ""
    return "Use ASCII letters, digits and . _ : / @ - only, at most 100 characters."


def _author_email(text: str) -> str:
    if EMAIL.fullmatch(text) and len(text) <= 254:
        return ""
    return "Give an e-mail address such as you@example.com."


def _source_url(text: str) -> str:
    if URL.fullmatch(text) and len(text) <= 300 and HOST.fullmatch(urlsplit(text).hostname or ""):
        return ""
    return "Give the whole address, such as https://github.com/your-name/your-plugin."


RULES: dict[str, Callable[[str], str]] = {
    "plugin_name": _plugin_name,
    "plugin_slug": _plugin_slug,
    "description": lambda text: _free_text(text, longest=300),
    "author_name": lambda text: _free_text(text, longest=100),
    "author_email": _author_email,
    "source_url": _source_url,
    "default_model": _default_model,
    "native_method": _native_method,
    "input_sample_rate": _rate,
    "output_sample_rate": _rate,
}
DERIVED: dict[str, Callable[[str], str]] = {
    "__env_prefix": env_prefix,
    "__distribution": distribution,
    "__imports": imports,
}
