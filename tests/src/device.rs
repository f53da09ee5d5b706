//! A device on a thread, and what it says.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ota_agent::Event;
use otaapp::host::{self, Console, End, Error, Note, Options, Watch};
use tokio::sync::oneshot;

use crate::LIMIT;

/// What is called with each note, on the device's thread.
type Hook = Box<dyn FnMut(&Note<'_>) + Send>;

/// A device that is switched on.
pub struct Running {
    notes: Arc<Mutex<Vec<String>>>,
    ended: Receiver<Result<End, Error>>,
    power: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Recorder {
    notes: Arc<Mutex<Vec<String>>>,
    console: Console,
    hook: Hook,
}

impl Watch for Recorder {
    fn note(&mut self, note: Note<'_>) {
        (self.hook)(&note);
        // One for each piece of body would be too many to look through.
        if !matches!(note, Note::Agent(Event::Progress { .. })) {
            let mut notes = self.notes.lock().expect("notes");
            notes.push(format!("{note:?}"));
        }
        self.console.note(note);
    }
}

impl Running {
    /// Switches a device on.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::start_with(options, |_| {})
    }

    /// The same; `hook` is called with each note.
    #[must_use]
    pub fn start_with(options: Options, hook: impl FnMut(&Note<'_>) + Send + 'static) -> Self {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let (tx, ended) = channel();
        let (power, off) = oneshot::channel::<()>();
        let shared = notes.clone();
        let hook = Box::new(hook);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let mut recorder = Recorder {
                notes: shared,
                console: Console::new(),
                hook,
            };
            runtime.block_on(async {
                tokio::select! {
                    end = host::run(&options, &mut recorder) => {
                        // The test may not want to know.
                        let _ = tx.send(end);
                    }
                    _ = off => {}
                }
            });
        });
        Self {
            notes,
            ended,
            power: Some(power),
            thread: Some(thread),
        }
    }

    /// Everything it has said so far.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().expect("notes").clone()
    }

    /// Whether it has said something that contains `text`.
    #[must_use]
    pub fn said(&self, text: &str) -> bool {
        self.notes().iter().any(|n| n.contains(text))
    }

    /// Waits until it says something that contains `text`.
    pub fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.said(text) {
            assert!(
                start.elapsed() < LIMIT,
                "no `{text}` in:\n{}",
                self.notes().join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// That of the device.
    pub fn end(&self) -> Result<End, Error> {
        match self.ended.recv_timeout(LIMIT) {
            Ok(end) => end,
            Err(RecvTimeoutError::Timeout) => panic!("no end:\n{}", self.notes().join("\n")),
            Err(RecvTimeoutError::Disconnected) => panic!("the device panicked"),
        }
    }

    /// Cuts its power between two flash operations.
    pub fn power_off(mut self) -> Vec<String> {
        drop(self.power.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the device's thread");
        }
        self.notes()
    }
}

/// The version a device has come to. Panics with the error it ended with.
pub fn updated(end: Result<End, Error>) -> String {
    match end {
        Ok(End::Updated(version)) => version.to_string(),
        Err(e) => panic!("{e}"),
    }
}

/// Step and words of the failure a device ended with.
pub fn failed(end: Result<End, Error>) -> (i32, String) {
    match end {
        Err(Error::Update { step, desc, .. }) => (step, desc),
        other => panic!("not a failed update: {other:?}"),
    }
}
