"""CT: how a plugin is constructed, and which arguments are refused."""

import asyncio
import inspect
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from realtime_testkit.factories import Make
from realtime_testkit.facts import excuse
from realtime_testkit.providers.connection import Connection
from realtime_testkit.providers.provider import Provider
from realtime_testkit.realtime import Realtime
from realtime_testkit.scenarios import KEY, converse
from realtime_testkit.subject import Subject
from realtime_testkit.transport import Transport

from .base import Contract

ELSEWHERE = [
    "{clear}://notlocalhost/v1",
    "{clear}://api.example.com/v1",
    "http://api.example.com/v1",
    "{clear}://192.168.1.20:8080/v1",
    "{clear}://localhost.example.com/v1",
    "{clear}://127.0.0.1.example.com/v1",
    "{clear}://127.0.0.1@example.com/v1",
    "{clear}://localhost@example.com/v1",
]
"""Addresses of other hosts; `clear` is the scheme without TLS."""


class Construct(Contract):
    """Tests of CT1 to CT7."""

    @pytest.fixture(autouse=True)
    def no_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Remove keys from the environment."""
        for name in list(os.environ):
            if name.endswith("_API_KEY"):
                monkeypatch.delenv(name)

    async def test_ct1_injected_client_is_used(
        self, make: Make, provider: Provider, subject: Subject
    ) -> None:
        """The client passed in is `.client`, and its key is the one that reaches the provider."""
        client = make.client(api_key="key-of-the-injected-client")
        assert subject.build(client=client, api_key="another").client is client
        llm = make(client=client)
        assert llm.client is client
        assert provider.handshakes == 0, "dialled before connect()"
        await llm.connect()
        connection = await provider.connection()
        assert connection.api_key == "key-of-the-injected-client"
        await converse(llm, make.listen(llm), connection)

    async def test_ct1_nothing_is_dialled_before_connect(
        self, provider: Provider, subject: Subject
    ) -> None:
        """Constructing and closing a Realtime without connect() makes no handshake."""
        llm = subject.build(api_key=KEY, base_url=provider.url)
        assert llm.client is not None
        assert not llm.connected
        await llm.close()
        assert provider.handshakes == 0

    async def test_ct2_key_falls_back_to_the_environment(
        self, provider: Provider, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key of the environment is sent where none is passed; a key passed in wins."""
        monkeypatch.setenv(subject.api_key_variable, "key-of-the-environment")
        for api_key, used in ((None, "key-of-the-environment"), (KEY, KEY)):
            llm = subject.build(api_key=api_key, base_url=provider.url)
            try:
                await llm.connect()
                assert provider.connections[-1].api_key == used
            finally:
                await llm.close()

    def test_ct2_missing_key_names_both_ways_out(self, subject: Subject) -> None:
        """Without key and client, the ValueError names the variable, api_key and client."""
        with pytest.raises(ValueError, match="api_key") as missing:
            subject.build()
        assert subject.api_key_variable in str(missing.value)
        assert "client" in str(missing.value)

    def test_ct2_empty_key_is_a_missing_key(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An empty key, passed in or in the environment, raises ValueError."""
        monkeypatch.setenv(subject.api_key_variable, "")
        with pytest.raises(ValueError, match="api_key"):
            subject.build()
        with pytest.raises(ValueError, match="api_key"):
            subject.build(api_key="")

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
            ("base_url", "{secure}://"),
            ("base_url", "{secure}://api.example.com:port/v1"),
            ("base_url", "{secure}://[::1"),
            ("base_url", "not a url"),
        ],
    )
    def test_ct3_bad_argument_raises_valueerror(
        self, argument: str, value: object, transport: Transport, subject: Subject
    ) -> None:
        """A bad argument raises a ValueError that names it and its value, and hides the key."""
        if argument not in inspect.signature(subject.realtime).parameters:
            excuse(f"the constructor has no argument {argument}")
        if isinstance(value, str):
            value = value.format(secure=transport.secure)
        arguments: dict[str, object] = {"api_key": KEY, argument: value}
        with pytest.raises(ValueError, match=argument) as refused:
            subject.build(**arguments)
        message = str(refused.value)
        assert repr(value) in message
        assert KEY not in message

    @pytest.mark.parametrize(
        "key", [f"{KEY}\n", f"{KEY}\r\nX: 1", f"{KEY}\x00", f"{KEY} \U0001f426", f"\n{KEY}"]
    )
    def test_ct3_key_that_is_no_header_is_refused(self, key: str, subject: Subject) -> None:
        """A key that cannot stand in a header raises a ValueError that does not show it."""
        with pytest.raises(ValueError, match="api_key") as refused:
            subject.build(api_key=key)
        assert KEY not in f"{refused.value!r} {refused.value.__cause__!r}"

    def test_ct3_good_argument_is_kept(self, make: Make, subject: Subject) -> None:
        """The fps passed in are the fps of the Realtime."""
        assert subject.build(client=make.client(), fps=3).fps == 3

    def test_ct4_constructor_needs_no_loop(self, subject: Subject) -> None:
        """A Realtime can be constructed and given a tool in a thread without an event loop."""

        def construct() -> Realtime:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            llm = subject.build(api_key=KEY)
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

    async def test_ct4_connects_in_a_later_loop(self, provider: Provider, subject: Subject) -> None:
        """A Realtime constructed in another thread connects in this loop."""
        url = provider.url
        with ThreadPoolExecutor(1) as pool:
            llm = pool.submit(lambda: subject.build(api_key=KEY, base_url=url)).result()
        try:
            await llm.connect()
            assert llm.connected
        finally:
            await llm.close()

    @pytest.mark.parametrize("url", ELSEWHERE)
    def test_ct5_clear_text_to_another_host_is_refused(
        self, url: str, subject: Subject, transport: Transport
    ) -> None:
        """A base_url without TLS to another host raises a ValueError that hides the key."""
        with pytest.raises(ValueError, match="base_url") as refused:
            subject.build(api_key=KEY, base_url=url.format(clear=transport.clear))
        assert KEY not in str(refused.value)

    @pytest.mark.parametrize("url", ["{clear}://example.com/v1", "ftp://127.0.0.1/v1"])
    def test_ct5_refused_address_is_shown_without_its_query(
        self, url: str, subject: Subject, transport: Transport
    ) -> None:
        """The message of a refused base_url has neither its query nor its password."""
        url = url.format(clear=transport.clear).replace("//", "//me:sk-canary@")
        with pytest.raises(ValueError, match="base_url") as refused:
            subject.build(api_key=KEY, base_url=f"{url}?key=sk-canary")
        assert "canary" not in str(refused.value)

    def test_ct5_clear_text_to_this_machine_is_allowed(
        self, provider: Provider, subject: Subject
    ) -> None:
        """A base_url without TLS to 127.0.0.1, localhost or ::1 is accepted."""
        here = provider.url.replace("127.0.0.1", "localhost")
        for url in (provider.url, here, provider.url.replace("127.0.0.1", "[::1]")):
            subject.build(api_key=KEY, base_url=url)

    @pytest.mark.parametrize("url", [url for url in ELSEWHERE if url.startswith("{clear}")])
    def test_ct5_injected_client_may_use_clear_text(
        self, url: str, make: Make, subject: Subject, transport: Transport
    ) -> None:
        """A client passed in may have a base_url without TLS."""
        client = make.client(base_url=url.format(clear=transport.clear))
        assert subject.build(client=client).client is client

    @pytest.mark.parametrize("how", ["function", "coroutine function"])
    async def test_ct6_key_is_asked_for_before_each_connection(
        self, make: Make, provider: Provider, how: str
    ) -> None:
        """A callable's key is sent, and that of its next call on the next connection."""
        numbers = itertools.count(1)

        def fresh() -> str:
            return f"{KEY}-{next(numbers)}"

        async def fetched() -> str:
            await asyncio.sleep(0)
            return fresh()

        client = make.client(api_key=fresh if how == "function" else fetched)
        llm = make(client=client)
        await llm.connect()
        first = await provider.connection()
        first.abort()
        second = await provider.connection(2)
        assert [first.api_key, second.api_key] == [f"{KEY}-1", f"{KEY}-2"]

    @pytest.mark.parametrize("how", ["raises", "no text", "empty", "no header", "hangs"])
    async def test_ct6_key_that_cannot_be_had_is_one_error(
        self, make: Make, provider: Provider, subject: Subject, how: str
    ) -> None:
        """connect() raises a SessionError that does not show the key, and there is one event."""

        async def key() -> str:
            match how:
                case "raises":
                    raise KeyError(KEY)
                case "hangs":
                    await asyncio.Event().wait()
            return {"no text": cast("str", 7), "empty": "", "no header": f"{KEY}\n"}[how]

        llm = make(client=make.client(api_key=key, connect_timeout_s=0.2))
        with pytest.raises(subject.session_error) as raised:
            await llm.connect()
        error: BaseException | None = raised.value
        while error is not None:
            assert KEY not in f"{error!r}"
            error = error.__cause__ or error.__context__
        record = make.record(llm)
        await record.settled()
        assert len(record.errors) == 1
        assert provider.handshakes == 0

    async def test_ct6_failure_to_get_a_key_is_tried_again(
        self, make: Make, provider: Provider
    ) -> None:
        """A callable that fails once during a reconnect is asked again, and the call goes on."""
        answers: list[str | Exception] = [KEY, OSError("no network"), f"{KEY}-2"]

        def key() -> str:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        llm = make(client=make.client(api_key=key))
        await llm.connect()
        (await provider.connection()).abort()
        await make.record(llm).up(2)
        assert (await provider.connection(2)).api_key == f"{KEY}-2"

    async def test_ct7_query_of_the_base_url_is_kept(self, make: Make, provider: Provider) -> None:
        """The base_url's own query reaches the provider, beside the model where that is in it."""
        joint = "&" if "?" in provider.url else "?"
        plain, asked = make(), make(client=make.client(base_url=f"{provider.url}{joint}region=eu"))
        for llm in (plain, asked):
            await llm.connect()
        first, second = await provider.connection(1), await provider.connection(2)
        assert second.handshake.query == {**first.handshake.query, "region": "eu"}

    async def test_ct7_model_in_the_base_url_is_refused(
        self, llm: Realtime, make: Make, provider: Provider, connection: Connection
    ) -> None:
        """A base_url that names a model, beside the argument `model`, raises a ValueError."""
        query = connection.handshake.query
        names = [name for name, value in query.items() if value == connection.model]
        if not names:
            excuse("the handshake has no model in its query")
        joint = "&" if "?" in provider.url else "?"
        with pytest.raises(ValueError, match="base_url"):
            make(client=make.client(base_url=f"{provider.url}{joint}{names[0]}=canary-2"))
