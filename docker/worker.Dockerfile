# syntax=docker/dockerfile:1
# A worker: takes photos from the queue and colors them. One build argument says for what hardware.
#     docker build -f docker/worker.Dockerfile -t autochrome-worker .
#     docker build -f docker/worker.Dockerfile -t autochrome-worker:cuda \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 --build-arg EXTRA=onnx-gpu .

FROM python:3.11-slim-trixie AS dependencies
WORKDIR /build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# Without the packages this installs only what they depend on: a change in our code leaves this layer as it is.
COPY pyproject.toml requirements.lock ./
RUN touch README.md
# PyTorch's index holds the same version as PyPI with a local label (2.13.0+cpu), which pip prefers.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# `onnx-gpu` adds what runs nets that people bring on a GPU.
ARG EXTRA=worker
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint requirements.lock --extra-index-url "$TORCH_INDEX" ".[$EXTRA]"

FROM python:3.11-slim-trixie
LABEL org.opencontainers.image.title="Autochrome worker" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 autochrome \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin autochrome \
    && install -d -o autochrome -g autochrome -m 0750 /data /cache
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY model/ model/
COPY service/ service/
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
