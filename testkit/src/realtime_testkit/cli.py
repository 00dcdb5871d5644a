"""The command `realtime-testkit`."""

import asyncio
from pathlib import Path
from typing import Literal

import click
import msgspec

from . import conventions
from .account import AccountData, as_markdown
from .providers.serve import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vision-agents-realtime-testkit")
def main() -> None:
    """Tools for realtime plugins of Vision Agents: an embedded provider, checks, reports."""


@main.command(epilog="Example: realtime-testkit provider openai --port 8765")
@click.argument("kind", type=click.Choice(["openai", "plain"]))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="The port on 127.0.0.1; 0 for any free one.",
)
@click.option(
    "--transport",
    type=click.Choice(["websocket", "webrtc"]),
    default="websocket",
    show_default=True,
    help="How clients connect.",
)
@click.option(
    "--scenario",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What the provider does on its own, instead of echoing what it hears.",
)
def provider(
    kind: Literal["openai", "plain"],
    port: int,
    transport: Literal["websocket", "webrtc"],
    scenario: Path | None,
) -> None:
    """Run an embedded provider on 127.0.0.1 until Ctrl+C.

    KIND is what it speaks: "openai", the OpenAI Realtime API, or "plain", a small wire of JSON
    messages and binary audio. It needs no key and no network: it says back what it hears and
    reads, and calls a tool that it is asked for. Point any client of that API at its URL.
    """
    try:
        asyncio.run(
            serve(kind, port=port, transport=transport, scenario=scenario, write=click.echo)
        )
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@main.command("conventions", epilog="Example: realtime-testkit conventions plugins/acme")
@click.argument(
    "path", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path()
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How findings are written.",
)
@click.option("--no-mypy", is_flag=True, help="Leave out mypy, which takes a minute at first.")
def check_conventions(path: Path, form: Literal["text", "json"], no_mypy: bool) -> None:
    """Check a plugin's folder against the conventions of Vision Agents.

    PATH is the folder with the plugin's pyproject.toml, by default the current one. Ruff and mypy
    run as a part of it. Exits with status 1 where something is found.
    """
    try:
        found = conventions.check(path, use=["ruff"] if no_mypy else ["ruff", "mypy"])
    except conventions.NotAPlugin as error:
        raise click.BadParameter(str(error), param_hint="PATH") from error
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(conventions.as_json(found) if form == "json" else conventions.as_text(found))
    if found:
        raise click.exceptions.Exit(1)


@main.command(
    epilog="Example: pytest --contract-report contract.json, then realtime-testkit report contract.json"
)
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "markdown"]),
    default="terminal",
    show_default=True,
    help="How it is shown.",
)
def report(path: Path, form: Literal["terminal", "markdown"]) -> None:
    """Show an account of the contract that was saved as JSON.

    PATH is the file that `pytest --contract-report PATH` wrote.
    """
    try:
        accounts = msgspec.json.decode(path.read_bytes(), type=list[AccountData])
    except msgspec.DecodeError as error:
        message = f"{path} is no account that `pytest --contract-report` wrote: {error}"
        raise click.BadParameter(message, param_hint="PATH") from error
    show = as_markdown if form == "markdown" else as_table
    click.echo("\n".join(map(show, accounts)).rstrip())


def as_table(account: AccountData) -> str:
    """Write an account as a table for a terminal: a line for each contract."""
    counts = ", ".join(f"{count} {status}" for status, count in account["counts"].items())
    lines = [f"{account['folder']}: {counts}" + ("" if account["complete"] else " (incomplete)")]
    lines += [f"  wrong: {problem}" for problem in account["problems"]]
    for contract, entry in account["contracts"].items():
        reasons = [f"{why} ({count})" for why, count in entry["excused"].items()]
        reasons += [f"{test} is waived: {why}" for test, why in entry["waived"].items()]
        reasons += [f"to do: {test}" for test in entry["to_do"]]
        passed = f"{entry['passed']:3} passed" if entry["passed"] else " " * 10
        lines.append(
            f"  {contract:<5} {entry['status']:<8} {passed}  {'; '.join(reasons)}".rstrip()
        )
    return "\n".join(lines)
