"""Redis: the clients, and the name of every key that Nova itself reads or writes."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import parse_qsl, unquote

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.retry import Retry

from nova.errors import ConfigurationError, UnavailableError
from nova.sentinels import Sentinel
from nova.settings import Settings, split_url

#: Seconds. Without them a synchronous command hangs for ever on a server that froze.
SOCKET_TIMEOUT_SECONDS = 5.0
SOCKET_CONNECT_TIMEOUT_SECONDS = 2.0
#: Of a question to one sentinel; the next one is asked then.
SENTINEL_TIMEOUT_SECONDS = 1.0
HEALTH_CHECK_INTERVAL_SECONDS = 5


class Keys:
    """Names of keys. Everything of Nova's own starts with `nova:`."""

    #: kombu's names: what workers hold (hash: claim token -> message) and since when (sorted set).
    HELD = "unacked"
    HELD_INDEX = "unacked_index"
    #: Sorted set of the inboxes of waiting workers: list -> time of the last renewal.
    INBOXES = "nova:inboxes"
    #: What the last sweep saw, hash.
    SWEEP = "nova:sweep"
    #: Queues that have dead letters, set.
    DEAD_LETTER_QUEUES = "nova:deadletters"
    DEAD_LETTERS_PREFIX = "nova:deadletter:"
    #: Tasks among the dead letters whose failure nobody has told yet (hash: task id -> letter's id
    #: and reason).
    UNTOLD_FAILURES = "nova:deadletters:untold"
    RUN_PREFIX = "nova:run:"
    #: Which beat leads, JSON, expires by itself; and up to when each entry of the beat table is
    #: settled (hash: entry -> mark).
    BEAT_LEADER = "nova:beat:leader"
    BEAT_SLOTS = "nova:beat:slots"
    #: What beat did (hash): `tick`, when the leader looked last; `mode` and `mode_since`, who runs
    #: the schedule; by entry `fired:`, the last slot and when it was published, and `missed:`, how
    #: many slots were passed over.
    BEAT_STATE = "nova:beat:state"
    #: The same three of the API's loops while they run beside beat.
    LEGACY_LEADER = "nova:legacy:leader"
    LEGACY_SLOTS = "nova:legacy:slots"
    LEGACY_STATE = "nova:legacy:state"
    #: What workers count: totals of the fleet (hash: what -> how many), which workers do (sorted
    #: set: worker -> time of the last call), and totals of each (hash).
    COUNTS = "nova:counts"
    COUNTING_WORKERS = "nova:counts:workers"
    WORKER_COUNTS_PREFIX = "nova:counts:worker:"
    #: Stream of the tasks that were published last, each once: field `id`.
    RECENT_TASKS = "nova:tasks:recent"
    #: Sorted set of the API's tokens that have not expired: id -> expiry, Unix time.
    TOKENS = "nova:tokens"
    #: Commits of the ledger by outcome, messages of the outbox by queue, hash.
    LEDGER_COUNTS = "nova:counts:ledger"
    METRIC_DAYS = "nova:metrics:days"
    METRIC_PREFIX = "nova:metrics:"
    VIDEO_DAYS = "nova:videos:days"
    VIDEO_PREFIX = "nova:videos:"
    #: How often ingest wrote to a day (hash: name of the day's key -> count): who notes the number
    #: sees later whether the day has changed.
    DAY_WRITES = "nova:days:writes"
    WORKERS = "nova:workers"
    #: Names of the workers that take no tasks until they are resumed, set.
    DRAINED = "nova:workers:drained"
    #: Sorted set of the fetched pages that are kept: id -> Unix time of the last use.
    HTTP_CACHE = "nova:cache:http"
    #: Sorted set of all entries of agent memory: <namespace>:<key> -> Unix time of the last access;
    #: and their namespaces, set.
    MEMORY_INDEX = "nova:memory:index"
    MEMORY_NAMESPACES = "nova:memory:namespaces"
    GOVERNANCE_OVERRIDES = "nova:governance:overrides"
    GOVERNANCE_STATUS = "nova:governance:status"
    #: Sorted sets of the days that analytics has processed, and of the months of which there are
    #: aggregates: YYYY-MM-DD, for a month its first day -> yyyymmdd.
    ANALYTICS_DAYS = "nova:analytics:days"
    ANALYTICS_MONTHS = "nova:analytics:months"
    #: Who works on the fleet (hash), the last token that was given for it, and what was done
    #: (stream).
    FLEET_LOCK = "nova:fleet:lock"
    FLEET_TOKEN = "nova:fleet:token"  # noqa: S105  # no secret
    AUDIT = "nova:audit"
    #: What was judged of releases (hash: id -> JSON).
    RELEASES = "nova:releases"
    #: Stands there while the API is paused, JSON; expires then.
    API_PAUSE = "nova:api:pause"
    #: Written to see whether the replicas of Redis take it.
    FLEET_CHECK = "nova:fleet:check"

    @staticmethod
    def staging(area: str) -> str:
        """Prefix of the keys in which a domain, metrics or videos are put together; all expire."""
        return f"nova:{area}:staging:"

    @staticmethod
    def metric_day(day: date) -> str:
        """Hash of one day: channel id -> packed metrics."""
        return f"{Keys.METRIC_PREFIX}{day.isoformat()}"

    @staticmethod
    def metric_staging(ingest_id: str) -> str:
        """Hash in which a day is put together before it becomes visible."""
        return f"{Keys.staging('metrics')}{ingest_id}"

    @staticmethod
    def video_day(day: date) -> str:
        """Hash of one day: source and video id -> title, channel and numbers, JSON."""
        return f"{Keys.VIDEO_PREFIX}{day.isoformat()}"

    @staticmethod
    def video_staging(ingest_id: str) -> str:
        """Hash in which a day's videos are put together before they become visible."""
        return f"{Keys.staging('videos')}{ingest_id}"

    @staticmethod
    def cached_page(page_id: str) -> str:
        """Hash of one fetched page, expires by itself."""
        return f"{Keys.HTTP_CACHE}:{page_id}"

    @staticmethod
    def memory(namespace: str) -> str:
        """Hash of one namespace of agent memory: key -> JSON value."""
        return f"nova:memory:of:{namespace}"

    @staticmethod
    def worker(name: str) -> str:
        """Heartbeat of one worker, JSON, expires by itself."""
        return f"nova:worker:{name}"

    @staticmethod
    def worker_counts(name: str) -> str:
        """Totals of one worker (hash: what -> how many), expire when it is gone."""
        return f"{Keys.WORKER_COUNTS_PREFIX}{name}"

    @staticmethod
    def count_batch(process: str) -> str:
        """Number of the last batch of counts of one process, expires by itself."""
        return f"nova:counts:batch:{process}"

    @staticmethod
    def inbox(owner: str, queue: str) -> str:
        """List into which Redis moves a message while a worker waits for one."""
        return f"nova:inbox:{owner}|{queue}"

    @staticmethod
    def dead_letters(queue: str) -> str:
        """List of messages of a queue that were given up, JSON, newest first."""
        return f"{Keys.DEAD_LETTERS_PREFIX}{queue}"

    @staticmethod
    def result(task_id: str) -> str:
        """Celery's name: the result of a task, and the channel on which it is told."""
        return f"celery-task-meta-{task_id}"

    @staticmethod
    def group_result(group_id: str) -> str:
        """Celery's name: the results of a group of tasks."""
        return f"celery-taskset-meta-{group_id}"

    @staticmethod
    def issued_task(task_id: str) -> str:
        """Hash of one run: what the publisher noted, who runs it, whether it is done."""
        return f"{Keys.RUN_PREFIX}{task_id}"

    @staticmethod
    def legacy_run(run_id: str) -> str:
        """Hash of one run of the API's loops: what it ran, when, and how it ended; expires."""
        return f"nova:legacy:run:{run_id}"

    @staticmethod
    def legacy_report(domain: str, run_id: str) -> str:
        """The report of a run of the API's loops that only reports, JSON, expires by itself."""
        return f"nova:legacy:report:{domain}:{run_id}"

    @staticmethod
    def token(token_id: str) -> str:
        """What is known of one token of the API, JSON, expires with it. Never the token itself."""
        return f"nova:token:{token_id}"

    @staticmethod
    def revoked_token(token_id: str) -> str:
        """Stands there when a token was revoked, until it has expired."""
        return f"nova:token:{token_id}:revoked"

    @staticmethod
    def allowance(token_id: str) -> str:
        """When the requests of a token are all allowed again, Unix time; expires then."""
        return f"nova:token:{token_id}:allowance"

    @staticmethod
    def reports(domain: str) -> str:
        """Sorted set of a domain's reports by the time when they were made."""
        return f"nova:{domain}:reports"

    @staticmethod
    def report(domain: str, report_id: str) -> str:
        """One report of a domain, JSON, expires by itself."""
        return f"nova:{domain}:report:{report_id}"

    @staticmethod
    def governance_scores(report_id: str) -> str:
        """Sorted set of one report: channel -> score."""
        return f"nova:governance:report:{report_id}:scores"

    @staticmethod
    def governance_flags(report_id: str) -> str:
        """Hash of one report: flagged channel -> JSON with score, flag and reasons."""
        return f"nova:governance:report:{report_id}:flags"

    @staticmethod
    def staged(domain: str, run_id: str, number: int) -> str:
        """Where one run puts together a large key before it becomes visible."""
        return f"{Keys.staging(domain)}{run_id}:{number}"

    @staticmethod
    def analytics_state(span: str) -> str:
        """What the aggregates of a span (`day:2017-12-09`, `all`) rest on, JSON."""
        return f"nova:analytics:{span}"

    @staticmethod
    def analytics_channels(span: str) -> str:
        """Hash of a span: channel id -> packed aggregates."""
        return f"nova:analytics:{span}:channels"

    @staticmethod
    def analytics_categories(span: str) -> str:
        """Hash of a span: category's number -> packed aggregates."""
        return f"nova:analytics:{span}:categories"

    @staticmethod
    def analytics_board(span: str, metric: str) -> str:
        """Sorted set of a span: the channels with the highest values of a metric."""
        return f"nova:analytics:{span}:board:{metric}"


