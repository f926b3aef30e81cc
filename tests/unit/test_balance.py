"""E-mails and answers per day, and the alarm for answers that stop."""

from datetime import UTC, date, datetime, timedelta

from connector.observe.balance import Balance, Day
from connector.observe.metrics import Metrics

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TWO_DAYS = 2 * 86400.0


def test_it_counts_per_day_and_forgets_after_eight() -> None:
    balance = Balance(TWO_DAYS)
    for number in range(10):
        balance.saw(emails=10 * (number + 1), answers=number + 1, at=MONDAY + number * DAY)
    days = balance.days()
    assert len(days) == 8
    assert days[-1] == Day(date(2026, 3, 11), emails=10, answers=1)


def test_answers_are_missing_when_they_stop_while_emails_go_out() -> None:
    balance = Balance(TWO_DAYS)
    balance.saw(10, 2, MONDAY)
    balance.saw(20, 2, MONDAY + DAY)
    assert not balance.missing(MONDAY + DAY)
    balance.saw(30, 2, MONDAY + 2 * DAY)
    assert balance.missing(MONDAY + 2 * DAY)
    for number in range(3, 20):  # the alarm stays as long as no answers come
        balance.saw(10 * number + 10, 2, MONDAY + number * DAY)
        assert balance.missing(MONDAY + number * DAY)
    balance.saw(210, 3, MONDAY + 20 * DAY)
    assert not balance.missing(MONDAY + 20 * DAY)


def test_nothing_is_missing_without_emails_or_where_there_never_were_answers() -> None:
    never = Balance(TWO_DAYS)
    for number in range(5):
        never.saw(10 * number, 0, MONDAY + number * DAY)
    assert not never.missing(MONDAY + 5 * DAY)
    quiet = Balance(TWO_DAYS)
    quiet.saw(0, 2, MONDAY)
    quiet.saw(0, 2, MONDAY + 4 * DAY)
    assert not quiet.missing(MONDAY + 4 * DAY)


def test_the_gauge_joins_what_the_stages_count_per_account() -> None:
    metrics, now = Metrics(), [MONDAY]
    metrics.watch_answers(["main", "other"], TWO_DAYS, lambda: now[0])

    def missing(account: str) -> float | None:
        return metrics.registry.get_sample_value("connector_answers_missing", {"account": account})

    metrics.outcomes.labels("main", "closed-case", "sent", "").inc(5)
    metrics.outcomes.labels("other", "closed-case", "rejected", "refused").inc(5)
    for account in ("main", "other"):
        metrics.answers.labels(account).inc()
    assert (missing("main"), missing("other")) == (0, 0)
    now[0] = MONDAY + 2 * DAY
    assert (missing("main"), missing("other")) == (1, 0)
