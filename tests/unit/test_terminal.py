"""What the commands share."""

from datetime import timedelta

import pytest
import typer

from nova.terminal import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "1", "-1h", "1w", "1.5h", "1h ", "9999999999s"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="90s"):
        parse_duration(text)
