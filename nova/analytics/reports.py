"""The reports of analytics in Redis."""

from nova.analytics.models import AnalyticsReport
from nova.reports import ReportStore

STORE = ReportStore("analytics", AnalyticsReport)
