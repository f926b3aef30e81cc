"""`connector check` prints the plan in words, or one clear message with exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ended
from helpers.config_files import MINIMAL, read

from connector.cli import main
from connector.surveys.plan import plan

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SF_CLIENT_ID", "SF_CLIENT_SECRET", "PISANO_APP_ID", "PISANO_APP_SECRET", "PISANO_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "hunter2-hunter2-hunter2")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    monkeypatch.setenv("SF_LOGIN_URL", "https://acme.my.salesforce.com")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["connector", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.usefixtures("_environment")
def test_the_plan_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "check", str(EXAMPLES / "closed-case.yaml")) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Survey closed-case\n"
        '  When a Case changes and changed contains "Status" and record.Status == "Closed" and '
        'event.origin contains "DataLoader" == false and record.CreatedDate > "2025-01-01",\n'
        "  invite {{ contact.Email }} to campaign 4711 of account main.\n"
        "  Uses these fields of the Case, read from Salesforce if the event lacks them: "
        "Branch__c, ContactId, CreatedDate, Id, OwnerId and Status.\n"
        "  contact is the Contact with the Id {{ record.ContactId }}; "
        "read from it: Id, Name, Email and HasOptedOutOfEmail.\n"
    )
    assert "who opted out ({{ contact.HasOptedOutOfEmail }})" in printed
    assert "  Due 2 hours after the change.\n  The same person is invited once in 30d, counted from" in printed
    assert "  Sent between 09:00-18:00 Europe/Istanbul.\n  When more than 500/3600s are due," in printed
    assert "so at most 22,118 a day, of up to 50 invitations each." in printed
    assert (
        "Answers are expected at /pisano/main on 127.0.0.1:8080, the secret in the header X-Webhook-Secret." in printed
    )
    assert "  update the Case whose Id is {{ body.sf_ref_id }}:\n    Status = Reopened\n" in printed
    assert "An empty value leaves its field as it is. A value that its field does not take is left out." in printed
    assert printed.endswith("Kafka at localhost:9092\n  Topics are named like pisano.invitations.\n")
    assert "hunter2" not in printed


@pytest.mark.parametrize("share", ["0.4%", "2.5%", "7%", "33.3%", "99.6%", "99.9999%"])
def test_a_sample_is_told_as_it_is_written(
    share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(MINIMAL.replace("    account: main\n", f"    account: main\n    protect: {{sample: {share}}}\n"))
    assert run(monkeypatch, "check", str(file)) == 0
    assert f"\n  {share} of the persons are invited.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("survey", "told"),
    [
        ("channel: link", None),
        ('channel: link, protect: {opted_out: "{{ record.Out__c }}"}', "customers who opted out ({{ record.Out__c }})"),
        ('channel: link, email: "{{ record.SuppliedEmail }}"', "customers whose address is not valid"),
        ('email: "{{ record.SuppliedEmail }}"', "customers without a valid address"),
        (
            'email: "{{ record.SuppliedEmail }}", protect: {opted_out: "{{ record.Out__c }}"}',
            "customers without a valid address, and customers who opted out ({{ record.Out__c }})",
        ),
    ],
)
def test_who_is_not_invited_fits_the_channel(survey: str, told: str | None, tmp_path: Path) -> None:
    """A link needs no address, and one that is given must be valid."""
    above, _, _ = MINIMAL.partition("  closed-case:\n")
    rule = '{of: link, update: Case, by: {Id: "{{ body.record_id }}"}, fields: {Link__c: "{{ body.link }}"}}'
    survey = f"  closed-case: {{on: Case, account: main, campaign: 1, {survey}}}\n"
    lines = plan(read(tmp_path, f"{above}{survey}feedback: {{link: {rule}}}\n"))
    said = [line.strip() for line in lines if "Not invited" in line]
    assert said == ([f"Not invited, with the reason recorded: {told}."] if told else [])


def test_a_mistake_is_one_clear_message_and_exit_code_2(tmp_path: Path) -> None:
    file = tmp_path / "[red]c.yaml"
    file.write_text("surveys: {a: {email: '[bold]{{'}}\n")
    done = ended({}, "check", str(file))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"connector: {file}:1:1: ")
    assert "surveys.a.email: the {{ is not closed by }}" in done.stderr
    assert '(it says "[bold]{{")' in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, connector.cli\n"
        "print([name for name in ('pydantic', 'liquid', 'faust', 'grpc', 'aiohttp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"
