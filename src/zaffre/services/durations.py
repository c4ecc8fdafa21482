"""ISO 8601 durations as Azure ML writes them: `PT30S`, `P1DT2H`."""

from __future__ import annotations

import re

from zaffre.errors import InvalidInput

_FORM = re.compile(
    r"P(?:(?P<d>\d+(?:\.\d+)?)D)?(?:T(?=\d)(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def seconds(text: object, field: str) -> float:
    """The duration in seconds. Raises InvalidInput that names `field`."""
    match = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 100 else None
    if match is None or not any(match.groupdict().values()):
        raise InvalidInput(
            f"Field '{field}': '{str(text)[:100]}' is not an ISO 8601 duration such as 'PT30S'.",
            code="InvalidField",
            target=field,
        )
    return sum(float(match[unit] or 0) * size for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)))
