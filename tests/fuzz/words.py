"""What random requests are made of: values that fit, values that nearly fit, and values meant to hurt."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

# Never put into a job's command or a deployment's code: those really run.
HOSTILE: tuple[str, ...] = (
    "", " ", ".", "..", "../../etc/passwd", "a/b", "a//b", "%2e%2e", "%00", "\t", "\r\nX-Injected: 1", "'", '"', "' OR 1=1 --",
    "{{7*7}}", "${{inputs.x}}", "${jndi:x}", "<script>", "\\", "\u202e", "é", "日本語", "🐍", "\ud7ff", "a" * 255, "b" * 300,
    "c" * 5000, "-1", "0", "1e309", "NaN", "null", "true", "2024-13-45T99:99:99Z", "PT0S", "P1Y", "azureml:", "azureml:x:",
    "azureml://datastores/x/paths/../../..", "https://localhost:1/x", "file:///etc/passwd", "s3://x", "latest", "@latest",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**70, -(2**70), 0.5, 1e308, -0.0)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [None], {"": None}, [[[[]]]], {"a": {"b": {"c": [1, "x", None]}}})
COMMANDS = ("true", "echo ${{inputs.x}}", "echo $[[ ${{inputs.never}} ]]", "", "${{inputs", "false")

QUERIES: dict[str, tuple[str, ...]] = {
    "api-version": ("2024-04-01", "2020-01-01", "x", ""),
    "$skip": ("0", "1", "-1", "x", "eyJhIjoxfQ"),
    "$top": ("0", "1", "2", "1000", "-5", "x", "99999999999999999999"),
    "$orderBy": ("createdtime desc", "createdtime asc", "name", "x y z", "'"),
    "$filter": ("status eq 'Completed'", "x", "status eq", "' or 1 eq 1"),
    "listViewType": ("All", "ActiveOnly", "ArchivedOnly", "x"),
    "tags": ("a", "a=b", "a=b,c=d", ",,=", "'"),
    "properties": ("a=b", "=", "x"),
    "name": ("fuzz-1", "x"),
    "version": ("1", "x"),
    "hash": ("abc", "x" * 300),
    "hashVersion": ("202208", "x"),
    "jobType": ("Command", "x"),
    "isDefault": ("true", "false", "x"),
    "count": ("1", "0", "-1", "x"),
    "max_results": ("1", "0", "-1", "100000", "x"),
    "page_token": ("x", "eyJhIjoxfQ==", "%"),
    "filter": ("name = 'x'", "metrics.a > 1", "params.`a` LIKE '%'", "name", "((((", "tags.\"x\" = 'y' AND"),
    "order_by": ("metrics.a DESC", "x", "start_time"),
    "run_id": ("fuzz-run", "x"),
    "run_uuid": ("x",),
    "experiment_id": ("0", "x"),
    "experiment_name": ("fuzz", "Default"),
    "metric_key": ("loss", "x"),
    "alias": ("champion", "x"),
    "path": ("a", "../..", "/etc/passwd", "%2e%2e/x"),
    "comp": ("list", "metadata", "block", "blocklist", "properties", "lease", "tags", "snapshot", "acl", "copy", "x"),
    "restype": ("container", "service", "account", "x"),
    "prefix": ("a", "LocalUpload/", "%"),
    "delimiter": ("/", "", "ab"),
    "marker": ("x", "eyJhIjoxfQ"),
    "maxresults": ("1", "0", "5000", "x"),
    "include": ("metadata", "snapshots", "x,y"),
    "blockid": ("YQ==", "x", "", "A" * 200),
    "resource": ("https://ml.azure.com", "https://evil.example", ""),
}
HEADERS: dict[str, tuple[str, ...]] = {
    "x-ms-blob-type": ("BlockBlob", "PageBlob", "x"),
    "x-ms-version": ("2025-05-05", "x"),
    "x-ms-range": ("bytes=0-", "bytes=5-1", "bytes=x", "bytes=0-99999999999999999999"),
    "Range": ("bytes=0-0", "x"),
    "If-Match": ("*", '"x"', "x"),
    "If-None-Match": ("*", "x"),
    "If-Modified-Since": ("Mon, 01 Jan 2024 00:00:00 GMT", "x"),
    "x-ms-meta-a": ("b", "\x7f"),
    "x-ms-copy-source": ("https://localhost:1/a/b/c", "x"),
    "x-ms-lease-id": ("x",),
    "Content-MD5": ("x", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    "x-ms-date": ("x",),
    "Content-Type": ("application/json", "text/plain", "application/x-www-form-urlencoded", "x"),
    "Accept": ("*/*", "x/y"),
}


def text(rng: random.Random, usual: tuple[str, ...] = ()) -> str:
    if usual and rng.random() < 0.7:
        return rng.choice(usual)
    if rng.random() < 0.8:
        return rng.choice(HOSTILE)
    return "".join(
        chr(rng.choice((rng.randrange(1, 128), rng.randrange(128, 0xD7FF)))) for _ in range(rng.randrange(1, 20))
    )


def anything(rng: random.Random) -> Any:
    pick = rng.random()
    if pick < 0.5:
        return text(rng)
    if pick < 0.75:
        return rng.choice(NUMBERS)
    return copy.deepcopy(rng.choice(OTHERS))


def mutate(rng: random.Random, tree: Any, times: int) -> Any:
    """A copy with `times` places replaced, removed, added to or doubled."""
    made = copy.deepcopy(tree)
    for _ in range(times):
        places = list(_places(made))
        if not places:
            return anything(rng)
        holder, key = rng.choice(places)
        pick = rng.random()
        if pick < 0.55:
            holder[key] = anything(rng)
        elif pick < 0.7:
            del holder[key]
        elif pick < 0.85 and isinstance(holder, dict):
            holder[text(rng)] = anything(rng)
        else:
            holder[key] = [copy.deepcopy(holder[key])] * 2
    return made


def _places(tree: Any) -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield tree, key
            yield from _places(value)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield tree, index
            yield from _places(value)


def garbage(rng: random.Random) -> bytes:
    """Bodies that are no JSON object, or one that is hard to read."""
    return rng.choice((
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a":1}{"b":2}', b'{"a":' * 2000, b"[" * 5000 + b"]" * 5000,
        b'{"properties":' + b"9" * 5000 + b"}", b'{"properties":{"\\ud800":"x"}}', b"<BlockList><Latest>x</Latest></BlockList>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><BlockList>&a;</BlockList>", json.dumps({"x" * 10000: 1}).encode(),
    ))  # fmt: skip
