"""Reading a configuration reports all mistakes at once, each with its place and the allowed values, never a secret."""

from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, mistakes, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from connector.config import ClientCredentials, Lookup, Protect, ProtectAll, SendHours, Survey
from connector.config.file import ConfigError, load
from connector.limits import Window
from connector.templates import RenderError, Template

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRON = {
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "SF_LOGIN_URL": "https://acme.my.salesforce.com",
    "SF_CLIENT_ID": "an-id",
    "SF_CLIENT_SECRET": "hunter2-salesforce",
    "PISANO_APP_ID": "another-id",
    "PISANO_APP_SECRET": "hunter2-pisano",
    "PISANO_WEBHOOK_SECRET": "hunter2-webhook-secret",
}


@pytest.mark.parametrize("name", ["closed-case.yaml", "retail-visits.yaml", "store-visit.yaml"])
def test_the_examples_run_as_they_stand(name: str) -> None:
    config = load(EXAMPLES / name, ENVIRON)
    assert config.salesforce.pubsub.endpoint == "api.pubsub.salesforce.com:7443"
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("section", [Protect, ProtectAll, Lookup, Survey])
def test_each_setting_of_a_survey_is_in_an_example(section: type[BaseModel]) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in EXAMPLES.glob("*.yaml"))
    assert [name for name in section.model_fields if f"{name}:" not in text] == []


def test_the_example_means_what_it_says() -> None:
    config = load(
        EXAMPLES / "closed-case.yaml", {**ENVIRON, "SF_PUBSUB_ENDPOINT": "127.0.0.1:7", "SF_PUBSUB_TLS": "false"}
    )
    auth = config.salesforce.auth
    assert isinstance(auth, ClientCredentials)
    assert auth.client_secret.get_secret_value() == "hunter2-salesforce"
    assert config.salesforce.pubsub.tls is False
    assert config.pisano["main"].limits == (Window(20, 5.0), Window(40, 25.0), Window(80, 125.0), Window(160, 625.0))
    assert config.surveys["closed-case"].lookup["contact"].id == Template("{{ record.ContactId }}")
    assert config.service.port == 8080
    assert config.feedback["detractor"].object == "Case"


