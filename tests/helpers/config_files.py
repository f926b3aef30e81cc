"""A small configuration, and the mistakes that the connector finds in it after a test damages it."""

from pathlib import Path
from typing import Any

import pytest

from connector.config import Config
from connector.config.file import ConfigError, load

MINIMAL = """\
kafka: {bootstrap_servers: "localhost:9092"}
salesforce:
  login_url: https://acme.my.salesforce.com
  auth: {method: client_credentials, client_id: id, client_secret: hunter2}
  channels: [/data/CaseChangeEvent]
pisano:
  main:
    base_url: https://api.pisano.co
    auth: {method: static_token, token: hunter2}
    webhook: {path: /pisano/main, secret: hunter2hunter2hunter2}
surveys:
  closed-case:
    on: Case
    account: main
    campaign: "4711"
    email: "{{ record.SuppliedEmail }}"
"""


def read(folder: Path, text: str, environ: dict[str, str] | None = None, **options: Any) -> Config:
    file = folder / "c.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ or {}, **options)


def mistakes(folder: Path, text: str, environ: dict[str, str] | None = None, **options: Any) -> list[str]:
    """The lines of the error that reading raises. Checks that they hold no secret; the file is called c."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ, **options)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)
    return str(caught.value).replace(str(folder / "c.yaml"), "c").split("\n")
