# SPDX-License-Identifier: MIT
# One static file in an empty image: docker build -t metrics-sidecar .
FROM debian:bookworm-slim AS builder
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev linux-libc-dev make musl-tools \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Makefile *.c *.h ./
RUN make STATIC=1 SYSTEMD=0 CFLAGS=-O2 LDFLAGS=-s

FROM scratch
COPY --from=builder /src/metrics-sidecar /metrics-sidecar
# Nobody's number; procfs shows every user the sockets of the network namespace.
USER 65532:65532
EXPOSE 9999
ENTRYPOINT ["/metrics-sidecar"]
