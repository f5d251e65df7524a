# syntax=docker/dockerfile:1
# The web page and the REST API. No torch: what needs the network goes to a worker through the queue.
#     docker build -f docker/api.Dockerfile -t autochrome-api .
# 3.11.15 on Debian 13, of 2026-08-05, for every architecture. `make images` builds on another.
ARG BASE=python:3.11-slim-trixie@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff

FROM ${BASE} AS dependencies
WORKDIR /build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY docker/api.lock image.lock
# Wheels alone, so that nothing is compiled; no tests of packages, and no pip, which nothing needs when it runs.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement image.lock \
    && pip check \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && pip uninstall --yes setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="Autochrome API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY model/__init__.py model/errors.py model/image_headers.py model/machine.py model/
COPY model/formats/__init__.py model/formats/header_source.py model/formats/raster_headers.py \
     model/formats/tiff_headers.py model/formats/box_headers.py model/formats/
COPY model/metadata/__init__.py model/metadata/tiff.py model/metadata/
COPY autochrome.py autochrome.py
COPY service/ service/
RUN /opt/venv/bin/python -m compileall -q /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AUTOCHROME_HOST=0.0.0.0 \
    AUTOCHROME_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"AUTOCHROME_PORT\"]}/livez', timeout=4)"]
CMD ["python", "-m", "service", "api"]
