"""A study as one offline HTML page, as plain data, and as one sentence. No torch."""

from sinewy.report.sentences import answer
from sinewy.report.study.page import summary, write_report

__all__ = ["answer", "summary", "write_report"]
