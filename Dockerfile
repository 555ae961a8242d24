# One image for every process of ours: docker-compose.yml says which command each service runs.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY alerts alerts
COPY api api
COPY broker broker
COPY cli cli
COPY dashboard dashboard
COPY ingest ingest
COPY maintenance maintenance
COPY sensors sensors
COPY simulators simulators
COPY stack stack
COPY storage storage
RUN python -m venv /opt/alatau \
    && /opt/alatau/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && python -m venv /opt/bom \
    && /opt/bom/bin/pip install --no-cache-dir --constraint constraints.txt cyclonedx-bom \
    && /opt/bom/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
        --output-file /opt/alatau/sbom.json /opt/alatau/bin/python

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/alatau /opt/alatau
COPY --chmod=755 deploy/prepare.sh /opt/alatau/bin/alatau-prepare
# A new volume mounted here takes the directory's owner: the user that the broker's image runs as, and our own.
RUN install -d -o 1883 -g 1883 -m 700 /broker /certificates \
    && install -d -o 1883 -g 1883 -m 755 /trust \
    && install -d -o 10001 -g 10001 -m 700 /exports \
    && useradd --system --uid 10001 --no-create-home alatau
ENV PATH=/opt/alatau/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001:10001
CMD ["alatau", "--help"]
