"""A survey that the earlier build can read too; the example has settings that came since."""

from typing import Any

SURVEYS: dict[str, Any] = {
    "closed-case": {
        "on": "Case",
        "when": 'changed contains "Status" and record.Status == "Closed"',
        "lookup": {"contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": ["Id", "Name", "Email"]}},
        "account": "main",
        "campaign": "4711",
        "email": "{{ contact.Email }}",
        "custom_attributes": {"name": "{{ contact.Name }}"},
        "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
    }
}
