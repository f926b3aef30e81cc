#!/usr/bin/env bash
# npm's avro-js 1.12.2 cannot be loaded: its `etc/deprecated/validator.js`, which the main module loads, needs `underscore`,
# and package.json no longer names it. So salesforce-pubsub-api-client 5.5.2, which asks for ^1.12.1 and thus gets 1.12.2,
# does not start in a fresh installation. With avro-js 1.12.1 it does.
#
# What this does: installs the client with each of the two versions, and loads it.
# Seen: 1.12.2 ends with MODULE_NOT_FOUND, 1.12.1 loads. It fails when one of them changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
load() {
  mkdir "$folder/$1"
  cd "$folder/$1"
  npm init --yes >/dev/null
  npm install --silent --no-fund --no-audit salesforce-pubsub-api-client@5.5.2 "avro-js@$1"
  { node -e 'import("salesforce-pubsub-api-client").then(() => console.log("loads"), error => console.log(error.code))' 2>&1 || true; } |
    grep -o -E 'loads|MODULE_NOT_FOUND' | head -n 1
}
old=$(load 1.12.1) new=$(load 1.12.2)
echo "salesforce-pubsub-api-client 5.5.2 with avro-js 1.12.1: $old; with 1.12.2: $new"
[ "$old $new" = "loads MODULE_NOT_FOUND" ]
