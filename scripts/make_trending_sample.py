"""Make the sample of a trending list that Nova ships: config/samples/trending_list.csv.

    python -m scripts.make_trending_sample                 write the sample where it belongs
    python -m scripts.make_trending_sample --output FILE   write it elsewhere

It has the columns of YouTube's list and the days of the sample of channel metrics, whose channels
are ours; the 30 channels of this one are the others. All is drawn from one seeded generator, so
every run gives the same bytes:

- a video stays on the list for one to five days, and gathers views as it stays;
- titles are about the themes of their channel's topic;
- `RISING` is on nobody's mind until its last four days, and then in more titles every day.
"""

import argparse
import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from scripts.make_sample import LAST_DAY, OUTPUT, TOPICS

SEED = 20250701
DAYS = 14
VIDEOS_A_DAY = 14
LONGEST_STAY_DAYS = 5
CHANNELS = [f"{topic} {show}" for show in ("Club", "Lab", "Weekly") for topic in TOPICS]
TRENDING_OUTPUT = OUTPUT.with_name("trending_list.csv")

RISING = "northern lights"
#: Titles about it that come on each of the last days.
RISING_TITLES = (1, 2, 4, 6)
THEMES = {
    "Woodwork": ("dovetail joints", "an oak table", "hand planes"),
    "Baking": ("sourdough", "croissants", "rye bread"),
    "Astronomy": ("Saturn", "dark matter", "a small telescope"),
    "Cycling": ("gravel bikes", "mountain passes", "a flat tyre"),
    "Gardening": ("tomatoes", "compost", "roses"),
    "Retro Games": ("a cartridge slot", "platform games", "speed runs"),
    "Street Food": ("dumplings", "falafel", "noodle soup"),
    "Chess": ("endgames", "the Caro-Kann", "rook sacrifices"),
    "Trains": ("night trains", "steam engines", "alpine railways"),
    "Home Lab": ("a quiet server", "backups", "network cables"),
}
TITLES = (
    "Everything about {theme}",
    "How I got {theme} right",
    "The truth about {theme}",
    "{theme}: ten mistakes",
    "We tried {theme} for a month",
    "Why {theme} went wrong",
)
RISING_TITLE_FORMS = (
    "{rising} tonight",
    "I drove all night to see the {rising}",
    "What the {rising} sound like",
    "{rising} from my garden",
)
HEADER = (
    "video_id",
    "trending_date",
    "title",
    "channel_title",
    "category_id",
    "publish_time",
    "views",
    "likes",
    "dislikes",
    "comment_count",
)


@dataclass(frozen=True)
class ListedVideo:
    """A made-up video, and when it is on the list."""

    id: str
    title: str
    channel: str
    category: int
    first_day: int
    days: int
    first_views: int
    growth: float  # factor from one day to the next


def make_videos(draw: random.Random) -> Iterator[ListedVideo]:
    """Draw the videos, by the day on which they come."""
    for day in range(1 - LONGEST_STAY_DAYS, DAYS):
        rising = RISING_TITLES[day - DAYS] if day >= DAYS - len(RISING_TITLES) else 0
        for place in range(VIDEOS_A_DAY):
            yield _video(draw, day, is_rising=place < rising)


def _video(draw: random.Random, day: int, *, is_rising: bool) -> ListedVideo:
    channel = draw.choice(CHANNELS)
    topic = channel.rpartition(" ")[0]
    theme = draw.choice(THEMES[topic])
    title = draw.choice(RISING_TITLE_FORMS if is_rising else TITLES)
    title = title.format(theme=theme, rising=RISING)
    return ListedVideo(
        id=f"{draw.getrandbits(64):016x}",
        title=title[0].upper() + title[1:],
        channel=channel,
        category=20 + TOPICS.index(topic),
        first_day=day,
        days=draw.randint(1, LONGEST_STAY_DAYS),
        first_views=round(draw.lognormvariate(11.0, 1.0)),
        growth=draw.uniform(1.1, 1.9),
    )


def make_row(draw: random.Random, video: ListedVideo, day: int) -> tuple[str, ...]:
    """Return a video's line on a day's list."""
    views = round(video.first_views * video.growth ** (day - video.first_day))
    likes, dislikes, comments = (
        round(views * share * draw.uniform(0.9, 1.1)) for share in (0.04, 0.002, 0.005)
    )
    published = f"{_date(video.first_day - 1).isoformat()}T12:00:00.000Z"
    numbers = (views, likes, dislikes, comments)
    return (
        video.id,
        f"{_date(day):%y.%d.%m}",
        video.title,
        video.channel,
        str(video.category),
        published,
        *map(str, numbers),
    )


def make_trending_sample() -> str:
    """Return the sample as CSV, ordered by day, then as the videos were drawn."""
    # A fixed seed is the point; nothing here is a secret.
    draw = random.Random(SEED)  # noqa: S311
    videos = list(make_videos(draw))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for day in range(DAYS):
        for video in videos:
            if video.first_day <= day < video.first_day + video.days:
                writer.writerow(make_row(draw, video, day))
    return text.getvalue()


def _date(day: int) -> date:
    return LAST_DAY - timedelta(days=DAYS - 1 - day)


def main() -> None:
    """Write the sample."""
    parser = argparse.ArgumentParser(description="Make the sample of a trending list.")
    parser.add_argument(
        "--output", type=Path, default=TRENDING_OUTPUT, help=f"default: {TRENDING_OUTPUT.name}"
    )
    output = parser.parse_args().output
    output.write_text(make_trending_sample(), encoding="utf-8", newline="")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
