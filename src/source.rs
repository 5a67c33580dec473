//! Where events come from. Each source hands on bytes or rows; what they mean is `controller`'s business.

pub mod archive;
