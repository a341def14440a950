"""Reports: what an evaluation found as one self-contained page that can be sent to somebody."""

from __future__ import annotations

from mien.evaluate.report.page import report_page, write_report
from mien.evaluate.report.parts import ReportTable

__all__ = ["ReportTable", "report_page", "write_report"]
