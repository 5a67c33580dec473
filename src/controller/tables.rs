//! The controller's two tables: which columns they have here, how to ask them, and what a row says.
//!
//! The shipped migration, the code and production differ, and a sidecar that may read only its views sees a third form.
//! So the columns are looked up, and the statements follow from them: ids as text or UUID, `created_at` or `started_at`,
//! `vm_type` or `type`, addresses as INET or text, tables with `xmin` or views with `row_version`. Of columns that
//! must not be read, `auth_url` is asked only for whether it is filled, and `vnc_url`, which is written together with the
//! address, not at all. Everything comes as text, decoded without ever failing on an odd value.

mod decode;
mod dialect;
pub mod grants;
mod layout;

use crate::core::query::{Cells, Layout, NoLayout, Statement, Tables};

pub use dialect::Dialect;

/// The controller's tables in one schema.
#[derive(Clone, Debug)]
pub struct ControllerTables {
    dialect: Dialect,
    schema: String,
}

impl ControllerTables {
    /// `schema` is where the tables or the views are; SQLite has none.
    #[must_use]
    pub fn new(dialect: Dialect, schema: impl Into<String>) -> ControllerTables {
        ControllerTables {
            dialect,
            schema: schema.into(),
        }
    }
}

impl Tables for ControllerTables {
    fn probe(&self) -> Statement {
        self.dialect.probe(&self.schema)
    }

    fn layout(&self, columns: &[Cells]) -> Result<Box<dyn Layout>, NoLayout> {
        let found = layout::Found::new(self.dialect, &self.schema, columns)?;
        Ok(Box::new(found))
    }
}