def test_many_mistakes_are_reported_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = """\
kafka: {bootstrap_servers: "localhost"}
salesforce:
  login_url: http://acme.my.salesforce.com
  auth: {method: client_credentials, client_id: id, client_secrt: hunter2}
  channels: [/data/CaseChangeEvent, CaseChangeEvent]
pisano:
  main:
    base_url: https://api.pisano.co
    auth: {method: static_tokn, token: hunter2}
    limits: [20/5s, 10/25s]
    webhook: {path: /metrics, secret: hunter2}
    timeout: soon
surveys:
  Closed Case:
    on: Case
    when: record.Status = "Closed"
    account: main
    campaign: "4711"
    email: "{{ contact.Emial }}"
    lookup:
      contact: {object: Contact, id: "{{ record.ContactId }} {{ owner.Id }}", fields: [Email]}
      record: {object: Contact, id: x, fields: [Email]}
    custom_attributes:
      name: >
        {{ contact
      visits: [1]
    delay: later
  visit:
    on: Store_Visit__c
    account: mian
    email: "{{ record.Owner.Name | upcse }}"
    when: changed.Status
feedback:
  detractor:
    update: Case
    by: {Id: "{{ body }}"}
    fields: {Status: "{{ feedbak.id }}", Priority: null}
"""
    assert mistakes(tmp_path, text) == [
        'c:1:9: kafka.bootstrap_servers: brokers are written host:port,host:port (it says "localhost")',
        "c:3:3: salesforce.login_url: http:// is allowed for loopback addresses only; use https:// (it says "
        '"http://acme.my.salesforce.com")',
        "c:4:3: salesforce.auth.client_secret: this key is missing",
        "c:4:53: salesforce.auth.client_secrt: this key is not known; did you mean client_secret?",
        "c:5:37: salesforce.channels[1]: a channel is /data/CaseChangeEvent, /data/Store__ChangeEvent, "
        '/data/Name__chn, /data/ChangeEvents or /event/Name__e (it says "CaseChangeEvent")',
        "c:9:12: pisano.main.auth.method: allowed is 'authorized_app', 'static_token' (it says \"static_tokn\")",
        "c:10:21: pisano.main.limits[1]: limits grow: 10/25s is not longer and larger than 20/5s before it (it "
        'says "10/25s")',
        "c:11:15: pisano.main.webhook.path: /metrics belongs to the service's own pages; choose another (it says "
        '"/metrics")',
        "c:11:31: pisano.main.webhook.secret: a webhook secret has at least 16 characters: anyone who knows "
        "it can write into Salesforce (it says …)",
        'c:12:5: pisano.main.timeout: a duration is a number with a unit: 30s, 15m, 2h or 30d (it says "soon")',
        "c:14:3: surveys.Closed Case: a name is up to 63 of a-z, 0-9, _ and -",
        "c:16:25: surveys.Closed Case.when: equality is written == (expected end of expression, found '=') (it "
        'says "record.Status = \\"Closed\\"")',
        'c:19:16: surveys.Closed Case.email: contact has no Emial; did you mean Email? (it says "{{ contact.Emial }}")',
        "c:21:65: surveys.Closed Case.lookup.contact.id: there is no owner here; there is changed, event, "
        'nulled, record (it says "{{ record.ContactId }} {{ owner.Id }}")',
        "c:22:7: surveys.Closed Case.lookup.record: record means something else in templates; choose another name",
        "c:24:13: surveys.Closed Case.custom_attributes.name: the {{ is not closed by }} (expected '}}', found "
        'end of file), at line 1, column 1 of the template (it says "{{ contact\\n")',
        "c:26:7: surveys.Closed Case.custom_attributes.visits: a template is a text, a number, true or false",
        'c:27:5: surveys.Closed Case.delay: a duration is a number with a unit: 30s, 15m, 2h or 30d (it says "later")',
        "c:28:3: surveys.visit.campaign: this key is missing",
        "c:29:5: surveys.visit.on: no channel brings Store_Visit__c: add /data/Store_Visit__ChangeEvent or "
        '/data/ChangeEvents to salesforce.channels (it says "Store_Visit__c")',
        'c:30:5: surveys.visit.account: there is no account mian under pisano; did you mean main? (it says "mian")',
        'c:31:36: surveys.visit.email: there is no filter upcse; did you mean upcase? (it says "{{ '
        'record.Owner.Name | upcse }}")',
        'c:32:11: surveys.visit.when: changed is a list of field names: write changed contains "Status" (it says '
        '"changed.Status")',
        "c:36:18: feedback.detractor.by.Id: body is not a value but holds values: name one, such as body.Id (it "
        'says "{{ body }}")',
        "c:37:26: feedback.detractor.fields.Status: there is no feedbak here; did you mean feedback? (it says "
        '"{{ feedbak.id }}")',
        "c:37:42: feedback.detractor.fields.Priority: there is no value here; write one, or leave the key out (it says "
        '"null")',
    ]


def test_what_comes_from_the_environment_or_a_file_is_filled_in_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hunter2\r\n")
    text = MINIMAL.replace("client_secret: hunter2", 'client_secret: "${file:key}"')
    text += '    custom_attributes: {name: "$${a}-${N:-4711}"}\n'
    config = read(tmp_path, text)
    auth = config.salesforce.auth
    assert isinstance(auth, ClientCredentials)
    assert auth.client_secret.get_secret_value() == "hunter2"
    assert config.surveys["closed-case"].custom_attributes == {"name": Template("${a}-4711")}

    text = MINIMAL.replace("https://acme.my.salesforce.com", "${URL}").replace("[/data/CaseChangeEvent]", '["${X}"]')
    text = text.replace("token: hunter2", 'token: "${file:nowhere}"').replace('"4711"', "${not this}")
    assert mistakes(tmp_path, text, {"URL": "ftp://hunter2"}) == [
        "c:3:3: salesforce.login_url: an address starts with https:// and names a host, without query or fragment "
        '(it says "${URL}")',
        'c:5:14: salesforce.channels[0]: the environment variable X is not set (it says "${X}")',
        "c:9:41: pisano.main.auth.token: ${file:nowhere} cannot be read: No such file or directory (it says …)",
        "c:15:15: surveys.closed-case.campaign: a ${…} here is not understood: write ${NAME}, ${NAME:-default} or "
        '${file:PATH} (it says "${not this}")',
    ]


def test_a_custom_channel_may_bring_any_object(tmp_path: Path) -> None:
    assert read(tmp_path, MINIMAL.replace("/data/CaseChangeEvent", "/data/Ours__chn"))


