"""The demonstration holds its conversation, and writes what was said."""

import asyncio
import json
import wave
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy as np
import pytest
from aiortc import MediaStreamTrack
from click.testing import CliRunner
from getstream.video.rtc.track_util import PcmData
from PIL import Image
from realtime_testkit import demo
from realtime_testkit.demo_recording import FRAME_MS, Picture, Recording, Turn
from realtime_testkit.providers import plain
from vision_agents.core.edge.types import Participant
from vision_agents.core.llm import realtime
from vision_agents.core.llm.llm import LLMResponseFinal
from vision_agents.core.utils.video_forwarder import VideoForwarder
from websockets.asyncio.client import ClientConnection, connect

CLIPS = Path(demo.__file__).parent / "clips"
RATE = 24_000


class PlainRealtime(realtime.Realtime):
    """The least that holds a conversation over the plain wire."""

    provider_name = "plain_realtime"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = f"{url}?model=plain-1"
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._said = asyncio.Queue[str]()
        self._heard = self._text = ""
        self._caller: Participant | None = None

    async def connect(self) -> None:
        key = {"Authorization": "Bearer any"}
        self._socket = await connect(self._url, additional_headers=key)
        setup = {"model": "plain-1", "modality": "AUDIO", "inputHertz": RATE, "outputHertz": RATE}
        functions = [
            {"name": each["name"], "parameters": each["parameters_schema"]}
            for each in self.get_available_functions()
        ]
        await self._send(setup={**setup, "transcribes": True, "functions": functions})
        self._reading = asyncio.create_task(self._read(self._socket))

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reading is not None:
            await self._reading

    async def simple_response(
        self, text: str, participant: Participant | None = None
    ) -> AsyncGenerator[LLMResponseFinal, None]:
        turns = [{"role": "user", "parts": [{"text": text}]}]
        await self._send(clientContent={"turns": turns, "turnComplete": True})
        yield LLMResponseFinal(original=None, text=await self._said.get())

    async def simple_audio_response(self, pcm: PcmData, participant: Participant) -> None:
        self._caller = self._current_participant = participant
        if self._socket is not None:
            await self._socket.send(pcm.resample(RATE).to_bytes())

    async def watch_video_track(
        self, track: MediaStreamTrack, shared_forwarder: VideoForwarder | None = None
    ) -> None:
        """Ignored: this provider takes no video."""

    async def _read(self, socket: ClientConnection) -> None:
        async for frame in socket:
            if isinstance(frame, bytes):
                self._emit_audio_output_event(PcmData.from_bytes(frame, RATE))
                continue
            message = json.loads(frame)
            await self._handle(message.get("serverContent", {}))
            for call in message.get("toolCall", {}).get("functionCalls", []):
                output = await self.call_function(call["name"], call["args"])
                answer = {"id": call["id"], "name": call["name"], "response": {"output": output}}
                await self._send(toolResponse={"functionResponses": [answer]})
                await self._send(clientContent={"turnComplete": True})

    async def _handle(self, content: dict[str, dict[str, str] | bool]) -> None:
        match content:
            case {"interrupted": True}:
                await self.interrupt()
                self._emit_audio_output_done_event(interrupted=True)
                self._end()
            case {"turnComplete": True}:
                if self._text:
                    self._emit_audio_output_done_event()
                self._end()
            case {"outputTranscription": {"text": str(text)}}:
                self._text += text
                self._emit_agent_speech_transcription(self._text, mode="replacement")
            case {"inputTranscription": {"text": str(text)}}:
                self._current_participant = self._caller
                if not self._heard:
                    self._emit_user_speech_started()
                self._heard += text
                if content["inputTranscription"] != {"text": text}:
                    self._emit_user_speech_transcription(self._heard, mode="final")
                    self._emit_user_speech_ended()
                    self._heard = ""

    def _end(self) -> None:
        if self._text:
            self._emit_agent_speech_transcription(self._text, mode="final")
            self._said.put_nowait(self._text)
        self._text = ""

    async def _send(self, **message: object) -> None:
        if self._socket is not None:
            await self._socket.send(json.dumps(message))


