//! The catalog on disk: `catalog.json` in the data directory.
//!
//! The file is `{ "format_version", "crc32", "catalog": { … } }`; the checksum is over the
//! compact JSON of `catalog`. It is replaced as a whole (write beside, fsync, rename, fsync
//! of the directory), so after a crash it holds the old or the new state, never a mixture.
//! It holds secrets and is readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Definition, ObjectId};
use super::snapshot::{Catalog, SchemaDefinition};
use crate::error::{HwError, Result, sqlstate};

/// Of the layout of `catalog.json`; a newer file is refused, never guessed at.
const FORMAT_VERSION: u64 = 1;
const FILE_NAME: &str = "catalog.json";

#[derive(Serialize, Deserialize)]
struct Stored {
    next_id: ObjectId,
    next_oid: u32,
    schemas: Vec<SchemaDefinition>,
    objects: Vec<Definition>,
}

/// Writes and reads the catalog of one data directory.
#[derive(Debug)]
pub struct CatalogStore {
    directory: PathBuf,
}

impl CatalogStore {
    /// Opens the store and loads what is there, or an empty catalog.
    ///
    /// Errors: XX001 if the file is damaged, 55000 if a newer version wrote it, 58030.
    pub fn open(directory: &Path) -> Result<(CatalogStore, Catalog)> {
        let store = CatalogStore { directory: directory.to_path_buf() };
        let path = store.path();
        let catalog = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).map_err(|why| why.with_context(&path))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Catalog::new(),
            Err(e) => return Err(io_error("read", &path, &e)),
        };
        Ok((store, catalog))
    }

    /// Makes `catalog` the stored state. When this returns, it survives a crash.
    pub fn save(&self, catalog: &Catalog) -> Result<()> {
        let bytes = encode(catalog)?;
        let (path, beside) = (self.path(), self.directory.join("catalog.json.tmp"));
        let written = write_synced(&beside, &bytes).and_then(|()| fs::rename(&beside, &path));
        if let Err(e) = written.and_then(|()| File::open(&self.directory)?.sync_all()) {
            // What is left of the temporary file is overwritten by the next save.
            return Err(io_error("write", &path, &e));
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(verb: &str, path: &Path, e: &std::io::Error) -> HwError {
    let code = match e.kind() {
        std::io::ErrorKind::StorageFull => sqlstate::DISK_FULL,
        _ => sqlstate::IO_ERROR,
    };
    HwError::new(code, format!("could not {verb} file \"{}\": {e}", path.display()))
}

fn encode(catalog: &Catalog) -> Result<Vec<u8>> {
    let state = &catalog.state;
    let stored = Stored {
        next_id: state.next_id,
        next_oid: state.next_oid,
        schemas: state.schemas.values().cloned().collect(),
        objects: state.objects.values().map(|d| (**d).clone()).collect(),
    };
    let failed = |e: serde_json::Error| HwError::internal(format!("could not encode the catalog: {e}"));
    let body = serde_json::to_value(stored).map_err(failed)?;
    let crc32 = checksum(&body).map_err(failed)?;
    let file = serde_json::json!({ "format_version": FORMAT_VERSION, "crc32": crc32, "catalog": body });
    serde_json::to_vec_pretty(&file).map_err(failed)
}

fn checksum(body: &Value) -> serde_json::Result<u32> {
    Ok(crc32fast::hash(&serde_json::to_vec(body)?))
}

/// Why a file cannot be used.
enum Unusable {
    Damaged(String),
    Newer(u64),
}

impl Unusable {
    fn with_context(self, path: &Path) -> HwError {
        match self {
            Unusable::Damaged(why) => {
                HwError::new(sqlstate::DATA_CORRUPTED, format!("file \"{}\" is damaged", path.display()))
                    .with_detail(format!("{why}."))
                    .with_hint("Restore the data directory from a backup.")
            }
            Unusable::Newer(version) => HwError::new(
                sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("file \"{}\" was written by another version of Headwater", path.display()),
            )
            .with_detail(format!("Its format is {version}; this version reads format {FORMAT_VERSION}."))
            .with_hint("Use the version of Headwater that wrote the data directory."),
        }
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<Catalog, Unusable> {
    let damaged = |why: String| Unusable::Damaged(why);
    let mut file: Value =
        serde_json::from_slice(bytes).map_err(|e| damaged(format!("It is not JSON: {e}")))?;
    let version = file["format_version"].as_u64();
    match version {
        Some(FORMAT_VERSION) => {}
        Some(other) => return Err(Unusable::Newer(other)),
        None => return Err(damaged("It has no format version".to_string())),
    }
    let body = file["catalog"].take();
    let expected = file["crc32"].as_u64();
    let actual = checksum(&body).map_err(|e| damaged(e.to_string()))?;
    if expected != Some(u64::from(actual)) {
        return Err(damaged("Its checksum does not match".to_string()));
    }
    let stored: Stored = serde_json::from_value(body).map_err(|e| damaged(e.to_string()))?;
    Ok(Catalog::from_parts(stored.next_id, stored.next_oid, stored.schemas, stored.objects))
}
