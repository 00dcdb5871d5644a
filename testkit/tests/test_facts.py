"""contract.toml: what it may say, and what is said about what it may not."""

from pathlib import Path

import pytest
from realtime_testkit.facts import EXCUSE, Page, PageError

NEEDED = '[provider]\nwire = "own"\ninput_rate = 16000\noutput_rate = 24000\n'


def page(folder: Path, text: str) -> Page:
    path = folder / "contract.toml"
    path.write_text(text, encoding="utf-8")
    return Page(path)


def test_three_facts_are_enough(tmp_path: Path) -> None:
    facts = page(tmp_path, NEEDED).facts
    assert (facts.wire, facts.input_rate, facts.output_rate) == ("own", 16000, 24000)
    assert facts.tools
    assert not facts.resumes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NEEDED + "vidoe = true\n", "contract.toml, line 5: there is no fact vidoe"),
        (NEEDED + "tools = 0\n", "contract.toml, line 5: Expected `bool`, got `int`"),
        (NEEDED + "usage = [true]\n", "contract.toml, line 5: Expected `bool`, got `array`"),
        (NEEDED.replace("own", "mine"), "contract.toml, line 2: Invalid enum value 'mine'"),
        (NEEDED.replace("input_rate = 16000\n", ""), "missing required field `input_rate`"),
        (NEEDED + "[waiver]\n", "contract.toml, line 5: there is no section [waiver]"),
        (NEEDED + "tools = maybe\n", "contract.toml: Invalid value"),
        ("waivers = 1\n" + NEEDED, "contract.toml, line 1: [waivers] is a section"),
        ("", "contract.toml, [provider]: Object missing required field `wire`"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PageError) as raised:
        page(tmp_path, text).facts  # noqa: B018 - reading them is what checks them
    assert said in str(raised.value)


@pytest.mark.parametrize("value", ["tools = false", "expired_reason = ''", "announced_rate = 0"])
def test_false_empty_and_zero_facts_excuse(tmp_path: Path, value: str) -> None:
    facts = page(tmp_path, f"{NEEDED}{value}\n").facts
    name = value.partition(" ")[0]
    with pytest.raises(pytest.skip.Exception, match=f"{EXCUSE}.*{name} = false"):
        facts.need("text", name)
    facts.need("text")


def test_speech_events_needs_both(tmp_path: Path) -> None:
    facts = page(tmp_path, f"{NEEDED}speech_stops = false\n").facts
    facts.need("speech_starts")
    with pytest.raises(pytest.skip.Exception, match="speech_events"):
        facts.need("speech_events")


def test_the_line_of_a_waiver_is_found(tmp_path: Path) -> None:
    text = f'{NEEDED}[waivers]\n"test_nt7_two_at_once[in order]" = "one at a time"\n'
    found = page(tmp_path, text)
    assert found.line("test_nt7_two_at_once[in order]") == "contract.toml, line 6"
