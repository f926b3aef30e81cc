"""What settings have in common: the model whose fields they are, and what an annotation can say about one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, and a key that is not known is a mistake. The docstring under a field is its meaning in the reference."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_default=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Allowed:
    """What may stand here, in words for the reference. `written` turns a value back into what stands in a file."""

    words: str
    written: Callable[[Any], str] = str


class NotYet:
    """The setting is understood, and what it does is still to come."""
