"""Where requests may go: the configured hosts, at addresses that they may have."""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx

from nova.errors import SourceError

PORTS = {"http": 80, "https": 443}
#: Translates IPv4 addresses into IPv6 ones (RFC 6052); the last four bytes are the IPv4 address.
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Host and port -> addresses. Raises OSError.
Resolver = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Target:
    """Something to fetch, as it was configured.

    Args:
        url: http or https.
        timeout_seconds: for one request; NOVA_FETCH_TIMEOUT_SECONDS when None.
        credentials: header -> name of the credential that holds its value.
        private: its host name may lead to an address of a private network. A host that is written
            as such an address, or as `localhost`, needs no permission.
    """

    url: str
    timeout_seconds: float | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)
    private: bool = False


def parse_url(text: str) -> httpx.URL:
    """Return a URL that can be fetched.

    Raises:
        SourceError: it is not http or https, names no host, or holds a user or password.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise SourceError("a URL that cannot be read", str(error)) from None
    if url.scheme not in PORTS or not url.host:
        raise SourceError(shown_url(text), "must be http://HOST... or https://HOST...")
    if url.userinfo:
        raise SourceError(
            shown_url(text), "must not hold a user or password; give a header by its credential"
        )
    return url.copy_with(fragment=None)


def shown_url(url: httpx.URL | str) -> str:
    """Return a URL for messages: without user, password, and the query, which may hold secrets."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "a URL that cannot be read"
    query = "?..." if parsed.query else ""
    host = parsed.netloc.decode("ascii")
    return f"{parsed.scheme}://{host}{parsed.path}{query}"


def host_of(url: httpx.URL) -> str:
    """Return the host as it is looked up: in ASCII, an IPv6 address without its brackets."""
    return url.raw_host.decode("ascii")


def port_of(url: httpx.URL) -> int:
    """Return the port, also where the URL leaves it to the scheme."""
    return url.port or PORTS[url.scheme]


def is_public(address: str) -> bool:
    """Say whether an address belongs to the public internet.

    IPv6 addresses that stand for an IPv4 address are what that one is.
    """
    parsed: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = _embedded(parsed) or parsed
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def resolve(host: str, port: int) -> list[str]:
    """Ask the system for the addresses of a host.

    Raises:
        OSError: it has none, or nobody answered.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of the name is longer than names allow
        raise OSError(f"{host[:80]} is no name of a host") from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class AllowedHosts:
    """Decides where a request may go, before it goes there."""

    def __init__(self, targets: Iterable[Target], resolver: Resolver = resolve) -> None:
        self._resolver = resolver
        #: Host and port; where plain HTTP was configured, HTTPS is as good.
        self._places: set[tuple[str, int]] = set()
        self._private: set[str] = set()
        for target in targets:
            url = parse_url(target.url)
            self._places.add((host_of(url), port_of(url)))
            if port_of(url) == PORTS["http"]:
                self._places.add((host_of(url), PORTS["https"]))
            if target.private or _is_written_private(host_of(url)):
                self._private.add(host_of(url))

    def check(self, url: httpx.URL) -> None:
        """Refuse a URL whose host and port nobody configured.

        Raises:
            SourceError: says so.
        """
        if url.scheme not in PORTS or (host_of(url), port_of(url)) not in self._places:
            raise SourceError(shown_url(url), "no configured source has this host and port")

    def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to, as the resolver orders them.

        Raises:
            SourceError: it has none but private ones, and was not configured for those.
            OSError: it has none at all.
        """
        found = self._resolver(host, port)
        if host in self._private:
            return found
        public = [address for address in found if is_public(address)]
        if found and not public:
            raise SourceError(
                host,
                f"leads to {found[0]}, which is not a public address; "
                "if it is meant to, say so with `private: true`",
            )
        return public


def _is_written_private(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return not is_public(host)
    except ValueError:
        return False
