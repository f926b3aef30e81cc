"""The base of all settings: the model that holds them, and what an annotation can say about one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen; an unknown key is a mistake. The reference prints the docstring under a field as its meaning.

    What pydantic makes of a model is made when it is needed first, because most models are used only within another.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        validate_default=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        defer_build=True,
    )


@dataclass(frozen=True)
class Allowed:
    """What is allowed here, in words for the reference. `written` turns a value back into its text in a file."""

    words: str
    written: Callable[[Any], str] = str
