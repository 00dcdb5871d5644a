"""Fixtures: a provider that echoes, a scripted one, and a client of each."""

from collections.abc import AsyncIterator

import pytest
from realtime_testkit.providers.openai import Provider

from .conversing import Client, client_of
from .published import faults_of


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Echoes; every frame sent to it and by it has to be valid at the end."""
    async with Provider() as provider:
        yield provider
        for connection in provider.connections:
            assert faults_of(connection) == []


@pytest.fixture
async def script() -> AsyncIterator[Provider]:
    """Says what the test says; every frame has to be valid at the end."""
    async with Provider(scripted=True) as provider:
        yield provider
        for connection in provider.connections:
            assert faults_of(connection) == []


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[Client]:
    async with client_of(provider) as client:
        yield client


@pytest.fixture
async def listener(script: Provider) -> AsyncIterator[Client]:
    async with client_of(script) as client:
        yield client
