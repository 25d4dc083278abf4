"""Analysis reports in Redis."""

from nova.analysis.models import AnalysisLine, AnalysisReport
from nova.reports import ReportStore

STORE = ReportStore("analysis", AnalysisReport, AnalysisLine)
