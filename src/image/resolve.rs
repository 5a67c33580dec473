//! Names into inodes: links are followed within the image, never out of it.

use std::collections::VecDeque;
use std::rc::Rc;

use super::ext4::{Ext4Error, Inode, Kind, Volume};
use crate::core::image::{Astray, Guard};

/// As Linux: more links in one path are a circle.
const MAX_LINKS: usize = 40;
/// Paths of hostile links may have thousands of parts.
const MAX_PARTS: usize = 1_000;

/// A link, and where it leads by its own word.
type Link = Rc<(String, String)>;

/// Where a path led.
pub(super) enum Place {
    Found {
        inode: Box<Inode>,
        /// Without links.
        path: String,
        /// Each folder on the way, also to links, and what was found.
        guards: Vec<Guard>,
    },
    Absent,
    /// A link on the way leads nowhere, or in circles.
    Broken {
        link: String,
        target: String,
        how: Astray,
    },
}

/// Follows `path` from the image's root; `/` at a link's beginning is the image's root, `..` there is the root.
pub(super) fn resolve(volume: &Volume<'_>, path: &str) -> Result<Place, Ext4Error> {
    let mut parts: VecDeque<(String, Option<Link>)> = parts_of(path, None).collect();
    let mut way: Vec<(String, Inode)> = Vec::new();
    let mut here = volume.root()?;
    let (mut links, mut walked) = (0, 0);
    let mut guards: Vec<Guard> = Vec::new();
    let mut met: Vec<(String, usize)> = Vec::new();
    // A part of what was asked for that is missing is absent; a part of a link's target makes the link a broken one.
    while let Some((part, from)) = parts.pop_front() {
        walked += 1;
        if walked > MAX_PARTS {
            return Ok(nowhere(from));
        }
        if part == ".." {
            way.pop();
            here = match way.last() {
                Some((_, inode)) => inode.clone(),
                None => volume.root()?,
            };
            continue;
        }
        if here.kind != Kind::Folder {
            return Ok(nowhere(from));
        }
        meet(&mut guards, shown(&way), &here);
        let Some(inode) = volume.entry(&here, part.as_bytes())? else {
            return Ok(nowhere(from));
        };
        if inode.kind != Kind::Link {
            way.push((part, inode.clone()));
            here = inode;
            continue;
        }
        let target = volume.target(&inode)?;
        let link = format!("{}/{part}", shown(&way));
        links += 1;
        // The same link with the same way to go behind it was met before: it will be met for ever.
        let state = (link, parts.len());
        if links > MAX_LINKS {
            let how = match met.contains(&state) {
                true => Astray::Circle,
                false => Astray::TooMany,
            };
            let (link, _) = state;
            return Ok(Place::Broken { link, target, how });
        }
        met.push(state.clone());
        let (link, _) = state;
        let link: Link = Rc::new((link, target));
        let behind = std::mem::take(&mut parts);
        parts.extend(parts_of(&link.1, Some(&link)));
        parts.extend(behind);
        if link.1.starts_with('/') {
            way.clear();
            here = volume.root()?;
        }
    }
    let path = match shown(&way) {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    };
    guards.push(guard(path.clone(), &here));
    Ok(Place::Found {
        inode: Box::new(here),
        path,
        guards,
    })
}

/// A folder counts once.
fn meet(guards: &mut Vec<Guard>, path: String, folder: &Inode) {
    let path = match path.is_empty() {
        true => "/".to_owned(),
        false => path,
    };
    if !guards.iter().any(|met| met.path == path) {
        guards.push(guard(path, folder));
    }
}

fn guard(path: String, inode: &Inode) -> Guard {
    Guard {
        path,
        mode: inode.mode,
        owner: inode.owner,
        group: inode.group,
        has_more: inode.has_attributes,
    }
}

fn nowhere(from: Option<Link>) -> Place {
    match from {
        Some(link) => {
            let (link, target) = Rc::unwrap_or_clone(link);
            Place::Broken {
                link,
                target,
                how: Astray::Nowhere,
            }
        }
        None => Place::Absent,
    }
}

fn parts_of<'a>(
    path: &'a str,
    from: Option<&'a Link>,
) -> impl Iterator<Item = (String, Option<Link>)> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(move |part| (part.to_owned(), from.cloned()))
}

fn shown(way: &[(String, Inode)]) -> String {
    way.iter().map(|(name, _)| format!("/{name}")).collect()
}
