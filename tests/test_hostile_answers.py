"""Any answers give a plugin that contains them exactly, or are refused and leave nothing.

HYPOTHESIS_PROFILE=thorough tries 600 sets of hostile answers and 400 of mild ones, else some dozens.
"""

import ast
import builtins
import json
import keyword
import os
import re
import shutil
import string
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import CookiecutterException, FailedHookException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from jinja2 import TemplateError

from hooks import pre_gen_project
from tests.generated import DEFAULTS, Generator, Plugin, run, small_checkout, state_of
from tests.test_free_text import read_markdown
from tests.test_refused_answers import BAD

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
BATCH = 50  # plugins that one run of ruff looks at
RULES = pre_gen_project.RULES
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
        options = ["--collect-only", "-q", "--assert=plain", "-n0", "-p", "no:cacheprovider"]
        os._exit(pytest.main(options))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{folder} does not collect")
"""

JINJA = """
{{ }} {% %} {# #} {{7*7}} {{cookiecutter.plugin_slug}} {{cookiecutter}} {{missing}} {{missing.name}} {%raw%} {{''.join(cycler)}}
{{1//0}} {%include'x'%} {{'{{'}} {%if%} {#
""".split()
MARKUP = """
''' \""" \\ \\" \\n \\N{DASH} ${HOME} $(id) `id` %s {0} {1!r} }} %} #} {x} {-x
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
    | {*pre_gen_project.VISION_AGENTS_PLUGINS, *pre_gen_project.NAMES_TAKEN}
    | {*pre_gen_project.METHODS_TAKEN, *pre_gen_project.KEYS_TAKEN, "core", "github", "type"}
)
TEXT = st.one_of(
    st.text(min_size=1, max_size=120),
    st.text(string.printable, min_size=1, max_size=320),
    st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), min_size=1, max_size=30).map("".join),
    st.lists(st.sampled_from(MARKUP), min_size=1, max_size=30).map(" ".join),
    st.sampled_from(["", " ", "\n", "\0", "x" * 10_000, "🦜" * 300]),
)
HOSTILE = st.one_of(
    TEXT,
    st.sampled_from(PATHS + NAMES + MARKUP),
    st.sampled_from([answer for _, answer in BAD]),
    st.lists(st.sampled_from(JINJA + MARKUP), min_size=1, max_size=5).map(" ".join),
)
CHOICES = {
    name: st.sampled_from(choices)
    for name, choices in {**DEFAULTS, "__register": ["no", "yes"]}.items()
    if isinstance(choices, list) and name != "_copy_without_render"
}
WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
HOSTNAME = st.lists(WORD, min_size=2, max_size=3).map(".".join)
NAME = st.text(st.characters(categories=["L", "M", "N"], include_characters=" .+-&'"), max_size=59)


def usable_part(text: str) -> str:
    """Return text without the characters that no free text may have."""
    kept = (c for c in text if not RULES["description"](f"x{c}x"))
    return "".join(kept)[:300].strip()


# Plausible answers; those that a rule refuses are filtered out below.
PLAUSIBLE: dict[str, SearchStrategy[str]] = {
    "plugin_name": st.builds("{}{}".format, st.characters(categories=["L"]), NAME),
    "plugin_slug": st.lists(WORD, min_size=1, max_size=3).map("_".join) | st.sampled_from(NAMES),
    "description": TEXT.map(usable_part),
    "default_model": st.text(string.ascii_letters + string.digits + "._:/@-", max_size=100),
    "native_method": st.lists(WORD, min_size=1, max_size=4).map("_".join) | st.sampled_from(NAMES),
    "input_sample_rate": st.integers(8000, 48000).map(str),
    "output_sample_rate": st.integers(8000, 48000).map(str),
    "__author_name": TEXT.map(usable_part).map(lambda text: text[:100].strip()),
    "__author_email": st.builds(
        "{}@{}.{}".format,
        st.lists(WORD, min_size=1, max_size=4).map("+".join) | st.text("aZ9._%+-", min_size=1),
        HOSTNAME,
        st.text(string.ascii_letters, min_size=2, max_size=9),
    ),
    "__source_url": st.builds(
        "https://{}/{}".format,
        HOSTNAME,
        st.text(string.ascii_letters + string.digits + "._~:/?#@!$&()*+,;=%-'\"", max_size=60),
    ),
}
USABLE = {
    name: plausible.filter(lambda text, name=name: not RULES[name](text))
    for name, plausible in PLAUSIBLE.items()
}
MILD = st.fixed_dictionaries({**USABLE, **CHOICES})
SOME = st.dictionaries(st.sampled_from(sorted(USABLE)), HOSTILE, min_size=1, max_size=4)
HOSTILE_SETS = st.builds(lambda mild, hostile: {**mild, **hostile}, MILD, SOME)


def is_template(answer: str) -> bool:
    """Tell whether Cookiecutter renders an answer as a template, to another text."""
    return re.search(r"\{[{%#]|[\r\n]", answer) is not None


class Scaffolding:
    """Generates plugins from sets of answers; checks each, and runs tools on fifty at a time."""

    def __init__(
        self, generate: Generator, python: Path, folder: Path, captured: pytest.CaptureFixture[str]
    ) -> None:
        self._generate = generate
        self._python = python
        self._folder = folder
        self._captured = captured
        self._made: list[Plugin] = []
        self.count: Counter[str] = Counter()

    def __call__(self, answers: dict[str, str]) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        workspace = answers["layout"] == "workspace"
        output = small_checkout(folder / "checkout") / "plugins" if workspace else folder
        (output / "neighbour").mkdir()
        (output / "neighbour" / "README.md").write_text("mine")
        before = state_of(folder)
        there = {path.name for path in output.iterdir()}
        bad = {name for name, rule in RULES.items() if rule(answers[name])}
        templates = {name for name, answer in answers.items() if is_template(answer)}
        try:
            plugin = self._generate(output, **answers)
        except FailedHookException:
            message = self._captured.readouterr().err
            named = {name for name in RULES if f"\n  {name}: " in message}
            assert named
            assert named ^ bad <= templates
            assert "This asks again, with the other answers filled in:" in message
            self._is_untouched(folder, before)
            self.count["refused"] += 1
        except (CookiecutterException, TemplateError, ArithmeticError, TypeError):
            if not templates:
                raise
            self._is_untouched(folder, before)
            self.count["not rendered by Cookiecutter"] += 1
        else:
            self._captured.readouterr()
            assert bad <= templates
            assert {path.name for path in output.iterdir()} == {*there, plugin.slug}
            if not templates:
                assert plugin.slug == answers["plugin_slug"]
                assert_says(plugin, answers)
            self._made.append(plugin)
            self.count["made"] += 1
            if len(self._made) == BATCH:
                self.look()

    def _is_untouched(self, folder: Path, before: dict[str, bytes | None]) -> None:
        assert state_of(folder) == before
        shutil.rmtree(folder)

    def look(self) -> None:
        """Check that the plugins are formatted and pass lint, and that pytest collects some of them."""
        if self._made:
            run(self._python, "-m", "ruff", "format", "--check", "--no-cache", cwd=self._folder)
            run(self._python, "-m", "ruff", "check", "--no-cache", cwd=self._folder)
            if sys.platform != "win32":  # which cannot fork
                paths = (plugin.path for plugin in self._made[::10])  # each takes seconds
                run(self._python, "-c", COLLECT, *paths, cwd=self._folder)
        for plugin in self._made:
            root = self._folder.resolve()
            shutil.rmtree(root / plugin.path.relative_to(root).parts[0])
        self._made.clear()


@pytest.fixture
def scaffolding(
    generate: Generator, python: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Scaffolding:
    return Scaffolding(generate, python, tmp_path, capfd)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("sets", "number"), [(HOSTILE_SETS, 600), (MILD, 400)], ids=["hostile", "mild"]
)
def test_a_plugin_says_exactly_the_answers_or_there_is_none(
    sets: SearchStrategy[dict[str, str]], number: int, scaffolding: Scaffolding
) -> None:
    number = number if THOROUGH else number // 20

    @settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sets)
    def scaffold(answers: dict[str, str]) -> None:
        scaffolding(answers)

    scaffold()
    scaffolding.look()
    print(dict(scaffolding.count))
    if sets is MILD:
        assert scaffolding.count["made"] >= number // 2
        assert set(scaffolding.count) == {"made"}
    else:
        assert scaffolding.count["refused"] >= number // 2


def assert_says(plugin: Plugin, answers: Mapping[str, str]) -> None:
    """Check that every file can be parsed and contains the answers."""
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
    key = f"{slug.upper()}_API_KEY"
    distribution = "vision-agents-plugins-" + slug.replace("_", "-")
    project = parsed["pyproject.toml"]["project"]
    assert project["name"] == distribution
    assert project["description"] == answers["description"]
    author = {"name": answers["__author_name"], "email": answers["__author_email"]}
    assert project["authors"] == [author]
    assert distribution in parsed["example/pyproject.toml"]["project"]["dependencies"]
    if plugin.standalone:
        assert project["license"] == answers["license"]
        assert project["urls"]["Source"] == project["urls"]["Website"] == answers["__source_url"]
        live = parsed[".github/workflows/live.yml"]["jobs"]["live"]["steps"][-1]
        assert live["env"] == {key: f"${{{{ secrets.{key} }}}}"}
        if answers["license"] != "Apache-2.0":
            assert f" {answers['__author_name']}\n" in files["LICENSE"]

    title, description = files["README.md"].split("\n\n")[:2]
    assert read_markdown(title.removeprefix("# ")) == f"{answers['plugin_name']} for Vision Agents"
    assert read_markdown(description) == answers["description"]
    assert f'| `model` | `"{answers["default_model"]}"` |' in files["README.md"]
    assert f"`{key}`" in files["README.md"]
    assert f"\n{key}=\n" in files["example/.env.example"]

    package = f"vision_agents/plugins/{slug}"
    assert answers["plugin_name"] in str(ast.get_docstring(parsed[f"{package}/__init__.py"]))
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
