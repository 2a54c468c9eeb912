# docker build --build-arg REVISION="$(git rev-parse --short=12 HEAD)" \
#     --build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" -t mount_status_monitor:3.0.0 .
#
#   docker run --rm mount_status_monitor:3.0.0            checks the mounts of the container, and prints the command
#                                                         that watches those of the host
#   docker run -d --name mounts -p 127.0.0.1:9817:9817 mount_status_monitor:3.0.0 --listen-address=0.0.0.0:9817
#                                                         runs the daemon (any option does) with its status page
#   docker exec mounts mount_status_monitor status        shows the state of the mounts
#
# A container sees only its own mounts: its root, /proc, /dev and its volumes. To watch the mounts of the host, enter the
# mount namespace of its first process. That requires root and three capabilities, which together are equivalent to root
# on the host (see contrib/kubernetes/README.md). The first command above prints the options.
#
# Add DAC_READ_SEARCH for mounts in private directories, and SETUID and SETGID for FUSE mounts without allow_other. Do not
# bind-mount the root of the host instead: that is a copy of its mounts without later changes, and a container with a
# hung volume does not start.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /source
COPY . .
ARG REVISION=unknown
RUN MSM_REVISION="$REVISION" contrib/packaging/program
ARG SOURCE_DATE_EPOCH=0
RUN contrib/packaging/image-root target/release/mount_status_monitor /image

# Only the program and its libraries: there is no shell, so hooks cannot be scripts. For hooks, copy the program into
# another image.
FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title=mount_status_monitor \
    org.opencontainers.image.description="Probes every mount with a timeout and reports the dead ones before the machine hangs" \
    org.opencontainers.image.version=3.0.0 \
    org.opencontainers.image.revision=$REVISION \
    org.opencontainers.image.source=https://github.com/acdha/mountstatus \
    org.opencontainers.image.documentation=https://github.com/acdha/mountstatus#readme \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /image/ /
# For the socket of `status` and `watch`.
COPY --from=build --chown=65532:65532 /image/run/ /run/
ENV PATH=/usr/bin
# An unprivileged user. Watching the mounts of the host needs --user=0:0, see above.
USER 65532:65532
EXPOSE 9817
# No HEALTHCHECK: the default command ends by itself, and the exit status of `status` is about the mounts, not the
# daemon. Probe http://…:9817/-/healthy from outside, as contrib/kubernetes does.
ENTRYPOINT ["mount_status_monitor"]
CMD ["check", "--in-image"]
