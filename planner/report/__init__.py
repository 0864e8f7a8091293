"""The report: a plan or a comparison as one self-contained page that opens from disk and needs no network."""

from planner.report.page import write_comparison_report, write_plan_report

__all__ = ["write_comparison_report", "write_plan_report"]
