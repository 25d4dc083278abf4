"""Asks the watched tools and version endpoints, and compares with what is remembered of them.

One that does not answer is a line in the report and nothing else. Agent memory holds, in the
namespace `governance`, the last latencies of each tool and the last version of each endpoint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from statistics import median

import orjson
import redis
from pydantic import JsonValue
from redis.client import Pipeline

from nova.errors import InputError, SourceError
from nova.feeds import at_path, read_feed
from nova.fetching import Fetched, Fetcher, shown_url
from nova.governance.models import ToolCheck, VersionCheck
from nova.governance.watch import Tool, WatchedVersion, WatchFile
from nova.memory import Memory
from nova.settings import Settings

NAMESPACE = "governance"
#: Latencies of a tool that are remembered: a month of nights.
LATENCIES_KEPT = 30
#: Seconds for all checks of a run together, besides pauses between the attempts of the last ones.
BUDGET_SECONDS = 180.0
#: Characters of a version that are kept; whoever writes more writes no version.
LONGEST_VERSION = 200


@dataclass(frozen=True)
class Checks:
    """What one round found, as yet remembered by nobody."""

    tools: list[ToolCheck]
    versions: list[VersionCheck]
    #: Key in agent memory -> value.
    memories: Mapping[str, JsonValue]

    def remember(self, client: redis.Redis, effects: Pipeline) -> None:
        """Record on a pipeline what the next round compares with."""
        Memory(client).record(effects, NAMESPACE, self.memories)


def run_checks(
    client: redis.Redis,
    settings: Settings,
    watch: WatchFile,
    now: datetime,
    fetcher: Fetcher | None = None,
) -> Checks:
    """Ask every tool and version endpoint once; several hosts at a time.

    Args:
        client: Redis, for agent memory and the HTTP cache.
        settings: limits of fetching.
        watch: what to ask.
        now: when versions are seen that were not seen before, UTC.
        fetcher: fetches exactly these targets, in place of one made here.

    Raises:
        redis.RedisError: agent memory cannot be read.
    """
    endpoints: list[Tool | WatchedVersion] = [*watch.tools, *watch.versions]
    if not endpoints:
        return Checks([], [], {})
    targets = [endpoint.target for endpoint in endpoints]
    fetcher = fetcher or Fetcher(client, settings, targets, budget_seconds=BUDGET_SECONDS)
    outcomes = iter(fetcher.fetch_all())
    past = Memory(client).get_many(NAMESPACE, map(_key, endpoints))
    tools = [(tool, next(outcomes), past.get(_key(tool))) for tool in watch.tools]
    versions = [(watched, next(outcomes), past.get(_key(watched))) for watched in watch.versions]
    found = Checks(
        [_tool_check(*known) for known in tools],
        [_version_check(*known, now) for known in versions],
        {},
    )
    return Checks(found.tools, found.versions, dict(_memories(found, past)))


def _key(endpoint: Tool | WatchedVersion) -> str:
    return _key_of("tool" if isinstance(endpoint, Tool) else "version", endpoint.name)


def _key_of(what: str, name: str) -> str:
    return f"{what} {name}"


def _tool_check(tool: Tool, outcome: Fetched | SourceError, past: JsonValue) -> ToolCheck:
    latencies = _latencies(past)
    problems, latency = list[str](), None
    if isinstance(outcome, SourceError):
        problems.append(outcome.reason)
    else:
        latency = _ms(outcome.latency_seconds)
    if latency is not None and latency > tool.expected_latency_ms:
        problems.append(
            f"answers after {latency:,.0f} ms, expected within {tool.expected_latency_ms:,.0f} ms"
        )
    cost, limit = tool.monthly_cost_usd, tool.cost_limit_usd
    if cost is not None and limit is not None and cost > limit:
        problems.append(f"costs {cost:,.2f} USD a month, limit {limit:,.2f} USD")
    return ToolCheck(
        name=tool.name,
        url=shown_url(tool.url),
        status="failed" if latency is None else "exceeded" if problems else "ok",
        latency_ms=latency,
        expected_latency_ms=tool.expected_latency_ms,
        usual_latency_ms=_ms(median(latencies) / 1000) if latencies else None,
        past_checks=len(latencies),
        monthly_cost_usd=cost,
        cost_limit_usd=limit,
        problems=problems,
    )


def _version_check(
    watched: WatchedVersion, outcome: Fetched | SourceError, past: JsonValue, now: datetime
) -> VersionCheck:
    previous, since = _version_seen(past)
    check = partial(VersionCheck, name=watched.name, url=shown_url(watched.url))
    try:
        if isinstance(outcome, SourceError):
            raise outcome
        version = read_version(watched, outcome)
    except SourceError as error:
        return check(
            status="failed", version=None, previous=previous, since=None, problem=error.reason
        )
    if version == previous:
        return check(status="unchanged", version=version, previous=None, since=since or now)
    if previous is None:
        return check(status="new", version=version, previous=None, since=now)
    return check(status="changed", version=version, previous=previous, since=now)


def read_version(watched: WatchedVersion, page: Fetched) -> str:
    """Return the version that a page tells, on one line.

    Raises:
        SourceError: it tells none.
    """
    try:
        raw = _raw_version(watched, page)
    except InputError as error:
        raise SourceError(page.url, f"its answer {error}") from None
    printable = "".join(c if c.isprintable() else " " for c in raw)
    version = " ".join(printable.split())[:LONGEST_VERSION]
    if not version:
        raise SourceError(page.url, "its answer has an empty version")
    return version


def _raw_version(watched: WatchedVersion, page: Fetched) -> str:
    if watched.kind == "text":
        text = page.body[: 64 * 1024].decode("utf-8-sig", "replace")
        return next((line for line in text.splitlines() if line.strip()), "")
    if watched.kind == "json":
        return _value_at(page.body, watched.path or "")
    entries = read_feed(page.body, page.content_type).items
    if not entries:
        raise InputError("has no entry with a title")
    dates = [entry.published.timestamp() if entry.published else 0.0 for entry in entries]
    return entries[dates.index(max(dates))].title


def _value_at(body: bytes, path: str) -> str:
    try:
        value = at_path(orjson.loads(body), path)
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error}") from None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"has no text or number at {path!r}")
    return str(value)


def _memories(
    found: Checks, past: Mapping[str, JsonValue]
) -> Iterator[tuple[str, dict[str, JsonValue]]]:
    """Yield what is to be remembered; a check that failed leaves what there was."""
    for tool in found.tools:
        if tool.latency_ms is not None:
            key = _key_of("tool", tool.name)
            latencies = [*_latencies(past.get(key)), tool.latency_ms][-LATENCIES_KEPT:]
            yield key, {"latencies_ms": list[JsonValue](latencies)}
    for version in found.versions:
        if version.version is not None and version.since is not None:
            value: dict[str, JsonValue] = {"version": version.version}
            value["since"] = version.since.isoformat()
            yield _key_of("version", version.name), value


def _latencies(past: JsonValue) -> list[float]:
    """Return remembered latencies, oldest first, ms; anybody may have written to agent memory."""
    values = past.get("latencies_ms") if isinstance(past, dict) else None
    if not isinstance(values, list):
        return []
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def _version_seen(past: JsonValue) -> tuple[str | None, datetime | None]:
    """Return a remembered version, and since when it was there."""
    if not isinstance(past, dict) or not isinstance(past.get("version"), str):
        return None, None
    try:
        return str(past["version"]), datetime.fromisoformat(str(past.get("since")))
    except ValueError:
        return str(past["version"]), None


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
