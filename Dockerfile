# SPDX-License-Identifier: Apache-2.0
# Images of the agent and the operator, for every architecture that the base images have:
#
#   docker buildx build --target agent    --platform linux/amd64,linux/arm64 -t plumbline-agent .
#   docker buildx build --target operator --platform linux/amd64,linux/arm64 -t plumbline-operator .
#
# Both hold nothing but Node.js, the libraries that it needs, and Plumbline: no shell, no package manager.
# What stage `build` makes can be given instead: --build-context build=FOLDER, with FOLDER/plumbline as it is there.

FROM node:24-bookworm-slim AS node

# ---- compile and bundle ----------------------------------------------------------------------------------------------
FROM node:24-bookworm-slim AS build
WORKDIR /plumbline
COPY . .
RUN scripts/setup.sh build && node scripts/bundle.ts

# ---- libraries, unpacked and not installed ---------------------------------------------------------------------------
FROM debian:bookworm-slim AS libraries
COPY scripts/unpack-packages.sh /
RUN apt-get update -qq \
    && /unpack-packages.sh /operator base-files libc6 libgcc-s1 gcc-12-base libstdc++6 \
    && cp -a /operator /agent \
    && /unpack-packages.sh /agent libbpf1 libelf1 zlib1g \
    && mkdir -p /agent/tmp /operator/tmp && chmod 1777 /agent/tmp /operator/tmp \
    && printf 'root:x:0:0::/:/\nnonroot:x:65532:65532::/:/\n' | tee /operator/etc/passwd > /agent/etc/passwd

# ---- images ----------------------------------------------------------------------------------------------------------
FROM scratch AS operator
COPY --from=libraries /operator /
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=build /plumbline/dist/operator /opt/plumbline
USER 65532:65532
EXPOSE 7118
ENTRYPOINT ["/usr/local/bin/node", "/opt/plumbline/operator.mjs"]

FROM scratch AS agent
COPY --from=libraries /agent /
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=build /plumbline/packages/bpf/build/addon.node /plumbline/packages/bpf/build/*.bpf.o /opt/plumbline/build/
COPY --from=build /plumbline/dist/agent /opt/plumbline
EXPOSE 7117
# As in bin/plumbline: glibc gives memory back.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=262144
# A small young generation keeps the agent's memory flat; bursts of garbage are rare and short.
ENTRYPOINT ["/usr/local/bin/node", "--max-semi-space-size=4", "/opt/plumbline/plumbline.mjs"]
