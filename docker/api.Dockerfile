# syntax=docker/dockerfile:1
# The web page and the REST API. No torch: what needs the network goes to a worker through the queue.
#     docker build -f docker/api.Dockerfile -t autochrome-api .

FROM python:3.11-slim-trixie AS dependencies
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# Without the packages this installs only what they depend on: a change in our code leaves this layer as it is.
COPY pyproject.toml requirements.lock ./
RUN touch README.md
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint requirements.lock ".[api]"

FROM python:3.11-slim-trixie
LABEL org.opencontainers.image.title="Autochrome API" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY model/__init__.py model/errors.py model/image_headers.py model/
COPY model/formats/__init__.py model/formats/header_source.py model/formats/box_headers.py \
     model/formats/raster_headers.py model/formats/tiff_headers.py model/formats/
COPY service/ service/
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
