"""What has to hold in every scenario: a loop that runs, nothing left behind, no secrets.

The loop is watched from a thread, for no asyncio timeout fires on a loop that
stands still. A frozen test fails with the line it froze at; the others go on.
"""

import asyncio
import contextlib
import ctypes
import gc
import inspect
import logging
import signal
import socket
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType

from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import loopback

TICK_S = 0.025
GAP_S = 0.25
FROZEN_S = 1.5
LIVE_LIMIT_S = 60.0
LEFTOVER_S = 1.0
DESCRIPTORS = "/proc/self/fd"
LISTED = Path(DESCRIPTORS).exists()
MAX_LOG_RECORDS = 100
CANARY = "canary"
"""In every text, instruction and tool value a test uses: it may show up nowhere else."""


class Frozen(BaseException):
    """Raised in a loop that stands still. No plugin's `except Exception` stops it."""


class Pulse(threading.Thread):
    """Watches from outside the loop of the scenario at hand. What it waits for a processor does
    not count: a busy machine is no frozen loop.
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
        self._seems = ""
        self._beaten_at = self._woken_at = self._waited_at = time.monotonic()
        self._waited = _waited_s()

    def begin(self) -> None:
        """Start to watch, from within the loop."""
        with self._looking:
            self._gaps, self._seems, self._on_beat = [], "", []
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
        """Call something all the time."""
        self._on_beat.append(look)

    def run(self) -> None:
        while True:
            time.sleep(TICK_S)
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
                self._waited, self._waited_at = _waited_s(), now
            return
        if now - self._beaten_at < GAP_S:
            return
        if not self._seems and _stood_s(self._beaten_at, self._waited) > GAP_S:
            frame = sys._current_frames().get(self._loop_thread)
            where = "".join(traceback.format_stack(frame)[-6:]) if frame else ""
            self._seems = f"the event loop stood still for {GAP_S:g} s at\n{where}"
        if _stood_s(self._woken_at, self._waited) > FROZEN_S:
            self._woken_at = time.monotonic()
            _raise_in(self._loop_thread)

    def _conclude(self) -> None:
        # The system says what a thread waited once it runs again: so it is asked again.
        if self._seems and _stood_s(self._beaten_at, self._waited) > GAP_S:
            self._gaps.append(self._seems)
        self._seems = ""

    def _beat(self) -> None:
        self._beaten = True
        for look in self._on_beat:
            look()
        self._timer = asyncio.get_running_loop().call_later(TICK_S / 2, self._beat)


class LogWatch(logging.Handler):
    """Hears every logger, from a level on."""

    def __init__(self, package: str, key: str, level: int) -> None:
        super().__init__(level)
        self.leaks: list[str] = []
        self.errors: list[str] = []
        self.loud: list[str] = []
        self._package = package
        self._key = key

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(_words_of(record.exc_info[1]))
        if self._key in text:
            self.leaks.append(f"the key is in a {record.levelname} line of {record.name}")
        if record.levelno < logging.INFO:
            return
        embedded = record.name.startswith(loopback.__name__)
        own = record.name.startswith(self._package) and not embedded
        if own:
            self.loud.append(f"{record.levelname} {text}")
            if CANARY in text.lower():
                self.leaks.append(f"content in a {record.levelname} line of {record.name}: {text}")
        if record.levelno >= logging.ERROR and (own or record.name == "asyncio"):
            self.errors.append(f"{record.name}: {text}")


class Watch:
    """One scenario under watch; `findings` is what broke, by contract id.

    Attributes:
        ending: what is to be ended with the scenario, last come first.

    Args:
        pulse: watches its loop.
        package: name of the plugin's package.
        key: the API key in use.
        test: the test's code, to end it where it takes too long.
        limit_s: how long the test may take.
        level: what is logged from here on is read. At DEBUG a transport tells of every
            frame, which takes longer than all the rest.
        allowed: findings this scenario is about: "error logs", "violations",
            "open connections", "many logs", "loop gaps", "task exceptions".
    """

    def __init__(
        self,
        pulse: Pulse,
        package: str,
        key: str,
        test: CodeType,
        limit_s: float,
        level: int,
        allowed: frozenset[str],
    ) -> None:
        self.findings: list[tuple[str, str]] = []
        self.key = key
        self.allowed = allowed
        self._test = test
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self.pulse = pulse
        self.ending = contextlib.AsyncExitStack()
        self._logs = LogWatch(package, key, level)
        self._limit: asyncio.TimerHandle | None = None
        self._threads = set(threading.enumerate())
        self._opened = _opened()

    def begin(self) -> None:
        """Start to watch, until `ending` is closed."""
        root = logging.getLogger()
        if self._logs.level < logging.INFO:
            # A failure's report needs no frame of the transport.
            quiet = [each for each in root.handlers if each.level == logging.NOTSET]
            self.ending.enter_context(at_level(logging.INFO, *quiet))
            self.ending.enter_context(at_level(self._logs.level, root))
        root.addHandler(self._logs)
        self._loop.set_exception_handler(self._on_loop_exception)
        self._limit = self._loop.call_later(self._limit_s, self._took_too_long)
        self.pulse.begin()
        self.ending.push_async_callback(self._end)

    async def _end(self) -> None:
        """Stop, once nothing of the plugin is left or a moment has passed."""
        if self._limit is not None:
            self._limit.cancel()
        await self._find_leftovers()
        gaps = self.pulse.end()
        gc.collect()  # tells of task exceptions nobody retrieved
        await asyncio.sleep(0)
        self._loop.set_exception_handler(None)
        logging.getLogger().removeHandler(self._logs)
        if "loop gaps" not in self.allowed:
            self.findings += [("RB4", gap) for gap in gaps]
        self.findings += [("OB1", leak) for leak in self._logs.leaks]
        if "error logs" not in self.allowed:
            self.findings += [("OB2", f"logged an error: {error}") for error in self._logs.errors]
        if "many logs" not in self.allowed and len(self._logs.loud) > MAX_LOG_RECORDS:
            lines = "\n".join(self._logs.loud[:3])
            self.findings.append(("OB2", f"{len(self._logs.loud)} log lines at INFO:\n{lines}"))

    def found(self, contract: str, what: str) -> None:
        """Report something that broke."""
        if (contract, what) not in self.findings:
            self.findings.append((contract, what))

    def secrets(self, where: str, text: str) -> None:
        """Look for secrets in something anybody may read."""
        if self.key in text:
            self.found("OB1", f"the key is in {where}")
        if CANARY in text.lower():
            self.found("OB1", f"content is in {where}: {text}")

    async def listening(self, provider: loopback.Provider) -> loopback.Provider:
        """Have a provider listen until the scenario ends."""
        await provider.listen()
        self.ending.push_async_callback(self._dismiss, provider)
        return provider

    async def _dismiss(self, provider: loopback.Provider) -> None:
        """Stop a provider, and hold what it was told against what a strict one takes."""
        provider.accepts.set()
        provider.holds.set()
        try:
            async with asyncio.timeout(2 * LEFTOVER_S):
                await provider.__aexit__(None, None, None)
        except TimeoutError:
            self.found("LC6", "a connection would not end")
        if "violations" not in self.allowed:
            for each in provider.connections:
                for violation in each.violations:
                    self.found("SE4", f"on connection {each.number} was refused: {violation}")

    @property
    def log_lines(self) -> list[str]:
        """What the plugin logged at INFO and above so far."""
        return self._logs.loud

    @property
    def error_lines(self) -> list[str]:
        """What it logged at ERROR so far."""
        return self._logs.errors

    async def _find_leftovers(self) -> None:
        current = asyncio.current_task()
        deadline = self._loop.time() + LEFTOVER_S
        while True:
            tasks = asyncio.all_tasks() - {current}
            threads = set(threading.enumerate()) - self._threads
            # The loop's own pool ends with the loop.
            threads = {each for each in threads if not each.name.startswith("asyncio_")}
            sockets = {each for each in _opened() - self._opened if _is_socket(each)}
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
        stacks: list[str] = []
        for task in asyncio.all_tasks(self._loop):
            at = [f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in task.get_stack()]
            stacks.append(f"  {task.get_coro()} at {', '.join(at)}")
        self.found("RB4", f"not done after {self._limit_s:g} s:\n" + "\n".join(stacks))
        for task in asyncio.all_tasks(self._loop):
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and coroutine.cr_code is self._test:
                task.cancel(f"the test took longer than {self._limit_s:g} s")


@contextlib.contextmanager
def at_level(level: int, *ones: logging.Logger | logging.Handler) -> Iterator[None]:
    """Have loggers or handlers pass what is of that level, for a while."""
    before = [(each, each.level) for each in ones]
    for each in ones:
        each.setLevel(level)
    try:
        yield
    finally:
        for each, was in before:
            each.setLevel(was)


def install() -> Pulse:
    """Let a frozen main thread be woken, in the middle of a blocking call too."""
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR2, _on_signal)
    pulse = Pulse()
    pulse.start()
    return pulse


def _waited_s() -> dict[str, float]:
    """How long each thread has waited for a processor so far, where the system says so.

    Each counts: the loop may wait for any, for the interpreter's lock or for it to start.
    """
    waited = {}
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it is gone
            text = (thread / "schedstat").read_text(encoding="ascii")
            waited[thread.name] = int(text.split()[1]) / 1e9
    return waited


def _stood_s(since: float, waited: dict[str, float]) -> float:
    """How long nothing happened, but for what was waited since then or shortly before."""
    now = _waited_s()
    return time.monotonic() - since - sum(now[name] - waited.get(name, 0.0) for name in now)


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise Frozen("the event loop stood still: see the end of this test's report")


def _raise_in(thread_id: int) -> None:
    if sys.platform != "win32" and thread_id == threading.main_thread().ident:
        signal.pthread_kill(thread_id, signal.SIGUSR2)
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread_id), ctypes.py_object(Frozen)
        )


def _words_of(error: BaseException) -> Iterator[str]:
    """An error in its own words and those of what caused it, without any source line."""
    seen: BaseException | None = error
    while seen is not None:
        yield from traceback.format_exception_only(seen)
        seen = seen.__cause__ or seen.__context__


def _opened() -> set[str]:
    """Names of what is open; where the system does not tell, the garbage collector does."""
    if LISTED:
        return {each.name for each in Path(DESCRIPTORS).iterdir()}
    sockets = [each for each in gc.get_objects() if type(each) is socket.socket]
    return {f"{id(each)} {each}" for each in sockets if each.fileno() != -1}


def _is_socket(name: str) -> bool:
    try:
        return not LISTED or stat.S_ISSOCK(Path(DESCRIPTORS, name).stat().st_mode)
    except OSError:
        return False  # closed meanwhile: the listing's own
