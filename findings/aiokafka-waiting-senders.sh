#!/usr/bin/env bash
# aiokafka 0.14.0: a record costs the more CPU time, the more tasks wait in `send` for the same partition. Each waits until
# the partition's batch is taken (16 KB by default). Then all of them wake, as many records as fit into 16 KB go in, and the
# others wait again; asyncio.wait searches the list of those that wait for the same future once for each.
# It hurts a service that awaits `send_and_wait` in many tasks, with keys that lead to one partition: the CPU becomes the
# limit. With 4,000 tasks it was also seen that a `send` fails with KafkaTimeoutError after 40 s on a broker that answers,
# because it never found room. `max_batch_size=262144` helps.
#
# What this does, on a Kafka 4.1.0 of its own: 100 and then 2,000 tasks send 8,000 records of 1 KB to one partition, with
# the default batch and with one of 256 KB, and it measures the client's CPU time for a record.
# Seen, on a busy machine: 129 and 2,018 microseconds with the default, 17 and 131 with 256 KB.
# Needs Java 17 and Maven.
set -euo pipefail
folder=$(mktemp -d)
broker=
trap 'if [ -n "$broker" ]; then kill "$broker" && wait "$broker" || true; fi; rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency></dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0
read -r port controller < <(python3 -c '
import socket
a, b = socket.socket(), socket.socket()
a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1])')
cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$folder/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
java -cp "$folder/jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$folder/server.properties" >"$folder/log"
java -Xmx512m -cp "$folder/jars/*" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 &
broker=$!
PORT=$port timeout 240 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import os
import time

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable(logging.CRITICAL)
server = f"127.0.0.1:{os.environ['PORT']}"
RECORDS = 8_000


async def make_topic():
    for _ in range(100):
        admin = AIOKafkaAdminClient(bootstrap_servers=server)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("records", 1, 1)])
            break
        except KafkaError:  # the broker is starting
            await asyncio.sleep(0.3)
        finally:
            await admin.close()


async def microseconds(tasks, **settings):
    """CPU time for a record."""
    producer = AIOKafkaProducer(bootstrap_servers=server, enable_idempotence=True, **settings)
    await producer.start()

    async def send(count):
        for _ in range(count):
            await producer.send_and_wait("records", bytes(1024))

    await send(100)
    began = time.process_time()
    await asyncio.gather(*(send(RECORDS // tasks) for _ in range(tasks)))
    taken = time.process_time() - began
    await producer.stop()
    return taken / RECORDS * 1_000_000


async def main():
    await make_topic()
    seen = {}
    for batch, settings in (("the default", {}), ("256 KB", {"max_batch_size": 262_144})):
        for tasks in (100, 2_000):
            seen[batch, tasks] = await microseconds(tasks, **settings)
            print(f"batch of {batch}, {tasks} tasks: {seen[batch, tasks]:.0f} microseconds of CPU for a record")
    grows = seen["the default", 2_000] / seen["the default", 100]
    ratio = seen["the default", 2_000] / seen["256 KB", 2_000]
    print(f"from 100 to 2,000 tasks: {grows:.1f} times; with 2,000 tasks {ratio:.1f} times that of the larger batch")
    return 0 if grows > 2 and ratio > 2 else 1


raise SystemExit(asyncio.run(main()))
PYTHON
