"""The openai SDK: `realtime.connect`."""

import asyncio
import base64
import json
import sys

from openai import AsyncOpenAI
from voice import LONG, TOOL, microphone, report

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather somewhere.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


async def main(url: str) -> None:
    base = url.removesuffix("/realtime")
    client = AsyncOpenAI(api_key="any", base_url="http" + base[2:], websocket_base_url=base)
    async with client.realtime.connect(model="gpt-realtime-2.1") as connection:
        errors: list[str] = []

        async def until(kind):
            async with asyncio.timeout(10):
                while True:
                    event = await connection.recv()
                    if event.type == "error":
                        errors.append(event.error.message)
                    if event.type == kind:
                        return event

        async def ask(text):
            content = [{"type": "input_text", "text": text}]
            item = {"type": "message", "role": "user", "content": content}
            await connection.conversation.item.create(item=item)
            await connection.response.create()

        async def speak(seconds):
            async for frame in microphone(seconds):
                await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())

        created = await until("session.created")
        transcription = {"model": "gpt-4o-transcribe"}
        audio = {"input": {"transcription": transcription}, "output": {"voice": "cedar"}}
        session = {"type": "realtime", "instructions": "Be brief.", "tools": [WEATHER]}
        await connection.session.update(session={**session, "audio": audio})
        updated = (await until("session.updated")).session
        report(
            "configure", was=created.session.audio.output.voice, voice=updated.audio.output.voice
        )

        await ask("Hello canary")
        done = await until("response.done")
        report("text", said=done.response.output[0].content[0].transcript)

        await speak(1.0)
        heard = await until("conversation.item.input_audio_transcription.completed")
        said = await until("response.output_audio_transcript.done")
        await until("response.done")
        report("speech", heard=heard.transcript, said=said.transcript)

        await ask(TOOL)
        call = await until("response.function_call_arguments.done")
        await until("response.done")
        city = json.loads(call.arguments)["city"]
        result = {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": f"rain in {city}",
        }
        await connection.conversation.item.create(item=result)
        await connection.response.create()
        said = await until("response.output_audio_transcript.done")
        await until("response.done")
        report("tool", said=said.transcript)

        await ask(LONG)
        first = await until("response.output_audio.delta")
        await speak(0.5)
        await until("input_audio_buffer.speech_started")
        done = await until("response.done")
        await connection.conversation.item.truncate(
            item_id=first.item_id, content_index=0, audio_end_ms=50
        )
        await until("conversation.item.truncated")
        report("barge-in", status=done.response.status, reason=done.response.status_details.reason)
        said = await until("response.output_audio_transcript.done")
        await until("response.done")
        report("after", said=said.transcript)
    report("close", errors=errors)


asyncio.run(main(sys.argv[1]))
