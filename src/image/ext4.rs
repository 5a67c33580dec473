//! Reading an ext4 file system from the bytes of its file: no mount, no loop device, no write.
//!
//! Every number in an image is a stranger's word. Each is checked before it is used as a place, a length or a count;
//! arithmetic that could overflow says so; loops end by a bound of their own or by what is left of [`MAX_READ`]. Where
//! the file system carries checksums of its structures, they are compared, so that damage is told from absence.
//!
//! Read: extents and block maps, folders of any layout (an indexed one can be read from its beginning to its end as
//! well), links, groups of 32 and 64 bits, ext2 and ext3. Not read, and said so: encrypted and inlined contents,
//! compression, groups of meta blocks. A journal that holds changes is not applied; whoever asks is told that there is
//! one.

mod checksum;
mod folder;
mod inode;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::core::image::Disk;
use checksum::crc32c;

pub(super) use inode::{Inode, Kind};

/// An audit of a whole image reads a few megabytes; more is a hostile one, or a comparison of two.
pub(super) const MAX_READ: u64 = 1 << 30;
/// Behind room for a boot loader.
const SUPERBLOCK_AT: u64 = 1_024;
const SUPERBLOCK: usize = 1_024;
const ROOT: u32 = 2;

#[derive(Debug, thiserror::Error)]
pub(super) enum Ext4Error {
    #[error("not an ext4 file system")]
    NotExt4,
    #[error("uses a feature that is not read here: {0}")]
    Unsupported(&'static str),
    #[error("damaged: {0}")]
    Damaged(&'static str),
    #[error("the file ends at byte {0}, within the file system")]
    Short(u64),
    #[error("more to read than any image of ours has")]
    TooMuch,
    #[error("cannot be read at byte {at}")]
    Io { at: u64, source: io::Error },
}

impl Ext4Error {
    /// The image is wrong, and not only beyond us.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Ext4Error::NotExt4 | Ext4Error::Damaged(_) | Ext4Error::Short(_) => true,
            Ext4Error::Unsupported(_) | Ext4Error::TooMuch | Ext4Error::Io { .. } => false,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Ext4Error>;

/// Where an image's bytes come from.
pub(super) trait Bytes {
    /// Fills `into` from `at` on; fewer bytes only where there are no more.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Bytes for File {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, at.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Numbers in little-endian order; beyond the end they are zero, which no check takes for sense.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_of(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Among the compatible features, and in the state.
const JOURNAL: u32 = 0x4;
const CLEAN: u16 = 1;
const RECOVER: u32 = 0x4;
const WIDE: u32 = 0x80;
const SEED: u32 = 0x2000;
/// What must be understood: file types, recovery, extents, 64 bit, mount protection, flexible groups, attributes in
/// inodes, the checksums' seed, large folders, inlined contents, encryption and case folding (the last three where they
/// are met).
const READ: u32 = 0x2
    | RECOVER
    | 0x40
    | WIDE
    | 0x100
    | 0x200
    | 0x400
    | SEED
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;
const CHECKSUMS: u32 = 0x400;

/// A file system that can be read.
pub(super) struct Volume<'a> {
    bytes: &'a dyn Bytes,
    left: Cell<u64>,
    block_size: u64,
    inodes: u32,
    inodes_per_group: u32,
    inode_size: u16,
    /// Where the group descriptors begin, in bytes.
    groups_at: u64,
    group_size: u16,
    /// Where structures carry checksums: what they begin with.
    seed: Option<u32>,
    disk: Disk,
    uuid: [u8; 16],
}

impl<'a> Volume<'a> {
    pub(super) fn open(bytes: &'a dyn Bytes) -> Result<Volume<'a>> {
        let mut raw = [0; SUPERBLOCK];
        let read = bytes
            .read_at(&mut raw, SUPERBLOCK_AT)
            .map_err(|source| Ext4Error::Io {
                at: SUPERBLOCK_AT,
                source,
            })?;
        if read < SUPERBLOCK || u16_at(&raw, 0x38) != 0xef53 {
            return Err(Ext4Error::NotExt4);
        }
        let incompatible = u32_at(&raw, 0x60);
        for (feature, name) in [
            (0x1, "compression"),
            (0x8, "a journal device"),
            (0x10, "groups of meta blocks"),
            (0x1000, "data in folder entries"),
        ] {
            if incompatible & feature != 0 {
                return Err(Ext4Error::Unsupported(name));
            }
        }
        if incompatible & !READ != 0 {
            return Err(Ext4Error::Unsupported(
                "one that did not exist when this was written",
            ));
        }
        let has_checksums = u32_at(&raw, 0x64) & CHECKSUMS != 0;
        let (sum, covered) = (u32_at(&raw, 0x3fc), raw.get(..0x3fc).unwrap_or_default());
        if has_checksums && crc32c(!0, covered) != sum {
            return Err(Ext4Error::Damaged("the superblock's checksum"));
        }
        Self::of_superblock(bytes, &raw, has_checksums)
    }

    fn of_superblock(bytes: &'a dyn Bytes, raw: &[u8], has_checksums: bool) -> Result<Volume<'a>> {
        let incompatible = u32_at(raw, 0x60);
        let block_size = match u32_at(raw, 0x18) {
            log @ 0..=6 => 1_024_u64 << log,
            _ => return Err(Ext4Error::Damaged("the size of blocks")),
        };
        let inode_size = match u32_at(raw, 0x4c) {
            0 => 128,
            _ => u16_at(raw, 0x58),
        };
        if inode_size < 128 || !inode_size.is_power_of_two() || u64::from(inode_size) > block_size {
            return Err(Ext4Error::Damaged("the size of inodes"));
        }
        let is_wide = incompatible & WIDE != 0;
        let group_size = match is_wide {
            true => u16_at(raw, 0xfe),
            false => 32,
        };
        if group_size < 32 || u64::from(group_size) > block_size {
            return Err(Ext4Error::Damaged("the size of group descriptors"));
        }
        let (inodes, inodes_per_group) = (u32_at(raw, 0), u32_at(raw, 0x28));
        if inodes_per_group == 0 {
            return Err(Ext4Error::Damaged("no inodes in a group"));
        }
        let high = if is_wide { u32_at(raw, 0x150) } else { 0 };
        let blocks = u64_of(high, u32_at(raw, 0x4));
        let mut uuid = [0; 16];
        uuid.copy_from_slice(raw.get(0x68..0x78).unwrap_or(&[0; 16]));
        let seed = match incompatible & SEED {
            0 => crc32c(!0, &uuid),
            _ => u32_at(raw, 0x270),
        };
        Ok(Volume {
            bytes,
            left: Cell::new(MAX_READ),
            block_size,
            inodes,
            inodes_per_group,
            inode_size,
            // Behind the block that holds the superblock, which with clusters may not be the first data block.
            groups_at: (1_024 / block_size + 1) * block_size,
            group_size,
            seed: has_checksums.then_some(seed),
            disk: Disk {
                bytes: blocks
                    .checked_mul(block_size)
                    .ok_or(Ext4Error::Damaged("the number of blocks"))?,
                // Without a journal the state alone tells that it was not unmounted.
                needs_recovery: incompatible & RECOVER != 0
                    || (u32_at(raw, 0x5c) & JOURNAL == 0 && u16_at(raw, 0x3a) & CLEAN == 0),
                has_errors: u16_at(raw, 0x3a) & 2 != 0,
            },
            uuid,
        })
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn uuid(&self) -> String {
        let text: String = self.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        let parts = parts.map(|(from, to)| text.get(from..to).unwrap_or_default());
        parts.join("-")
    }

    pub(super) fn root(&self) -> Result<Inode> {
        self.inode(ROOT)
    }

    fn fill(&self, into: &mut [u8], at: u64) -> Result<()> {
        let wanted = into.len() as u64;
        let left = self.left.get().checked_sub(wanted);
        self.left.set(left.ok_or(Ext4Error::TooMuch)?);
        match self.bytes.read_at(into, at) {
            Ok(read) if read == into.len() => Ok(()),
            Ok(read) => Err(Ext4Error::Short(at.saturating_add(read as u64))),
            Err(source) => Err(Ext4Error::Io { at, source }),
        }
    }

    /// One block; blocks have at most 64 KiB.
    fn block(&self, number: u64) -> Result<Vec<u8>> {
        let at = number
            .checked_mul(self.block_size)
            .filter(|at| *at < self.disk.bytes)
            .ok_or(Ext4Error::Damaged("a block beyond the end"))?;
        let size = usize::try_from(self.block_size).unwrap_or_default();
        let mut block = vec![0; size];
        self.fill(&mut block, at)?;
        Ok(block)
    }

    /// Where the inodes of a group are, in bytes.
    fn inode_table(&self, group: u32) -> Result<u64> {
        let mut raw = vec![0; usize::from(self.group_size)];
        let at = u64::from(group) * u64::from(self.group_size);
        self.fill(&mut raw, self.groups_at.saturating_add(at))?;
        if let Some(seed) = self.seed {
            let sum = crc32c(seed, &group.to_le_bytes());
            let sum = crc32c(sum, raw.get(..0x1e).unwrap_or_default());
            let sum = crc32c(sum, &[0, 0]);
            let sum = crc32c(sum, raw.get(0x20..).unwrap_or_default());
            if sum & 0xffff != u32::from(u16_at(&raw, 0x1e)) {
                return Err(Ext4Error::Damaged("a group descriptor's checksum"));
            }
        }
        let high = if self.group_size >= 64 {
            u32_at(&raw, 0x28)
        } else {
            0
        };
        u64_of(high, u32_at(&raw, 0x8))
            .checked_mul(self.block_size)
            .filter(|at| *at < self.disk.bytes)
            .ok_or(Ext4Error::Damaged("a group's inodes beyond the end"))
    }
}
