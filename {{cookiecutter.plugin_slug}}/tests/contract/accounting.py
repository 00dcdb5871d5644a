import pytest
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "allows(*findings): what a contract test breaks on purpose")
