"""Make the sample of channel metrics that Nova ships: config/samples/channel_metrics.csv.

    python scripts/make_sample.py                 write the sample where it belongs
    python scripts/make_sample.py --output FILE   write it elsewhere

All of it is drawn from one seeded generator, so every run gives the same bytes. The channels are
made up, and shaped like real ones:

- sizes are heavy-tailed: a few channels have most of the views;
- every seventh day is stronger, and numbers scatter around their trend;
- 12 channels grow, 12 decline, 8 jump about from day to day, 28 are steady;
- what viewers do (watching, liking, subscribing, earning) rises and falls with growth;
- each sixth channel earns nothing (no rpm, no revenue), each eighth reports no shares;
- each tenth began late, and each ninth has days of which nothing is known.
"""

import argparse
import csv
import io
import random
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

SEED = 20250630
LAST_DAY = date(2025, 6, 30)
DAYS = 35
OUTPUT = Path(__file__).resolve().parents[1] / "config" / "samples" / "channel_metrics.csv"

TOPICS = (
    "Woodwork",
    "Baking",
    "Astronomy",
    "Cycling",
    "Gardening",
    "Retro Games",
    "Street Food",
    "Chess",
    "Trains",
    "Home Lab",
)
SHOWS = ("Daily", "Explained", "Stories", "Workshop", "Live", "in Ten Minutes")
HEADER = (
    "day",
    "channel",
    "views",
    "likes",
    "comments",
    "shares",
    "subscribers",
    "watch_hours",
    "impressions",
    "ctr",
    "rpm",
    "revenue",
)


@dataclass(frozen=True)
class Channel:
    """What one made-up channel is like."""

    name: str
    daily_views: float
    growth: float  # factor from one day to the next
    scatter: float  # standard deviation of the logarithm of a day's views
    appeal: float  # 1 is usual; scales what viewers do
    rpm: float | None
    reports_shares: bool
    first_day: int
    gaps: bool


def make_channels(draw: random.Random) -> list[Channel]:
    """Draw the channels."""
    names = [f"{topic} {show}" for show in SHOWS for topic in TOPICS]
    kinds = ["growing"] * 12 + ["declining"] * 12 + ["erratic"] * 8 + ["steady"] * 28
    draw.shuffle(kinds)
    return [
        _channel(draw, i, name, kind)
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]


def _channel(draw: random.Random, place: int, name: str, kind: str) -> Channel:
    strength = draw.uniform(0.4, 1.0)
    growth = {"growing": 1 + 0.06 * strength, "declining": 1 - 0.06 * strength}.get(kind, 1.0)
    appeal = {"growing": 1 + 0.7 * strength, "declining": 1 - 0.6 * strength}.get(kind, 1.0)
    return Channel(
        name=name,
        daily_views=draw.lognormvariate(9.0, 1.6),
        growth=growth,
        scatter=0.9 if kind == "erratic" else 0.12,
        appeal=appeal * draw.uniform(0.85, 1.15),
        rpm=None if place % 6 == 5 else draw.uniform(1.5, 7.0),
        reports_shares=place % 8 != 7,
        first_day=draw.randrange(10, 25) if place % 10 == 9 else 0,
        gaps=place % 9 == 4,
    )


def make_row(draw: random.Random, channel: Channel, day: int) -> dict[str, str]:
    """Draw one day of one channel."""
    weekly = 1.25 if day % 7 == 6 else 1.0
    noise = draw.lognormvariate(0.0, channel.scatter)
    views = round(channel.daily_views * channel.growth**day * weekly * noise)
    around = [channel.appeal * draw.uniform(0.85, 1.15) for _ in range(7)]
    ctr = min(4.5 * around[0], 30.0)
    row = {
        "views": f"{views}",
        "likes": f"{round(views * 0.035 * around[1])}",
        "comments": f"{round(views * 0.004 * around[2])}",
        "shares": f"{round(views * 0.006 * around[3])}" if channel.reports_shares else "",
        # A weak channel loses subscribers.
        "subscribers": f"{round(views * 0.004 * (around[4] - 0.55))}",
        "watch_hours": f"{views * 0.06 * around[5]:.1f}",
        "impressions": f"{round(views * 70 / ctr)}",
        "ctr": f"{ctr:.2f}",
        "rpm": "",
        "revenue": "",
    }
    if channel.rpm:
        rpm = channel.rpm * around[6]
        row |= {"rpm": f"{rpm:.3f}", "revenue": f"{views * rpm / 1000:.2f}"}
    return row


def make_sample() -> str:
    """Return the sample as CSV, ordered by day, then as the channels were drawn."""
    # A fixed seed is the point; nothing here is a secret.
    draw = random.Random(SEED)  # noqa: S311
    channels = make_channels(draw)
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for day in range(DAYS):
        label = (LAST_DAY - timedelta(days=DAYS - 1 - day)).isoformat()
        for channel in channels:
            row = make_row(draw, channel, day)
            missing = channel.gaps and draw.random() < 0.2
            if day >= channel.first_day and not missing:
                writer.writerow({"day": label, "channel": channel.name} | row)
    return text.getvalue()


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description="Make the sample of channel metrics.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"default: {OUTPUT.name}")
    output = parser.parse_args().output
    output.write_text(make_sample(), encoding="utf-8", newline="")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
