#!/usr/bin/env bash
# OpenTelemetry's instrumentations of aiokafka, kafka-python and confluent-kafka (0.66b1) append `traceparent` to the very list
# of headers that they are given, and never take an older one out. Their readers take the first one that they find.
# It hurts whoever sends with a list that is made once, such as [("content-type", b"application/json")]: each record carries
# the headers of all records before it, about 70 bytes more each time, until one is too large (after some 15,000). Their readers
# see all of them in the trace of the first. And whoever passes a record on with its headers (a dead letter, a retry topic): the
# reader of the copy joins the trace of the first writer, not that of the one who passed it on.
# What helps: a new list for each record, without `traceparent`, `tracestate` and `baggage`. In a tuple aiokafka's does not
# change anything, but then writes no `traceparent` either, and warns each time.
#
# What this does, on a Kafka 4.4.0 of its own: with each of the three it sends 100 records, each in a trace of its own, with
# one list of headers. Then it passes the first one on in a trace of its own, with a list of its headers. It reads all without
# instrumentation, and asks the instrumentation's own getter for the trace.
# Seen: the last of the 100 has 100 `traceparent`s, all 100 are said to be of the first one's trace, and so is the copy.
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
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0 kafka-python==3.0.12 confluent-kafka==2.16.1 opentelemetry-sdk==1.45.1 \
  opentelemetry-instrumentation-{aiokafka,kafka-python,confluent-kafka}==0.66b1
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
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.aiokafka import AIOKafkaInstrumentor, utils as aiokafka_utils
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor, utils as confluent_utils
from opentelemetry.instrumentation.kafka import KafkaInstrumentor, utils as kafka_python_utils
from opentelemetry.sdk.trace import TracerProvider

logging.disable(logging.CRITICAL)
server = f"127.0.0.1:{os.environ['PORT']}"
trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("finding")


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


async def with_aiokafka(topic, sends):
    AIOKafkaInstrumentor().instrument()
    producer = AIOKafkaProducer(bootstrap_servers=server)
    await producer.start()
    for span, headers in sends:
        with span():
            await producer.send_and_wait(topic, b"{}", headers=headers)
    await producer.stop()
    AIOKafkaInstrumentor().uninstrument()


async def with_kafka_python(topic, sends):
    KafkaInstrumentor().instrument()
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=server)
    for span, headers in sends:
        with span():
            producer.send(topic, b"{}", headers=headers).get(10)
    producer.close()
    KafkaInstrumentor().uninstrument()


async def with_confluent_kafka(topic, sends):
    from confluent_kafka import Producer

    producer = ConfluentKafkaInstrumentor.instrument_producer(Producer({"bootstrap.servers": server}))
    for span, headers in sends:
        with span():
            producer.produce(topic, b"{}", headers=headers)
            producer.flush()


async def read(topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=server, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.seek_to_beginning()
    records = []
    while some := await consumer.getmany(timeout_ms=1000):
        records += [record for batch in some.values() for record in batch]
    await consumer.stop()
    return records


async def main():
    kinds = {
        "aiokafka": (with_aiokafka, aiokafka_utils._aiokafka_getter),
        "kafka-python": (with_kafka_python, kafka_python_utils._kafka_getter),
        "confluent-kafka": (with_confluent_kafka, confluent_utils._kafka_getter),
    }
    await make_topics(kinds)
    right = True
    for name, (send, getter) in kinds.items():
        def span():
            return tracer.start_as_current_span("work")

        def trace_of(record):
            context = propagate.extract(list(record.headers), getter=getter)
            return trace.get_current_span(context).get_span_context().trace_id

        shared = [("content-type", b"application/json")]
        await send(name, [(span, shared)] * 100)
        records = await read(name)
        await send(name, [(span, list(records[0].headers))])
        copy = (await read(name))[-1]
        own = [sum(key == "traceparent" for key, _ in record.headers) for record in (records[0], records[-1], copy)]
        told = len({trace_of(record) for record in records})
        made = len({record.headers[-1][1].split(b"-")[1] for record in records})
        joins_first = trace_of(copy) == trace_of(records[0])
        size = sum(len(key) + len(value) for key, value in records[-1].headers)
        print(f"{name}: record 1 has {own[0]} traceparent, record {len(records)} has {own[1]} ({size} bytes of headers); "
              f"{made} traces, read as {told}; the copy has {own[2]}, trace of the first: {joins_first}")
        right = right and (own, len(records), made, told, joins_first) == ([1, 100, 2], 100, 100, 1, True)
    return 0 if right else 1


raise SystemExit(asyncio.run(main()))
PYTHON
