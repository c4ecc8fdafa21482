"""SAS and Shared Key: what Azure's own library signs is good here, and nothing else is."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from zaffre.errors import Denied
from zaffre.services import sas

ACCOUNT = "zf0123456789abcdef0123"
KEY = base64.b64encode(bytes(range(64))).decode()
OTHER_KEY = base64.b64encode(bytes(64)).decode()
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SOON = NOW + timedelta(hours=1)


def asked(container: str = "box", blob: str = "a/b.txt", **changes: Any) -> sas.Asked:
    values: dict[str, Any] = {"names": (ACCOUNT,), "now": NOW_MS, "client": "10.0.0.7", "https": True} | changes
    return sas.Asked(container=container, blob=blob, **values)


def parsed(text: str) -> dict[str, str]:
    return {name.lower(): value for name, value in parse_qsl(text, keep_blank_values=True)}


def container_sas(**more: Any) -> str:
    values: dict[str, Any] = {"permission": ContainerSasPermissions(read=True, list=True), "expiry": SOON} | more
    return generate_container_sas(ACCOUNT, "box", KEY, **values)


def test_the_account_sas_of_azures_library_is_good() -> None:
    text = generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(container=True, object=True), AccountSasPermissions(read=True, write=True), SOON
    )
    grant = sas.verify_sas(parsed(text), KEY, asked())
    assert grant.permissions == frozenset("rw")
    assert grant.resources == frozenset("co")
    assert grant.container is None


def test_the_container_and_blob_sas_of_azures_library_are_good() -> None:
    grant = sas.verify_sas(parsed(container_sas()), KEY, asked(blob="anything"))
    assert (grant.container, grant.blob, grant.permissions) == ("box", None, frozenset("rl"))

    text = generate_blob_sas(
        ACCOUNT,
        "box",
        "ä/b c.txt",
        account_key=KEY,
        permission=BlobSasPermissions(read=True),
        expiry=SOON,
        start=NOW - timedelta(minutes=5),
        content_type="text/plain",
        content_disposition="attachment; filename=x",
    )
    grant = sas.verify_sas(parsed(text), KEY, asked(blob="ä/b c.txt"))
    assert grant.blob == "ä/b c.txt"
    assert grant.resources == frozenset("o")
    assert grant.overrides == {"content-type": "text/plain", "content-disposition": "attachment; filename=x"}
    with pytest.raises(Denied, match="for this address"):
        sas.verify_sas(parsed(text), KEY, asked(blob="other"))


def test_our_own_are_good_and_carry_only_names_that_azures_clients_keep() -> None:
    text = sas.account_sas(ACCOUNT, KEY, expiry=NOW_MS + 1000)
    assert set(parsed(text)) == {"sv", "ss", "srt", "sp", "se", "sig"}
    assert "c" in sas.verify_sas(parsed(text), KEY, asked()).permissions

    text = sas.service_sas(ACCOUNT, KEY, "box", permissions="rl", expiry=NOW_MS + 1000, start=NOW_MS - 1000)
    assert sas.verify_sas(parsed(text), KEY, asked()).container == "box"
    with pytest.raises(Denied):
        sas.verify_sas(parsed(text), KEY, asked(container="box2"))

    text = sas.service_sas(ACCOUNT, KEY, "box", "a/b.txt", permissions="r", expiry=NOW_MS + 1000)
    assert sas.verify_sas(parsed(text), KEY, asked()).blob == "a/b.txt"


def test_the_name_may_be_the_one_the_sdk_shows() -> None:
    """`datastore.account_name` is `host:port/account`, and users sign with it."""
    text = generate_container_sas(
        f"localhost:8443/{ACCOUNT}", "box", KEY, permission=ContainerSasPermissions(read=True), expiry=SOON
    )
    with pytest.raises(Denied):
        sas.verify_sas(parsed(text), KEY, asked())
    assert sas.verify_sas(parsed(text), KEY, asked(names=(ACCOUNT, f"localhost:8443/{ACCOUNT}"))).container == "box"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sp": "rwdl"}, "not the one"),
        ({"se": "2030-01-01T00:00:00Z"}, "not the one"),
        ({"sr": "b"}, "not the one"),
        ({"sr": "d"}, "kind 'd'"),
        ({"sv": "2015-04-05"}, "older"),
        ({"sv": ""}, "expected a date"),
        ({"sv": "9999"}, "expected a date"),
        ({"sig": ""}, "not the one"),
        ({"sig": "AAAA"}, "not the one"),
        ({"sig": "é" * 44}, "not the one"),
        ({"si": "policy"}, "stored access policies"),
        ({"skoid": "x"}, "user delegation"),
        ({"ss": "b"}, "not the one"),
    ],
)
def test_a_changed_one_is_refused(change: dict[str, str], why: str) -> None:
    with pytest.raises(Denied, match=why) as refused:
        sas.verify_sas(parsed(container_sas()) | change, KEY, asked())
    assert refused.value.code == "AuthenticationFailed"


def test_every_field_is_under_the_signature() -> None:
    good = parsed(container_sas(start=NOW, ip="10.0.0.7", protocol="https"))
    sas.verify_sas(good, KEY, asked())
    for name in good:
        with pytest.raises(Denied):
            sas.verify_sas({k: v for k, v in good.items() if k != name}, KEY, asked())


def test_another_accounts_key_or_name_is_refused() -> None:
    with pytest.raises(Denied):
        sas.verify_sas(parsed(container_sas()), OTHER_KEY, asked())
    with pytest.raises(Denied):
        sas.verify_sas(parsed(container_sas()), KEY, asked(names=("zfffffffffffffffffffff",)))


def test_times_are_kept_to_the_second() -> None:
    text = container_sas(start=NOW, expiry=NOW + timedelta(seconds=10))
    sas.verify_sas(parsed(text), KEY, asked(now=NOW_MS + 9_999))
    with pytest.raises(Denied, match="expired"):
        sas.verify_sas(parsed(text), KEY, asked(now=NOW_MS + 10_000))
    with pytest.raises(Denied, match="not good before"):
        sas.verify_sas(parsed(text), KEY, asked(now=NOW_MS - 1))
    with pytest.raises(Denied, match="ISO 8601"):
        sas.verify_sas(parsed(container_sas(expiry="tomorrow")), KEY, asked())


def test_protocol_and_address_bind() -> None:
    with pytest.raises(Denied) as refused:
        sas.verify_sas(parsed(container_sas(protocol="https")), KEY, asked(https=False))
    assert refused.value.code == "AuthorizationProtocolMismatch"
    ranged = parsed(container_sas(ip="10.0.0.5-10.0.0.9"))
    sas.verify_sas(ranged, KEY, asked())
    for client in ("10.0.0.10", "", "::1"):
        with pytest.raises(Denied) as refused:
            sas.verify_sas(ranged, KEY, asked(client=client))
        assert refused.value.code == "AuthorizationSourceIPMismatch"


def test_a_sas_for_another_service_is_refused() -> None:
    good = {"sv": sas.VERSION, "ss": "f", "srt": "o", "sp": "r", "se": "2030-01-01T00:00:00Z"}
    good["sig"] = sas.sign(KEY, f"{ACCOUNT}\nr\nf\no\n\n2030-01-01T00:00:00Z\n\n\n{sas.VERSION}\n\n")
    with pytest.raises(Denied) as refused:
        sas.verify_sas(good, KEY, asked())
    assert refused.value.code == "AuthorizationServiceMismatch"


def test_shared_key_as_the_rest_reference_writes_it() -> None:
    date = "Wed, 04 Mar 2026 05:06:07 GMT"
    signed = (
        "PUT\n\n\n11\n\ntext/plain\n\n\n\n\n\n\n"
        f"x-ms-blob-type:BlockBlob\nx-ms-date:{date}\nx-ms-meta-a_b:1\nx-ms-meta-a1:2\nx-ms-version:2021-12-02\n"
        f"/{ACCOUNT}/{ACCOUNT}.blob.core.windows.net/box/a%20b\ncomp:block\ntimeout:20"
    )
    headers = [
        ("Authorization", f"SharedKey {ACCOUNT}:{sas.sign(KEY, signed)}"),
        ("Content-Length", "11"),
        ("Content-Type", "text/plain"),
        ("x-ms-version", "2021-12-02"),
        ("x-ms-date", date),
        ("x-ms-meta-a1", "2"),
        ("x-ms-meta-a_b", "1"),
        ("x-ms-blob-type", "BlockBlob"),
    ]
    path = f"/{ACCOUNT}.blob.core.windows.net/box/a%20b"

    def verify(
        method: str = "PUT", path: str = path, query: str = "timeout=20&comp=block", now: int = NOW_MS, key: str = KEY
    ) -> None:
        sas.verify_shared_key(method, path, query, headers, key, (ACCOUNT,), now)

    verify()
    verify(now=NOW_MS + sas.CLOCK_SKEW_MS)
    with pytest.raises(Denied, match="15 minutes"):
        verify(now=NOW_MS + sas.CLOCK_SKEW_MS + 1)
    for change in ({"method": "GET"}, {"path": path + "c"}, {"query": "comp=block"}, {"key": OTHER_KEY}):
        with pytest.raises(Denied, match="not the one"):
            verify(**change)  # type: ignore[arg-type]
    headers[5] = ("x-ms-meta-a1", "3")
    with pytest.raises(Denied, match="not the one"):
        verify()
    headers[4] = ("x-ms-date", "yesterday")
    with pytest.raises(Denied, match="needs an x-ms-date"):
        verify()
    with pytest.raises(Denied, match="not for this one"):
        sas.verify_shared_key("PUT", path, "", headers, KEY, ("another",), NOW_MS)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["sv", "sr", "ss", "srt", "sp", "st", "se", "sip", "spr", "sig"]), st.text()))
def test_no_query_without_the_key_is_good_or_breaks_us(query: dict[str, str]) -> None:
    with pytest.raises(Denied):
        sas.verify_sas(query, KEY, asked())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sp": "rz"}, "sp is 'rz'"),
        ({"spr": "http"}, "spr is 'http'"),
        ({"sip": "10.0.0.x"}, "no address"),
        ({"sip": "10.0.0.1-::2"}, "no address"),
        ({"sv": "9999-99-9"}, "expected a date"),
    ],
)
def test_nonsense_is_refused_though_it_is_signed(change: dict[str, str], why: str) -> None:
    query = {"sv": sas.VERSION, "sr": "c", "sp": "r", "se": "2030-01-01T00:00:00Z", **change}
    query["sig"] = sas.sign(KEY, sas._service_text(query, ACCOUNT, "box", ""))
    with pytest.raises(Denied, match=why):
        sas.verify_sas(query, KEY, asked())


_FIELDS = ["sv", "ss", "srt", "sp", "st", "se", "sip", "spr", "sr", "rscc", "rscd", "rsce", "rscl", "rsct"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_FIELDS), st.text(st.characters(codec="utf-8"), max_size=12), st.booleans())
def test_no_field_can_be_changed_or_added(name: str, value: str, of_account: bool) -> None:
    """Whatever one field of a good signature is changed to, it is not good any more, or nothing has changed."""
    text = (
        sas.account_sas(ACCOUNT, KEY, expiry=NOW_MS + 60_000)
        if of_account
        else sas.service_sas(ACCOUNT, KEY, "box", permissions="rl", expiry=NOW_MS + 60_000)
    )
    good = parsed(text)
    grant = sas.verify_sas(good, KEY, asked())
    try:
        changed = sas.verify_sas({**good, name: value}, KEY, asked())
    except Denied:
        return
    assert changed == grant, f"{name}={value!r} was taken"


def test_a_name_with_line_ends_stands_for_nothing_else() -> None:
    """What is signed for such a name is, line by line, also the text for a shorter name and other fields."""
    fields = ["", "", "", sas.VERSION, "b", "", "", "", "", "", ""]  # si, sip, spr, sv, sr … up to rscl
    name = "\n".join(["secret", *fields])
    signed = parsed(sas.service_sas(ACCOUNT, KEY, "box", name, permissions="r", expiry=NOW_MS + 60_000))
    attack = {**signed, "rsct": "\n".join([*fields, ""])}
    assert sas._service_text(attack, ACCOUNT, "box", "secret") == sas._service_text(signed, ACCOUNT, "box", name)
    with pytest.raises(Denied, match="holds a line end"):
        sas.verify_sas(attack, KEY, asked(blob="secret"))
    assert sas.verify_sas(signed, KEY, asked(blob=name)).blob == name
