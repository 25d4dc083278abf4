"""Words that operators leave: who they are, and why they did something."""

from pydantic import SecretStr

from nova.errors import InputError
from nova.settings import Settings
from nova.store import redis_identity

LONGEST_NAME = 200
LONGEST_TEXT = 1000
#: A shorter secret would also be found where it is none.
SHORTEST_SECRET = 6


def check_words(text: str, what: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text that is one line, and says something; `what` is what it is, for the error.

    Raises:
        InputError: it is empty, too long, or holds what cannot be printed, such as line ends.
    """
    stripped = text.strip()
    if not stripped or len(stripped) > longest or not stripped.isprintable():
        raise InputError(f"{what} must be one line of 1 to {longest} characters")
    return stripped


def hide_secrets(text: str, settings: Settings) -> str:
    """Return a text in which no secret of these settings stands."""
    values = [getattr(settings, name) for name in type(settings).model_fields]
    secrets = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
    secrets.add(redis_identity(settings)["password"] or "")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text
