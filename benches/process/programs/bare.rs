//! A program that waits for SIGTERM, and does nothing else: what an idle service costs without the library.

use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    eprintln!("READY");
    term.recv().await;
    Ok(())
}
