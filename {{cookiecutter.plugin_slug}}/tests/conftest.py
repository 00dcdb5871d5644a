"""The contract suite's account; add fixtures of your own below."""

from .contract.accounting import pytest_configure

__all__ = ["pytest_configure"]
