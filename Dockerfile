# syntax=docker/dockerfile:1
# wellread as an image: the same make target as on a laptop, then a slim runtime without a shell user's rights.
#   docker build -t wellread .
#   docker run --rm -v wellread-data:/data -v wellread-cache:/cache wellread ingest --set source.site=https://example.org/docs/
#   docker run --rm -v wellread-data:/data -v wellread-cache:/cache wellread index
#   docker run --rm -p 127.0.0.1:8000:8000 -v wellread-data:/data -v wellread-cache:/cache wellread
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
# Extras of pyproject.toml to install, separated by commas; empty for none.
ARG EXTRAS=postgres
ENV UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends make=4.3-4.1 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/root/.cache make install EXTRAS="${EXTRAS}"

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="wellread" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --create-home wellread \
 && install -d -o wellread -g wellread /data /cache
# The virtual environment names its own path, so it stays where it was made.
COPY --from=builder /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    WELLREAD_CACHE=/cache/wellread \
    HF_HOME=/cache/huggingface \
    GRADIO_ANALYTICS_ENABLED=False \
    OMP_WAIT_POLICY=PASSIVE
# `.wellread` and `wellread.yaml` are looked for in the working directory.
WORKDIR /data
VOLUME ["/data", "/cache"]
USER 10001
EXPOSE 8000
# A first start unpacks the model before it listens.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["wellread"]
CMD ["chat", "--set", "serve.host=0.0.0.0", "--set", "serve.port=8000"]
