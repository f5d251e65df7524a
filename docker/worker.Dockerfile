# syntax=docker/dockerfile:1
# A worker: takes photos from the queue and colors them. A build argument says for what hardware; on a CPU there is no torch in it.
#     docker build -f docker/worker.Dockerfile -t autochrome-worker .
#     docker build -f docker/worker.Dockerfile -t autochrome-worker:cuda --build-arg LOCK=docker/gpu.lock .
# 3.11.15 on Debian 13, of 2026-08-05, for every architecture. `make images` builds on another.
ARG BASE=python:3.11-slim-trixie@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff

FROM ${BASE} AS dependencies
WORKDIR /build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# `docker/gpu.lock` has torch with CUDA's libraries, and what runs nets that people bring on a GPU.
ARG LOCK=docker/worker.lock
COPY ${LOCK} image.lock
# Wheels alone, so that nothing is compiled; no tests of packages, and no pip, which nothing needs when it runs.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement image.lock \
    && pip check \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && pip uninstall --yes setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="Autochrome worker" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data /cache
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY model/ model/
COPY service/ service/
RUN /opt/venv/bin/python -m compileall -q /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    AUTOCHROME_CACHE_DIR=/cache \
    AUTOCHROME_DEVICE=auto
USER 10001:10001
# Loading the net comes before the first beat.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "service", "health"]
CMD ["python", "-m", "service", "worker"]
