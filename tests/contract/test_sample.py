"""The sample that Nova ships is what its generator makes."""

from nova.channels import METRIC_NAMES
from scripts.make_sample import HEADER, OUTPUT, make_sample


def test_the_sample_is_what_its_generator_makes() -> None:
    """Whoever changes one of them runs `python scripts/make_sample.py`."""
    assert OUTPUT.read_text(encoding="utf-8") == make_sample()


def test_the_sample_has_every_metric() -> None:
    """A metric that is added belongs in the sample."""
    assert ("day", "channel", *METRIC_NAMES) == HEADER


def test_the_sample_stays_small() -> None:
    """It is part of every checkout and of the lab's first minute."""
    assert OUTPUT.stat().st_size < 300_000
