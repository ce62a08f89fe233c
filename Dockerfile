# The runtime is Deno itself with our sources and their npm packages as plain files; the shape that Istio's chart expects:
# arguments `proxy ztunnel`, uid 0, gid 1337, a read-only root, nothing fetched at run time.
#
#   docker build --build-arg GIT_REVISION="$(git rev-parse HEAD)" --build-arg ISTIO_VERSION=… -t ztunnel .
FROM node:22-bookworm-slim AS build
# npm's package of Deno carries the binary itself; its path is asked for, since a link would not survive the copy.
RUN npm install --global --no-fund --no-audit deno@2.9.6 \
 && cp "$(deno eval --quiet 'console.log(Deno.execPath())')" /usr/local/bin/deno-runtime
WORKDIR /app
COPY LICENSE deno.json deno.lock main.ts ./
COPY lib lib
COPY examples examples
ENV DENO_DIR=/deno
# The second command fails the build, not the pod, if something would still have to be fetched.
RUN deno install --frozen --entrypoint main.ts \
 && /usr/local/bin/deno-runtime run --allow-all --quiet --cached-only --frozen main.ts help >/dev/null

FROM gcr.io/distroless/cc-debian12
COPY --from=build /usr/local/bin/deno-runtime /usr/local/bin/deno
COPY --from=build /app /app
COPY --from=build /deno /deno
ARG GIT_REVISION=unknown
ARG ISTIO_VERSION=unknown
ENV DENO_DIR=/deno \
    DENO_NO_UPDATE_CHECK=1 \
    ZTUNNEL_GIT_REVISION=$GIT_REVISION \
    ISTIO_META_ISTIO_VERSION=$ISTIO_VERSION
# Istio's default paths are relative: ./var/run/secrets/….
WORKDIR /
USER 0:1337
ENTRYPOINT ["/usr/local/bin/deno", "run", "--allow-all", "--quiet", "--cached-only", "--frozen", "/app/main.ts"]
CMD ["proxy", "ztunnel"]
