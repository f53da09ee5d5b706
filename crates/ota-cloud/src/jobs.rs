//! Validations and roll-outs, and the update of each device in them.

use crate::package::stored_format;
use crate::products::DEFAULT_MODULE;
use crate::store::now_ms;
use crate::{Cloud, Error, Event, EventKind, Fact, Firmware, Format, Mode, Result, TaskState};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use std::time::{Duration, Instant};

/// What a [`Job`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Trying a firmware on one device.
    Validate,
    /// Rolling a firmware out.
    Rollout,
}

/// A roll-out to be started.
#[derive(Debug, Clone, Default)]
pub struct JobSpec {
    /// Number of the firmware.
    pub firmware: i64,
    /// Names of the devices; empty for all devices of the product.
    pub devices: Vec<String>,
    /// Full or differential packages; `None` for the mode that was validated.
    pub mode: Option<Mode>,
    /// What packages are made like; `None` for what was validated with that mode, or
    /// the mode's own.
    pub format: Option<Format>,
    /// Allows a firmware that was never validated.
    pub unvalidated: bool,
    /// Takes devices out of other jobs that have not ended.
    pub replace: bool,
}

impl JobSpec {
    /// A roll-out of `firmware` to all devices of its product.
    pub fn new(firmware: i64) -> Self {
        Self {
            firmware,
            ..Self::default()
        }
    }
}

/// The update of one device.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    /// Number.
    pub id: i64,
    /// Number of its job.
    pub job: i64,
    /// ProductKey.
    pub pk: String,
    /// DeviceName.
    pub dn: String,
    /// Module; `default` is the device's own firmware.
    pub module: String,
    /// Version the device ran when the job was made.
    pub from_version: Option<String>,
    /// Version it shall run.
    pub target: String,
    /// Where it stands.
    pub state: TaskState,
    /// Last reported step: 0 to 100 percent, or a negative error code.
    pub step: Option<i32>,
    /// Words to the last step or state.
    pub desc: String,
    /// How often the upgrade message was sent and acknowledged.
    pub pushes: u32,
    /// Last change, in milliseconds since 1970.
    pub updated: i64,
    /// Number of the package it is sent.
    pub package: i64,
    /// What that is made like.
    pub format: Format,
    /// Its bytes.
    pub size: u64,
}

/// A validation or a roll-out.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Number.
    pub id: i64,
    /// What it is for.
    pub kind: JobKind,
    /// Full or differential packages.
    pub mode: Mode,
    /// Number of the firmware.
    pub firmware: i64,
    /// ProductKey.
    pub pk: String,
    /// Version to be installed.
    pub version: String,
    /// Bytes of the firmware as a whole.
    pub full_size: u64,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// One update per device, by device name.
    pub tasks: Vec<Task>,
}

impl Job {
    /// Whether no device is waiting or at work any more.
    pub fn is_over(&self) -> bool {
        !self.tasks.iter().any(|t| t.state.is_active())
    }

    /// Whether every device runs the target version.
    pub fn succeeded(&self) -> bool {
        self.tasks.iter().all(|t| t.state == TaskState::Succeeded)
    }
}

const TASK: &str = "SELECT id, job, pk, dn, module, from_version, target, state, step, desc, \
     pushes, updated, package, (SELECT format FROM packages p WHERE p.id=package), \
     (SELECT from_version FROM packages p WHERE p.id=package), \
     (SELECT size FROM packages p WHERE p.id=package) FROM tasks";

impl Cloud {
    /// Tries firmware `id` on device `dn`. When that succeeds the firmware may
    /// be rolled out.
    ///
    /// # Errors
    /// [`Error::NoFirmware`], [`Error::NoDevice`], [`Error::Busy`], and for
    /// [`Mode::Diff`] [`Error::Diff`] or [`Error::NeverReported`].
    pub fn validate(&self, id: i64, mode: Mode, dn: &str) -> Result<Job> {
        self.validate_as(id, mode, None, dn)
    }

    /// The same, with packages of this format instead of the mode's own.
    ///
    /// # Errors
    /// As [`Cloud::validate`], and [`Error::Format`].
    pub fn validate_as(
        &self,
        id: i64,
        mode: Mode,
        format: Option<Format>,
        dn: &str,
    ) -> Result<Job> {
        let firmware = self.firmware(id)?;
        let how = (mode, Format::choose(format, mode)?);
        self.new_job(&firmware, JobKind::Validate, how, &[dn.into()], false)
    }

