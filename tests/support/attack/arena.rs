//! The place where at most one process may be at a time, and what shows that two were.
//!
//! The package forbids `unsafe`, and with it mapped memory; the kernel has memory that processes share without.
//! - The *baton* is one byte in a pipe. Who comes in takes it without waiting, and puts it back when going out.
//!   Taking is atomic. A pipe that is empty shows that somebody else is inside, however briefly.
//! - The *page* is a file of three numbers in the page cache: how often somebody was inside, the last token, and
//!   who it was. It is read, and written back with one more, with nothing to make that atomic: two processes that
//!   overlap lose a count.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// One process's way in.
pub(crate) struct Arena {
    baton: File,
    page: File,
}

/// What one process did and saw.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    /// How often somebody else was inside.
    pub(crate) overlaps: u64,
    /// How often the last one had a token at least as high.
    pub(crate) out_of_order: u64,
    /// How often the last one was another process.
    pub(crate) handovers: u64,
    /// How often it was refused.
    pub(crate) refused: u64,
}

impl Arena {
    pub(crate) fn create(dir: &Path) -> Self {
        mknodat(CWD, dir.join("baton"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        File::create_new(dir.join("page")).unwrap().write_all(&[0; 24]).unwrap();
        let mut arena = Self::open(dir);
        arena.baton.write_all(b"b").unwrap();
        arena
    }

    pub(crate) fn open(dir: &Path) -> Self {
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let baton =
            OpenOptions::new().read(true).write(true).custom_flags(nonblock).open(dir.join("baton")).unwrap();
        let page = OpenOptions::new().read(true).write(true).open(dir.join("page")).unwrap();
        Self { baton, page }
    }

    /// How often somebody was inside.
    pub(crate) fn count(&self) -> u64 {
        self.read()[0]
    }

    /// Goes in and out again, unless `total` is reached, and says whether it was in.
    pub(crate) fn visit(&mut self, me: u64, token: u64, total: u64, tally: &mut Tally) -> bool {
        let taken = match self.baton.read(&mut [0]) {
            Ok(length) => length == 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("the baton: {error}"),
        };
        tally.overlaps += u64::from(!taken);
        let [count, last_token, last] = self.read();
        let enters = count < total;
        if enters {
            // Whoever should not be here gets the time to come in.
            thread::yield_now();
            tally.entries += 1;
            tally.out_of_order += u64::from(token <= last_token);
            tally.handovers += u64::from(last != me);
            let page = [count + 1, token, me].map(u64::to_ne_bytes).concat();
            self.page.write_all_at(&page, 0).unwrap();
        }
        if taken {
            self.baton.write_all(b"b").unwrap();
        }
        enters
    }

    fn read(&self) -> [u64; 3] {
        let mut page = [0; 24];
        self.page.read_exact_at(&mut page, 0).unwrap();
        [0, 8, 16].map(|at| u64::from_ne_bytes(page[at..at + 8].try_into().unwrap()))
    }
}
