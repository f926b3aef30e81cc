"""What the org says about its objects: the list, each object's description, and a platform event's schema."""

from itertools import chain
from typing import Any

import orjson

from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table, not_found
from connector.sandbox.doubles.salesforce.schema import KINDS, Field, SObject
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import DIGITS, SCALE, Problem

_ABILITIES = ("createable", "updateable", "deletable", "undeletable", "queryable", "retrieveable", "replicateable")
_LACKS = (
    "customSetting",
    "deprecatedAndHidden",
    "feedEnabled",
    "mergeable",
    "searchable",
    "activateable",
    "layoutable",
)


class Describe:
    """The describe resources."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, table: Table) -> None:
        table.add("GET", "/sobjects", self._all)
        table.add("GET", "/sobjects/{object}", self._basic)
        table.add("GET", "/sobjects/{object}/describe", self._one)
        table.add("GET", "/sobjects/{object}/eventSchema", self._event_schema)
        table.add("GET", "/event/eventSchema/{schema}", self._event_schema)

    def _all(self, ask: Ask) -> Answer:
        found = [_outline(entity, ask.base) for entity in self._state.store.objects.values()]
        return Answer({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": found})

    def _basic(self, ask: Ask) -> Answer:
        entity = self._state.store.entity(ask.parts["object"])
        return Answer({"objectDescribe": _outline(entity, ask.base), "recentItems": []})

    def _one(self, ask: Ask) -> Answer:
        if not self._state.settings.describable:
            raise Problem("INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id", status=403)
        store = self._state.store
        entity = store.entity(ask.parts["object"])
        children = [
            {"childSObject": child, "field": field, "relationshipName": None, "cascadeDelete": False}
            for child, field in store.references(entity.name)
        ]
        parents = {part.name: field.name for field in entity.fields for part in field.parts.values()}
        fields = [_field(field) | {"compoundFieldName": parents.get(field.name)} for field in entity.rest.values()]
        return Answer(
            {
                **_outline(entity, ask.base),
                "fields": fields,
                "childRelationships": children,
                "recordTypeInfos": [],
                "namedLayoutInfos": [],
                "supportedScopes": [{"label": "All records", "name": "everything"}],
            }
        )

    def _event_schema(self, ask: Ask) -> Answer:
        """The schema of a platform event: its newest, or the one of this id."""
        schemas = {name: versions for name, versions in self._state.store.schemas.items() if name.endswith("__e")}
        known = schemas.get(ask.parts["object"], []) if "object" in ask.parts else chain(*schemas.values())
        found = [each for each in known if ask.parts.get("schema", each.schema_id) == each.schema_id]
        if not found:
            raise not_found()
        return Answer({**orjson.loads(found[-1].json), "uuid": found[-1].schema_id})


def _outline(entity: SObject, base: str) -> dict[str, Any]:
    url, event = f"{base}/sobjects/{entity.name}", entity.name.endswith("__e")
    label = entity.name.removesuffix("__c").removesuffix("__e").replace("_", " ")
    abilities = {ability: not event or ability == "createable" for ability in _ABILITIES}
    return {
        "name": entity.name,
        "label": label,
        "labelPlural": f"{label}s",
        "keyPrefix": entity.prefix,
        "custom": entity.name.endswith(("__c", "__e")),
        "triggerable": True,
        **abilities,
        **dict.fromkeys(_LACKS, False),
        "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
    }


def _field(field: Field) -> dict[str, Any]:
    kind = KINDS[field.kind]
    number = kind.avro == "double"
    values = field.argument.split("|") if field.kind == "choice" else []
    return {
        "name": field.name,
        "label": field.name.removesuffix("__c").replace("_", " "),
        "type": kind.rest,
        "length": field.length,
        "precision": DIGITS if number else 0,
        "scale": SCALE if number else 0,
        "createable": not field.readonly,
        "updateable": not field.readonly,
        "nillable": not field.required and field.kind != "bool",
        "defaultedOnCreate": field.default is not None,
        "custom": field.name.endswith(("__c", "__s")),
        "externalId": field.unique,
        "idLookup": field.unique or field.kind == "id",
        "unique": field.unique,
        "calculated": field.kind == "formula",
        "calculatedFormula": field.argument if field.kind == "formula" else None,
        "autoNumber": field.kind == "auto",
        "filterable": field.kind not in {"long", "address", "location"},
        "sortable": field.kind not in {"long", "address", "location"},
        "restrictedPicklist": field.restricted,
        "picklistValues": [{"value": value, "label": value, "active": True} for value in values],
        "referenceTo": [field.argument] if field.kind == "ref" else [],
        "relationshipName": field.relationship,
    }
