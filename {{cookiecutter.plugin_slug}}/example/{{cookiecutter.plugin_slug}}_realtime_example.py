"""A voice agent with {{ cookiecutter.plugin_name }} on Stream's edge.

Needs the keys named in .env.example, in the environment or in a file named .env:

    uv run --project example example/{{ cookiecutter.plugin_slug }}_realtime_example.py run

It opens a call in the browser, greets whoever joins and talks with them.
"""

import logging

from dotenv import load_dotenv
from vision_agents.core import Agent, Runner, User
from vision_agents.core.agents import AgentLauncher
from vision_agents.plugins import {{ cookiecutter.__imports }}

logger = logging.getLogger(__name__)

load_dotenv()


async def create_agent(**kwargs: object) -> Agent:
    """Make the agent that every call gets one of."""
    return Agent(
        edge=getstream.Edge(),
        agent_user=User(name="Voice assistant", id="agent"),
        instructions="You are a friendly voice assistant. Keep answers short.",
        llm={{ cookiecutter.plugin_slug }}.Realtime(),
    )


async def join_call(agent: Agent, call_type: str, call_id: str, **kwargs: object) -> None:
    """Take part in one call until it ends."""
    call = await agent.create_call(call_type, call_id)
    async with agent.join(call):
        logger.info("Joined the call")
        await agent.simple_response("Greet the user in one short sentence.")
        await agent.finish()


if __name__ == "__main__":
    Runner(AgentLauncher(create_agent=create_agent, join_call=join_call)).cli()
