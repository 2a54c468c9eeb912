//! The program `mount_status_monitor`: which of its parts is asked for.

use mount_status_monitor::children::{collector, prober};
use mount_status_monitor::cli::{self, Invocation};
use mount_status_monitor::commands;
use platform::process::{COLLECTOR_ARGUMENT, PROBER_ARGUMENT, is_started_by_daemon};
use platform::service::ServiceManager;
use std::ffi::OsStr;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a prober is small and knows no command line, and so is a collector.
    for (argument, run) in
        [(PROBER_ARGUMENT, prober::process::run as fn() -> !), (COLLECTOR_ARGUMENT, collector::process::run)]
    {
        if std::env::args_os().nth(1).as_deref() == Some(OsStr::new(argument)) {
            if !is_started_by_daemon() {
                return commands::started_by_daemon_only(argument);
            }
            run();
        }
    }
    match cli::parse(std::env::args_os()) {
        Ok(Invocation::Daemon(config, loader)) => {
            // Now, while there is no other thread.
            commands::daemon(config, loader, ServiceManager::from_env())
        }
        Ok(Invocation::CheckConfig(config, explain)) => commands::check_config(&config, explain.as_deref()),
        Ok(Invocation::Check(config)) => commands::check(config),
        Ok(Invocation::Status(config)) => commands::status(&config),
        Ok(Invocation::Diagnose(config)) => commands::diagnose(&config),
        Ok(Invocation::Watch(ask, config)) => commands::watch(&ask, config),
        Err(exit) => commands::end(&exit),
    }
}
