"""What is counted as the worker's doing."""

from bench.fleet import CONTENDERS, Sample, commands_between


def make_sample(**commands: int) -> Sample:
    return Sample(0.0, 0, commands, 0, 0, 0, 0, 0.0, 0.0, 0.0)


def test_what_the_bench_asks_is_not_counted_as_the_workers() -> None:
    """Between the samples the bench looked nine times, and once more in the last sample."""
    first = make_sample(llen=5, hlen=5, info=1, incrby=100)
    last = make_sample(llen=15, hlen=17, info=2, incrby=300, get=4)
    found = commands_between(first, last, CONTENDERS["stock-equal"], looks=9)
    assert found == {"hlen": 2, "incrby": 200, "get": 4}
