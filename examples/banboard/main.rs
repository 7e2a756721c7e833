//! A fail2ban ban board.

mod board;
mod chart;
mod config;
mod follow;
mod jobs;
mod log;
mod networks;
mod page;
mod schema;
mod store;
mod text;
mod timeline;
mod web;

fn main() {}
