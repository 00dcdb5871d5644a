"""How answers get into files: as they are, whatever they are.

Cookiecutter loads `Answers` as a Jinja extension (`_extensions` in cookiecutter.json). It sees to this:

- An answer is data. Cookiecutter renders answers given on the command line as if they were templates;
  here they stand for themselves.
- Answers are checked (rules.py) as soon as the last one is known, and again when the plugin's folder is
  named, which is the only chance with `--replay`. Nothing is written before.
- A plugin is there as a whole or not at all: see `all_or_nothing`. The monorepo's files are touched
  last, and only where the author asked for it.
- Free text has two filters: `quoted` and `markdown`.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cookiecutter import generate
from cookiecutter.utils import work_in
from jinja2 import Environment, Template
from jinja2.ext import Extension

from hooks import rules

FOLDER = "{{cookiecutter.plugin_slug}}"
FILL = re.compile(r"\{\{ ?cookiecutter\.(?P<name>\w+)(?: \| (?P<filter>\w+))? ?\}\}")
CHOOSE = re.compile(
    r"\{% if cookiecutter\.(?P<name>\w+) == '(?P<value>[^']*)' %\}(?P<then>.*?)"
    r"(?:\{% else %\}(?P<otherwise>.*?))?\{% endif %\}",
    re.DOTALL,
)
MORE = re.compile(r"\{(?<!\$\{)[{%#]")


class Literal:
    """An answer: whatever is in it stands for itself."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render(self, **_: object) -> str:
        """Return the answer."""
        return self.text


class Folder:
    """The name of the plugin's folder, which is asked for right before it is made."""

    def render(self, cookiecutter: Mapping[str, object], **_: object) -> str:
        """Return it, if there can be a plugin."""
        output = Path(sys._getframe(1).f_locals["output_dir"])  # that of render_and_create_dir
        rules.check(cookiecutter, output)
        slug = str(cookiecutter["plugin_slug"])
        rules.check_folder(output / slug)
        vars(generate)["work_in"] = partial(all_or_nothing, cookiecutter)
        return slug


class Filled:
    """A template in which answers are filled in, or say which of two texts stays.

    That is every file but for one or two. Jinja would first compile each to Python, as if it were to be
    rendered a thousand times; with dozens of files, scaffolding would take a third longer. A template
    that asks for more than this is left to Jinja. In a workflow, GitHub's own `${{ }}` is text.
    """

    def __init__(self, source: str, filters: Mapping[str, Callable[..., object]]) -> None:
        *before, last = source.split("{%-")  # the minus takes the white space before it away
        self.source = "{%".join([*map(str.rstrip, before), last])
        self.filters = filters

    @property
    def suffices(self) -> bool:
        """Whether the template asks for nothing more."""
        texts = CHOOSE.sub(r"\g<then>\g<otherwise>", self.source)
        return MORE.search(FILL.sub("", texts)) is None

    def render(self, cookiecutter: Mapping[str, object], **_: object) -> str:
        """Return the text with the answers in it."""

        def choose(match: re.Match[str]) -> str:
            chosen = cookiecutter[match["name"]] == match["value"]
            return match["then"] if chosen else match["otherwise"] or ""

        def fill(match: re.Match[str]) -> str:
            value = cookiecutter[match["name"]]
            return str(self.filters[match["filter"]](value) if match["filter"] else value)

        return FILL.sub(fill, CHOOSE.sub(choose, self.source))


class Answers(Extension):
    """Checks the answers, keeps them data and offers the filters that put them into files."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters |= {
            "quoted": quoted,
            "markdown": markdown,
            "identifier": partial(environment.filters["slugify"], separator="_", max_length=30),
            "env_prefix": rules.env_prefix,
            "distribution": rules.distribution,
            "imports": rules.imports,
            "check": rules.check,
        }
        self._asking = False
        self._jinja_string = environment.from_string
        self._jinja_file = environment.get_template
        vars(environment).update(from_string=self.from_string, get_template=self.get_template)

    def from_string(self, source: str) -> Template | Filled | Literal | Folder:
        """Stand in for `Environment.from_string`, and tell answers from templates.

        Cookiecutter has cookiecutter.json's own strings rendered and answers in the place of some;
        the first of its own, which is private, says that answers follow. In later environments there
        are no answers but names of files; the one to be checked is the folder's.
        """
        if source in rules.DEFAULTS.values():
            self._asking = True
        elif self._asking:
            return Literal(source)
        elif source == FOLDER:
            return Folder()
        filled = Filled(source, self.environment.filters)
        return filled if filled.suffices else self._jinja_string(source)

    def get_template(
        self,
        name: str,
        parent: str | None = None,
        globals: MutableMapping[str, Any] | None = None,
    ) -> Template | Filled:
        """Stand in for `Environment.get_template`."""
        loader = self.environment.loader
        # A template that includes a file (and so is its parent) needs Jinja's own.
        if loader is not None and parent is None:
            source, _, _ = loader.get_source(self.environment, name)
            filled = Filled(source, self.environment.filters)
            if filled.suffices:
                return filled
        return self._jinja_file(name, parent, globals)


@contextmanager
def all_or_nothing(answers: Mapping[str, object], template: Path | str) -> Iterator[None]:
    """Stand in for `work_in`, which Cookiecutter has around all that it writes.

    By itself it removes what it has written only where an answer is undefined; after Ctrl-C, with a
    disk that is full or a template that cannot be rendered, half a plugin would stay. What a killed
    process leaves is marked.
    """
    looks = vars(generate)["is_binary"]
    vars(generate).update(work_in=work_in, is_binary=is_binary)
    caller = sys._getframe(2).f_locals  # that of generate_files
    folder = Path(caller["project_dir"])
    mark = folder / rules.UNFINISHED
    try:
        mark.touch()
        with work_in(template):
            yield
        mark.unlink()
        if answers["layout"] == "workspace":
            settle(answers, folder)
    except BaseException:
        # Not a folder that was there before, and not with --keep-project-on-failure.
        if caller["delete_project_on_failure"]:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        vars(generate)["is_binary"] = looks
        # cruft runs an older and a newer template in one process; each has hooks of its own.
        for name in [name for name in sys.modules if name.split(".")[0] == "hooks"]:
            del sys.modules[name]


def is_binary(path: str) -> bool:
    """Tell as git does, by a NUL; Cookiecutter's way takes a third of the scaffolding time."""
    with Path(path).open("rb") as file:
        return b"\0" in file.read(1024)


def settle(answers: Mapping[str, object], folder: Path) -> None:
    """Make a plugin a member of the checkout it stands in, or tell how."""
    for name in rules.STANDALONE_ONLY:
        path = folder / name.format(slug=folder.name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    places = rules.registration(answers, folder.parent)
    if places is None:
        return
    if not places.changes:
        print(f"{folder.name} is registered already.")
    elif answers["register"] == "yes":
        places.carry_out()
        print(f"Registered {folder.name} in {' and '.join(map(str, places.changes))}.")
    else:
        print(f"Register {folder.name} in {places.root} with `git apply` and this patch:\n")
        print(places.patch)


def quoted(text: str) -> str:
    """Return text as a string literal that TOML, YAML, JSON and Python all read alike."""
    return json.dumps(text, ensure_ascii=False)


def markdown(text: str) -> str:
    """Return text with everything that Markdown would take for markup escaped."""
    text = re.sub(r"[\\`*_\[\]<>&~|$]", r"\\\g<0>", text)
    text = re.sub(r"^[#+=:-]", r"\\\g<0>", text)
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", text)
