"""Vision Agents' conventions, as checks on a plugin's folder."""

from .folder import NotAPlugin
from .rules import Rule
from .runner import RULES, Finding, as_json, as_text, check

__all__ = ["RULES", "Finding", "NotAPlugin", "Rule", "as_json", "as_text", "check"]
