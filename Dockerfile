# bootwatch in an image of its own: built with cargo and a C compiler, run as a user that may write its state and nothing else.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY src ./src
COPY benches ./benches
COPY tests/it/main.rs ./tests/it/main.rs
RUN cargo build --release --locked --bin bootwatch

FROM debian:bookworm-20251103-slim
RUN useradd --system --uid 10644 --home-dir /var/lib/bootwatch --create-home --shell /usr/sbin/nologin bootwatch
COPY --from=build /src/target/release/bootwatch /usr/local/bin/bootwatch
USER bootwatch
VOLUME /var/lib/bootwatch
EXPOSE 9644
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=6 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9644 && printf 'GET /-/healthy HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["bootwatch"]
CMD ["run", "--config", "/etc/bootwatch/bootwatch.toml"]
