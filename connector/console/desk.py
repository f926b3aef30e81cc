"""What all pages share: the configuration, the last look at the service, and how a page is made."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from multidict import MultiDictProxy

from connector.config import Config
from connector.console import picture
from connector.console.aside import Aside
from connector.console.collector import Collector
from connector.console.login import WHO, Door
from connector.errors import ConnectorError
from connector.masking import mask_emails
from connector.operate.letters import require_kafka

T = TypeVar("T")

_FORM_WITHIN = 10.0  # seconds for a form's body; it has 64 KB at most
_MOST_NOTES = 200  # what was told to people who have not looked at it yet

Form = MultiDictProxy[Any]


class Note(NamedTuple):
    """What became of a click, for the page that comes next."""

    lines: Sequence[str]
    went_well: bool


@dataclass
class Desk:
    """One object for all pages. `now` is in UTC."""

    config: Config
    collector: Collector
    door: Door
    aside: Aside
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    # Held while dead letters are worked off: whoever begins later would end the other's work.
    working: asyncio.Lock = field(default_factory=asyncio.Lock)
    _notes: OrderedDict[str, Note] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.templates = Environment(
            loader=PackageLoader("connector.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters |= {
            "age": picture.age,
            "count": picture.count,
            "when": picture.when,
            "masked": mask_emails,
        }

    def page(self, request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
        """The page of a template. Every template knows the person, the last look and the note of the last click."""
        who = request.get(WHO)
        common = {
            "who": who,
            "seal": self.door.seal(who) if who else "",
            "can_leave": bool(who and who.session),
            "path": request.path,
            "note": self._notes.pop(request.query.get("said", ""), None),
            "view": picture.view(self.collector.snapshot, self.now()),
        }
        text = self.templates.get_template(template).render(common | values)
        return web.Response(text=text, status=status, content_type="text/html")

    def part(self, name: str, **values: Any) -> str:
        """A part of a page, the same for everybody, for the open pages."""
        view = picture.view(self.collector.snapshot, self.now())
        return self.templates.get_template(f"parts/{name}.html").render({"view": view, **values})

    async def ask(self, work: Callable[[], Coroutine[Any, Any, T]], instead: str) -> T:
        """Does what needs Kafka, beside the pages. `instead` says what to do when it takes too long.

        Raises:
            Fatal: No broker answers. The message says why.
            ConnectorError: As `Aside.run` says.
        """

        async def asked() -> T:
            await require_kafka(self.config.kafka)
            return await work()

        return await self.aside.run(asked, instead)

    async def act(self, path: str, do: Callable[[], Coroutine[Any, Any, tuple[list[str], bool]]]) -> web.Response:
        """Does what a person has clicked, and shows the page at `path` with what became of it.

        `do()` gives the lines to tell, and whether it went well. Its ConnectorError is told, too.
        """
        try:
            note = Note(*await do())
        except ConnectorError as error:
            note = Note(str(error).split("\n"), went_well=False)
        key = secrets.token_urlsafe(16)
        self._notes[key] = note
        while len(self._notes) > _MOST_NOTES:
            self._notes.popitem(last=False)
        return web.Response(status=303, headers={"Location": f"{path}{'&' if '?' in path else '?'}said={key}"})


async def form(request: web.Request) -> Form:
    """The fields of a form. Raises HTTPRequestTimeout when its body does not come, HTTPBadRequest when it is none."""
    try:
        async with asyncio.timeout(_FORM_WITHIN):
            return await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ValueError, LookupError):  # no boundary, an encoding that nobody knows
        raise web.HTTPBadRequest(text="this form cannot be read") from None


def text(fields: Form, name: str) -> str:
    """A field of a form; empty if there is none."""
    value = fields.get(name, "")
    return value.strip() if isinstance(value, str) else ""
