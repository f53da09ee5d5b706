//! The data directory: a SQLite database and the firmware files.

use crate::{Error, Result};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything an operator does, on a data directory.
///
/// Several processes may have the same directory open: a change made by one
/// (say, `job start` on the command line) is acted on by the one that serves.
/// Cloning is cheap; all clones share one connection.
#[derive(Clone)]
pub struct Cloud {
    db: Arc<Mutex<Connection>>,
    dir: Arc<PathBuf>,
    /// Largest firmware file taken, in bytes.
    pub(crate) max_firmware: u64,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("dir", &self.dir).finish()
    }
}

const DATABASE: &str = "cloud.db";

/// Largest firmware file taken, in bytes (1000 MiB).
pub(crate) const MAX_FIRMWARE: u64 = 1000 * 1024 * 1024;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta(
  key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS products(
  pk TEXT PRIMARY KEY, ps TEXT NOT NULL, secure INTEGER NOT NULL DEFAULT 0,
  key_pem TEXT, created INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS devices(
  pk TEXT NOT NULL REFERENCES products(pk), dn TEXT NOT NULL, ds TEXT NOT NULL,
  online INTEGER NOT NULL DEFAULT 0, last_seen INTEGER, created INTEGER NOT NULL,
  PRIMARY KEY(pk, dn)) STRICT;
CREATE TABLE IF NOT EXISTS versions(
  pk TEXT NOT NULL, dn TEXT NOT NULL, module TEXT NOT NULL, version TEXT NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY(pk, dn, module)) STRICT;
CREATE TABLE IF NOT EXISTS firmwares(
  id INTEGER PRIMARY KEY AUTOINCREMENT, pk TEXT NOT NULL REFERENCES products(pk),
  module TEXT NOT NULL, version TEXT NOT NULL, file TEXT NOT NULL, blob TEXT NOT NULL,
  size INTEGER NOT NULL, method TEXT NOT NULL, validated TEXT, created INTEGER NOT NULL,
  UNIQUE(pk, module, version)) STRICT;
CREATE TABLE IF NOT EXISTS packages(
  id INTEGER PRIMARY KEY AUTOINCREMENT, firmware INTEGER NOT NULL REFERENCES firmwares(id),
  from_version TEXT, signed INTEGER NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
  md5 TEXT NOT NULL, sha256 TEXT NOT NULL, digestsign TEXT, slice INTEGER) STRICT;
CREATE TABLE IF NOT EXISTS jobs(
  id INTEGER PRIMARY KEY AUTOINCREMENT, firmware INTEGER NOT NULL REFERENCES firmwares(id),
  kind TEXT NOT NULL, mode TEXT NOT NULL, created INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tasks(
  id INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL REFERENCES jobs(id),
  pk TEXT NOT NULL, dn TEXT NOT NULL, module TEXT NOT NULL, from_version TEXT,
  target TEXT NOT NULL, package INTEGER NOT NULL REFERENCES packages(id),
  state TEXT NOT NULL, step INTEGER, desc TEXT NOT NULL DEFAULT '',
  due INTEGER NOT NULL, pushes INTEGER NOT NULL DEFAULT 0, updated INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS tasks_device ON tasks(pk, dn);
CREATE INDEX IF NOT EXISTS tasks_due ON tasks(due, state);
CREATE TABLE IF NOT EXISTS events(
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
  pk TEXT NOT NULL, dn TEXT NOT NULL, job INTEGER, step INTEGER, text TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS events_job ON events(job);
";

/// Columns that directories of earlier versions lack.
const LATER: [(&str, &str); 3] = [
    ("packages", "format"),
    ("jobs", "format"),
    ("firmwares", "validated_format"),
];

fn add_column(db: &Connection, table: &str, column: &str) -> Result<()> {
    let has = |db: &Connection| {
        let sql = format!("SELECT 1 FROM pragma_table_info('{table}') WHERE name=?1");
        db.query_row(&sql, [column], |_| Ok(())).optional()
    };
    if has(db)?.is_none() {
        let added = db.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} TEXT"));
        // Another process may have been faster.
        if added.is_err() && has(db)?.is_none() {
            added?;
        }
    }
    Ok(())
}

impl Cloud {
    /// Opens the data directory `dir`, which must be one.
    ///
    /// # Errors
    /// [`Error::NoData`] when it is not, and as [`Cloud::open`].
    pub fn open_existing(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        if dir.join(DATABASE).is_file() {
            Self::open(dir)
        } else {
            Err(Error::NoData(dir.to_path_buf()))
        }
    }

    /// Opens the data directory `dir`; it is made when it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Db`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        let files = dir.join("files");
        std::fs::create_dir_all(&files).map_err(Error::io(&files))?;
        restrict(&dir)?;
        let db = Connection::open(dir.join(DATABASE))?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.execute_batch(SCHEMA)?;
        for (table, column) in LATER {
            add_column(&db, table, column)?;
        }
        let cloud = Self {
            db: Arc::new(Mutex::new(db)),
            dir: Arc::new(dir),
            max_firmware: MAX_FIRMWARE,
        };
        let key = random_hex(32);
        cloud.db().execute(
            "INSERT OR IGNORE INTO meta(key, value) VALUES('url_key', ?1)",
            [key],
        )?;
        Ok(cloud)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a server (this process or another) serves the data directory.
    pub fn is_served(&self) -> bool {
        matches!(lock(&self.dir), Ok(None))
    }

    pub(crate) fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic while the lock was held cannot leave the database half-changed.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        self.dir.join("files").join(name)
    }

    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>> {
        Ok(self
            .db()
            .query_row("SELECT value FROM meta WHERE key=?1", params![key], |r| {
                r.get(0)
            })
            .optional()?)
    }
}

/// The server's lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(std::fs::File);

/// Closing is not enough: a process that is just being started holds a copy of the
/// handle, and with it the lock.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the server's lock; `None` when another process holds it.
pub(crate) fn lock(dir: &Path) -> Result<Option<Lock>> {
    let path = dir.join("serve.lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io(&path)(e)),
    }
}

/// The directory holds device secrets and private keys.
fn restrict(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(Error::io(dir))?;
    }
    Ok(())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// `bytes` random bytes in lower-case hex.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut buf = vec![0; bytes];
    getrandom::fill(&mut buf).expect("the operating system gives random numbers");
    crate::digest::hex(&buf)
}
