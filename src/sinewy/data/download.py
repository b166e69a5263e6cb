"""How a file gets from the network to the disk: whole and with the right checksum, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import replacing

TIMEOUT = 30
"""Seconds without a byte after which a server is given up."""

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes received so far, and those in all (None if the server does not say)."""


class _DeliveryError(Exception):
    """One server did not deliver; not an OSError, so that it is never taken for a failure of the disk."""


def fetch(
    urls: str | Sequence[str],
    path: Path,
    checksum: str,
    *,
    relative: str | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Fetch `path` from the first of `urls` (http, https) that delivers the `checksum` (hexadecimal md5 or sha256).

    If $SINEWY_MIRROR is set, that base URL followed by `relative` (by default the file's name) is tried first. What is
    at `path` is replaced only when all bytes are there and right. Raises InputError if no server delivers or the disk
    does not take it, CorruptFileError if the only bytes that came were wrong ones.
    """
    candidates = [urls] if isinstance(urls, str) else list(urls)
    if mirror := os.environ.get("SINEWY_MIRROR"):
        candidates.insert(0, f"{mirror.rstrip('/')}/{relative or path.name}")
    failures: list[str] = []
    for url in candidates:
        try:
            return _fetch_one(url, path, checksum, on_progress)
        except _DeliveryError as failure:
            failures.append(f"{url}: {failure}")
    error = CorruptFileError if any("checksum" in failure for failure in failures) else InputError
    raise error(
        f"cannot download {path.name} ({'; '.join(failures)}); check the network, or put the file at {path} yourself."
    )


def _fetch_one(url: str, path: Path, checksum: str, on_progress: Progress | None) -> None:
    state = _hasher(checksum)
    with _open(url) as response, replacing(path) as temporary, temporary.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0) or None
        received = 0
        while block := _read(response):
            file.write(block)
            state.update(block)
            received += len(block)
            if on_progress is not None:
                on_progress(path.name, received, total)
        if total is not None and received != total:
            raise _DeliveryError(f"the connection ended after {received} of {total} bytes")
        if state.hexdigest() != checksum:
            raise _DeliveryError(f"wrong checksum {state.hexdigest()}, expected {checksum}")


def _hasher(checksum: str) -> Any:
    algorithm = {32: "md5", 64: "sha256"}[len(checksum)]
    return hashlib.new(algorithm, usedforsecurity=False)


def _open(url: str) -> Any:
    """Return the response to a GET of `url`; only http and https, redirects included."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"'{url}' is not an http or https address.")
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    try:
        return opener.open(request.Request(url, headers={"User-Agent": "sinewy"}), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise _DeliveryError(f"HTTP {error.code} {error.reason}") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise _DeliveryError(f"no connection, {getattr(error, 'reason', error)}") from None


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(1 << 18))
    except (OSError, HTTPException) as error:
        raise _DeliveryError(f"the connection broke, {error}") from None
