#!/usr/bin/env bash
# Kafka Streams 4.4.0 loses results of EmitStrategy.onWindowClose() when it was quiet. Its javadoc says that a result comes when
# the window closes, which is when a later record arrives. But that record goes into the store first. The store then counts
# older windows as expired, since it keeps them no longer than they are open, and the search for closed ones finds nothing.
# A session is lost if the next record (of any key) comes much later than its gap, and so are sliding windows: with this strategy
# both have no cache. Tumbling and hopping ones are lost without a cache, too: `statestore.cache.max.bytes=0`, or
# Materialized.withCachingDisabled().
# It hurts whoever sums up events by window, such as answers by customer and hour: the last windows before a night, a weekend or
# a stop are missing, without an error or a line in the log. A test that sends the next record soon passes.
# What helps: a retention longer than any quiet time (Materialized.withRetention), or .suppress(untilWindowCloses(...)).
#
# What this does: Kafka's own TopologyTestDriver, with RocksDB as always, counts records by windows of an hour. Ada's record is of
# 12:00, Bob's of 12:20. The next one is Eve's, 90 minutes or 15 hours after Ada's, and she sends one more 4 hours later. All
# this with the default cache and without one, with a retention of a week, and with suppress() in place of onWindowClose().
# Seen: whose count came, as printed. With the retention and with suppress() all came.
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
cat >"$folder/Windows.java" <<'JAVA'
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

public class Windows {
    static final Duration HOUR = Duration.ofHours(1), WEEK = Duration.ofDays(7);
    static final String[] KINDS = {"tumbling", "hopping", "sliding", "session"};

    static KTable<Windowed<String>, Long> counted(KGroupedStream<String, String> stream, String kind, String how) {
        var when = how.equals("suppress") ? EmitStrategy.onWindowUpdate() : EmitStrategy.onWindowClose();
        var windows = Materialized.<String, Long, WindowStore<Bytes, byte[]>>with(Serdes.String(), Serdes.Long());
        var sessions = Materialized.<String, Long, SessionStore<Bytes, byte[]>>with(Serdes.String(), Serdes.Long());
        if (how.equals("retention")) {
            windows = windows.withRetention(WEEK);
            sessions = sessions.withRetention(WEEK);
        }
        var hour = TimeWindows.ofSizeWithNoGrace(HOUR);
        var table = switch (kind) {
            case "tumbling" -> stream.windowedBy(hour).emitStrategy(when).count(windows);
            case "hopping" -> stream.windowedBy(hour.advanceBy(Duration.ofMinutes(30))).emitStrategy(when).count(windows);
            case "sliding" -> stream.windowedBy(SlidingWindows.ofTimeDifferenceWithNoGrace(HOUR)).emitStrategy(when).count(windows);
            default -> stream.windowedBy(SessionWindows.ofInactivityGapWithNoGrace(HOUR)).emitStrategy(when).count(sessions);
        };
        return how.equals("suppress") ? table.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded())) : table;
    }

    static String tried(String kind, String how, Duration quiet) {
        var builder = new StreamsBuilder();
        var stream = builder.stream("answers", Consumed.with(Serdes.String(), Serdes.String()));
        var grouped = stream.groupByKey(Grouped.with(Serdes.String(), Serdes.String()));
        counted(grouped, kind, how).toStream((window, count) -> window.key()).to("counts", Produced.with(Serdes.String(), Serdes.Long()));
        var properties = new Properties();
        properties.put("application.id", "finding");
        properties.put("bootstrap.servers", "127.0.0.1:9");
        if (how.equals("no cache")) properties.put("statestore.cache.max.bytes", "0");
        var noon = Instant.parse("2026-05-04T12:00:00Z");
        try (var driver = new TopologyTestDriver(builder.build(), properties, noon)) {
            var answers = driver.createInputTopic("answers", new StringSerializer(), new StringSerializer(), noon, Duration.ZERO);
            var counts = driver.createOutputTopic("counts", new StringDeserializer(), Serdes.Long().deserializer());
            answers.pipeInput("Ada", "yes", noon);
            driver.advanceWallClockTime(Duration.ofMinutes(20));
            answers.pipeInput("Bob", "yes", noon.plus(Duration.ofMinutes(20)));
            driver.advanceWallClockTime(quiet.minusMinutes(20));
            answers.pipeInput("Eve", "yes", noon.plus(quiet));
            driver.advanceWallClockTime(Duration.ofHours(4));
            answers.pipeInput("Eve", "yes", noon.plus(quiet).plus(Duration.ofHours(4)));
            var names = new TreeSet<String>();
            counts.readKeyValuesToList().forEach(count -> names.add(count.key));
            names.remove("Eve");
            return names.toString();
        }
    }

    public static void main(String[] args) {
        for (String how : new String[] {"default cache", "no cache", "retention", "suppress"})
            for (Duration quiet : new Duration[] {Duration.ofMinutes(90), Duration.ofHours(15)}) {
                var line = new StringBuilder(how + ", next record after " + quiet.toMinutes() + " minutes:");
                for (String kind : KINDS) line.append(" ").append(kind).append(" ").append(tried(kind, how, quiet));
                System.out.println(line);
            }
    }
}
JAVA
cd "$folder"
timeout 300 java -Djava.io.tmpdir="$folder" -cp "jars/*" Windows.java 2>log | tee seen || { cat log; exit 1; }
diff seen - <<'SEEN'
default cache, next record after 90 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada, Bob] session []
default cache, next record after 900 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada] session []
no cache, next record after 90 minutes: tumbling [Ada, Bob] hopping [] sliding [Ada, Bob] session []
no cache, next record after 900 minutes: tumbling [] hopping [] sliding [Ada] session []
retention, next record after 90 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada, Bob] session [Ada, Bob]
retention, next record after 900 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada, Bob] session [Ada, Bob]
suppress, next record after 90 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada, Bob] session [Ada, Bob]
suppress, next record after 900 minutes: tumbling [Ada, Bob] hopping [Ada, Bob] sliding [Ada, Bob] session [Ada, Bob]
SEEN
