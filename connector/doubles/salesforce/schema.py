"""What the double's org looks like: a table of objects and fields, and what each type of field means on every wire.

A line of the table is `Name type(arguments) flags`. Flags: `required`, `unique` (an external id), `readonly`,
`=value` (the default). A picklist with `!` is restricted. Compound fields (`address`, `person`, `switchable`) are one
field of a change event, and several of REST: MailingAddress is MailingCity, MailingStreet and so on (salesforce §B2).
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple


class Kind(NamedTuple):
    """One type of field: its name in a describe call, its Avro type, and the `doc` of it there."""

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
    "address": Kind("address", "Address", "Data:Address"),
    "person": Kind("string", "PersonName", "Data:PersonName"),
    "switchable": Kind("string", "Switchable_PersonName", "Data:Switchable_PersonName"),
}
ADDRESS = (
    "Street text(255) | City text(40) | State text(80) | PostalCode text(20) | Country text(80) | StateCode text(10)"
    " | CountryCode text(10) | Latitude number | Longitude number | GeocodeAccuracy text(40)"
)
PERSON = "Salutation choice(Mr.|Ms.|Dr.) | FirstName text(40) | LastName text(80)"
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
_LINE = re.compile(r"(?P<name>\w+) (?P<kind>\w+)(?P<restricted>!?)(?:\((?P<argument>.*?)\))?(?P<flags>(?: \S+)*)")


@dataclass(frozen=True)
class Field:
    """One field. `parts` are the REST fields of a compound one, by their names inside the compound."""

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
        kind = found["kind"]
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no type of field; there are {', '.join(KINDS)}")
        return cls(
            found["name"],
            kind,
            found["argument"] or "",
            bool(found["restricted"]),
            "required" in flags,
            "unique" in flags,
            "readonly" in flags or kind in {"id", "auto", "formula", "address", "person"},
            next((flag[1:] for flag in flags if flag.startswith("=")), "false" if kind == "bool" else None),
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
        if self.kind == "address":
            prefix = self.name.removesuffix("Address")
            parts = [Field.parse(line) for line in ADDRESS.split(" | ")]
        elif self.kind in {"person", "switchable"}:
            prefix = ""
            parts = [Field.parse(line) for line in PERSON.split(" | ")]
        else:
            return {}
        required = "LastName" if self.kind == "person" else ""
        return {part.name: replace(part, name=prefix + part.name, required=part.name == required) for part in parts}


@dataclass(frozen=True)
class SObject:
    """An object, or a platform event when its name ends in `__e`; `fields` as its event schema orders them."""

    name: str
    prefix: str
    fields: tuple[Field, ...]

    @cached_property
    def rest(self) -> dict[str, Field]:
        """The fields as REST and SOQL know them, Id first."""
        flat = [Field("Id", "id", readonly=True)]
        for field in self.fields:
            flat += [field, *field.parts.values()]
        if not self.name.endswith("__e"):
            flat += [Field("SystemModstamp", "datetime", readonly=True), Field("IsDeleted", "bool", readonly=True)]
        return {field.name: field for field in flat}

    @cached_property
    def lower(self) -> dict[str, Field]:
        """REST fields by their names in lower case: Salesforce does not mind the case of a name."""
        return {name.lower(): field for name, field in self.rest.items()}

    @cached_property
    def streamed(self) -> tuple[Field, ...]:
        """The fields of a change event: a formula is never among them (salesforce §B3)."""
        return tuple(field for field in self.fields if field.kind != "formula")

    def having(self, line: str, position: int) -> "SObject":
        fields = [*self.fields]
        fields.insert(position, Field.parse(line))
        return SObject(self.name, self.prefix, tuple(fields))


_STAMPS = """
CreatedDate datetime readonly
CreatedById ref(User) readonly
LastModifiedDate datetime readonly
LastModifiedById ref(User) readonly
"""
_TABLE = {
    ("Case", "500"): """
        CaseNumber auto(00001000)
        ContactId ref(Contact)
        AccountId ref(Account)
        ParentId ref(Case)
        SuppliedName text(80)
        SuppliedEmail email
        SuppliedPhone phone
        SuppliedCompany text(80)
        Type choice(Problem|Question|Feature Request)
        Status choice!(New|Working|Escalated|Closed|Reopened) =New
        Reason choice(Performance|Breakdown|Equipment|Other)
        Origin choice(Phone|Email|Web|Store)
        Language choice(tr|en_US|de|ar)
        Subject text(255)
        Priority choice!(High|Medium|Low) =Medium
        Description long(32000)
        IsClosed bool readonly
        ClosedDate datetime readonly
        IsEscalated bool
        OwnerId ref(User)
        Comments long(4000)
        Branch__c text(40)
        Branch_City__c text(80)
        Region__c choice(Marmara|Ege|Akdeniz|Karadeniz)
        Agent_Code__c text(20)
        Channel__c choice(Call centre|Chat|Branch|Mobile app)
        Product__c text(120)
        Order_Number__c text(40)
        Order_Total__c money
        Discount__c percent
        Items__c number
        Reopened_Count__c int
        Purchase_Date__c date
        Promised_At__c datetime
        First_Reply_At__c datetime
        Resolution__c long(8000)
        Resolution_Code__c choice!(Solved|Refunded|Rejected|Duplicate)
        Is_VIP__c bool
        Survey_Allowed__c bool =true
        Survey_Sent__c bool
        NPS__c number
        CSAT__c number
        Last_Survey_At__c datetime
        External_Key__c text(64) unique
        Tracking_Url__c url
        Notify_Email__c email
        Branch_Label__c formula({Branch__c}/{Priority})
    """,
    ("Contact", "003"): """
        Name person
        AccountId ref(Account)
        MailingAddress address
        OtherAddress address
        Phone phone
        MobilePhone phone
        Email email
        Title text(128)
        Department text(80)
        Birthdate date
        LeadSource choice(Web|Phone|Partner|Other)
        Description long(32000)
        HasOptedOutOfEmail bool
        DoNotCall bool
        OwnerId ref(User)
        Language__c choice(tr|en|de|ar)
        Time_Zone__c text(40)
        Segment__c choice!(Gold|Silver|Bronze)
        Loyalty_Number__c text(30) unique
        Last_NPS__c number
        Last_Invited_At__c datetime
    """,
    ("Account", "001"): """
        Name switchable required
        ParentId ref(Account)
        BillingAddress address
        ShippingAddress address
        Phone phone
        Website url
        Industry choice(Retail|Finance|Telecom|Other)
        AnnualRevenue money
        NumberOfEmployees int
        Description long(32000)
        OwnerId ref(User)
        Customer_Since__c date
        Active__c bool =true
    """,
    ("User", "005"): """
        Name person
        Username text(80) required
        Email email required
        IsActive bool =true
        Department text(80)
        TimeZoneSidKey text(40)
    """,
    ("Survey_Response__c", "a0X"): """
        Name auto(SR-00000)
        Pisano_Id__c text(64) unique required
        Case__c ref(Case)
        Contact__c ref(Contact)
        Score__c number
        Email__c email
        Source__c text(80)
        Channel__c choice!(Email|SMS|Web)
        Comment__c long(32000)
        Answered_At__c datetime
        Raw__c long(131072)
    """,
    ("Store_Visit__e", "e00"): """
        CreatedDate datetime readonly
        CreatedById ref(User) readonly
        Store__c text(40) required
        Customer_Name__c text(120)
        Email__c email
        Consent__c bool
        Amount__c number
        Visited_At__c datetime
    """,
}


def standard_objects() -> dict[str, SObject]:
    """The org as it is before anybody changes it."""
    objects = {}
    for (name, prefix), table in _TABLE.items():
        lines = table.strip().splitlines() + ([] if name.endswith("__e") else _STAMPS.strip().splitlines())
        objects[name] = SObject(name, prefix, tuple(Field.parse(line) for line in lines))
    return objects
