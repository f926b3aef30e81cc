"""How the service logs: one JSON object a line, or text on a terminal. Never a local variable's value (rule 9)."""

import logging
import os
import sys

import structlog


def set_up(level: str = "info") -> None:
    """Configures structlog and the libraries' own loggers, on standard error. To be called before grpc is imported."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core logs by itself; its errors reach us as exceptions
    on_terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
    for noisy in ("mode", "faust", "httpx"):  # to Faust each rebalance is a warning; httpx logs every request
        logging.getLogger(noisy).setLevel(logging.ERROR)
