"""The examples in docs/liquid.md give what the page says."""

from typing import Any

import pytest
from helpers.liquid_page import Difference, Example, differences, examples

from connector.templates import RenderError, Template, TemplateError


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.template} {example.data}")
def test_an_example_gives_what_the_page_says(example: Example) -> None:
    if example.refusal is not None:
        assert example.refusal in refusal_of(example.template, example.data)
        return
    given = Template(example.template).render(example.data)
    assert given == example.gives
    assert type(given) is type(example.gives)


@pytest.mark.parametrize("difference", differences(), ids=lambda difference: difference.what)
def test_what_differs_from_ruby_gives_what_the_page_says(difference: Difference) -> None:
    if difference.refusal is not None:
        assert difference.refusal in refusal_of(difference.template, difference.data)
    else:
        given = Template(difference.template).render(difference.data)
        assert ("" if given is None else str(given)) == difference.here


def refusal_of(template: str, data: dict[str, Any]) -> str:
    with pytest.raises((RenderError, TemplateError)) as caught:
        Template(template).render(data)
    return str(caught.value)
