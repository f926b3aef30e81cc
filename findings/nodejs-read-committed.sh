#!/usr/bin/env bash
# Two Kafka clients for Node read aborted transactions although they read "committed", which is the default of both:
# - @platformatic/kafka 2.12.1 remembers one aborted transaction for each producer and fetch. If a producer has aborted two
#   in what one fetch returns, only the last is left out. One that a fetch does not hold to its end is not left out either.
# - kafkajs 2.2.4 takes the broker's list of aborted transactions as ordered by their first offset. It is ordered by their
#   end: where transactions of two producers overlap and the earlier one ends later, its first records are handed out.
# It hurts whoever reads with them what a transactional producer has written, after that producer was restarted twice in the
# middle of its work: records that never became valid look like all others, and there is no error.
#
# What this does, on a Kafka 4.4.0 of its own: one producer aborts two records, commits one, aborts two, commits one. On a
# second topic a producer writes two records, another one writes two and aborts, the first aborts, and then commits one.
# It reads both topics with both clients and, to compare, with aiokafka 0.14.0.
# Seen: aiokafka reads 2 and 1 records, all committed. @platformatic/kafka reads 2 aborted records of the first topic too,
# kafkajs 2 of the second. confluent-kafka 2.16.1, kafka-python 3.0.12, sarama 1.45.2 and franz-go 1.19.5 read such topics
# right; segmentio's kafka-go 0.4.51 leaves out nothing at all and hands out the markers, too (its issue 1332).
# Needs Java 17, Maven and npm.
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
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit node@22.22.0 @platformatic/kafka@2.12.1 kafkajs@2.2.4
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
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
PROPERTIES
java -cp "$folder/jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$folder/server.properties" >"$folder/log"
java -Xmx512m -cp "$folder/jars/*" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 &
broker=$!
export SERVER=127.0.0.1:$port
cat >"$folder/write.py" <<'PYTHON'
import asyncio
import logging
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable(logging.CRITICAL)
server = os.environ["SERVER"]


async def make_topics():
    for _ in range(100):
        admin = AIOKafkaAdminClient(bootstrap_servers=server)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("repeated", 1, 1), NewTopic("overlapping", 1, 1)])
            break
        except KafkaError:  # the broker is starting
            await asyncio.sleep(0.3)
        finally:
            await admin.close()


async def write(producer, topic, *values):
    for value in values:
        await producer.send_and_wait(topic, value)


async def main():
    await make_topics()
    first, second = (AIOKafkaProducer(bootstrap_servers=server, transactional_id=name) for name in ("first", "second"))
    await first.start()
    await second.start()
    for _ in range(2):
        await first.begin_transaction()
        await write(first, "repeated", b"aborted", b"aborted")
        await first.abort_transaction()
        async with first.transaction():
            await write(first, "repeated", b"committed")
    await first.begin_transaction()
    await write(first, "overlapping", b"aborted", b"aborted")
    await second.begin_transaction()
    await write(second, "overlapping", b"aborted", b"aborted")
    await second.abort_transaction()
    await first.abort_transaction()
    async with first.transaction():
        await write(first, "overlapping", b"committed")
    await first.stop()
    await second.stop()

    for topic in ("repeated", "overlapping"):
        consumer = AIOKafkaConsumer(bootstrap_servers=server, isolation_level="read_committed", enable_auto_commit=False)
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        read = []
        while some := await consumer.getmany(timeout_ms=2000):
            read += [record.value for records in some.values() for record in records]
        await consumer.stop()
        print("aiokafka", topic, "committed", read.count(b"committed"), "aborted", read.count(b"aborted"))


asyncio.run(main())
PYTHON
cat >"$folder/read.mjs" <<'NODE'
import { Consumer, FetchIsolationLevels } from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'

const server = process.env.SERVER
const seconds = count => new Promise(resolve => setTimeout(resolve, count * 1000))
function say(client, topic, values) {
  const count = text => values.filter(value => value.toString() === text).length
  console.log(client, topic, 'committed', count('committed'), 'aborted', count('aborted'))
}

for (const topic of ['repeated', 'overlapping']) {
  const values = []
  const isolationLevel = FetchIsolationLevels.READ_COMMITTED
  const consumer = new Consumer({ groupId: `platformatic-${topic}`, clientId: 'reader', bootstrapBrokers: [server] })
  const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false, isolationLevel })
  stream.on('data', message => values.push(message.value))
  await seconds(4)
  await consumer.close(true)
  say('@platformatic/kafka', topic, values)
}
for (const topic of ['repeated', 'overlapping']) {
  const values = []
  const kafka = new Kafka({ brokers: [server], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: `kafkajs-${topic}`, readUncommitted: false })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => { values.push(message.value) } })
  await seconds(4)
  await consumer.disconnect()
  say('kafkajs', topic, values)
}
NODE
timeout 120 "$folder/venv/bin/python" write.py | tee seen
timeout 120 node_modules/.bin/node --no-warnings read.mjs | tee -a seen
diff seen - <<'SEEN'
aiokafka repeated committed 2 aborted 0
aiokafka overlapping committed 1 aborted 0
@platformatic/kafka repeated committed 2 aborted 2
@platformatic/kafka overlapping committed 1 aborted 0
kafkajs repeated committed 2 aborted 0
kafkajs overlapping committed 1 aborted 2
SEEN
