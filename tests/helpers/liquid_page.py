"""The tables in docs/liquid.md."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from connector.values import exact

_PAGE = Path(__file__).parents[2] / "docs" / "liquid.md"
_REFUSED = "refused: "


class Difference(NamedTuple):
    """`ruby` is what Ruby gives, or None for an error. `here` is our text, unless `refusal` has words of our error."""

    what: str
    template: str
    data: dict[str, Any]
    ruby: str | None
    here: str | None
    refusal: str | None


class Example(NamedTuple):
    """What a template gives, unless `refusal` has words of our error."""

    template: str
    data: dict[str, Any]
    gives: Any
    refusal: str | None


def differences() -> list[Difference]:
    """Everything that differs from Ruby's Liquid on purpose."""
    return [
        Difference(what, template, json.loads(data), None if ruby == "an error" else ruby, *_refusal(here))
        for what, template, data, ruby, here in _rows("What differs")
    ]


def examples() -> list[Example]:
    """The examples of our own filters and of dates."""
    found = [(template, data, *_refusal(gives)) for template, data, gives in _rows("Template")]
    return [
        Example(template, exact.loads(data.encode()), None if gives is None else json.loads(gives), refusal)
        for template, data, gives, refusal in found
    ]


def _refusal(cell: str) -> tuple[str | None, str | None]:
    return (None, cell.removeprefix(_REFUSED)) if cell.startswith(_REFUSED) else (cell, None)


def _rows(first_heading: str) -> Iterator[list[str]]:
    """The cells of all tables whose first heading is this one, without the marks for code."""
    inside = False
    for line in _PAGE.read_text("utf-8").splitlines():
        cells = [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[0] == first_heading:
            inside = True
        elif inside and not cells[0].startswith("---"):
            yield cells


def _plain(cell: str) -> str:
    return cell.removeprefix("`").removesuffix("`").replace("\\|", "|")
