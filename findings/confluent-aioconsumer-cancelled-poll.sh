#!/usr/bin/env bash
# confluent-kafka 2.16.1: an AIOConsumer's poll that is cancelled goes on in its thread. The next record goes to that poll,
# nobody gets it, and its offset counts as read: the consumer passes over it, and close() commits it.
# It hurts whoever puts a time-out of asyncio around poll, or cancels the reading task at the end and then closes the
# consumer, as a TaskGroup or a web server's lifespan does: a record that comes at that moment is lost to the group, without
# an error. With consume(100) it was a whole batch of 50. What helps: poll's own time-out, and a flag that ends the loop; at
# the end also `enable.auto.offset.store=false` and store_offsets() after the work.
#
# What this does, on a Kafka 4.4.0 of its own: a reader waits for records with `asyncio.timeout(0.4)` around `poll(1.0)`,
# while 10 records come, one every 0.5 s, and then reads what is left. Another reader's task is cancelled while it waits, a
# record comes, and the consumer is closed 1 s later. The same with aiokafka 0.14.0 and its getone().
# Seen: AIOConsumer hands out at most 1 of the 10, and commits the one that it never handed out. aiokafka hands out 10, and
# commits only what it handed out.
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
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
java -cp "$folder/jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$folder/server.properties" >"$folder/log"
java -Xmx512m -cp "$folder/jars/*" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 &
broker=$!
PORT=$port timeout 240 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import contextlib
import logging
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from confluent_kafka.aio import AIOConsumer

logging.disable(logging.CRITICAL)
server = f"127.0.0.1:{os.environ['PORT']}"


async def make_topics(names):
    for _ in range(100):
        admin = AIOKafkaAdminClient(bootstrap_servers=server)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(name, 1, 1) for name in names])
            break
        except KafkaError:  # the broker is starting
            await asyncio.sleep(0.3)
        finally:
            await admin.close()


class Confluent:
    def __init__(self, topic):
        self.topic = topic

    async def start(self):
        settings = {"bootstrap.servers": server, "group.id": self.topic, "auto.offset.reset": "earliest"}
        self.consumer = AIOConsumer(settings)
        await self.consumer.subscribe([self.topic])

    async def next(self):
        record = await self.consumer.poll(1.0)
        return record.value() if record is not None and not record.error() else None

    async def stop(self):
        await self.consumer.close()


class Aiokafka:
    def __init__(self, topic):
        settings = {"bootstrap_servers": server, "group_id": topic, "auto_offset_reset": "earliest"}
        self.consumer = AIOKafkaConsumer(topic, **settings)

    async def start(self):
        await self.consumer.start()

    async def next(self):
        return (await self.consumer.getone()).value

    async def stop(self):
        await self.consumer.stop()


async def within_a_timeout(reader, producer, topic):
    """How many of 10 records are handed out."""
    await producer.send_and_wait(topic, b"first")
    await reader.start()
    while await reader.next() != b"first":
        pass
    read = []

    async def wait(seconds):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if (value := await reader.next()) is not None:
                    read.append(value)

    async def write():
        for _ in range(10):
            await asyncio.sleep(0.5)
            await producer.send_and_wait(topic, b"later")

    writing = asyncio.create_task(write())
    while not writing.done():
        await wait(0.4)
    for _ in range(5):
        await wait(3)
    await reader.stop()
    return len(read)


async def at_the_end(reader, producer, topic):
    """How many records are handed out, and the offset that is committed."""
    await producer.send_and_wait(topic, b"first")
    read = []

    async def read_all():
        while True:
            if (value := await reader.next()) is not None:
                read.append(value)

    await reader.start()
    task = asyncio.create_task(read_all())
    while not read:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})
    await producer.send_and_wait(topic, b"second")
    await asyncio.sleep(1)
    await reader.stop()
    looker = AIOKafkaConsumer(bootstrap_servers=server, group_id=topic, enable_auto_commit=False)
    await looker.start()
    committed = await looker.committed(TopicPartition(topic, 0))
    await looker.stop()
    return len(read), committed


async def main():
    kinds = (Confluent, Aiokafka)
    await make_topics([f"{kind.__name__}-{what}" for kind in kinds for what in ("timeout", "end")])
    producer = AIOKafkaProducer(bootstrap_servers=server)
    await producer.start()
    seen = {}
    for kind in kinds:
        name = kind.__name__
        of_ten = await within_a_timeout(kind(f"{name}-timeout"), producer, f"{name}-timeout")
        read, committed = await at_the_end(kind(f"{name}-end"), producer, f"{name}-end")
        print(f"{name}: {of_ten} of 10 handed out; stopped: {read} of 2 handed out, {committed} committed")
        seen[name] = of_ten, read, committed
    await producer.stop()
    lost, *stopped = seen["Confluent"]
    return 0 if lost <= 1 and stopped == [1, 2] and seen["Aiokafka"] == (10, 1, 1) else 1


raise SystemExit(asyncio.run(main()))
PYTHON
