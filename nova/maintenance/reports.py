"""The reports of maintenance."""

from nova.maintenance.models import MaintenanceReport
from nova.reports import ReportStore

STORE = ReportStore("maintenance", MaintenanceReport)
