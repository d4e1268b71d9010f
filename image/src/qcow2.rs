//! QEMU's disk format, version 3: only what is not zero is written.

use std::io::{self, Write};

/// The size of a cluster, the unit of everything.
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;

/// A table of a cluster has so many entries of eight bytes, a block of counts so many of two.
const ENTRIES: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;

/// The mark of a cluster with one owner.
const OWNED: u64 = 1 << 63;

/// Writes a disk of `size` bytes that `next` reads from its beginning on.
///
/// Header, table of counts and the tables of places are in memory, data is written as it comes: the
/// format does not ask for an order, so data lies first and what names it last, the header alone at its
/// fixed place with room left for the tables.
pub(crate) fn write(
    size: u64,
    next: &mut dyn FnMut(&mut [u8]) -> io::Result<()>,
    to: &mut (impl Write + io::Seek),
) -> io::Result<()> {
    let clusters = size.div_ceil(CLUSTER);
    let tables = clusters.div_ceil(ENTRIES);
    // Enough blocks of counts for the worst case, in which nothing is zero.
    let most = 3 + tables + clusters;
    let blocks = (most + most.div_ceil(COUNTS)).div_ceil(COUNTS);
    // 0 header, 1 table of blocks, then the blocks, then the upper table, the lower ones, the data.
    let upper_at = 2 + blocks;
    let lower_at = upper_at + 1;
    let data_at = lower_at + tables;
    let mut lower = vec![0; (tables * ENTRIES) as usize];
    let mut used = data_at;
    to.seek(io::SeekFrom::Start(used * CLUSTER))?;
    let mut cluster = vec![0; CLUSTER as usize];
    for (place, nth) in lower.iter_mut().zip(0..clusters) {
        let length = CLUSTER.min(size - nth * CLUSTER) as usize;
        let (content, rest) = cluster.split_at_mut(length);
        next(content)?;
        rest.fill(0);
        if cluster.iter().any(|&byte| byte != 0) {
            *place = (used * CLUSTER) | OWNED;
            to.write_all(&cluster)?;
            used += 1;
        }
    }
    to.seek(io::SeekFrom::Start(0))?;
    to.write_all(&padded(&header(size, tables, upper_at)))?;
    let places = (0..blocks).map(|nth| (2 + nth) * CLUSTER);
    to.write_all(&padded(&table(places)))?;
    let counts: Vec<u8> = (0..blocks * COUNTS)
        .flat_map(|nth| u16::from(nth < used).to_be_bytes())
        .collect();
    to.write_all(&counts)?;
    let places = (0..tables).map(|nth| ((lower_at + nth) * CLUSTER) | OWNED);
    to.write_all(&padded(&table(places)))?;
    to.write_all(&table(lower.into_iter()))
}

fn header(size: u64, tables: u64, upper_at: u64) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    let mut word = |value: u32| header.extend(value.to_be_bytes());
    word(3); // version
    word(0); // no backing file
    word(0);
    word(0);
    word(CLUSTER_BITS);
    word((size >> 32) as u32);
    word(size as u32);
    word(0); // not encrypted
    word(tables as u32);
    word(((upper_at * CLUSTER) >> 32) as u32);
    word((upper_at * CLUSTER) as u32);
    word(0); // table of counts: the second cluster
    word(CLUSTER as u32);
    word(1); // of one cluster
    word(0); // no snapshots
    word(0);
    word(0);
    for _ in 0..6 {
        word(0); // features: none
    }
    word(4); // counts of 16 bits
    word(104); // length of the header
    header
}

fn table(places: impl Iterator<Item = u64>) -> Vec<u8> {
    places.flat_map(u64::to_be_bytes).collect()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(CLUSTER as usize, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn number(bytes: &[u8], at: u64) -> u64 {
        let at = at as usize;
        u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// Reads an image back as QEMU would: by the tables alone.
    fn read(image: &[u8]) -> Vec<u8> {
        assert!(image.starts_with(b"QFI\xfb\0\0\0\x03"));
        let size = number(image, 24);
        let upper = number(image, 40);
        let mut disk = Vec::new();
        for nth in 0..size.div_ceil(CLUSTER) {
            let lower = number(image, upper + nth / ENTRIES * 8) & !OWNED;
            let place = (number(image, lower + nth % ENTRIES * 8) & !OWNED) as usize;
            if place == 0 {
                disk.extend(vec![0; CLUSTER as usize]);
            } else {
                disk.extend(&image[place..place + CLUSTER as usize]);
            }
        }
        disk.truncate(size as usize);
        disk
    }

    fn image_of(disk: &[u8]) -> Vec<u8> {
        let mut source = disk;
        let mut image = Cursor::new(Vec::new());
        let mut next = |part: &mut [u8]| io::Read::read_exact(&mut source, part);
        write(disk.len() as u64, &mut next, &mut image).unwrap();
        image.into_inner()
    }

    #[test]
    fn a_disk_is_read_back_as_it_was_and_zeros_take_no_room() {
        let mut disk = vec![0; 40 * CLUSTER as usize + 512];
        disk[3] = 7;
        disk[30 * CLUSTER as usize] = 8;
        *disk.last_mut().unwrap() = 9;
        let image = image_of(&disk);
        assert_eq!(read(&image), disk);
        // Header, counts and their table, upper and lower table, three clusters of data.
        assert_eq!(image.len() as u64, 8 * CLUSTER);
    }

    #[test]
    fn each_cluster_of_the_file_is_counted_once() {
        let disk = vec![1; 5 * CLUSTER as usize];
        let image = image_of(&disk);
        let block = number(&image, number(&image, 48)) as usize;
        let counts = image[block..].chunks(2).take(COUNTS as usize);
        let counted = counts.filter(|count| *count == [0, 1]).count();
        assert_eq!(counted as u64, image.len() as u64 / CLUSTER);
    }
}
