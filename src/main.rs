//! The program `mount_status_monitor`.
fn main() {}
