"""ARM resource kinds: one module each, with its body, its checks and what we fill. Adding a kind touches no other file."""

from __future__ import annotations

import importlib
import pkgutil

from zaffre.services.kinds.base import Kind


def load() -> dict[str, Kind]:
    """Every kind by its type, e.g. `workspaces/data/versions`, from the `KINDS` of the modules of this package."""
    found: dict[str, Kind] = {}
    for module in pkgutil.iter_modules(__path__):
        for kind in getattr(importlib.import_module(f"{__name__}.{module.name}"), "KINDS", ()):
            if kind.type in found:
                raise ValueError(f"Two kinds claim the type {kind.type}.")
            found[kind.type] = kind
    return found
