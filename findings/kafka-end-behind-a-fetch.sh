#!/usr/bin/env bash
# A consumer that is asked where a quiet topic ends answers only when its fetch is over, in most clients. They ask on the
# connection on which the fetch waits for records, and a broker answers the requests of a connection one after the other. So
# end_offsets() of aiokafka 0.14.0 takes up to `fetch_max_wait_ms`, and so do beginning_offsets(), offsets_for_times() and
# seek_to_end(). The same in kafka-python 3.0.12, confluent-kafka 2.16.1, and Java's KafkaConsumer 4.4.0 with the old and the new
# group protocol; sarama 1.61.1 sometimes waits for the next fetch, too. franz-go 1.22.3 and @platformatic/kafka 2.12.1 fetch on
# a connection of its own, and answer at once.
# It hurts whoever reads a topic up to its end before he begins, or looks how far he is behind, with a fetch wait of seconds: what
# takes 2 ms takes as long, and only while nothing comes. It need not show in a test: aiokafka begins to fetch before start()
# returns, and when it was asked right after that, 9 to 13 of 96 consumers of an empty topic took the whole wait.
# The pages of these calls and settings do not say so. What helps: to ask with a second consumer that reads nothing.
#
# What this does, on a Kafka 4.4.0 of its own: a consumer of each client reads an empty topic with a fetch wait of 10 s. 3 s
# later it is asked for the end. In aiokafka a second consumer, which reads nothing, is asked 3 s after that.
# Seen: 7 s and more (17 with sarama), or a fraction of a second. It counts as a wait from 3 s on.
# Needs Java 17, Maven, Go and npm.
set -euo pipefail
folder=$(mktemp -d)
broker=
trap 'if [ -n "$broker" ]; then kill "$broker" && wait "$broker" || true; fi; chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.4.0</version></dependency></dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiokafka==0.14.0 kafka-python==3.0.12 confluent-kafka==2.16.1
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
export SERVER=127.0.0.1:$port
cat >"$folder/ask.py" <<'PYTHON'
import asyncio
import logging
import os
import time

import confluent_kafka
import kafka
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable(logging.CRITICAL)
server = os.environ["SERVER"]


def say(client, began):
    print(client, f"{time.monotonic() - began:.3f}", flush=True)


async def make_topic():
    for _ in range(100):
        admin = AIOKafkaAdminClient(bootstrap_servers=server)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("quiet", 1, 1)])
            break
        except KafkaError:  # the broker is starting
            await asyncio.sleep(0.3)
        finally:
            await admin.close()


async def with_aiokafka():
    place = TopicPartition("quiet", 0)
    consumer = AIOKafkaConsumer("quiet", bootstrap_servers=server, fetch_max_wait_ms=10_000)
    second = AIOKafkaConsumer(bootstrap_servers=server)
    await consumer.start()
    await second.start()
    second.assign([place])
    for name, asked in {"aiokafka": consumer, "aiokafka, with a second consumer": second}.items():
        await consumer.getmany(timeout_ms=3000)
        began = time.monotonic()
        await asked.end_offsets([place])
        say(name, began)
    await consumer.stop()
    await second.stop()


def with_kafka_python():
    place = kafka.TopicPartition("quiet", 0)
    consumer = kafka.KafkaConsumer(bootstrap_servers=server, fetch_max_wait_ms=10_000)
    consumer.assign([place])
    consumer.poll(timeout_ms=3000)
    began = time.monotonic()
    consumer.end_offsets([place])
    say("kafka-python", began)
    consumer.close()


def with_confluent_kafka():
    place = confluent_kafka.TopicPartition("quiet", 0, 0)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server, "group.id": "librdkafka", "fetch.wait.max.ms": 10_000})
    consumer.assign([place])
    consumer.poll(3)
    began = time.monotonic()
    consumer.get_watermark_offsets(place, timeout=30)
    say("confluent-kafka", began)
    consumer.close()


