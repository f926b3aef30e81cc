"""What a worker says about itself at /status. It holds no personal data and no secrets."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NoReturn

from connector.limits import Usage
from connector.masking import mask_emails
from connector.observe.logs import last_errors
from connector.wiring.shared import Shared

_EVERY = 10.0  # seconds between two looks at how much is done
_LOOKS = 7  # the rate is that of the last minute


class StatusPage:
    """`run` beside the stages; `page(ready)` is the page. `clock` is in seconds, `now` in UTC."""

    def __init__(
        self,
        shared: Shared,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._shared = shared
        self._clock = clock
        self._now = now
        self._looks: deque[tuple[float, dict[str, float | None]]] = deque(maxlen=_LOOKS)

    async def run(self, stages: tuple[str, ...]) -> NoReturn:
        """Looks at how much is done, until it is cancelled."""
        while True:
            self.look(stages)
            await asyncio.sleep(_EVERY)

    def look(self, stages: tuple[str, ...]) -> None:
        """Notes how much each stage has done by now."""
        self._looks.append((self._clock(), {stage: self._done(stage) for stage in stages}))

    def page(self, ready: Mapping[str, bool]) -> dict[str, Any]:
        """The page; what is not known is null. Ages and times to wait are in seconds, `per_minute` counts records."""
        metrics, api = self._shared.metrics, self._shared.rest.api_usage
        return {
            "at": self._now().isoformat(),
            "stages": {stage: {"ready": is_ready, **self._stage(stage)} for stage, is_ready in ready.items()},
            "accounts": {name: self._account(name, used()) for name, used in metrics.usage.items()},
            "channels": {name: {"position_age": self._position_age(name)} for name in self._channels()},
            "salesforce": {"token_age": self._shared.tokens.age, "api": asdict(api) if api else None},
            "held": [
                {
                    "cell": cell.name,
                    "kind": cell.kind,
                    "reason": mask_emails(cell.reason or ""),
                    "since": str(cell.since),
                }
                for cell in self._shared.cells.all_held()
            ],
            "errors": last_errors.lines(),
        }

    def _stage(self, stage: str) -> dict[str, float | None]:
        names = ("lag", "lag_seconds", "hanging_transactions", "in_flight", "parked")
        return {
            **{name: self._shared.metrics.value(name, stage=stage) for name in names},
            "per_minute": self._rate(stage),
        }

    def _rate(self, stage: str) -> float | None:
        if len(self._looks) < 2:
            return None
        (then, looked), (now, looks) = self._looks[0], self._looks[-1]
        before, after = looked[stage], looks[stage]
        if before is None or after is None:
            return None
        return max(0.0, after - before) * 60 / (now - then)  # below 0 when the stage began anew

    def _done(self, stage: str) -> float | None:
        """What capture and receive count; the watches of the other stages know how many offsets are finished."""
        metrics = self._shared.metrics
        counted = {"capture": metrics.change_events, "receive": metrics.webhooks}
        return metrics.total(counted[stage]) if stage in counted else metrics.value("finished_total", stage=stage)

    def _channels(self) -> list[str]:
        return [name for name in self._shared.config.salesforce.channels if self._position_at(name)]

    def _position_age(self, channel: str) -> float:
        return self._now().timestamp() - (self._position_at(channel) or 0.0)

    def _position_at(self, channel: str) -> float | None:
        return self._shared.metrics.value("position_timestamp_seconds", channel=channel)

    def _account(self, name: str, usage: Usage) -> dict[str, Any]:
        windows = [{"seconds": window.seconds, "limit": window.limit, "used": used} for window, used in usage]
        waiting = self._shared.metrics.total(self._shared.metrics.waiting, account=name)
        return {"windows": windows, "closed_for": usage.closed_for or None, "waiting": waiting}
