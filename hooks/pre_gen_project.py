"""Check the answers before anything is rendered.

Cookiecutter renders this file and runs it in the plugin's new folder. One message names every answer that
cannot be used, and ends with the command that repeats the run with the other answers filled in.
"""

import builtins
import json
import keyword
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

# JSON never has three quotation marks in a row, nor a backslash at its end.
ANSWERS = r"""{{ cookiecutter | jsonify }}"""

LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST = rf"({LABEL}\.)*{LABEL}"
URL = r"https?://" + HOST + r"(:[0-9]{1,5})?([/?#][A-Za-z0-9._~:/?#@!$&()*+,;=%-]{0,250})?"
EMAIL = r"(?=.{1,254}$)[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@(?=[^@]*\.[A-Za-z]{2,63}$)" + HOST
JOINERS = "\u200c\u200d"  # They shape emoji and several scripts, and are not printable for Python.

VISION_AGENTS_PLUGINS = """
    anam anthropic assemblyai aws cartesia decart deepgram elevenlabs example fal fast_whisper fish gemini
    getstream heygen huggingface inworld kokoro lemonslice liveavatar local minimax mistral moondream
    nvidia openai openrouter plugin_test_utils pocket qdrant qwen roboflow sample_plugin sarvam smart_turn
    speechify telnyx tencent turbopuffer twelvelabs twilio ultralytics vogent wizper xai
""".split()
# Slugs whose variable SLUG_API_KEY is another service's, which Vision Agents or a plugin of it reads.
KEYS_TAKEN = "baseten dashscope eleven fish_audio google livekit stream".split()
# Names in a plugin, its tests and its example, which a module or a method of that name would hide.
NAMES_TAKEN = """
    agent aiortc av call call_id call_type client conftest contract core create_agent demo
    dotenv event events get_weather_by_location handshake join_call kwargs llm load_dotenv
    location logger main make_realtime mic mypy np numpy output path plain plugin plugins
    provider provider_double pytest realtime realtime_testkit ruff samples self session_events
    session_types sounddevice speaker subject talk test tests url vision_agents websockets wire
""".split()
# Public names of Vision Agents' class Realtime and of the plugin's; and l, which looks like a digit.
METHODS_TAKEN = """
    agent call_function client close commit_audio connect connected epoch events fps function_registry
    get_available_functions interrupt l metrics modalities model on_llm_error options output process_audio
    provider_name register_function session_id set_conversation set_instructions set_turn_detection
    simple_audio_response simple_response start stop_watching_video_track tool_choice transcription
    trim_history turn_detection update_session voice watch_video_track
""".split()
# What is offered whatever the other answers are, as in cookiecutter.json.
OFFERED = """
    native_method=create_response wire=openai transport=websocket video=no input_sample_rate=24000
    output_sample_rate=24000 license=MIT layout=standalone __author_email=you@example.com __register=no
""".split()


def main() -> None:
    """Refuse the answers, or mark the folder as being written."""
    if "tomllib" not in sys.stdlib_module_names:
        sys.exit("This template needs Python 3.11 or newer: uvx --python 3.13 cookiecutter ...")
    answers: dict[str, object] = json.loads(ANSWERS)
    # plugin_slug is made usable as a folder's name; the answer itself is in __slug_given.
    given = answers | {"plugin_slug": answers.get("__slug_given", answers["plugin_slug"])}
    if bad := problems(given, Path.cwd()):
        sys.exit(refusal(given, bad))
    Path("UNFINISHED.txt").write_text(  # post_gen_project.py removes it
        "The run that made this folder was interrupted. Delete the folder and run it again.\n"
    )


def problems(given: Mapping[str, object], folder: Path) -> dict[str, str]:
    """Return what is wrong with the answers, by their names."""
    found = {
        name: rule(answer) if isinstance(answer := given.get(name), str) else "Give text."
        for name, rule in RULES.items()
    }
    if found["plugin_name"] and given["description"] == defaults(given)["description"]:
        found["description"] = ""  # It is made from the name: only that is named.
    if "_output_dir" in given:  # cruft gives none, and compares copies outside of any checkout.
        found["plugin_slug"] = found["plugin_slug"] or installed(str(given["plugin_slug"]))
        if given["layout"] == "workspace":
            found["layout"] = no_checkout(folder.parent)
    return {name: problem for name, problem in found.items() if problem}


def defaults(given: Mapping[str, object]) -> dict[str, str]:
    """Return what is offered, as in cookiecutter.json."""
    return dict(pair.split("=") for pair in OFFERED) | {
        "plugin_slug": re.sub("[^a-z0-9]+", "_", str(given["plugin_name"]).lower()).strip("_")[:30],
        "__author_name": "Your Name",
        "description": f"{given['plugin_name']} realtime voice for Vision Agents",
        "default_model": str(given["__distribution"]).split("-", 3)[3] + "-realtime-1",
        "__source_url": f"https://github.com/your-name/{given['__distribution']}",
    }


