//! A fail2ban ban board.

mod board;
mod follow;
mod log;
mod networks;
mod schema;
mod store;
mod text;

fn main() {}
