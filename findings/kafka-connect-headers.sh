#!/usr/bin/env bash
# Kafka Connect 4.4.0 guesses the type of each header, and does not give back the text that was there. The converter that a
# worker takes unless `header.converter` says otherwise (SimpleHeaderConverter) makes a number of all that looks like one: a
# fraction becomes a FLOAT32 of 7 digits, 1.0 becomes 1, and leading zeros, a plus sign and an exponent go.
# It hurts whoever reads CloudEvents in binary mode with a sink, or copies records with Connect: `ce_specversion` is no longer
# "1.0", an id such as "0042" or "7E2" is another one, 19999999.99 is 2.0E7, a phone number has lost its plus. `ce_time` is a
# date in one record and a text in the next, depending on how many digits its seconds have. That it guesses is documented,
# that it loses something is not.
# What helps: `header.converter=org.apache.kafka.connect.storage.StringConverter`, which keeps each text.
#
# What this does: gives headers to the converter that a worker has by default, and its answer back to it, as a worker does
# from a topic and to a topic. The same with StringConverter. No broker is needed.
# Seen: the table that is printed; StringConverter gives back all of them. It fails when one of them changes.
# Needs Java 17 and Maven.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>finding</artifactId><version>1</version>
  <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>4.4.0</version></dependency></dependencies>
</project>
POM
mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder/jars"
cat >"$folder/Headers.java" <<'JAVA'
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.runtime.standalone.StandaloneConfig;
import org.apache.kafka.connect.storage.HeaderConverter;

public class Headers {
    static final String[] HEADERS = {
        "ce_specversion=1.0", "ce_id=0042", "ce_id=7E2", "ce_id=1e-7", "ce_type=salesforce.change.Case",
        "ce_time=2026-05-04T03:02:01.123Z", "ce_time=2026-05-04T03:02:01.123456Z", "content-type=application/json",
        "amount=1234567.89", "amount=19999999.99", "latitude=41.0082376", "phone=+905551112233",
    };

    public static void main(String[] args) throws Exception {
        var needed = Map.of("bootstrap.servers", "127.0.0.1:9092", "offset.storage.file.filename", "unused",
            "key.converter", args[0], "value.converter", args[0]);
        var byDefault = new StandaloneConfig(needed).getClass("header.converter");
        for (Class<?> kind : new Class<?>[] {byDefault, Class.forName(args[0])}) {
            var converter = (HeaderConverter) kind.getDeclaredConstructor().newInstance();
            converter.configure(Map.of("converter.type", "header"));
            int lost = 0;
            for (String header : HEADERS) {
                String name = header.substring(0, header.indexOf('=')), text = header.substring(header.indexOf('=') + 1);
                SchemaAndValue value = converter.toConnectHeader("topic", name, text.getBytes(StandardCharsets.UTF_8));
                byte[] back = converter.fromConnectHeader("topic", name, value.schema(), value.value());
                String again = new String(back, StandardCharsets.UTF_8);
                lost += again.equals(text) ? 0 : 1;
                String type = value.schema().name() == null ? value.schema().type().toString() : value.schema().name();
                if (kind == byDefault)
                    System.out.println(name + " " + text + " " + type.substring(type.lastIndexOf('.') + 1) + " " + again);
            }
            System.out.println(kind.getSimpleName() + " changed " + lost + " of " + HEADERS.length);
        }
    }
}
JAVA
cd "$folder"
java -cp "jars/*" Headers.java org.apache.kafka.connect.storage.StringConverter 2>log | tee seen || { cat log; exit 1; }
diff seen - <<'SEEN'
ce_specversion 1.0 INT8 1
ce_id 0042 INT8 42
ce_id 7E2 INT16 700
ce_id 1e-7 FLOAT32 1.0E-7
ce_type salesforce.change.Case STRING salesforce.change.Case
ce_time 2026-05-04T03:02:01.123Z Timestamp 2026-05-04T03:02:01.123Z
ce_time 2026-05-04T03:02:01.123456Z STRING 2026-05-04T03:02:01.123456Z
content-type application/json STRING application/json
amount 1234567.89 FLOAT32 1234567.9
amount 19999999.99 FLOAT32 2.0E7
latitude 41.0082376 FLOAT32 41.008236
phone +905551112233 INT64 905551112233
SimpleHeaderConverter changed 8 of 12
StringConverter changed 0 of 12
SEEN
