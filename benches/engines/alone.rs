//! One round of one engine in a process of its own. A peer that does not come to an end can only be stopped by ending
//! its process, and one whose stack overflows ends it. So each is tried here first, and timed only where that went well.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use solostart_benches::shapes::{SHAPES, Shape};

use crate::engine::{Engine, Threads};

/// How long one round may take.
pub const LIMIT: Duration = Duration::from_secs(2);
/// The first word of the command line of such a process.
const ALONE: &str = "--alone";

/// What such a process does.
#[derive(Clone, Copy)]
pub struct Task {
    pub engine: Engine,
    pub shape: Shape,
    pub size: usize,
    pub threads: Threads,
}

impl Task {
    /// The task of this process, if it is such a process.
    pub fn from_args(engines: &[Engine]) -> Option<Self> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let [alone, engine, shape, size, threads] = &words[..] else { return None };
        let task = Self {
            engine: engines.iter().copied().find(|other| other.name == engine)?,
            shape: SHAPES.into_iter().find(|other| other.name == shape)?,
            size: size.parse().ok()?,
            threads: Threads::ALL.into_iter().find(|other| other.name() == threads)?,
        };
        (alone == ALONE).then_some(task)
    }

    /// Does it in a process of its own, which prints one figure.
    ///
    /// # Errors
    /// Why it did not come to an end, in words.
    pub fn figure(self) -> Result<f64, String> {
        let words = [ALONE, self.engine.name, self.shape.name, &self.size.to_string(), self.threads.name()]
            .map(str::to_owned);
        let program = std::env::current_exe().expect("it is running");
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it can be started again");
        // The process needs some time besides the round.
        let over = Instant::now() + LIMIT + LIMIT / 4;
        let status = loop {
            if let Some(status) = process.try_wait().expect("it is our child") {
                break status;
            }
            if Instant::now() > over {
                process.kill().expect("it is our child");
                process.wait().expect("it is our child");
                return Err(format!("a round takes longer than {LIMIT:?}"));
            }
            thread::sleep(Duration::from_millis(1));
        };
        let mut said = String::new();
        let mut complaint = String::new();
        process.stdout.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
        process.stderr.take().expect("it is piped").read_to_string(&mut complaint).expect("it is text");
        match said.trim().parse() {
            Ok(figure) if status.success() => Ok(figure),
            _ if complaint.contains("overflowed its stack") => Err("its stack overflows".to_owned()),
            _ => Err(format!("{status}: {}", complaint.trim().replace('\n', " "))),
        }
    }
}
