"""The archives that published sets come in, where the user still has them: their MD5, and that they are whole.

Of sets of single pictures no checksum of a file is published, but one of each archive is.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sinewy.errors import CorruptFileError, InputError, unknown_name
from sinewy.files import digest

ARCHIVES: dict[str, dict[str, str]] = {
    "cifar10-c": {"CIFAR-10-C.tar": "56bf5dcef84df0e2308c6dcbcbbd8499"},
    "cifar100-c": {"CIFAR-100-C.tar": "11f0ed0f1191edbf9fa23466ae6021d3"},
    "imagenet-c": {
        "blur.tar": "2d8e81fdd8e07fef67b9334fa635e45c",
        "digital.tar": "89157860d7b10d5797849337ca2e5c03",
        "extra.tar": "d492dfba5fc162d8ec2c3cd8ee672984",
        "noise.tar": "e80562d7f6c3f8834afb1ecf27252745",
        "weather.tar": "33ffea4db4d93fe4a428c40a6ce0c25d",
    },
    "tiny-imagenet-c": {
        "Tiny-ImageNet-C.tar": "f9c9a9dbdc11469f0b850190f7ad8be1",
        "Tiny-ImageNet-C-extra.tar": "0db0588d243cf403ef93449ec52b70eb",
    },
    "mnist-c": {"mnist_c.zip": "4b34b33045869ee6d424616cd3a65da3"},
    "imagenet-r": {"imagenet-r.tar": "a61312130a589d0ca1a8fca1f2bd3337"},
}
"""MD5 by set and file; zenodo.org records 2535967, 3555552, 2235448, 8206060, 3239543; Hendrycks et al. 2021."""


def verify_archives(name: str, folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the archives of the published set `name` that are in `folder`, each of them with the published MD5.

    Reads them whole: minutes for the 75 GB of ImageNet-C. Raises InputError for a set without published archive
    checksums and a folder that holds none of them, CorruptFileError for one that is truncated or another file.
    """
    if name not in ARCHIVES:
        raise unknown_name("set with archive checksums", name, ARCHIVES)
    place = Path(folder).expanduser()
    found = [file for file in ARCHIVES[name] if (place / file).is_file()]
    if not found:
        raise InputError(f"{place} holds no archive of {name} ({', '.join(ARCHIVES[name])}).")
    for file in found:
        md5 = digest(place / file, hashlib.md5)
        if md5 != ARCHIVES[name][file]:
            raise CorruptFileError(
                f"{place / file} is not the published archive (md5 {md5}, expected {ARCHIVES[name][file]}); "
                "fetch it again, and unpack that one."
            )
    return tuple(found)
