"""Ruby's Liquid, as a process that renders many templates."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_suffix(".rb")
_PROBE = "exit Liquid::VERSION.start_with?('5.')"


class RubyLiquid:
    """Renders with Ruby's Liquid, in UTC. `filters` are the names of its filters."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.filters: list[str] = self._answer()

    def render(self, template: str, data: Mapping[str, Any]) -> str | None:
        """The text, or None when Ruby gives an error."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"template": template, "data": data}) + "\n")
        self._process.stdin.flush()
        text: str | None = self._answer().get("text")
        return text

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def ruby_liquid() -> Iterator[RubyLiquid]:
    """Skips the test if there is no Ruby with Liquid 5."""
    ruby = shutil.which("ruby")
    if ruby is None or subprocess.run([ruby, "-rliquid", "-e", _PROBE], capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("there is no `ruby` with Liquid 5 to compare with; on Debian: apt-get install ruby ruby-liquid")
    with subprocess.Popen(  # noqa: S603
        [ruby, str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={"TZ": "UTC", "LANG": "C.UTF-8"},
    ) as process:
        yield RubyLiquid(process)  # when the test leaves, stdin is closed, and that ends the process
