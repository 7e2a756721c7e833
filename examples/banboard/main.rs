//! A fail2ban ban board.

mod follow;
mod log;

fn main() {}