asyncio.run(make_topic())
asyncio.run(with_aiokafka())
with_kafka_python()
with_confluent_kafka()
PYTHON
cat >"$folder/Ask.java" <<'JAVA'
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Ask {
    public static void main(String[] args) {
        var place = List.of(new TopicPartition("quiet", 0));
        for (String protocol : new String[] {"classic", "consumer"}) {
            var settings = Map.<String, Object>of("bootstrap.servers", System.getenv("SERVER"), "group.id", "java-" + protocol,
                "group.protocol", protocol, "fetch.max.wait.ms", 10_000);
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.assign(place);
                consumer.poll(Duration.ofSeconds(3));
                long began = System.nanoTime();
                consumer.endOffsets(place);
                System.out.println("Java, " + protocol + " " + (System.nanoTime() - began) / 1e9);
            }
        }
    }
}
JAVA
cat >"$folder/ask.mjs" <<'NODE'
import { Consumer } from '@platformatic/kafka'

const consumer = new Consumer({ groupId: 'node', clientId: 'node', bootstrapBrokers: [process.env.SERVER] })
const stream = await consumer.consume({ topics: ['quiet'], mode: 'earliest', autocommit: false, maxWaitTime: 10_000 })
stream.on('data', () => {})
await new Promise(resolve => setTimeout(resolve, 3000))
const began = performance.now()
await consumer.listOffsets({ topics: ['quiet'] })
console.log('@platformatic/kafka', (performance.now() - began) / 1000)
process.exit()
NODE
mkdir "$folder/go"
cat >"$folder/go/main.go" <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func withFranz() {
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Getenv("SERVER")), kgo.ConsumeTopics("quiet"), kgo.FetchMaxWait(10*time.Second))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	soon, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	client.PollFetches(soon)
	began := time.Now()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = "quiet", []kmsg.ListOffsetsRequestTopicPartition{kmsg.NewListOffsetsRequestTopicPartition()}
	topic.Partitions[0].Timestamp = -1
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID, request.Topics = -1, []kmsg.ListOffsetsRequestTopic{topic}
	answer, err := request.RequestWith(context.Background(), client)
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 {
		panic("no answer")
	}
	fmt.Println("franz-go", time.Since(began).Seconds())
}

func withSarama() {
	config := sarama.NewConfig()
	config.Consumer.MaxWaitTime = 10 * time.Second
	client, err := sarama.NewClient([]string{os.Getenv("SERVER")}, config)
	if err != nil {
		panic(err)
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		panic(err)
	}
	if _, err := consumer.ConsumePartition("quiet", 0, sarama.OffsetOldest); err != nil {
		panic(err)
	}
	time.Sleep(3 * time.Second)
	began := time.Now()
	if _, err := client.GetOffset("quiet", 0, sarama.OffsetNewest); err != nil {
		panic(err)
	}
	fmt.Println("sarama", time.Since(began).Seconds())
}

func main() {
	withSarama()
	withFranz()
}
GO
cd "$folder/go"
go mod init finding 2>/dev/null
go get github.com/twmb/franz-go@v1.22.3 github.com/twmb/franz-go/pkg/kmsg@v1.15.1 github.com/IBM/sarama@v1.61.1 2>/dev/null
go mod tidy 2>/dev/null
go build -o ../ask .
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-fund --no-audit node@22.22.0 @platformatic/kafka@2.12.1
timeout 120 venv/bin/python ask.py | tee times
timeout 120 java -cp "jars/*" Ask.java 2>>log | tee -a times
timeout 60 ./ask | tee -a times
timeout 60 node_modules/.bin/node --no-warnings ask.mjs | tee -a times
awk '{ waited = $NF >= 3 ? "waits" : "at once"; $NF = waited; print }' times >seen
diff seen - <<'SEEN'
aiokafka waits
aiokafka, with a second consumer at once
kafka-python waits
confluent-kafka waits
Java, classic waits
Java, consumer waits
sarama waits
franz-go at once
@platformatic/kafka at once
SEEN
