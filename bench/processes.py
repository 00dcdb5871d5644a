"""A provider in a process of its own, so that what it costs is not counted."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVarTuple, Unpack

Arguments = TypeVarTuple("Arguments")


@contextmanager
def serving(
    serve: Callable[[Connection, Unpack[Arguments]], None], *arguments: *Arguments
) -> Iterator[Connection]:
    """Run ``serve(pipe, *arguments)`` in a new process; gives the near end of its pipe.

    The process ends when the near end is closed, and is killed 5 s after that.
    """
    processes = multiprocessing.get_context("spawn")
    near, far = processes.Pipe()
    process = processes.Process(target=serve, args=(far, *arguments), daemon=True)
    process.start()
    far.close()
    try:
        yield near
    finally:
        near.close()
        process.join(5)
        process.kill()
