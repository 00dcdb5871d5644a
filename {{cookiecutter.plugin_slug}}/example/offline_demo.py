"""A conversation with the plugin in real time: no key, no network.

    uv run example/offline_demo.py

The caller speaks, types, asks for a tool and interrupts; the provider is the one that the tests
use, and echoes. What happens is printed; conversation.wav (caller left, agent right) and
conversation.png are written. With `--input my.wav` the caller says something else first.
"""

from pathlib import Path

from realtime_testkit import demo
from vision_agents.plugins import {{ cookiecutter.plugin_slug }}

PROVIDER_DOUBLE = Path(__file__).parents[1] / "tests" / "provider_double.py"


def make_realtime(url: str) -> {{ cookiecutter.plugin_slug }}.Realtime:
    """Make the plugin's Realtime for the address of the embedded provider."""
    return {{ cookiecutter.plugin_slug }}.Realtime(api_key="any", base_url=url)


if __name__ == "__main__":
    demo.main(realtime=make_realtime, provider=demo.load_provider(PROVIDER_DOUBLE))
