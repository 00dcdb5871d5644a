"""A voice agent with {{ cookiecutter.plugin_name }} on Stream's edge, with a tool{% if cookiecutter.video == 'yes' %} and video{% endif %}.

Needs the keys named in .env.example, in the environment or in a file named .env:

    uv run --project example example/{{ cookiecutter.plugin_slug }}_realtime_example.py run

It opens a call in the browser and greets whoever joins. Ask it for the weather in a city.
{%- if cookiecutter.video == 'yes' %}
Turn on the camera or share the screen, and it says what it sees.
{%- endif %}
"""

{% if cookiecutter.video == 'yes' %}import asyncio
{% endif %}import logging

from dotenv import load_dotenv
from vision_agents.core import Agent, Runner, User
from vision_agents.core.agents import AgentLauncher
{%- if cookiecutter.video == 'yes' %}
from vision_agents.core.edge.events import TrackAddedEvent
from vision_agents.core.edge.types import TrackType
{%- endif %}
from vision_agents.core.utils.examples import get_weather_by_location
from vision_agents.plugins import {{ cookiecutter.__imports }}

logger = logging.getLogger(__name__)

load_dotenv()


async def create_agent(**kwargs: object) -> Agent:
    """Create the agent of one call."""
    llm = {{ cookiecutter.plugin_slug }}.Realtime({% if cookiecutter.video == 'yes' %}fps=1{% endif %})

    @llm.register_function(description="The current weather in a city")
    async def get_weather(location: str) -> dict[str, object]:
        return await get_weather_by_location(location)

    return Agent(
        edge=getstream.Edge(),
        agent_user=User(name="Voice assistant", id="agent"),
        instructions="You are a {% if cookiecutter.video == 'yes' %}voice assistant that sees the user's video{% else %}friendly voice assistant{% endif %}. Keep answers short.",
        llm=llm,
    )


async def join_call(
    agent: Agent,
    call_type: str,
    call_id: str,
    **kwargs: object,
) -> None:
    """Take part in one call until it ends."""
    call = await agent.create_call(call_type, call_id)
{%- if cookiecutter.video == 'yes' %}

    @agent.events.subscribe
    async def on_track_added(event: TrackAddedEvent) -> None:
        if event.track_type in (TrackType.VIDEO, TrackType.SCREEN_SHARE):
            await asyncio.sleep(2)  # until the provider has frames of it
            await agent.simple_response("Say in one sentence what you see.")
{%- endif %}

    async with agent.join(call):
        logger.info("Joined the call")
        await agent.simple_response("Greet the user in one short sentence.")
        await agent.finish()


if __name__ == "__main__":
    Runner(AgentLauncher(create_agent=create_agent, join_call=join_call)).cli()
