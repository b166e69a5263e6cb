"""How a file gets from the network to the disk: whole and with the right checksum, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from io import FileIO
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from sinewy.data.telling import Teller
from sinewy.errors import CorruptFileError, InputError
from sinewy.files import digest

TIMEOUT = 30
"""Seconds without a byte after which a server is given up."""

BLOCK = 1 << 18

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
    at `path` is replaced only when all bytes are there and right, and left if it is right already. Bytes of a download
    that broke off wait beside it, hidden, and the next call goes on from there; of several processes one fetches, the
    others wait. Without `on_progress` a line on stderr says what is fetched. Raises InputError if no server delivers or
    the disk does not take it, CorruptFileError if wrong bytes came.
    """
    candidates = [urls] if isinstance(urls, str) else list(urls)
    address = candidates[0]
    if mirror := os.environ.get("SINEWY_MIRROR"):
        candidates.insert(0, f"{mirror.rstrip('/')}/{relative or path.name}")
    tell = on_progress or Teller(path)
    place = path.with_name(f".{path.name}.{checksum[:8]}.part")
    with _partial(place, path) as part:
        if path.is_file() and digest(path, _algorithm(checksum)) == checksum:
            return
        failures: list[str] = []
        for url in candidates:
            try:
                _receive(url, part, path, checksum, tell)
            except _DeliveryError as failure:
                failures.append(f"{url}: {failure}")
            else:
                os.fsync(part.fileno())
                place.replace(path)
                return
        kept = os.fstat(part.fileno()).st_size
    error = CorruptFileError if any("checksum" in failure for failure in failures) else InputError
    again = f"run the same command again, which goes on after these {kept:,} bytes" if kept else "check the network"
    raise error(
        f"cannot download {path.name} ({'; '.join(failures)}); {again}, or get it from {address} elsewhere and "
        f"put the file at {path} yourself."
    )


@contextlib.contextmanager
def _partial(place: Path, path: Path) -> Iterator[FileIO]:
    """Yield the file at `place`, locked, with what has come of `path`; it stays only if that is of use."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _locked(place)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    with part:
        try:
            yield part
        except OSError as error:
            part.truncate(0)
            raise InputError(
                f"cannot write {path}: {error.strerror or error}. What was there before is untouched."
            ) from error
        finally:
            if not os.fstat(part.fileno()).st_size:
                place.unlink(missing_ok=True)


def _locked(place: Path) -> FileIO:
    """Return `place` open for reading and writing, ours alone until it is closed."""
    while True:
        file = FileIO(os.open(place, os.O_RDWR | os.O_CREAT, 0o644), "r+")
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        # While we waited its owner may have finished, and moved it away.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                return file
        file.close()


def _receive(url: str, part: FileIO, path: Path, checksum: str, tell: Progress) -> None:
    """Bring `part` to the whole file, from the bytes it has if they and the server allow it."""
    part.seek(0)
    state = _algorithm(checksum)()
    while block := part.read(BLOCK):
        state.update(block)
    have = part.tell()
    if have and state.hexdigest() == checksum:
        return
    try:
        _append(url, part, path, checksum, tell, state, have)
    except _WrongBytesError:
        part.truncate(0)
        if not have:
            raise
        # The earlier bytes may have been the wrong ones.
        _receive(url, part, path, checksum, tell)


class _WrongBytesError(_DeliveryError):
    """All bytes came, and are not the ones expected."""


def _append(url: str, part: FileIO, path: Path, checksum: str, tell: Progress, state: Any, have: int) -> None:
    with _open(url, have) as response:
        if have and response.status != 206:
            have, state = 0, _algorithm(checksum)()
            part.seek(0)
            part.truncate()
        length = response.headers.get("Content-Length") or ""
        total = have + int(length) if length.isdigit() else None
        _check_space(path, (total or 0) - have)
        tell(path.name, have, total)
        while block := _read(response):
            _write(part, block)
            state.update(block)
            have += len(block)
            tell(path.name, have, total)
    if total is not None and have != total:
        raise _DeliveryError(f"the connection ended after {have} of {total} bytes")
    if state.hexdigest() != checksum:
        raise _WrongBytesError(f"wrong checksum {state.hexdigest()}, expected {checksum}")


def _write(part: FileIO, block: bytes) -> None:
    """Write all of `block`; an unbuffered file may take less at a time."""
    rest = memoryview(block)
    while rest:
        rest = rest[part.write(rest) :]


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{path.name} needs {needed / 1e6:,.0f} MB, but the disk of {path.parent} has {free / 1e6:,.0f} MB left; "
            "free some, or name another folder with --root or $SINEWY_DATA."
        )


def _algorithm(checksum: str) -> Callable[[], Any]:
    name = {32: "md5", 64: "sha256"}[len(checksum)]
    return lambda: hashlib.new(name, usedforsecurity=False)


def _open(url: str, start: int = 0) -> Any:
    """Return the response to a GET of `url` from byte `start`; only http and https, redirects included."""
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
    headers = {"User-Agent": "sinewy"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = opener.open(request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # it has no more bytes than we have, which were not right
            return _open(url)
        raise _DeliveryError(f"HTTP {error.code} {error.reason}") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise _DeliveryError(f"no connection, {getattr(error, 'reason', error)}") from None
    if response.status == 206 and not str(response.headers.get("Content-Range")).startswith(f"bytes {start}-"):
        response.close()
        return _open(url)
    return response


def _read(response: Any) -> bytes:
    try:
        return bytes(response.read(BLOCK))
    except (OSError, HTTPException) as error:
        raise _DeliveryError(f"the connection broke, {error}") from None
