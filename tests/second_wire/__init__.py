"""A second provider, unlike the reference's: all that its author changes in a plugin."""

import shutil
from pathlib import Path

ANSWERS = {"plugin_name": "Second Wire", "input_sample_rate": "16000"}
HERE = Path(__file__).parent


def put_into(plugin: Path) -> None:
    """Change a freshly generated plugin as the provider's author would."""
    [package] = plugin.glob("vision_agents/plugins/*/wire.py")
    shutil.copyfile(HERE / "wire.py", package)
    shutil.copyfile(HERE / "contract.toml", plugin / "tests" / "contract.toml")
    shutil.rmtree(plugin / "tests" / "frames" / "client")
    shutil.rmtree(plugin / "tests" / "frames" / "server")
    shutil.copytree(HERE / "frames", plugin / "tests" / "frames", dirs_exist_ok=True)
