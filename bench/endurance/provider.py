"""The testkit's embedded OpenAI provider in a process of its own, told what to do through a pipe.

It keeps no recordings, and what it uses is not counted.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe

from realtime_testkit.providers import openai

from bench import processes

from . import hostile
from .hostile import Frame

ANSWER_S = 30.0
"""How long the provider may take over one order."""

BESIDE = 5
"""How many hostile frames go out before each frame of an answer."""


class Orders:
    """Obeys what the other end of the pipe says."""

    def __init__(self, provider: openai.Provider) -> None:
        self._provider = provider
        self._hostile = hostile.frames()
        self._flood = hostile.flood()
        self._sent = 0
        self._closing: asyncio.Future[list[None]] | None = None

    def obey(self, order: str, number: int) -> int:
        """Do one thing; returns how many hostile frames were sent so far."""
        provider = self._provider
        match order:
            case "be hostile":
                provider.rewrite = self._among_hostile
            case "flood":
                provider.rewrite = lambda frame: self._flooded(frame, number)
            case "be silent":
                provider.rewrite = lambda frame: ()
            case "behave":
                provider.rewrite = None
                provider.holds.set()
            case "hold back":
                provider.holds.clear()
            case "close":
                # The client, which waits for this order, answers the close after it.
                closing = [each.close(number) for each in provider.connections]
                self._closing = asyncio.gather(*closing)
            case "break":
                for connection in list(provider.connections):
                    connection.abort()
            case "stop reading":
                for connection in list(provider.connections):
                    connection.freeze()
        return self._sent

    def _among_hostile(self, frame: Frame) -> Iterable[Frame]:
        self._sent += BESIDE
        return [*itertools.islice(self._hostile, BESIDE), frame]

    def _flooded(self, frame: Frame, number: int) -> Iterable[Frame]:
        if '"response.done"' not in str(frame):
            return (frame,)
        self._sent += number
        return itertools.chain((frame,), itertools.islice(self._flood, number))


class Provider:
    """The near end of the pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    def tell(self, order: str, number: int = 0) -> int:
        """Give an order; returns once it is obeyed, with the loop standing still meanwhile."""
        self._pipe.send((order, number))
        if not self._pipe.poll(ANSWER_S):
            raise TimeoutError(f"the provider did not {order} within {ANSWER_S:g} s")
        sent: int = self._pipe.recv()
        return sent


@contextmanager
def provider(*, pace: float = 0.0) -> Iterator[Provider]:
    """Run the process; ``pace`` is the speed of its speech, 0 for all at once."""
    with processes.serving(_serve, pace) as pipe:
        yield Provider(pipe)


def _serve(pipe: Pipe, pace: float) -> None:
    asyncio.run(_run(pipe, pace))


async def _run(pipe: Pipe, pace: float) -> None:
    served = openai.Provider(pace=pace)
    served.recording_limit = 0
    async with served:
        pipe.send(served.url)
        orders = Orders(served)
        while True:
            try:
                order, number = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            pipe.send(orders.obey(order, number))
