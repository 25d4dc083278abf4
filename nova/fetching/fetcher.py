"""Fetches pages: redirects, retries, limits per host, and the cache."""

import email.utils
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import httpx
import redis
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

import nova
from nova.errors import NovaError, SourceError
from nova.fetching.body import BodyError, read_body
from nova.fetching.cache import CachedPage, PageCache
from nova.fetching.hosts import (
    AllowedHosts,
    Resolver,
    Target,
    host_of,
    parse_url,
    port_of,
    resolve,
    shown_url,
)
from nova.fetching.transport import Transport
from nova.settings import Settings, read_credential

logger = logging.getLogger(__name__)
# httpx logs whole URLs, whose queries may hold secrets.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

USER_AGENT = f"nova-agent/{nova.__release__}"
ATTEMPTS = 3
REDIRECTS = 5
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
#: Answers of a server that may have another one later.
PASSING_STATUSES = (429, 500, 502, 503, 504)
#: Seconds. A server that does not take a connection within these is away.
CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 10.0
#: Seconds that one waits at a server's word; who asks for more is left out of this run.
LONGEST_RETRY_AFTER_SECONDS = 30.0
#: Hosts that are asked at the same time.
HOSTS_AT_A_TIME = 8
#: Failures of one request that the next one may not meet.
PASSING_ERRORS = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)

#: time.monotonic() of the deadline -> what takes a request to its host.
TransportMaker = Callable[[float], httpx.BaseTransport]


@dataclass(frozen=True)
class Fetched:
    """A page.

    Attributes:
        url: where it came from, after redirects, without secrets.
        body: unpacked.
        content_type: as the server said, with its charset; empty if it did not.
        from_cache: the server said that the page has not changed (304).
        fetched_at: when the body was received; earlier than now if it is from the cache.
        latency_seconds: from sending the last request to the end of its answer, without the
            time for pauses, retries and redirects before it.
    """

    url: str
    body: bytes
    content_type: str
    from_cache: bool
    fetched_at: datetime
    latency_seconds: float


@dataclass(frozen=True)
class _Answer:
    url: httpx.URL
    status: int
    headers: httpx.Headers
    body: bytes
    latency_seconds: float


