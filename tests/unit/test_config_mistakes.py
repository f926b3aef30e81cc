"""Each mistake in a configuration gives one plain message with its place, never a traceback or a secret."""

from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, mistakes, read

from connector.config.file import ConfigError, load


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("on: Case", "on: Case\n    on: Lead", "c:14:5: surveys.closed-case.on: this key is already at line 13"),
        ("campaign:", "campain:", "did you mean campaign?"),
        ("token: hunter2}", "token: [hunter2]}", "a text is wanted here"),
        ("auth: {method: static_token, token: hunter2}", "auth: hunter2", "a mapping (key: value) is wanted here"),
        ("client_secret: hunter2", "client_secret: *hunter2", "c:4:68: this is not YAML"),
        ("client_secret: hunter2", "client_secret: @hunter2", "c:4:68: this is not YAML"),
        ("client_secret: hunter2", "client_secret: !hunter2 x", "tags (!) have no meaning here"),
        (
            "https://api.pisano.co",
            "https://api.pisano.co/v1/",
            "pisano.main.base_url: write it without /v1, which every",
        ),
        (
            "method: client_credentials, client_id: id, client_secret: hunter2",
            "method: jwt_bearer, client_id: app, username: u, private_key: hunter2",
            "auth.private_key: this is not an RSA private key in PEM form without a passphrase (it says …)",
        ),
        (
            'bootstrap_servers: "localhost:9092"',
            'bootstrap_servers: "localhost:9092", sasl_username: u, sasl_password: hunter2',
            "kafka: PLAINTEXT does not use sasl_username, sasl_password; set security_protocol",
        ),
        ("https://api.pisano.co", "https://me:hunter2@api.pisano.co", 'it says "https://…@api.pisano.co"'),
        (
            "hunter2hunter2hunter2",
            "hunter2",
            "at least 16 characters: anyone who knows it can write into Salesforce (it says …)",
        ),
        ("secret: hunter2hunter2hunter2", "secret: ${S}", "inside { } and [ ] put a ${…} in quotes"),
        ("account: main", "account: &a [*a]", "expands without end"),
        ("/data/CaseChangeEvent", "/data/LeadChangeEvent", "no channel brings Case: add /data/CaseChangeEvent or"),
        ("on: Case", "on: Store_Visit__e", "no channel brings Store_Visit__e: add /event/Store_Visit__e to"),
        ("on: Case", "on: Store__c", "no channel brings Store__c: add /data/Store__ChangeEvent or /data/ChangeEvents"),
        ("account: main", "account: mian", "there is no account mian under pisano; did you mean main?"),
        ("record.Supp", "rec.Supp", "c:16:16: surveys.closed-case.email: there is no rec here; did you mean record?"),
        ("record.SuppliedEmail", "record.Owner['x y']", "record.Owner.x y does not name a field"),
        ("record.SuppliedEmail", "changed.Status", 'write changed contains "Status"'),
        ("record.SuppliedEmail", "event.idd", "event has no idd; did you mean id?"),
        ("record.SuppliedEmail", "record", "name one, such as record.Id"),
        ("record.SuppliedEmail", "now", "there is no now here"),
        *[
            (
                "    account: main",
                f"    account: main\n    lookup: {{c: {{object: Contact, {how}}}}}\n    when: c.{field}",
                message,
            )
            for how, field, message in (
                ("fields: [Id]", "Id", "surveys.closed-case.lookup.c: name exactly one of id and by"),
                ("id: x, by: {Email: x}, fields: [Id]", "Id", "name exactly one of id and by"),
                ("by: {Id: x}, fields: [Id]", "Id", "by an Id is written id: …"),
                ("id: x, where: {A__c: 1}, fields: [Id]", "Id", "where needs by; an Id names one record"),
                ("by: {A__c: x}, order_by: newest first, fields: [Id]", "Id", "an order is a field, perhaps with asc"),
                ("by: {A__c: '{{ c.Id }}'}, fields: [Id]", "Id", "lookup.c.by.A__c: there is no c here"),
                ("id: x, fields: [Account.Name]", "Name", "c has no Name; there is Account.Name"),
                ("id: x, fields: [Account.Name]", "Account.Nam", "c has no Account.Nam; did you mean Account.Name?"),
                ("id: x, fields: [Account.Name]", "Account", "name one, such as c.Account.Name"),
                ("id: x, fields: [Account..Name]", "Id", "a path of them such as Account.Parent.Name"),
            )
        ],
        # What is a text, and was meant as a value
        *[
            ("on: Case", f"on: Case\n    {setting}", f'this is the text {name} for every record; for its value write "')
            for setting, name in (
                ("protect: {opted_out: record.Opted_Out__c}", "record.Opted_Out__c"),
                ("lookup: {c: {object: Contact, id: record.ContactId, fields: [Id]}}", "record.ContactId"),
                ("lookup: {c: {object: Contact, id: x, fields: [Id]}}\n    protect: {contact: c.Id}", "c.Id"),
                ("built_in_responses: {origin: record.Owner.Name}", "record.Owner.Name"),
            )
        ],
        ("on: Case", "on: Case\n    protect: {opted_out: ''}", "protect.opted_out: this is empty"),
        ("on: Case", "on: Case\n    protect: {contact: ' '}", "protect.contact: this is empty"),
        (
            "on: Case",
            "on: Case\n    protect: {send_between: 09:00-18:00 UTC, zone: Europe/Istambul}",
            "surveys.closed-case.protect.zone: there is no time zone 'Europe/Istambul'",
        ),
        ("    webhook:", "    phones: {region: UK}\n    webhook:", "phones.region: a country is written with two"),
        ("/pisano/main", "/healthz", "/healthz belongs to the service's own pages; choose another"),
        (
            "    webhook:",
            "    limits: [20/5s, 10/25s]\n    webhook:",
            "limits grow: 10/25s is not longer and larger than 20/5s",
        ),
        # How YAML reads values
        ("on: Case", "on: true", "c:13:5: surveys.closed-case.on: a text is wanted here"),
        ("on: Case", "on: case", "no channel brings case: /data/CaseChangeEvent spells it differently"),
        ("on: Case", "ON: Case", "surveys.closed-case.ON: this key is not known; did you mean on?"),
        ("    on: Case", "\ton: Case", "c:13:1: this is not YAML: while scanning for the next token, found character"),
        ("    on: Case", "\ton: Case", "indent lines with spaces, not with tabs"),
        ("on: Case", "on: Case\n    when:", "c:14:5: surveys.closed-case.when: there is no value here"),
        (
            "on: Case",
            "on: Case\n    protect: {opted_out: }",
            "c:14:15: surveys.closed-case.protect.opted_out: there is",
        ),
        (
            '"{{ record.SuppliedEmail }}"',
            "{{ record.SuppliedEmail }}",
            'a key is a text; put a template in quotes: "{{ … }}"',
        ),
        ("kafka: {", "kafka: !!python/object/apply:os.system {", "tags (!) have no meaning here"),
        # Shapes
        ('"4711"', '"{{ record.Campaign__c }}"', "a campaign is its id in Pisano: letters, digits, - and _"),
        ('"4711"', '""', "a campaign is its id in Pisano"),
        ("localhost:9092", "localhost:99999", "brokers are written host:port,host:port"),
        (
            "localhost:9092",
            "me:hunter2@localhost:9092",
            'brokers are written host:port,host:port (it says "…@localhost:9092")',
        ),
        (
            '"}\n',
            '", replication_factor: -2}\n',
            "kafka.replication_factor: input should be greater than or equal to -1",
        ),
        ("https://acme.my.salesforce.com", '"https://acme.my.salesforce.com\\n"', "an address starts with https://"),
        ("https://acme.my.salesforce.com", "https://acme.my.salesforce.com:70000", "an address starts with https://"),
        ("https://acme.my.salesforce.com", "https://a.example?secret=hunter2", 'it says "https://a.example?…"'),
        ("https://acme.my.salesforce.com", "https://me:hun/hunter2@a.example", 'it says "https://…@a.example"'),
        (
            "https://acme.my.salesforce.com",
            "http://127.0.0.1.example.com",
            "http:// is allowed for loopback addresses only",
        ),
        ("client_secret: hunter2", "client_secret: ''", "salesforce.auth.client_secret: this is empty"),
        ("client_id: id", 'client_id: "${EMPTY:-}"', "salesforce.auth.client_id: this is empty"),
        ("token: hunter2", 'token: "hunter2\\n"', "pisano.main.auth.token: this travels in a header"),
        ("token: hunter2", "token: hunter2ğ", "pisano.main.auth.token: this travels in a header"),
        (
            "secret: hunter2hunter2hunter2",
            "secret: hunter2 hunter2 hunter2",
            "pisano.main.webhook.secret: this travels in a",
        ),
        ("hunter2hunter2hunter2", "hunter2/hunter2/hunter2, secret_in: path", "a secret in the path is made of a-z"),
        ("/pisano/main, ", "/pisano/main, header: X Secret, ", "a header's name is letters, digits, - and _"),
        (
            "/pisano/main, ",
            "/pisano/main, max_bytes: 2000000, ",
            "max_bytes: input should be less than or equal to 524288",
        ),
        (
            "    webhook:",
            "    retry_statuses: [200]\n    webhook:",
            "retry_statuses[0]: input should be greater than or equal",
        ),
        ("    webhook:", "    limits: [20]\n    webhook:", "pisano.main.limits[0]: a limit is calls per time"),
        ("    webhook:", "    limit_reserved: 100%\n    webhook:", "limit_reserved: input should be less than 1"),
        (
            "    webhook:",
            "    max_recipients_per_call: true\n    webhook:",
            "max_recipients_per_call: a number is wanted",
        ),
        ("    webhook:", "    timeout: true\n    webhook:", "pisano.main.timeout: a number is wanted here"),
        (
            "    webhook:",
            "    timeout: 99999999d\n    webhook:",
            "timeout: input should be less than or equal to 316224000",
        ),
        ("  channels:", "  calls_per_second: inf\n  channels:", "calls_per_second: input should be a finite number"),
        ('"{{ record.SuppliedEmail }}"', "''", "surveys.closed-case.email: this is empty; a template is wanted here"),
        (
            "account: main",
            "account: main\n    protect: {send_between: 09:00-18:00 Europe/Istambul}",
            "there is no time zone 'Europe/Istambul'; write an IANA name such as Europe/Istanbul",
        ),
        (
            "account: main",
            "account: main\n    protect: {once_per: 500d}",
            "c:15:15: surveys.closed-case.protect.once_per: pisano.attempts is kept for 400 days only; set kafka",
        ),
        (
            "account: main",
            "account: main\n    protect: {once_per: 60d, counts: answers}",
            "protect.once_per: pisano.feedback is kept for 30 days only; set kafka.topics.pisano.feedback.retention",
        ),
        ("account: main", "account: main\n    protect: {once_per: month}", "a duration is a number with a unit"),
        ("account: main", "account: main\n    protect: {once_per: '{{ recrod.X__c }}'}", "there is no recrod here"),
        ("account: main", "account: main\n    protect: {cap: {by: x, per_day: many}}", "a whole number of at least 0"),
        ("account: main", "account: main\n    protect: {holidays: [2026-12-25]}", "parts of `send_between`, which is"),
        (
            "account: main",
            "account: main\n    protect: {send_between: 09:00-18:00 UTC, holidays: [25.12.2026]}",
            "holidays are a list of dates such as 2026-12-25, or an iCalendar file: ${file:holidays.ics}",
        ),
        (
            "account: main",
            "account: main\n    protect: {send_between: 18:00-09:00 UTC}",
            "they end after they start, at 24:00 at the latest",
        ),
        (
            "account: main",
            "account: main\n    protect: {send_between: Mo-Fr 09:00-18:00 UTC}",
            "weekdays are written",
        ),
        (
            "account: main",
            "account: main\n    delay: 3d\n    protect: {max_age: 2d}",
            "`protect.max_age` is not longer than `delay`, so nothing would ever be sent",
        ),
        (
            "account: main",
            "account: main\n    protect: {expires_after: 0s}",
            "surveys.closed-case.protect.expires_after: with 0s every invitation would expire before its call",
        ),
        ("account: main", "account: main\n    delay: 90d", "surveys.closed-case.delay: input should be less than or"),
        (
            "surveys:",
            "feedback: {r: {upsert: A__c, by: {K__c: x}, fields: {B__c: y}}}\nsurveys:",
            "feedback.r: K__c names no variable: every answer would go to the same record",
        ),
        (
            "surveys:",
            "feedback: {r: {update: Case, by: {Id: '{{ body.x }}'}, fields: {Id: y}}}\nsurveys:",
            "feedback.r: Id is what the record is found by; it cannot be among its fields too",
        ),
        (
            "surveys:",
            "feedback: {r: {upsert: A, by: {K__c: '{{ body.x }}'}, fields: {k__C: y}}}\nsurveys:",
            "feedback.r: K__c is what the record is found by; it cannot be among its fields too",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B__c: y, b__c: z}}}\nsurveys:",
            "feedback.r: B__c and b__c are one field of Salesforce; name it once",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B: {value: '{{ bdy.x }}'}}}}\nsurveys:",
            "feedback.r.fields.B.value: there is no bdy here; did you mean body?",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B: '{{ body.x'}}}\nsurveys:",
            "feedback.r.fields.B: the {{ is not closed by }}",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B: {value: y, when_emty: clear}}}}\nsurveys:",
            "feedback.r.fields.B.when_emty: this key is not known; did you mean when_empty?",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B: {does_not_fit: cut}}}}\nsurveys:",
            "feedback.r.fields.B.value: this key is missing",
        ),
        (
            "surveys:",
            "feedback: {r: {update: A, by: {Id: '{{ body.x }}'}, fields: {B: y}, does_not_fit: drop}}\nsurveys:",
            "feedback.r.does_not_fit: allowed is 'leave_out', 'cut' or 'refuse'",
        ),
        (
            "    auth: {",
            "    answers: {refused_when: answer.text contains 'no'}\n    auth: {",
            "pisano.main.answers.refused_when: answer has no text; there is body, headers, status",
        ),
        (
            "    auth: {",
            "    answers: {results: {path: rejected, refused_when: answer.body == 1}}\n    auth: {",
            "pisano.main.answers.results.refused_when: there is no answer here; there is result",
        ),
        (
            "    auth: {",
            "    answers: {results: {path: a b}}\n    auth: {",
            "pisano.main.answers.results.path: a path is keys and places in lists",
        ),
        *(
            (
                "    auth: {",
                f"    answers: {{results: {{path: {path}, address: {address}}}}}\n    auth: {{",
                f"pisano.main.answers.results.{key}: a path is keys and places in lists",
            )
            for path, address, key in [
                ("$.rejected", "email", "path"),
                ("'rejected[0]'", "email", "path"),
                ("/rejected", "email", "path"),
                ("a..b", "email", "path"),
                ("a", "'.'", "address"),
                ("a", "'user[0]'", "address"),
            ]
        ),
        (
            "    auth: {",
            "    answers: {sent_when: 'answer.status == \"200\"'}\n    auth: {",
            "cannot be decided: it compares a number with a text",
        ),
        (
            "    auth: {",
            "    answers: {results: {path: a, refused_when: '1 == \"1\"'}}\n    auth: {",
            "cannot be decided: it compares a number with a text",
        ),
        # Templates
        (
            "record.Supp",
            "recrod.Supp",
            "c:16:16: surveys.closed-case.email: there is no recrod here; did you mean record?",
        ),
        (
            "record.SuppliedEmail",
            "(1..9) | join",
            "c:16:16: surveys.closed-case.email: a range such as (1..9) is for loops",
        ),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    assert any(message in line for line in mistakes(tmp_path, MINIMAL.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("account: main", "account: ${S}"),
        ("on: Case", "on: ${S}"),
        ('email: "{{ record.SuppliedEmail }}"', 'email: "{{ 1 | ${S} }}"'),
        ('email: "{{ record.SuppliedEmail }}"', 'email: "{{ ${S} }}"'),
        ("/pisano/main", '"${S}"'),
        ("    webhook:", '    limits: ["${S}"]\n    webhook:'),
        ("[/data/CaseChangeEvent]", '["${S}"]'),
        (
            "    account: main",
            '    account: main\n    protect: {send_between: "${S}", sample: "${S}", once_per: "${S}"}',
        ),
    ],
)
def test_what_came_from_the_environment_is_in_no_message(tmp_path: Path, old: str, new: str) -> None:
    lines = mistakes(tmp_path, MINIMAL.replace(old, new), {"S": "hunter2"})
    assert any("${S}" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xff\xfe", "the file is not a text in UTF-8"),
        (b"a: b: c", "this is not YAML"),
        (b"[" * 5000, "this is nested too deeply"),
        (b"- a", "a mapping (key: value) is wanted here"),
        (b"a: \x00", "a character that YAML does not allow"),
        (b"? [a]\n: b", "a key is a text"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_clear_problem(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        load(file, {})


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read: No such file or directory"):
        load(tmp_path / "c.yaml", {})


def test_one_mistake_is_one_message(tmp_path: Path) -> None:
    """A bad item in a list gives no second message for the list, and a null none for the missing value."""
    damaged = MINIMAL.replace("    webhook:", "    limits: [20/5]\n    webhook:").replace("account: main", "account:")
    assert [line.split(":")[3] for line in mistakes(tmp_path, damaged)] == [
        " pisano.main.limits[0]",
        " surveys.closed-case.account",
    ]


def test_a_campaign_is_a_text_however_it_is_written(tmp_path: Path) -> None:
    for written in ("4711", '"4711"', "'4711'"):
        assert read(tmp_path, MINIMAL.replace('"4711"', written)).surveys["closed-case"].campaign == "4711"
    assert read(tmp_path, MINIMAL.replace('"4711"', "0471")).surveys["closed-case"].campaign == "0471"


def test_a_long_value_is_cut_and_looked_through_quickly(tmp_path: Path) -> None:
    (line, *_) = mistakes(tmp_path, MINIMAL.replace("localhost:9092", "x" * 300_000))
    assert len(line) < 200
