"""openai-agents: RealtimeRunner."""

import asyncio
import logging
import sys

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner
from voice import LONG, TOOL, microphone, report

log: list[str] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.append(record.getMessage())


@function_tool
async def get_weather(city: str) -> str:
    """The weather somewhere."""
    return f"rain in {city}"


async def main(url: str) -> None:
    logging.getLogger().addHandler(Keep(logging.WARNING))
    agent = RealtimeAgent(name="Canary", instructions="Be brief.", tools=[get_weather])
    settings = {
        "model_name": "gpt-realtime-2.1",
        "input_audio_transcription": {"model": "gpt-4o-transcribe"},
        "turn_detection": {"type": "server_vad", "interrupt_response": True},
    }
    runner = RealtimeRunner(agent, config={"model_settings": settings, "tracing_disabled": True})
    address = f"{url}?model=gpt-realtime-2.1"
    model_config = {"api_key": "any", "url": address, "initial_model_settings": settings}
    session = await runner.run(model_config=model_config)
    seen: list[object] = []
    news = asyncio.Event()
    async with session:

        async def read() -> None:
            async for event in session:
                seen.append(event)
                news.set()

        reading = asyncio.create_task(read())

        async def until(condition):
            async with asyncio.timeout(15):
                while (found := condition()) is None:
                    news.clear()
                    await news.wait()
                return found

        def history(role: str, text: str):
            for item in session._history:
                if getattr(item, "role", "") == role:
                    for part in item.content:
                        said = getattr(part, "transcript", None) or getattr(part, "text", None)
                        if said and text in said:
                            return said
            return None

        def count(kind: str) -> int:
            return sum(event.type == kind for event in seen)

        async def speak(seconds: float) -> None:
            async for frame in microphone(seconds):
                await session.send_audio(frame)

        async def quiet(ends: int):
            await until(lambda: count("agent_end") >= ends or None)

        report("configure")
        await session.send_message("Hello canary")
        report("text", said=await until(lambda: history("assistant", "Hello canary")))
        await quiet(1)
        await speak(1.0)
        heard = await until(lambda: history("user", "speech of"))
        report("speech", heard=heard, said=await until(lambda: history("assistant", "speech of")))
        await quiet(2)
        await session.send_message(TOOL)
        report("tool", said=await until(lambda: history("assistant", "rain in Oslo")))
        await quiet(4)
        before = count("audio")
        await session.send_message(LONG)
        await until(lambda: count("audio") > before + 1 or None)
        ends = count("agent_end")
        await speak(0.5)
        await until(lambda: count("audio_interrupted") or None)
        report("barge-in", status="cancelled")
        await quiet(ends + 2)
        said = [history("assistant", "speech of 0"), history("assistant", "speech of 1")]
        report("after", said=next(filter(None, said), None))
        errors = [str(event.error) for event in seen if event.type == "error"]
    await asyncio.wait([reading], timeout=5)
    report("close", errors=errors + log)


asyncio.run(main(sys.argv[1]))
