//! What is kept of rows over a restart.

use super::{KNOWN, Known, Rest, Rows, VERSION, WATCHED};
use crate::core::row::RowKey;
use crate::core::saved::{Changes, REST, RestoreError, Saved, Touched};

impl Rows {
    pub(in crate::core::boot) fn save_everything(&mut self) {
        self.touched = Touched::default();
    }

    pub(super) fn changes(&mut self) -> Changes {
        let whole = self.touched.is_everything() || self.touched_known.is_everything();
        if whole {
            self.touched = Touched::default();
            self.touched_known = Touched::default();
            self.saved_rest = None;
        }
        let mut changes = Changes {
            whole,
            ..Changes::default()
        };
        for key in self.touched.take(self.watched.keys().copied()) {
            changes.put_or_remove(format!("{WATCHED}{key}"), self.watched.get(&key));
        }
        for key in self.touched_known.take(self.known.keys().copied()) {
            changes.put_or_remove(format!("{KNOWN}{key}"), self.known.get(&key));
        }
        let rest = Rest {
            version: VERSION,
            floor: self.floor,
            parts: self.watched.len() + self.known.len(),
        };
        if self.saved_rest != Some(rest) {
            changes.put(REST, &rest);
            self.saved_rest = Some(rest);
        }
        changes
    }

    pub(super) fn restore<K: Into<String>, V: Into<String>>(
        parts: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Rows, RestoreError> {
        let mut rows = Rows::default();
        let mut saved = Saved::new("rows of boots", parts);
        let Some(rest) = saved.rest::<Rest>(VERSION)? else {
            return Ok(rows);
        };
        saved.counts(rest.parts)?;
        rows.floor = rest.floor;
        let mut order = Vec::new();
        for (name, text) in saved.iter() {
            if let Some(key) = name.strip_prefix(WATCHED).and_then(RowKey::parse) {
                rows.put(key, saved.read(name, text)?);
            } else if let Some(key) = name.strip_prefix(KNOWN).and_then(RowKey::parse) {
                let known: Known = saved.read(name, text)?;
                rows.known.insert(key, known);
                order.push((known.at, key));
            } else {
                saved.ensure(false, name, "it names no row")?;
            }
        }
        order.sort_unstable();
        rows.known_order = order.into_iter().map(|(_, key)| key).collect();
        rows.touched = Touched::nothing();
        rows.touched_known = Touched::nothing();
        rows.saved_rest = Some(rest);
        Ok(rows)
    }
}
