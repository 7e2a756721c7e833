//! 3. Steps and undo: a start that fails half-way takes back what it did.
//!
//! `cargo run --example 03_step_and_undo` makes a directory and a file in it.
//!
//! To try
//! - `BUILDER_BREAK=true cargo run --example 03_step_and_undo`: it fails between the two. The report names the step,
//!   and the directory is gone again.
//! - `BUILDER_HANG=true BUILDER_STAGE_TIMEOUT=1s cargo run --example 03_step_and_undo`: the same after a time-out.
//! - The same with Ctrl-C while it hangs: rolled back, and exit code 0, because that is what was asked for.
//! - Put a `panic!()` where it breaks: a panic is a failure like any other.

#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::{path::PathBuf, process::ExitCode};

use solostart::{ServeContext, StageContext, StageResult};
use tokio::fs;

/// Where it works, and what goes wrong.
struct Builder {
    directory: PathBuf,
    breaks: bool,
    hangs: bool,
}

impl Builder {
    async fn start(&self, cx: StageContext) -> StageResult<PathBuf> {
        // A step stands in the report of a start that failed, and in progress lines.
        cx.step("make the directory");
        fs::create_dir(&self.directory).await?;
        // Registered at once after what it undoes. It survives an error, a time-out, a panic and a signal, which
        // code after the next await would not. Several run last in, first out; a success forgets them.
        let directory = self.directory.clone();
        cx.on_rollback(async move || {
            println!("undo: remove {}", directory.display());
            Ok(fs::remove_dir_all(directory).await?)
        });

        cx.step("write the file");
        if self.breaks {
            return Err("the pencil broke".into());
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let file = self.directory.join("plan.txt");
        fs::write(&file, "one house\n").await?;
        Ok(file)
    }
}

fn main() -> ExitCode {
    solostart::run("builder", |startup| {
        startup.allow_unshared_lock("overlay,tmpfs");
        let env = startup.env();
        let builder = Builder {
            directory: startup.data_dir().join("site"),
            breaks: env.var("BREAK").describe("Whether the start fails half-way.").boolean().default(false),
            hangs: env.var("HANG").describe("Whether the start hangs half-way.").boolean().default(false),
        };
        let plan = startup
            .stage("plan", (), async move |cx, ()| builder.start(cx).await)
            // From a successful start on, the stop hook is responsible.
            .stop(async |file, _cx| {
                println!("stop: remove {}", file.display());
                Ok(fs::remove_dir_all(file.parent().unwrap_or(&file)).await?)
            })
            .required();
        startup.serve(plan, async |cx: ServeContext, file| {
            println!("built {}", file.display());
            cx.shutdown_requested().await;
            Ok(())
        });
        Ok(())
    })
}
