# docker build --build-arg REVISION="$(git rev-parse --short HEAD)" -t mount_status_monitor:3.0.0 .
#
#   docker run --rm mount_status_monitor:3.0.0            a first check of the container's own mounts
#   docker run -d --name mounts -p 127.0.0.1:9817:9817 mount_status_monitor:3.0.0 --listen-address=0.0.0.0:9817
#                                                         the daemon (any option makes it one), with its status page
#   docker exec mounts mount_status_monitor status        what it knows
#
# WHAT A CONTAINER SEES: its own mounts and nothing else: its root, /proc, /dev and its volumes. Those of the host are
# seen from the host's first process, by entering its mount namespace; that takes root and three capabilities, which
# are about as much as root on the host (contrib/kubernetes/README.md says why each of them):
#
#   docker run --rm --pid=host --user=0:0 --cap-drop=ALL --cap-add=SYS_ADMIN --cap-add=SYS_CHROOT --cap-add=SYS_PTRACE \
#       --security-opt=apparmor=unconfined mount_status_monitor:3.0.0 check --mount-namespace=/proc/1/ns/mnt
#
# Add DAC_READ_SEARCH for mounts in folders that are closed to others, SETUID and SETGID for FUSE mounts that answer
# their user alone. Do not bind-mount the host's root instead: that shows a copy of its mounts, which misses what is
# mounted later, and a container with a hung volume does not start.

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /source
COPY . .
ARG REVISION=unknown
RUN MSM_REVISION="$REVISION" cargo build --release --locked --bin mount_status_monitor
RUN contrib/packaging/image-root target/release/mount_status_monitor /image

# Nothing but the program and what it needs: no shell, and so no hooks that are scripts. Build on this image, or copy
# the program into another one, where you want such.
FROM scratch
COPY --from=build /image/ /
# For the socket that `status` and `watch` ask.
COPY --from=build --chown=65532:65532 /image/run/ /run/
ENV PATH=/usr/bin
# Nobody in particular. Watching the host's mounts needs --user=0:0, see above.
USER 65532:65532
EXPOSE 9817
# No HEALTHCHECK: the default command ends by itself, and `status` tells of the mounts, not of the program. For the
# daemon ask http://…:9817/-/healthy from outside, as contrib/kubernetes does.
ENTRYPOINT ["mount_status_monitor"]
CMD ["check"]
