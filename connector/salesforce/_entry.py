"""One write on its way: what of it fits, and its result."""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace

from connector.errors import Rejected
from connector.masking import mask_value
from connector.records import Scalar
from connector.salesforce import record_ids
from connector.salesforce._fitting import Fitted, fit
from connector.salesforce._refusals import FieldsRefused
from connector.salesforce.object_fields import Field, Fields
from connector.salesforce.record_write import RecordWrite
from connector.salesforce.rest import Result

Unless = Callable[[], Rejected | None]

_LINK = re.compile(r"\S*(@|://)\S*")  # half an address is worse than none


@dataclass(frozen=True)
class Written(Result):
    """The result of a write. `fields` is what was sent; the others say why, by field, with masked values: `cut`,
    `left_out`, and `kept` for fields that could not be emptied.
    """

    fields: dict[str, Scalar | None] = field(default_factory=dict, repr=False)
    cut: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Entry:
    """A write that waits. `fitted` is the part of it that its object takes, as far as we know: as `known` says.

    `Waiting` sets the other attributes. `number` rises in the order of arrival. A write that is `taken` is in a call,
    or has a result from one that its caller has not seen yet, or its caller pauses; it is `calling` only in a call.
    `merges` counts how often the writer looked for a survivor. `context` is the caller's: a call runs in its first one.
    `unless` is the caller's too, see `CollectionWriter.write`.
    """

    write: RecordWrite
    unless: Unless
    number: int = 0
    record: tuple[str, str] = ("", "")
    taken: bool = False
    calling: bool = False
    merges: int = 0
    fitted: Fitted = field(default_factory=Fitted)
    known: Fields = field(default_factory=dict, repr=False)
    context: Context = field(default_factory=copy_context, repr=False)
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _refused: dict[str, str] = field(default_factory=dict)
    _told: dict[str, Field] = field(default_factory=dict)  # what Salesforce said of fields as it refused their values
    _refusal: Rejected | None = None  # why Salesforce's refusal of a value is one of the whole record

    def fit(self, known: Fields) -> None:
        """Makes the write fit."""
        self.known = known
        try:
            self.fitted = fit(self.write, {**known, **self._told} if self._told else known, self._refused)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not stop the writes of all others
            what = f"{type(error).__name__} while the values were made to fit"
            self._settle_unwritten(f"{what}, a mistake in the connector; please report it")

    def settle_if_nothing_goes(self) -> None:
        """Settles a write that its caller gives up, one of which nothing may be written, and an update that has
        nothing to write.
        """
        if error := self.unless():
            self.settle(Result(False, error=error))
        elif self.fitted.refused:
            self._settle_unwritten(f"{self.fitted.refused}. The field has does_not_fit: refuse")
        elif self.write.operation == "update" and not self.fitted.fields:
            if self.fitted.left_out:
                self._settle_unwritten("; ".join(f"{name}: {why}" for name, why in self.fitted.left_out.items()))
            else:
                self.settle(Result(True, id=self.write.key))

    def without(self, error: FieldsRefused) -> bool:
        """Leaves out the values that Salesforce refused. A text that is too long is made to fit, as its field's choice
        says. False when the write cannot go on without them.
        """
        codes = {name.lower(): code for name, code in error.fields.items()}
        sent = {name: value for name, value in self.fitted.fields.items() if name.lower() in codes}
        emptied = {name.lower() for name, value in sent.items() if value is None}
        if any(code == "REQUIRED_FIELD_MISSING" and name not in emptied for name, code in codes.items()):
            return False
        lengths = {name.lower(): length for name, length in error.lengths.items()}
        told = {name for name in sent if self._is_told(name, lengths.get(name.lower()))}
        refused = {name: codes[name.lower()] for name in sent if name not in told}
        return self._leave_out(refused) if refused else bool(told)

    def _is_told(self, name: str, length: int | None) -> bool:
        """Whether Salesforce says how long a text may be that it refused. The next `fit` heeds it."""
        value = self.fitted.fields[name]
        if length is None or not isinstance(value, str) or len(value) < 2:
            return False
        described = self.known.get(name.lower()) or Field("url" if _LINK.fullmatch(value.strip()) else "string")
        most = min(length, len(value) - 1)  # Salesforce counts some characters as two
        self._told[name.lower()] = replace(described, length=most)
        return True

    def references(self, named: Collection[str] | None) -> dict[str, tuple[str, str]]:
        """The object and id of each record that a field refers to, if people can merge such records.

        `named` are fields, in lower case; without them, all count that are references, or may be for all we know.
        """
        found: dict[str, tuple[str, str]] = {}
        for name, value in self.fitted.fields.items():
            described = self.known.get(name.lower())
            may_be = described is None or described.type == "reference" if named is None else name.lower() in named
            if may_be and (object_name := record_ids.mergeable(value)):
                found[name] = (object_name, str(value))
        return found

    def without_references(self, code: str) -> bool:
        """Leaves out the references, because one of them points to a record that is gone. False if there are none."""
        return self._leave_out(
            {
                name: code
                for name, value in self.fitted.fields.items()
                if value is not None and name.lower() in self.known and self.known[name.lower()].type == "reference"
            }
        )

    def _leave_out(self, codes: Mapping[str, str]) -> bool:
        """Leaves out fields that were sent. `codes` are Salesforce's reasons."""
        sent = self.fitted.fields
        shown = {name: "no value" if sent[name] is None else mask_value(sent[name]) for name in codes}
        why = {name: f"Salesforce refused {shown[name]}: {code}" for name, code in codes.items()}
        given = (name for name in why if sent[name] is not None)  # else the field stays as it is
        must_fit = next((name for name in given if self.write.choice(name).does_not_fit == "refuse"), None)
        if must_fit is not None:
            self._refusal = self._unwritten(
                f"{must_fit}: {why[must_fit]}. The field has does_not_fit: refuse", "does_not_fit"
            )
        else:
            self._refused |= why
        return bool(why) and must_fit is None

    def settle(self, result: Result | Exception) -> None:
        """Tells the caller, unless it was told already."""
        if self.result.done():
            return
        self.calling = False
        if isinstance(result, Exception):
            self.result.set_exception(result)
        else:
            self.result.set_result(result)

    def written(self, result: Result) -> Written:
        """The result together with what was sent."""
        said = {**vars(result), "error": self._refusal or result.error}
        fitted = self.fitted
        return Written(**said, fields=fitted.fields, cut=fitted.cut, left_out=fitted.left_out, kept=fitted.kept)

    def _settle_unwritten(self, why: str) -> None:
        self.settle(Result(False, error=self._unwritten(why, "does_not_fit")))

    def _unwritten(self, why: str, code: str) -> Rejected:
        return Rejected(f"{self.write.operation} {self.write.object}: {why}. Nothing was written", code=code)
