"""Runs of the domains, published now."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from nova.api.triggers import RESPONSES, Accepted, Trigger

router = APIRouter(prefix="/api/celery", tags=["triggers"])


class GovernanceRun(BaseModel):
    """What to run; all of it may be left out."""

    model_config = ConfigDict(extra="forbid")

    auto_actions: bool | None = Field(
        default=None,
        description="true: act on channels, within the policy's limits; false: only report; "
        "left out: as the policy says.",
        examples=[False],
    )


@router.post("/governance/run", status_code=202, responses=RESPONSES)
def run_governance(trigger: Trigger, run: GovernanceRun | None = None) -> Accepted:
    """Publish a governance run. Its report gets the task's id."""
    return trigger.publish("governance", (run or GovernanceRun()).model_dump())
