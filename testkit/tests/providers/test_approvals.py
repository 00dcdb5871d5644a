"""Tools of MCP servers that have to be approved, in the embedded OpenAI provider."""

import pytest

from .conversing import Client

SERVER = {
    "type": "mcp",
    "server_label": "files",
    "server_url": "https://files.example",
    "allowed_tools": ["find"],
}


async def asked(client: Client) -> str:
    await client.configure(tools=[SERVER])
    await client.until("mcp_list_tools.completed")
    await client.ask("Please find it")
    [item] = (await client.until("response.done"))["response"]["output"]
    assert (item["type"], item["name"]) == ("mcp_approval_request", "find")
    return str(item["id"])


def answer(request_id: str, *, approve: bool) -> dict[str, object]:
    return {
        "type": "mcp_approval_response",
        "id": "mine",
        "approval_request_id": request_id,
        "approve": approve,
    }


async def test_an_approved_call_is_made(client: Client) -> None:
    """By default a call waits for its approval, and is made once that comes."""
    item = answer(await asked(client), approve=True)
    await client.say("conversation.item.create", item=item)
    await client.until("response.mcp_call.completed")
    [call] = (await client.until("response.done"))["response"]["output"]
    assert (call["type"], call["name"]) == ("mcp_call", "find")


async def test_a_forbidden_call_is_not_made(client: Client) -> None:
    item = answer(await asked(client), approve=False)
    await client.say("conversation.item.create", item=item)
    await client.until("conversation.item.done")
    await client.ask("Hello", tool_choice="none")
    await client.until("response.done")
    assert "response.mcp_call.completed" not in client.kinds()


@pytest.mark.parametrize("item_id", ["nowhere", "a_message"])
async def test_only_requests_for_approval_are_answered(client: Client, item_id: str) -> None:
    await client.write("Hello", id="a_message")
    await client.say("conversation.item.create", item=answer(item_id, approve=True))
    await client.refused("invalid_approval_request_id")
