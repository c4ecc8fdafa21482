"""Fetches a job's input from the web: one file, whole or not at all."""

from __future__ import annotations

import http.client
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from zaffre.execution.errors import StagingError, WebError
from zaffre.execution.files import make_read_only

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_AGENT = "zaffre"
_AS_IT_IS = "%/:?#[]@!$&'()*+,;=~"


def file_name(url: str) -> str:
    """The name the file gets: the last part of the address's path, if a file can have it."""
    name = unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2]
    return name if name and name not in (".", "..") and "\0" not in name and len(name.encode()) < 250 else "data"


def fetch(url: str, dest: Path, stop: threading.Event, bundle: Path | None = None) -> None:
    """Write the file at `url` to `dest`, which lies in a folder of its own and is read-only then.

    May be repeated: what is there is whole. Raises WebError when the other side refuses, StagingError for what may pass.
    `bundle` are the certificates to trust. Setting `stop` ends it soon, without a word.
    """
    if dest.exists():
        make_read_only(dest.parent)
        return
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = dest.with_name(".part")
    shown = shown_address(url)
    try:
        with _open(url, bundle) as answer, open(fresh, "wb") as file:
            expected = answer.headers.get("content-length")
            while chunk := answer.read(_CHUNK):
                if stop.is_set():
                    return
                file.write(chunk)
            size = file.tell()
    except urllib.error.HTTPError as error:
        message = f"'{shown}' answered {error.code} {http.client.responses.get(error.code, '')}".rstrip() + "."
        raise (StagingError(message) if error.code >= 500 or error.code == 429 else WebError(message)) from None
    except (http.client.InvalidURL, ValueError):  # their words hold the query
        raise WebError(f"'{shown}' could not be fetched: it is no address of the web.") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise StagingError(f"'{shown}' could not be fetched: {getattr(error, 'reason', error)}.") from None
    if expected is not None and expected != str(size):
        raise StagingError(f"'{shown}' ended after {size} of {expected} bytes.")
    fresh.replace(dest)
    make_read_only(dest.parent)


def shown_address(url: str) -> str:
    """The address without its query, which may be a signature."""
    return url.partition("?")[0][:200]


def _open(url: str, bundle: Path | None) -> http.client.HTTPResponse:
    # As browsers do it: what an address may not hold as it is, is written as it may
    request = urllib.request.Request(
        quote(url, safe=_AS_IT_IS), headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    )
    context = ssl.create_default_context(cafile=str(bundle) if bundle else None)
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _SameScheme())
    answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
    return answer


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """A redirect may lead to another host, never to a file of this machine or out of TLS."""

    def redirect_request(
        self, req: urllib.request.Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and not (scheme == "http" and req.full_url.startswith("http://")):
            raise WebError(
                f"'{shown_address(req.full_url)}' leads to '{shown_address(newurl)}', which is not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
