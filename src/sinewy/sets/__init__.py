"""Shifted sets on disk: generated in the published layouts, kept in a cache, or as published. No torch at import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sinewy.sets.archives import verify_archives as verify_archives
    from sinewy.sets.cache import Cache as Cache
    from sinewy.sets.gallery import write_gallery as write_gallery
    from sinewy.sets.generating import generate as generate
    from sinewy.sets.published import PublishedPart as PublishedPart
    from sinewy.sets.published import PublishedSet as PublishedSet
    from sinewy.sets.published import open_set as open_set

_HOMES = {
    "Cache": "sinewy.sets.cache",
    "PublishedPart": "sinewy.sets.published",
    "PublishedSet": "sinewy.sets.published",
    "generate": "sinewy.sets.generating",
    "open_set": "sinewy.sets.published",
    "verify_archives": "sinewy.sets.archives",
    "write_gallery": "sinewy.sets.gallery",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sinewy.sets' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
