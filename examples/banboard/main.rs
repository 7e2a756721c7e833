//! A fail2ban ban board.

mod board;
mod chart;
mod follow;
mod log;
mod networks;
mod page;
mod schema;
mod store;
mod text;
mod timeline;

fn main() {}
