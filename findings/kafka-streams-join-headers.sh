#!/usr/bin/env bash
# In Kafka Streams 4.4.0 results of one customer carry the headers of another. A left or outer join of two streams hands out what
# found no partner once its window is closed, that is while it works on a later record of any key, and gives it that record's
# headers. So does a windowed aggregation with EmitStrategy.onWindowClose(). `dsl.store.format=HEADERS`, new in 4.3, does not
# change it. Its documentation says that such a join loses headers, not that it puts others in their place (KAFKA-20413).
# It hurts whoever joins CloudEvents in Kafka's binary mode: "invited, no answer" of one customer goes out with the `ce_id`,
# `ce_subject` and `traceparent` of somebody else's event, and several results have one `ce_id`: who leaves out repeated ids loses
# all but the first. (That a result which found its partner has the headers of the one that came last is known.)
# Dead letters go wrong in the same way (`errors.dead.letter.queue.topic.name`): if the next step fails with Ada's result,
# it is Eve's event that becomes a dead letter, though nothing is wrong with it, and no dead letter holds Ada's.
# What helps: writing the headers anew from key and value after each such step. suppress() gives each result its own.
#
# What this does: Kafka's own TopologyTestDriver joins invitations with answers in a window of an hour, and counts invitations by
# hour. Ada's and Bob's are of 12:00 and 12:01, and nobody answers. Eve's is of the next day. With both formats of stores.
# Then a step after each of them fails with Ada's result, and Streams writes a dead letter and goes on.
# Seen: the results of Ada and Bob have Eve's `ce_id` and `ce_subject`, and three dead letters are Eve's; with suppress() each is its own.
# Needs Java 17 and Maven.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams-test-utils</artifactId><version>4.4.0</version></dependency></dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
cat >"$folder/Joins.java" <<'JAVA'
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.test.TestRecord;

public class Joins {
    static final Duration HOUR = Duration.ofHours(1);
    static final String[] RESULTS = {"leftJoin", "outerJoin", "onWindowClose", "suppress"};

    static TestRecord<String, String> event(String id, String who, String time) {
        var headers = new RecordHeaders();
        headers.add("ce_id", id.getBytes(StandardCharsets.UTF_8)).add("ce_subject", who.getBytes(StandardCharsets.UTF_8));
        return new TestRecord<>(who, "invited", headers, Instant.parse(time));
    }

    static String workedOn(String who, Object result, boolean failing) {
        if (failing && who.equals("ada")) throw new IllegalStateException("no work on " + who);
        return String.valueOf(result);
    }

