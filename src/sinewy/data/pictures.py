"""Sets of pictures in folders that serve as anomalies only: Textures (DTD) and Omniglot."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sinewy.data.archives import obtain, unpack_folder
from sinewy.data.download import Progress
from sinewy.errors import CorruptFileError


class PictureSet(NamedTuple):
    """Where a set may lie under the root, and the archive it comes in: its own files `inside`, so many, of `suffix`."""

    places: tuple[str, ...]
    archive: str
    urls: list[str]
    md5: str
    inside: str
    suffix: str
    pictures: int


SETS = {
    "textures": PictureSet(
        places=("dtd/images", "dtd/dtd/images"),  # where the archive unpacks to, and where torchvision unpacks it to
        archive="dtd-r1.0.1.tar.gz",
        urls=[
            "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
            "https://thor.robots.ox.ac.uk/dtd/dtd-r1.0.1.tar.gz",
        ],
        md5="fff73e5086ae6bdbea199a49dfb8a4c1",
        inside="dtd/images",
        suffix=".jpg",
        pictures=5640,
    ),
    "omniglot": PictureSet(
        places=("omniglot-py/images_evaluation",),
        archive="omniglot-py/images_evaluation.zip",
        urls=["https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_evaluation.zip"],
        md5="6b91aef0f799c5bb55b94e3f2daec811",
        inside="images_evaluation",
        suffix=".png",
        pictures=13180,
    ),
}
FILES = {name: found.places[:1] for name, found in SETS.items()}
INSTEAD = {name: (*found.places[1:], found.archive) for name, found in SETS.items()}
BYTES = {"textures": 625_239_812, "omniglot": 6_462_886}


def textures(*, root: Path, download: bool = True, on_progress: Progress | None = None) -> Path:
    """Return the folder of the 5640 photographs of DTD in 47 folders (Cimpoi et al. 2014), fetched if absent."""
    return _folder("textures", root, download, on_progress)


def omniglot(*, root: Path, download: bool = True, on_progress: Progress | None = None) -> Path:
    """Return the folder of Omniglot's 13 180 evaluation characters (Lake et al. 2015, MIT), fetched if absent."""
    return _folder("omniglot", root, download, on_progress)


def _folder(name: str, root: Path, download: bool, on_progress: Progress | None) -> Path:
    about = SETS[name]
    folder = next((root / place for place in about.places if (root / place).is_dir()), None)
    if folder is None:
        folder, archive = root / about.places[0], root / about.archive
        obtain(about.urls, archive, about.md5, relative=about.archive, download=download, on_progress=on_progress)
        unpack_folder(archive, about.md5, about.inside, folder, about.suffix)
    found = sum(1 for _ in folder.rglob(f"[!.]*{about.suffix}"))
    if found != about.pictures:
        raise CorruptFileError(
            f"{folder} holds {found} of the {about.pictures} pictures of {name}; delete it and run the same command "
            f"again, or unpack {about.archive} there once more."
        )
    return folder
