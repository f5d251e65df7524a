# syntax=docker/dockerfile:1
# The Reddit bot: a client of the API, without torch and without the service.
#     docker build -f docker/bot.Dockerfile -t autochrome-bot .

FROM python:3.11-slim-trixie AS dependencies
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# Without the packages this installs only what they depend on: a change in our code leaves this layer as it is.
COPY pyproject.toml requirements.lock ./
RUN touch README.md
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint requirements.lock ".[bot]"

FROM python:3.11-slim-trixie
LABEL org.opencontainers.image.title="Autochrome Reddit bot" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY bot/ bot/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BOT_STATE_DIR=/data
USER 10001:10001
# A round that Reddit holds up for ten minutes is no illness.
HEALTHCHECK --interval=60s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, sys, time; sys.exit(time.time() - os.stat('/data/health').st_mtime > 900)"]
CMD ["python", "-m", "bot"]
