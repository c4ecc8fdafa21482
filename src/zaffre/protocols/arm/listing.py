"""The query of a list, for every kind: views, filters, order and paging (wire.md Appendix A). What is not understood is a 400.

A filter that Azure offers on one list is served on all of them: `tags=a,b=c` (`$tags`, `tag`) and `properties=a,b=c` want
each key, and the value where one is given; `stage`, `computeType`, `category` and `target` compare a property; `version`,
`name` and `names` the name; `searchText` is part of the name, `description` part of the description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zaffre.errors import InvalidInput
from zaffre.services.resources import PAGE, ListQuery
from zaffre.store.filters import Pair
from zaffre.store.resources import Cursor

_VIEWS = {"activeonly": False, "archivedonly": True, "all": None}
_ORDERS = {
    "createdtime": "created", "createdat": "created", "updatedtime": "modified", "updatedat": "modified",
    "modifiedtime": "modified", "lastmodifiedtime": "modified", "name": "name",
}  # fmt: skip
_ORDER = re.compile(r"\s*(?P<by>[A-Za-z]+?)(?:\s+(?P<way>asc|desc)|(?P<end>Asc|Desc))?\s*")
_FIELDS = ("stage", "computeType", "category", "target")
_MOST = 10_000


def list_query(query: Mapping[str, str]) -> ListQuery:
    """The parameters (names in lower case) as what the services understand. Raises InvalidInput that names the parameter."""
    order, descending = _order(query)
    return ListQuery(
        archived=_view(query),
        fingerprint=query.get("hash") or None,
        names=tuple(name for one in ("names", "name", "version", "versionname") for name in _names(query.get(one))),
        search=query.get("searchtext") or None,
        description=query.get("description") or None,
        created_by=query.get("createdby") or None,
        default_only=bool(_flag(query, "isDefault")),
        tags=tuple(pair for one in ("tags", "$tags", "tag") for pair in pairs(query.get(one), one)),
        properties=pairs(query.get("properties"), "properties"),
        fields=tuple((name, query[name.lower()]) for name in _FIELDS if query.get(name.lower())),
        include_all=bool(_flag(query, "includeAll")),
        order=order,
        descending=descending,
        after=Cursor.of(query["$skip"]) if query.get("$skip") else None,
        offset=_number(query, "offset", 0) or 0,
        limit=_limit(query),
        job_type=query.get("jobtype") or None,
        scheduled=_flag(query, "scheduled"),
        schedule=query.get("scheduleid") or None,
        asset=query.get("assetname") or None,
    )


def pairs(text: str | None, parameter: str) -> tuple[Pair, ...]:
    """`a,b=c` as keys with their values. A value may hold `=`, neither may hold a comma."""
    found = []
    for part in text.split(",") if text else ():
        key, given, value = part.partition("=")
        if not key.strip():
            raise _refused(parameter, text or "", "keys, or keys with values, such as 'team=blue,checked'")
        found.append(Pair(key.strip(), value.strip() if given else None))
    return tuple(found)


def _view(query: Mapping[str, str]) -> bool | None:
    view = query.get("listviewtype") or "ActiveOnly"
    if view.lower() not in _VIEWS:
        raise _refused("listViewType", view, "ActiveOnly, ArchivedOnly or All")
    return _VIEWS[view.lower()]


def _order(query: Mapping[str, str]) -> tuple[str, bool]:
    """Forms are `createdtime desc`, `CreatedAtDesc`, and `orderBy=name&orderByAsc=true`. The newest comes first unless asked."""
    name = "$orderBy" if query.get("$orderby") else "orderBy"
    text = query.get(name.lower()) or "createdtime"
    match = _ORDER.fullmatch(text)
    by = _ORDERS.get(match["by"].lower()) if match else None
    if match is None or by is None:
        raise _refused(name, text, "createdtime, updatedtime or name, then asc or desc")
    way = match["way"] or match["end"]
    ascending = _flag(query, "orderByAsc")
    if way is not None:
        return by, way.lower() == "desc"
    return by, not ascending if ascending is not None else by != "name"


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _flag(query: Mapping[str, str], name: str) -> bool | None:
    given = query.get(name.lower())
    if not given:
        return None
    if given.lower() not in ("true", "false"):
        raise _refused(name, given, "true or false")
    return given.lower() == "true"


def _limit(query: Mapping[str, str]) -> int:
    for name in ("$top", "count", "pageSize"):
        given = _number(query, name, 1)
        if given is not None:
            return given
    return PAGE


def _number(query: Mapping[str, str], name: str, least: int) -> int | None:
    given = query.get(name.lower())
    if not given:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", given) or not least <= int(given) <= _MOST:
        raise _refused(name, given, f"a number from {least} to {_MOST}")
    return int(given)


def _refused(name: str, given: str, expected: str) -> InvalidInput:
    return InvalidInput(
        f"Query '{name}': '{given[:100]}' is not understood; expected {expected}.", code="InvalidField", target=name
    )
