"""The history, where a session is resumed: what it knows, it is not told again."""

from types import ModuleType


def test_resumed_session_is_told_what_came_after_the_mark(default_engine: ModuleType) -> None:
    """Messages after the mark are told, however many before it were dropped since."""
    messages, history = default_engine.session_types, default_engine.history.History()
    for number in range(200):
        history.add(messages.AddMessage("user", f"old {number}"), told=True)
    history.mark()
    for number in range(5):
        history.add(messages.AddMessage("user", f"new {number}"), told=True)
    history.start_session(resumed=True)
    assert [message.text for message in history.untold()] == [f"new {n}" for n in range(5)]
