"""The section `console`: who may use the page of `connector console`."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, field_validator

from connector.config.model import Allowed, Model
from connector.config.types import HeaderName, HeaderSecret, Name, Text

Role = Literal["viewer", "operator"]
Network = Annotated[IPv4Network | IPv6Network, Allowed("an address or a network, like 10.0.0.7 or 10.0.0.0/24")]

_SHORTEST = 16  # characters: nobody guesses a random token of this length


class User(Model):
    """A person who logs in with a token."""

    token: HeaderSecret
    """The secret that the person logs in with, at least 16 characters. Each person needs another one: the name that
    belongs to it is written down with all that the person decides."""

    role: Role = "viewer"
    """A viewer looks. An operator also works off dead letters, releases cells, previews surveys, changes the
    suppression list, and may have customers' values shown."""

    @field_validator("token")
    @classmethod
    def _is_long_enough(cls, token: HeaderSecret) -> HeaderSecret:
        if len(token.get_secret_value()) < _SHORTEST:
            raise ValueError("a token has at least 16 characters: anyone who knows it can do what its user may do")
        return token


class Proxy(Model):
    """A reverse proxy that logs people in, and tells their names in a header."""

    trusted: Annotated[tuple[Network, ...], Field(min_length=1)]
    """The addresses that the proxy's requests come from. The header is ignored in all others."""

    header: HeaderName = "X-Forwarded-User"
    """The header that holds the person's name. The proxy must replace it in what comes from outside: a request that has
    it twice lets nobody in."""

    operators: tuple[Text, ...] = ()
    """The names of the operators; all others are viewers."""


class Console(Model):
    """Who may use the page of `connector console`: [console.md](console.md).

    Without users and proxy, everybody on the machine may, and the page listens on a loopback address only.
    """

    users: dict[Name, User] = {}
    """People who log in with a token."""

    proxy: Proxy | None = None
    """A reverse proxy that logs people in."""

    @field_validator("users")
    @classmethod
    def _tokens_differ(cls, users: dict[Name, User]) -> dict[Name, User]:
        tokens = [user.token.get_secret_value() for user in users.values()]
        if len({*tokens}) < len(tokens):
            raise ValueError("two users have the same token, so that nobody knows which of them has decided")
        return users
