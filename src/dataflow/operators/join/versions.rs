//! The versions of a key of an as-of join, ascending by time; most often there is one.

use std::ops::{Deref, DerefMut};

use crate::state::RowId;

/// The row of no version.
pub const NO_ROW: RowId = RowId::MAX;

/// A version of a key; no row: the key was deleted.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct Version {
    pub time: i64,
    pub id: RowId,
    /// 64 bits of the row's fingerprint.
    pub print: [u32; 2],
}

impl Version {
    pub fn row(&self) -> Option<RowId> {
        (self.id != NO_ROW).then_some(self.id)
    }
}

#[allow(clippy::box_collection, reason = "a key with one version spends 24 bytes")]
pub enum Versions {
    One(Version),
    More(Box<Vec<Version>>),
}

impl Deref for Versions {
    type Target = [Version];
    fn deref(&self) -> &[Version] {
        match self {
            Versions::One(version) => std::slice::from_ref(version),
            Versions::More(versions) => versions,
        }
    }
}

impl DerefMut for Versions {
    fn deref_mut(&mut self) -> &mut [Version] {
        match self {
            Versions::One(version) => std::slice::from_mut(version),
            Versions::More(versions) => versions,
        }
    }
}

impl Versions {
    pub fn none() -> Versions {
        Versions::More(Box::default())
    }

    pub fn insert(&mut self, at: usize, version: Version) {
        match self {
            Versions::One(only) => {
                let mut both = vec![*only];
                both.insert(at, version);
                *self = Versions::More(Box::new(both));
            }
            Versions::More(versions) if versions.is_empty() => *self = Versions::One(version),
            Versions::More(versions) => {
                if versions.len() == versions.capacity() {
                    versions.reserve_exact((versions.len() / 4).max(1));
                }
                versions.insert(at, version);
            }
        }
    }

    /// Takes the first versions.
    pub fn take_first(&mut self, count: usize) -> Vec<Version> {
        match self {
            _ if count == 0 => Vec::new(),
            Versions::One(only) => {
                let taken = vec![*only];
                *self = Versions::none();
                taken
            }
            Versions::More(versions) => {
                let taken = versions.drain(..count).collect();
                match versions.as_slice() {
                    [only] => *self = Versions::One(*only),
                    left if versions.capacity() > 2 * left.len() + 4 => versions.shrink_to_fit(),
                    _ => {}
                }
                taken
            }
        }
    }

    /// Bytes beside the versions themselves.
    pub fn bytes(&self) -> usize {
        match self {
            Versions::One(_) => 0,
            Versions::More(all) => size_of::<Vec<Version>>() + all.capacity() * size_of::<Version>(),
        }
    }
}
