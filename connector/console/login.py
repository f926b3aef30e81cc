"""Who a request comes from, and what that person may do."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from aiohttp import web

from connector.config import Console, Role

COOKIE = "connector_console"

_WRONG_WITHIN = 60.0  # seconds, in which wrong tokens are counted
_WRONG_OF_ONE = 10  # of one address: a person mistypes two or three
_WRONG_OF_ALL = 100  # so that many addresses guess no faster; who is logged in goes on
_LASTS = 12 * 3600.0  # seconds: a shift; then the token is asked for again
_MOST = 1_000  # sessions; beyond that the oldest end
_LONGEST_NAME = 100  # characters of a name that a proxy tells


@dataclass(frozen=True)
class Who:
    """A person. `session` is empty for one whom no token has let in."""

    name: str
    role: Role
    session: str = ""

    @property
    def is_operator(self) -> bool:
        """Whether the person may change something, and may see customers' values."""
        return self.role == "operator"


WHO = web.RequestKey("who", Who)


class Door:
    """Lets people in. `local` is the name of the only person when no login is configured. `clock` is in seconds."""

    def __init__(self, settings: Console, local: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._local = local
        self._clock = clock
        self._wrong: deque[tuple[float, str]] = deque()  # when, and from where: at most _WRONG_OF_ALL
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()  # the user, and when it ends
        self._key = secrets.token_bytes(32)

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine is let in."""
        return not self._settings.users and self._settings.proxy is None

    @property
    def takes_tokens(self) -> bool:
        """Whether a token lets somebody in; else only the proxy does."""
        return bool(self._settings.users)

    def who(self, request: web.Request) -> Who | None:
        """The person; None for one who has to log in."""
        if self.is_open:
            return Who(self._local, "operator")
        return self._of_proxy(request) or self._of_session(request.cookies.get(COOKIE, ""))

    def shut_for(self, address: str) -> float:
        """Seconds until this address may try a token again."""
        now = self._clock()
        while self._wrong and self._wrong[0][0] <= now - _WRONG_WITHIN:
            self._wrong.popleft()
        ours = [at for at, whose in self._wrong if whose == address]
        if len(self._wrong) >= _WRONG_OF_ALL:
            ours = [at for at, _ in self._wrong]
        elif len(ours) < _WRONG_OF_ONE:
            return 0.0
        return ours[0] + _WRONG_WITHIN - now

    def enter(self, token: str, address: str) -> str | None:
        """A new session for the user of this token, from an address that is not shut out; None if nobody has it."""
        given = token.strip().encode()
        matches = [
            name
            for name, user in self._settings.users.items()
            if hmac.compare_digest(user.token.get_secret_value().encode(), given)
        ]
        if not matches:
            self._wrong.append((self._clock(), address))
            return None
        session = secrets.token_urlsafe(32)
        self._sessions[session] = matches[0], self._clock() + _LASTS
        while len(self._sessions) > _MOST:
            self._sessions.popitem(last=False)
        return session

    def leave(self, who: Who) -> None:
        """Ends the session."""
        self._sessions.pop(who.session, None)

    def seal(self, who: Who) -> str:
        """What each form of this person's pages carries, and no other site knows."""
        return hmac.new(self._key, f"{who.name}\0{who.session}".encode(), hashlib.sha256).hexdigest()

    def has_seal(self, who: Who, given: str) -> bool:
        """Whether a form came from this person's page."""
        return hmac.compare_digest(self.seal(who).encode(), given.encode())

    def _of_session(self, session: str) -> Who | None:
        name, until = self._sessions.get(session, ("", 0.0))
        if self._clock() >= until:
            self._sessions.pop(session, None)
            return None
        return Who(name, self._settings.users[name].role, session)

    def _of_proxy(self, request: web.Request) -> Who | None:
        proxy = self._settings.proxy
        if proxy is None or not any(_address(request) in network for network in proxy.trusted):
            return None
        names = request.headers.getall(proxy.header, [])
        name = names[0].strip() if len(names) == 1 else ""  # with two, one may have come from outside
        if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
            return None
        return Who(name, "operator" if name in proxy.operators else "viewer")


def _address(request: web.Request) -> object:
    try:
        return ip_address(request.remote or "")
    except ValueError:
        return None