    /// Rolls a firmware out.
    ///
    /// # Errors
    /// As [`Cloud::validate`], and [`Error::NotValidated`], [`Error::NoDevices`].
    pub fn start_job(&self, spec: &JobSpec) -> Result<Job> {
        let firmware = self.firmware(spec.firmware)?;
        if firmware.validated.is_none() && !spec.unvalidated {
            return Err(Error::NotValidated(firmware.id));
        }
        let mode = spec.mode.or(firmware.validated).unwrap_or_default();
        let validated = firmware.validated_format.filter(|f| f.fits(mode));
        let how = (mode, Format::choose(spec.format.or(validated), mode)?);
        let mut devices = spec.devices.clone();
        if devices.is_empty() {
            let all = self.devices(&firmware.pk)?;
            devices = all.into_iter().map(|d| d.dn).collect();
        }
        if devices.is_empty() {
            return Err(Error::NoDevices(firmware.pk));
        }
        self.new_job(&firmware, JobKind::Rollout, how, &devices, spec.replace)
    }

    /// A job by its number, with the update of each device.
    ///
    /// # Errors
    /// [`Error::NoJob`].
    pub fn job(&self, id: i64) -> Result<Job> {
        let db = self.db();
        let found = db
            .query_row(
                "SELECT j.id, j.kind, j.mode, j.firmware, f.pk, f.version, j.created, f.size \
                 FROM jobs j JOIN firmwares f ON f.id=j.firmware WHERE j.id=?1",
                [id],
                job_row,
            )
            .optional()?;
        let mut job = found.ok_or(Error::NoJob(id))?;
        let mut query = db.prepare_cached(&format!("{TASK} WHERE job=?1 ORDER BY dn"))?;
        job.tasks = query
            .query_map([id], task_row)?
            .collect::<rusqlite::Result<_>>()?;
        Ok(job)
    }

    /// Cancels what has not ended. A device that is already at work is not told
    /// (the protocol has no message for it); what it reports later is noted only.
    ///
    /// # Errors
    /// [`Error::NoJob`].
    pub fn cancel_job(&self, id: i64) -> Result<Job> {
        for task in self.job(id)?.tasks {
            self.advance(&task, Fact::Cancel, "")?;
        }
        self.job(id)
    }

