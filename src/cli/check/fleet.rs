//! Whether history could be copied to the fleet's database.

use super::CONNECT;
use crate::config::Secret;
use crate::store::{self, FleetFound};

/// Nothing is made and nothing is brought to another version: that is a start's to do.
pub(super) fn try_fleet(url: &Secret) -> Result<String, String> {
    let runtime = crate::cli::runtime().map_err(|error| error.root_cause().to_string())?;
    let found = runtime.block_on(store::try_fleet(url, CONNECT));
    // A name that is still looked up is not waited for.
    runtime.shutdown_background();
    Ok(match found.map_err(|error| error.shown())? {
        FleetFound::Tables => "this role may fill the fleet's tables".to_owned(),
        FleetFound::Older { found } => format!(
            "the fleet's tables are of version {found}, and a start brings them to this bootwatch's; those of before refuse \
             them then"
        ),
        FleetFound::Nothing => {
            "the fleet's tables are not there, and a start makes them".to_owned()
        }
    })
}
