"""The `${{…}}` of a command and its optional `$[[…]]` sections.

Values go in as raw text, as in Azure ML: quoting is the command's own affair. A value is never looked through again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from zaffre.execution.errors import ExpressionError

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_SECTION = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_NAME = re.compile(r"(inputs|outputs|search_space)\.([\w.-]+)\Z")


def bind(
    command: str,
    inputs: Mapping[str, str | None],
    outputs: Mapping[str, str],
    search_space: Mapping[str, str] | None = None,
) -> str:
    """The command with every expression replaced by its value.

    An input of None is an optional one that was not given: the sections it stands in are dropped, the brackets of all
    others fall away. Raises ExpressionError for a name that does not exist and for an absent input outside a section.
    """
    scopes: dict[str, Mapping[str, str | None]] = {
        "inputs": inputs,
        "outputs": outputs,
        "search_space": search_space or {},
    }
    parts: list[str] = []
    end = 0
    for section in _SECTION.finditer(command):
        parts.append(_fill(command[end : section.start()], scopes))
        inner = section.group(1)
        values = [_value(match, scopes) for match in _EXPRESSION.finditer(inner)]  # all, so that no wrong name gets by
        if None not in values:
            parts.append(_fill(inner, scopes))
        end = section.end()
    parts.append(_fill(command[end:], scopes))
    return "".join(parts)


def check(
    command: str,
    inputs: Collection[str],
    outputs: Collection[str],
    optional: Collection[str] = (),
    search_space: Collection[str] = (),
) -> None:
    """Raise ExpressionError if `bind` could not bind the command, whatever the values. `optional` names inputs too."""
    given: dict[str, str | None] = dict.fromkeys([*inputs, *optional], "")
    bound = bind(
        command, {**given, **dict.fromkeys(optional)}, dict.fromkeys(outputs, ""), dict.fromkeys(search_space, "")
    )
    if "${{" in bound:
        raise ExpressionError("The command has a '${{' without its '}}'.", name="")


def section_inputs(command: str) -> frozenset[str]:
    """The inputs that stand in optional sections: those a job may leave out."""
    found = set()
    for section in _SECTION.finditer(command):
        for match in _EXPRESSION.finditer(section.group(1)):
            parsed = _NAME.match(match.group(1).strip())
            if parsed is not None and parsed.group(1) == "inputs":
                found.add(parsed.group(2))
    return frozenset(found)


def _fill(text: str, scopes: Mapping[str, Mapping[str, str | None]]) -> str:
    def replace(match: re.Match[str]) -> str:
        value = _value(match, scopes)
        if value is None:
            name = match.group(1).strip()
            raise ExpressionError(
                f"The command uses the optional input '{name}', which has no value, outside of an optional section; "
                f"write $[[ … ${{{{{name}}}}} … ]].",
                name=name,
            )
        return value

    return _EXPRESSION.sub(replace, text)


def _value(match: re.Match[str], scopes: Mapping[str, Mapping[str, str | None]]) -> str | None:
    text = match.group(1).strip()
    parsed = _NAME.match(text)
    if parsed is None:
        raise ExpressionError(
            f"The command has ${{{{{text}}}}}; only inputs.NAME, outputs.NAME and search_space.NAME can stand there.",
            name=text,
        )
    scope, name = parsed.groups()
    if name not in scopes[scope]:
        known = tuple(sorted(scopes[scope]))
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise ExpressionError(
            f"The command uses ${{{{{text}}}}}, but the job has no '{name}' in its {scope}; {there}.",
            name=text,
            known=known,
        )
    return scopes[scope][name]
