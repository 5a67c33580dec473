//! Where systemd finds a unit, what of it is added by drop-ins, and what has it start at boot.

use std::collections::BTreeMap;

use super::facts::{Desk, File, Seen};
use super::unit::Unit;

/// Where systemd looks for units, in its order.
pub(super) const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The target that is reached at boot, and the folders that say what belongs to it.
pub(super) const PULLS: &[&str] = &["multi-user.target.wants", "multi-user.target.requires"];

/// What has systemd start the unit with the target: the first entry of its name, wherever links may lie.
pub(super) fn pull_of<'a>(desk: &mut Desk<'a>, name: &str) -> Option<(String, &'a Seen)> {
    let places = FOLDERS.iter().flat_map(|folder| {
        PULLS
            .iter()
            .map(move |pulls| format!("{folder}/{pulls}/{name}"))
    });
    let seen: Vec<(String, &Seen)> = places
        .map(|place| {
            let seen = desk.stat(&place);
            (place, seen)
        })
        .collect();
    seen.into_iter()
        .find(|(_, seen)| !matches!(seen, Seen::Absent))
}

/// The file of a unit: what is in the first of systemd's folders that has its name, which may mask it.
pub(super) fn installed<'a>(desk: &mut Desk<'a>, name: &str) -> Option<(String, &'a Seen)> {
    let places = FOLDERS.map(|folder| {
        let path = format!("{folder}/{name}");
        let seen = desk.text(&path);
        (path, seen)
    });
    let mut places = places.into_iter();
    places.find(|(_, seen)| !matches!(seen, Seen::Absent))
}

/// The unit as systemd reads it: its file, and its drop-ins.
pub(super) fn whole(desk: &mut Desk<'_>, name: &str, file: &File) -> Unit {
    let mut unit = Unit::default();
    unit.read(&file.text);
    read_drop_ins(desk, name, &mut unit);
    unit
}

/// What a unit of this name would be made from, where it is an instance.
pub(super) fn template_of(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    Some(format!("{stem}@.{}", rest.rsplit_once('.')?.1))
}

/// Is there a unit of this name, or the template that it is made from?
pub(super) fn is_unit(desk: &mut Desk<'_>, name: &str) -> bool {
    let template = template_of(name);
    FOLDERS.iter().any(|folder| {
        desk.is_file(&format!("{folder}/{name}"))
            || template
                .as_ref()
                .is_some_and(|template| desk.is_file(&format!("{folder}/{template}")))
    })
}

/// Is what wants a unit a file in that very folder, and no link to the unit? systemd ignores it.
pub(super) fn is_copy(resolved: &str) -> bool {
    PULLS
        .iter()
        .any(|pulls| resolved.contains(&format!("/{pulls}/")))
}

/// Does it lead to `/dev/null`? So units and drop-ins are masked; an image may have the device or not.
pub(super) fn is_null(seen: &Seen) -> bool {
    match seen {
        Seen::Broken { target, .. } => target == "/dev/null",
        Seen::Other { resolved } => resolved == "/dev/null",
        _ => false,
    }
}

/// Folders of drop-ins, what counts most first: the unit's own, those of its name cut at each dash, and those of its kind.
fn drop_in_folders(name: &str) -> Vec<String> {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, "service"));
    let mut names = vec![format!("{name}.d")];
    let mut rest = stem.trim_end_matches('-');
    while let Some((shorter, _)) = rest.rsplit_once('-') {
        names.push(format!("{shorter}-.{kind}.d"));
        rest = shorter.trim_end_matches('-');
    }
    let of_kind = format!("{kind}.d");
    let within = |folder: &str, names: &[String]| -> Vec<String> {
        let paths = names.iter().map(|name| format!("{folder}/{name}"));
        paths.collect()
    };
    let own = FOLDERS.iter().flat_map(|folder| within(folder, &names));
    let shared = FOLDERS.iter().map(|folder| format!("{folder}/{of_kind}"));
    own.chain(shared).collect()
}

/// In the order of their names; of one name the first place counts, where it may be masked.
fn read_drop_ins(desk: &mut Desk<'_>, name: &str, unit: &mut Unit) {
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for folder in drop_in_folders(name) {
        for drop_in in desk.names(&folder) {
            if drop_in.ends_with(".conf") {
                places
                    .entry(drop_in.clone())
                    .or_insert_with(|| format!("{folder}/{drop_in}"));
            }
        }
    }
    for place in places.values() {
        if let Seen::File(file) = desk.text(place) {
            unit.read(&file.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd.unit(5) says.
    #[test]
    fn drop_ins_are_looked_for_under_each_name_that_systemd_reads() {
        let within = |folder: &str| -> Vec<String> {
            let all = drop_in_folders("vm-browser-agent.service").into_iter();
            let prefix = format!("{folder}/");
            all.filter_map(|path| path.strip_prefix(&prefix).map(str::to_owned))
                .collect()
        };
        for folder in FOLDERS {
            assert_eq!(
                within(folder),
                [
                    "vm-browser-agent.service.d",
                    "vm-browser-.service.d",
                    "vm-.service.d",
                    "service.d"
                ]
            );
        }
        let last = drop_in_folders("vm-browser-agent.service").pop().unwrap();
        assert_eq!(last, "/lib/systemd/system/service.d");
    }
}
