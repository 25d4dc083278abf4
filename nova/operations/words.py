"""Words that operators leave: who they are, and why they did something."""

from pydantic import SecretStr

from nova.errors import InputError
from nova.settings import Settings
from nova.store import redis_identity

LONGEST_NAME = 200
#: Longer ones are cut off.
LONGEST_TEXT = 1000
#: A shorter secret would also be found where it is none.
SHORTEST_SECRET = 6


def check_name(text: str, what: str) -> str:
    """Return a text that names something; `what` is what it is, for the error.

    Raises:
        InputError: it is empty, too long, or holds what cannot be printed, such as line ends.
    """
    stripped = text.strip()
    if not stripped or len(stripped) > LONGEST_NAME or not stripped.isprintable():
        raise InputError(f"{what} must be one line of 1 to {LONGEST_NAME} characters")
    return stripped


def one_line(text: str) -> str:
    """Return a text as one line that can be printed, cut off where it is too long.

    It may be what a program said as it failed; that is no reason to refuse to write it down.
    """
    line = " ".join(text.split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 4]} ..."


def hide_secrets(text: str, settings: Settings) -> str:
    """Return a text in which no secret of these settings stands."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    secrets = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    secrets.add(redis_identity(settings)["password"] or "")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
