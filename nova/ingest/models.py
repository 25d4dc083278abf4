"""What an ingest found and did."""

from dataclasses import dataclass, field
from datetime import date

from pydantic import BaseModel, ConfigDict, Field

#: Problems that are told in full; the others are only counted.
PROBLEMS_SHOWN = 1000


class RowProblem(BaseModel):
    """Why one row was rejected."""

    model_config = ConfigDict(frozen=True)

    line: int | None = Field(
        default=None, description="Line of the file on which the row begins, from 1."
    )
    item: int | None = Field(
        default=None, description="Place of the item in a JSON array, from 1; it has no line."
    )
    column: str = Field(description="Column or field; empty when the whole row is wrong.")
    reason: str = Field(description="What is wrong with it.")

    def __str__(self) -> str:
        place = f"line {self.line}" if self.item is None else f"item {self.item}"
        column = f", column {self.column}" if self.column else ""
        return f"{place}{column}: {self.reason}"


class IngestResult(BaseModel):
    """What one file brought. A channel or video counts once for each day that it has a row for."""

    model_config = ConfigDict(frozen=True)

    file: str = Field(description="Name of the file.")
    format: str = Field(description="Format that its header showed.")
    dry_run: bool = Field(description="True when nothing was written on purpose.")
    rows_read: int = Field(description="Rows in the file, without its header.")
    rows_rejected: int = Field(description="Rows that are wrong and were left out.")
    rows_skipped: dict[str, int] = Field(description="Rows left out on purpose, by reason.")
    problems: list[RowProblem] = Field(
        description=f"Why rows were rejected, the first {PROBLEMS_SHOWN}."
    )
    notes: list[str] = Field(description="How something that can be read in two ways was read.")
    days: list[date] = Field(description="Days that the file has rows for.")
    days_changed: list[date] = Field(description="Days of which something was written.")
    channels_new: int = Field(description="Channels written to a day they were not in.")
    channels_changed: int = Field(description="Channels written to a day with other numbers.")
    channels_unchanged: int = Field(description="Channels that were there already, the same.")
    videos_new: int = Field(description="Videos written to a day they were not in.")
    videos_changed: int = Field(description="Videos written to a day with other values.")
    videos_unchanged: int = Field(description="Videos that were there already, the same.")


class BadValueError(Exception):
    """A value that cannot be taken; the row it stands in is rejected."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


@dataclass
class Tally:
    """Counts what a reader meets on its way through a file."""

    #: What a place in the file is called: "line", or "item" in a JSON array.
    place: str = "line"
    rows_read: int = 0
    rows_rejected: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[RowProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def reject(self, place: int, problem: BadValueError) -> None:
        """Count a bad row, and keep its problem while there is room."""
        self.rows_rejected += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            where = {self.place: place}
            self.problems.append(RowProblem(**where, column=problem.column, reason=problem.reason))

    def skip(self, reason: str) -> None:
        """Count a row that is left out on purpose."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
