"""{{ cookiecutter.plugin_name }}'s own tests: yours to change, and to add to.

What every realtime plugin has to do is proved in contract/. Here is what is special
about this one, and the test that talks to the provider itself.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import RealtimeAudioOutput
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime, loopback

KEY = "{{ cookiecutter.__env_prefix }}_API_KEY"


class TestRealtime:
    @pytest.fixture
    async def llm(self) -> AsyncIterator[Realtime]:
        """Connected to the embedded provider, which says back what it hears and reads."""
        async with loopback.Provider() as provider:
            llm = Realtime(api_key="any", base_url=provider.url)
            await llm.connect()
            yield llm
            await llm.close()

    @pytest.fixture
    async def live(self) -> AsyncIterator[Realtime]:
        """Connected to {{ cookiecutter.plugin_name }} itself."""
        if not os.environ.get(KEY):
            pytest.skip(f"set {KEY} to talk to the provider itself")
        llm = Realtime(base_url=os.environ.get("{{ cookiecutter.__env_prefix }}_BASE_URL"))
        await llm.connect()
        yield llm
        await llm.close()

    async def test_answers_a_text(self, llm: Realtime) -> None:
        """A text in, its answer out: piece by piece, then all of it."""
        items = [item async for item in llm.simple_response("Polly wants a cracker")]
        *deltas, final = items
        assert isinstance(final, LLMResponseFinal)
        assert final.text == "You said: Polly wants a cracker"
        pieces = [each.delta or "" for each in deltas if isinstance(each, LLMResponseDelta)]
        assert "".join(pieces) == final.text
        assert any(isinstance(each, RealtimeAudioOutput) for each in llm.output.peek())

    @pytest.mark.integration
    async def test_answers_live(self, live: Realtime) -> None:
        """The provider itself says something, and it can be heard."""
        async with asyncio.timeout(30):
            items = [item async for item in live.simple_response("Say hello in one word.")]
        assert isinstance(items[-1], LLMResponseFinal)
        assert items[-1].text.strip()
        assert any(isinstance(each, RealtimeAudioOutput) for each in live.output.peek())
