"""A provider whose every frame, sent and received, has to be valid by the published schema."""

from types import TracebackType

from realtime_testkit.providers.provider import Provider

from .published import faults_of


class Checked(Provider):
    """Added to a class of providers; the fault is raised at the end of a scenario."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        if self.rewrite is None:  # else a test changes frames on purpose
            found = [fault for each in self.connections for fault in faults_of(each)]
            assert not found, f"not as published: {', '.join(found)}"
