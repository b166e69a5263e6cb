"""The command line: words for people, thin. stdout carries results, stderr progress; no torch at import."""

from sinewy.cli.main import main

__all__ = ["main"]
