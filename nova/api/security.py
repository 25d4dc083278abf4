"""Tokens: who calls the API, and what the caller may do. Made and checked here, nowhere else."""

import enum
import functools
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from nova.errors import InputError
from nova.settings import Settings

ALGORITHM = "HS256"
REQUIRED_CLAIMS = ("exp", "iat", "iss", "aud", "sub", "role", "jti")
#: Clocks of two hosts may differ by this much.
LEEWAY = timedelta(seconds=10)
LONGEST_TTL = timedelta(days=366)
LONGEST_SUBJECT = 200


@functools.total_ordering
class Role(enum.Enum):
    """What a caller may do. Each role may also do what the lower ones may; lowest first."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Role):
            return NotImplemented
        order = list(Role)
        return order.index(self) < order.index(other)


@dataclass(frozen=True)
class Caller:
    """Who sent a request."""

    subject: str
    role: Role
    #: Of the token; by it the token is limited and revoked.
    token_id: str


@dataclass(frozen=True)
class IssuedToken:
    """A new token, and what may be known of it."""

    id: str
    subject: str
    role: Role
    issued_at: datetime
    expires_at: datetime
    #: The token itself: a secret.
    text: str = field(repr=False)


class InvalidTokenError(Exception):
    """A token is not accepted. The message may be shown to whoever sent it."""


class TokenIssuer:
    """Makes the tokens of one Nova, and checks them: also those of the key that it had before.

    Raises:
        ConfigurationError: JWT_SECRET_KEY is missing, or it or the previous key is too short or a
            placeholder.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.require_jwt_secret()
        self._previous = settings.previous_jwt_secret()
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience

    def issue(self, subject: str, role: Role, ttl: timedelta) -> IssuedToken:
        """Return a token that is valid from now on for `ttl`, in whole seconds.

        Raises:
            InputError: `ttl` is not between one second and 366 days, or `subject` is empty,
                longer than 200 characters, or holds one that cannot be printed.
        """
        if not timedelta(seconds=1) <= ttl <= LONGEST_TTL:
            raise InputError(f"a token lives between 1 second and {LONGEST_TTL.days} days")
        if not subject.strip() or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
            raise InputError(
                f"a token needs a subject of 1 to {LONGEST_SUBJECT} characters that can be "
                "printed: who will use it"
            )
        now = datetime.now(UTC).replace(microsecond=0)
        token_id, expires_at = uuid.uuid4().hex, now + ttl
        claims = {
            "jti": token_id,
            "sub": subject,
            "role": role.value,
            "iss": self._issuer,
            "aud": self._audience,
            "iat": now,
            "exp": expires_at,
        }
        text = jwt.encode(claims, self._secret, algorithm=ALGORITHM)
        return IssuedToken(token_id, subject, role, now, expires_at, text)

    def check(self, token: str) -> Caller:
        """Return who a token stands for. Whether it was revoked is asked elsewhere: admission.py.

        Raises:
            InvalidTokenError: it is expired, forged, incomplete or meant for somebody else.
        """
        claims = self._claims(token)
        try:
            role = Role(claims["role"])
        except ValueError:
            raise InvalidTokenError("the token's role is unknown") from None
        return Caller(subject=claims["sub"], role=role, token_id=claims["jti"])

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims. The signature is checked before any of them is looked at."""
        try:
            return self._decode(token)
        except jwt.ExpiredSignatureError:
            raise InvalidTokenError("the token has expired; get a new one") from None
        except jwt.ImmatureSignatureError:
            raise InvalidTokenError("the token is not valid yet; compare the clocks") from None
        except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
            raise InvalidTokenError("the token was made for another service") from None
        except jwt.MissingRequiredClaimError as error:
            raise InvalidTokenError(f"the token lacks the claim {error.claim}") from None
        except jwt.InvalidTokenError:
            raise InvalidTokenError("the token is not one of this Nova's") from None

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            return self._decode_with(self._secret, token)
        except jwt.InvalidSignatureError:
            if self._previous is None:
                raise
        return self._decode_with(self._previous, token)

    def _decode_with(self, secret: str, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY,
            options={"require": list(REQUIRED_CLAIMS)},
        )
        return claims
