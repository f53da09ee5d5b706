//! What is promised, once: the checks use these tables, and `docs/power-safety.md`
//! is made from them.

use std::fmt::Write as _;

use ota_bootlib::{Phase, Strategy};

/// A state of the boot journal.
pub struct PhaseRow {
    /// Which.
    pub phase: Phase,
    /// What lies in the slots.
    pub lies: &'static str,
    /// The record that leads on.
    pub record: &'static str,
    /// What a cut in front of that record leads to.
    pub cut: &'static str,
    /// The states that may follow. The exploration finds no other.
    pub next: &'static [Phase],
}

/// Every state of an update.
pub const PHASES: [PhaseRow; 8] = [
    PhaseRow {
        phase: Phase::Idle,
        lies: "active verified, update slot free or, while downloading, slices 0..k of the new image",
        record: "request; while downloading one per 64 KiB",
        cut: "there was no request; the package is fetched again from there, slice k decoded again",
        next: &[Phase::Requested, Phase::ActiveInvalid],
    },
    PhaseRow {
        phase: Phase::Requested,
        lies: "active old, update new or patch",
        record: "plan: map of changed sectors, SHA-256 of the old image",
        cut: "plan again; nothing was touched",
        next: &[
            Phase::Moving,
            Phase::Rebuilding,
            Phase::Installing,
            Phase::Trial,
            Phase::Idle,
        ],
    },
    PhaseRow {
        phase: Phase::Moving,
        lies: "patch partly at the slot's end, source above it whole",
        record: "one per sector",
        cut: "sector moved again",
        next: &[Phase::Rebuilding],
    },
    PhaseRow {
        phase: Phase::Rebuilding,
        lies: "slices 0..k new, section k and later whole",
        record: "one per slice",
        cut: "slice rebuilt again",
        next: &[Phase::Installing, Phase::Idle],
    },
    PhaseRow {
        phase: Phase::Installing,
        lies: "changed sectors above step new; swap: their old content one place up; else: source whole",
        record: "one per copied sector",
        cut: "sector copied again",
        next: &[Phase::Trial, Phase::Reverting, Phase::ActiveInvalid],
    },
    PhaseRow {
        phase: Phase::Trial,
        lies: "active new, backup in the update slot",
        record: "start counted",
        cut: "not counted",
        next: &[Phase::Idle, Phase::Reverting, Phase::ActiveInvalid],
    },
    PhaseRow {
        phase: Phase::Reverting,
        lies: "backup whole until the end",
        record: "one per sector",
        cut: "sector copied again",
        next: &[Phase::Idle, Phase::ActiveInvalid],
    },
    PhaseRow {
        phase: Phase::ActiveInvalid,
        lies: "nothing that may run; serial recovery",
        record: "image written",
        cut: "recovery waits",
        next: &[Phase::Idle, Phase::Requested],
    },
];

/// Whether one state may follow the other.
pub fn may_follow(from: u8, to: u8) -> bool {
    let row = PHASES.iter().find(|r| r.phase as u8 == from);
    from == to || row.is_some_and(|r| r.next.iter().any(|n| *n as u8 == to))
}

/// What a strategy may cost.
pub struct Costs {
    /// Erases of a changed sector of the active slot.
    pub active: u8,
    /// Erases of a sector of the update slot, download not included.
    pub update: u8,
    /// Journal records per changed sector, slices and moved sectors not included.
    pub records: u8,
    /// The way back: erases of a changed sector of the active slot, and its records.
    pub back: u8,
    /// In words.
    words: (&'static str, &'static str),
}

/// The table of I5.
pub const fn costs(strategy: Strategy) -> Costs {
    let (active, update, records, back) = match strategy {
        Strategy::Swap => (1, 1, 2, 1),
        Strategy::PatchSwap => (1, 3, 2, 1),
        Strategy::Overwrite => (1, 0, 1, 0),
        Strategy::InPlace => (1, 2, 1, 0),
        Strategy::Switch => (0, 0, 0, 0),
    };
    let erases = match strategy {
        Strategy::PatchSwap => " (1 to swap, 1 to rebuild, 1 to move a patch that lies in the way)",
        Strategy::InPlace => " (1 to rebuild, 1 to move)",
        _ => "",
    };
    let rows = match strategy {
        Strategy::PatchSwap | Strategy::InPlace => ", and 1 a slice, 1 a moved sector",
        _ => "",
    };
    Costs {
        active,
        update,
        records,
        back,
        words: (erases, rows),
    }
}

/// First line of the part of the document that is made from here.
const BEGIN: &str = "<!-- made by `cargo xtask powercut --tables` -->\n";
/// Its last line.
const END: &str = "<!-- end of what is made -->\n";

/// The tables, as they stand in the document.
pub fn tables() -> String {
    let mut t = String::from(
        "\n| phase | what lies where | next record | cut before it | may lead to |\n|---|---|---|---|---|\n",
    );
    for r in &PHASES {
        let next: Vec<String> = r.next.iter().map(|p| format!("{p:?}")).collect();
        let _ = writeln!(
            t,
            "| {:?} | {} | {} | {} | {} |",
            r.phase,
            r.lies,
            r.record,
            r.cut,
            next.join(", ")
        );
    }
    t += "\n| strategy | erases per changed sector, at most | records per changed sector | way back |\n|---|---|---|---|\n";
    for strategy in Strategy::ALL {
        let c = costs(strategy);
        let back = match (c.back, strategy) {
            (0, Strategy::Switch) => "one record".into(),
            (0, _) => "none".into(),
            (n, _) => format!("{n} erase, {n} record"),
        };
        let _ = writeln!(
            t,
            "| {} | {} active, {} update{} | {}{} | {back} |",
            strategy.name(),
            c.active,
            c.update,
            c.words.0,
            c.records,
            c.words.1,
        );
    }
    t.push('\n');
    t
}

/// `document` with the tables of today; `None` when it has no place for them.
pub fn renewed(document: &str) -> Option<String> {
    let (front, rest) = document.split_once(BEGIN)?;
    let (_, back) = rest.split_once(END)?;
    Some(format!("{front}{BEGIN}{}{END}{back}", tables()))
}
