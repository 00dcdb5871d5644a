"""{{ cookiecutter.plugin_name }}'s own tests: yours to change, and to add to.

What every realtime plugin does is tested by test_contract.py. Here is what is special
about this one, and a test that talks to the provider itself.
"""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from vision_agents.core.llm.llm import LLMResponseDelta, LLMResponseFinal
from vision_agents.core.llm.realtime import RealtimeAudioOutput
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Realtime

from .provider_double import Provider


class TestRealtime:
    @pytest.fixture
    async def llm(self) -> AsyncIterator[Realtime]:
        """Connected to the embedded provider, which echoes what it hears and reads."""
        async with (
            Provider() as provider,
            Realtime(api_key="any", base_url=provider.url) as llm,
        ):
            yield llm

    @pytest.fixture
    async def live(self) -> AsyncIterator[Realtime]:
        """Connected to {{ cookiecutter.plugin_name }} itself."""
        base_url = os.environ.get("{{ cookiecutter.__env_prefix }}_BASE_URL")
        async with Realtime(base_url=base_url) as llm:
            yield llm

    async def test_text_is_answered(self, llm: Realtime) -> None:
        """The deltas of an answer add up to its final text, and it is spoken."""
        items = [item async for item in llm.simple_response("Good morning")]
        *deltas, final = items
        assert isinstance(final, LLMResponseFinal)
        assert final.text == "You said: Good morning"
        pieces = [
            each.delta or "" for each in deltas if isinstance(each, LLMResponseDelta)
        ]
        assert "".join(pieces) == final.text
        assert any(isinstance(each, RealtimeAudioOutput) for each in llm.output.peek())

    @pytest.mark.integration
    async def test_provider_answers(self, live: Realtime) -> None:
        """The provider itself answers a text, with speech."""
        async with asyncio.timeout(30):
            items = [
                item async for item in live.simple_response("Say hello in one word.")
            ]
        assert isinstance(items[-1], LLMResponseFinal)
        assert items[-1].text.strip()
        assert any(isinstance(each, RealtimeAudioOutput) for each in live.output.peek())
