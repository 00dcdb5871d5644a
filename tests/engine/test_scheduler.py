"""The scheduler of responses, under random histories: no request is lost, doubled or blocked."""

import asyncio
import os
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BOUND_S = 0.03
"""The bound on the provider's silence in these tests, seconds."""

HISTORIES = int(os.environ.get("SCHEDULER_HISTORIES", "300"))

STEPS = st.sampled_from(
    [
        *("ask", "ask", "continue", "aside", "start", "start", "own", "done", "done", "cancelled"),
        *("interrupt", "speak", "stop", "refuse", "busy", "busy unnamed", "error unnamed"),
        *("lose the end", "stray", "wait", "drop", "yield", "yield"),
    ]
)


@dataclass
class Provider:
    """A provider that gives one response at a time, and refuses what is asked beside it."""

    engine: ModuleType
    scheduler: Any
    names: bool
    inbox: list[Any] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    active: str | None = None
    number: int = 0

    async def send(self, session: object, request: Any) -> None:
        """Take a request, as a session's socket does."""
        await asyncio.sleep(0)
        self.sent.append(request.id)
        self.inbox.append(request)

    def start(self, request: Any = None) -> None:
        """Begin a response: to a request, or by itself."""
        events = self.engine.session_events
        self.number += 1
        response_id = f"response_{self.number}"
        named = request.id if request is not None and self.names else None
        response = self.scheduler.started(events.ResponseStarted(response_id, named))
        if request is not None and request.form.out_of_band:
            if response is not None:
                self.end(response_id, "completed")
            return
        self.active = response_id
        if response is None:
            self.end(response_id, "cancelled")

    def end(self, response_id: str, status: str) -> None:
        """End a response, as the rest of the engine takes it in."""
        response = self.scheduler.active.get(response_id)
        if response is not None:
            self.scheduler.done(response)
            for reply in response.replies:
                reply.end()
        if self.active == response_id:
            self.active = None

    def take(self) -> None:
        """Answer the oldest request, or refuse it where a response is active."""
        if not self.inbox:
            return
        request = self.inbox.pop(0)
        if self.active is not None and not request.form.out_of_band:
            self.fault(request, busy=True)
        else:
            self.start(request)

    def fault(self, request: Any, *, busy: bool, named: bool = True) -> None:
        """Refuse a request."""
        events = self.engine.session_events
        code = "conversation_already_has_active_response" if busy else "server_error"
        given = request.id if named and request is not None else None
        self.scheduler.refused(events.Fault(code, given, False, busy))


async def play(engine: ModuleType, steps: list[str], *, names: bool) -> None:
    """Play one history, then let the provider answer everything that is asked."""
    failures: list[Exception] = []
    provider = Provider(engine, None, names)
    scheduler = engine.scheduler.Scheduler(
        engine.session_types.Traits(),
        BOUND_S,
        send=provider.send,
        failed=failures.append,
        gave_up=lambda response: None,
    )
    provider.scheduler = scheduler
    replies: list[Any] = []
    runner = asyncio.create_task(scheduler.run(object()))
    if names:
        # From its first answer on, a response without a request is the provider's own.
        scheduler.ask(engine.replies.Request(engine.replies.Kind.TURN))
        await asyncio.sleep(0.001)
        provider.take()
        provider.end("response_1", "completed")
    for step in steps:
        match step:
            case "ask" | "continue" | "aside":
                reply = engine.replies.Reply(aside=step == "aside")
                form = engine.session_types.RequestForm(out_of_band=step == "aside")
                kinds = engine.replies.Kind
                kind = kinds.CONTINUATION if step == "continue" else kinds.PROMPT
                replies.append(reply)
                scheduler.replies.add(reply)
                scheduler.ask(engine.replies.Request(kind, form, replies=[reply]))
            case "start":
                provider.take()
            case "own" if provider.active is None:
                provider.start()
            case "done" | "cancelled" if provider.active is not None:
                provider.end(provider.active, step)
            case "interrupt":
                scheduler.withdraw()
                for response in list(scheduler.active.values()):
                    if not response.aside:
                        scheduler.cut(response)
            case "speak":
                scheduler.user_started()
            case "stop":
                scheduler.user_stopped()
            case "refuse" if provider.inbox:
                provider.fault(provider.inbox.pop(0), busy=False)
            case "busy" | "busy unnamed" if provider.inbox and provider.active is not None:
                provider.fault(provider.inbox.pop(0), busy=True, named=step == "busy")
            case "error unnamed" if provider.inbox:
                provider.fault(provider.inbox.pop(0), busy=False, named=False)
            case "lose the end":
                provider.active = None
            case "stray":
                scheduler.find("response_of_nobody")
            case "wait":
                await asyncio.sleep(BOUND_S / 10)
            case "drop":
                runner.cancel()
                await asyncio.wait([runner])
                scheduler.lost(engine.errors.SessionError("lost", temporary=True))
                provider.inbox.clear()
                provider.active = None
                runner = asyncio.create_task(scheduler.run(object()))
            case "yield":
                await asyncio.sleep(0)
    await settle(provider, scheduler, replies)
    runner.cancel()
    await asyncio.wait([runner])
    assert len(provider.sent) == len(set(provider.sent)), "a request was sent twice under one id"
    assert all(reply.ended.is_set() for reply in replies), "a caller waits for ever"
    assert not scheduler.busy, "something blocks, and nothing is asked for"


async def settle(provider: Provider, scheduler: Any, replies: list[Any]) -> None:
    """Let a provider that now does everything right finish, within a few bounds."""
    scheduler.user_speaks = False
    async with asyncio.timeout(20 * (BOUND_S + 0.25)):
        while scheduler.busy or not all(reply.ended.is_set() for reply in replies):
            if provider.active is not None:
                provider.end(provider.active, "completed")
            provider.take()
            scheduler.wake()
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def engine(default_engine: ModuleType) -> ModuleType:
    """The engine of the plugin with the default answers."""
    return default_engine


class TestScheduler:
    @given(steps=st.lists(STEPS, max_size=40), names=st.booleans())
    @settings(
        max_examples=HISTORIES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_no_history_loses_doubles_or_blocks_a_request(
        self, engine: ModuleType, steps: list[str], names: bool
    ) -> None:
        """Every caller's reply ends, no request is sent twice, and in the end nothing blocks."""
        asyncio.run(play(engine, steps, names=names))
