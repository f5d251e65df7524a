# syntax=docker/dockerfile:1
# The Reddit bot: a client of the API, without torch and without the service.
#     docker build -f docker/bot.Dockerfile -t autochrome-bot .
# 3.11.15 on Debian 13, of 2026-08-05, for every architecture. `make images` builds on another.
ARG BASE=python:3.11-slim-trixie@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff

FROM ${BASE} AS dependencies
WORKDIR /build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY docker/bot.lock image.lock
# Wheels alone, so that nothing is compiled; no tests of packages, and no pip, which nothing needs when it runs.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement image.lock \
    && pip check \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && pip uninstall --yes setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="Autochrome Reddit bot" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY autochrome.py autochrome.py
COPY bot/ bot/
RUN /opt/venv/bin/python -m compileall -q /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BOT_STATE_DIR=/data
USER 10001:10001
# A round that Reddit holds up for ten minutes is no illness.
HEALTHCHECK --interval=60s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, sys, time; sys.exit(time.time() - os.stat('/data/health').st_mtime > 900)"]
CMD ["python", "-m", "bot"]
