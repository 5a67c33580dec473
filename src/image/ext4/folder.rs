//! Folders: entries in blocks, one behind the other. An indexed folder's index looks like empty entries, on purpose.

use super::checksum::crc32c;
use super::{Ext4Error, Inode, Kind, Result, Volume, u16_at, u32_at};

/// Larger folders are in no image of ours: some hundred thousand names.
const MAX_FOLDER: u64 = 16 << 20;

impl Volume<'_> {
    /// The inode that a name in a folder stands for.
    pub(in crate::image) fn entry(&self, folder: &Inode, name: &[u8]) -> Result<Option<Inode>> {
        let mut found = None;
        self.entries(folder, &mut |inode, entry| {
            if entry == name {
                found = Some(inode);
            }
            found.is_none()
        })?;
        found.map(|number| self.inode(number)).transpose()
    }

    /// Names in a folder, with their inodes' numbers, up to `most`; without itself and its parent.
    pub(in crate::image) fn names(
        &self,
        folder: &Inode,
        most: usize,
    ) -> Result<Vec<(Vec<u8>, u32)>> {
        let mut names = Vec::new();
        self.entries(folder, &mut |inode, entry| {
            if entry != b"." && entry != b".." {
                names.push((entry.to_vec(), inode));
            }
            names.len() < most
        })?;
        Ok(names)
    }

    pub(in crate::image) fn numbered(&self, number: u32) -> Result<Inode> {
        self.inode(number)
    }

    /// Shows each entry until it is told to stop.
    fn entries(&self, folder: &Inode, show: &mut dyn FnMut(u32, &[u8]) -> bool) -> Result<()> {
        if folder.kind != Kind::Folder {
            return Err(Ext4Error::Damaged("entries of what is no folder"));
        }
        if folder.size > MAX_FOLDER {
            return Err(Ext4Error::TooMuch);
        }
        let size = usize::try_from(self.block_size).unwrap_or_default();
        let mut at = 0;
        while at < folder.size {
            let block = self.read(folder, at, size)?;
            if !self.is_whole(&block, folder.seed) {
                return Err(Ext4Error::Damaged("the checksum of a folder's block"));
            }
            if !entries_of(&block, show)? {
                return Ok(());
            }
            at += self.block_size;
        }
        Ok(())
    }

    /// Blocks with entries end in one that is none and holds their checksum; an index's blocks do not.
    fn is_whole(&self, block: &[u8], seed: Option<u32>) -> bool {
        let Some(seed) = seed else { return true };
        let Some(end) = block.len().checked_sub(12) else {
            return false;
        };
        let is_tail = u32_at(block, end) == 0
            && u16_at(block, end + 4) == 12
            && u16_at(block, end + 6) == 0xde00;
        !is_tail || crc32c(seed, block.get(..end).unwrap_or_default()) == u32_at(block, end + 8)
    }
}

/// Says whether the next block is wanted.
fn entries_of(block: &[u8], show: &mut dyn FnMut(u32, &[u8]) -> bool) -> Result<bool> {
    let mut at = 0;
    while at + 8 <= block.len() {
        let inode = u32_at(block, at);
        // The largest blocks' lengths do not fit.
        let length = match u16_at(block, at + 4) {
            0 | 0xffff if block.len() == 0x1_0000 => block.len() - at,
            length => usize::from(length),
        };
        let name = usize::from(block.get(at + 6).copied().unwrap_or_default());
        if length < 8 || !length.is_multiple_of(4) || at + length > block.len() || name + 8 > length
        {
            return Err(Ext4Error::Damaged("a folder's entry"));
        }
        let name = block.get(at + 8..at + 8 + name).unwrap_or_default();
        if inode != 0 && !name.is_empty() && !show(inode, name) {
            return Ok(false);
        }
        at += length;
    }
    Ok(true)
}