def connect(settings: Settings, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> redis.Redis:
    """Return a client that answers bytes; nothing is sent before the first command.

    No command is repeated by the client, for it may have been done. So a command fails within
    `timeout_seconds` on a connection that stands, and on a new one within those and the two seconds
    for connecting. With Sentinel come two seconds for each sentinel that does not answer, once in
    half a minute in all of the process: it is asked last meanwhile.
    """
    options = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(timeout_seconds, SOCKET_CONNECT_TIMEOUT_SECONDS),
        "health_check_interval": HEALTH_CHECK_INTERVAL_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        **tls_options(settings),
    }
    if not settings.redis_url.startswith("unix:"):
        options["socket_keepalive"] = True
    if settings.redis_uses_sentinel:
        return _connect_by_sentinel(settings, options)
    client: redis.Redis = redis.Redis.from_url(settings.redis_dsn, **options)
    return client


def _connect_by_sentinel(settings: Settings, options: dict[str, Any]) -> redis.Redis:
    sentinel = Sentinel(
        settings.redis_addresses,
        sentinel_kwargs=sentinel_options(settings),
        ssl=settings.redis_uses_tls,
        **redis_identity(settings),
        **options,
    )
    client: redis.Redis = sentinel.master_for(settings.redis_sentinel_master)  # type: ignore[no-untyped-call]
    return client