class TestConversation:
    @pytest.fixture(scope="class")
    def output(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("demo") / "new" / "folder"

    @pytest.fixture(scope="class")
    def lines(self, output: Path) -> list[str]:
        """What the demonstration wrote."""
        written: list[str] = []
        held = demo.run(
            realtime=PlainRealtime, provider=plain.Provider, output=output, write=written.append
        )
        asyncio.run(held)
        return written

    @pytest.mark.parametrize(
        "what",
        [
            'caller  "Hello parrot, can you hear me?"',
            'agent   "You said: Hello parrot, can you hear me?"',
            'caller  types "Good morning"',
            'agent   "You said: Good morning"',
            "tool    get_weather('Amsterdam') is called",
            "tool    get_weather('Amsterdam') returns '18 degrees in Amsterdam'",
            'agent   "get_weather says 18 degrees in Amsterdam"',
            "caller  speaks up while the agent speaks",
            "agent   is silent, ",
            'agent   "You said: Stop, please."',
        ],
    )
    def test_what_happens_is_written(self, what: str, lines: list[str]) -> None:
        assert [line for line in lines if f"ms  {what}" in line], "\n".join(lines)

    def test_times_only_grow(self, lines: list[str]) -> None:
        times = [float(line[:8]) for line in lines if "ms  " in line[:13]]
        assert len(times) > 20
        assert times == sorted(times)

    def test_caller_and_agent_are_in_the_wav(self, lines: list[str], output: Path) -> None:
        with wave.open(str(output / "conversation.wav")) as file:
            assert (file.getnchannels(), file.getframerate()) == (2, demo.RATE)
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
        assert abs(samples[:, 0]).max() > 3000
        assert abs(samples[:, 1]).max() > 3000
        assert len(samples) / demo.RATE < demo.LIMIT_S

    def test_the_picture_is_written(self, lines: list[str], output: Path) -> None:
        with Image.open(output / "conversation.png") as picture:
            assert picture.width > picture.height > 400
        assert str(output / "conversation.png") in lines[-1]


class TestClips:
    @pytest.mark.parametrize(("name", "seconds"), [("hello.wav", 2.1), ("stop.wav", 1.4)])
    def test_clips_of_the_testkit_are_read(self, name: str, seconds: float) -> None:
        clip = demo.load_clip(CLIPS / name)
        assert {(pcm.sample_rate, pcm.channels, len(pcm.samples)) for pcm in clip.frames} == {
            (demo.RATE, 1, demo.FRAME)
        }
        assert len(clip.frames) * FRAME_MS / 1000 == pytest.approx(seconds, abs=0.2)

    def test_the_beginning_of_a_long_stereo_recording_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "long.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(44_100)
            file.writeframes(bytes(44_100 * 4 * (demo.MAX_INPUT_S + 2)))
        clip = demo.load_clip(path)
        assert len(clip.frames) * FRAME_MS == demo.MAX_INPUT_S * 1000

    def test_a_file_that_is_no_recording_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not audio", encoding="utf-8")
        with pytest.raises(ValueError, match=r"notes\.txt cannot be read"):
            demo.load_clip(path)

    def test_a_recording_without_audio_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.png"
        Image.new("RGB", (16, 16)).save(path)
        with pytest.raises(ValueError, match=r"picture\.png holds no audio"):
            demo.load_clip(path)


class TestLoadProvider:
    def test_the_class_of_a_file_is_returned(self, tmp_path: Path) -> None:
        path = tmp_path / "provider_double.py"
        path.write_text(
            "from realtime_testkit.providers import plain\n\n\nclass Provider(plain.Provider):\n"
            '    path = "/own"\n',
            encoding="utf-8",
        )
        provider = demo.load_provider(path)
        assert issubclass(provider, plain.Provider)
        assert provider.path == "/own"

    def test_a_file_without_one_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "provider_double.py"
        path.write_text("Provider = 1\n", encoding="utf-8")
        with pytest.raises(ValueError, match="no class Provider"):
            demo.load_provider(path)


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--input", "missing.wav"], "missing.wav"),
            (["--input", "notes.txt"], "Error: notes.txt cannot be read"),
            (["--output", "notes.txt"], "notes.txt"),
            (["--unknown"], "No such option"),
        ],
    )
    def test_a_bad_argument_is_one_error(self, arguments: list[str], said: str) -> None:
        runner = CliRunner()
        with runner.isolated_filesystem():
            Path("notes.txt").write_text("not audio", encoding="utf-8")
            command = demo.make_command(realtime=PlainRealtime, provider=plain.Provider)
            result = runner.invoke(command, arguments)
        assert result.exit_code != 0
        assert said in result.output
        assert result.output.count("Error:") == 1

    def test_help_names_the_options(self) -> None:
        command = demo.make_command(realtime=PlainRealtime, provider=plain.Provider)
        printed = CliRunner().invoke(command, ["--help"]).output
        assert "--input" in printed
        assert "--output" in printed


class TestPicture:
    def test_a_turn_is_drawn_where_it_was(self) -> None:
        """The shade of a turn in the second half leaves the first half white."""
        silence = [PcmData.from_bytes(bytes(2 * demo.FRAME), demo.RATE)] * 100
        turns = [Turn("agent", 1500, 1800, "Hello", overlap_ms=100)]
        image = Picture(Recording(turns, silence, silence)).image
        pixels = np.asarray(image)[400:560]
        coloured = np.flatnonzero(pixels.min(axis=(0, 2)) < 240)
        assert coloured.max() > image.width * 0.6

    def test_an_empty_recording_is_drawn(self) -> None:
        frame = PcmData.from_bytes(bytes(2), demo.RATE)
        assert Picture(Recording([], [frame], [frame])).image.size
