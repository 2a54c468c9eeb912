# docker build --build-arg REVISION="$(git rev-parse --short HEAD)" -t mount_status_monitor:3.0.0 .
#
#   docker run --rm mount_status_monitor:3.0.0            checks the mounts of the container
#   docker run -d --name mounts -p 127.0.0.1:9817:9817 mount_status_monitor:3.0.0 --listen-address=0.0.0.0:9817
#                                                         runs the daemon (any option does) with its status page
#   docker exec mounts mount_status_monitor status        shows the state of the mounts
#
# A container sees only its own mounts: its root, /proc, /dev and its volumes. To watch the mounts of the host, enter the
# mount namespace of its first process. That requires root and three capabilities, which together are equivalent to root
# on the host (see contrib/kubernetes/README.md):
#
#   docker run --rm --pid=host --user=0:0 --cap-drop=ALL --cap-add=SYS_ADMIN --cap-add=SYS_CHROOT --cap-add=SYS_PTRACE \
#       --security-opt=apparmor=unconfined mount_status_monitor:3.0.0 check --mount-namespace=/proc/1/ns/mnt
#
# Add DAC_READ_SEARCH for mounts in private directories, and SETUID and SETGID for FUSE mounts without allow_other. Do not
# bind-mount the root of the host instead: that is a copy of its mounts without later changes, and a container with a
# hung volume does not start.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /source
COPY . .
ARG REVISION=unknown
RUN MSM_REVISION="$REVISION" cargo build --release --locked --bin mount_status_monitor
RUN contrib/packaging/image-root target/release/mount_status_monitor /image

# Only the program and its libraries: there is no shell, so hooks cannot be scripts. For hooks, copy the program into
# another image.
FROM scratch
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
CMD ["check"]
