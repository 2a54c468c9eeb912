//! The state that an earlier daemon has left: of any bytes, a monitor that continues from it works.

use super::machine::{Machine, mounts, table};
use super::{at, monitor};
use mount_status_monitor::monitor::Input;
use mount_status_monitor::output::saved_state::restored_from;
use platform::TableUpdate;

pub fn saved_state(input: &[u8]) {
    let Ok(restored) = restored_from(input) else { return };
    let mut monitor = monitor();
    monitor.restore(restored.status);
    let mut machine = Machine { monitor };
    machine.handle(at(0), Input::TableUpdate(TableUpdate::Whole(table(mounts()))));
    machine.finish(at(25_000));
}
