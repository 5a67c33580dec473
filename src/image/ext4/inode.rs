//! Inodes: what a file is, and in which blocks its contents are.

use super::checksum::crc32c;
use super::{Ext4Error, Result, Volume, u16_at, u32_at, u64_of};

const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
/// The roots of extents, block maps and short links are in the inode itself.
const ROOT_AT: usize = 0x28;
const ROOT: usize = 60;
/// Deeper trees of extents do not exist.
const MAX_DEPTH: u16 = 5;
/// Longer links do not exist.
const MAX_LINK: u64 = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::image) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

#[derive(Clone, Debug)]
pub(in crate::image) struct Inode {
    pub(in crate::image) kind: Kind,
    pub(in crate::image) mode: u16,
    pub(in crate::image) owner: u32,
    pub(in crate::image) group: u32,
    /// It has extended attributes, as lists of access are.
    pub(in crate::image) has_attributes: bool,
    pub(in crate::image) size: u64,
    flags: u32,
    root: [u8; ROOT],
    /// What checksums of its blocks begin with.
    pub(super) seed: Option<u32>,
}

/// Blocks that lie behind one another.
struct Run {
    /// `None`: a hole, which reads as zeros.
    at: Option<u64>,
    blocks: u64,
}

impl Volume<'_> {
    pub(super) fn inode(&self, number: u32) -> Result<Inode> {
        if number == 0 || number > self.inodes {
            return Err(Ext4Error::Damaged("an inode that does not exist"));
        }
        let (group, place) = (
            (number - 1) / self.inodes_per_group,
            (number - 1) % self.inodes_per_group,
        );
        let at = u64::from(place) * u64::from(self.inode_size);
        let mut raw = vec![0; usize::from(self.inode_size)];
        self.fill(&mut raw, self.inode_table(group)?.saturating_add(at))?;
        let seed = self.seed.map(|seed| {
            let sum = crc32c(seed, &number.to_le_bytes());
            crc32c(sum, raw.get(0x64..0x68).unwrap_or_default())
        });
        if let Some(seed) = seed
            && !is_whole(&raw, seed)
        {
            return Err(Ext4Error::Damaged("an inode's checksum"));
        }
        let mode = u16_at(&raw, 0);
        let kind = match mode >> 12 {
            0x4 => Kind::Folder,
            0x8 => Kind::File,
            0xa => Kind::Link,
            0x1 | 0x2 | 0x6 | 0xc => Kind::Other,
            _ => return Err(Ext4Error::Damaged("an inode of no kind")),
        };
        let mut root = [0; ROOT];
        root.copy_from_slice(raw.get(ROOT_AT..ROOT_AT + ROOT).unwrap_or(&[0; ROOT]));
        Ok(Inode {
            kind,
            mode,
            owner: u32::from(u16_at(&raw, 0x2)) | u32::from(u16_at(&raw, 0x78)) << 16,
            group: u32::from(u16_at(&raw, 0x18)) | u32::from(u16_at(&raw, 0x7a)) << 16,
            has_attributes: has_attributes(&raw),
            size: u64_of(u32_at(&raw, 0x6c), u32_at(&raw, 0x4)),
            flags: u32_at(&raw, 0x20),
            root,
            seed,
        })
    }

    /// Contents from `at` on, up to `most` bytes.
    pub(in crate::image) fn read(&self, inode: &Inode, at: u64, most: usize) -> Result<Vec<u8>> {
        if inode.flags & ENCRYPTED != 0 {
            return Err(Ext4Error::Unsupported("encryption"));
        }
        if inode.flags & INLINE != 0 {
            return Err(Ext4Error::Unsupported("contents within inodes"));
        }
        let wanted = inode.size.saturating_sub(at).min(most as u64);
        let end = at.saturating_add(wanted);
        let mut contents = Vec::new();
        let mut from = at;
        while from < end {
            let run = self.run(inode, from / self.block_size)?;
            let within = from % self.block_size;
            let length = run
                .blocks
                .saturating_mul(self.block_size)
                .saturating_sub(within)
                .min(end - from);
            let length = usize::try_from(length).map_err(|_| Ext4Error::TooMuch)?;
            if length == 0 {
                return Err(Ext4Error::Damaged("an extent without blocks"));
            }
            let begin = contents.len();
            contents.resize(begin + length, 0);
            if let Some(block) = run.at {
                let at = block
                    .checked_mul(self.block_size)
                    .and_then(|at| at.checked_add(within))
                    .filter(|at| at.saturating_add(length as u64) <= self.disk.bytes)
                    .ok_or(Ext4Error::Damaged("contents beyond the end"))?;
                self.fill(contents.get_mut(begin..).unwrap_or_default(), at)?;
            }
            from += length as u64;
        }
        Ok(contents)
    }

    /// Where a link leads.
    pub(in crate::image) fn target(&self, inode: &Inode) -> Result<String> {
        if inode.flags & ENCRYPTED != 0 {
            return Err(Ext4Error::Unsupported("encryption"));
        }
        let short = usize::try_from(inode.size)
            .ok()
            .filter(|size| *size < ROOT && inode.flags & (EXTENTS | INLINE) == 0)
            .and_then(|size| inode.root.get(..size));
        let target = match short {
            Some(target) => target.to_vec(),
            None if inode.size > MAX_LINK => return Err(Ext4Error::Damaged("a link's length")),
            None => self.read(inode, 0, 4_096)?,
        };
        match target.is_empty() || target.contains(&0) {
            true => Err(Ext4Error::Damaged("a link's target")),
            false => Ok(String::from_utf8_lossy(&target).into_owned()),
        }
    }

    /// Where a block of the contents is, and how many follow it there.
    fn run(&self, inode: &Inode, wanted: u64) -> Result<Run> {
        let wanted = u32::try_from(wanted).map_err(|_| Ext4Error::Damaged("a size beyond any"))?;
        match inode.flags & EXTENTS {
            0 => self.mapped(inode, wanted),
            _ => self.extent(inode, wanted),
        }
    }

    fn extent(&self, inode: &Inode, wanted: u32) -> Result<Run> {
        const HOLE: Run = Run {
            at: None,
            blocks: 1,
        };
        let mut node = inode.root.to_vec();
        let mut above = None;
        loop {
            let (magic, depth) = (u16_at(&node, 0), u16_at(&node, 6));
            if magic != 0xf30a || depth > MAX_DEPTH || above.is_some_and(|above| depth + 1 != above)
            {
                return Err(Ext4Error::Damaged("a tree of extents"));
            }
            let entries = node.get(12..).unwrap_or_default().chunks_exact(12);
            let mut entries = entries.take(usize::from(u16_at(&node, 2)));
            let nearest = { &mut entries }
                .take_while(|entry| u32_at(entry, 0) <= wanted)
                .last();
            let Some(entry) = nearest else {
                return Ok(HOLE);
            };
            if depth == 0 {
                let length = u16_at(entry, 4);
                // Beyond 32,768 the blocks are reserved, but were never written.
                let (length, is_written) = match length {
                    0..=0x8000 => (u64::from(length), true),
                    _ => (u64::from(length - 0x8000), false),
                };
                let skipped = u64::from(wanted - u32_at(entry, 0));
                if skipped >= length {
                    return Ok(HOLE);
                }
                let at = u64_of(u32::from(u16_at(entry, 6)), u32_at(entry, 8));
                return Ok(Run {
                    at: is_written.then_some(at + skipped),
                    blocks: length - skipped,
                });
            }
            above = Some(depth);
            let number = u64_of(u32::from(u16_at(entry, 8)), u32_at(entry, 4));
            node = self.block(number)?;
            let summed = 12 + 12 * usize::from(u16_at(&node, 4));
            if let (Some(seed), Some(covered)) = (inode.seed, node.get(..summed))
                && node.len() >= summed + 4
                && crc32c(seed, covered) != u32_at(&node, summed)
            {
                return Err(Ext4Error::Damaged("the checksum of an extents' block"));
            }
        }
    }

    /// As ext2 and ext3 do: twelve blocks, then blocks of numbers, in up to three layers.
    fn mapped(&self, inode: &Inode, wanted: u32) -> Result<Run> {
        let per_block = self.block_size / 4;
        let mut rest = u64::from(wanted);
        let mut number = u32_at(&inode.root, usize::try_from(rest.min(11)).unwrap_or(0) * 4);
        if rest >= 12 {
            rest -= 12;
            let mut layers = 1;
            let mut span = per_block;
            while rest >= span {
                rest -= span;
                span = span.saturating_mul(per_block);
                layers += 1;
                if layers > 3 {
                    return Err(Ext4Error::Damaged("a block beyond the map"));
                }
            }
            number = u32_at(&inode.root, (11 + layers) * 4);
            for _ in 0..layers {
                if number == 0 {
                    break;
                }
                span /= per_block;
                let place = usize::try_from(rest / span.max(1)).unwrap_or(usize::MAX);
                rest %= span.max(1);
                number = u32_at(&self.block(u64::from(number))?, place.saturating_mul(4));
            }
        }
        Ok(Run {
            at: (number != 0).then_some(u64::from(number)),
            blocks: 1,
        })
    }
}

/// In a block of their own, or behind the inode's fields.
fn has_attributes(raw: &[u8]) -> bool {
    const MAGIC: u32 = 0xea02_0000;
    let behind = 128 + usize::from(u16_at(raw, 0x80));
    u32_at(raw, 0x68) != 0
        || u16_at(raw, 0x76) != 0
        || (raw.len() > 128 && u32_at(raw, behind) == MAGIC)
}

/// Does an inode have the checksum that it says?
fn is_whole(raw: &[u8], seed: u32) -> bool {
    let is_long = raw.len() > 128 && u16_at(raw, 0x80) >= 4;
    let mut blank = raw.to_vec();
    for at in [0x7c, 0x7d, 0x82, 0x83] {
        // The upper half exists in long inodes only.
        if let Some(byte) = blank.get_mut(at)
            && (at < 0x80 || is_long)
        {
            *byte = 0;
        }
    }
    let sum = crc32c(seed, &blank);
    let low = u32::from(u16_at(raw, 0x7c));
    match is_long {
        true => sum == low | u32::from(u16_at(raw, 0x82)) << 16,
        false => sum & 0xffff == low,
    }
}
