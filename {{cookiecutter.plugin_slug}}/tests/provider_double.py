"""How {{ cookiecutter.plugin_name }} is imitated in tests: its handshake here, its messages in the testkit.

Change this file with client.py and wire.py. For messages of your own, write a codec
(see realtime_testkit.providers.codec) and name it here.
"""

from pathlib import Path

from realtime_testkit import Subject
from realtime_testkit.providers import {{ cookiecutter.wire }}
from realtime_testkit.providers.handshake import Handshake
from vision_agents.plugins import {{ cookiecutter.plugin_slug }}
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import wire
from vision_agents.plugins.{{ cookiecutter.plugin_slug }}._engine import (
    session_events,
    session_types,
)


class Provider({{ cookiecutter.wire }}.{% if cookiecutter.transport == 'webrtc' %}WebRTCProvider{% else %}Provider{% endif %}):
    """{{ cookiecutter.plugin_name }}'s service on 127.0.0.1."""

    path = "{% if cookiecutter.transport == 'webrtc' %}/v1/realtime/calls{% else %}/v1/realtime{% endif %}"

    def key(self, handshake: Handshake) -> str | None:
        """The API key in a handshake."""
        return handshake.token("Bearer")
{%- if cookiecutter.transport == 'websocket' %}

    def model(self, handshake: Handshake) -> str | None:
        """The model that a handshake asks for."""
        return handshake.query.get("model")
{%- endif %}


def _quiet(output: object) -> object:
    """A tool's result that starts no answer."""
    return {{ cookiecutter.plugin_slug }}.ToolResult(output, respond=False)


SUBJECT = Subject(
    plugin={{ cookiecutter.plugin_slug }},
    realtime={{ cookiecutter.plugin_slug }}.Realtime,
    client={{ cookiecutter.plugin_slug }}.Client,
    provider=Provider,
    session_error={{ cookiecutter.plugin_slug }}.SessionError,
    response_error={{ cookiecutter.plugin_slug }}.ResponseError,
    codec=wire.Codec,
    types=(session_types, session_events),
    quiet_result=_quiet,
    native_method="{{ cookiecutter.native_method }}",
    api_key_variable="{{ cookiecutter.__env_prefix }}_API_KEY",
    folder=Path(__file__).parent,
)
