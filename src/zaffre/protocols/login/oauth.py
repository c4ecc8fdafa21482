"""OAuth 2.0 client credentials and OIDC discovery, at the addresses MSAL asks: v2.0, v1, and the `adfs` form of wire.md §2.

Any tenant will do: scripts bring their own, and there is one directory here. `adfs` is the name with which MSAL, and so
`DefaultAzureCredential`, takes an authority it does not know without asking Microsoft to vouch for it.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.responses import Response

from zaffre.errors import InvalidInput, NotServed, Unauthenticated
from zaffre.gateway.address import public_address
from zaffre.gateway.answers import json_answer
from zaffre.gateway.call import Call
from zaffre.gateway.routes import Access, Handler, Route
from zaffre.services.keys import ApiKeys
from zaffre.services.signing import ALGORITHM
from zaffre.services.tokens import Tokens
from zaffre.settings import Settings

GRANT = "client_credentials"
FORM = "application/x-www-form-urlencoded"
BODY_LIMIT = 64 * 1024
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_MOST_FIELDS = 50
_IDENTITY_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})


def routes(settings: Settings, tokens: Tokens, keys: ApiKeys) -> list[Route]:
    async def token(call: Call) -> Response:
        _check_tenant(call)
        form = await _form(call)
        grant = form.get("grant_type", "")
        if not grant:
            raise _invalid("The field 'grant_type' is missing.", "grant_type")
        if grant != GRANT:
            raise InvalidInput(
                f"The grant type '{grant[:100]}' is not served here; '{GRANT}' is.",
                code="unsupported_grant_type",
                target="grant_type",
            )
        audience = _audience(tokens, form)
        client_id, secret = _client(call, form)
        made, expires = tokens.mint(await keys.client(client_id, secret), audience)
        lasts = max(0, expires - tokens.now() // 1000)
        answer = {"token_type": "Bearer", "expires_in": lasts, "ext_expires_in": lasts, "access_token": made}
        if "resource" in form:  # the first version's answer says more, and all of it as text
            answer |= {"expires_in": str(lasts), "ext_expires_in": str(lasts)}
            answer |= {"expires_on": str(expires), "not_before": str(expires - lasts), "resource": form["resource"]}
        return json_answer(answer, headers=NO_STORE)

    def discovery(version: str) -> Handler:
        async def handler(call: Call) -> Response:
            _check_tenant(call)
            below = f"{public_address(call, settings)}/{call.params['tenant']}/oauth2{version}"
            return json_answer(
                {
                    "issuer": tokens.issuer,
                    "authorization_endpoint": f"{below}/authorize",
                    "token_endpoint": f"{below}/token",
                    "device_authorization_endpoint": f"{below}/devicecode",
                    "jwks_uri": f"{public_address(call, settings)}/discovery/keys",
                    "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                    "grant_types_supported": [GRANT],
                    "response_types_supported": ["token"],
                    "response_modes_supported": ["query"],
                    "scopes_supported": sorted(f"{audience}/.default" for audience in tokens.audiences),
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": [ALGORITHM],
                    "claims_supported": ["aud", "exp", "iat", "iss", "name", "nbf", "oid", "sub", "tid"],
                }
            )

        return handler

    async def interactive(_call: Call) -> Response:
        raise NotServed(
            "Signing in with a browser or a device code is not served. Programs sign in as a service principal "
            "(`zaffre principal create NAME`), people with an API key (`zaffre login`, `zaffre env`)."
        )

    def open_(method: str, template: str, handler: Handler, operation: str) -> Route:
        return Route(
            protocol="login", method=method, template=template, handler=handler, operation=operation, access=Access.OPEN
        )

    made = []
    for name, version in (("V1", ""), ("V2", "/v2.0")):
        made += [
            open_(
                "GET",
                f"/{{tenant}}{version}/.well-known/openid-configuration",
                discovery(version),
                f"OpenIdConfiguration_{name}",
            ),
            open_("POST", f"/{{tenant}}/oauth2{version}/token", token, f"OAuth_Token{name}"),
            open_("GET", f"/{{tenant}}/oauth2{version}/authorize", interactive, f"OAuth_Authorize{name}"),
            open_("POST", f"/{{tenant}}/oauth2{version}/devicecode", interactive, f"OAuth_DeviceCode{name}"),
        ]
    return made


def error_form(error: Any, request_id: str) -> Response:
    """OAuth's error body, which azure-identity and MSAL print."""
    body = {
        "error": error.code,
        "error_description": error.message,
        "error_codes": [],
        "correlation_id": request_id,
    }
    headers = dict(NO_STORE)
    if error.code == "invalid_client":
        headers["www-authenticate"] = 'Basic realm="Zaffre"'
    return json_answer(body, error.status, headers)


async def _form(call: Call) -> dict[str, str]:
    """The fields of the body. Raises InvalidInput for another form, and for a field that is there twice."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise _invalid(f"The body is '{kind[:100]}'; send it as {FORM}.", "content-type")
    body = await call.body_bytes(BODY_LIMIT)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=_MOST_FIELDS,
            errors="strict",
        )  # fmt: skip
    except ValueError:
        raise _invalid(f"The body is no {FORM}, or has more than {_MOST_FIELDS} fields.", "body") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form:
            raise _invalid(f"The field '{name[:100]}' is there twice.", name)
        form[name] = value
    return form


def _audience(tokens: Tokens, form: dict[str, str]) -> str:
    """What the token shall be for: the one scope `<audience>/.default`, or the first version's `resource`."""
    scopes = [scope for scope in form.get("scope", "").split() if scope not in _IDENTITY_SCOPES]
    if not scopes and form.get("resource"):
        return tokens.audience(form["resource"])
    if not scopes:
        raise _invalid(
            "The field 'scope' is missing; it names the audience, as in https://ml.azure.com/.default.", "scope"
        )
    if len(scopes) > 1 or not scopes[0].endswith("/.default"):
        raise InvalidInput(
            f"'{' '.join(scopes)[:200]}' is not one scope of the form <audience>/.default.",
            code="invalid_scope",
            target="scope",
        )
    try:
        return tokens.audience(scopes[0])
    except InvalidInput as error:
        raise InvalidInput(error.message, code="invalid_scope", target="scope") from None


def _client(call: Call, form: dict[str, str]) -> tuple[str, str]:
    """Id and secret, from the form or from HTTP Basic."""
    if form.get("client_assertion") or form.get("client_assertion_type"):
        raise Unauthenticated(
            "Certificates and federated assertions are not served; sign in with a client secret.",
            code="invalid_client",
        )
    scheme, _, value = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        if "client_secret" in form:
            raise _invalid("The client's secret is there twice: in the body and as HTTP Basic.", "client_secret")
        try:
            name, _, secret = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _invalid("The Authorization header is not HTTP Basic.", "authorization") from None
        client_id, secret = unquote_plus(name), unquote_plus(secret)
    else:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not client_id:
        raise _invalid("The field 'client_id' is missing.", "client_id")
    if not secret:
        raise Unauthenticated("The field 'client_secret' is missing.", code="invalid_client")
    return client_id, secret


def _check_tenant(call: Call) -> None:
    if not _TENANT.fullmatch(call.params["tenant"]):
        raise InvalidInput(f"'{call.params['tenant'][:100]}' is no tenant.", code="invalid_request", target="tenant")


def _invalid(message: str, target: str) -> InvalidInput:
    return InvalidInput(message, code="invalid_request", target=target)
