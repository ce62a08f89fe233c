# The runtime is Deno itself with the bundled program as plain files; the shape that Istio's chart expects: arguments
# `proxy ztunnel`, uid 0, gid 1337, a read-only root, nothing fetched or written at run time.
#
#   docker build --build-arg GIT_REVISION="$(git rev-parse HEAD)" --build-arg ISTIO_VERSION=… -t ztunnel .
FROM node:22-bookworm-slim AS build
# npm's package of Deno carries the binary itself; its path is asked for, since a link would not survive the copy.
RUN npm install --global --no-fund --no-audit deno@2.9.6 \
 && cp "$(deno eval --quiet 'console.log(Deno.execPath())')" /usr/local/bin/deno-runtime
WORKDIR /source
COPY LICENSE deno.json deno.lock main.ts ./
COPY lib lib
COPY examples examples
COPY proto/gen proto/gen
COPY tools tools
RUN deno run --allow-all tools/bundle.ts --output /app

FROM gcr.io/distroless/cc-debian12
COPY --from=build /usr/local/bin/deno-runtime /usr/local/bin/deno
COPY --from=build /app /app
ARG GIT_REVISION=unknown
ARG ISTIO_VERSION=unknown
# No folder for the runtime's caches: the root is read-only.
ENV DENO_DIR=/dev/null \
    DENO_NO_UPDATE_CHECK=1 \
    ZTUNNEL_GIT_REVISION=$GIT_REVISION \
    ISTIO_META_ISTIO_VERSION=$ISTIO_VERSION
# Istio's default paths are relative: ./var/run/secrets/….
WORKDIR /
USER 0:1337
ENTRYPOINT ["/usr/local/bin/deno", "run", "--allow-all", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote", "--cached-only", "--no-code-cache", "--v8-flags=--max-semi-space-size=1", "/app/main.js"]
CMD ["proxy", "ztunnel"]
