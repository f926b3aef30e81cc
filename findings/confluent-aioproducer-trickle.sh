#!/usr/bin/env bash
# confluent-kafka 2.16.1: the buffer_timeout of AIOProducer (1 s) begins again with every record. While records come more
# often than that, nothing is sent before batch_size (1,000) of them are there, and whoever awaits a delivery hears of it
# only when the next 1,000 are sent. With two webhooks a second, that is 17 minutes.
# It hurts whoever answers a webhook, or commits an offset, after the delivery: all callers run into their time-outs as long
# as new ones come. With rare records, as in a first try, each takes 2 to 3 s, so a try does not show it. The README
# shows `await p.produce(...)` and then awaits its answer, without more. `await p.flush()` between the two helps.
#
# What this does, on a Kafka 4.4.0 of its own: 30 tasks, one every 0.4 s, produce one record each and wait for its delivery.
# It counts those that were delivered while others still came, and prints the longest wait; the same with a record every
# 2.5 s, with a flush after each record, and with aiokafka 0.14.0.
# Seen: 0 of 30, and up to 14 s; 5 of 5 and up to 2.5 s with rare records; 30 of 30 within 0.1 s with a flush, and with
# aiokafka. (With 125 records a second, the topic stayed empty up to the 1,000th, and the first delivery was known at the
# 2,000th.)
# Needs Java 17 and Maven.
set -euo pipefail
folder=$(mktemp -d)
broker=
trap 'if [ -n "$broker" ]; then kill "$broker" && wait "$broker" || true; fi; rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet confluent-kafka==2.16.1 aiokafka==0.14.0
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
from confluent_kafka.aio import AIOProducer

logging.disable(logging.CRITICAL)
server = f"127.0.0.1:{os.environ['PORT']}"


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


async def measured(name, send, count, gap):
    """How many were delivered while others came, and the longest wait in seconds."""
    waits = []

    async def one():
        began = time.monotonic()
        await send()
        waits.append(time.monotonic() - began)

    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(gap)
    meanwhile = len(waits)
    await asyncio.gather(*tasks)
    print(f"{name}, a record every {gap} s: {meanwhile} of {count} delivered meanwhile, longest wait {max(waits):.1f} s")
    return meanwhile, max(waits)


async def main():
    await make_topic()
    confluent = AIOProducer({"bootstrap.servers": server})
    aio = AIOKafkaProducer(bootstrap_servers=server)
    await aio.start()

    async def as_in_the_readme():
        await (await confluent.produce("records", value=b"record"))

    async def flushed():
        delivery = await confluent.produce("records", value=b"record")
        await confluent.flush()
        await delivery

    async def with_aiokafka():
        await aio.send_and_wait("records", b"record")

    rare = await measured("AIOProducer", as_in_the_readme, 5, 2.5)
    steady = await measured("AIOProducer", as_in_the_readme, 30, 0.4)
    flush = await measured("AIOProducer with flush", flushed, 30, 0.4)
    other = await measured("aiokafka", with_aiokafka, 30, 0.4)
    await confluent.close()
    await aio.stop()
    right = rare[0] >= 3 and flush[0] >= 29 and other[0] >= 29 and max(flush[1], other[1]) < 1
    return 0 if right and steady[0] == 0 and steady[1] > 10 else 1


raise SystemExit(asyncio.run(main()))
PYTHON
