"""The service's metrics, in their own registry (rule 6). Labels never hold an address or a record id."""

import math
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

import httpx
from prometheus_client import Counter, Gauge

from connector.limits import Usage, Window
from connector.observe._registry import Registry
from connector.observe.balance import Balance
from connector.records import Outcome
from connector.retry import retry_after
from connector.salesforce.api_usage import ApiUsage

# All buckets are in seconds.
_WAITS = (0.01, 0.05, 0.25, 1, 5, 25, 125, 625)  # the steps follow the limiter's windows
_CALLS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # a healthy call takes below 1 s; the time-outs are 30 and 60 s
_ASKED = (1, 5, 25, 125, 625, 3600)  # the limiter's windows again; we never wait longer than an hour
# A change takes seconds. Then come the usual delays, a night until the send hours, and 72 h, after which
# Salesforce has forgotten the change.
_TO_CALL = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600)
_TO_WRITE = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600, 24 * 3600)  # below 1 s, but for an outage


class Metrics:
    """One object for all stages; each metric's help text says what it tells an operator."""

    def __init__(self) -> None:
        self.registry = Registry()
        counter, gauge, histogram = self.registry.counter, self.registry.gauge, self.registry.histogram
        self.change_events = counter("change_events", "Change events written to Kafka.", "channel")
        self.unwanted_events = counter(
            "unwanted_events", "Change events of entities that no channel and no survey names.", "channel", "entity"
        )
        self.stream_restarts = counter(
            "stream_restarts", "Times that a channel's stream was opened, including the first time.", "channel"
        )
        self.own_changes = counter(
            "own_changes", "Change events ignored because this connector made the change.", "entity"
        )
        self.gap_events = counter(
            "gap_events", "Gap events: changes whose content Salesforce did not send.", "entity", "type"
        )
        self.invitations = counter(
            "invitations", "Invitations written, by the reason why they must not be sent.", "survey", "suppressed"
        )
        self.repeated_invitations = counter(
            "repeated_invitations", "Invitations read again after they had an outcome.", "account"
        )
        self.outcomes = counter("outcomes", "What became of invitations.", "account", "survey", "outcome", "reason")
        self.calls = counter("pisano_calls", "Calls to Pisano, by how they ended.", "account", "result")
        self.pisano_answers = counter(
            "pisano_answers",
            "Pisano's answers, by the shape of their body.",
            "account",
            "status",
            "shape",
        )
        self.throttled = counter("pisano_throttled", "429s: another client spends the same budget.", "account")
        self.permit_wait = histogram(
            "permit_wait_seconds", "How long a call waited for the limiter.", _WAITS, "account"
        )
        self.window_used = gauge("limiter_window_used", "Calls counted in a window now.", "account", "window")
        self.window_limit = gauge("limiter_window_limit", "Calls that a window takes.", "account", "window")
        self.closed = gauge(
            "limiter_closed_seconds", "For how many more seconds a 429 lets no call through.", "account"
        )
        self.change_to_call = histogram(
            "change_to_call_seconds",
            "From a change in Salesforce to the call that sent its invitation. Delay and send hours count.",
            _TO_CALL,
            "survey",
        )
        self.webhook_to_write = histogram(
            "webhook_to_write_seconds",
            "From the webhook with an answer, or from a link's making, to its record in Salesforce.",
            _TO_WRITE,
            "rule",
        )
        self.http_calls = histogram(
            "http_call_seconds", "How long a call took until its answer, by status.", _CALLS, "host", "status"
        )
        self.asked_to_wait = histogram(
            "retry_after_seconds", "How long an answer asked us to wait, in its Retry-After.", _ASKED, "host"
        )
        self.api_used = gauge("salesforce_api_used", "API calls of all clients of the org in 24 h, as last told.")
        self.api_limit = gauge("salesforce_api_limit", "API calls that the org may make in 24 h.")
        self.answers = counter("answers", "Answers of customers that were accepted, including repeats.", "account")
        self.answers_missing = gauge(
            "answers_missing", "1 when answers came before but have stopped, while e-mails go out.", "account"
        )
        self.spooled = gauge("spooled", "Webhooks that wait on this machine's disk for Kafka.")
        self.spool_bytes = gauge("spool_bytes", "Bytes of the webhooks that wait on this machine's disk.")
        self.spool_max_bytes = gauge("spool_max_bytes", "The limit of connector_spool_bytes.")
        self.spool_taken = counter("spool_taken", "Webhooks written to this machine's disk because Kafka was away.")
        self.spool_drained = counter("spool_drained", "Webhooks moved from this machine's disk to Kafka.")
        self.webhooks = counter("webhooks", "Webhooks, by the answer that they got.", "account", "answer")
        self.misfits = counter("misfits", "Values in webhooks that did not fit their type.", "account", "field")
        self.not_strict = counter("webhooks_not_strict", "Webhooks that had to be mended to be read.", "account")
        self.writes = counter("writes", "Records that Salesforce was asked to store.", "rule", "result")
        self.unfit_values = counter(
            "unfit_values",
            "Values that a Salesforce field did not take, by what was done: cut or left_out.",
            "rule",
            "field",
            "done",
        )
        self.dead_letters = counter("dead_letters", "Records that a stage gave up on.", "stage", "reason")
        self.in_flight = gauge("in_flight", "Records that a stage works on now.", "stage")
        self.lag = gauge("lag", "Records of a stage's topics that this worker has not finished.", "stage")
        self.lag_seconds = gauge(
            "lag_seconds", "Age of the oldest record of a stage's topics that is not finished.", "stage"
        )
        self.hanging = gauge(
            "hanging_transactions", "Transactions that have not ended for 90 s and hide records from a stage.", "stage"
        )
        self.finished = self.registry.totals(
            "finished", "Offsets that a stage has finished; a transaction counts as one more.", "stage"
        )
        self.position_at = gauge(
            "position_timestamp_seconds", "When a channel's position was written, in Unix time.", "channel"
        )
        self.usage: dict[str, Callable[[], Usage]] = {}  # by account, for `/status`
        self.records_deleted = counter(
            "records_deleted", "Records that Kafka deleted before a stage had read them.", "stage"
        )
        self.waiting = gauge(
            "waiting", "Invitations on pisano.waiting that are not due yet, as this worker knows.", "account", "survey"
        )
        self.parked = gauge("parked", "Records that wait on connector.parked for a held cell of a stage.", "stage")
        self.held = gauge("held", "1 while a cell is held, with the reason.", "cell", "reason")
        self.ready = gauge("ready", "Whether a stage is ready to work.", "stage")

    def tell_held(self, cell: str, reason: str, held: bool) -> None:
        """Shows that a cell is now held, or is held no longer."""
        if held:
            self.held.labels(cell, reason).set(1)
        else:
            self.held.remove(cell, reason)

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value as in /metrics. None if there is none, or if it is not known now."""
        full = f"connector_{name}"
        families = self.registry.restricted_registry([full]).collect()  # the registry itself would ask every metric
        samples = (sample for family in families for sample in family.samples)
        found = next((each.value for each in samples if each.name == full and each.labels == labels), math.nan)
        return None if math.isnan(found) else found

    @staticmethod
    def total(metric: Counter | Gauge, **labels: str) -> float:
        """The sum over all series that have these labels."""
        samples = (sample for family in metric.collect() for sample in family.samples)
        of_value = (sample for sample in samples if not sample.name.endswith("_created"))
        return sum(sample.value for sample in of_value if labels.items() <= sample.labels.items())

    def watch_windows(self, account: str, used: Callable[[], Usage]) -> None:
        """Whenever the metrics are read, `used()` tells how many calls each window of the account's limiter holds."""
        self.usage[account] = used
        self.throttled.labels(account)  # as in `watch_answers`
        self.closed.labels(account).set_function(lambda: used().closed_for)
        for window, _ in used():
            self.window_used.labels(account, str(window)).set_function(partial(_calls_in, window, used))
            self.window_limit.labels(account, str(window)).set(window.limit)

    def watch_api(self, used: Callable[[], ApiUsage | None]) -> None:
        """Whenever the metrics are read, `used()` tells the org's budget of API calls, if it is known."""
        self.api_used.set_function(lambda: usage.used if (usage := used()) else math.nan)
        self.api_limit.set_function(lambda: usage.limit if (usage := used()) else math.nan)

    def saw_answer(self, answer: httpx.Response, seconds: float) -> None:
        """Counts another system's answer to a call, which took so long."""
        host = answer.request.url.host
        self.http_calls.labels(host, str(answer.status_code)).observe(seconds)
        if (asked := retry_after(answer.headers, time.time())) is not None:
            self.asked_to_wait.labels(host).observe(asked)

    def watch_answers(
        self,
        accounts: Iterable[str],
        missing_after: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Whenever the metrics are read, each account's e-mails and answers are compared. `missing_after`: seconds."""
        for account in accounts:
            self.answers.labels(account)  # Prometheus sees an increase only if there was a zero before
            balance = Balance(missing_after)
            self.answers_missing.labels(account).set_function(partial(self._missing, account, balance, now))

    def _missing(self, account: str, balance: Balance, now: Callable[[], datetime]) -> float:
        emails = self.total(self.outcomes, account=account, outcome=Outcome.SENT)
        balance.saw(emails, self.total(self.answers, account=account), now())
        return float(balance.missing(now()))


def _calls_in(window: Window, used: Callable[[], Usage]) -> float:
    return dict(used())[window]
