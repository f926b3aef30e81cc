"""A condition that always holds, or never does, is told when the file is read. Others are not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import ended
from helpers.config_files import MINIMAL, read
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config.file import load
from connector.templates import Condition, RenderError

EXAMPLES = Path(__file__).parents[2] / "examples"
RULE = """
feedback:
  answer:
    when: {when}
    update: Case
    by: {{Id: "{{{{ body.sf_ref_id }}}}"}}
    fields: {{Status: Reopened}}
"""


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "1 == 1",
        'body.country != "TR" or body.country != "DE"',
        "body.score < 5 or body.score >= 3 or body.score == nil",
        "body.a == blank or body.a != blank",
        '"body.score" != blank',
    ],
)
def test_what_always_holds(condition: str) -> None:
    assert Condition(condition).verdict() is True


@pytest.mark.parametrize(
    "condition",
    [
        "1 == 2",
        '"record.Status" == "Closed"',
        'record.Status == "Closed" and record.Status == "Open"',
        "body.score < 3 and body.score > 5",
        'body.score < 3 and body.score > "5"',
        "body.score == nil and body.score > 5",
        'changed contains "Status" and record.Status == "Closed" and record.Status == blank',
    ],
)
def test_what_never_holds(condition: str) -> None:
    assert Condition(condition).verdict() is False


@pytest.mark.parametrize(
    "condition",
    [
        "record.A",
        "record.A and record.A == true",
        "record.A == record.B",
        "body.a > 4 and body.a < 5",
        'body.a > "a" and body.a < "b"',
        'body.a contains "x" and body.a contains "y" and body.a contains "z" == false',
        'body.a contains "a" and body.a < "a"',
        "body.a.size > 3 and body.a == nil",
        'body.a == nil and body.a.b == "x"',
        'body[body.a] == "x"',
        " and ".join(f'body.a{number} != "x"' for number in range(20)),
        'changed contains "Status" and record.Status == "Closed" and event.origin contains "DataLoader" == false',
    ],
)
def test_what_depends_or_cannot_be_told(condition: str) -> None:
    assert Condition(condition).verdict() is None


VALUES = st.sampled_from(
    [None, True, False, 0, 1, 1.5, 2, 3, "", "a", "aa", "ab", "b", "ba", "c", (), ("a",), ("a", "b")]
)
LITERALS = st.sampled_from(["nil", "blank", "true", "false", "1", "2", '"a"', '"b"', '"ab"'])
COMPARISONS = st.tuples(
    st.sampled_from(["x.a", "x.b", "y"]), st.sampled_from(["==", "!=", "<", ">", ">=", "contains"]), LITERALS
).map(" ".join) | st.sampled_from(["x.a", "y"])
CONDITIONS = st.lists(COMPARISONS, min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(st.sampled_from([" and ", " or "]), min_size=len(parts), max_size=len(parts)).map(
        lambda words: "".join(word + part for word, part in zip(words, parts, strict=True)).removeprefix(words[0])
    )
)


@settings(max_examples=150, deadline=None)
@given(CONDITIONS, st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=20, max_size=60))
def test_no_value_speaks_against_a_verdict(source: str, tried: list[tuple[Any, Any, Any]]) -> None:
    condition = Condition(source)
    verdict = condition.verdict()
    for one, two, three in tried if verdict is not None else []:
        try:
            assert condition.holds({"x": {"a": one, "b": two}, "y": three}) is verdict, (source, one, two, three)
        except RenderError:
            continue


def warnings(folder: Path, text: str) -> list[str]:
    said: list[str] = []
    read(folder, text, warn=said.append)
    return [warning.replace(str(folder / "c.yaml"), "c") for warning in said]


def test_the_place_and_the_part_are_named(tmp_path: Path) -> None:
    survey = '    when: changed contains "Status" and "record.Status" == "Closed" or record.IsClosed\n'
    assert warnings(tmp_path, MINIMAL + survey) == [
        'c:17:5: surveys.closed-case.when: the part "record.Status" == "Closed" never holds, whatever comes '
        r'(it says "changed contains \"Status\" and \"record.Status\" == \"Closed\" or record.IsClosed")'
    ]


@pytest.mark.parametrize(
    ("when", "verdict"),
    [
        ('event.change_type == "DELETE"', "never"),
        ('event.change_type == "CREATED" or event.change_type == "UPDATED"', "never"),
        ('event.change_type != "DELETE"', "always"),
        ('event.change_type == "CREATE"', None),
        ('record.Status == "Closed"', None),
    ],
)
def test_a_survey_sees_only_some_kinds_of_changes(tmp_path: Path, when: str, verdict: str | None) -> None:
    said = warnings(tmp_path, MINIMAL + f"    when: {when}\n")
    assert [f"this condition {verdict} holds" in warning for warning in said] == [True] * (verdict is not None)


@pytest.mark.parametrize(
    ("when", "verdict"),
    [
        ('body.score == "9"', "never"),
        ("body.score > 4 and body.score < 5", "never"),
        ("body.score > 8.5 and body.score < 9.5", None),
        ("body.score >= 9.0", None),
        ("body.score > 8.2 and body.score < 8.6", "never"),
        ("body.score == nil", None),
        ("body.ratio > 4 and body.ratio < 5", None),
        ("body.again == 1", "never"),
        ("body.again", None),
        ("body.branch == 5", "never"),
        ("body.other > 4 and body.other < 5", None),
        ('feedback.account == "mian"', "never"),
        ('feedback.account == "main"', None),
        ('body.country != "TR" or body.country != "DE"', "always"),
    ],
)
def test_a_rule_knows_the_types_of_the_body_and_the_accounts(tmp_path: Path, when: str, verdict: str | None) -> None:
    fields = "fields: {score: integer, ratio: number, again: boolean, branch: string}"
    text = MINIMAL.replace("hunter2hunter2hunter2}", f"hunter2hunter2hunter2, {fields}}}") + RULE.format(when=when)
    said = warnings(tmp_path, text)
    assert [f"feedback.answer.when: this condition {verdict} holds" in warning for warning in said] == (
        [True] if verdict else []
    )


def test_a_type_that_not_every_webhook_declares_is_no_type(tmp_path: Path) -> None:
    other = (
        "  other:\n    base_url: https://api.pisano.co\n    auth: {method: static_token, token: hunter2}\n"
        "    webhook: {path: /pisano/other, secret: hunter2hunter2hunter2}\nsurveys:\n"
    )
    text = MINIMAL.replace("hunter2hunter2hunter2}", "hunter2hunter2hunter2, fields: {score: integer}}")
    when = RULE.format(when='body.score == "9"')
    assert len(warnings(tmp_path, text + when)) == 1
    assert warnings(tmp_path, text.replace("surveys:\n", other) + when) == []


def test_what_pisanos_answers_mean_is_looked_at_too(tmp_path: Path) -> None:
    answers = """\
    answers:
      sent_when: answer.status == 200 or answer.status != 200
      refused_when: answer.status < 0 and answer.status > 500
      results: {path: a, refused_when: 'result.s == "a" and result.s == "b"'}
