"""What hosts are told of this machine's package index."""

import pytest

from bench.fleet import BenchError
from bench.fleet_size.pip_index import CERTIFICATES_ON_HOST, environment, parse


def test_the_environment_goes_before_files() -> None:
    listing = (
        ":env:.index-url='https://one.example/simple'\n"
        "global.index-url='https://two.example/simple'\n"
        "install.timeout='9'\nglobal.timeout='5'\nunknown line\n"
    )
    assert parse(listing) == {"index-url": "https://one.example/simple", "timeout": "9"}


def test_hosts_get_urls_and_no_paths_of_this_machine() -> None:
    options = {
        "index-url": "https://index.example/simple",
        "extra-index-url": "file:///srv/simple https://more.example/simple",
        "find-links": "/srv/wheels",
        "constraint": "/srv/constraints.txt",
        "cert": "/srv/ca.crt",
    }
    assert environment(options) == {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example/simple",
        "PIP_CERT": CERTIFICATES_ON_HOST,
    }


def test_without_a_configuration_pip_of_the_host_decides() -> None:
    assert environment({}) == {}


def test_an_index_that_is_a_folder_is_refused() -> None:
    with pytest.raises(BenchError, match="a folder of this machine"):
        environment({"index-url": "file:///srv/simple"})
