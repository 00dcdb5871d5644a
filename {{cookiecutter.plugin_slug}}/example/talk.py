"""Talk to the plugin with this machine's microphone and loudspeaker, without an account.

    uv run --project example example/talk.py

It needs {{ cookiecutter.__env_prefix }}_API_KEY, in the environment or in a file named .env. With --echo
it needs no key: the provider is the one that the tests use, and repeats what it hears.
Wear headphones, or the agent hears itself. Linux needs the package libportaudio2.
"""

import asyncio
import contextlib
import sys
import threading
from pathlib import Path

import numpy as np
import sounddevice
from dotenv import load_dotenv
from realtime_testkit import demo
from vision_agents.core import Agent, User
from vision_agents.plugins import {{ cookiecutter.plugin_slug }}
from vision_agents.plugins.local import AudioInputDevice, AudioOutputDevice, LocalEdge

PROVIDER_DOUBLE = Path(__file__).parents[1] / "tests" / "provider_double.py"


class Loudspeaker(AudioOutputDevice):
    """Is not closed while a thread writes to it: PortAudio crashes on that."""

    _writing = threading.Lock()

    def write(self, samples: np.ndarray) -> None:
        """Write flat int16 samples to the device."""
        with self._writing:
            super().write(samples)

    def stop(self) -> None:
        """Close the device once what is being written was played."""
        with self._writing:
            super().stop()


async def talk(llm: {{ cookiecutter.plugin_slug }}.Realtime) -> None:
    """Take part in a call with whoever is at this machine, until Ctrl+C."""
    mic, speaker = sounddevice.default.device
    if min(mic, speaker) < 0:
        sys.exit("Choose a microphone and a loudspeaker in the system's settings.")
    agent = Agent(
        edge=LocalEdge(
            AudioInputDevice(mic, "microphone"), Loudspeaker(speaker, "loudspeaker")
        ),
        agent_user=User(name="Voice assistant", id="agent"),
        instructions="You are a friendly voice assistant. Keep answers short.",
        llm=llm,
    )
    call = await agent.edge.create_call("talk")
    async with agent.join(call, participant_wait_timeout=0):
        print("Speak. Ctrl+C ends the call.")
        await agent.simple_response("Greet the user in one short sentence.")
        await agent.finish()


async def main() -> None:
    """Talk to the provider, or with --echo to the one that the tests use."""
    if "--echo" in sys.argv:
        async with demo.load_provider(PROVIDER_DOUBLE)(pace=1.0) as provider:
            llm = {{ cookiecutter.plugin_slug }}.Realtime(
                api_key="any",
                base_url=provider.url,
            )
            await talk(llm)
    else:
        await talk({{ cookiecutter.plugin_slug }}.Realtime())


if __name__ == "__main__":
    load_dotenv()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
