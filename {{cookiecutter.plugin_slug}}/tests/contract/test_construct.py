"""CT: a plugin is made with a line of code, and a wrong line says what is wrong."""

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from vision_agents.plugins.{{ cookiecutter.plugin_slug }} import Client, Realtime, loopback

from . import transit
from .kit import KEY, converse
from .making import Make, dial

ELSEWHERE = [
    f"{transit.CLEAR}://notlocalhost/v1",
    f"{transit.CLEAR}://api.example.com/v1",
    "http://api.example.com/v1",
    f"{transit.CLEAR}://192.168.1.20:8080/v1",
    f"{transit.CLEAR}://localhost.example.com/v1",
    f"{transit.CLEAR}://127.0.0.1.example.com/v1",
    f"{transit.CLEAR}://127.0.0.1@example.com/v1",
    f"{transit.CLEAR}://localhost@example.com/v1",
]


class TestConstruct:
    @pytest.fixture(autouse=True)
    def no_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The author's own keys prove nothing here."""
        for name in list(os.environ):
            if name.endswith("_API_KEY"):
                monkeypatch.delenv(name)

    @pytest.fixture
    def key_variable(self) -> str:
        """The environment's name for the key, as the error message tells it."""
        with pytest.raises(ValueError, match="api_key") as missing:
            Realtime()
        name = re.search(r"\b[A-Z][A-Z0-9_]*_API_KEY\b", str(missing.value))
        assert name, f"no variable named in: {missing.value}"
        return name[0]

    async def test_ct1_the_callers_client_is_used(
        self, make: Make, provider: loopback.Provider
    ) -> None:
        """A client with settings of its own is replaced by another, without a word."""
        client = dial(provider, api_key="key-of-the-injected-client")
        assert Realtime(client=client, api_key="another").client is client
        llm = make(client=client)
        assert llm.client is client
        assert provider.handshakes == 0, "dialled before connect()"
        await llm.connect()
        connection = await provider.connection()
        assert connection.api_key == "key-of-the-injected-client"
        await converse(llm, make.listen(llm), connection)

    async def test_ct1_nothing_is_dialled_before_connect(self, provider: loopback.Provider) -> None:
        """Looking at a plugin costs a session."""
        llm = Realtime(api_key=KEY, base_url=provider.url)
        assert isinstance(llm.client, Client)
        assert not llm.connected
        await llm.close()
        assert provider.handshakes == 0

    async def test_ct2_the_key_comes_from_the_environment(
        self, provider: loopback.Provider, key_variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key has to be written into the code."""
        monkeypatch.setenv(key_variable, "key-of-the-environment")
        for api_key, used in ((None, "key-of-the-environment"), (KEY, KEY)):
            llm = Realtime(api_key=api_key, base_url=provider.url)
            try:
                await llm.connect()
                assert provider.connections[-1].api_key == used
            finally:
                await llm.close()

    def test_ct2_a_missing_key_names_both_ways_out(self, key_variable: str) -> None:
        """A newcomer's first run ends in a riddle."""
        with pytest.raises(ValueError, match="api_key") as missing:
            Realtime()
        assert key_variable in str(missing.value)
        assert "client" in str(missing.value)

    def test_ct2_an_empty_key_is_a_missing_key(
        self, key_variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty line in .env becomes a 401 in mid-deployment."""
        monkeypatch.setenv(key_variable, "")
        with pytest.raises(ValueError, match="api_key"):
            Realtime()
        with pytest.raises(ValueError, match="api_key"):
            Realtime(api_key="")

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("model", ""),
            ("fps", 0),
            ("fps", -1),
            ("tool_timeout_s", 0),
            ("response_timeout_s", 0),
            ("modalities", "smell"),
            ("input_chunk_ms", -1),
            ("input_chunk_ms", 1000),
            ("base_url", ""),
            ("base_url", "api.example.com/v1"),
            ("base_url", "ftp://api.example.com/v1"),
            ("base_url", f"{transit.SECURE}://"),
            ("base_url", f"{transit.SECURE}://api.example.com:port/v1"),
            ("base_url", f"{transit.SECURE}://api.example.com/v1?model=a"),
            ("base_url", f"{transit.SECURE}://[::1"),
            ("base_url", "not a url"),
        ],
    )
    def test_ct3_a_bad_argument_is_named(self, argument: str, value: object) -> None:
        """A typing error shows up as a strange failure much later."""
        arguments: dict[str, Any] = {"api_key": KEY, argument: value}
        with pytest.raises(ValueError, match=argument) as refused:
            Realtime(**arguments)
        message = str(refused.value)
        assert repr(value) in message
        assert KEY not in message

    def test_ct3_a_good_argument_is_kept(self, provider: loopback.Provider) -> None:
        """The agent sends as many pictures a second as it likes."""
        assert Realtime(client=dial(provider), fps=3).fps == 3

    def test_ct4_needs_no_loop_and_no_network(self) -> None:
        """A plugin cannot be made where programs make things: at the top of a module."""

        def construct() -> Realtime:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            llm = Realtime(api_key=KEY)
            llm.set_instructions("Be a canary.")

            @llm.register_function(description="sings")
            async def sing() -> str:
                return "canary"

            return llm

        # A thread of its own has no loop at all, not even one that does not run.
        with ThreadPoolExecutor(1) as pool:
            llm = pool.submit(construct).result()
        assert not llm.connected
        assert [tool["name"] for tool in llm.get_available_functions()] == ["sing"]

    async def test_ct4_connects_in_a_later_loop(self, provider: loopback.Provider) -> None:
        """What was made at the top of a module fails in the loop that runs it."""
        url = provider.url
        with ThreadPoolExecutor(1) as pool:
            llm = pool.submit(lambda: Realtime(api_key=KEY, base_url=url)).result()
        try:
            await llm.connect()
            assert llm.connected
        finally:
            await llm.close()

    @pytest.mark.parametrize("url", ELSEWHERE)
    def test_ct5_a_key_is_not_sent_in_clear_text(self, url: str) -> None:
        """One letter is missing in a URL, and the key is everybody's."""
        with pytest.raises(ValueError, match="base_url") as refused:
            Realtime(api_key=KEY, base_url=url)
        assert KEY not in str(refused.value)

    def test_ct5_this_machine_needs_no_encryption(self, provider: loopback.Provider) -> None:
        """The embedded provider, or a proxy on this machine, cannot be used."""
        here = provider.url.replace("127.0.0.1", "localhost")
        for url in (provider.url, here, provider.url.replace("127.0.0.1", "[::1]")):
            Realtime(api_key=KEY, base_url=url)

    def test_ct5_a_callers_client_may_go_anywhere(self) -> None:
        """A provider inside the company's network cannot be reached."""
        for url in ELSEWHERE:
            if url.startswith("ws:"):
                client = Client(KEY, url)
                assert Realtime(client=client).client is client
