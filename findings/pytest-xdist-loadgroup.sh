#!/usr/bin/env bash
# With pytest 9.2.0, pytest-xdist 3.8.0 no longer keeps the tests of an `xdist_group` in one process: `--dist loadgroup` takes
# the mark, says nothing, and hands its tests out one by one. xdist appends the group to the item's `_nodeid`; pytest 9.2 keeps
# the id elsewhere and does not read that any more. What costs nothing but time for one suite breaks another: a group
# is also how tests say that they must not run beside each other.
#
# What this does: runs twelve tests of one group in two processes, with pytest 9.1.1 and with 9.2.0, and counts the processes
# that ran any of them.
# Seen: 1 process with 9.1.1, 2 with 9.2.0. It fails when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat > "$folder/test_group.py" <<'PYTHON'
import os
import time

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("number", range(12))
def test_it(number):
    time.sleep(0.05)
    with open("ran", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PYTHON

processes() {
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  (cd "$folder" && rm -f ran && venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup test_group.py >log 2>&1 && sort -u ran | wc -l)
}

before=$(processes 9.1.1)
after=$(processes 9.2.0)
echo "the tests of one group ran in $before process with pytest 9.1.1, and in $after with 9.2.0"
[ "$before $after" = "1 2" ]
