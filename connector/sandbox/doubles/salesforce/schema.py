"""The schema of the double's org: objects and fields, and how REST and change events represent each field type.

A line of the table is `Name type(arguments) flags`. Flags: `required`, `unique` (an external id), `readonly`,
`=value` (the default). A picklist with `!` is restricted. A compound field (`address`, `location`, `person`,
`switchable`) is one field in a change event and several in REST: MailingAddress is MailingCity, MailingStreet and so
on; Place__c is Place__Latitude__s and Place__Longitude__s (salesforce §B2).
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple


class Kind(NamedTuple):
    """One type of field: its name in a describe call, its Avro type, and its `doc` in the Avro schema."""

    rest: str
    avro: str
    doc: str


KINDS = {
    "id": Kind("id", "string", ""),
    "text": Kind("string", "string", "Data:Text"),
    "long": Kind("textarea", "string", "Data:StringPlusClob"),
    "choice": Kind("picklist", "string", "Data:DynamicEnum"),
    "email": Kind("email", "string", "Data:Email"),
    "phone": Kind("phone", "string", "Data:PhoneNumber"),
    "url": Kind("url", "string", "Data:Url"),
    "auto": Kind("string", "string", "Data:AutoNumber"),
    "formula": Kind("string", "string", ""),
    "ref": Kind("reference", "string", "ForeignKey:EntityId"),
    "number": Kind("double", "double", "Data:Double"),
    "money": Kind("currency", "double", "Data:Currency"),
    "percent": Kind("percent", "double", "Data:Percent"),
    "int": Kind("int", "int", "Data:Integer"),
    "bool": Kind("boolean", "boolean", "Data:Boolean"),
    "date": Kind("date", "long", "Data:DateOnly"),
    "datetime": Kind("datetime", "long", "Data:DateTime"),
    "time": Kind("time", "long", "Data:TimeOnly"),
    "address": Kind("address", "Address", "Data:Address"),
    "location": Kind("location", "Location", "Data:Location"),
    "person": Kind("string", "PersonName", "Data:PersonName"),
    "switchable": Kind("string", "Switchable_PersonName", "Data:Switchable_PersonName"),
}
ADDRESS = (
    "Street text(255) | City text(40) | State text(80) | PostalCode text(20) | Country text(80) | StateCode text(10)"
    " | CountryCode text(10) | Latitude number | Longitude number | GeocodeAccuracy text(40)"
)
LOCATION = "Latitude number | Longitude number"
PERSON = "Salutation choice(Mr.|Ms.|Dr.) | FirstName text(40) | LastName text(80)"
_COMPOUNDS = {"address": ADDRESS, "location": LOCATION, "person": PERSON, "switchable": PERSON}
_LENGTHS = {
    "text": 255,
    "long": 32_000,
    "choice": 255,
    "email": 80,
    "phone": 40,
    "url": 255,
    "ref": 18,
    "id": 18,
    "auto": 30,
    "switchable": 255,
}
_ARGUMENTS = {"text": r"\d{0,6}", "long": r"\d{0,6}", "auto": r".*\d", "ref": r"\w+"}
_MERGED = {"Account", "Case", "Contact"}  # objects whose records people merge; the loser names the survivor
_LINE = re.compile(r"(?P<name>\w+) (?P<kind>\w+)(?P<restricted>!?)(?:\((?P<argument>.*?)\))?(?P<flags>(?: \S+)*)")


@dataclass(frozen=True)
class Field:
    """One field. `parts` are the REST fields of a compound field, by their names inside the compound."""

    name: str
    kind: str
    argument: str = ""
    restricted: bool = False
    required: bool = False
    unique: bool = False
    readonly: bool = False
    default: str | None = None

    @classmethod
    def parse(cls, line: str) -> "Field":
        found = _LINE.fullmatch(" ".join(line.split()))
        if found is None:
            raise ValueError(f"not a field: {line!r}; write `Name type(arguments) flags`")
        flags = found["flags"].split()
        kind, argument = found["kind"], found["argument"] or ""
        default = next((flag[1:] for flag in flags if flag.startswith("=")), "false" if kind == "bool" else None)
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a type of field; the types are {', '.join(KINDS)}")
        if kind in _ARGUMENTS and not re.fullmatch(_ARGUMENTS[kind], argument):
            raise ValueError(f"{argument!r} is no argument of {kind}")
        if default is not None and KINDS[kind].avro not in {"string", "boolean"}:
            raise ValueError(f"a field of type {kind} has no default here")
        return cls(
            found["name"],
            kind,
            argument,
            bool(found["restricted"]),
            "required" in flags,
            "unique" in flags,
            "readonly" in flags or kind in {"id", "auto", "formula", "address", "location", "person"},
            default,
        )

    @property
    def length(self) -> int:
        if self.kind in {"text", "long"} and self.argument:
            return int(self.argument)
        return _LENGTHS.get(self.kind, 0)

    @property
    def relationship(self) -> str | None:
        """The name under which SOQL reaches the record that this field points to."""
        if self.kind != "ref":
            return None
        return self.name.removesuffix("__c") + "__r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    @cached_property
    def parts(self) -> dict[str, "Field"]:
        if self.kind not in _COMPOUNDS:
            return {}
        names = "{}"
        if self.kind == "address":
            names = self.name.removesuffix("Address") + "{}"
        elif self.kind == "location":
            names = self.name.removesuffix("__c") + "__{}__s"
        required = "LastName" if self.kind == "person" else ""
        parts = [Field.parse(line) for line in _COMPOUNDS[self.kind].split(" | ")]
        return {
            part.name: replace(part, name=names.format(part.name), required=part.name == required) for part in parts
        }


@dataclass(frozen=True)
class SObject:
    """An object, or a platform event if its name ends in `__e`; `fields` are in the order of its event schema."""

    name: str
    prefix: str
    fields: tuple[Field, ...]

    @cached_property
    def rest(self) -> dict[str, Field]:
        """The fields in REST and SOQL, Id first."""
        flat = [Field("Id", "id", readonly=True)]
        for field in self.fields:
            flat += [field, *field.parts.values()]
        if self.name in _MERGED:
            flat.append(Field("MasterRecordId", "ref", self.name, readonly=True))
        if not self.name.endswith("__e"):
            flat += [Field("SystemModstamp", "datetime", readonly=True), Field("IsDeleted", "bool", readonly=True)]
        return {field.name: field for field in flat}

    @cached_property
    def lower(self) -> dict[str, Field]:
        """REST fields by their names in lower case: Salesforce ignores the case of a name."""
        return {name.lower(): field for name, field in self.rest.items()}

    @cached_property
    def streamed(self) -> tuple[Field, ...]:
        """The fields of a change event, which never include formulas (salesforce §B3)."""
        return tuple(field for field in self.fields if field.kind != "formula")

    def having(self, line: str, position: int) -> "SObject":
        """The object with one more field.

        Raises:
            ValueError: The line is not a field, the position does not exist, or a name is taken.
        """
        field = Field.parse(line)
        taken = self.lower.keys() & {name.lower() for name in (field.name, *(p.name for p in field.parts.values()))}
        if taken:
            raise ValueError(f"{self.name} has a field {min(taken)} already")
        if not 0 <= position <= len(self.fields):
            raise ValueError(f"{self.name} has {len(self.fields)} fields, so {position} is no position")
        return SObject(self.name, self.prefix, (*self.fields[:position], field, *self.fields[position:]))
