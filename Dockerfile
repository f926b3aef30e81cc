# The connector's image. It runs `connector run /etc/connector/connector.yaml`; mount your configuration there.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/connector
COPY pyproject.toml README.md LICENSE ./
# The dependencies change less often than the code, so they get their own layer, installed with an empty package.
RUN mkdir connector topics examples && touch connector/__init__.py && /opt/connector/bin/pip install --no-cache-dir .
COPY topics topics
COPY examples examples
COPY connector connector
RUN /opt/connector/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
# Webhooks wait in /var/lib/connector while Kafka is down (service.spool); mount a persistent disk there.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin connector \
    && install --directory --owner 10001 --mode 0700 /var/lib/connector
COPY --from=build /opt/connector /opt/connector
COPY examples /etc/connector/examples
ENV PATH=/opt/connector/bin:$PATH PYTHONUNBUFFERED=1 SERVICE_HOST=0.0.0.0 SERVICE_PORT=8080
USER 10001
WORKDIR /etc/connector
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"SERVICE_PORT\"]}/healthz', timeout=4)"]
CMD ["connector", "run", "/etc/connector/connector.yaml"]
