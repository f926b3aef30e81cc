"""What `connector acls` prints. tests/integration/test_guarded_stages.py proves that it is enough, and not more."""

from pathlib import Path

import pytest
import yaml
from helpers.service import EXAMPLE
from typer.testing import CliRunner

from connector import cli
from connector.config import Config, catalogue
from connector.config.file import load
from connector.errors import Fatal
from connector.kafka import acls
from connector.wiring import ALL_STAGES

ENVIRON = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "SF_LOGIN_URL": "https://acme.my.salesforce.com",
    "SF_CLIENT_ID": "id",
    "SF_CLIENT_SECRET": "secret",
    "PISANO_APP_ID": "id",
    "PISANO_APP_SECRET": "secret",
    "PISANO_WEBHOOK_SECRET": "made-up-webhook-secret",
}


def example(folder: Path, **sections: object) -> Config:
    content = yaml.safe_load(EXAMPLE.read_text())
    for survey in content["surveys"].values():
        survey["on"] = survey.pop(True)  # YAML 1.1 reads the key `on` as true
    content["kafka"]["topic_prefix"] = "px."
    content.update(sections)
    file = folder / "connector.yaml"
    file.write_text(yaml.safe_dump(content))
    return load(file, ENVIRON)


def operations(config: Config, who: str, name: str) -> set[str]:
    return {each for right in acls.rights(config, who) if right.name == name for each in right.operations}


def test_every_stage_has_its_rights() -> None:
    assert acls.WHO[:-2] == ALL_STAGES


def test_whoever_reads_a_topic_back_may_compare_its_retention(tmp_path: Path) -> None:
    config = example(tmp_path)
    for who in ALL_STAGES:
        for topic in catalogue.topics_for(config):
            found = operations(config, who, topic.name)
            assert ("DESCRIBE_CONFIGS" in found) == (topic.is_read_back and "READ" in found), (who, topic.name)


def test_send_has_the_rights_of_what_the_configuration_uses(tmp_path: Path) -> None:
    plain = example(tmp_path)
    assert operations(plain, "send", "px.pisano.feedback") == operations(plain, "send", "px.pisano.claims") == set()
    counts = example(tmp_path, protect={"once_per_any": "30d", "counts": "answers"})
    assert operations(counts, "send", "px.pisano.feedback") == {"READ"}


def test_the_lines_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    arguments = ["acls", str(tmp_path / "connector.yaml"), "--stage", "receive", "--principal", "User:CN=x, O=Acme"]
    ended = CliRunner().invoke(cli.app, arguments)
    assert ended.output == (
        "# receive\n"
        "kafka-acls.sh --bootstrap-server kafka:9092 --command-config admin.properties --add"
        " --allow-principal 'User:CN=x, O=Acme' --operation Write --topic px.pisano.feedback"
        " --topic px.connector.deadletters\n"
        "# where the service sends traces: kafka-acls.sh --bootstrap-server kafka:9092 --command-config"
        " admin.properties --add --allow-principal 'User:CN=x, O=Acme' --operation Read --topic px.pisano.invitations\n"
    )


def test_a_stage_is_not_held_for_a_right_that_only_traces_need(tmp_path: Path) -> None:
    config = example(tmp_path)
    assert operations(config, "receive", "px.pisano.invitations") == set()
    assert "px.pisano.invitations" not in acls.topic_names(config, ["receive"])


@pytest.mark.parametrize("options", [["--stage", "sender"], ["--principal", "connector"]])
def test_a_wrong_option_is_one_sentence(options: list[str]) -> None:
    assert isinstance(CliRunner().invoke(cli.app, ["acls", "none.yaml", *options]).exception, Fatal)
