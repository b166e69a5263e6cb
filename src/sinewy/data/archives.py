"""What leaves an archive: the members that are wanted, to where they belong, and nothing anywhere else."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath

from sinewy.data.checked import absent, check_file
from sinewy.data.download import Progress, fetch
from sinewy.errors import CorruptFileError, InputError
from sinewy.files import write_bytes

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, BadGzipFile, zlib.error, EOFError, NotImplementedError)


def obtain(
    urls: list[str], archive: Path, md5: str, *, relative: str, download: bool, on_progress: Progress | None
) -> None:
    """Fetch an archive unless it is there; raises InputError if it is not and may not be fetched."""
    if archive.is_file():
        return
    if not download:
        raise absent(archive, urls[0])
    fetch(urls, archive, md5, relative=relative, on_progress=on_progress)


def unpack_files(archive: Path, md5: str, wanted: Mapping[str, Path]) -> None:
    """Write the members of a .tar.gz or .zip that are keys of `wanted` to their paths, where there is nothing yet.

    Raises CorruptFileError if the archive has another checksum or lacks one of them, InputError if it cannot be read or
    the disk does not take it.
    """
    check_file(archive, md5)
    left = {name: path for name, path in wanted.items() if not path.is_file()}
    with _reading(archive):
        for name, read in _members(archive):
            if name in left:
                write_bytes(left.pop(name), read())
    if left:
        raise _not_the_archive(archive, f"it has no {next(iter(left))}")


def unpack_folder(archive: Path, md5: str, inside: str, folder: Path, suffix: str) -> None:
    """Write the files below `inside` of a .tar.gz or .zip that end in `suffix` to `folder`, all of them or none.

    A folder that is there stays as it is; several processes may call this at once. Raises as `unpack_files` does.
    """
    with _reading(archive), archive.open("rb") as lock:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        check_file(archive, md5)
        temporary = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        try:
            _write_below(archive, inside, temporary, suffix)
            if not temporary.is_dir():
                raise _not_the_archive(archive, f"it has no {inside}/*{suffix}")
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_below(archive: Path, inside: str, folder: Path, suffix: str) -> None:
    for name, read in _members(archive):
        relative = below(name, inside)
        if relative is not None and relative.suffix == suffix:
            place = folder / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(read())


def below(name: str, inside: str) -> PurePosixPath | None:
    """Return the path of a member relative to the folder `inside` of its archive, None if it is not safely below it."""
    path = PurePosixPath(name)
    if not path.is_relative_to(inside) or any(part.startswith(".") for part in path.parts):
        return None
    return path.relative_to(inside)


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield name and reader of the plain files of an archive; links, devices and folders are left out."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                if not info.is_dir():
                    yield info.filename, partial(file.read, info)
        return
    with tarfile.open(archive, mode="r:gz") as tar:
        for member in tar:
            if member.isreg():
                yield member.name, partial(_read_member, tar, member)


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # a plain file
    return file.read()


@contextlib.contextmanager
def _reading(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _not_the_archive(archive, str(error)) from error
    except OSError as error:
        raise InputError(
            f"cannot unpack {archive}: {error.strerror or error}. What was there before is untouched."
        ) from error


def _not_the_archive(archive: Path, why: str) -> CorruptFileError:
    return CorruptFileError(
        f"{archive} is not the archive it should be ({why}); delete it and run the same command again."
    )
