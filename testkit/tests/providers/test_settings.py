"""The embedded OpenAI provider obeys the settings of sessions and responses."""

import base64
import json
from typing import Literal

import pytest
from getstream.video.rtc.track_util import PcmData
from realtime_testkit.providers.openai import Provider

from .conversing import Client, client_of, silence, tone


class TestSessions:
    async def test_a_session_begins_with_effective_defaults(self, client: Client) -> None:
        session = client.heard[0]["session"]
        assert session["model"] == "a-model"
        assert session["output_modalities"] == ["audio"]
        assert session["instructions"]
        assert session["audio"]["output"]["voice"]
        detection = session["audio"]["input"]["turn_detection"]
        assert (detection["type"], detection["silence_duration_ms"]) == ("server_vad", 500)
        assert (detection["create_response"], detection["interrupt_response"]) == (True, True)

    async def test_a_client_that_configures_nothing_is_answered(self, client: Client) -> None:
        await client.ask("Hello")
        assert (await client.until("response.done"))["response"]["status"] == "completed"

    async def test_an_update_changes_what_it_names(self, client: Client) -> None:
        await client.configure(instructions="Be brief.")
        session = await client.configure(audio={"output": {"voice": "cedar"}})
        assert session["instructions"] == "Be brief."
        assert session["audio"]["output"]["voice"] == "cedar"
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"

    async def test_the_model_cannot_be_changed(self, client: Client) -> None:
        update = {"type": "realtime", "model": "another", "instructions": "x"}
        await client.say("session.update", session=update, event_id="mine")
        error = await client.refused("invalid_value")
        assert (error["param"], error["event_id"]) == ("model", "mine")
        assert (await client.configure())["instructions"] != "x"

    async def test_the_voice_cannot_be_changed_once_it_spoke(self, client: Client) -> None:
        await client.ask("Hello")
        await client.until("response.done")
        update = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
        await client.say("session.update", session=update)
        await client.refused("cannot_update_voice")

    async def test_transcription_needs_no_model(self, client: Client, provider: Provider) -> None:
        await client.configure(audio={"input": {"transcription": {}}})
        assert provider.connections[0].config is not None
        assert provider.connections[0].config.transcription is True


class TestTurnDetection:
    async def test_a_turn_ends_after_the_silence_of_the_session(self, client: Client) -> None:
        detection = {"type": "server_vad", "silence_duration_ms": 200, "create_response": False}
        await client.configure(audio={"input": {"turn_detection": detection}})
        await client.speak(tone(0.3) + silence(0.25))
        stopped = await client.until("input_audio_buffer.speech_stopped")
        assert stopped["audio_end_ms"] == 500

    async def test_a_louder_threshold_hears_less(self, client: Client) -> None:
        detection = {"type": "server_vad", "threshold": 1.0, "create_response": False}
        await client.configure(audio={"input": {"turn_detection": detection}})
        await client.speak(tone(0.3, amplitude=1000) + silence(0.6) + tone(0.3) + silence(0.6))
        started = await client.until("input_audio_buffer.speech_started")
        assert started["audio_start_ms"] >= 500

    async def test_semantic_detection_waits_as_eagerly_as_it_is_told(self, client: Client) -> None:
        detection = {"type": "semantic_vad", "eagerness": "high"}
        await client.configure(audio={"input": {"turn_detection": detection}})
        await client.speak(tone(0.3) + silence(0.35))
        await client.until("response.done")

    async def test_without_detection_turns_are_committed_by_hand(self, client: Client) -> None:
        await client.configure(audio={"input": {"turn_detection": None}})
        await client.speak(tone(0.5) + silence(1.0))
        await client.say("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        assert "input_audio_buffer.speech_started" not in client.kinds()
        await client.say("response.create")
        said = await client.until("response.output_audio_transcript.done")
        assert said["transcript"] == "You said: speech of 1.5 seconds"

    async def test_an_idle_user_is_prompted(self, client: Client) -> None:
        detection = {"type": "server_vad", "idle_timeout_ms": 5000}
        await client.configure(audio={"input": {"turn_detection": detection}})
        await client.ask("Hi", output_modalities=["text"])
        await client.until("response.done")
        await client.until("input_audio_buffer.timeout_triggered")
        await client.until("input_audio_buffer.committed")
        await client.until("response.done")


class TestResponses:
    async def test_modalities_of_one_response(self, client: Client) -> None:
        await client.ask("Hello", output_modalities=["text"])
        done = await client.until("response.done")
        assert done["response"]["output_modalities"] == ["text"]
        assert done["response"]["output"][0]["content"][0]["type"] == "output_text"
        await client.ask("Hello")
        done = await client.until("response.done")
        assert done["response"]["output"][0]["content"][0]["type"] == "output_audio"

    async def test_input_of_one_response(self, client: Client) -> None:
        await client.write("Not this", id="other")
        await client.write("Not this either")
        given = [{"type": "item_reference", "id": "other"}]
        await client.say("response.create", response={"input": given, "metadata": {"a": "b"}})
        said = await client.until("response.output_audio_transcript.done")
        assert said["transcript"] == "You said: Not this"
        assert (await client.until("response.done"))["response"]["metadata"] == {"a": "b"}

    async def test_instructions_of_one_response_without_input(self, client: Client) -> None:
        given: dict[str, object] = {"input": [], "instructions": "Welcome the caller"}
        await client.say("response.create", response=given)
        said = await client.until("response.output_audio_transcript.done")
        assert said["transcript"] == "Welcome the caller"

    async def test_a_limit_of_tokens_leaves_a_response_incomplete(self, client: Client) -> None:
        await client.ask("one two three four five", max_output_tokens=3)
        response = (await client.until("response.done"))["response"]
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "max_output_tokens"

    async def test_out_of_band_responses_leave_the_conversation_alone(self, client: Client) -> None:
        await client.write("Hello")
        since = len(client.heard)
        await client.say("response.create", response={"conversation": "none"})
        done = await client.until("response.done")
        assert done["response"]["conversation_id"] is None
        assert "conversation.item.added" not in client.kinds(since)


@pytest.mark.parametrize(("kind", "mapping"), [("audio/pcmu", "mulaw"), ("audio/pcma", "alaw")])
async def test_telephone_formats_are_heard_and_spoken(
    kind: str, mapping: Literal["mulaw", "alaw"]
) -> None:
    """G.711 audio becomes a turn, and the answer is as loud as what was said."""
    async with Provider() as provider, client_of(provider) as client:
        await client.configure(
            audio={"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}}
        )
        said = tone(0.5, 8000) + silence(0.6, 8000)
        encoded = PcmData.from_bytes(said, 8000).g711_bytes(8000, 1, mapping)
        await client.speak(encoded, piece=800)
        await client.until("response.done")
        deltas = [m["delta"] for m in client.heard if m["type"] == "response.output_audio.delta"]
        heard = b"".join(base64.b64decode(delta) for delta in deltas)
        spoken = PcmData.from_g711(heard, 8000, 1, mapping)
        assert spoken.duration == pytest.approx(1.0, abs=0.1)
        assert abs(spoken.samples).max() == pytest.approx(8000, rel=0.1)
        assert json.loads(provider.connections[0].frames[0])["type"] == "session.update"
