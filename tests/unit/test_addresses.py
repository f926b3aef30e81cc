"""The customer's address: written in one way, and refused with a reason that shows none of it."""

import pytest

from connector.surveys.addresses import normalise_email

LONG = "a" * 64


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (" Jane.Doe@EXAMPLE.com\n", "Jane.Doe@example.com"),
        (f"{LONG}@example.com", f"{LONG}@example.com"),
        ("jane=work@company.example.com", "jane=work@company.example.com"),
    ],
)
def test_an_address_is_trimmed_and_its_domain_lowered(raw: str, address: str) -> None:
    """pisano §3: normalise consistently; the local part may be case-sensitive, so it stays."""
    assert normalise_email(raw) == address


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "jane",
        "jane@",
        "jane@@example.com",
        "Jane <jane@example.com>",
        "a b@example.com",
        f"a{LONG}@example.com",
        "jane@company.com.invalid",
        "jane=company.com@example.com",
        "Jane=Company.com@Example.com",
    ],
)
def test_an_invalid_address_is_refused_with_a_reason(raw: str) -> None:
    """A local part has at most 64 characters (RFC 5321 §4.5.3.1.1). The last three are what sandboxes make."""
    with pytest.raises(ValueError, match=r"\w+") as caught:
        normalise_email(raw)
    assert "jane@" not in str(caught.value)
    assert "company" not in str(caught.value).lower()