def refusal(given: Mapping[str, object], bad: Mapping[str, str]) -> str:
    """Return the message that names every bad answer and how to run the template again."""
    lines = ["\nThese answers cannot be used, and nothing was written:"]
    for name, problem in bad.items():
        lines += [f"  {name}: {given.get(name)!r:.80}", f"      {problem}"]
    offered = defaults(given)
    good = {n: str(given[n]) for n in ("plugin_name", *offered) if n not in bad}
    good = {name: answer for name, answer in good.items() if answer != offered.get(name)}
    command = [os.environ["UV"], "tool", "run"] if "UV" in os.environ else ["uvx"]
    if "_output_dir" in given:
        command += ["cookiecutter", str(given["_template"]), "--output-dir"]
        command += [
            str(given["_output_dir"]),
            *(f"{name}={answer}" for name, answer in good.items()),
        ]
        command += ["--checkout", str(given["_checkout"])] if given["_checkout"] else []
    else:
        command += ["cruft", "create", str(given["_template"]), "--extra-context", json.dumps(good)]
    quote = '"{}"'.format if os.name == "nt" else shlex.quote
    lines += [
        "This asks again, with the other answers filled in:",
        f"  {' '.join(map(quote, command))}",
    ]
    return "\n".join(lines)


def no_checkout(plugins: Path) -> str:
    """Return what is wrong with the folder for a checkout's plugins."""
    core = plugins.parent / "agents-core" / "pyproject.toml"
    text = core.read_bytes() if core.is_file() else b""
    if plugins.name == "plugins" and re.search(rb'^name = "vision-agents"\r?$', text, re.MULTILINE):
        return ""
    return f"{plugins} is not the folder plugins of a Vision Agents checkout. Add --output-dir CHECKOUT/plugins."


def installed(slug: str) -> str:
    """Return what is wrong if a plugin of this name is installed beside Cookiecutter."""
    names = f"vision_agents_plugins_{slug}-*.dist-info"
    found = [path for folder in sys.path for path in Path(folder).glob(names)]
    return f"A plugin of this name is installed: {found[0]}. Choose another name." if found else ""


def identifier(text: str, longest: int) -> str:
    """Return what is wrong with a name in Python's code."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", text) or len(text) > longest:
        return f"Use a to z, 0 to 9 and single _ between them, a letter first, at most {longest} in all."
    if text in [*keyword.kwlist, *keyword.softkwlist, "type"]:  # the last one since Python 3.12
        return "This is a word of the Python language. Choose another name."
    if text in vars(builtins) or text in sys.stdlib_module_names:
        return "This name is a built-in or a module of Python. Choose another, or add a word to it."
    if text in NAMES_TAKEN:
        return "The plugin's own code uses this name. Choose another, or add a word to it."
    return ""


def plugin_slug(text: str) -> str:
    """Return what is wrong with the name of the module and the folder."""
    if text in VISION_AGENTS_PLUGINS:
        return f"Vision Agents has a plugin of this name. Choose another, such as {text}_realtime."
    if text in KEYS_TAKEN:
        return f"{text.upper()}_API_KEY is another service's key. Choose another name, such as {text}_realtime."
    if re.match("github(_|$)", text):
        return "Secrets on GitHub cannot begin with GITHUB_, so CI could not read its key. Choose another name."
    if re.fullmatch("con|prn|aux|nul|(com|lpt)[1-9]", text):
        return "Windows cannot have a folder of this name. Choose another name."
    return identifier(text, longest=30)


def native_method(text: str) -> str:
    """Return what is wrong with the name of the method that asks for a response."""
    if text in METHODS_TAKEN:
        return "Realtime already has an attribute of this name. Add a word to it."
    return identifier(text, longest=40)


def plugin_name(text: str) -> str:
    """Return what is wrong with the provider's name, which stands in docstrings and headings."""
    allowed = all(c.isalnum() or unicodedata.category(c)[0] == "M" or c in " .+-&'" for c in text)
    if allowed and any(map(str.isalpha, text)) and text[0].isalnum() and len(text) <= 60:
        return ""
    return "Use letters, digits, spaces and . + - & ' only, a letter or digit first, at most 60 in all."


def free_text(text: str, longest: int) -> str:
    """Return what is wrong with a line of any text."""
    if text != text.strip() or not 1 <= len(text) <= longest:
        return f"Give 1 to {longest} characters, with no space at either end."
    if re.search(r"\{[%#\{]", text):
        return "Leave out the opening brace before {, % or #: Cookiecutter takes it for a template."
    for c in text:
        if not (c.isprintable() or unicodedata.category(c) == "Zs" or c in JOINERS):
            name = unicodedata.name(c, "a character without a name")
            return f"Leave out U+{ord(c):04X} ({name}): keep to one line of printable text."
    return ""


def form(pattern: str, advice: str) -> Callable[[str], str]:
    """Return the rule that an answer has to match a pattern."""
    return lambda text: "" if re.fullmatch(pattern, text) else advice


RATE = form("[89][0-9]{3}|[123][0-9]{4}|4[0-7][0-9]{3}|48000", "Give Hz from 8000 to 48000.")
RULES: dict[str, Callable[[str], str]] = {
    "plugin_name": plugin_name,
    "plugin_slug": plugin_slug,
    "description": lambda text: free_text(text, longest=300),
    "default_model": form("[A-Za-z0-9._:/@-]{1,100}", "Give 1 to 100 of A-Z a-z 0-9 . _ : / @ -"),
    "native_method": native_method,
    "input_sample_rate": RATE,
    "output_sample_rate": RATE,
    "__author_name": lambda text: free_text(text, longest=100),
    "__author_email": form(EMAIL, "Give an e-mail address such as you@example.com."),
    "__source_url": form(URL, "Give an address such as https://github.com/your-name/your-plugin."),
}

if __name__ == "__main__":
    main()
