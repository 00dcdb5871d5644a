"""The house's monorepo: what makes a folder a checkout of it, and a plugin a member.

A member is named in three places of two files: the root's uv sources and workspace members, and an
extra of agents-core. Each is one line more after the last of its kind; every other byte stays.
"""

import difflib
import re
import shutil
import tomllib
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path("pyproject.toml")
CORE = Path("agents-core", "pyproject.toml")


class NotRegistrable(ValueError):
    """There is no checkout, or none that a plugin can be added to; says what to do."""


class Registration:
    """A plugin's places in a checkout.

    Raises:
        NotRegistrable: the folder is not the one for a checkout's plugins.
    """

    def __init__(self, plugins: Path, slug: str, distribution: str) -> None:
        self.root = plugins.absolute().parent
        self._slug = slug
        self._distribution = distribution
        try:
            self._texts = {path: (self.root / path).read_bytes().decode() for path in (ROOT, CORE)}
            house = tomllib.loads(self._texts[CORE])["project"]["name"] == "vision-agents"
            tomllib.loads(self._texts[ROOT])["tool"]["uv"]["workspace"]["members"]
        except (OSError, KeyError, TypeError, ValueError):
            house = False
        if not house or plugins.absolute().name != "plugins":
            raise NotRegistrable(
                f"{plugins} is not the folder plugins of a Vision Agents checkout. Name that:"
                " --output-dir path/to/Vision-Agents/plugins."
            )

    @cached_property
    def changes(self) -> dict[Path, tuple[str, str]]:
        """The files that lack the plugin, each as it is and as it is to be.

        Raises:
            NotRegistrable: they are written in an unknown way.
        """
        after = {
            ROOT: self._with_member(self._with_source(self._texts[ROOT])),
            CORE: self._with_extra(self._texts[CORE]),
        }
        return {p: (self._texts[p], after[p]) for p in after if self._texts[p] != after[p]}

    @property
    def patch(self) -> str:
        """What `git apply` takes in the checkout's folder."""
        lines: list[str] = []
        for path, texts in self.changes.items():
            before, after = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in texts)
            names = (f"a/{path.as_posix()}", f"b/{path.as_posix()}")
            lines += difflib.unified_diff(before, after, *names)
        cut = "\n\\ No newline at end of file\n"
        return "".join(line if line.endswith("\n") else line + cut for line in lines)

    def carry_out(self) -> None:
        """Write the files: both of them, or none."""
        files = [(self.root / path, *texts) for path, texts in self.changes.items()]
        try:
            for path, _, after in files:
                path.with_suffix(".new").write_bytes(after.encode())
                shutil.copymode(path, path.with_suffix(".new"))
            for path, _, _ in files:
                path.with_suffix(".new").replace(path)
        except BaseException:
            for path, before, after in files:
                if path.with_suffix(".new").is_file():
                    path.with_suffix(".new").unlink()
                if path.read_bytes() == after.encode():
                    path.write_bytes(before.encode())
            raise

    def _with_source(self, text: str) -> str:
        known = tomllib.loads(text)
        sources: dict[str, object] = known["tool"]["uv"].setdefault("sources", {})
        if self._distribution in sources:
            return text
        sources[self._distribution] = {"workspace": True}
        line = f"{self._distribution} = {{ workspace = true }}"
        return _insert(text, r"vision-agents-plugins-\S+ = [^\r\n]+", line, known)

    def _with_member(self, text: str) -> str:
        known = tomllib.loads(text)
        members: list[str] = known["tool"]["uv"]["workspace"]["members"]
        member = f"plugins/{self._slug}"
        if any(fnmatch(member, pattern) for pattern in members):
            return text
        members.append(member)
        return _insert(text, r'"plugins/[^"]+",', f'"{member}",', known)

    def _with_extra(self, text: str) -> str:
        known = tomllib.loads(text)
        extras: dict[str, object] = known["project"].setdefault("optional-dependencies", {})
        if [self._distribution] in extras.values():
            return text
        extras[self._slug] = [self._distribution]
        line = f'{self._slug} = ["{self._distribution}"]'
        return _insert(text, r'\S+ = \["vision-agents-plugins-[^\r\n]+', line, known)


def _insert(text: str, like: str, line: str, wanted: dict[str, Any]) -> str:
    """Return a TOML file's text with a line more, after the last that is like it.

    Raises:
        NotRegistrable: it does not come to say what is wanted.
    """
    *_, last = [None, *re.finditer(rf"^([ \t]*){like}(\r?\n|\Z)", text, re.MULTILINE)]
    if last:
        end = last[2] or "\n"
        more = f"{text[: last.start(2)]}{end}{last[1]}{line}{last[2]}{text[last.end() :]}"
        try:
            if tomllib.loads(more) == wanted:
                return more
        except tomllib.TOMLDecodeError:
            pass
    raise NotRegistrable(f"The checkout is written in a way unknown here. Add by hand: {line}")
