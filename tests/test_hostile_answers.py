"""Whatever the answers are: a plugin that says exactly them, or nothing at all.

HYPOTHESIS_PROFILE=thorough does it for 2,000 sets of answers, else for some dozens.
"""

import ast
import builtins
import json
import keyword
import os
import shutil
import string
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from hooks.rules import DEFAULTS, HOUSE_PLUGINS, METHODS_TAKEN, RULES, TAKEN
from tests.generated import Generator, Plugin, run, small_house
from tests.test_free_text import read_markdown
from tests.test_refused_answers import BAD, state_of

SETS = 2000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40
BATCH = 50  # plugins that one run of ruff and one of pytest look at
COLLECT = """
import os
import sys

import pytest
import vision_agents.core.agents  # takes seconds, and stays for all of them

for folder in sys.argv[1:]:
    child = os.fork()
    if not child:
        os.chdir(folder)
        sys.path.insert(0, folder)
        options = ["--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider"]
        os._exit(pytest.main(options))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{folder} does not collect")
"""

MARKUP = """
{{ }} {% %} {# #} {{7*7}} {{cookiecutter.plugin_slug}} {%raw%} ''' \""" \\ \\" \\n \\N{DASH} ${HOME} $(id) `id` %s {0}
&amp; &#0; <b> <!-- --> ]]> ]( ![x](y) [x]: *a* __a__ ~~~ ``` | --- === *** +++ # ## 1. 1) - : ? ! & @ > %YAML
!!python/object: &a *a << ~ null yes =1+1 [x] {x=1} 'a' "a" http://x.y/ a@b.co :smile: \\u0041 \\x00 🦜 👩\u200d💻 שלום مرحبا 世界 ￼
\u0301 \u202e \u2028 \ufeff \u00a0 \u3000 \ud800 \U0010ffff ﷽ ǅ ß ı
""".split()
PATHS = """
../x ..\\x ../../etc/passwd /etc/passwd /tmp/acme C:\\x \\\\host\\x . .. ... ~ ~root x/y x\\y x/ x. x.. x:y CON con NUL.txt
com1 aux lpt9 -rf --help $HOME * ? | %TEMP% .git .env con.py
""".split()
NAMES = sorted(
    {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names, *dir(builtins)}
    | {*HOUSE_PLUGINS, *TAKEN, *METHODS_TAKEN, "core", "vision_agents", "type"}
)
TEXT = st.one_of(
    st.text(min_size=1, max_size=120),
    st.text(string.printable, min_size=1, max_size=320),
    st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), min_size=1, max_size=30).map("".join),
    st.lists(st.sampled_from(MARKUP), min_size=1, max_size=30).map(" ".join),
    st.sampled_from(["", " ", "\n", "\0", "x" * 10_000, "🦜" * 300]),
)
HOSTILE = st.one_of(
    TEXT, st.sampled_from(PATHS + NAMES + MARKUP), st.sampled_from([b for _, b in BAD])
)
CHOICES = {
    name: st.sampled_from(choices)
    for name, choices in DEFAULTS.items()
    if name in DEFAULTS["__prompts__"] and isinstance(choices, list)
}
WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
HOSTNAME = st.lists(WORD, min_size=2, max_size=3).map(".".join)
NAME = st.text(st.characters(categories=["L", "M", "N"], include_characters=" .+-&'"), max_size=59)


def usable_part(text: str) -> str:
    """Return text without the characters that no free text may have."""
    kept = (c for c in text if not RULES["description"](f"x{c}x"))
    return "".join(kept)[:300].strip()


# What each answer may well be; what it may not be of these, its rule takes out.
PLAUSIBLE: dict[str, SearchStrategy[str]] = {
    "plugin_name": st.builds("{}{}".format, st.characters(categories=["L"]), NAME),
    "plugin_slug": st.lists(WORD, min_size=1, max_size=3).map("_".join) | st.sampled_from(NAMES),
    "description": TEXT.map(usable_part),
    "author_name": TEXT.map(usable_part).map(lambda text: text[:100].strip()),
    "author_email": st.builds(
        "{}@{}.{}".format,
        st.lists(WORD, min_size=1, max_size=4).map("+".join) | st.text("aZ9._%+-", min_size=1),
        HOSTNAME,
        st.text(string.ascii_letters, min_size=2, max_size=9),
    ),
    "source_url": st.builds(
        "https://{}/{}".format,
        HOSTNAME,
        st.text(string.ascii_letters + string.digits + "._~:/?#@!$&()*+,;=%-'\"", max_size=60),
    ),
    "default_model": st.text(string.ascii_letters + string.digits + "._:/@-", max_size=100),
    "native_method": st.lists(WORD, min_size=1, max_size=4).map("_".join) | st.sampled_from(NAMES),
    "input_sample_rate": st.integers(8000, 48000).map(str),
    "output_sample_rate": st.integers(8000, 48000).map(str),
}
USABLE = {
    name: plausible.filter(lambda text, name=name: not RULES[name](text))
    for name, plausible in PLAUSIBLE.items()
}
ANY = {name: st.one_of(usable, usable, HOSTILE) for name, usable in USABLE.items()}
ANSWERS = st.fixed_dictionaries({**USABLE, **CHOICES}) | st.fixed_dictionaries({**ANY, **CHOICES})


