# Couplet and the official Claude Code CLI in one image; docs/container.md tells how to use it.
#
# Docker 20.10 and its classic builder are enough: no BuildKit features. The images it is built from are arguments, for
# those who keep a mirror or pin digests.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
ARG DEBIAN_IMAGE=debian:bookworm-slim


FROM ${RUST_IMAGE} AS couplet
WORKDIR /build
# The allocator (jemalloc) is built with make, which the slim image does not have.
RUN apt-get update \
    && apt-get install -y --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
# The dependencies first, with an empty program: a layer that stays until they change. Tests, examples and benchmarks
# are not in the context, so they leave the manifest too.
RUN awk '/^\[/ { skip = /^\[\[(test|example|bench)\]\]/ } !skip' Cargo.toml > less \
    && mv less Cargo.toml \
    && mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin couplet \
    && rm -r src
COPY src src
# The copied files may be older than what was built of the empty ones.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin couplet


# The CLI for the platform this runs on. `npm ci` takes nothing whose SHA-512 is not the lock file's; no program of the
# package is run, here or later in the build.
FROM ${NODE_IMAGE} AS cli
WORKDIR /cli
COPY tests/claude-cli/package.json tests/claude-cli/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund \
    && set -- node_modules/@anthropic-ai/claude-code-linux-* \
    && test $# = 1 && test -f "$1/claude" \
    && mkdir program \
    && mv "$1/claude" program/claude \
    && mv "$1/LICENSE.md" program/LICENSE.md \
    && chmod 755 program/claude \
    && chmod 644 program/LICENSE.md


FROM ${DEBIAN_IMAGE}
LABEL org.opencontainers.image.title="Couplet" \
      org.opencontainers.image.description="Speaks the OpenAI API and answers through the official Claude Code CLI" \
      org.opencontainers.image.licenses="MIT AND LicenseRef-Claude-Code"

# tini is process 1: it hands signals on and takes in what the CLI's processes leave behind, with and without `--init`,
# and where there is no such switch (Kubernetes).
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends ca-certificates tini \
    && rm -rf /usr/bin/tini-static /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt \
        /var/log/dpkg.log /var/cache/ldconfig/aux-cache \
    && groupadd --gid 10001 couplet \
    && useradd --uid 10001 --gid couplet --home-dir /var/lib/couplet --no-create-home --shell /usr/sbin/nologin couplet \
    && install -d -o couplet -g couplet -m 0700 /var/lib/couplet

# The large layer before the one that changes with each version of Couplet.
COPY --from=cli /cli/program/LICENSE.md /usr/share/doc/claude-code/LICENSE.md
COPY --from=cli /cli/program/claude /usr/local/bin/claude
COPY --from=couplet /build/target/release/couplet /usr/local/bin/couplet

# Beyond loopback Couplet does not start without a key, and with COUPLET_DEMO=never not without a sign-in.
ENV HOST=0.0.0.0 \
    PORT=8000 \
    COUPLET_STATE_DIR=/var/lib/couplet \
    CLAUDE_CLI_PATH=/usr/local/bin/claude \
    COUPLET_DEMO=never
USER 10001:10001
WORKDIR /var/lib/couplet
VOLUME /var/lib/couplet
EXPOSE 8000

# Docker before 25 asks for the first time after an interval, so a long one would delay the start of whoever waits for it.
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["couplet", "healthcheck"]
ENTRYPOINT ["tini", "--", "couplet"]
CMD ["serve"]
