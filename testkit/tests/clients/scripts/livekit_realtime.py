"""livekit-plugins-openai: RealtimeModel and its session, without a server."""

import asyncio
import logging
import sys

from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai import realtime
from voice import LONG, RATE, TOOL, microphone, report

log: list[str] = []


class Keep(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.append(f"{record.name}: {record.getMessage()} {record.exc_info or ''}")


@llm.function_tool
async def get_weather(city: str) -> str:
    """The weather somewhere."""
    return f"rain in {city}"


async def main(url: str) -> None:
    logging.getLogger().addHandler(Keep(logging.WARNING))
    model = realtime.RealtimeModel(
        model="gpt-realtime-2.1", api_key="any", base_url="http" + url[2:].removesuffix("/realtime")
    )
    session = model.session()
    errors: list[str] = []
    heard: asyncio.Queue[str] = asyncio.Queue()
    generations: asyncio.Queue = asyncio.Queue()
    started, sounding = asyncio.Event(), asyncio.Event()
    session.on("error", lambda event: errors.append(str(event.error)))
    session.on("generation_created", generations.put_nowait)
    session.on("input_speech_started", lambda event: started.set())
    session.on(
        "input_audio_transcription_completed",
        lambda event: heard.put_nowait(event.transcript) if event.is_final else None,
    )

    async def listened(generation):
        text, calls, message_id = "", [], None

        async def functions():
            async for call in generation.function_stream:
                calls.append(call)

        async def messages():
            nonlocal text, message_id
            async for message in generation.message_stream:
                message_id = message.message_id

                async def hear(message=message):
                    async for _ in message.audio_stream:
                        sounding.set()

                hearing = asyncio.create_task(hear())
                async for delta in message.text_stream:
                    text += str(delta)
                await hearing

        async with asyncio.timeout(10):
            await asyncio.gather(functions(), messages())
        return text, calls, message_id

    async def ask(text):
        context = session.chat_ctx.copy()
        context.add_message(role="user", content=text)
        await session.update_chat_ctx(context)
        return await session.generate_reply()

    async def next_generation():
        async with asyncio.timeout(10):
            return await generations.get()

    async def speak(seconds):
        async for frame in microphone(seconds):
            session.push_audio(rtc.AudioFrame(frame, RATE, 1, len(frame) // 2))

    await session.update_instructions("Be brief.")
    await session.update_tools([get_weather])
    report("configure")

    await ask("Hello canary")
    report("text", said=(await listened(await next_generation()))[0])

    await speak(1.0)
    generation = await next_generation()
    said = (await listened(generation))[0]
    report("speech", heard=await asyncio.wait_for(heard.get(), 5), said=said)

    await ask(TOOL)
    _, [call], _ = await listened(await next_generation())
    context = session.chat_ctx.copy()
    output = llm.FunctionCallOutput(
        call_id=call.call_id, name=call.name, output="rain in Oslo", is_error=False
    )
    context.insert(output)
    await session.update_chat_ctx(context)
    await session.generate_reply()
    report("tool", said=(await listened(await next_generation()))[0])

    started.clear()
    await ask(LONG)
    sounding.clear()
    generation = await next_generation()
    listening = asyncio.create_task(listened(generation))
    async with asyncio.timeout(5):
        await sounding.wait()
        speaking = asyncio.create_task(speak(0.5))
        await started.wait()
    session.interrupt()
    _, _, message_id = await listening
    session.truncate(
        message_id=message_id,
        modalities=["text", "audio"],
        audio_end_ms=100,
        audio_transcript="Sing",
    )
    report("barge-in", status="cancelled")
    await speaking
    report("after", said=(await listened(await next_generation()))[0])
    await session.aclose()
    await model.aclose()
    report("close", errors=errors + log)


asyncio.run(main(sys.argv[1]))
