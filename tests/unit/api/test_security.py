"""Tokens: what is accepted, what is refused, and why."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import jwt
import pytest

from nova.api.security import (
    ALGORITHM,
    LEEWAY,
    REQUIRED_CLAIMS,
    InvalidTokenError,
    Role,
    TokenIssuer,
)
from nova.errors import ConfigurationError, InputError
from nova.settings import Settings
from tests.conftest import JWT_SECRET

HOUR = timedelta(hours=1)
#: Long enough for every HMAC algorithm.
LONG_SECRET = JWT_SECRET * 2
Make = Callable[..., Settings]


@pytest.fixture
def tokens(offline_settings: Make) -> TokenIssuer:
    return TokenIssuer(offline_settings())


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token, with changes; a claim that is None is left out."""
    now = datetime.now(UTC)
    good = {"sub": "ann", "role": "viewer", "iss": "nova", "aud": "nova-api", "jti": "7"}
    all_claims = good | {"iat": now, "exp": now + HOUR} | changes
    return {name: value for name, value in all_claims.items() if value is not None}


def sign(*, secret: str = JWT_SECRET, **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=ALGORITHM)


def test_the_claims_that_the_refusals_below_start_from_are_accepted(tokens: TokenIssuer) -> None:
    caller = tokens.check(sign())
    assert (caller.subject, caller.role) == ("ann", Role.VIEWER)


@pytest.mark.parametrize("role", Role)
def test_a_token_that_was_made_here_is_accepted(tokens: TokenIssuer, role: Role) -> None:
    issued = tokens.issue("ann", role, HOUR)
    caller = tokens.check(issued.text)
    assert (caller.subject, caller.role, caller.token_id) == ("ann", role, issued.id)


@pytest.mark.parametrize("claim", REQUIRED_CLAIMS)
def test_a_token_without_a_required_claim_is_refused_and_the_claim_named(
    tokens: TokenIssuer, claim: str
) -> None:
    with pytest.raises(InvalidTokenError, match=f"lacks the claim {claim}"):
        tokens.check(jwt.encode(claims(**{claim: None}), JWT_SECRET, algorithm=ALGORITHM))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "somebody"}, "another service"),
        ({"aud": "other-api"}, "another service"),
        ({"role": "root"}, "role is unknown"),
        ({"role": ["admin"]}, "role is unknown"),
        ({"sub": 7}, "not one of this Nova's"),
        ({"jti": 7}, "not one of this Nova's"),
    ],
)
def test_a_signed_token_with_a_wrong_claim_is_refused(
    tokens: TokenIssuer, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidTokenError, match=reason):
        tokens.check(sign(**changes))


def test_an_expired_token_is_refused_beyond_the_leeway_and_not_within_it(
    tokens: TokenIssuer,
) -> None:
    now = datetime.now(UTC)
    assert tokens.check(sign(exp=now - LEEWAY / 2))
    with pytest.raises(InvalidTokenError, match="expired"):
        tokens.check(sign(exp=now - LEEWAY - timedelta(seconds=1)))


def test_a_token_from_the_future_is_refused_beyond_the_leeway_and_not_within_it(
    tokens: TokenIssuer,
) -> None:
    now = datetime.now(UTC)
    assert tokens.check(sign(iat=now + LEEWAY / 2))
    with pytest.raises(InvalidTokenError, match="not valid yet"):
        tokens.check(sign(iat=now + LEEWAY * 2))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused_even_with_the_right_secret(
    offline_settings: Make, algorithm: str
) -> None:
    tokens = TokenIssuer(offline_settings(JWT_SECRET_KEY=LONG_SECRET))
    assert tokens.check(sign(secret=LONG_SECRET))
    signed = jwt.encode(claims(), LONG_SECRET, algorithm=algorithm)
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        tokens.check(signed)


def test_an_unsigned_token_is_refused(tokens: TokenIssuer) -> None:
    unsigned = jwt.encode(claims(role="admin"), "", algorithm="none")
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        tokens.check(unsigned)