def redis_identity(settings: Settings) -> dict[str, Any]:
    """Return user, password and number of the database, by redis-py's names."""
    parts = split_url(settings.redis_dsn)
    in_query = dict(parse_qsl(parts.query)).get("db")
    in_path = "" if parts.scheme == "unix" else parts.path.strip("/")
    return {
        "username": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
        "db": int(in_query or in_path or 0),
    }


def tls_options(settings: Settings) -> dict[str, Any]:
    """Return redis-py's options for TLS, none without: certificate and host name are verified."""
    if not settings.redis_uses_tls:
        return {}
    options: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    if settings.redis_ca_file is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca_file)
    return options


def sentinel_options(settings: Settings) -> dict[str, Any]:
    """Return redis-py's options for connections to sentinels.

    They inherit nothing from those for Redis, and would have neither timeouts nor an end of
    retries without these.
    """
    return {
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "username": settings.redis_sentinel_username or None,
        "password": settings.redis_sentinel_password.get_secret_value() or None,
        "ssl": settings.redis_uses_tls,
        **tls_options(settings),
    }


@contextmanager
def redis_errors(settings: Settings) -> Iterator[None]:
    """Turn errors of the Redis client into errors for people.

    Raises:
        ConfigurationError: Redis refused the user or password, or its certificate is not trusted.
        UnavailableError: Redis does not answer, or answers that it cannot work now.
    """
    where = settings.redis_location
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise ConfigurationError(
            f"Redis at {where} refused user or password: {error}; "
            "check REDIS_URL, NOVA_REDIS_USERNAME and NOVA_REDIS_PASSWORD"
        ) from error
    except ResponseError as error:
        raise UnavailableError(
            f"Redis at {where} refused a command: {error}; look at its memory and its log"
        ) from error
    except RedisError as error:
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            raise ConfigurationError(
                f"the certificate of Redis at {where} is not trusted: {error}; "
                "check the host in REDIS_URL, and NOVA_REDIS_CA_FILE"
            ) from error
        raise UnavailableError(
            f"Redis at {where} does not answer: {error}; is it running, and is REDIS_URL right?"
        ) from error


def execute_watched(transaction: Pipeline) -> list[Any]:
    """Send a transaction whose keys are watched.

    redis-py turns a connection that is lost meanwhile into a `WatchError`, as if nothing had
    happened. But the answer may have been lost: who then repeats may do everything twice.

    Raises:
        redis.WatchError: a watched key has changed; nothing happened.
        redis.RedisError: Redis did not take it, or its answer was lost.
    """
    try:
        return transaction.execute()
    except WatchError as error:
        lost = error.__context__
        if isinstance(lost, redis.ConnectionError | redis.TimeoutError):
            raise lost from None
        raise


@contextmanager
def open_redis(settings: Settings) -> Iterator[redis.Redis]:
    """Connect for the length of a block, in which errors of Redis are errors for people.

    See `connect` for how long a command may take, and `redis_errors` for what is raised.
    """
    with redis_errors(settings), connect(settings) as client:
        yield client
