"""Runs of the domains, published now."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from nova.analysis.models import MAX_SEEDS, Seed
from nova.api.parameters import Day
from nova.api.triggers import RESPONSES, Accepted, Trigger
from nova.maintenance.models import MAX_AGE_HOURS_LIMIT

router = APIRouter(prefix="/api/celery", tags=["triggers"])


class GovernanceRun(BaseModel):
    """What to run; all of it may be left out."""

    model_config = ConfigDict(extra="forbid")

    auto_actions: StrictBool | None = Field(
        default=None,
        description="true: act on channels, within the policy's limits; false: only report; "
        "left out: as the policy says.",
        examples=[False],
    )


@router.post("/governance/run", status_code=202, responses=RESPONSES)
def run_governance(trigger: Trigger, run: GovernanceRun | None = None) -> Accepted:
    """Publish a governance run. Its report gets the task's id."""
    return trigger.publish("governance", (run or GovernanceRun()).model_dump())


@router.post("/maintenance/cleanup", status_code=202, responses=RESPONSES)
def run_maintenance(
    trigger: Trigger,
    max_age_hours: Annotated[
        int,
        Query(
            ge=1,
            le=MAX_AGE_HOURS_LIMIT,
            description="What has no retention of its own goes when nobody used it for so long.",
        ),
    ] = 24,
    dry_run: Annotated[bool, Query(description="Only report what would be removed.")] = False,
) -> Accepted:
    """Publish a cleanup of Redis. Its report gets the task's id."""
    return trigger.publish("maintenance", {"max_age_hours": max_age_hours, "dry_run": dry_run})


class AnalyticsRun(BaseModel):
    """What to run; all of it may be left out."""

    model_config = ConfigDict(extra="forbid")

    day: Day | None = Field(
        default=None,
        description="Day to process; left out: the newest that has channel metrics.",
        examples=["2017-12-09"],
    )


@router.post("/analytics/run", status_code=202, responses=RESPONSES)
def run_analytics(trigger: Trigger, run: AnalyticsRun | None = None) -> Accepted:
    """Publish a run that brings a day, and all that holds it, up to date."""
    return trigger.publish("analytics", (run or AnalyticsRun()).model_dump(mode="json"))


class AnalysisRun(BaseModel):
    """What to run; all of it may be left out."""

    model_config = ConfigDict(extra="forbid")

    day: Day | None = Field(
        default=None,
        description="The last day that counts. Left out: today. Feeds are only asked for today.",
        examples=["2017-12-09"],
    )
    seeds: list[Seed] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SEEDS,
        description="Names or ids of channels, or URLs of feeds on hosts that are configured. Left "
        "out: COMPETITOR_SEEDS.",
        examples=[["Vox", "Tom Scott"]],
    )


@router.post("/analysis/run", status_code=202, responses=RESPONSES)
def run_analysis(trigger: Trigger, run: AnalysisRun | None = None) -> Accepted:
    """Publish an analysis of competitors. Its report gets the task's id."""
    return trigger.publish("analysis", (run or AnalysisRun()).model_dump(mode="json"))


class TrendsRun(BaseModel):
    """What to run; all of it may be left out."""

    model_config = ConfigDict(extra="forbid")

    day: Day | None = Field(
        default=None,
        description="Day to scan. Left out: today if sources are fetched, else the day of the "
        "newest trending list.",
        examples=["2017-11-28"],
    )


@router.post("/trends/run", status_code=202, responses=RESPONSES)
def run_trends(trigger: Trigger, run: TrendsRun | None = None) -> Accepted:
    """Publish a scan for trends. Its report gets the task's id."""
    return trigger.publish("trends", (run or TrendsRun()).model_dump(mode="json"))
