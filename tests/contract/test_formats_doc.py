"""docs/formats.md says what the readers do."""

from pathlib import Path

from nova.channels import METRICS
from nova.ingest.formats import (
    NOVA_COLUMNS,
    STUDIO_ALIASES,
    STUDIO_COLUMNS,
    STUDIO_METRICS,
    TRENDING_COLUMNS,
)
from nova.ingest.models import PROBLEMS_SHOWN
from nova.ingest.scratch import WEIGHTS
from nova.ingest.values import FIRST_DAY, MAX_NAME_BYTES, MAX_TITLE
from nova.videos import FIELDS

DOC = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def rows_under(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = DOC.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = section[section.index("\n|") + 1 :].split("\n\n")[0].splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_metrics_are_all_there() -> None:
    """Name, unit, meaning and sign of each metric, in order."""
    expected = [[m.name, m.unit, m.description, "yes" if m.signed else ""] for m in METRICS]
    assert rows_under("The metrics") == expected


def test_the_studio_columns_are_all_there() -> None:
    """Column, metric, and how several videos become one number."""
    documented = {
        column.lower(): (metric, how) for column, metric, how in rows_under("YouTube Studio export")
    }
    assert documented == {
        column: (metric, f"mean, weighted by {WEIGHTS[metric]}" if metric in WEIGHTS else "sum")
        for column, metric in STUDIO_METRICS.items()
    }


def test_the_studio_columns_of_other_times_are_all_there() -> None:
    """The newer names stand in the order of the older ones they mean."""
    sentence = DOC.split("Newer exports say ")[1].split(". Both are taken.")[0]
    newer, older = (part.lower().split("`")[1::2] for part in sentence.split(" for "))
    assert dict(zip(newer, older, strict=True)) == STUDIO_ALIASES


def test_what_is_kept_of_a_video_is_all_there() -> None:
    """Each field of a stored video has its row, or a part of one."""
    kept = {name.split(" ")[0] for row in rows_under("Videos") for name in row[0].split(", ")}
    assert kept == {field.split("_")[0] for field in FIELDS} | {"day", "id"}


def test_the_headers_are_those_that_are_recognised() -> None:
    """Each format's row in the first table names the columns it is recognised by."""
    table = DOC.split("\n## ", maxsplit=1)[0].splitlines()
    for name, columns in (
        ("YouTube trending list", TRENDING_COLUMNS),
        ("YouTube Studio export", STUDIO_COLUMNS),
        ("Nova CSV", NOVA_COLUMNS),
    ):
        (line,) = [line for line in table if line.startswith(f"| {name}")]
        cell = line.split("|")[2]
        assert {word.lower() for word in cell.split("`")[1::2]} == columns


def test_the_limits_are_those_of_the_code() -> None:
    """Numbers in the text follow the constants."""
    for text in (
        f"up to {MAX_NAME_BYTES} bytes",
        f"the first {PROBLEMS_SHOWN} are reported",
        f"before {FIRST_DAY.year} or",
        f"after {MAX_TITLE} characters it is cut",
    ):
        assert text in DOC.replace("\n", " ")
