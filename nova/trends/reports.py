"""Trend reports in Redis."""

from nova.reports import ReportStore
from nova.trends.models import TrendLine, TrendReport

STORE = ReportStore("trends", TrendReport, TrendLine)
