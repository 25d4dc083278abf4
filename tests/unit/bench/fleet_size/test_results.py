"""What was measured is kept, and shown."""

from pathlib import Path
from typing import Any

import pytest

from bench.fleet import BenchError
from bench.fleet_size.results import Result, Results
from bench.fleet_size.sides import BY_DEFAULT_HOSTS, NOVA
from bench.fleet_size.tables import measure_table, settings_table, tables, task_table


def result(side: str, hosts: int, noop: list[float], **changed: Any) -> Result:
    """Return a result; all runs but those with nothing to do take ten seconds a host."""
    once = [{"seconds": 10.0 * hosts, "tasks": {"A": 10.0 * hosts}}]
    runs = dict.fromkeys(("bare", "deploy", "restart"), once)
    runs["noop"] = [{"seconds": s, "tasks": {"A": s - 1, "B": 1.0}} for s in noop]
    values: dict[str, Any] = {
        "side": side,
        "hosts": hosts,
        "digest": "d",
        "versions": {"ansible-core": "2.19"},
        "day": "2026-11-28",
        "runs": runs,
        "install": 8.0,
        "build": 3.0,
        "memory": 1.5,
        "state": "",
    }
    return Result(**values | changed)


def test_a_result_is_read_again_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "results.json"
    Results(path).put(result("nova", 3, [4.0]))
    again = Results(path)
    again.put(result("nova", 1, [2.0]))
    assert Results(path).get("nova", 3) == result("nova", 3, [4.0])
    assert Results(path).sizes() == [1, 3]
    assert Results(path).get("baseline", 3) is None


@pytest.mark.parametrize("text", ["", "[]", '{"results": [{"side": "nova"}]}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=r"results.json has no results that can be read"):
        Results(path)


def test_a_table_has_ratios_and_the_seconds_of_each_added_host() -> None:
    """Of the slopes too: they leave out what a run costs on however few hosts."""
    found = [
        result("baseline", 1, [20.0]),
        result("baseline", 3, [40.0, 41.0, 39.0]),
        result("nova", 1, [10.0]),
        result("nova", 3, [12.0]),
    ]
    lines = measure_table(found, "noop").splitlines()
    assert lines[2:] == [
        "| hosts | baseline | Nova | of the baseline |",
        "| --- | ---: | ---: | ---: |",
        "| 1 | 20.0 | 10.0 | 0.50 |",
        "| 3 | 40.0 (39.0 to 41.0) | 12.0 | 0.30 |",
        "| each added host | 10.00 | 1.00 | 0.10 |",
    ]


def test_what_was_not_measured_is_a_dash() -> None:
    """And one number of hosts has no slope."""
    found = [result("baseline", 1, [20.0]), result("nova", 3, [12.0])]
    assert measure_table(found, "noop").splitlines()[4:] == [
        "| 1 | 20.0 | - | - |",
        "| 3 | - | 12.0 | - |",
    ]


def test_the_install_step_is_shown_with_and_without_the_build() -> None:
    found = [result("nova", 1, [2.0])]
    assert "| 1 | 8.0 | - |" in measure_table(found, "install")
    assert "| 1 | 5.0 | - |" in measure_table(found, "install on hosts")


def test_the_tasks_are_those_of_the_middle_run() -> None:
    """On the largest fleet; the longest first, the rest together."""
    found = [result("nova", 1, [3.0]), result("nova", 3, [90.0, 12.0, 10.0])]
    text = task_table(found, NOVA)
    assert "3 hosts" in text
    assert text.splitlines()[-3:] == ["| A | 11.0 |", "| B | 1.0 |", "| 0 others | 0.0 |"]


def test_there_are_tables_of_a_single_side() -> None:
    assert "Memory" in tables([result("mitogen", 1, [3.0])])


def test_a_setting_is_compared_with_nova_as_it_is() -> None:
    """Only with the number of hosts that it is measured on; before that there is no table."""
    nova, other = (
        result(name, BY_DEFAULT_HOSTS, [seconds])
        for name, seconds in (("nova", 10.0), ("five-forks", 15.0))
    )
    del other.runs["deploy"], other.runs["restart"]  # these are not measured with it
    assert settings_table([nova]) == []
    assert settings_table([result("nova", 3, [1.0]), other]) == []
    [text] = settings_table([nova, other])
    assert tables([nova, other]) == f"{tables([nova])}\n\n{text}"
    assert text.splitlines()[-4:] == [
        "| Nova | 10.0 | 1.00 | 120.0 | 1.00 |",
        "| without pipelining | - | - | - | - |",
        "| with five forks | 15.0 | 1.50 | 120.0 | 1.00 |",
        "| with SSH that compresses | - | - | - | - |",
    ]
