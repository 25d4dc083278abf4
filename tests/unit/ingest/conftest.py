"""Reading a file without Redis: what stands in it after it was put together."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import islice
from math import isnan
from pathlib import Path

import pytest

from nova.channels import METRIC_NAMES, unpack_many
from nova.ingest.formats import recognise
from nova.ingest.models import Tally
from nova.ingest.scratch import open_scratch
from nova.ingest.source import Source


@dataclass
class Content:
    """What a file holds."""

    format: str
    tally: Tally
    #: (day, channel) -> the metrics that are known.
    values: dict[tuple[str, str], dict[str, float]]

    @property
    def problems(self) -> list[str]:
        """The problems as people see them."""
        return [str(problem) for problem in self.tally.problems]


ReadContent = Callable[..., Content]


def _known(record: bytes) -> dict[str, float]:
    numbers = unpack_many([record])[0].tolist()
    named = zip(METRIC_NAMES, numbers, strict=True)
    return {name: value for name, value in named if not isnan(value)}


@pytest.fixture(scope="session")
def read_content(tmp_path_factory: pytest.TempPathFactory) -> ReadContent:
    """Return a function that reads text or bytes as a file, `batch` rows at a time."""
    path: Path = tmp_path_factory.mktemp("ingest") / "file"

    def read(content: str | bytes, channel: str | None = None, batch: int = 100) -> Content:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        tally = Tally()
        with Source(path, "the file") as source, open_scratch() as scratch:
            reader = recognise(source, tally, channel)
            records = iter(reader.records())
            while rows := list(islice(records, batch)):
                scratch.add(rows, tally)
            values = {
                (day.isoformat(), name): _known(record)
                for day in scratch.days()
                for chunk in scratch.channels(day, 3)
                for name, record in chunk.items()
            }
        return Content(reader.name, tally, values)

    return read


@pytest.fixture(scope="session")
def tomorrow() -> date:
    """The last day that a file can hold."""
    from nova.ingest.values import last_day

    return last_day()
