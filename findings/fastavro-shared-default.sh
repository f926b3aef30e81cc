#!/usr/bin/env bash
# fastavro 1.13.1: where a field is missing in what was written, its default in the reader's schema is handed out as it is. An
# array, a map or a record is one object for all records, and part of the parsed schema: what is put into it in one record is
# in all later ones, and in those read before.
# It hurts whoever reads old events with a newer schema (a new field with the default [] or {}) and changes what was read:
# values of one customer turn up in the records of others, without an error. Records that have the field are right.
# What helps: copy.deepcopy() of what was read, or changing nothing in place.
# Fields of a record that is a default are not filled in either. (That bytes come as text is known: fastavro's issue 869.)
#
# What this does: writes three records with a schema without `tags` and `about`, reads them with one that has them, and adds
# the id to the tags of the first two. The same with Apache's avro 1.12.2.
# Seen: with fastavro the first record has the second's id too, the third one has both, `about` lacks the default of its
# field, and the schema's default is ["1", "2"] from then on. With avro all is as the schema says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fastavro==1.13.1 avro==1.12.2
"$folder/venv/bin/python" - <<'PYTHON'
import io
import json

import avro.io
import avro.schema
import fastavro

ID = {"name": "id", "type": "string"}
ABOUT = {"type": "record", "name": "About", "fields": [
    {"name": "kind", "type": "string", "default": "case"},
    {"name": "of", "type": "string"},
]}
OLD = {"type": "record", "name": "Event", "fields": [ID]}
NEW = {"type": "record", "name": "Event", "fields": [
    ID,
    {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "about", "type": ABOUT, "default": {"of": "x"}},
]}


def written(number):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, OLD, {"id": number})
    return out.getvalue()


def with_fastavro():
    old, new = fastavro.parse_schema(OLD), fastavro.parse_schema(json.loads(json.dumps(NEW)))
    return new, lambda data: fastavro.schemaless_reader(io.BytesIO(data), old, new)


def with_avro():
    old, new = (avro.schema.parse(json.dumps(schema)) for schema in (OLD, NEW))
    reader = avro.io.DatumReader(old, new)
    return new.to_json(), lambda data: reader.read(avro.io.BinaryDecoder(io.BytesIO(data)))


seen = {}
for name, library in (("fastavro", with_fastavro), ("avro", with_avro)):
    schema, read = library()
    first = read(written("1"))
    first["tags"].append("1")
    read(written("2"))["tags"].append("2")
    third = read(written("3"))
    default = schema["fields"][1]["default"]
    print(f"{name}: first record {first}, third {third}, default in the schema {default}")
    seen[name] = first["tags"], third["tags"], third["about"], default
raise SystemExit(seen != {
    "fastavro": (["1", "2"], ["1", "2"], {"of": "x"}, ["1", "2"]),
    "avro": (["1"], [], {"kind": "case", "of": "x"}, []),
})
PYTHON