def test_feedback_needs_a_webhook_and_webhooks_a_path_each(tmp_path: Path) -> None:
    rules = "feedback: {a: {upsert: A__c, by: {K__c: '{{ feedback.id }}'}, fields: {X__c: '{{ body.a.b }}'}}}\n"
    assert read(tmp_path, MINIMAL + rules).feedback["a"].key_field == "K__c"
    hook = "    webhook: {path: /pisano/main, secret: hunter2hunter2hunter2}\n"
    assert mistakes(tmp_path, MINIMAL.replace(hook, "") + rules) == [
        "c:16:1: feedback: no account under pisano has a webhook, so no feedback can arrive"
    ]
    account = "  b:\n    base_url: https://b.example\n    auth: {method: static_token, token: x}\n" + hook
    assert mistakes(tmp_path, MINIMAL.replace("surveys:\n", account + "surveys:\n")) == [
        "c:14:15: pisano.b.webhook.path: /pisano/main belongs to the account main; choose another "
        '(it says "/pisano/main")'
    ]


def test_plain_scalars_lose_nothing(tmp_path: Path) -> None:
    extra = "    built_in_responses: {a: 007, b: 5, c: no, d: true, e: 12:30, f: 1e3, g: '5', h: 2026-01-01, i: 1.5}\n"
    rendered = {
        k: t.render({}) for k, t in read(tmp_path, MINIMAL + extra).surveys["closed-case"].built_in_responses.items()
    }
    assert rendered == {
        "a": "007", "b": 5, "c": "no", "d": True, "e": "12:30", "f": "1e3", "g": "5", "h": "2026-01-01", "i": 1.5,
    }  # fmt: skip


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = MINIMAL.replace("closed-case:", "closed-case: &base") + "  other:\n    <<: *base\n    campaign: 4712\n"
    assert read(tmp_path, text).surveys["other"].campaign == "4712"
    assert read(tmp_path, text).surveys["other"].on == "Case"


def test_protection_is_read(tmp_path: Path) -> None:
    protect = 'protect: {sample: 25%, once_per: 30d, send_between: "Mon-Fri 09:00-18:30 Europe/Istanbul"}'
    survey = read(tmp_path, MINIMAL + f"    delay: 2h\n    {protect}\n").surveys["closed-case"]
    assert (survey.delay, str(survey.protect.once_per), survey.protect.sample) == (7200, "30d", 0.25)
    assert survey.protect.send_between == SendHours(540, 1110, "Europe/Istanbul", frozenset(range(5)))
    assert str(survey.protect.send_between) == "Mon,Tue,Wed,Thu,Fri 09:00-18:30 Europe/Istanbul"


EXAMPLE = (EXAMPLES / "closed-case.yaml").read_text(encoding="utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(data=st.data())
def test_any_damage_to_a_file_is_a_config_error_or_none(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EXAMPLE)))
    end = data.draw(st.integers(start, min(start + 200, len(EXAMPLE))))
    scrap = data.draw(
        st.text(alphabet="{}[]&*!|>'\"%@`#:-?,~<= \n\tab0${}", max_size=12) | st.sampled_from(EXAMPLE.split())
    )
    try:
        read(tmp_path, EXAMPLE[:start] + scrap + EXAMPLE[end:], ENVIRON)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - most damage is an error, but some is not
        assert "hunter2" not in str(error)  # noqa: PT017


def test_an_error_at_run_time_says_where_the_template_stands_and_hides_the_value(tmp_path: Path) -> None:
    mapping = '    built_in_responses: {visits: "{{ record.Visits__c | plus: record.More__c }}"}\n'
    survey = read(tmp_path, MINIMAL + mapping).surveys["closed-case"]
    with pytest.raises(RenderError) as raised:
        survey.built_in_responses["visits"].render({"record": {"Visits__c": 1, "More__c": {"private": "words"}}})
    said = str(raised.value)
    line = MINIMAL.count("\n") + 1
    assert f"(line {line}, column 26) cannot be rendered" in said
    assert "record.Visits__c is a number; record.More__c is a mapping" in said
    with pytest.raises(RenderError, match=r"record.Visits__c is a text p\*\*\* \(13 characters\)") as raised:
        survey.built_in_responses["visits"].render({"record": {"Visits__c": "private words", "More__c": []}})
    assert "private words" not in str(raised.value)
