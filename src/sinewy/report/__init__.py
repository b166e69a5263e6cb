"""A study as one offline HTML page, as plain data, and as one sentence. No torch."""

from sinewy.report.page import summary, write_report
from sinewy.report.sentences import answer

__all__ = ["answer", "summary", "write_report"]
