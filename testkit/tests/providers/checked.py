"""A provider that writes down its frames, to be checked against the published schema later.

To check them in the middle of a scenario would hold up its event loop.
"""

import asyncio
import json
import os
import uuid
from pathlib import Path
from types import TracebackType

from realtime_testkit.providers.provider import Provider

FOLDER = "FRAMES_FOLDER"
"""Name of the environment variable that says where to write."""


class Checked(Provider):
    """Added to a class of providers; writes a file at the end of a scenario."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        if self.rewrite is not None:
            return  # a test changes frames on purpose
        for connection in self.connections:
            # What a client said that is no message was said on purpose.
            heard = [] if connection.violations else list(connection.frames)
            frames = {"sent": list(connection.sent), "heard": heard}
            await asyncio.to_thread(_write, frames)


def _write(frames: dict[str, list[str | bytes]]) -> None:
    path = Path(os.environ[FOLDER], f"{uuid.uuid4().hex}.json")
    path.write_text(json.dumps(frames), encoding="utf-8")