@pytest.mark.timeout(3600)
def test_a_plugin_that_says_exactly_the_answers_or_nothing(
    generate: Generator, python: Path, tmp_path: Path
) -> None:
    made: list[Plugin] = []
    count = {"made": 0, "refused": 0}

    def look() -> None:
        if made:
            run(python, "-m", "ruff", "format", "--check", "--no-cache", cwd=tmp_path)
            run(python, "-m", "ruff", "check", "--no-cache", cwd=tmp_path)
            if sys.platform != "win32":  # which cannot fork
                run(python, "-c", COLLECT, *(plugin.path for plugin in made), cwd=tmp_path)
        for plugin in made:
            root = tmp_path.resolve()
            shutil.rmtree(root / plugin.path.relative_to(root).parts[0])
        made.clear()

    @settings(
        max_examples=SETS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ANSWERS)
    def scaffold(answers: dict[str, str]) -> None:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        workspace = answers["layout"] == "workspace"
        output = small_house(folder / "house") / "plugins" if workspace else folder
        (output / "neighbour").mkdir()
        (output / "neighbour" / "README.md").write_text("mine")
        before = state_of(folder)
        there = {path.name for path in output.iterdir()}
        bad = {name for name, rule in RULES.items() if rule(answers[name])}
        try:
            plugin = generate(output, **answers)
        except FailedHookException as error:
            plugin, refusal = None, str(error)
        if plugin is None:
            assert {name for name in RULES if f"\n  {name}: " in refusal} == bad != set()
            assert state_of(folder) == before
            shutil.rmtree(folder)
            count["refused"] += 1
        else:
            assert not bad
            assert {path.name for path in output.iterdir()} == {*there, plugin.slug}
            assert plugin.path == (output / answers["plugin_slug"]).resolve()
            assert_says(plugin, answers)
            made.append(plugin)
            count["made"] += 1
            if len(made) == BATCH:
                look()

    scaffold()
    look()
    print(count)
    assert min(count.values()) > SETS // 10, count


def assert_says(plugin: Plugin, answers: Mapping[str, str]) -> None:
    """Every file can be read, and says what was answered."""
    files = {
        path.relative_to(plugin.path).as_posix(): path.read_text(encoding="utf-8")
        for path in plugin.path.rglob("*")
        if path.is_file() and path.suffix not in {".wav", ".pcm"}
    }
    read = {".toml": tomllib.loads, ".json": json.loads, ".py": ast.parse}
    read |= {".yml": yaml.safe_load, ".yaml": yaml.safe_load}
    parsed = {
        name: read[s](text) for name, text in files.items() if (s := Path(name).suffix) in read
    }

    slug = answers["plugin_slug"]
    distribution = "vision-agents-plugins-" + slug.replace("_", "-")
    project = parsed["pyproject.toml"]["project"]
    assert project["name"] == distribution
    assert project["description"] == answers["description"]
    assert project["license"] == answers["license"]
    author = {"name": answers["author_name"], "email": answers["author_email"]}
    assert project["authors"] == [author]
    assert project["urls"]["Source"] == project["urls"]["Website"] == answers["source_url"]
    assert distribution in parsed["example/pyproject.toml"]["project"]["dependencies"]

    title, description = files["README.md"].split("\n\n")[:2]
    assert read_markdown(title.removeprefix("# ")) == f"{answers['plugin_name']} for Vision Agents"
    assert read_markdown(description) == answers["description"]
    assert f'| `model` | `"{answers["default_model"]}"` |' in files["README.md"]
    assert f"`{slug.upper()}_API_KEY`" in files["README.md"]
    assert f"\n{slug.upper()}_API_KEY=\n" in files["example/.env.example"]
    if plugin.standalone:
        key = f"{slug.upper()}_API_KEY"
        live = parsed[".github/workflows/live.yml"]["jobs"]["live"]["steps"][-1]
        assert live["env"] == {key: f"${{{{ secrets.{key} }}}}"}
    if plugin.standalone and answers["license"] != "Apache-2.0":
        assert f" {answers['author_name']}\n" in files["LICENSE"]

    package = f"vision_agents/plugins/{slug}"
    assert ast.get_docstring(parsed[f"{package}/__init__.py"]) == (
        f"{answers['plugin_name']} for Vision Agents."
    )
    module = parsed[f"{package}/{slug}_realtime.py"]
    constants = {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    assert constants["DEFAULT_MODEL"] == answers["default_model"]
    if answers["transport"] == "websocket":  # over WebRTC it is Opus's own rate
        rates = (constants["INPUT_SAMPLE_RATE"], constants["OUTPUT_SAMPLE_RATE"])
        asked = (answers["input_sample_rate"], answers["output_sample_rate"])
        assert rates == tuple(map(int, asked))
    methods = {n.name for n in ast.walk(module) if isinstance(n, ast.AsyncFunctionDef)}
    assert answers["native_method"] in methods
