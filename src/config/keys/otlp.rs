//! The keys about traces and metrics over OTLP.

use std::time::Duration;

use super::{Fallback, Key, MINUTE, SECOND, key};
use crate::config::otlp::{compression_names, protocol_names};
use crate::config::shape::Shape;

pub(super) const OTLP: [Key; 12] = [
    Key {
        path: "otlp.endpoint",
        shape: Shape::Endpoint,
        default: Fallback::Absent {
            example: "\"http://127.0.0.1:4317\"",
            otherwise: "nothing is sent over OTLP",
        },
        doc: "Where traces and metrics are sent: an OpenTelemetry collector, or whatever else takes OTLP. Over HTTP, \
              `/v1/traces` and `/v1/metrics` are put behind it.",
    },
    key(
        "otlp.protocol",
        Shape::Name(protocol_names, "protocol"),
        "\"grpc\"",
        "How: `grpc` (usually port 4317) or `http`, protobuf in a POST (usually port 4318).",
    ),
    Key {
        path: "otlp.headers",
        shape: Shape::Secret,
        default: Fallback::Absent {
            example: "\"authorization=Bearer%200123\"",
            otherwise: "none are sent",
        },
        doc: "Headers of each request, `name=value` with a comma between two, values percent-encoded.",
    },
    Key {
        path: "otlp.ca_file",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/otlp-ca.pem\"",
            otherwise: "this machine's certificate authorities",
        },
        doc: "A further certificate authority, in PEM, that the collector's certificate may be signed by.",
    },
    Key {
        path: "otlp.client_file",
        shape: Shape::Path,
        default: Fallback::Absent {
            example: "\"/etc/bootwatch/otlp-client.pem\"",
            otherwise: "none is shown",
        },
        doc: "A client certificate with its chain and its private key, all in PEM in this one file, for a collector that \
              asks for one.",
    },
    key(
        "otlp.insecure",
        Shape::Flag,
        "false",
        "Allow an endpoint on another machine without TLS.",
    ),
    key(
        "otlp.compression",
        Shape::Name(compression_names, "compression"),
        "\"none\"",
        "What requests are packed with: `gzip` or `none`. Every collector unpacks gzip, some other receivers do not.",
    ),
    key(
        "otlp.timeout",
        Shape::Duration {
            min: Duration::from_millis(100),
            max: MINUTE,
        },
        "\"10s\"",
        "How long one request may take, from connecting to the answer.",
    ),
    key(
        "otlp.traces",
        Shape::Flag,
        "true",
        "Send each boot that ended as a trace.",
    ),
    key(
        "otlp.metrics",
        Shape::Flag,
        "true",
        "Send the figures that `/metrics` shows.",
    ),
    key(
        "otlp.interval",
        Shape::Duration {
            min: SECOND,
            max: Duration::from_secs(3_600),
        },
        "\"1m\"",
        "How often metrics are sent.",
    ),
    Key {
        path: "otlp.environment",
        shape: Shape::Text,
        default: Fallback::Absent {
            example: "\"production\"",
            otherwise: "none is told",
        },
        doc: "The `deployment.environment.name` of what is sent.",
    },
];
