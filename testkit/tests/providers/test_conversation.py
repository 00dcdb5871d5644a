"""The embedded OpenAI provider tells everything about items that the API documents."""

from realtime_testkit.providers.openai import Provider

from .conversing import Client, silence, tone

MESSAGE = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
END_OF_SPEECH = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


class TestItems:
    async def test_a_message_is_added_and_done_with_the_id_of_the_client(
        self, client: Client
    ) -> None:
        done = await client.write("Hello", id="mine")
        assert client.kinds()[-2:] == ["conversation.item.added", "conversation.item.done"]
        assert (done["item"]["id"], done["item"]["status"]) == ("mine", "completed")
        assert done["previous_item_id"] is None
        after = await client.write("Again")
        assert after["previous_item_id"] == "mine"
        assert after["item"]["id"]

    async def test_a_message_is_inserted_where_the_client_says(self, client: Client) -> None:
        await client.write("One", id="one")
        await client.write("Three", id="three")
        item = {"type": "message", "role": "user", "content": [], "id": "two"}
        await client.say("conversation.item.create", item=item, previous_item_id="one")
        assert (await client.until("conversation.item.done"))["previous_item_id"] == "one"
        item = {**item, "id": "zero"}
        await client.say("conversation.item.create", item=item, previous_item_id="root")
        assert (await client.until("conversation.item.done"))["previous_item_id"] is None
        item = {**item, "id": "lost"}
        await client.say("conversation.item.create", item=item, previous_item_id="nowhere")
        await client.refused("item_create_invalid_previous_item_id")

    async def test_a_spoken_answer_is_told_in_full_and_in_order(self, client: Client) -> None:
        since = len(client.heard)
        await client.ask("Hello")
        done = await client.until("response.done")
        kinds = [kind for kind in client.kinds(since) if not kind.endswith(".delta")]
        assert kinds == [
            "conversation.item.added",
            "conversation.item.done",
            *MESSAGE,
            *END_OF_SPEECH,
        ]
        [item] = done["response"]["output"]
        assert item["status"] == "completed"
        assert item["content"] == [{"type": "output_audio", "transcript": "You said: Hello"}]

    async def test_a_spoken_turn_becomes_an_item_with_its_times(self, client: Client) -> None:
        await client.configure(audio={"input": {"transcription": {}}})
        await client.speak(silence(1.0) + tone(0.5) + silence(0.6))
        started = await client.until("input_audio_buffer.speech_started")
        stopped = await client.until("input_audio_buffer.speech_stopped")
        committed = await client.until("input_audio_buffer.committed")
        added = await client.until("conversation.item.added")
        completed = await client.until("conversation.item.input_audio_transcription.completed")
        assert 600 <= started["audio_start_ms"] <= 800, "1000 ms less the padding of 300 ms"
        assert 1900 <= stopped["audio_end_ms"] <= 2100, "the silence of 500 ms belongs to it"
        ids = {started["item_id"], stopped["item_id"], committed["item_id"], completed["item_id"]}
        assert ids == {added["item"]["id"]}
        assert completed["transcript"].startswith("speech of")

    async def test_items_are_retrieved_and_deleted(self, client: Client) -> None:
        await client.write("Hello", id="mine")
        await client.say("conversation.item.retrieve", item_id="mine")
        retrieved = await client.until("conversation.item.retrieved")
        assert retrieved["item"]["content"] == [{"type": "input_text", "text": "Hello"}]
        await client.say("conversation.item.delete", item_id="mine")
        assert (await client.until("conversation.item.deleted"))["item_id"] == "mine"
        await client.say("conversation.item.retrieve", item_id="mine", event_id="again")
        error = await client.refused("item_retrieve_invalid_item_id")
        assert error["event_id"] == "again"

    async def test_the_audio_of_a_turn_can_be_retrieved(self, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": None}})
        await client.speak(tone(0.2))
        await client.say("input_audio_buffer.commit")
        item_id = (await client.until("input_audio_buffer.committed"))["item_id"]
        await client.say("conversation.item.retrieve", item_id=item_id)
        [part] = (await client.until("conversation.item.retrieved"))["item"]["content"]
        assert part["type"] == "input_audio"
        assert len(part["audio"]) > 1000

    async def test_a_cleared_buffer_is_acknowledged(self, client: Client) -> None:
        await client.say("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")


class TestCancelledResponses:
    async def test_a_cancelled_response_holds_its_incomplete_item(
        self, client: Client, provider: Provider
    ) -> None:
        provider.holds.clear()
        await client.ask("Sing")
        await client.until("response.output_audio.delta")
        await client.say("response.cancel")
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        [item] = response["output"]
        assert item["status"] == "incomplete"
        assert "response.output_audio.done" in client.kinds()
        assert "response.content_part.done" in client.kinds()

    async def test_a_barge_in_cancels_and_the_answer_is_truncated(
        self, client: Client, provider: Provider
    ) -> None:
        provider.holds.clear()
        await client.ask("Sing a long song")
        first = await client.until("response.output_audio.delta")
        await client.speak(tone(0.2))
        await client.until("input_audio_buffer.speech_started")
        response = (await client.until("response.done"))["response"]
        assert response["status_details"]["reason"] == "turn_detected"
        place = {"item_id": first["item_id"], "content_index": 0}
        await client.say("conversation.item.truncate", **place, audio_end_ms=50)
        truncated = await client.until("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 50
        await client.say("conversation.item.truncate", **place, audio_end_ms=51)
        await client.refused("invalid_value")

    async def test_a_barge_in_leaves_the_answer_where_the_session_says_so(
        self, client: Client, provider: Provider
    ) -> None:
        detection = {"type": "server_vad", "interrupt_response": False, "create_response": False}
        await client.configure(audio={"input": {"turn_detection": detection}})
        provider.holds.clear()
        await client.ask("Sing a long song")
        await client.until("response.output_audio.delta")
        await client.speak(tone(0.2) + silence(0.6))
        await client.until("input_audio_buffer.committed")
        provider.holds.set()
        assert (await client.until("response.done"))["response"]["status"] == "completed"


class TestTools:
    async def test_a_call_and_its_result_are_items(self, client: Client) -> None:
        parameters = {
            "type": "object",
            "properties": {
                "day": {"type": ["string", "null"]},
                "place": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
            "required": ["day", "place"],
        }
        tool = {"type": "function", "name": "weather", "parameters": parameters}
        await client.configure(tools=[tool])
        await client.ask("The weather on Monday")
        call = await client.until("response.function_call_arguments.done")
        assert call["arguments"] == '{"day":"Monday","place":1}'
        await client.until("response.done")
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await client.say("conversation.item.create", item=result)
        await client.until("conversation.item.done")
        await client.say("response.create")
        said = await client.until("response.output_audio_transcript.done")
        assert said["transcript"] == "weather says rain"
        await client.say("conversation.item.create", item={**result, "call_id": "call_unknown"})
        await client.refused("invalid_tool_call_id")

    async def test_tools_of_a_server_are_listed_and_called(self, client: Client) -> None:
        server = {"type": "mcp", "server_label": "files", "server_url": "https://files.example"}
        allowed = {"allowed_tools": ["find"], "require_approval": "never"}
        await client.configure(tools=[{**server, **allowed}])
        await client.until("mcp_list_tools.completed")
        listed = await client.until("conversation.item.done")
        assert [tool["name"] for tool in listed["item"]["tools"]] == ["find"]
        await client.ask("Please find it")
        await client.until("response.mcp_call.completed")
        [item] = (await client.until("response.done"))["response"]["output"]
        assert (item["type"], item["name"], item["error"]) == ("mcp_call", "find", None)

    async def test_tool_choice_is_obeyed(self, client: Client) -> None:
        tools = [{"type": "function", "name": name} for name in ("a1", "b1")]
        await client.configure(tools=tools, tool_choice="none")
        await client.ask("Call a1")
        assert (await client.until("response.done"))["response"]["output"][0]["type"] == "message"
        await client.ask("Hello", tool_choice={"type": "function", "name": "b1"})
        assert (await client.until("response.done"))["response"]["output"][0]["name"] == "b1"
        await client.ask("Hello", tool_choice="required")
        assert (await client.until("response.done"))["response"]["output"][0]["name"] == "a1"
