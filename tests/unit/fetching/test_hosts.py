"""Where requests may go."""

import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova.errors import SourceError
from nova.fetching.hosts import AllowedHosts, Target, is_public, parse_url, shown_url


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # nothing is bound to it
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::1",
    ],
)
def test_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_is_what_it_is_alone(address: ipaddress.IPv4Address) -> None:
    """Nobody gets past the check by writing an address in another way."""
    packed = int(address)
    ways = (
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (packed << 80) | 1)),
    )
    assert {is_public(way) for way in ways} == {is_public(str(address))}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "example.org",
        "http://u:p@example.org",
    ],
)
def test_what_cannot_be_fetched_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_url(url)
    assert "u:p" not in str(caught.value)


def test_messages_show_neither_password_nor_query() -> None:
    shown = shown_url("https://user:hunter2@example.org:8443/a/b?key=hunter2")
    assert shown == "https://example.org:8443/a/b?..."


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://feeds.example.org/other", True),
        ("https://feeds.example.org/other", True),
        ("http://feeds.example.org:6379/", False),
        ("https://feeds.example.org:8443/", False),
        ("http://example.org/", False),
        ("http://feeds.example.org.evil.example/", False),
        ("http://127.0.0.1:8080/", True),
        ("http://127.0.0.1:6379/", False),
    ],
)
def test_only_configured_hosts_and_ports_are_allowed(url: str, allowed: bool) -> None:
    hosts = AllowedHosts([Target("http://feeds.example.org/a"), Target("http://127.0.0.1:8080/")])
    if allowed:
        hosts.check(httpx.URL(url))
    else:
        with pytest.raises(SourceError, match="no configured source"):
            hosts.check(httpx.URL(url))


def resolved(target: Target, host: str, *addresses: str) -> list[str]:
    return AllowedHosts([target], lambda _host, _port: list(addresses)).addresses(host, 80)


def test_a_name_that_leads_to_a_private_address_is_refused_unless_it_was_permitted() -> None:
    with pytest.raises(SourceError, match="not a public address"):
        resolved(Target("http://intern.example/"), "intern.example", "10.0.0.5")
    permitted = Target("http://intern.example/", private=True)
    assert resolved(permitted, "intern.example", "10.0.0.5") == ["10.0.0.5"]


@pytest.mark.parametrize("host", ["10.0.0.5", "localhost"])
def test_a_host_that_is_written_as_private_needs_no_permission(host: str) -> None:
    assert resolved(Target(f"http://{host}/"), host, "10.0.0.5") == ["10.0.0.5"]


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1"])
def test_other_notations_of_loopback_are_names_and_refused(host: str) -> None:
    """The system's resolver takes them for 127.0.0.1; they are what they lead to."""
    with pytest.raises(SourceError, match="not a public address"):
        resolved(Target(f"http://{host}/"), host, "127.0.0.1")


def test_of_mixed_answers_only_the_public_are_connected_to() -> None:
    mixed = ("10.0.0.5", "93.184.215.14", "::1")
    assert resolved(Target("http://a.example/"), "a.example", *mixed) == ["93.184.215.14"]
