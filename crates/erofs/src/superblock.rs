//! Block 0: the superblock, its checksum, and the table of extra devices behind it.

use crate::crc32c;
use crate::disk::{
    BLOCK, BLOCK_BITS, COMPAT_CHECKSUM, COMPAT_MTIME, DEVICE_SLOT_BYTES, INCOMPAT_DEVICE_TABLE, MAGIC,
    SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, le32,
};
use crate::error::{Error, Result};
use crate::plan::ROOT_NID;

/// Field offsets inside the superblock that are written more than once.
const CHECKSUM: usize = SUPERBLOCK_OFFSET + 4;
const BLOCKS: usize = SUPERBLOCK_OFFSET + 36;
const FEATURE_INCOMPAT: usize = SUPERBLOCK_OFFSET + 80;
const EXTRA_DEVICES: usize = SUPERBLOCK_OFFSET + 86;
const DEVICE_TABLE_SLOT: usize = SUPERBLOCK_OFFSET + 88;
/// First byte of the device table: right behind the superblock, which is a multiple of the slot size.
const DEVICE_TABLE: usize = SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES;
/// Inside a slot: 64 bytes of tag, then the device's block count and its mapped address.
const SLOT_BLOCKS: usize = 64;
const SLOT_MAPPED_BLOCK: usize = 68;

/// What the superblock says; [`Superblock::to_block`] makes the bytes of block 0.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Identity of the filesystem; derive it from the content to stay deterministic.
    pub uuid: [u8; 16],
    /// Blocks of the whole device.
    pub blocks: u32,
    /// Block at which the metadata of [`crate::Plan`] was written.
    pub meta_block: u32,
    /// Number of inodes ([`crate::Plan::inodes`]).
    pub inodes: u64,
    /// Volume label, cut to 15 bytes.
    pub label: String,
}

/// Longest label that leaves room for a NUL.
const LABEL_BYTES: usize = 15;

impl Superblock {
    /// Block 0 of the flat image (4 KiB): `feature_incompat` 0, zeros behind the superblock.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = vec![0u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            block[SUPERBLOCK_OFFSET + at..SUPERBLOCK_OFFSET + at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &ROOT_NID.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.meta_block.to_le_bytes());
        put(48, &self.uuid);
        let label = self.label.as_bytes();
        put(64, &label[..label.len().min(LABEL_BYTES)]);
        seal(&mut block);
        block
    }
}

/// One extra device of a multi-device image: a file whose blocks appear at `mapped_block` of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Size of the device in blocks of 4 KiB.
    pub blocks: u32,
    /// Block of the flat address space at which the device's first block lies; never 0.
    pub mapped_block: u32,
}

/// Blocks to keep free at the start of a volume for the superblock and `devices` device slots.
///
/// 23 slots fit into block 0; more continue in the blocks after it.
pub fn header_blocks(devices: usize) -> u32 {
    let bytes = DEVICE_TABLE + devices * DEVICE_SLOT_BYTES;
    u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

/// Turns the header of a flat volume into that of a multi-device one (Linux 5.16 and newer).
///
/// `header` is the first [`header_blocks`] blocks of the volume. Block addresses stay the same: a block inside a
/// device's mapped range is read from that device, all others from the primary one. The devices are given to `mount`
/// as `device=` options in the same order. Calling it again on its own output replaces the table.
///
/// # Errors
/// Fails when `header` is no superblock, is too short for the table, or a device is mapped at block 0.
pub fn multi_device_superblock(header: &mut [u8], devices: &[Device]) -> Result<()> {
    if header.len() < BLOCK || le32(header, SUPERBLOCK_OFFSET) != MAGIC {
        return Err(Error::image("no superblock in the volume's header"));
    }
    let count = u16::try_from(devices.len()).map_err(|_| Error::image("more than 65,535 devices"))?;
    let table = header
        .get_mut(DEVICE_TABLE..DEVICE_TABLE + devices.len() * DEVICE_SLOT_BYTES)
        .ok_or_else(|| Error::image("the volume's header is too short for its device table"))?;
    for (slot, device) in table.chunks_exact_mut(DEVICE_SLOT_BYTES).zip(devices) {
        if device.mapped_block == 0 {
            return Err(Error::image("a device is mapped at block 0, where the superblock is"));
        }
        slot.fill(0);
        slot[SLOT_BLOCKS..SLOT_BLOCKS + 4].copy_from_slice(&device.blocks.to_le_bytes());
        slot[SLOT_MAPPED_BLOCK..SLOT_MAPPED_BLOCK + 4].copy_from_slice(&device.mapped_block.to_le_bytes());
    }
    header[FEATURE_INCOMPAT..FEATURE_INCOMPAT + 4].copy_from_slice(&INCOMPAT_DEVICE_TABLE.to_le_bytes());
    header[EXTRA_DEVICES..EXTRA_DEVICES + 2].copy_from_slice(&count.to_le_bytes());
    let slot = u16::try_from(DEVICE_TABLE / DEVICE_SLOT_BYTES).unwrap_or(0);
    header[DEVICE_TABLE_SLOT..DEVICE_TABLE_SLOT + 2].copy_from_slice(&slot.to_le_bytes());
    seal(header);
    Ok(())
}

/// Checksum that block 0 must carry: everything from the superblock on, with the checksum field as zero.
pub(crate) fn checksum(block: &[u8]) -> u32 {
    let crc = crc32c::update(u32::MAX, &block[SUPERBLOCK_OFFSET..CHECKSUM]);
    let crc = crc32c::update(crc, &[0; 4]);
    crc32c::update(crc, &block[CHECKSUM + 4..BLOCK])
}

/// Writes the checksum into block 0.
fn seal(block: &mut [u8]) {
    let sum = checksum(block);
    block[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Total blocks as block 0 states them.
pub(crate) fn stated_blocks(block: &[u8]) -> u32 {
    le32(block, BLOCKS)
}
