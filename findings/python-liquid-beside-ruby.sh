#!/usr/bin/env bash
# python-liquid 2.3.6 beside Liquid itself (Ruby, 5.4.0): valid templates that render without a word to another text.
# `limit: 0` means no limit, a nil that is appended or joined is the word None, trailing empty parts survive `split`,
# and `round` rounds half to even.
#
# What this does: renders each template with both. Ruby's Liquid is Debian's package ruby-liquid; where it is missing, the
# texts that it gave when this was written (5.4.0) stand in for it, and a line says so.
# Seen: all of them differ, as the table that is printed shows. It fails when one of python-liquid's texts changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/cases.json" <<'JSON'
[["{% for x in list limit: n %}{{ x }}{% endfor %}", "", "12"],
 ["{{ \"Dear \" | append: nothing }}", "Dear ", "Dear None"],
 ["{{ gaps | join: \",\" }}", "1,,2", "1,None,2"],
 ["{{ \"a,b,,\" | split: \",\" | size }}", "2", "4"],
 ["{{ 2.5 | round }} {{ 1.005 | round: 2 }}", "3 1.01", "2 1.0"],
 ["{{ kinds | uniq | join: \" \" }}", "1 1.0 1", "1 1"],
 ["{{ \"3,5\" | plus: 1 }}", "4", "1"],
 ["{{ \"it's\" | escape }}", "it&#39;s", "it&#x27;s"]]
JSON
echo '{"list": [1, 2], "n": 0, "nothing": null, "gaps": [1, null, 2], "kinds": [1, 1.0, "1"]}' > "$folder/data.json"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet python-liquid==2.3.6
if ruby -rliquid -e 'exit Liquid::VERSION == "5.4.0"' 2>/dev/null; then
  ruby -rliquid -rjson -e '
    data = JSON.parse(File.read("data.json"))
    puts JSON.generate(JSON.parse(File.read("cases.json")).map { |template, _| Liquid::Template.parse(template).render(data) })
  ' -C "$folder" > "$folder/ruby.json"
else
  echo "no Ruby with Liquid 5.4.0 here: its texts are those seen before"
fi
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import pathlib
import sys

import liquid

folder = pathlib.Path(sys.argv[1])
cases, data = (json.loads((folder / name).read_text()) for name in ("cases.json", "data.json"))
there = folder / "ruby.json"
ruby = json.loads(there.read_text()) if there.exists() else [expected for _, expected, _ in cases]
changed = False
for (template, expected, seen), theirs in zip(cases, ruby, strict=True):
    ours = liquid.Environment().from_string(template).render(**data)
    print(f"{template:50} Ruby {theirs!r:12} python-liquid {ours!r}")
    changed |= (ours, theirs) != (seen, expected)
sys.exit(changed)
PYTHON