    /// Waits until a job is over; `on_event` sees its events as they come.
    ///
    /// # Errors
    /// [`Error::NoJob`]; [`Error::Timeout`] when it is not over in time.
    pub fn wait_job(
        &self,
        id: i64,
        timeout: Duration,
        mut on_event: impl FnMut(&Event),
    ) -> Result<Job> {
        let start = Instant::now();
        let mut seen = 0;
        loop {
            // State first: events of a change are written before it shows.
            let job = self.job(id)?;
            for e in self.job_events(id)? {
                if e.id > seen {
                    on_event(&e);
                    seen = e.id;
                }
            }
            if job.is_over() {
                return Ok(job);
            }
            if start.elapsed() >= timeout {
                return Err(Error::Timeout(format!("the end of job {id}")));
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    fn new_job(
        &self,
        firmware: &Firmware,
        kind: JobKind,
        (mode, format): (Mode, Format),
        devices: &[String],
        replace: bool,
    ) -> Result<Job> {
        let (pk, module) = (&firmware.pk, &firmware.module);
        // Everything that can be refused is, before anything is changed.
        let mut rows = Vec::new();
        let mut replaced = Vec::new();
        for dn in devices {
            let device = self.device(pk, dn)?;
            let mut versions = device.versions.iter();
            let from = versions.find(|v| v.module == *module);
            let from = from.map(|v| v.version.clone());
            if let Some(task) = self.open_task(pk, dn, module)? {
                if !replace {
                    return Err(Error::Busy {
                        dn: dn.clone(),
                        job: task.job,
                    });
                }
                replaced.push(task);
            }
            if mode == Mode::Diff && from.is_none() {
                return Err(Error::NeverReported(dn.clone()));
            }
            let package = self.package_for(firmware, format, from.as_deref(), dn)?;
            rows.push((dn, from, package.id));
        }
        for task in &replaced {
            self.advance(task, Fact::Cancel, "replaced by another job")?;
        }
        let id = {
            let mut db = self.db();
            let tx = db.transaction()?;
            tx.execute(
                "INSERT INTO jobs(firmware, kind, mode, format, created) \
                 VALUES(?1, ?2, ?3, ?4, ?5)",
                params![
                    firmware.id,
                    kind_str(kind),
                    mode.as_str(),
                    format.as_str(),
                    now_ms()
                ],
            )?;
            let id = tx.last_insert_rowid();
            for (dn, from, package) in rows {
                tx.execute(
                    "INSERT INTO tasks(job, pk, dn, module, from_version, target, package, \
                     state, due, updated) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9)",
                    params![
                        id,
                        pk,
                        dn,
                        module,
                        from,
                        firmware.version,
                        package,
                        TaskState::Queued.as_str(),
                        now_ms()
                    ],
                )?;
            }
            tx.commit()?;
            id
        };
        // Who runs the version already has nothing to do.
        for task in self.job(id)?.tasks {
            if let Some(v) = task.from_version.clone().filter(|v| *v == task.target) {
                self.advance(&task, Fact::Inform(&v), "runs this version already")?;
            }
        }
        self.job(id)
    }

    /// The update of one device, by its number.
    pub(crate) fn task(&self, id: i64) -> Result<Task> {
        let db = self.db();
        let mut query = db.prepare_cached(&format!("{TASK} WHERE id=?1"))?;
        Ok(query.query_row([id], task_row)?)
    }

    /// The update of a device that has not ended.
    pub(crate) fn open_task(&self, pk: &str, dn: &str, module: &str) -> Result<Option<Task>> {
        Ok(self
            .last_task(pk, dn, module)?
            .filter(|t| t.state.is_active()))
    }

    /// The newest update of a device. Only the newest can be open.
    fn last_task(&self, pk: &str, dn: &str, module: &str) -> Result<Option<Task>> {
        Ok(self
            .db()
            .prepare_cached(&format!(
                "{TASK} WHERE pk=?1 AND dn=?2 AND module=?3 ORDER BY id DESC LIMIT 1"
            ))?
            .query_row([pk, dn, module], task_row)
            .optional()?)
    }

    /// Updates that wait for their upgrade message, of devices that are online.
    pub(crate) fn due_tasks(&self) -> Result<Vec<Task>> {
        let db = self.db();
        let mut query = db.prepare_cached(&format!(
            "{TASK} WHERE due=1 AND state IN('QUEUED', 'NOTIFIED', 'IN_PROGRESS') AND EXISTS( \
             SELECT 1 FROM devices d WHERE d.pk=tasks.pk AND d.dn=tasks.dn AND d.online)"
        ))?;
        let rows = query.query_map([], task_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// A device has informed the version of a module.
    pub(crate) fn informed(
        &self,
        (pk, dn): (&str, &str),
        module: &str,
        version: &str,
    ) -> Result<()> {
        self.db()
            .prepare_cached(
                "INSERT INTO versions(pk, dn, module, version, at) VALUES(?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO UPDATE SET version=excluded.version, at=excluded.at",
            )?
            .execute(params![pk, dn, module, version, now_ms()])?;
        let task = self.last_task(pk, dn, module)?;
        let job = task.as_ref().map(|t| t.job);
        let text = match module {
            DEFAULT_MODULE => version.to_string(),
            _ => format!("{version} (module {module})"),
        };
        self.note(EventKind::Inform, (pk, dn), job, None, &text)?;
        if let Some(task) = task {
            let desc = if version == task.target {
                String::new()
            } else {
                format!("runs {version}")
            };
            let state = self.advance(&task, Fact::Inform(version), &desc)?;
            if state.is_active() {
                self.set_due(task.id, true)?;
            }
        }
        Ok(())
    }

    /// A device has reported progress.
    pub(crate) fn progressed(
        &self,
        (pk, dn): (&str, &str),
        module: &str,
        step: i32,
        desc: &str,
    ) -> Result<()> {
        let task = self.last_task(pk, dn, module)?;
        let job = task.as_ref().map(|t| t.job);
        self.note(EventKind::Progress, (pk, dn), job, Some(step), desc)?;
        if let Some(task) = task {
            self.db()
                .prepare_cached("UPDATE tasks SET step=?2, desc=?3, updated=?4 WHERE id=?1")?
                .execute(params![task.id, step, desc, now_ms()])?;
            self.advance(&task, Fact::Progress(step), desc)?;
        }
        Ok(())
    }

    /// A device has its upgrade message.
    pub(crate) fn pushed(&self, task: &Task) -> Result<()> {
        self.db()
            .prepare_cached("UPDATE tasks SET due=0, pushes=pushes+1 WHERE id=?1")?
            .execute([task.id])?;
        self.advance(task, Fact::Pushed, "").map(drop)
    }

    pub(crate) fn set_due(&self, task: i64, due: bool) -> Result<()> {
        self.db()
            .prepare_cached("UPDATE tasks SET due=?2 WHERE id=?1")?
            .execute(params![task, due])?;
        Ok(())
    }

    /// Moves an update on. The state is read again, because another process may
    /// have changed it (a cancel on the command line) since `task` was read.
    fn advance(&self, task: &Task, fact: Fact<'_>, desc: &str) -> Result<TaskState> {
        let (old, new) = {
            let mut db = self.db();
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let old: String =
                tx.query_row("SELECT state FROM tasks WHERE id=?1", [task.id], |r| {
                    r.get(0)
                })?;
            let old = TaskState::parse(&old).unwrap_or(task.state);
            let new = old.next(&task.target, fact);
            if new != old {
                tx.execute(
                    "UPDATE tasks SET state=?2, desc=?3, updated=?4 WHERE id=?1",
                    params![task.id, new.as_str(), desc, now_ms()],
                )?;
                tx.execute(
                    "INSERT INTO events(at, kind, pk, dn, job, step, text) \
                     VALUES(?1, ?2, ?3, ?4, ?5, NULL, ?6)",
                    params![
                        now_ms(),
                        EventKind::State.as_str(),
                        task.pk,
                        task.dn,
                        task.job,
                        new.as_str()
                    ],
                )?;
                if new == TaskState::Succeeded {
                    tx.execute(
                        "UPDATE firmwares SET validated=(SELECT mode FROM jobs WHERE id=?1), \
                         validated_format=(SELECT format FROM jobs WHERE id=?1) WHERE id=(SELECT firmware FROM jobs WHERE id=?1 AND kind='validate')",
                        [task.job],
                    )?;
                }
            }
            tx.commit()?;
            (old, new)
        };
        if new != old {
            log::info!("{}/{} job {} {new}", task.pk, task.dn, task.job);
        }
        Ok(new)
    }
}

const fn kind_str(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Validate => "validate",
        JobKind::Rollout => "rollout",
    }
}

fn job_row(r: &Row<'_>) -> rusqlite::Result<Job> {
    let (kind, mode): (String, String) = (r.get(1)?, r.get(2)?);
    Ok(Job {
        id: r.get(0)?,
        kind: if kind == kind_str(JobKind::Validate) {
            JobKind::Validate
        } else {
            JobKind::Rollout
        },
        mode: mode.parse().unwrap_or_default(),
        firmware: r.get(3)?,
        pk: r.get(4)?,
        version: r.get(5)?,
        created: r.get(6)?,
        full_size: r.get::<_, i64>(7)?.unsigned_abs(),
        tasks: Vec::new(),
    })
}

fn task_row(r: &Row<'_>) -> rusqlite::Result<Task> {
    let state: String = r.get(7)?;
    Ok(Task {
        id: r.get(0)?,
        job: r.get(1)?,
        pk: r.get(2)?,
        dn: r.get(3)?,
        module: r.get(4)?,
        from_version: r.get(5)?,
        target: r.get(6)?,
        state: TaskState::parse(&state).unwrap_or(TaskState::Failed),
        step: r.get(8)?,
        desc: r.get(9)?,
        pushes: r.get(10)?,
        updated: r.get(11)?,
        package: r.get(12)?,
        format: stored_format(r.get(13)?, r.get::<_, Option<String>>(14)?.is_some()),
        size: r.get::<_, i64>(15)?.unsigned_abs(),
    })
}