    static void tried(String format, boolean failing) {
        Serde<String> text = Serdes.String();
        var builder = new StreamsBuilder();
        var invitations = builder.stream("invitations", Consumed.with(text, text));
        var answers = builder.stream("answers", Consumed.with(text, text));
        var window = JoinWindows.ofTimeDifferenceWithNoGrace(HOUR);
        var with = StreamJoined.with(text, text, text);
        var to = Produced.with(text, text);
        invitations.leftJoin(answers, (invitation, answer) -> invitation + ", " + answer, window, with)
            .mapValues((who, result) -> workedOn(who, result, failing)).to("leftJoin", to);
        invitations.outerJoin(answers, (invitation, answer) -> invitation + ", " + answer, window, with)
            .mapValues((who, result) -> workedOn(who, result, failing)).to("outerJoin", to);
        var grouped = invitations.groupByKey(Grouped.with(text, text));
        var hours = TimeWindows.ofSizeWithNoGrace(HOUR);
        grouped.windowedBy(hours).emitStrategy(EmitStrategy.onWindowClose()).count()
            .toStream((hour, count) -> hour.key()).mapValues((who, result) -> workedOn(who, result, failing)).to("onWindowClose", to);
        grouped.windowedBy(hours).count().suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
            .toStream((hour, count) -> hour.key()).mapValues((who, result) -> workedOn(who, result, failing)).to("suppress", to);
        var properties = new Properties();
        properties.put("application.id", "finding");
        properties.put("bootstrap.servers", "127.0.0.1:9");
        properties.put("dsl.store.format", format);
        properties.put("errors.dead.letter.queue.topic.name", "dead");
        properties.put("processing.exception.handler", LogAndContinueProcessingExceptionHandler.class);
        try (var driver = new TopologyTestDriver(builder.build(), properties, Instant.parse("2026-05-04T12:00:00Z"))) {
            var in = driver.createInputTopic("invitations", new StringSerializer(), new StringSerializer());
            in.pipeInput(event("id-of-ada", "ada", "2026-05-04T12:00:00Z"));
            in.pipeInput(event("id-of-bob", "bob", "2026-05-04T12:01:00Z"));
            driver.advanceWallClockTime(Duration.ofHours(20));
            in.pipeInput(event("id-of-eve", "eve", "2026-05-05T08:00:00Z"));
            for (String topic : failing ? new String[] {"dead"} : RESULTS)
                for (var record : driver.createOutputTopic(topic, new StringDeserializer(), new StringDeserializer()).readRecordsToList()) {
                    var line = new StringBuilder(format + " " + topic + ": " + record.key() + " (" + record.value() + ")");
                    record.headers().forEach(header -> {
                        if (header.key().startsWith("ce_") || header.key().equals("__streams.errors.message"))
                            line.append(" ").append(header.key()).append("=").append(new String(header.value(), StandardCharsets.UTF_8));
                    });
                    System.out.println(line);
                }
        }
    }

    public static void main(String[] args) {
        tried("DEFAULT", false);
        tried("HEADERS", false);
        tried("DEFAULT", true);
    }
}
JAVA
cd "$folder"
timeout 300 java -Djava.io.tmpdir="$folder" -cp "jars/*" Joins.java 2>log | tee seen || { cat log; exit 1; }
diff seen - <<'SEEN'
DEFAULT leftJoin: ada (invited, null) ce_id=id-of-eve ce_subject=eve
DEFAULT leftJoin: bob (invited, null) ce_id=id-of-eve ce_subject=eve
DEFAULT outerJoin: ada (invited, null) ce_id=id-of-eve ce_subject=eve
DEFAULT outerJoin: bob (invited, null) ce_id=id-of-eve ce_subject=eve
DEFAULT onWindowClose: ada (1) ce_id=id-of-eve ce_subject=eve
DEFAULT onWindowClose: bob (1) ce_id=id-of-eve ce_subject=eve
DEFAULT suppress: ada (1) ce_id=id-of-ada ce_subject=ada
DEFAULT suppress: bob (1) ce_id=id-of-bob ce_subject=bob
HEADERS leftJoin: ada (invited, null) ce_id=id-of-eve ce_subject=eve
HEADERS leftJoin: bob (invited, null) ce_id=id-of-eve ce_subject=eve
HEADERS outerJoin: ada (invited, null) ce_id=id-of-eve ce_subject=eve
HEADERS outerJoin: bob (invited, null) ce_id=id-of-eve ce_subject=eve
HEADERS onWindowClose: ada (1) ce_id=id-of-eve ce_subject=eve
HEADERS onWindowClose: bob (1) ce_id=id-of-eve ce_subject=eve
HEADERS suppress: ada (1) ce_id=id-of-ada ce_subject=ada
HEADERS suppress: bob (1) ce_id=id-of-bob ce_subject=bob
DEFAULT dead: eve (invited) ce_id=id-of-eve ce_subject=eve __streams.errors.message=no work on ada
DEFAULT dead: eve (invited) ce_id=id-of-eve ce_subject=eve __streams.errors.message=no work on ada
DEFAULT dead: eve (invited) ce_id=id-of-eve ce_subject=eve __streams.errors.message=no work on ada
DEFAULT dead: ada (invited) ce_id=id-of-ada ce_subject=ada __streams.errors.message=no work on ada
SEEN
