"""The user's turns, as a provider tells them whose messages no wire of the testkit has."""

from types import ModuleType

from vision_agents.core.edge.types import Participant
from vision_agents.core.llm.realtime import RealtimeUserTranscript
from vision_agents.core.observability import MetricsCollector

SPEAKER = Participant(original=None, user_id="alice", id="participant-alice")


async def test_transcript_names_the_turn_whose_start_had_no_id(default_engine: ModuleType) -> None:
    """A transcript with an id belongs to the turn that was told without one."""
    events = default_engine.session_events
    output = default_engine.output.Output(MetricsCollector(), "acme")
    history = default_engine.history.History()
    turns = default_engine.user_turns.UserTurns(output, history, lambda: None)
    turns.start(None, SPEAKER)
    turns.stop(None, transcribed=True)
    for piece in ("a ", "canary"):
        turn = turns.find(events.UserTranscript(piece, False, "user_1"))
        assert turn is turns.current
        turns.hear(turn, events.UserTranscript(piece, False, "user_1"), hurry=False)
    turns.settle()
    turns.start("user_2", SPEAKER)
    turns.hear(
        turns.find(events.UserTranscript("A canary.", True, "user_1")),
        events.UserTranscript("A canary.", True, "user_1"),
        hurry=True,
    )
    texts = [each.text for each in output.peek() if isinstance(each, RealtimeUserTranscript)]
    assert texts == ["a ", "canary", "A canary.", "A canary."]
    history.start_session(resumed=False)
    assert [message.text for message in history.untold()] == ["A canary."]
