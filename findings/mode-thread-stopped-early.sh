#!/usr/bin/env bash
# mode-streaming 0.7.1 (Faust's services): ServiceThread.stop() returns at once and does nothing while the thread is only
# starting. The thread and its event loop go on for ever, and the thread is no daemon.
# Faust runs each consumer in such a thread. A worker that is told to stop in its first moments can stay behind: its
# consumer joins the group and holds partitions that nobody works on.
#
# What this does: starts a ServiceThread with nothing in it, stops it in the next step of the event loop, and looks at the
# thread 5 s after stop() has returned. Then it stops a second one that has started, for comparison.
# Seen: the first thread is alive and its service has never heard of the stop; the second one has ended.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mode-streaming==0.7.1
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import os

from mode.threads import ServiceThread


async def still_alive(pause):
    service = ServiceThread()
    starting = asyncio.ensure_future(service.start())
    await asyncio.sleep(pause)
    await asyncio.wait_for(service.stop(), 30)
    await asyncio.wait({starting})
    await asyncio.sleep(5)
    print(f"stopped {pause:g} s after its start began: alive {service._thread.is_alive()}, should_stop {service.should_stop}")
    return service._thread.is_alive()


async def main():
    early, late = await still_alive(0), await still_alive(1)
    os._exit(0 if early and not late else 1)  # without this the first thread keeps the process


asyncio.run(main())
PYTHON
