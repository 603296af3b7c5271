# Two stages: the first installs what the locks name, hash by hash; the second holds Python, that environment and nothing to
# build with. Runs as uid 10001 on a read-only root; only /run/pinproxy is written to.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The locks first: as long as they do not change, neither does this layer.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/pinproxy \
 && /opt/pinproxy/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements.lock \
 && python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes --only-binary :all: --requirement requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY pinproxy pinproxy
# The wheel is built with the locked backend; then pip itself goes, which a running proxy has no use for.
RUN /opt/build/bin/python -m hatchling build --target wheel \
 && /opt/pinproxy/bin/python -m pip install --no-deps --no-index dist/*.whl \
 && /opt/pinproxy/bin/python -m pip uninstall --yes pip

FROM python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pinproxy" \
      org.opencontainers.image.description="A sidecar forward proxy that gives unmodified services certificate and public-key pinning" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pinproxy \
 && install --directory --owner=pinproxy --group=pinproxy --mode=0755 /run/pinproxy /etc/pinproxy
COPY --from=build /opt/pinproxy /opt/pinproxy
COPY config/minimal.yaml /etc/pinproxy/pinproxy.yaml
# Byte code is written at build time by pip; at run time the root is read-only. Log lines leave at once.
ENV PATH=/opt/pinproxy/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# By number, so that Kubernetes can tell it is not root.
USER 10001:10001
# The certificate of the local CA and the bundle that applications trust. A tmpfs or an emptyDir does.
VOLUME ["/run/pinproxy"]
EXPOSE 3128 9470
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["pinproxy", "healthcheck"]
ENTRYPOINT ["pinproxy"]
CMD ["run", "--config", "/etc/pinproxy/pinproxy.yaml"]
