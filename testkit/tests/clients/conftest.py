"""The clients are heavy: they run where they are asked for, with `-m clients`."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clients: installs real clients and talks to them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "clients" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("clients") is not None:
            item.add_marker(pytest.mark.skip(reason="asked for with -m clients"))
