# The connector's image: `docker run IMAGE COMMAND` is `connector COMMAND`. Without a command it runs the configuration that
# you mount at /etc/connector/connector.yaml. `docker run IMAGE demo` needs nothing. The root file system may be read-only,
# with a tmpfs at /tmp.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_PYTHON=/opt/connector/bin/python
RUN python -m venv --without-pip /opt/connector
# The dependencies change less often than the code, so they get their own layer. Two builds of one commit install the same
# files: pip checks the lock's hashes, and compiled files that carry no times follow at the end.
COPY requirements.txt ./
RUN python -m pip install --no-compile --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY topics topics
COPY examples examples
COPY connector connector
RUN python -m pip install --no-compile --no-deps . \
    && /opt/connector/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/connector/lib

FROM python:3.11-slim-bookworm
# Webhooks wait in /var/lib/connector while Kafka is down (service.spool); mount a persistent disk there.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin connector \
    && install --directory --owner 10001 --mode 0700 /var/lib/connector
COPY --from=build /opt/connector /opt/connector
COPY examples /etc/connector/examples
ENV PATH=/opt/connector/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_CACHE_HOME=/tmp/cache \
    SERVICE_HOST=0.0.0.0 SERVICE_PORT=8080
USER 10001
WORKDIR /etc/connector
EXPOSE 8080
# Over http first, and without Python, whose start would take more CPU time than the idle service. Only where that fails, as
# with service.tls, Python asks over https; it trusts any certificate, because it asks this container.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["bash", "-c", "\
    { exec 3<>/dev/tcp/127.0.0.1/$SERVICE_PORT && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 \
        && read -r _ status _ <&3 && [ \"$status\" = 200 ]; } || exec python -ISc \"\
import http.client, ssl, sys; \
page = http.client.HTTPSConnection('127.0.0.1', $SERVICE_PORT, context=ssl._create_unverified_context()); \
page.request('GET', '/healthz'); sys.exit(page.getresponse().status != 200)\""]
ENTRYPOINT ["connector"]
CMD ["run", "/etc/connector/connector.yaml"]
