"""The commands `nova trigger DOMAIN`, one per domain, each from the domain's own package."""

import typer

from nova.analysis import commands as analysis
from nova.analytics import commands as analytics
from nova.governance import commands as governance
from nova.maintenance import commands as maintenance
from nova.trends import commands as trends

trigger = typer.Typer(name="trigger", help="Run a scheduled task now.", no_args_is_help=True)
_add = trigger.command
_add("governance", epilog=governance.TRIGGER_EPILOG)(governance.trigger_governance)
_add("maintenance", epilog=maintenance.TRIGGER_EPILOG)(maintenance.trigger_maintenance)
_add("analytics", epilog=analytics.TRIGGER_EPILOG)(analytics.trigger_analytics)
_add("analysis", epilog=analysis.TRIGGER_EPILOG)(analysis.trigger_analysis)
_add("trends", epilog=trends.TRIGGER_EPILOG)(trends.trigger_trends)
