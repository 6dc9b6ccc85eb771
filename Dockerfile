# SPDX-License-Identifier: MIT
# One static file in an empty image: `make image`, or docker build -t metrics-sidecar .
# For another architecture the compiler runs here and builds for there: --platform=linux/arm64, without emulation.
ARG BUILDPLATFORM=linux/amd64
FROM --platform=$BUILDPLATFORM debian:bookworm-slim AS builder
# Set by the engine; empty where it knows one architecture only.
ARG TARGETARCH
RUN set -eu; \
    here=$(dpkg --print-architecture); there=${TARGETARCH:-$here}; \
    case $there in \
    "$here") set -- gcc libc6-dev linux-libc-dev musl-tools; cc=musl-gcc ;; \
    amd64) triplet=x86_64-linux ;; \
    arm64) triplet=aarch64-linux ;; \
    *) echo "Dockerfile: build for $there: no compiler known" >&2; exit 1 ;; \
    esac; \
    [ "$there" = "$here" ] || { \
        dpkg --add-architecture "$there"; \
        set -- "gcc-$(echo $triplet | tr _ -)-gnu" "linux-libc-dev:$there" "musl-dev:$there"; \
        cc="$triplet-gnu-gcc -specs=/usr/lib/$triplet-musl/musl-gcc.specs"; \
    }; \
    apt-get update; \
    apt-get install -y --no-install-recommends make "$@"; \
    echo "$cc" > /cc
WORKDIR /src
COPY Makefile *.c *.h page.css page.js ./
# Small: a scan is the kernel's work for the most part, nobody unwinds a stack in there, and musl's static start makes
# nothing read-only after relocation, for which the linker would leave a hole of 64 KiB on arm64.
RUN make STATIC=1 SYSTEMD=0 CC="$(cat /cc)" \
    CFLAGS="-Oz -flto=auto -fno-asynchronous-unwind-tables" LDFLAGS="-s -Wl,-z,norelro -Wl,--gc-sections"

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="metrics-sidecar" \
      org.opencontainers.image.description="Local (ephemeral) ports in use and how many there are, for Prometheus" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="MIT"
COPY --from=builder /src/metrics-sidecar /metrics-sidecar
# Nobody's number; procfs shows every user the sockets of the network namespace.
USER 65532:65532
EXPOSE 9999
ENTRYPOINT ["/metrics-sidecar"]
