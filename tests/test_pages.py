"""Pages of docs/ that a command writes are what it writes today."""

import sys

import pytest

from tests.generated import ROOT, run


@pytest.mark.parametrize("tool", ["draw_architecture", "contracts_page"])
def test_page_is_up_to_date(tool: str) -> None:
    run(sys.executable, "-m", f"tools.{tool}", "--check", cwd=ROOT)
