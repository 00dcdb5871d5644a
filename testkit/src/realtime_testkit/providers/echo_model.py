"""The provider's own behaviour: it says back what it hears and reads."""

import asyncio
import itertools
import logging
from collections import deque
from dataclasses import dataclass

from realtime_testkit import protocol

from .codec import ResponseRequest
from .codec import Turn as Said
from .echo_answer import Answer, AnswerWriter, usage_of
from .echo_calls import EchoCalls
from .echo_input import EchoInput, Spoken, Transcriber
from .line import Line
from .scenario import Scenario
from .turn_detector import TurnBegan

MAX_QUEUE = 20
"""How many requests may wait for the response before them."""

MAX_OUT_OF_BAND = 16
"""More responses than this beside the conversation's are refused."""

STILL_THERE = "Are you still there?"


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manners:
    """What a provider does by itself; see the attributes of `Provider`."""

    goes_on_after_tools: bool = False
    new_request_interrupts: bool = False
    queues_requests: bool = False
    scenario: Scenario | None = None


class EchoModel:
    """Hears, repeats, obeys.

    Args:
        line: what it says goes out here.
        transcribe: what it understands, given the seconds of speech it heard.
        pace: speed of its speech, 1.0 for real time; 0 says everything at once.
        holds: cleared, the last piece of each response is kept back.
        manners: what it does by itself.
    """

    def __init__(
        self,
        line: Line,
        transcribe: Transcriber,
        pace: float,
        holds: asyncio.Event,
        manners: Manners | None = None,
    ) -> None:
        self._manners = manners or Manners()
        self._line = line
        self._pace = pace
        self._writer = AnswerWriter(line, pace, holds)
        self._numbers = itertools.count(1)
        self._said: deque[Said] = deque(maxlen=8)
        self._calls = EchoCalls(line)
        self._input = EchoInput(line, transcribe)
        self._answers: dict[str, Answer] = {}
        self._queue: deque[Answer] = deque(maxlen=MAX_QUEUE)
        self._idle: asyncio.Task[None] | None = None

    async def hear(self, command: protocol.Command) -> None:
        """React to a command as a provider does."""
        match command:
            case protocol.AppendAudio(data):
                await self._listen(data)
            case protocol.CommitAudio():
                spoken = await self._input.commit_by_hand()
                if spoken is not None:
                    self._said.append(Said("user", spoken.text))
            case protocol.ClearAudio():
                self._input.clear()
            case protocol.AddMessage(role, text, images):
                self._said.append(Said(role, text or ("a picture" if images else "")))
            case protocol.AppendImage():
                self._said.append(Said("user", "a picture"))
            case protocol.AddToolResult(call_id, _, output):
                self._said.append(Said("tool", self._calls.result_of(call_id, output)))
                if self._manners.goes_on_after_tools:
                    request = ResponseRequest(self._line.effective_config)
                    text = self._said[-1].text
                    await self._make_room()
                    self._begin(self._answer_of(request, text, text, may_call=False))
            case protocol.ApproveToolCall(request_id, approve):
                await self._go_on(request_id, approve)
            case protocol.CreateResponse():
                await self._answer(command)
            case protocol.CancelResponse(response_id):
                await self._cancel_by_hand(response_id)

    async def hush(self) -> None:
        """Stop everything, without a word."""
        answers = list(self._answers.values())
        self._answers.clear()
        self._stop_waiting()
        tasks = [answer.task for answer in answers if answer.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def _present(self) -> Answer | None:
        """The response that the conversation waits for."""
        running = (each for each in self._answers.values() if not each.request.out_of_band)
        return next(running, None)

    async def _listen(self, data: bytes) -> None:
        detection = self._line.turn_detection
        match await self._input.listen(data, detection):
            case TurnBegan():
                self._stop_waiting()
                self._queue.clear()
                interrupts = detection is not None and detection.interrupt_response
                if interrupts and self._present is not None:
                    await self._cancel(self._present, "turn_detected")
            case Spoken(text, audio):
                self._said.append(Said("user", text))
                answers = detection is not None and detection.create_response
                if answers and self._present is None:
                    request = ResponseRequest(self._line.effective_config)
                    said = f"You said: {text}"
                    self._begin(self._answer_of(request, said, text, heard=audio))

    async def _answer(self, command: protocol.CreateResponse) -> None:
        request = self._line.request(command)
        beside = [each for each in self._answers.values() if each.request.out_of_band]
        if not request.out_of_band and self._manners.new_request_interrupts:
            await self._make_room()
        if not request.out_of_band and self._present is not None:
            if self._manners.queues_requests:
                self._queue.append(self._made(request, command))
                return
            code = "conversation_already_has_active_response"
            await self._line.refuse(protocol.Fault(code, command.request_id))
            return
        if len(beside) >= MAX_OUT_OF_BAND:
            await self._line.refuse(protocol.Fault("rate_limit_exceeded", command.request_id))
            return
        self._begin(self._made(request, command))

    def _made(self, request: ResponseRequest, command: protocol.CreateResponse) -> Answer:
        """The answer to a request, as things stand."""
        context = self._said if request.context is None else request.context
        last = context[-1] if context else None
        match last:
            case Said("user", asked):
                text = f"You said: {asked}"
            case Said("tool", asked):
                text = asked
            case _:
                asked = text = request.instructions or (last.text if last else "Hello")
        answer = self._answer_of(
            request, text, asked, may_call=last is None or last.speaker != "tool"
        )
        answer.request_id = command.request_id
        return answer

    async def _make_room(self) -> None:
        """Cancel the present response, for another one."""
        if self._present is not None:
            await self._cancel(self._present, "client_cancelled")

    def _answer_of(
        self,
        request: ResponseRequest,
        text: str,
        asked: str,
        *,
        heard: bytes = b"",
        may_call: bool = True,
    ) -> Answer:
        response_id = f"response_{next(self._numbers)}"
        text = text if text.strip() else "Hello"
        scenario = self._manners.scenario
        reply = scenario.reply_to(asked) if scenario is not None and may_call else None
        if reply is not None:
            heard, text = b"", reply.say or text
        return Answer(response_id, request, text, asked, None, heard, may_call, reply)

    def _begin(self, answer: Answer) -> None:
        self._stop_waiting()
        self._answers[answer.response_id] = answer
        answer.task = asyncio.create_task(self._respond(answer))

    async def _cancel_by_hand(self, response_id: str | None) -> None:
        answer = self._present if response_id is None else self._answers.get(response_id)
        if answer is None:
            await self._line.refuse(protocol.Fault("response_cancel_not_active", harmless=True))
        else:
            await self._cancel(answer, "client_cancelled")

    async def _cancel(self, answer: Answer, why: str) -> None:
        if answer.task is not None:
            answer.task.cancel()
            await asyncio.wait([answer.task])
        if self._answers.pop(answer.response_id, None) is not None:
            done = protocol.ResponseDone(answer.response_id, "cancelled", code=why)
            await self._say(done)

    async def _respond(self, answer: Answer) -> None:
        response_id, config = answer.response_id, answer.request.config
        item_id = f"item_{next(self._numbers)}"
        send = self._say
        try:
            await send(protocol.ResponseStarted(response_id, answer.request_id))
            tool = self._calls.tool_of(answer)
            status: protocol.ResponseStatus = "completed"
            code: str | None = None
            text, limit = answer.text, answer.request.max_tokens
            if limit is not None and len(text.split()) > limit:
                text, status = " ".join(text.split()[:limit]), "incomplete"
                code = "max_output_tokens"
            if tool is not None:
                status, code = "completed", None
                result = await self._calls.call(answer, tool)
                if result is not None:
                    self._said.append(Said("tool", result))
            elif answer.reply is not None and answer.reply.fail is not None:
                status, code = "failed", answer.reply.fail
            elif config.modalities == "text":
                await self._writer.write(response_id, item_id, text, status)
            else:
                await self._writer.speak(answer, item_id, text, status)
            if not answer.request.out_of_band and tool is None:
                self._said.append(Said("assistant", text))
            self._answers.pop(response_id, None)
            await send(protocol.ResponseDone(response_id, status, usage_of(answer), code))
            self._wait_for_user(answer)
            if self._queue and self._present is None:
                self._begin(self._queue.popleft())
            if answer.reply is not None and answer.reply.close is not None:
                await self._line.close(answer.reply.close)
        except ConnectionError:
            logger.debug("The client of %s is gone", response_id)
            self._answers.pop(response_id, None)

    async def _say(self, *said: protocol.Event) -> None:
        for event in said:
            await self._line.say_if_supported(event)

    async def _go_on(self, approval: str, approve: bool) -> None:
        """Call the tool that a client approved."""
        allowed = self._calls.allowed(approval)
        if allowed is None or not approve:
            return
        tool, given = allowed
        await self._make_room()
        request = ResponseRequest(self._line.effective_config)
        answer = self._answer_of(request, tool.name, tool.name)
        answer.tool, answer.approved = tool, given
        self._begin(answer)

    def _wait_for_user(self, answer: Answer) -> None:
        """Prompt a user who says nothing, where the session asks for it."""
        detection = self._line.turn_detection
        if detection is None or detection.idle_ms is None or answer.request.out_of_band:
            return
        self._stop_waiting()
        played_s = 0.0 if self._pace else answer.spoken_s
        self._idle = asyncio.create_task(self._prompt(played_s, detection.idle_ms))

    async def _prompt(self, played_s: float, idle_ms: int) -> None:
        await asyncio.sleep(played_s + idle_ms / 1000)
        self._idle = None
        try:
            await self._input.commit_idle(idle_ms)
        except ConnectionError:
            return
        if self._present is None:
            request = ResponseRequest(self._line.effective_config)
            self._begin(self._answer_of(request, STILL_THERE, ""))

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