def test_a_token_whose_role_was_raised_after_signing_is_refused(tokens: TokenIssuer) -> None:
    header, _, signature = sign().split(".")
    now = int(datetime.now(UTC).timestamp())
    raised = claims(role="admin") | {"iat": now, "exp": now + 3600}
    payload = base64.urlsafe_b64encode(json.dumps(raised).encode()).rstrip(b"=").decode()
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        tokens.check(f"{header}.{payload}.{signature}")


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "....", "\u00e4.b.c"])
def test_text_that_is_no_token_is_refused(tokens: TokenIssuer, text: str) -> None:
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        tokens.check(text)


def test_a_token_of_another_secret_is_refused(tokens: TokenIssuer) -> None:
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        tokens.check(sign(secret="z" * 40))


def test_roles_are_ordered_and_not_by_their_letters() -> None:
    assert all(lower < higher for lower, higher in pairwise(Role))
    assert Role.ADMIN > Role.OPERATOR > Role.VIEWER
    assert Role.VIEWER >= Role.VIEWER


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(days=-1), timedelta(days=367)])
def test_a_lifetime_out_of_bounds_is_refused(tokens: TokenIssuer, ttl: timedelta) -> None:
    with pytest.raises(InputError, match="366 days"):
        tokens.issue("ann", Role.VIEWER, ttl)


@pytest.mark.parametrize("subject", ["", " ", "x" * 201, "ann\nroot"])
def test_a_token_for_nobody_is_refused(tokens: TokenIssuer, subject: str) -> None:
    with pytest.raises(InputError, match="subject"):
        tokens.issue(subject, Role.VIEWER, HOUR)


def test_two_tokens_have_different_ids(tokens: TokenIssuer) -> None:
    ids = {tokens.issue("ann", Role.VIEWER, HOUR).id for _ in range(2)}
    assert len(ids) == 2


def test_a_token_does_not_show_in_what_is_printed(tokens: TokenIssuer) -> None:
    issued = tokens.issue("ann", Role.VIEWER, HOUR)
    assert issued.text not in repr(issued)
    assert issued.text.rpartition(".")[2] not in str(issued)


# --- A new key


def test_after_a_change_of_the_key_older_tokens_are_accepted_and_new_ones_have_the_new(
    offline_settings: Make,
) -> None:
    before = TokenIssuer(offline_settings())
    old = before.issue("ann", Role.OPERATOR, HOUR)
    after = TokenIssuer(
        offline_settings(JWT_SECRET_KEY="n" * 40, NOVA_JWT_SECRET_KEY_PREVIOUS=JWT_SECRET)
    )
    assert after.check(old.text).token_id == old.id
    new = after.issue("ann", Role.OPERATOR, HOUR)
    assert after.check(new.text).token_id == new.id
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        before.check(new.text)


def test_without_the_previous_key_its_tokens_are_refused(offline_settings: Make) -> None:
    old = TokenIssuer(offline_settings()).issue("ann", Role.VIEWER, HOUR)
    after = TokenIssuer(offline_settings(JWT_SECRET_KEY="n" * 40))
    with pytest.raises(InvalidTokenError, match="not one of this Nova's"):
        after.check(old.text)


def test_a_token_of_the_previous_key_is_checked_in_full(offline_settings: Make) -> None:
    after = TokenIssuer(
        offline_settings(JWT_SECRET_KEY="n" * 40, NOVA_JWT_SECRET_KEY_PREVIOUS=JWT_SECRET)
    )
    assert after.check(sign())
    with pytest.raises(InvalidTokenError, match="expired"):
        after.check(sign(exp=datetime.now(UTC) - HOUR))
    with pytest.raises(InvalidTokenError, match="lacks the claim jti"):
        after.check(sign(jti=None))


@pytest.mark.parametrize("secret", ["too-small", "your_secure_jwt_key_here" * 2])
def test_an_unsafe_previous_key_is_refused(offline_settings: Make, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="NOVA_JWT_SECRET_KEY_PREVIOUS") as caught:
        TokenIssuer(offline_settings(NOVA_JWT_SECRET_KEY_PREVIOUS=secret))
    assert secret not in str(caught.value)


@pytest.mark.parametrize("secret", ["", "too-small", "your_secure_jwt_key_here" * 2])
def test_without_a_safe_secret_there_are_no_tokens(offline_settings: Make, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="JWT_SECRET_KEY") as caught:
        TokenIssuer(offline_settings(JWT_SECRET_KEY=secret))
    assert not secret or secret not in str(caught.value)
