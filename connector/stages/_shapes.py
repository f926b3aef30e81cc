"""Counts Pisano's answers by their shape, so that one that nobody has seen before is noticed."""

from collections import defaultdict

import structlog

from connector.observe.metrics import Metrics
from connector.pisano import shape

log = structlog.get_logger(__name__)

_MOST = 50  # shapes of an account that are told apart: a body could have a new key each time


class Shapes:
    """`saw` counts an answer. The first of each shape since the start is one line in the log, without values."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: defaultdict[str, set[tuple[int, str]]] = defaultdict(set)  # by account: status and shape

    def saw(self, account: str, status: int, body: bytes) -> None:
        name, form = shape(body)
        known = self._known[account]
        if (status, name) not in known and len(known) >= _MOST:
            name = "other"
        elif (status, name) not in known:
            known.add((status, name))
            log.info("pisano_answered_in_a_new_shape", account=account, status=status, shape=name, form=form)
        self._metrics.pisano_answers.labels(account, str(status), name).inc()
