"""Sizes of virtual machines as data: cores, memory and GPUs of Azure's common ones, and the machine itself as one more.

A size says what Azure would give. Here every node is a share of this machine, so it decides nothing but what is shown.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources

import msgspec

MACHINE = "Zaffre_Machine"
"""The size that is this machine, whatever it has."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """`gpu` is the maker's name of the GPUs, empty where there are none; memory in GiB."""

    name: str
    family: str
    vcpus: int
    memory_gb: float
    gpus: int
    gpu: str = ""
    low_priority: bool = True
    premium_io: bool = False


def machine(vcpus: int, memory_gb: float, gpus: int) -> Size:
    """This machine as a size."""
    return Size(
        name=MACHINE,
        family="zaffreMachineFamily",
        vcpus=vcpus,
        memory_gb=memory_gb,
        gpus=gpus,
        low_priority=False,
        premium_io=True,
    )


@functools.cache
def table() -> dict[str, Size]:
    """Every size that is known, by its name in lower case."""
    text = resources.files(__package__).joinpath("vm_sizes.csv").read_text()
    found = {}
    for row in csv.DictReader(text.splitlines()):
        found[row["name"].lower()] = Size(
            name=row["name"],
            family=row["family"],
            vcpus=int(row["vcpus"]),
            memory_gb=float(row["memory_gb"]),
            gpus=int(row["gpus"]),
            gpu=row["gpu"],
            low_priority=row["low_priority"] == "1",
            premium_io=row["premium_io"] == "1",
        )
    return found


def note(name: str, here: Size) -> str | None:
    """What whoever asks for the size `name` has to know, if anything, on a machine that is `here`."""
    if name.lower() == MACHINE.lower():
        return None
    size = table().get(name.lower())
    if size is None:
        return f"The size '{name}' is not known; a node is as large as this machine: {_words(here)}."
    if size.gpus > here.gpus:
        return f"'{size.name}' has {size.gpus} GPUs in Azure, and this machine has {here.gpus or 'none'}."
    return None


def _words(size: Size) -> str:
    return f"{size.vcpus} cores, {size.memory_gb:.0f} GiB of memory, {size.gpus or 'no'} GPUs"
