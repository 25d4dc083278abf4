"""The samples that Nova ships are what their generators make."""

from pathlib import Path

import pytest

from nova.channels import METRIC_NAMES
from nova.ingest.formats import TRENDING_COLUMNS
from scripts.make_sample import HEADER, OUTPUT, make_sample
from scripts.make_trending_sample import HEADER as LIST_HEADER
from scripts.make_trending_sample import TRENDING_OUTPUT, make_trending_sample


def test_the_sample_is_what_its_generator_makes() -> None:
    """Whoever changes one of them runs `python scripts/make_sample.py`."""
    assert OUTPUT.read_text(encoding="utf-8") == make_sample()


def test_the_trending_list_is_what_its_generator_makes() -> None:
    """Whoever changes one of them runs `python -m scripts.make_trending_sample`."""
    assert TRENDING_OUTPUT.read_text(encoding="utf-8") == make_trending_sample()


def test_the_sample_has_every_metric() -> None:
    """A metric that is added belongs in the sample."""
    assert ("day", "channel", *METRIC_NAMES) == HEADER


def test_the_trending_list_has_the_columns_by_which_its_format_is_known() -> None:
    assert set(LIST_HEADER) >= TRENDING_COLUMNS


@pytest.mark.parametrize("sample", [OUTPUT, TRENDING_OUTPUT], ids=lambda path: path.name)
def test_a_sample_stays_small(sample: Path) -> None:
    """It is part of every checkout and of the lab's first minute."""
    assert sample.stat().st_size < 300_000
