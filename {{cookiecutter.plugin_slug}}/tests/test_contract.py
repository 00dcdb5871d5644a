"""The contract of a realtime plugin. See contract.toml for what it expects of the provider."""

import pytest
from realtime_testkit import Subject, contract

from .provider_double import SUBJECT


@pytest.fixture(scope="session")
def subject() -> Subject:
    """What is tested: the plugin, and the double of its provider."""
    return SUBJECT


class TestLifecycle(contract.Lifecycle): ...


class TestConnection(contract.Connection): ...


class TestRecovery(contract.Recovery): ...


class TestSession(contract.Session): ...


class TestSettings(contract.Settings): ...


class TestConstruct(contract.Construct): ...


class TestAudioIn(contract.AudioIn): ...


class TestGaps(contract.Gaps): ...


class TestAudioOut(contract.AudioOut): ...


class TestTranscripts(contract.Transcripts): ...


class TestTurns(contract.Turns): ...


class TestResponses(contract.Responses): ...


class TestTools(contract.Tools): ...


class TestText(contract.Text): ...


class TestNative(contract.Native): ...


class TestMessages(contract.Messages): ...


class TestVideo(contract.Video): ...


class TestWebRTC(contract.WebRTC): ...


class TestAgent(contract.Agent): ...


class TestRobustness(contract.Robustness): ...


class TestFailures(contract.Failures): ...


class TestSecurity(contract.Security): ...


class TestBounds(contract.Bounds): ...


class TestObservability(contract.Observability): ...


class TestPackaging(contract.Packaging): ...


class TestConventions(contract.Conventions): ...


class TestFrames(contract.Frames): ...


class TestLive(contract.Live): ...
