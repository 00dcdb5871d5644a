"""pipecat-ai: OpenAIRealtimeLLMService in a pipeline."""

import asyncio
import sys

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMFullResponseEndFrame,
    LLMMessagesAppendFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner
from voice import LONG, RATE, TOOL, microphone, report

log: list[str] = []


class Seen(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.news = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self.news.set()
        await self.push_frame(frame, direction)

    def text(self, since: int = 0) -> str:
        return "".join(f.text for f in self.frames[since:] if isinstance(f, TTSTextFrame))

    def of(self, kind: type, since: int = 0) -> list[Frame]:
        return [frame for frame in self.frames[since:] if isinstance(frame, kind)]

    async def until(self, condition):
        async with asyncio.timeout(15):
            while not (found := condition()):
                self.news.clear()
                await self.news.wait()
            return found


async def main(url: str) -> None:
    logger.remove()
    logger.add(
        lambda message: log.append(message.strip()), level="WARNING", format="{name}: {message}"
    )
    properties = events.SessionProperties(
        instructions="Be brief.",
        audio=events.AudioConfiguration(
            input=events.AudioInput(
                transcription=events.InputAudioTranscription(),
                turn_detection=events.TurnDetection(),
            )
        ),
    )
    service = OpenAIRealtimeLLMService(
        api_key="any",
        base_url=url,
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime-2.1", session_properties=properties
        ),
    )

    async def get_weather(params) -> None:
        await params.result_callback(f"rain in {params.arguments['city']}")

    service.register_function("get_weather", get_weather)
    schema = FunctionSchema(
        name="get_weather",
        description="The weather somewhere.",
        properties={"city": {"type": "string"}},
        required=["city"],
    )
    context = LLMContext([], tools=ToolsSchema(standard_tools=[schema]))
    pair = LLMContextAggregatorPair(context)
    before, after = Seen(), Seen()
    pipeline = Pipeline([pair.user(), before, service, after, pair.assistant()])
    task = PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        idle_timeout_secs=None,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(task)
    running = asyncio.create_task(runner.run())

    async def ask(text: str) -> int:
        since = len(after.frames)
        message = {"role": "user", "content": text}
        frame = LLMMessagesAppendFrame([message], run_llm=True)
        if since and after.text():  # behind the user's aggregator, once the context is known
            await before.push_frame(frame)
        else:
            await task.queue_frames([frame])
        return since

    async def speak(seconds: float) -> int:
        since = len(after.frames)
        async for frame in microphone(seconds):
            await task.queue_frame(InputAudioRawFrame(frame, RATE, 1))
        return since

    report("configure")
    since = await ask("Hello canary")
    await after.until(lambda: after.of(LLMFullResponseEndFrame, since))
    report("text", said=after.text(since))

    since = await speak(1.0)
    await after.until(lambda: after.of(LLMFullResponseEndFrame, since))
    frames = before.of(TranscriptionFrame) + after.of(TranscriptionFrame)
    report("speech", heard=frames[0].text if frames else None, said=after.text(since))

    since = await ask(TOOL)
    await after.until(lambda: "rain in Oslo" in after.text(since))
    await after.until(lambda: len(after.of(LLMFullResponseEndFrame, since)) >= 2)
    report("tool", said=after.text(since))

    since = await ask(LONG)
    await after.until(lambda: after.of(TTSAudioRawFrame, since))
    since = await speak(0.5)
    await after.until(lambda: "speech of" in after.text(since))
    report("barge-in", status="cancelled")
    report("after", said=after.text(since))
    errors = [frame.error for frame in after.of(ErrorFrame) + before.of(ErrorFrame)]
    await task.queue_frame(EndFrame())
    await asyncio.wait_for(running, 15)
    report("close", errors=errors + log)


asyncio.run(main(sys.argv[1]))
