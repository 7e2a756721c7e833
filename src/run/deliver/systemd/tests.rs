use super::*;
use crate::codes::{DB_NOT_WRITABLE, LOCK_HELD, STAGE_FAILED};

#[test]
fn a_step_cannot_forge_a_line_of_the_protocol_or_fill_a_datagram() {
    let forged = line(&format!("starting 1/2: a (x\nREADY=1\n{})", "y".repeat(10_000)));
    assert!(!forged.contains('\n') && forged.len() <= LINE_MOST, "{forged}");
}

#[test]
fn the_error_number_is_that_of_the_operating_system_wherever_it_is_in_the_chain() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);
    let full = io::Error::from_raw_os_error(28);
    let error = StageError::new(DB_NOT_WRITABLE, Outer(full));
    assert_eq!(errno(&error, ErrorKind::Permission), Some(28));
    for (error, number) in [(DB_NOT_WRITABLE, Some(13)), (LOCK_HELD, Some(22)), (STAGE_FAILED, None)] {
        assert_eq!(errno(&StageError::new(error, "x"), error.kind), number);
    }
}