"""
    text = MINIMAL.replace("    webhook:", answers + "    webhook:")
    assert ["always" in warning for warning in warnings(tmp_path, text)] == [True, False, False]


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_no_example_is_warned_about(example: Path) -> None:
    names = ("SF_CLIENT_ID", "SF_CLIENT_SECRET", "PISANO_APP_ID", "PISANO_APP_SECRET", "PISANO_WEBHOOK_SECRET")
    environment = dict.fromkeys(names, "hunter2-hunter2-hunter2")
    environment |= {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092", "SF_LOGIN_URL": "https://acme.my.salesforce.com"}
    said: list[str] = []
    load(example, environment, warn=said.append)
    assert said == []


def test_check_warns_and_succeeds(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(MINIMAL + "    when: 1 == 2\n")
    done = ended({}, "check", str(file))
    said = f"connector: warning: {file}:17:5: surveys.closed-case.when: this condition never holds, whatever comes"
    assert (done.returncode, done.stderr) == (0, f'{said} (it says "1 == 2")\n')


def test_run_warns_at_its_start(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(MINIMAL + "    when: 1 == 2\n")
    code = (
        "import connector.wiring, connector.errors\n"
        "def app(*_, **__): raise connector.errors.Fatal('no Kafka here')\n"
        "connector.wiring.App = app\n"
        "from connector.cli import main\n"
        "main()"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "run", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    [line] = [line for line in (done.stdout + done.stderr).splitlines() if "hardly_meant" in line]
    assert "surveys.closed-case.when: this condition never holds" in line
    assert "warning" in line
