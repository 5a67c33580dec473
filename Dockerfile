# bootwatch in an image of its own: built with cargo and a C compiler, run as a user that may write its state and nothing else.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY src ./src
COPY benches ./benches
COPY tests/it/main.rs ./tests/it/main.rs
COPY packaging/link-order.txt ./packaging/link-order.txt
RUN cargo build --release --locked --bin bootwatch

FROM debian:bookworm-20251103-slim
RUN useradd --system --uid 10644 --home-dir /var/lib/bootwatch --create-home --shell /usr/sbin/nologin bootwatch
COPY --from=build /src/target/release/bootwatch /usr/local/bin/bootwatch
# The slim image has none, and every https of a channel, of OTLP and of a database asks for them.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER bootwatch
VOLUME /var/lib/bootwatch
EXPOSE 9644
# Asks where the configuration says, in the clear or by TLS, and needs no user: what it is told is that somebody is there.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=6 CMD ["bootwatch", "check", "--alive"]
ENTRYPOINT ["bootwatch"]
CMD ["run", "--config", "/etc/bootwatch/bootwatch.toml"]
