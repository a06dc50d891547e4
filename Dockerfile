# An image of nothing but the program and its settings:
#
#   docker build --tag think .
#   docker run --read-only --volume think:/data --publish 9501:9501 --env THINK_SERVER_TOKENS=SECRET:send+inspect think
#
# All that is written is in /data. Whoever reaches the port needs a token; its own commands, such as
# docker exec CONTAINER /think task:status, use the socket in /data.
FROM rust:1-alpine AS build
RUN apk add --no-cache gcc make musl-dev
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin think --config 'profile.release.strip="symbols"' \
        --config 'profile.release.opt-level="s"' --config 'profile.release.lto="fat"' \
        --config profile.release.codegen-units=1 \
    && install -D target/release/think /tree/think && cp -r config /tree/config && install -d -o 65532 /tree/data

FROM scratch
COPY --from=build /tree/think /think
COPY --from=build /tree/config /config
COPY --from=build --chown=65532:65532 /tree/data /data
ENV THINK_ROOT=/
ENV THINK_RUNTIME_DIR=/data
ENV THINK_SERVER_HOST=0.0.0.0
USER 65532:65532
EXPOSE 9501
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/think", "task:status", "--quiet"]
ENTRYPOINT ["/think"]
CMD ["task:start", "--foreground"]
