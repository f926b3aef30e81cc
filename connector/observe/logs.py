"""Sets up logging: one JSON object per line, or text on a terminal. Never logs a local variable's value (rule 9)."""

import logging
import os
import sys
import time
from collections import deque
from typing import Any

import stamina
import structlog

from connector.masking import mask_emails

_SAY_AGAIN = 60.0  # seconds until an outage that goes on gets another line
_SHORT = 2.0  # seconds: if the first pause is longer, the other side asked for it, and we log a line


_KEPT = 20  # error lines that `/status` shows
_LONGEST = 500  # characters of a value in them


class LastErrors:
    """A step of structlog that keeps the last error lines for `/status`, with e-mail addresses masked."""

    def __init__(self) -> None:
        self._lines: deque[dict[str, str]] = deque(maxlen=_KEPT)

    def __call__(self, _: Any, __: str, line: Any) -> Any:
        if line.get("level") in {"error", "critical"}:
            known = {key: value for key, value in line.items() if isinstance(value, str | int | float)}
            self._lines.append({key: mask_emails(str(value))[:_LONGEST] for key, value in known.items()})
        return line

    def lines(self) -> list[dict[str, str]]:
        """The lines, the oldest first."""
        return list(self._lines)


last_errors = LastErrors()  # as global as the log itself


def set_up(level: str = "info") -> None:
    """Configures structlog and the libraries' own loggers, on standard error. Call it before grpc is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # grpc's C core logs by itself; its errors reach us as exceptions
    on_terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        last_errors,
        *([] if on_terminal else [structlog.processors.format_exc_info]),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=renderer, foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared]
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions, which we log once
    stamina.instrumentation.set_on_retry_hooks([_Outages()])
    for noisy in ("mode", "faust", "httpx"):  # Faust warns at each rebalance; httpx logs every request
        logging.getLogger(noisy).setLevel(logging.ERROR)


class _Outages:
    """Logs each outage once a minute, no matter how many records wait for it or how often each is tried."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, details: stamina.instrumentation.RetryDetails) -> None:
        if details.retry_num == 1 and details.wait_for <= _SHORT:
            return  # a lost connection or a renewed token: not worth a line
        now, reason = time.monotonic(), str(details.caused_by)
        self._said = {text: at for text, at in self._said.items() if now - at < _SAY_AGAIN}
        if reason not in self._said:
            self._said[reason] = now
            structlog.get_logger(__name__).warning("waiting", reason=reason, next_try_in=round(details.wait_for, 1))
