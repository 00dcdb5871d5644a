"""What holds in every scenario: the loop runs, nothing is left behind, no secret is shown.

The loop is watched from a thread, because no asyncio timeout fires in a loop that stands
still. A test in which it does fails, with the line at which it stood; the others go on.
"""

import asyncio
import contextlib
import faulthandler
import functools
import gc
import inspect
import io
import logging
import os
import signal
import stat
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .providers.provider import Provider

TICK_S = 0.025
GAP_S = 0.25
FROZEN_S = 1.5
LIVE_LIMIT_S = 60.0
LEFTOVER_S = 1.0
DESCRIPTORS = Path("/dev/fd")
"""Where the system lists what this process has open, if it does."""

MAX_LOG_RECORDS = 100
CANARY = "canary"
"""In every text, instruction and tool value that a test uses: it may be shown nowhere else."""

PROVIDERS_LOGGER = "realtime_testkit"


class Frozen(BaseException):
    """Raised in a loop that stands still. An `except Exception` does not stop it."""


class Pulse(threading.Thread):
    """Watches from outside the loop of the scenario at hand.

    Time for which the process waits for a processor or collects garbage does not count: a
    busy machine is no frozen loop, and how much there is to collect is the suite's matter.
    """

    def __init__(self) -> None:
        super().__init__(name="contract-pulse", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = threading.get_ident()
        self._looking = threading.Lock()
        self._beaten = False
        self._timer: asyncio.TimerHandle | None = None
        self._on_beat: list[Callable[[], None]] = []
        self._gaps: list[str] = []
        self._suspect = ""
        self._beaten_at = self._woken_at = self._waited_at = time.monotonic()
        self._lost = {"stalled": 0.0, "collecting": 0.0}
        self._collecting_since = 0.0
        self._waited: dict[str, float] = {}
        gc.callbacks.append(self._on_collection)

    def begin(self) -> None:
        """Start to watch, from within the loop."""
        with self._looking:
            self._gaps, self._suspect, self._on_beat = [], "", []
            self._beaten_at = self._woken_at = time.monotonic()
            self._loop = asyncio.get_running_loop()
        self._beat()

    def end(self) -> list[str]:
        """Stop, from within the loop; returns where it stood still."""
        if self._timer is not None:
            self._timer.cancel()
        with self._looking:
            self._loop, self._on_beat = None, []
            self._conclude()
        return self._gaps

    def every_beat(self, look: Callable[[], None]) -> None:
        """Call a function at every beat of the loop."""
        self._on_beat.append(look)

    def run(self) -> None:
        """Look at the loop at short intervals."""
        self._waited = self._waited_s()  # here: it reads files, which a loop may not
        while True:
            slept_at, used_s = time.monotonic(), time.process_time()
            time.sleep(TICK_S)
            late_s = time.monotonic() - slept_at - TICK_S
            if late_s > TICK_S:
                # What the process did not compute meanwhile, it was not let: the machine stood.
                self._lost["stalled"] += max(0.0, late_s - time.process_time() + used_s)
            with self._looking:
                if self._loop is not None:
                    self._look(self._loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        if self._beaten or not loop.is_running():
            self._conclude()
            self._beaten = False
            self._beaten_at = self._woken_at = now
            if now - self._waited_at > GAP_S:
                self._waited, self._waited_at = self._waited_s(), now
            return
        if now - self._beaten_at < GAP_S:
            return
        if not self._suspect and self._stood_s(self._beaten_at) > GAP_S:
            where = _stack_of(self._loop_thread)
            # A loop that waits in select() is blocked by nobody: the machine is busy.
            if not where.partition("\n")[0].endswith("in select"):
                self._suspect = f"the event loop stood still for {GAP_S:g} s at\n{where}"
        if self._stood_s(self._woken_at) > FROZEN_S:
            self._woken_at = time.monotonic()
            _wake(self._loop_thread)

    def _conclude(self) -> None:
        # The system tells what a thread waited only once it runs again: ask a second time.
        if self._suspect and self._stood_s(self._beaten_at) > GAP_S:
            self._gaps.append(self._suspect)
        self._suspect = ""

    def _on_collection(self, phase: str, details: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.monotonic()
        else:
            self._lost["collecting"] += time.monotonic() - self._collecting_since

    def _waited_s(self) -> dict[str, float]:
        """How long the process could not go on so far, by cause."""
        return _waited_by_thread() | self._lost

    def _stood_s(self, since: float) -> float:
        """How long nothing happened, without what was waited since then or shortly before."""
        now = self._waited_s()
        waited = sum(now[cause] - self._waited.get(cause, 0.0) for cause in now)
        return time.monotonic() - since - waited

    def _beat(self) -> None:
        self._beaten = True
        for look in self._on_beat:
            look()
        self._timer = asyncio.get_running_loop().call_later(TICK_S / 2, self._beat)


@functools.cache
def pulse() -> Pulse:
    """Return the thread that watches, and let it wake a frozen main thread."""
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR2, _on_signal)
    thread = Pulse()
    thread.start()
    return thread


class LogRecorder(logging.Handler):
    """Records what is logged, from a level on.

    Attributes:
        leaks: lines that show a secret.
        errors: lines at ERROR, of the plugin or of asyncio.
        lines: lines of the plugin at INFO and above.
    """

    def __init__(self, package: str, key: str, level: int) -> None:
        super().__init__(level)
        self.leaks: list[str] = []
        self.errors: list[str] = []
        self.lines: list[str] = []
        self._package = package
        self._key = key

    def emit(self, record: logging.LogRecord) -> None:
        """Record a line."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(_words_of(record.exc_info[1]))
        if self._key in text:
            self.leaks.append(f"the key is in a {record.levelname} line of {record.name}")
        if record.levelno < logging.INFO:
            return
        own = record.name.startswith(self._package)
        if own:
            self.lines.append(f"{record.levelname} {text}")
            if CANARY in text.lower():
                self.leaks.append(f"content in a {record.levelname} line of {record.name}: {text}")
        if record.levelno >= logging.ERROR and (own or record.name == "asyncio"):
            self.errors.append(f"{record.name}: {text}")


class Watchdog:
    """Watches one scenario.

    Args:
        package: name of the plugin's package.
        key: the key that must not be shown.
        test: qualified name of the test function.
        limit_s: bound on the scenario.
        level: log level from which on lines are searched for the key.
        allowed: findings that the scenario provokes.

    Attributes:
        findings: what was wrong, each with the id of the contract that it breaks.
        ending: closed at the end of the scenario.
    """

    def __init__(
        self,
        package: str,
        key: str,
        test: str,
        limit_s: float,
        level: int,
        allowed: frozenset[str],
    ) -> None:
        self.findings: list[tuple[str, str]] = []
        self.key = key
        self.allowed = allowed
        self.ending = contextlib.AsyncExitStack()
        self._test = test
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._pulse = pulse()
        self._logs = LogRecorder(package, key, level)
        self._limit: asyncio.TimerHandle | None = None
        self._threads = set(threading.enumerate())
        self._opened = _open_sockets()

    @property
    def log_lines(self) -> list[str]:
        """What the plugin logged at INFO and above so far."""
        return self._logs.lines

    @property
    def error_lines(self) -> list[str]:
        """What it logged at ERROR so far."""
        return self._logs.errors

    def begin(self) -> None:
        """Start to watch, until `ending` is closed."""
        root = logging.getLogger()
        enter = self.ending.enter_context
        enter(at_level(logging.INFO, root))
        enter(at_level(logging.WARNING, logging.getLogger(PROVIDERS_LOGGER)))
        if self._logs.level < logging.INFO:
            # A report of a failure needs no frame of the transport.
            quiet = [each for each in root.handlers if each.level == logging.NOTSET]
            enter(at_level(logging.INFO, *quiet))
            enter(at_level(self._logs.level, root))
        root.addHandler(self._logs)
        self._loop.set_exception_handler(self._on_loop_exception)
        self._limit = self._loop.call_later(self._limit_s, self._took_too_long)
        self._pulse.begin()
        self.ending.push_async_callback(self._end)

    def every_beat(self, look: Callable[[], None]) -> None:
        """Call a function at short intervals until the scenario ends."""
        self._pulse.every_beat(look)

    def found(self, contract: str, what: str) -> None:
        """Report that a contract does not hold."""
        if (contract, what) not in self.findings:
            self.findings.append((contract, what))

    def secrets(self, where: str, text: str) -> None:
        """Search something that others can read for secrets."""
        if self.key in text:
            self.found("OB1", f"the key is in {where}")
        if CANARY in text.lower():
            self.found("OB1", f"content is in {where}: {text}")

    async def listening(self, provider: "Provider") -> "Provider":
        """Let a provider listen until the scenario ends."""
        await provider.listen()
        self.ending.push_async_callback(self._dismiss, provider)
        return provider

    async def _dismiss(self, provider: "Provider") -> None:
        """Stop a provider, and report what it refused."""
        provider.accepts.set()
        provider.holds.set()
        try:
            async with asyncio.timeout(2 * LEFTOVER_S):
                await provider.__aexit__(None, None, None)
        except TimeoutError:
            self.found("LC6", "a connection does not end")
        if "violations" not in self.allowed:
            for each in provider.connections:
                for violation in each.violations:
                    self.found("SE4", f"on connection {each.number} was refused: {violation}")

    async def _end(self) -> None:
        """Stop, once nothing of the plugin is left or a moment has passed."""
        if self._limit is not None:
            self._limit.cancel()
        await self._find_leftovers()
        gaps = self._pulse.end()
        # Task exceptions that nobody retrieved are reported when the task is collected. The
        # young generations hold what a scenario leaves; a full collection takes 0.2 s a test.
        gc.collect(1)
        await asyncio.sleep(0)
        self._loop.set_exception_handler(None)
        logging.getLogger().removeHandler(self._logs)
        if "loop gaps" not in self.allowed:
            self.findings += [("RB4", gap) for gap in gaps]
        self.findings += [("OB1", leak) for leak in self._logs.leaks]
        if "error logs" not in self.allowed:
            self.findings += [("OB2", f"logged an error: {error}") for error in self._logs.errors]
        if "many logs" not in self.allowed and len(self._logs.lines) > MAX_LOG_RECORDS:
            lines = "\n".join(self._logs.lines[:3])
            self.findings.append(("OB2", f"{len(self._logs.lines)} log lines at INFO:\n{lines}"))

    async def _find_leftovers(self) -> None:
        current = asyncio.current_task()
        deadline = self._loop.time() + LEFTOVER_S
        while True:
            tasks = asyncio.all_tasks() - {current}
            threads = set(threading.enumerate()) - self._threads
            # The loop's own pool ends with the loop.
            threads = {each for each in threads if not each.name.startswith("asyncio_")}
            sockets = _open_sockets() - self._opened
            if not (tasks or threads or sockets) or self._loop.time() > deadline:
                break
            await asyncio.sleep(0.005)
        left = [f"task {task.get_coro()}" for task in tasks]
        left += [f"thread {thread.name}" for thread in threads]
        left += [f"socket {each}" for each in sockets]
        self.findings += [("LC6", f"left behind after close(): {each}") for each in left]
        for task in tasks:
            task.cancel()

    def _on_loop_exception(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, object]
    ) -> None:
        error = context.get("exception")
        text = f"{context.get('message')}"
        if isinstance(error, BaseException):
            text += "\n" + "".join(traceback.format_exception(error)[-4:])
        if "task exceptions" not in self.allowed:
            self.found("RB4", text)

    def _took_too_long(self) -> None:
        stacks = io.StringIO()
        for task in asyncio.all_tasks(self._loop):
            task.print_stack(limit=3, file=stacks)
        self.found("RB4", f"not done after {self._limit_s:g} s:\n{stacks.getvalue()}")
        for task in asyncio.all_tasks(self._loop):
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and coroutine.__qualname__ == self._test:
                task.cancel(f"the test took longer than {self._limit_s:g} s")


@contextlib.contextmanager
def at_level(level: int, *ones: logging.Logger | logging.Handler) -> Iterator[None]:
    """Set the level of loggers or handlers for a while."""
    before = [(each, each.level) for each in ones]
    for each in ones:
        each.setLevel(level)
    try:
        yield
    finally:
        for each, was in before:
            each.setLevel(was)


def _waited_by_thread() -> dict[str, float]:
    """How long each thread has waited for a processor so far, where the system says so.

    Each counts: the loop may wait for any of them, for the interpreter's lock or for it to start.
    """
    waited = {}
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it is gone
            text = (thread / "schedstat").read_text(encoding="ascii")
            waited[thread.name] = int(text.split()[1]) / 1e9
    return waited


def _stack_of(thread_id: int) -> str:
    """Where a thread stands, the newest call first."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        threads = file.read().decode(errors="replace").split("\n\n")
    mark = f"Thread 0x{thread_id:016x}"
    lines = next((each for each in threads if each.startswith(mark)), "").splitlines()
    return "\n".join(lines[1:7])


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise Frozen("the event loop stood still: see the end of this test's report")


def _wake(thread_id: int) -> None:
    """Raise Frozen in the main thread; elsewhere pytest-timeout ends the test."""
    if sys.platform != "win32" and thread_id == threading.main_thread().ident:
        signal.pthread_kill(thread_id, signal.SIGUSR2)


def _words_of(error: BaseException) -> Iterator[str]:
    """An error in its own words and those of what caused it, without any source line."""
    seen: BaseException | None = error
    while seen is not None:
        yield from traceback.format_exception_only(seen)
        seen = seen.__cause__ or seen.__context__


def _open_sockets() -> set[int]:
    """Descriptors of the sockets that are open, where the system lists them."""
    if not DESCRIPTORS.exists():
        return set()
    return {number for each in DESCRIPTORS.iterdir() if _is_socket(number := int(each.name))}


def _is_socket(descriptor: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False  # closed meanwhile: the listing's own
