"""What a rule is."""

from collections.abc import Iterator
from typing import ClassVar

from .folder import PluginFolder
from .source import Place


class Rule:
    """A convention of Vision Agents. The docstring of each rule is its text.

    Attributes:
        fix: how to mend what breaks it.
        ruff: prefixes of the ruff rules that enforce it. Bans (TID251) name their rule themselves.
        mypy: whether mypy's errors break it.
        contract_only: whether nothing but the contract enforces it.
    """

    fix: ClassVar[str]
    ruff: ClassVar[tuple[str, ...]] = ()
    mypy: ClassVar[bool] = False
    contract_only: ClassVar[bool] = False

    @property
    def id(self) -> str:
        """The name of the class: P1, C12 ..."""
        return type(self).__name__

    @property
    def text(self) -> str:
        """What the rule asks for."""
        return " ".join((type(self).__doc__ or "").split())

    def check(self, plugin: PluginFolder) -> Iterator[Place]:
        """Find what breaks the rule. By default nothing: ruff, mypy or the contract enforce it."""
        yield from ()
