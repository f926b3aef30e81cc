#!/usr/bin/env bash
# jgo 3.2.0 resolves Kafka 4.1.0 beside log4j 2.24.3 to a broker of 4.1.0 with the kafka-clients of 3.8.0.
# For a list of dependencies (as its command line takes it) jgo imports the managed versions of every one of them, as if each
# were a BOM. log4j's parent POM manages kafka-clients, which log4j's own Kafka appender needs, and so decides Kafka's.
# A POM with the same two dependencies, resolved by the same jgo, gets 4.1.0, as Maven does.
#
# What this does: resolves both forms with jgo, and the POM with Maven where there is `mvn`. No jar is run.
# Seen: list 3.8.0, POM 4.1.0, Maven 4.1.0. It fails when one of them changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/pom.xml" <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
XML
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jgo==3.2.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

from jgo.maven import POM, MavenContext

folder = pathlib.Path(sys.argv[1])
context = MavenContext(repo_cache=folder / "repository", timeout=60)


def clients(dependencies):
    return next(each.version for each in dependencies if each.artifactId == "kafka-clients")


names = ("org.apache.kafka:kafka_2.13:4.1.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")
as_list = clients(context.resolver.resolve([context.create_dependency(name) for name in names])[1])
as_pom = clients(node.dep for node in context.pom_dependency_list(POM(folder / "pom.xml"))[1])
print(f"kafka_2.13 4.1.0 with log4j-slf4j-impl 2.24.3: kafka-clients {as_list} from the list, {as_pom} from the POM")
sys.exit((as_list, as_pom) != ("3.8.0", "4.1.0"))
PYTHON
if command -v mvn >/dev/null; then
  mvn -q -B -f "$folder/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:list -DoutputFile="$folder/maven.txt"
  grep -o 'kafka-clients:jar:4.1.0' "$folder/maven.txt"
else
  echo "no mvn here: Maven's answer was 4.1.0"
fi
