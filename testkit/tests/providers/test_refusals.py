"""What the embedded OpenAI provider refuses, and that it does not act on it."""

import base64
import json

import pytest
from realtime_testkit.providers.openai import Provider

from .conversing import Client, client_of, tone


class TestOneResponseAtATime:
    async def test_a_second_response_is_refused(self, client: Client, provider: Provider) -> None:
        provider.holds.clear()
        await client.ask("Hello")
        await client.until("response.created")
        await client.say("response.create", event_id="second")
        error = await client.refused("conversation_already_has_active_response")
        assert error["event_id"] == "second"
        provider.holds.set()
        await client.until("response.done")
        await client.ask("Again")
        await client.until("response.done")
        assert client.kinds().count("response.created") == 2

    async def test_out_of_band_responses_run_beside_it(
        self, client: Client, provider: Provider
    ) -> None:
        provider.holds.clear()
        await client.ask("Hello")
        first = await client.until("response.created")
        for _ in range(2):
            await client.say("response.create", response={"conversation": "none"})
            await client.until("response.created")
        await client.say("response.cancel", response_id=first["response"]["id"])
        assert (await client.until("response.done"))["response"]["id"] == first["response"]["id"]


class TestNothingToDo:
    async def test_nothing_to_cancel(self, client: Client) -> None:
        await client.say("response.cancel", event_id="mine")
        assert (await client.refused("response_cancel_not_active"))["event_id"] == "mine"
        await client.ask("Hello")
        await client.until("response.done")

    async def test_nothing_to_commit(self, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": None}})
        await client.speak(tone(0.05))
        await client.say("input_audio_buffer.commit", event_id="mine")
        assert (await client.refused("input_audio_buffer_commit_empty"))["event_id"] == "mine"
        assert "input_audio_buffer.committed" not in client.kinds()

    @pytest.mark.parametrize(
        ("kind", "code"),
        [
            ("conversation.item.delete", "item_delete_invalid_item_id"),
            ("conversation.item.retrieve", "item_retrieve_invalid_item_id"),
            ("conversation.item.truncate", "item_truncate_invalid_item_id"),
        ],
    )
    async def test_an_unknown_item(self, client: Client, kind: str, code: str) -> None:
        place = {"content_index": 0, "audio_end_ms": 0} if kind.endswith("truncate") else {}
        await client.say(kind, item_id="nowhere", event_id="mine", **place)
        error = await client.refused(code)
        assert (error["param"], error["event_id"]) == ("item_id", "mine")

    async def test_only_answers_are_truncated(self, client: Client) -> None:
        await client.write("Hello", id="mine")
        await client.say(
            "conversation.item.truncate", item_id="mine", content_index=0, audio_end_ms=0
        )
        await client.refused("item_truncate_invalid_item_id")


class TestUnreadable:
    @pytest.mark.parametrize(
        ("frame", "code", "param"),
        [
            ("{", "invalid_json", None),
            ('{"type": "no.such"}', "invalid_value", "type"),
            ("{}", "missing_required_parameter", "type"),
            ('{"type": "response.create", "x": 1}', "unknown_parameter", "x"),
            ('{"type": "response.cancel", "response_id": 1}', "invalid_type", "response_id"),
            (
                '{"type": "response.create", "response": {"audio": {"output": {"speed": 9}}}}',
                "invalid_value",
                "response.audio.output.speed",
            ),
            ('{"type": "conversation.item.delete"}', "missing_required_parameter", "item_id"),
            ('{"type": "output_audio_buffer.clear"}', "invalid_value", "type"),
            ('{"type": "input_audio_buffer.append", "audio": "AA=="}', "invalid_value", "audio"),
        ],
    )
    async def test_a_frame_that_is_no_message(
        self, provider: Provider, frame: str, code: str, param: str | None
    ) -> None:
        """It is answered with the code, the parameter and the client's id, and the session goes on."""
        async with client_of(provider) as client:
            await client.websocket.send(frame)
            error = await client.refused(code)
            assert error["param"] == param
            assert error["type"] == "invalid_request_error"
            assert error["message"]
            await client.ask("Hello")
            await client.until("response.done")

    async def test_an_error_names_the_message_that_caused_it(self, client: Client) -> None:
        await client.say("response.create", event_id="mine", response={"nonsense": 1})
        error = await client.refused("unknown_parameter")
        assert (error["event_id"], error["param"]) == ("mine", "response.nonsense")

    async def test_an_event_id_is_used_once(self, client: Client) -> None:
        await client.say("input_audio_buffer.clear", event_id="mine")
        await client.say("input_audio_buffer.clear", event_id="mine")
        await client.refused("invalid_value")
        assert client.kinds().count("input_audio_buffer.cleared") == 1

    async def test_too_much_audio_in_one_message(self, client: Client) -> None:
        audio = base64.b64encode(bytes(15 * 1024 * 1024 + 2)).decode()
        await client.say("input_audio_buffer.append", audio=audio)
        await client.refused("invalid_value")


class TestBounds:
    async def test_a_flood_of_items_and_ids_is_forgotten(self, client: Client) -> None:
        """After thousands of messages the oldest are gone, and the session goes on."""
        await client.write("The first", id="first")
        content = [{"type": "input_text", "text": "x"}]
        item = {"type": "message", "role": "user", "content": content}
        for number in range(2100):
            await client.say("conversation.item.create", item=item, event_id=f"e{number}")
        for _ in range(2100):
            await client.until("conversation.item.done")
        await client.say("conversation.item.retrieve", item_id="first")
        await client.refused("item_retrieve_invalid_item_id")

    async def test_recordings_keep_to_their_limit(self) -> None:
        async with Provider(scripted=True) as provider:
            provider.recording_limit = 100_000
            async with client_of(provider) as client:
                for _ in range(500):
                    await client.speak(bytes(4800))
                await client.say("input_audio_buffer.clear")
                await client.until("input_audio_buffer.cleared")
            [connection] = provider.connections
            kept = sum(len(json.dumps(str(frame))) for frame in connection.frames)
            assert kept < 100_000

    async def test_a_flood_of_text_is_forgotten(self, client: Client) -> None:
        """A conversation of more than 32 MiB loses its oldest items."""
        await client.write("The first", id="first")
        for _ in range(9):
            await client.write("x" * (4 * 1024 * 1024))
        await client.say("conversation.item.retrieve", item_id="first")
        await client.refused("item_retrieve_invalid_item_id")

    async def test_an_error_holds_little_of_what_it_is_about(self, client: Client) -> None:
        await client.say("x" * 1_000_000)
        assert len((await client.refused("invalid_value"))["message"]) < 600
