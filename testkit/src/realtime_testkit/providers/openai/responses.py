"""Writes the frames of responses: their items, the parts of these, and what goes in them."""

from realtime_testkit import protocol

from .conversation import Conversation, Entry
from .frames import Frames, JSONObject, Sent
from .outcomes import details_of, usage_of
from .output_items import OutputItem, Part, Response


class ResponseWriter:
    """Writes the frames of responses."""

    def __init__(self, frames: Frames, conversation: Conversation) -> None:
        self._frames = frames
        self._conversation = conversation

    def begin(self, response: Response) -> Sent:
        """The response was created."""
        resource = self._resource(response, "in_progress")
        return [self._frames.frame("response.created", response=resource)]

    def part(
        self, response: Response, item_id: str, place: tuple[int, int], spoken: bool
    ) -> tuple[OutputItem, Part, Sent]:
        """The part of a message, opened where it is new; the frames say so."""
        output_index, content_index = place
        sent: Sent = []
        item = response.item(item_id, output_index)
        if item is None:
            message: JSONObject = {"type": "message", "role": "assistant", "content": []}
            item, sent = self.open_item(response, item_id, message, output_index)
        part = item.parts.get((content_index, spoken))
        if part is None:
            taken = {part.index for part in item.parts.values()}
            index = content_index if content_index not in taken else max(taken) + 1
            part = item.parts[content_index, spoken] = Part(index, spoken)
            sent.append(self._about(response, item, part, "content_part.added", part=part.event))
        return item, part, sent

    def open_item(
        self, response: Response, item_id: str, fields: JSONObject, output_index: int = 0
    ) -> tuple[OutputItem, Sent]:
        """Begin an item of a response."""
        sent = self.close_items(response, "completed")
        taken = {item.index for item in response.items}
        index = output_index if output_index not in taken else response.index
        about: JSONObject = {"id": item_id, **fields}
        if fields["type"] in ("message", "function_call"):
            about |= {"object": "realtime.item", "status": "in_progress"}
        item = OutputItem(index, Entry(about))
        response.items.append(item)
        place = {"response_id": response.response_id, "output_index": index}
        sent.append(self._frames.frame("response.output_item.added", **place, item=about))
        if not response.out_of_band:
            previous = self._conversation.last_id
            if item_id not in self._conversation:
                previous = self._conversation.add(item_id, item.entry)
            sent.append(
                self._frames.frame("conversation.item.added", previous_item_id=previous, item=about)
            )
        return item, sent

    def delta(self, response: Response, item: OutputItem, part: Part, delta: object) -> str:
        """The next piece of a text."""
        kind = "output_audio_transcript" if part.spoken else "output_text"
        return self._about(response, item, part, f"{kind}.delta", delta=delta)

    def audio(self, response: Response, item: OutputItem, part: Part, data: bytes) -> str:
        """The next piece of speech, as it goes out."""
        return self._about(response, item, part, "output_audio.delta", delta=data)

    def close_text(
        self, response: Response, item: OutputItem, part: Part, *, again: bool = False
    ) -> Sent:
        """The text of a part is complete, and so is its audio."""
        sent: Sent = []
        if part.spoken and not part.audio_done:
            part.audio_done = True
            sent.append(self._about(response, item, part, "output_audio.done"))
        if again or not part.text_done:
            part.text_done = True
            kind = "output_audio_transcript" if part.spoken else "output_text"
            said = {"transcript" if part.spoken else "text": part.text}
            sent.append(self._about(response, item, part, f"{kind}.done", **said))
        if not part.done:
            part.done = True
            sent.append(self._about(response, item, part, "content_part.done", part=part.event))
        return sent

    def close_item(self, response: Response, item: OutputItem, status: str) -> Sent:
        """An item is complete, or stays incomplete."""
        if item.done:
            return []
        item.done = True
        sent: Sent = []
        for part in item.parts.values():
            sent += self.close_text(response, item, part)
        about = item.entry.item
        if "status" in about:
            about["status"] = status
        if item.parts:
            parts = sorted(item.parts.values(), key=lambda part: part.index)
            about["content"] = [part.content for part in parts]
        place = {"response_id": response.response_id, "output_index": item.index}
        if not response.out_of_band:
            sent.append(self._item_done(item))
        sent.append(self._frames.frame("response.output_item.done", **place, item=about))
        return sent

    def close_items(self, response: Response, status: str) -> Sent:
        """All items that are still open are closed."""
        sent: Sent = []
        for item in response.items:
            sent += self.close_item(response, item, status)
        return sent

    def end(self, response: Response, done: protocol.ResponseDone) -> Sent:
        """The response ended."""
        completed = done.status == "completed"
        sent = self.close_items(response, "completed" if completed else "incomplete")
        resource = self._resource(response, done.status) | {
            "status_details": details_of(done),
            "usage": usage_of(done.usage),
        }
        sent.append(self._frames.frame("response.done", response=resource))
        limit = {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 0.06}
        sent.append(self._frames.frame("rate_limits.updated", rate_limits=[limit]))
        return sent

    def _item_done(self, item: OutputItem) -> str:
        previous = self._conversation.before(item.item_id)
        return self._frames.frame(
            "conversation.item.done", previous_item_id=previous, item=item.entry.item
        )

    def _about(
        self, response: Response, item: OutputItem, of: Part, kind: str, **said: object
    ) -> str:
        place = self.place(response, item)
        return self._frames.frame(f"response.{kind}", **place, content_index=of.index, **said)

    def place(self, response: Response, item: OutputItem) -> JSONObject:
        """The fields that say where in a response an item is."""
        return {
            "response_id": response.response_id,
            "item_id": item.item_id,
            "output_index": item.index,
        }

    def _resource(self, response: Response, status: str) -> JSONObject:
        outputs = sorted(response.items, key=lambda item: item.index)
        return {
            "object": "realtime.response",
            "id": response.response_id,
            "status": status,
            "status_details": None,
            "output": [item.entry.item for item in outputs],
            **response.settings,
            "usage": None,
        }
