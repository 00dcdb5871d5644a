"""{{ cookiecutter.plugin_name }} for Vision Agents."""

from ._engine.errors import ResponseError, SessionError
from ._engine.replies import ResponseFinal
from ._engine.tools import ToolResult
{% for line in ["from ." ~ cookiecutter.plugin_slug ~ "_realtime import Realtime", "from .client import Client"] | sort -%}
{{ line }}
{% endfor %}
__all__ = [
    "Client",
    "Realtime",
    "ResponseError",
    "ResponseFinal",
    "SessionError",
    "ToolResult",
]
