//! The keys about boots of bootwatch's own.

use std::time::Duration;

use super::{Fallback, Key, key};
use crate::config::shape::Shape;
use crate::config::synthetic::{providers, vnc_words};

pub(super) const SYNTHETIC: [Key; 8] = [
    Key {
        path: "synthetic.user_id",
        shape: Shape::Account,
        default: Fallback::Absent {
            example: "\"5e1f0000-0000-4000-8000-000000000001\"",
            otherwise: "no synthetic boot is made",
        },
        doc: "The user_id of an account that nobody else uses and that has a running CLI VM. Its boots are `synthetic`: \
              no figure about users counts them.",
    },
    key(
        "synthetic.provider",
        Shape::Name(providers, "provider"),
        "\"codex\"",
        "What is asked for; it decides which program the agent starts.",
    ),
    key(
        "synthetic.controller",
        Shape::Url,
        "\"http://127.0.0.1:4000\"",
        "Where the controller's interface is.",
    ),
    key(
        "synthetic.interval",
        Shape::Duration {
            min: Duration::from_secs(900),
            max: Duration::from_secs(86_400),
        },
        "\"1h\"",
        "Between two boots. Each stops the whole controller while it copies the image, so that less than 15 minutes \
         would be felt.",
    ),
    key(
        "synthetic.budget",
        Shape::Count { min: 1, max: 96 },
        "24",
        "Boots in 24 hours, whoever asks for them.",
    ),
    key(
        "synthetic.busy",
        Shape::Count { min: 1, max: 250 },
        "2",
        "With so many browser VMs running none is begun.",
    ),
    key(
        "synthetic.reserve",
        Shape::Count { min: 0, max: 250 },
        "10",
        "So many addresses must be free in the controller's pool, beside the one that is taken. Needs the database.",
    ),
    key(
        "synthetic.vnc",
        Shape::Name(vnc_words, "word"),
        "\"measured\"",
        "`required`: a boot whose VNC does not answer within 30 s has failed. `measured`: it has not. `off`: nobody asks.",
    ),
];