class PassingError(SourceError):
    """A failure that may be gone at the next attempt."""

    def __init__(self, url: str, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(url, reason)
        self.retry_after_seconds = retry_after_seconds


class Fetcher:
    """Fetches what was configured. May be used by several threads.

    Args:
        client: Redis, for the cache.
        settings: timeout, size limit and pause.
        targets: everything that may be fetched; requests go to their hosts and to no others.
        resolver: finds the addresses of a host.
        make_transport: takes requests to their hosts; must not follow redirects.
        sleep: waits for so many seconds.
        budget_seconds: from now on; who was not asked by then is not asked any more.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        targets: Iterable[Target],
        *,
        resolver: Resolver = resolve,
        make_transport: TransportMaker | None = None,
        sleep: Callable[[float], None] = time.sleep,
        budget_seconds: float = math.inf,
    ) -> None:
        self._targets = list(targets)
        self._settings = settings
        self._cache = PageCache(client)
        self._hosts = AllowedHosts(self._targets, resolver)
        self._gates = _Gates(settings.fetch_pause_seconds, sleep)
        self._make_transport = make_transport or _network_transports(self._hosts)
        self._sleep = sleep
        self._end = time.monotonic() + budget_seconds

    def fetch_all(self) -> list[Fetched | SourceError]:
        """Fetch every target, several hosts at a time; the outcomes are in the targets' order.

        A target that fails costs nothing but its own line.
        """

        def outcome(target: Target) -> Fetched | SourceError:
            try:
                return self.fetch(target)
            except SourceError as error:
                return error

        with ThreadPoolExecutor(HOSTS_AT_A_TIME, thread_name_prefix="fetch") as pool:
            return list(pool.map(outcome, self._targets))

    def fetch(self, target: Target) -> Fetched:
        """Fetch one page, or take it from the cache if the server says that it has not changed.

        A request that times out, loses its connection or is answered with 429, 500, 502, 503 or
        504 is repeated up to twice, after about 1 and 2 seconds or as long as the server asks.

        Raises:
            SourceError: one line that says what was wrong, for the log or a report.
        """
        cached = self._cache.read(target)
        retrying = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait_seconds,
            sleep=self._sleep,
            reraise=True,
        )
        answer: _Answer = retrying(self._attempt, target, cached)
        if answer.status == HTTPStatus.NOT_MODIFIED and cached is not None:
            self._cache.touch(target)
            return _fetched(answer, cached, from_cache=True)
        page = CachedPage(
            body=answer.body,
            content_type=answer.headers.get("content-type", ""),
            etag=answer.headers.get("etag", ""),
            last_modified=answer.headers.get("last-modified", ""),
            fetched_at=datetime.now(UTC),
        )
        if page.validators and "no-store" not in answer.headers.get("cache-control", "").lower():
            self._cache.write(target, page)
        return _fetched(answer, page, from_cache=False)

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a body once; no redirect is followed, and what the server says to it is not read.

        Raises:
            PassingError: the server may take it later; it may have taken it, too.
            SourceError: it does not take it.
        """
        url = parse_url(target.url)
        self._hosts.check(url)
        sent = {"User-Agent": USER_AGENT, **headers, **_secret_headers(target)}
        timeout = target.timeout_seconds or self._settings.fetch_timeout_seconds
        with self._gates.turn(host_of(url)):
            answer = self._request(url, sent, timeout, body)
        if not 200 <= answer.status < 300:
            raise _refusal(answer)

    def _attempt(self, target: Target, cached: CachedPage | None) -> _Answer:
        """Ask once, through redirects."""
        url = parse_url(target.url)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}
        headers |= cached.validators if cached else {}
        secrets = _secret_headers(target)
        timeout = target.timeout_seconds or self._settings.fetch_timeout_seconds
        for _ in range(REDIRECTS + 1):
            self._hosts.check(url)
            with self._gates.turn(host_of(url)):
                if time.monotonic() >= self._end:
                    raise SourceError(shown_url(url), "not asked: the time for all of them is over")
                answer = self._request(url, headers | secrets, timeout)
            if answer.status not in REDIRECT_STATUSES:
                return _checked(answer, asked_whether_changed=cached is not None)
            following = _redirect(answer)
            if _origin(following) != _origin(url):
                secrets = {}
            url = following
        raise SourceError(shown_url(target.url), f"redirects more than {REDIRECTS} times")

    def _request(
        self, url: httpx.URL, headers: Mapping[str, str], timeout: float, body: bytes | None = None
    ) -> _Answer:
        """Send one request and read its answer within the time and the size that it may have.

        With a body it is a POST; nothing is read of its answer but the status.
        """
        start = time.monotonic()
        method = "GET" if body is None else "POST"
        limits = httpx.Timeout(
            min(timeout, READ_TIMEOUT_SECONDS), connect=min(timeout, CONNECT_TIMEOUT_SECONDS)
        )
        try:
            # Nothing is taken from the environment: a proxy would look the names up by itself.
            with (
                httpx.Client(
                    transport=self._make_transport(min(start + timeout, self._end)),
                    timeout=limits,
                    trust_env=False,
                ) as http,
                http.stream(method, url, headers=dict(headers), content=body) as answer,
            ):
                is_page = answer.status_code == HTTPStatus.OK and body is None
                page = read_body(answer, self._settings.fetch_max_bytes) if is_page else b""
        except BodyError as error:
            raise SourceError(shown_url(url), f"its answer {error}") from None
        except PASSING_ERRORS as error:
            raise PassingError(shown_url(url), _failure(error)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(shown_url(url), _failure(error)) from None
        latency = time.monotonic() - start
        return _Answer(url, answer.status_code, answer.headers, page, latency)


class _Gates:
    """Lets one request at a time to a host, with a pause between two."""

    def __init__(self, pause_seconds: float, sleep: Callable[[float], None]) -> None:
        self._pause_seconds = pause_seconds
        self._sleep = sleep
        self._lock = threading.Lock()
        self._host_locks: dict[str, threading.Lock] = {}
        #: Host -> time.monotonic() at the end of its last request.
        self._ended: dict[str, float] = {}

    @contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait for one's turn at a host."""
        with self._lock:
            host_lock = self._host_locks.setdefault(host, threading.Lock())
        with host_lock:
            if host in self._ended:
                wait = self._ended[host] + self._pause_seconds - time.monotonic()
                if wait > 0:
                    self._sleep(wait)
            try:
                yield
            finally:
                self._ended[host] = time.monotonic()


def _network_transports(hosts: AllowedHosts) -> TransportMaker:
    tls = httpx.create_ssl_context()
    return lambda deadline: Transport(hosts, deadline, tls)


def _secret_headers(target: Target) -> dict[str, str]:
    headers = {}
    for header, name in target.credentials.items():
        try:
            value = read_credential(name).get_secret_value()
        except NovaError as error:
            raise SourceError(shown_url(target.url), str(error)) from None
        if not (value.isascii() and value.isprintable()):
            raise SourceError(shown_url(target.url), f"credential {name} is not one line of ASCII")
        headers[header] = value
    return headers


def _fetched(answer: _Answer, page: CachedPage, *, from_cache: bool) -> Fetched:
    return Fetched(
        url=shown_url(answer.url),
        body=page.body,
        content_type=page.content_type,
        from_cache=from_cache,
        fetched_at=page.fetched_at,
        latency_seconds=answer.latency_seconds,
    )


def _checked(answer: _Answer, *, asked_whether_changed: bool) -> _Answer:
    """Return an answer that is a page.

    Raises:
        PassingError: the server may give one later.
        SourceError: it gives none.
    """
    status = answer.status
    if status == HTTPStatus.OK or (status == HTTPStatus.NOT_MODIFIED and asked_whether_changed):
        return answer
    refusal = _refusal(answer)
    wait = refusal.retry_after_seconds if isinstance(refusal, PassingError) else None
    if wait is not None and wait > LONGEST_RETRY_AFTER_SECONDS:
        reason = f"{refusal.reason} and asks to come back in {wait:,.0f} s"
        raise SourceError(refusal.url, reason)
    raise refusal


def _refusal(answer: _Answer) -> SourceError:
    """Return what is wrong with an answer's status; a PassingError where that may pass."""
    status, url = answer.status, shown_url(answer.url)
    reason = f"answers {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
    if status not in PASSING_STATUSES:
        return SourceError(url, reason)
    wait = retry_after_seconds(answer.headers.get("retry-after", ""), datetime.now(UTC))
    return PassingError(url, reason, wait)


def retry_after_seconds(header: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for, None if it asks for none.

    Source: RFC 9110, section 10.2.3: seconds, or a date.
    """
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
        return max((when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds(), 0.0)
    except (ValueError, OverflowError):
        return None


def _redirect(answer: _Answer) -> httpx.URL:
    location = answer.headers.get("location", "")
    shown = shown_url(answer.url)
    if not location:
        raise SourceError(shown, f"answers {answer.status} without a Location")
    try:
        following = parse_url(str(answer.url.join(location)))
    except (httpx.InvalidURL, SourceError):
        raise SourceError(shown, "redirects to a URL that cannot be fetched") from None
    if answer.url.scheme == "https" and following.scheme == "http":
        raise SourceError(shown, f"redirects from https to {shown_url(following)}")
    return following


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return (url.scheme, host_of(url), port_of(url))


def _failure(error: Exception) -> str:
    """Say in a few words what happened to a request."""
    if isinstance(error, httpx.ConnectTimeout):
        return "does not take the connection in time"
    if isinstance(error, httpx.TimeoutException):
        return "does not answer in time"
    what = "cannot be reached" if isinstance(error, httpx.ConnectError) else "broke off"
    detail = " ".join(str(error).split())
    return f"{what} ({detail})" if detail else what


def _wait_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, PassingError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return _backoff(state)


_backoff = wait_exponential_jitter(initial=1, max=10, jitter=1)
