# syntax=docker/dockerfile:1
# The serving image. Three stages: build the wheels, convert weights if requested, serve.
#   docker build .                                     the bundled weights; TensorFlow is never installed
#   docker build --build-arg WEIGHTS=imagenet .        converts while building; TensorFlow stays out of the image
#                                                      (WEIGHTS_URL=...: downloads the weights from a mirror)
ARG PYTHON=3.11.17-slim-trixie

FROM python:${PYTHON} AS wheels
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements-serve.txt requirements-parquet.txt requirements-milvus.txt constraints.txt ./
# By default, Annoy compiles for the processor of the build machine (-march=native), and may crash on others.
# ANNOY_COMPILER_ARGS replaces all default flags, so this is the complete list, separated by commas: the defaults of
# annoy 1.17.3 with a portable -march (x86-64-v3: any x86 server since 2013; on Arm: armv8-a).
ARG ANNOY_MARCH=
RUN march="${ANNOY_MARCH:-$([ "$(uname -m)" = x86_64 ] && echo x86-64-v3 || echo armv8-a)}" \
 && export ANNOY_COMPILER_ARGS="-D_CRT_SECURE_NO_WARNINGS,-fpermissive,-march=${march},-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14" \
 && pip wheel --no-cache-dir --wheel-dir /wheels -r requirements-serve.txt
COPY index/lists/ranking.c ./
RUN cc -O3 -shared -fPIC -o librobotoff-ann.so ranking.c
# With any text, the image can also export and import Parquet files, and is 170 MB larger.
ARG PARQUET=
RUN if [ -n "$PARQUET" ]; then pip wheel --no-cache-dir --wheel-dir /wheels -r requirements-parquet.txt; fi
# With any text, the image can also use Milvus (ANN_ENGINE=milvus), and is 120 MB larger.
ARG MILVUS=
RUN if [ -n "$MILVUS" ]; then pip wheel --no-cache-dir --wheel-dir /wheels -r requirements-milvus.txt; fi

FROM python:${PYTHON} AS weights
WORKDIR /app
ARG MODEL=efficientnet-lite0
ARG WEIGHTS=bundled
ARG WEIGHTS_URL=
COPY requirements.txt requirements-serve.txt requirements-parquet.txt constraints.txt ./
COPY --from=wheels /wheels /wheels
RUN if [ "$WEIGHTS" != bundled ]; then pip install --no-cache-dir --find-links /wheels -r requirements.txt; fi
COPY *.py ./
COPY api api
COPY commands commands
COPY embeddings embeddings
COPY index index
COPY runtime runtime
RUN if [ "$WEIGHTS" != bundled ]; then \
        ANN_WEIGHTS_URL="$WEIGHTS_URL" python manage.py export-model --model "$MODEL" --weights "$WEIGHTS" --output embeddings/weights \
        && rm -rf embeddings/weights/downloads; \
    fi

FROM python:${PYTHON}
ARG OFF_UID=1000
ARG OFF_GID=$OFF_UID
ARG MODEL=efficientnet-lite0
ARG WEIGHTS=bundled
ARG PARQUET=
ARG MILVUS=
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ANN_MODEL=$MODEL \
    ANN_WEIGHTS=$WEIGHTS \
    ANN_DATA_DIR=/data
RUN groupadd --gid "$OFF_GID" off \
 && useradd --uid "$OFF_UID" --gid "$OFF_GID" --create-home off \
 && install --directory --owner=off --group=off /data
RUN --mount=from=wheels,source=/wheels,target=/wheels \
    --mount=source=requirements-serve.txt,target=/tmp/requirements-serve.txt \
    --mount=source=requirements-parquet.txt,target=/tmp/requirements-parquet.txt \
    --mount=source=requirements-milvus.txt,target=/tmp/requirements-milvus.txt \
    --mount=source=constraints.txt,target=/tmp/constraints.txt \
    pip install --no-cache-dir --no-index --find-links /wheels -r /tmp/requirements-serve.txt \
        ${PARQUET:+-r /tmp/requirements-parquet.txt} ${MILVUS:+-r /tmp/requirements-milvus.txt}
COPY --from=wheels /build/librobotoff-ann.so /usr/local/lib/
WORKDIR /app
COPY *.py ./
COPY api api
COPY commands commands
COPY index index
COPY runtime runtime
COPY --from=weights /app/embeddings embeddings
# Every process would compile the modules at its start, since no user of this image can write the result.
RUN python -m compileall -q .
USER off
VOLUME /data
EXPOSE 5501
# The revision of the source: --build-arg REVISION=$(git rev-parse --short HEAD). Last, so that the layers above stay cached.
ARG REVISION=
ENV ANN_REVISION=$REVISION
# http.client ignores proxies of the environment. `docker inspect` shows what the check prints.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["python", "-c", "import http.client, sys; service = http.client.HTTPConnection('127.0.0.1', 5501, timeout=9); service.request('GET', '/readyz'); answer = service.getresponse(); print(answer.read().decode()); sys.exit(answer.status != 200)"]
CMD ["gunicorn", "--config", "gunicorn_conf.py"]
