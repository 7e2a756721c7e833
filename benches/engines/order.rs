//! Whether an engine did what is compared: ran every stage once, after all that it needs.

use std::sync::{Mutex, PoisonError};

use solostart_benches::shapes::Needs;

static RAN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// What each stage does in a process that looks at the order.
pub fn note(index: usize) {
    RAN.lock().unwrap_or_else(PoisonError::into_inner).push(index);
}

/// The first stage that did not run as it should, in words.
pub fn fault(needs: &Needs) -> Option<String> {
    let ran = RAN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut done = vec![false; needs.len()];
    // What a peer adds of its own comes last and has a name that is no number.
    for &index in ran.iter() {
        if done[index] || needs[index].iter().any(|&need| !done[need]) {
            return Some(format!("stage {index} ran twice or too early"));
        }
        done[index] = true;
    }
    done.iter().position(|done| !done).map(|index| format!("stage {index} never ran"))
}
