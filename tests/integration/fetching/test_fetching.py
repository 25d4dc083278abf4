"""Fetching from a real server over real sockets: what is promised in docs/sources.md."""

import gzip
import logging
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import cast

import pytest
import redis

import nova
from nova.errors import SourceError
from nova.fetching import Fetched, Fetcher, PageCache, Target
from nova.settings import Settings
from nova.store import Keys, connect
from tests.integration.fetching.conftest import WebServer

FetcherMaker = Callable[..., Fetcher]


def message(fetcher: Fetcher, target: Target) -> str:
    with pytest.raises(SourceError) as caught:
        fetcher.fetch(target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_page_comes_with_all_that_is_said_about_it(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    web.say("/feed", gzip.compress(b"<rss/>"), Content_Type="text/xml", Content_Encoding="gzip")
    target = Target(web.url("/feed?key=hunter2"))
    page = make_fetcher(target).fetch(target)
    assert (page.body, page.content_type, page.from_cache) == (b"<rss/>", "text/xml", False)
    assert page.url == web.url("/feed?...")
    assert 0 < page.latency_seconds < 5
    assert abs((datetime.now(UTC) - page.fetched_at).total_seconds()) < 5
    assert web.requests[0][1]["User-Agent"] == f"nova-agent/{nova.__release__}"


def test_an_unchanged_page_is_taken_from_the_cache(
    client: redis.Redis, web: WebServer, make_fetcher: FetcherMaker
) -> None:
    """The second request carries both validators, and 304 gives the first one's body and time."""
    moment = "Wed, 01 May 2024 12:00:00 GMT"
    web.say("/feed", b"one", ETag='"v1"', Last_Modified=moment, Content_Type="text/xml")
    target = Target(web.url("/feed?key=hunter2"))
    first = make_fetcher(target).fetch(target)
    web.say("/feed", status=304)
    second = make_fetcher(target).fetch(target)
    assert (second.body, second.content_type, second.from_cache) == (b"one", "text/xml", True)
    assert second.fetched_at == first.fetched_at
    headers = web.requests[1][1]
    assert (headers["If-None-Match"], headers["If-Modified-Since"]) == ('"v1"', moment)
    [page] = cast(list[bytes], client.zrange(Keys.HTTP_CACHE, 0, -1))
    stored = client.hgetall(Keys.cached_page(page.decode()))
    assert stored[b"url"] == web.url("/feed?...").encode(), "no query, it may hold a secret"
    assert client.ttl(Keys.cached_page(page.decode())) > 0


def test_a_changed_page_replaces_the_cached_one(web: WebServer, make_fetcher: FetcherMaker) -> None:
    target = Target(web.url("/feed"))
    for body in (b"one", b"two"):
        web.say("/feed", body, ETag=f'"{body.decode()}"')
        assert make_fetcher(target).fetch(target).body == body
    web.say("/feed", status=304)
    assert make_fetcher(target).fetch(target).body == b"two"
    assert web.requests[2][1]["If-None-Match"] == '"two"'


@pytest.mark.parametrize(("etag", "control"), [("", ""), ('"1"', "private, no-store")])
def test_a_page_that_cannot_or_must_not_be_kept_is_not(
    client: redis.Redis, web: WebServer, make_fetcher: FetcherMaker, etag: str, control: str
) -> None:
    web.say("/feed", b"one", ETag=etag, Cache_Control=control)
    target = Target(web.url("/feed"))
    make_fetcher(target).fetch(target)
    assert client.zcard(Keys.HTTP_CACHE) == 0


def test_a_validator_that_no_request_can_hold_is_not_sent(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    web.say("/feed", b"one", ETag='"ü"')
    target = Target(web.url("/feed"))
    for _ in range(2):
        assert make_fetcher(target).fetch(target).body == b"one"
    assert "If-None-Match" not in web.requests[1][1]


@pytest.mark.parametrize("value", ["ü", "a\nX-Other: b"])
def test_a_credential_that_no_request_can_hold_is_one_line_without_it(
    web: WebServer, make_fetcher: FetcherMaker, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("NOVA_SOURCE_KEY", value)
    target = Target(web.url("/feed"), credentials={"X-Key": "NOVA_SOURCE_KEY"})
    text = message(make_fetcher(target), target)
    assert text.endswith("credential NOVA_SOURCE_KEY is not one line of ASCII")
    assert web.requests == []


def test_a_host_that_is_no_name_cannot_be_reached(make_fetcher: FetcherMaker) -> None:
    target = Target(f"http://{'a' * 64}.example/")
    assert "cannot be reached (no address" in message(make_fetcher(target), target)


def test_a_304_that_nobody_asked_for_is_an_error(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    web.say("/feed", status=304)
    target = Target(web.url("/feed"))
    assert "answers 304" in message(make_fetcher(target), target)


def test_a_full_redis_fails_no_fetch(
    client: redis.Redis,
    web: WebServer,
    make_fetcher: FetcherMaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    web.say("/feed", b"one", ETag='"v1"')
    target = Target(web.url("/feed"))
    client.config_set("maxmemory", "1")
    try:
        assert make_fetcher(target).fetch(target).body == b"one"
    finally:
        client.config_set("maxmemory", "0")
    assert client.zcard(Keys.HTTP_CACHE) == 0
    assert "HTTP cache was not written" in caplog.text


def test_an_absent_redis_fails_no_fetch(
    web: WebServer, make_settings: Callable[..., Settings]
) -> None:
    web.say("/feed", b"one", ETag='"v1"')
    target = Target(web.url("/feed"))
    settings = make_settings(REDIS_URL="redis://127.0.0.1:1/0")
    with connect(settings) as nowhere:
        assert Fetcher(nowhere, settings, [target]).fetch(target).body == b"one"


def test_what_was_not_used_for_longest_is_freed_first(
    client: redis.Redis, web: WebServer, make_fetcher: FetcherMaker
) -> None:
    targets = [Target(web.url(path)) for path in ("/a", "/b", "/c")]
    for target in targets:
        web.say(target.url[-2:], bytes(1000), ETag='"1"')
        make_fetcher(target).fetch(target)
    web.say("/a", status=304)
    make_fetcher(targets[0]).fetch(targets[0])
    cache = PageCache(client)
    oldest = cache.oldest(0, 2)
    assert all(0 < size < 1000 for size in oldest.values()), "stored packed"
    assert [*oldest, *cache.oldest(2, 2)] == [*cache.oldest(0, 10)]
    cache.free(oldest)
    assert [cache.read(target) is not None for target in targets] == [True, False, False]
    assert client.zcard(Keys.HTTP_CACHE) == 1


def test_an_answer_that_is_too_large_is_refused(web: WebServer, make_fetcher: FetcherMaker) -> None:
    web.say("/feed", bytes(2001))
    target = Target(web.url("/feed"))
    text = message(make_fetcher(target, NOVA_FETCH_MAX_BYTES=2000), target)
    assert text == f"{target.url}: its answer is larger than 2,000 bytes (NOVA_FETCH_MAX_BYTES)"


def test_a_gzip_bomb_is_refused(web: WebServer, make_fetcher: FetcherMaker) -> None:
    web.say("/feed", gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    target = Target(web.url("/feed"))
    assert "is larger than" in message(make_fetcher(target), target)


@pytest.mark.parametrize("dripped", ["headers", "body"])
def test_a_server_that_drips_is_left_at_the_deadline(
    web: WebServer, make_fetcher: FetcherMaker, dripped: str
) -> None:
    """Each read gets a byte in time; only the time for the whole request ends it."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if dripped == "body":
            handler.wfile.write(b"Content-Length: 1000\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    web.answers["/feed"] = drip
    target = Target(web.url("/feed"), timeout_seconds=0.3)
    start = time.monotonic()
    assert "does not answer in time" in message(make_fetcher(target), target)
    assert time.monotonic() - start < 4.5, "three attempts of 0.3 s; the drip lasts 5 s"
    assert len(web.requests) == 3


def test_a_host_that_nobody_configured_is_not_asked(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    web.say("/feed", b"")
    fetcher = make_fetcher(Target("http://feeds.example/"))
    assert "no configured source has this host" in message(fetcher, Target(web.url("/feed")))
    assert web.requests == []


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{other}/secret", "http://169.254.169.254/latest/meta-data", "//[::1]/x"],
)
def test_a_redirect_to_another_host_or_port_is_refused(
    web: WebServer, make_fetcher: FetcherMaker, location: str
) -> None:
    web.say("/feed", status=302, Location=location.format(other=web.port + 1))
    target = Target(web.url("/feed"))
    assert "no configured source has this host and port" in message(make_fetcher(target), target)
    assert web.paths == ["/feed"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://u:p@127.0.0.1/"])
def test_a_redirect_to_what_cannot_be_fetched_is_refused(
    web: WebServer, make_fetcher: FetcherMaker, location: str
) -> None:
    web.say("/feed", status=302, Location=location)
    target = Target(web.url("/feed"))
    assert "redirects to a URL that cannot be fetched" in message(make_fetcher(target), target)


def test_redirects_within_what_is_configured_are_followed_up_to_a_limit(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    web.say("/feed", status=301, Location="/new")
    web.say("/new", b"here")
    web.say("/loop", status=302, Location="/loop")
    feed, loop = Target(web.url("/feed")), Target(web.url("/loop"))
    fetcher = make_fetcher(feed, loop)
    page = fetcher.fetch(feed)
    assert (page.body, page.url) == (b"here", web.url("/new"))
    assert "redirects more than 5 times" in message(fetcher, loop)
    assert web.paths.count("/loop") == 6


def test_credentials_go_to_the_configured_origin_only(
    web: WebServer, make_fetcher: FetcherMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect to another configured host arrives there without the secret."""
    monkeypatch.setenv("NOVA_SOURCE_KEY", "hunter2")
    web.say("/feed", status=302, Location=web.url("/other", host="localhost"))
    web.say("/other", b"")
    target = Target(web.url("/feed"), credentials={"X-Key": "NOVA_SOURCE_KEY"})
    make_fetcher(target, Target(web.url("/", host="localhost"))).fetch(target)
    assert [headers.get("X-Key") for _, headers, _ in web.requests] == ["hunter2", None]


def test_a_missing_credential_is_one_line_and_no_request(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    target = Target(web.url("/feed"), credentials={"X-Key": "NOVA_SOURCE_ABSENT"})
    assert "NOVA_SOURCE_ABSENT is not set" in message(make_fetcher(target), target)
    assert web.requests == []


def test_the_address_that_was_checked_is_the_one_connected_to(
    web: WebServer, make_fetcher: FetcherMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a name is public when it is looked at, and loopback at every later look."""
    answers = iter([["93.184.215.14"]])
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    target = Target(web.url("/feed", host="rebind.example"))
    fetcher = make_fetcher(target, resolver=lambda *_: next(answers, ["127.0.0.1"]))
    text = message(fetcher, target)
    assert connected == ["93.184.215.14"]
    assert "leads to 127.0.0.1, which is not a public address" in text, "at the second attempt"
    assert web.requests == []


def test_a_name_that_was_permitted_to_be_private_is_fetched(
    web: WebServer, make_fetcher: FetcherMaker
) -> None:
    """The server hears the name; the connection goes on to the next address if one is dead."""
    web.say("/feed", b"intern")
    target = Target(web.url("/feed", host="news.intern.example"), private=True)
    fetcher = make_fetcher(target, resolver=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert fetcher.fetch(target).body == b"intern"
    assert web.requests[0][1]["Host"] == f"news.intern.example:{web.port}"


def test_the_environments_proxy_is_not_used(
    web: WebServer, make_fetcher: FetcherMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    web.say("/feed", b"direct")
    target = Target(web.url("/feed"))
    assert make_fetcher(target).fetch(target).body == b"direct"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again_when_the_server_says(
    web: WebServer, make_fetcher: FetcherMaker, waits: list[float], status: int
) -> None:
    def refuse_once(handler: BaseHTTPRequestHandler) -> None:
        web.say("/feed", b"now")
        handler.send_response(status)
        handler.send_header("Retry-After", "7")
        handler.end_headers()

    web.answers["/feed"] = refuse_once
    target = Target(web.url("/feed"))
    assert make_fetcher(target, NOVA_FETCH_PAUSE_SECONDS=0).fetch(target).body == b"now"
    assert waits == [7.0]


def test_who_asks_for_a_long_wait_is_left_out(
    web: WebServer, make_fetcher: FetcherMaker, waits: list[float]
) -> None:
    web.say("/feed", status=429, Retry_After="3600")
    target = Target(web.url("/feed"))
    text = message(make_fetcher(target), target)
    assert text == f"{target.url}: answers 429 Too Many Requests and asks to come back in 3,600 s"
    assert (len(web.requests), waits) == (1, [])


def test_without_advice_the_waits_grow_and_the_attempts_end(
    web: WebServer, make_fetcher: FetcherMaker, waits: list[float]
) -> None:
    web.say("/feed", status=502)
    target = Target(web.url("/feed"))
    assert "answers 502" in message(make_fetcher(target, NOVA_FETCH_PAUSE_SECONDS=0), target)
    assert len(web.requests) == 3
    assert 1 <= waits[0] <= 2 <= waits[1] <= 3


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_other_refusals_are_final(web: WebServer, make_fetcher: FetcherMaker, status: int) -> None:
    web.say("/feed", status=status)
    target = Target(web.url("/feed"))
    assert f"answers {status}" in message(make_fetcher(target), target)
    assert len(web.requests) == 1


def test_one_request_at_a_time_to_a_host_with_a_pause_between(
    client: redis.Redis, web: WebServer, make_settings: Callable[..., Settings]
) -> None:
    """Four targets of one host, fetched by several threads: their requests keep their distance."""
    targets = [Target(web.url(f"/{number}")) for number in range(4)]
    for number in range(4):
        web.say(f"/{number}", b"page")
    settings = make_settings(NOVA_FETCH_PAUSE_SECONDS=0.2)
    outcomes = Fetcher(client, settings, targets).fetch_all()
    assert all(isinstance(outcome, Fetched) for outcome in outcomes)
    moments = sorted(moment for _, _, moment in web.requests)
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 0.2


def test_a_dead_source_costs_the_others_nothing(web: WebServer, make_fetcher: FetcherMaker) -> None:
    web.say("/a", b"a")
    web.say("/b", b"b")
    targets = [Target(web.url("/a")), Target("http://127.0.0.1:1/dead"), Target(web.url("/b"))]
    first, dead, last = make_fetcher(*targets).fetch_all()
    assert isinstance(dead, SourceError)
    assert "127.0.0.1:1/dead: cannot be reached" in str(dead)
    assert isinstance(first, Fetched)
    assert isinstance(last, Fetched)
    assert (first.body, last.body) == (b"a", b"b")


def test_no_log_line_holds_a_secret_of_a_url(
    web: WebServer, make_fetcher: FetcherMaker, caplog: pytest.LogCaptureFixture
) -> None:
    web.say("/feed", b"")
    target = Target(web.url("/feed?key=hunter2"))
    with caplog.at_level(logging.DEBUG):
        make_fetcher(target).fetch(target)
    assert "hunter2" not in caplog.text
