"""How a page becomes one HTML file that needs no network: style, scripts and a policy that allows these only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sinewy import __version__
from sinewy.report.escaping import readable


def render(template: str, **facts: Any) -> str:
    """Return the page that a template of this room makes of `facts`; text in them is escaped."""
    scripts = {"library": get_plotlyjs(), "drawing": resource("page.js")}
    page: str = (
        _environment()
        .get_template(template)
        .render(
            version=__version__,
            css=Markup(resource("page.css")),
            policy=_policy(scripts.values()),
            **{name: Markup(text) for name, text in scripts.items()},
            **facts,
        )
    )
    return page


def _policy(scripts: Iterable[str]) -> str:
    """Return the content security policy: these scripts and no other run, and nothing is fetched from anywhere."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    rest = "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {allowed}; {rest}"


def resource(name: str) -> str:
    """Return a file of this room as text."""
    return (files("sinewy.report") / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["readable"] = readable
    return environment
