#!/usr/bin/env bash
# The dead letters of Kafka 4.4.0's share groups (`errors.deadletterqueue.topic.name`, new in 4.4.0) have lost the record's headers
# and its time, also with `errors.deadletterqueue.copy.record.enable=true`: only key and value are copied. KIP-1191 says that the
# broker can include "the header, key and value", and the setting's text is "whether to copy the original record". The dead letters
# of Kafka Streams 4.4.0 keep headers and time.
# It hurts whoever reads CloudEvents in binary mode with a share group: a dead letter has no `ce_id`, `ce_type`, `content-type` and
# `traceparent`, so a replay of the dead letters writes records that no reader takes for events. The original has all of it,
# as long as it is kept; `__dlq.errors.topic`, `__dlq.errors.partition` and `__dlq.errors.offset` say where it is. Kafka's main
# branch copies the headers since, not the time.
# A group also takes the name of a topic that is not there, that does not begin with "dlq.", or that lacks
# `errors.deadletterqueue.group.enable=true`. Then what is rejected is gone, and neither the admin nor the consumer gets an error.
# What helps: to write dead letters in the consumer, before it rejects.
#
# What this does, on a Kafka 4.4.0 of its own: a share group rejects three CloudEvents, and its dead letters are read. The same with
# a topic that lacks the setting, one of another name, and none.
# Seen: three dead letters with key and value, without any of the four headers, and with the time of the rejection; else none.
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
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
PROPERTIES
java -cp "$folder/jars/*" kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$folder/server.properties" >"$folder/log"
java -Xmx512m -cp "$folder/jars/*" kafka.Kafka "$folder/server.properties" >>"$folder/log" 2>&1 &
broker=$!
cat >"$folder/Rejected.java" <<'JAVA'
import java.time.Duration;
import java.time.Instant;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

public class Rejected {
    static final String SERVER = System.getenv("SERVER");
    static final Map<String, String> HEADERS = new TreeMap<>(Map.of("ce_specversion", "1.0", "ce_id", "7f3a",
        "ce_type", "salesforce.change.Case", "content-type", "application/json"));
    static final long TIME = Instant.parse("2026-05-04T03:02:01Z").toEpochMilli();

    static void write(String topic) throws Exception {
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", SERVER), new StringSerializer(), new StringSerializer())) {
            for (int number = 0; number < 3; number++) {
                var record = new ProducerRecord<>(topic, 0, TIME, "500" + number, "{\"Id\": \"500" + number + "\"}");
                HEADERS.forEach((name, value) -> record.headers().add(name, value.getBytes()));
                producer.send(record).get();
            }
        }
    }

    static void tried(Admin admin, String source, String deadLetters, boolean there, String enabled) throws Exception {
        var topics = new ArrayList<>(List.of(new NewTopic(source, 1, (short) 1)));
        if (there)
            topics.add(new NewTopic(deadLetters, 1, (short) 1).configs(Map.of("errors.deadletterqueue.group.enable", enabled)));
        admin.createTopics(topics).all().get();
        var group = new ConfigResource(ConfigResource.Type.GROUP, "group-" + source);
        var settings = Map.of("share.auto.offset.reset", "earliest", "errors.deadletterqueue.topic.name", deadLetters,
            "errors.deadletterqueue.copy.record.enable", "true");
        var changes = new ArrayList<AlterConfigOp>();
        settings.forEach((name, value) -> changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(Map.of(group, changes)).all().get();

        int rejected = 0, errors = 0;
        var reads = Map.<String, Object>of("bootstrap.servers", SERVER, "group.id", "group-" + source, "share.acknowledgement.mode", "explicit");
        try (var consumer = new KafkaShareConsumer<>(reads, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(source));
            for (int turn = 0; turn < 60 && rejected < 3; turn++) {
                if (turn % 10 == 3 && rejected == 0) write(source);  // again, should the group have begun behind the first ones
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    consumer.acknowledge(record, AcknowledgeType.REJECT);
                    rejected++;
                }
                for (var error : consumer.commitSync().values()) errors += error.isPresent() ? 1 : 0;
            }
        }
        int whole = 0, headers = 0, times = 0, found = 0;
        Thread.sleep(3000);
        if (there)
            try (var consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", SERVER), new StringDeserializer(), new StringDeserializer())) {
                var place = List.of(new TopicPartition(deadLetters, 0));
                consumer.assign(place);
                consumer.seekToBeginning(place);
                for (int turn = 0; turn < 5; turn++)
                    for (var record : consumer.poll(Duration.ofSeconds(1))) {
                        found++;
                        if (record.value() != null && record.value().contains(record.key())) whole++;
                        for (Header header : record.headers()) headers += HEADERS.containsKey(header.key()) ? 1 : 0;
                        times += record.timestamp() == TIME ? 1 : 0;
                    }
            }
        System.out.println(source + ": rejected " + rejected + ", errors " + errors + ", dead letters " + found + ", with key and value " + whole
            + ", headers kept " + headers + " of " + HEADERS.size() * found + ", times kept " + times);
    }

    public static void main(String[] args) throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", SERVER))) {
            tried(admin, "copied", "dlq.copied", true, "true");
            tried(admin, "not-enabled", "dlq.not-enabled", true, "false");
            tried(admin, "other-name", "dead-letters", true, "true");
            tried(admin, "no-topic", "dlq.no-topic", false, "");
        }
    }
}
JAVA
cd "$folder"
SERVER=127.0.0.1:$port timeout 240 java -cp "jars/*" Rejected.java 2>>log | tee seen || { tail log; exit 1; }
diff seen - <<'SEEN'
copied: rejected 3, errors 0, dead letters 3, with key and value 3, headers kept 0 of 12, times kept 0
not-enabled: rejected 3, errors 0, dead letters 0, with key and value 0, headers kept 0 of 0, times kept 0
other-name: rejected 3, errors 0, dead letters 0, with key and value 0, headers kept 0 of 0, times kept 0
no-topic: rejected 3, errors 0, dead letters 0, with key and value 0, headers kept 0 of 0, times kept 0
SEEN
