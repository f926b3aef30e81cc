"""Says in words what a configuration does. `connector check` prints this."""

from collections.abc import Iterator

from connector.config import Account, Config, FeedbackRule, FieldValue, Lookup, Survey


def plan(config: Config) -> list[str]:
    """Lines of plain text, indented by two spaces a level; an empty line between parts."""
    lines: list[str] = []
    for name, survey in config.surveys.items():
        lines += [f"Survey {name}", *_indented(survey_lines(survey)), ""]
    for name, account in config.pisano.items():
        lines += [f"Account {name} at {account.base_url}", *_indented(_account(account, config)), ""]
    if config.protect.once_per_any:
        lines += ["All surveys", f"  The same person is invited once in {_duration(config.protect.once_per_any)}.", ""]
    for name, rule in config.feedback.items():
        lines += [f"Feedback rule {name}", *_indented(_feedback_rule(rule)), ""]
    lines += [
        f"Salesforce at {config.salesforce.login_url}",
        f"  Changes come from {_and(config.salesforce.channels)} over {config.salesforce.pubsub.endpoint}.",
        "",
        f"Kafka at {config.kafka.bootstrap_servers}",
        f"  Topics are named like {config.kafka.topic_prefix}pisano.invitations.",
    ]
    return lines


def survey_lines(survey: Survey) -> Iterator[str]:
    """What a survey does, a sentence a line."""
    what = "arrives" if survey.on.endswith("__e") else "changes"
    condition = f" and {survey.when}" if survey.when else ""
    yield f"When a {survey.on} {what}{condition},"
    if survey.channel == "link":
        yield f"make a link of channel {survey.campaign} of account {survey.account} for {survey.address or 'anybody'}."
    else:
        by = " by SMS" if survey.channel == "sms" else ""
        yield f"invite {survey.address}{by} to campaign {survey.campaign} of account {survey.account}."
    yield from _needed(survey)
    for about, values in (("the customer", survey.custom_attributes), ("the occasion", survey.built_in_responses)):
        if values:
            yield f"Tells Pisano about {about}: " + ", ".join(f"{key} = {value}" for key, value in values.items()) + "."
    yield from _protection(survey)


def _needed(survey: Survey) -> Iterator[str]:
    """The fields that are read from Salesforce if the event lacks them (design: one SOQL call for many)."""
    own = sorted(set().union(*(template.fields("record") for template in survey.templates())))
    if survey.on.endswith("__e"):
        yield f"The event itself brings {_and(own) or 'all that is needed'}."
    elif own:
        yield f"Uses these fields of the {survey.on}, read from Salesforce if the event lacks them: {_and(own)}."
    for name, lookup in survey.lookup.items():
        yield f"{name} is {_which(lookup)}; read from it: {_and(lookup.fields)}."


def _which(lookup: Lookup) -> str:
    if lookup.id is not None:
        return f"the {lookup.object} with the Id {lookup.id}"
    wanted = [f"{lookup.key_field} is {lookup.key}", *(f"{name} is {value}" for name, value in lookup.where.items())]
    return f"the first {lookup.object} by {lookup.order_by} whose {_and(wanted)}"


def _protection(survey: Survey) -> Iterator[str]:
    protect = survey.protect
    if excluded := [*_excluded(survey)]:
        yield f"Not invited, with the reason recorded: {', and '.join(excluded)}."
    if survey.delay:
        yield f"Due {_duration(survey.delay)} after the change."
    if protect.once_per:
        counts = {"invitations": "invitation", "answers": "answer", "either": "invitation or answer"}[protect.counts]
        yield f"The same person is invited once in {protect.once_per}, counted from the last {counts}."
    if protect.sample < 1:
        yield f"{protect.sample * 100:.10g}% of the persons are invited."
    if protect.send_between:
        zone = f", in the zone {protect.zone} if it has a value" if protect.zone else ""
        holidays = f", not on {len(protect.holidays)} holidays" if protect.holidays else ""
        yield f"Sent between {protect.send_between}{zone}{holidays}."
    yield from _limits(survey)


def _excluded(survey: Survey) -> Iterator[str]:
    if survey.channel != "link":
        yield "customers without a valid address"
    elif survey.address:
        yield "customers whose address is not valid"  # without any they get the link all the same
    if survey.protect.opted_out:
        yield f"customers who opted out ({survey.protect.opted_out})"


def _limits(survey: Survey) -> Iterator[str]:
    protect = survey.protect
    if protect.daily_cap:
        yield f"At most {protect.daily_cap:,} are sent in a day."
    if protect.total_cap:
        yield f"At most {protect.total_cap:,} are sent in all."
    if protect.cap:
        yield f"At most {protect.cap.per_day} in a day for the same {protect.cap.by}."
    if protect.max_age:
        yield f"Not sent when the change is older than {_duration(protect.max_age)}."
    if protect.brake:
        yield f"When more than {protect.brake} are due, the survey waits for a person to decide."


def _account(account: Account, config: Config) -> Iterator[str]:
    rate = min(window.limit / window.seconds for window in account.limits) * (1 - account.limit_reserved)
    limits = ", ".join(str(window) for window in account.limits)
    yield f"Calls: {limits}, so at most {int(rate * 86_400):,} a day, of up to {_recipients(account)} each."
    outcome = {"hold": "is held for a person to decide", "resend": "is sent once more, then held", "drop": "is dropped"}
    yield f"An invitation whose outcome is unknown {outcome[account.unknown_outcome]}."
    if hook := account.webhook:
        place = "as the last part of the path" if hook.secret_is_in_path else f"in the header {hook.header}"
        yield f"Answers are expected at {hook.path} on {config.service.host}:{config.service.port}, the secret {place}."
    else:
        yield "No answers are expected."


def _recipients(account: Account) -> str:
    count = account.max_recipients_per_call
    return "1 invitation" if count == 1 else f"{count} invitations"


def _feedback_rule(rule: FeedbackRule) -> Iterator[str]:
    yield f"For every {rule.of}" + (f" for which {rule.when}," if rule.when else ",")
    (key_field, key), *_ = rule.by.items()
    verb = "create or update" if rule.upsert else "update"
    yield f"{verb} the {rule.object} whose {key_field} is {key}:"
    yield from (f"  {name} = {field.value}{_choices(field)}" for name, field in rule.fields.items())
    empty = {"keep": "leaves its field as it is", "clear": "empties its field"}
    unfit = {"leave_out": "is left out", "cut": "is cut, or left out if it is no text", "refuse": "refuses the record"}
    yield f"An empty value {empty[rule.when_empty]}. A value that its field does not take {unfit[rule.does_not_fit]}."


def _choices(field: FieldValue) -> str:
    chosen = {"when_empty": field.when_empty, "does_not_fit": field.does_not_fit}
    words = [f"{name}: {choice}" for name, choice in chosen.items() if choice]
    return f" ({', '.join(words)})" if words else ""


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _and(names: list[str] | tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _duration(seconds: float) -> str:
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {name}" + "s" * (count != 1)
    return f"{seconds:g} seconds"
