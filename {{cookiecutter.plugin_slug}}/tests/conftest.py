"""The fixture that tells the contract what to test. Add your own fixtures here."""

import pytest
from realtime_testkit import Subject

from .provider_double import SUBJECT


@pytest.fixture(scope="session")
def subject() -> Subject:
    """The plugin, and the double of its provider."""
    return SUBJECT
