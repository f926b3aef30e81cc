#!/usr/bin/env bash
# Kafka Connect 4.4.0 misreads values of JSON records without an error. That its times have no more than milliseconds is known; less
# so that they become other times:
# - TimestampConverter takes a fraction's digits as a number of milliseconds, whatever the format says: 03:02:01.123456Z becomes
#   03:04:04.456, two minutes late, and .5 becomes .005.
# - Where the format ends before the text does, the rest is left out. With yyyy-MM-dd'T'HH:mm:ss, the only one that takes times with
#   and without a fraction, 03:02:01+03:00 becomes 03:02:01 in UTC, three hours late.
# - JsonConverter (schemas.enable=false) keeps the lowest 64 bits of an integer: 12345678901234567890 becomes -6101065172474983726.
# It hurts whoever brings events into tables with a sink. Python and pydantic write times with six digits, and once in a million
# with none, and so do our topics. The rows look fine.
# What helps: to leave times as text and to convert them in the database; long numbers as text from the start.
#
# What this does: gives JSON to the converter, and its answer to TimestampConverter, as a worker does. No broker is needed.
# Seen: the table that is printed. It fails when a line of it changes.
# Needs Java 17 and Maven.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-transforms</artifactId><version>4.4.0</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>4.4.0</version></dependency>
  </dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
cat >"$folder/Values.java" <<'JAVA'
import java.util.Date;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.transforms.TimestampConverter;

public class Values {
    static final JsonConverter CONVERTER = new JsonConverter();

    static SchemaAndValue read(String json) {
        return CONVERTER.toConnectData("topic", json.getBytes());
    }

    static void time(String format, String text) {
        try (var converter = new TimestampConverter.Value<SinkRecord>()) {
            converter.configure(Map.of("field", "at", "target.type", "Timestamp", "format", format));
            SchemaAndValue value = read("{\"at\": \"" + text + "\"}");
            SinkRecord record = converter.apply(new SinkRecord("topic", 0, null, null, value.schema(), value.value(), 0));
            System.out.println(format + " " + text + " becomes " + ((Date) ((Map<?, ?>) record.value()).get("at")).toInstant());
        }
    }

    public static void main(String[] args) {
        CONVERTER.configure(Map.of("schemas.enable", "false"), false);
        for (String format : new String[] {"yyyy-MM-dd'T'HH:mm:ss.SSSX", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSX"})
            for (String text : new String[] {"2026-05-04T03:02:01.123Z", "2026-05-04T03:02:01.123456Z", "2026-05-04T03:02:01.5Z"})
                time(format, text);
        for (String text : new String[] {"2026-05-04T03:02:01.123456Z", "2026-05-04T03:02:01Z", "2026-05-04T03:02:01+03:00"})
            time("yyyy-MM-dd'T'HH:mm:ss", text);
        for (String number : new String[] {"9223372036854775807", "9223372036854775808", "12345678901234567890"})
            System.out.println(number + " becomes " + ((Map<?, ?>) read("{\"number\": " + number + "}").value()).get("number"));
    }
}
JAVA
cd "$folder"
java -cp "jars/*" Values.java 2>log | tee seen || { cat log; exit 1; }
diff seen - <<'SEEN'
yyyy-MM-dd'T'HH:mm:ss.SSSX 2026-05-04T03:02:01.123Z becomes 2026-05-04T03:02:01.123Z
yyyy-MM-dd'T'HH:mm:ss.SSSX 2026-05-04T03:02:01.123456Z becomes 2026-05-04T03:04:04.456Z
yyyy-MM-dd'T'HH:mm:ss.SSSX 2026-05-04T03:02:01.5Z becomes 2026-05-04T03:02:01.005Z
yyyy-MM-dd'T'HH:mm:ss.SSSSSSX 2026-05-04T03:02:01.123Z becomes 2026-05-04T03:02:01.123Z
yyyy-MM-dd'T'HH:mm:ss.SSSSSSX 2026-05-04T03:02:01.123456Z becomes 2026-05-04T03:04:04.456Z
yyyy-MM-dd'T'HH:mm:ss.SSSSSSX 2026-05-04T03:02:01.5Z becomes 2026-05-04T03:02:01.005Z
yyyy-MM-dd'T'HH:mm:ss 2026-05-04T03:02:01.123456Z becomes 2026-05-04T03:02:01Z
yyyy-MM-dd'T'HH:mm:ss 2026-05-04T03:02:01Z becomes 2026-05-04T03:02:01Z
yyyy-MM-dd'T'HH:mm:ss 2026-05-04T03:02:01+03:00 becomes 2026-05-04T03:02:01Z
9223372036854775807 becomes 9223372036854775807
9223372036854775808 becomes -9223372036854775808
12345678901234567890 becomes -6101065172474983726
SEEN
