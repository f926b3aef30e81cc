#!/usr/bin/env bash
# aiokafka 0.14.0: `seek_to_committed()` moves a partition only if its committed offset is above 0. Where 0 is committed, or
# nothing, it answers 0 or None and leaves the consumer where it is, so what was read since is not read again.
# It hurts whoever seeks back to drop what he has read. faust-streaming 0.15.3 does so in a rebalance: it throws away what a
# fetch has returned meanwhile, and calls this. In a partition where nothing is committed yet, those records are not
# delivered again before the next rebalance or start, without an error; a commit behind a later record passes over them.
#
# What this does, on a Kafka 4.1.0 of its own: writes 10 records; then three consumers read all of them, after their group
# has committed nothing, 0 and 1, and call seek_to_committed().
# Seen: the answers are None, 0 and 1, and the positions afterwards 10, 10 and 1.
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
"$folder/venv/bin/pip" install --quiet faust-streaming==0.15.3 aiokafka==0.14.0
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
PORT=$port timeout 120 "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import logging
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable(logging.CRITICAL)
server = f"127.0.0.1:{os.environ['PORT']}"
place = TopicPartition("records", 0)


async def fill():
    for _ in range(100):
        admin = AIOKafkaAdminClient(bootstrap_servers=server)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(place.topic, 1, 1)])
            break
        except KafkaError:  # the broker is starting
            await asyncio.sleep(0.3)
        finally:
            await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=server)
    await producer.start()
    for number in range(10):
        await producer.send_and_wait(place.topic, b"%d" % number)
    await producer.stop()


async def after_a_seek(committed):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=server, group_id=f"at-{committed}", auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([place])
    read = 0
    while read < 10:
        read += len((await consumer.getmany(timeout_ms=500)).get(place, []))
    if committed is not None:
        await consumer.commit({place: committed})
    said = (await consumer.seek_to_committed())[place]
    position = await consumer.position(place)
    await consumer.stop()
    print(f"read 10, committed {committed}: seek_to_committed() answers {said}, and the position is {position}")
    return said, position


async def main():
    await fill()
    seen = [await after_a_seek(committed) for committed in (None, 0, 1)]
    return 0 if seen == [(None, 10), (0, 10), (1, 1)] else 1


raise SystemExit(asyncio.run(main()))
PYTHON
