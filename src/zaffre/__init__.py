"""Zaffre: Azure Machine Learning you can run yourself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zaffre.client import connect as connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> Any:
    """`connect` is loaded when it is asked for: every process of ours imports this module."""
    if name == "connect":
        from zaffre.client import connect

        return connect
    raise AttributeError(f"module 'zaffre' has no attribute '{name}'")
